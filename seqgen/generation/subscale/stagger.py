"""Stagger of lanes that are made side by side, each some steps behind the one before, and the state of such a
stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.stream.state import map_leaves


class Waiting(NamedTuple):
    """Conditioning of a staggered stream: the network's state, and its vectors for samples not given out yet,
    ``[B, H, C]``."""

    network: Any
    vectors: Tensor


class LanesState(NamedTuple):
    """State of the lanes of a stream between two steps; ``D = (lanes - 1)·(horizon + 1)``.

    Attributes:
        tape: int64 ``[B]``, steps made, from ``-horizon`` (lane 0 looks ahead) up to D, where it stays.
        made: int64 ``[B, D, lanes, 2]``, bytes of the lane steps that are not complete yet, silence where none is made.
        params: ``[B, D, lanes, 2, P]``, what those bytes were drawn from.
        body, context: of each lane, leaves ``[B, lanes, …]``.
    """

    tape: Tensor
    made: Tensor
    params: Tensor
    body: Any
    context: Any


@dataclass(frozen=True)
class Stagger:
    """Schedule of lanes: lane s makes its i-th sample in step ``i + s·lag``, ``lag = horizon + 1``, of ``lanes`` lanes.

    Source: Kalchbrenner et al., arXiv 1802.08435, section 4.2 (batched sampling of the lanes).

    Example:
        >>> Stagger(lanes=4, horizon=2).depth
        9
    """

    lanes: int
    horizon: int

    @property
    def lag(self) -> int:
        """Steps from the start of one lane to that of the next."""
        return self.horizon + 1

    @property
    def depth(self) -> int:
        """Steps from the start of the first lane to that of the last one: D."""
        return (self.lanes - 1) * self.lag

    def skew(self, x: Tensor) -> Tensor:
        """Samples in the order of the steps that make them, from the first step of a fresh stream on.

        Shapes: ``[B, (n + D)·lanes, …] → [B, horizon + D + n, lanes, …]``, 0 where a lane makes nothing yet.
        """
        folded = x.unflatten(1, (-1, self.lanes))
        length, parts = x.shape[1] // self.lanes, []
        for lane in range(self.lanes):
            late = lane * self.lag
            front = folded.new_zeros(x.shape[0], self.horizon + late, *x.shape[2:])
            parts.append(torch.cat([front, folded[:, : length - late, lane]], dim=1))
        return torch.stack(parts, dim=2)

    def unskew(self, made: Tensor, pending: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The inverse, behind what earlier steps made.

        Shapes: ``made [B, steps, lanes, …]``, ``pending [B, D, lanes, …]`` → the ``count`` lane steps that are
        complete, ``[B, count, lanes, …]``, and the D after them as far as they are made, else 0.
        """
        complete, rest = [], []
        for lane in range(self.lanes):
            held = self.depth - lane * self.lag
            line = torch.cat([pending[:, :held, lane], made[:, :, lane]], dim=1)
            line = line[:, line.shape[1] - held - count :]
            complete.append(line[:, :count])
            empty = line.new_zeros(line.shape[0], self.depth - held, *line.shape[2:])
            rest.append(torch.cat([line[:, count:], empty], dim=1))
        return torch.stack(complete, dim=2), torch.stack(rest, dim=2)

    def entered(self, made: Tensor, new: Tensor) -> Tensor:
        """Lane steps with those that one step makes: ``[B, D, lanes, …]``, ``[B, lanes, …] → [B, D + 1, lanes, …]``."""
        line = torch.cat([made, new[:, None]], dim=1)
        step, lane = torch.arange(self.depth + 1, device=made.device), torch.arange(self.lanes, device=made.device)
        mine = step[:, None] == self.depth - self.lag * lane
        return torch.where(mine[(..., *[None] * (made.dim() - 3))], new[:, None], line)


def together(state: Any) -> Any:
    """Leaves ``[B, lanes, …]`` as ``[B·lanes, …]``."""
    return map_leaves(lambda leaf: leaf.flatten(0, 1), state)


def chosen(which: Tensor, new: Any, old: Any) -> Any:
    """Lanes of ``new`` where ``which [B, lanes]``, else of ``old``."""

    def each(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(which[(..., *[None] * (one.dim() - 2))], one, other)

    return map_leaves(each, new, old)
