"""The contract of a context encoder: latents of stretches of a sequence, and a recurrence that sums up those so far."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from seqgen.nets.gru import GRU
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


class ContextState(NamedTuple):
    """State of a context encoder: that of its front end, and the last context ``[B, hidden]``."""

    front: Any
    context: Tensor


class ContextEncoder(Streamable[ContextState], ABC):
    """Encoder with a context, over stretches of ``down`` inputs each.

        z_t = front(x)_t        c_t = GRU(z_t, c_{t-1})

    The outputs are the contexts c, the inner activation is z. Latents that reach before the start of a stream see zeros
    there; ``spec.latency`` counts them, and nothing should be learnt from them.

    Args:
        front: of the latents, bounded in its reach. hidden: width of the context.

    Shapes: ``[B, T, in_dim]``, or symbols ``[B, T]``, ``→ [B, T/down, hidden]``; z is ``[B, T/down, latents]``.

    Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", arXiv
    1807.03748, section 2.2.
    """

    def __init__(self, front: Streamable[Any], hidden: int) -> None:
        super().__init__()
        spec = front.spec
        self.front, self.context = front, GRU(spec.out_dim, hidden)
        padded = max(0, -(-((spec.context or 0) - spec.down) // spec.down))
        self.spec = replace(spec, out_dim=hidden, context=None, latency=padded)

    def init_state(self, batch: int, memory: Any = None) -> ContextState:
        return ContextState(self.front.init_state(batch), self.context.init_state(batch))

    def step(self, x: Tensor, state: ContextState, cond: Conditioning | None = None) -> tuple[Tensor, ContextState]:
        y, after, _ = self.observe(x, state, cond)
        return y, after

    @property
    def observed_dims(self) -> tuple[int, ...]:
        """Channels of a latent."""
        return (self.front.spec.out_dim,)

    def observe(
        self, x: Tensor, state: ContextState, cond: Conditioning | None = None
    ) -> tuple[Tensor, ContextState, list[Tensor]]:
        z, front = self.front.step(x, state.front)  # [B, T/down, latents]
        c, context = self.context.step(z, state.context)  # [B, T/down, hidden]
        return c, ContextState(front, context), [z]
