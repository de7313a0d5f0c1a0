"""A model seen from inside: its outputs with the activations that led to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

S = TypeVar("S")


class Observed(Streamable[S]):
    """Observed body, ``y ‖ a^1 ‖ … ‖ a^L``: the outputs of a body and its inner activations side by side, as a stream.

    Shapes: as the body's, with ``Σ observed_dims`` output channels more; :meth:`parted` takes them apart again.

    Raises:
        SeqgenError: for a body that shows nothing of its inside.

    Example:
        >>> seen = Observed(body)  # of 5 outputs and two layers of 8 channels  # doctest: +SKIP
        >>> y, inside = seen.parted(seen(torch.zeros(1, 3, dtype=torch.int64)))  # doctest: +SKIP
        >>> y.shape, [one.shape for one in inside]  # doctest: +SKIP
        (torch.Size([1, 3, 5]), [torch.Size([1, 3, 8]), torch.Size([1, 3, 8])])
    """

    def __init__(self, body: Streamable[S]) -> None:
        super().__init__()
        if not body.observed_dims:
            raise SeqgenError(f"{type(body).__name__} shows no inner activations", remedy="observe another body")
        self.body, self._like = body, body.zeros(0)
        self.spec = replace(body.spec, out_dim=body.spec.out_dim + sum(body.observed_dims))

    def init_state(self, batch: int, memory: Any = None) -> S:
        return self.body.init_state(batch, memory)

    def step(self, x: Tensor, state: S, cond: Conditioning | None = None) -> tuple[Tensor, S]:
        y, after, inside = self.body.observe(x, state, cond)
        return torch.cat([y, *inside], dim=-1), after

    def parted(self, made: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Outputs and inner activations of what :meth:`step` gave."""
        y, *inside = made.split([self.body.spec.out_dim, *self.body.observed_dims], dim=-1)
        return y, inside
