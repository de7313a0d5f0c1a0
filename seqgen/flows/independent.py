"""A flow without memory: every element is scaled and moved as its conditioning says, whatever the elements before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.flows.affine import AffineAutoregressive
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning, written_out
from seqgen.stream.contract import Streamable


class _Conditioning(Streamable[tuple[()]]):
    """The conditioning as outputs, the inputs unseen: ``cond [B, T, 2] → [B, T, 2]``."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=1, out_dim=2, cond_dim=2)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        if cond is None:
            raise SeqgenError("an independent flow got no conditioning", remedy="give two channels for each element")
        return written_out(cond), ()


class IndependentFlow(AffineAutoregressive):
    """``x_t = z_t · s_t + μ_t`` with (μ_t, s_t) of the conditioning alone: elements are independent given what they are
    conditioned on. What a flow that sees the noise before each element can do is measured against it.

    Shapes: ``z [B, T, 1]``, ``cond [B, T, 2]`` (mean, and what :class:`~seqgen.flows.affine.AffineAutoregressive` makes
    a scale of) → ``[B, T, 1]``.

    Raises:
        SeqgenError: for a scale that is not above its floor.

    Example:
        >>> IndependentFlow(IndependentFlow.Config()).spec.context
        1
    """

    @dataclass(frozen=True)
    class Config:
        """``scale`` where the conditioning is zero; ``floor``: smallest scale."""

        scale: float = 0.25
        floor: float = 1e-3

    def __init__(self, config: Config) -> None:
        super().__init__(_Conditioning(), scale=config.scale, floor=config.floor)
