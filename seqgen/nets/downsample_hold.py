"""A network at a fraction of the rate, whose last output holds until the next is due."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable
from seqgen.stream.state import map_leaves


class DownsampleHoldState(NamedTuple):
    """State of a downsampled network between two inputs.

    Attributes:
        waiting: inputs of the group under way, the newest last, ``[B, down - 1, dim]``; older places mean nothing.
        held: the last output, ``[B, out]``. net: the network's state.
        phase: int64 ``[B]``, inputs in the group under way; rows of one batch are in the same phase.
    """

    waiting: Tensor
    held: Tensor
    net: Any
    phase: Tensor


class DownsampleHold(Streamable[DownsampleHoldState]):
    """Downsampled network, ``y_t = f(groups up to the last complete one)``: ``down`` inputs side by side make one input
    of ``f``.

    Zero until the first group is complete; then an output holds for ``down`` positions. Blocks of any length: unlike a
    Fold, nobody has to come in whole groups.

    Args:
        net: reads ``down·dim`` channels, at rate 1 and without latency. down: inputs of a group. dim: channels of one.

    Shapes: ``[B, T, dim] → [B, T, net.out_dim]``.

    Raises:
        SeqgenError: where the network does not fit, and for rows of different phase.
    """

    def __init__(self, net: Streamable[Any], *, down: int, dim: int) -> None:
        super().__init__()
        spec = net.spec
        if down < 1 or spec.in_dim != down * dim or spec.up != spec.down or spec.latency or spec.cond_dim:
            raise SeqgenError(
                f"DownsampleHold: {down} inputs of {dim} channels for a network of {spec.in_dim}, at rate "
                f"{spec.up}/{spec.down} "
                f"with latency {spec.latency}",
                remedy=f"give an unconditioned network of {down * dim} inputs, rate 1 and latency 0",
            )
        self.net, self.down = net, down
        # At the worst place of a group its output is down - 1 positions old.
        context = None if spec.context is None else down * spec.context + down - 1
        self.spec = StreamSpec(in_dim=dim, out_dim=spec.out_dim, context=context)

    def init_state(self, batch: int, memory: Any = None) -> DownsampleHoldState:
        phase = torch.zeros(batch, dtype=torch.int64, device=self._like.device)
        waiting, held = self.zeros(batch, self.down - 1, self.spec.in_dim), self.zeros(batch, self.spec.out_dim)
        return DownsampleHoldState(waiting, held, self.net.init_state(batch), phase)

    def step(
        self, x: Tensor, state: DownsampleHoldState, cond: Conditioning | None = None
    ) -> tuple[Tensor, DownsampleHoldState]:
        return self._one(x, state) if x.shape[1] == 1 else self._block(x, state)

    def _one(self, x: Tensor, state: DownsampleHoldState) -> tuple[Tensor, DownsampleHoldState]:
        """One input, without a decision: the network runs at each, and counts where a group is complete."""
        group = torch.cat([state.waiting, x], dim=1)
        made, after = self.net.step(group.flatten(1)[:, None], state.net)
        complete = state.phase == self.down - 1

        def chosen(old: Tensor, new: Tensor) -> Tensor:
            return torch.where(complete.view(-1, *[1] * (old.dim() - 1)), new, old)

        held = chosen(state.held, made[:, 0])
        net = map_leaves(chosen, state.net, after)
        return held[:, None], DownsampleHoldState(group[:, 1:], held, net, (state.phase + 1) % self.down)

    def _block(self, x: Tensor, state: DownsampleHoldState) -> tuple[Tensor, DownsampleHoldState]:
        length, down = x.shape[1], self.down
        phase = int(state.phase[0]) if state.phase.shape[0] else 0
        if bool((state.phase != phase).any()):
            raise SeqgenError(
                "DownsampleHold: rows of one batch are at different places of their group",
                remedy="step rows of one phase",
            )
        line = torch.cat([state.waiting, x], dim=1)
        fresh = line[:, down - 1 - phase :]  # what the group under way has, then the block
        groups, rest = divmod(phase + length, down)
        made, net = self.net.step(fresh[:, : groups * down].unflatten(1, (groups, down)).flatten(2), state.net)
        values = torch.cat([state.held[:, None], made], dim=1)
        index = (torch.arange(length, device=x.device) + phase + 1) // down
        rows = torch.full_like(state.phase, rest)
        return values[:, index], DownsampleHoldState(line[:, length:], values[:, -1], net, rows)
