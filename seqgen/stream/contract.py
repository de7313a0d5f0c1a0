"""The contract of a Streamable, which every causal sequence model keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Generic, Self, TypeVar, final

import torch
from torch import Tensor, nn

from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning

S = TypeVar("S")


class Streamable(nn.Module, ABC, Generic[S]):
    """A causal map from sequences to sequences, run by one function for blocks of any length.

    ``step`` consumes a block ``[B, T, C]`` (or int64 symbols ``[B, T]`` when ``spec.in_dim`` is 0) together with the
    state left by the block before, and gives ``[B, T·up/down, out_dim]`` and the new state. With ``cond_dim > 0``
    every ``cond_every``-th position brings one conditioning vector, ``cond [B, T', cond_dim]``; see
    :meth:`StreamSpec.conditions`.

    Laws, checked by :func:`seqgen.stream.verify.verify` for every registered model: chunking, closure, rows, purity,
    context. State is a value: nothing about a stream lives on the module, nothing given is changed.

    Example:
        >>> state = model.init_state(batch=1)                      # doctest: +SKIP
        >>> y0, state = model.step(x[:, :100], state)              # doctest: +SKIP
        >>> y1, state = model.step(x[:, 100:], state)              # doctest: +SKIP
        >>> torch.cat([y0, y1], 1) == model(x)                     # doctest: +SKIP
    """

    spec: StreamSpec
    length_free: ClassVar[bool] = False
    """Freedom of length: a step does the same operations for a block of any length of two or more, so that a trace of
    one serves for all."""

    def __init__(self) -> None:
        super().__init__()
        # Follows .to(device, dtype), so that a layer without parameters still knows where its state belongs.
        self.register_buffer("_like", torch.empty(0), persistent=False)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over, one for each way that the code can go; by default one of default
        options. A registered class that has others says so here, and is under the laws without a test of its own."""
        return [cls(cls.Config())]  # type: ignore[attr-defined,call-arg]  # registered classes take their Config

    @abstractmethod
    def init_state(self, batch: int, memory: Any = None) -> S:
        """The state of ``batch`` fresh streams, on the module's device and in its dtype.

        ``memory`` is what an encoder gives a model that reads one (columns of its outputs, keys to attend to), batch
        first; a model that reads none is given none.
        """

    @abstractmethod
    def step(self, x: Tensor, state: S, cond: Conditioning | None = None) -> tuple[Tensor, S]:
        """Outputs for one block, and the state after it."""

    @property
    def observed_dims(self) -> tuple[int, ...]:
        """Channels of each inner activation that :meth:`observe` gives; none where nothing inside is worth looking
        at."""
        return ()

    def observe(self, x: Tensor, state: S, cond: Conditioning | None = None) -> tuple[Tensor, S, list[Tensor]]:
        """:meth:`step`, and the inner activations ``[B, T, C]`` that led to its outputs, layer by layer."""
        y, after = self.step(x, state, cond)
        return y, after, []

    def advance(self, x: Tensor, state: S, cond: Conditioning | None = None) -> S:
        """The state after a block whose outputs nobody needs: ``step(…)[1]``, cheaper where a layer can be."""
        return self.step(x, state, cond)[1]

    @final
    def forward(self, x: Tensor, cond: Conditioning | None = None) -> Tensor:
        """The whole sequence from a fresh state: one long step."""
        return self.step(x, self.init_state(x.shape[0]), cond)[0]

    def zeros(self, *shape: int) -> Tensor:
        """Zeros on the module's device and in its dtype."""
        return torch.zeros(shape, device=self._like.device, dtype=self._like.dtype)

    _like: Tensor
