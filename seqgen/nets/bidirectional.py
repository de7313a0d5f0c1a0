"""Recurrent layers that read rows of unequal length from their beginnings and from their ends."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def both_ways(onward: nn.Module, homeward: nn.Module, h: Tensor, real: Tensor) -> Tensor:
    """Outputs of a layer that reads onward, and beside them those of one that reads each row from its own end.

        →h_s = onward(→h_{s-1}, x_s),    ←h_s = homeward(←h_{s+1}, x_s),    y_s = [→h_s; ←h_s]

    Shapes: ``h [B, S, C]`` and what is no padding, bool ``real [B, S]``, → ``[B, S, 2·hidden]``, zeros behind the ends.

    Source: Schuster and Paliwal, "Bidirectional recurrent neural networks", IEEE Transactions on Signal Processing 45,
    1997.
    """
    place = torch.arange(h.shape[1], device=h.device)[None]
    # Each row turned round within its own length, so that its end is read first and padding last.
    turned = torch.where(real, real.sum(dim=1, keepdim=True) - 1 - place, place)  # [B, S]
    first = onward(h)  # [B, S, hidden]
    second = at(homeward(at(h, turned)), turned)  # [B, S, hidden]
    return torch.cat([first, second], dim=2) * real[..., None]


def at(values: Tensor, place: Tensor) -> Tensor:
    """Values at other places of their row: ``[B, S, C], [B, S'] → [B, S', C]``."""
    return values.gather(1, place[..., None].expand(-1, -1, values.shape[2]))
