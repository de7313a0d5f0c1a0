"""Normalization over channels for causal networks: by layer, and by the statistics of other rows.

Statistics over time would tell a position what follows it; statistics over the rows of a batch do too, as every row's
future is in them. Layer normalization looks at one position alone. Sub-batch normalization takes its statistics from
rows that are not scored with them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError

Kind = Literal["layer", "sub-batch"]
_EPSILON = 1e-5
_MOMENTUM = 0.1


class Normalization(nn.Module, ABC):
    """Normalization of the channels of every position, ``y = gain ∘ (x - mean) / std + bias``.

    Args:
        channels: of a position. groups: pieces of the channels that are normalized each by itself.

    Shapes: ``[B, T, channels] → [B, T, channels]``.
    """

    epsilon = _EPSILON

    def __init__(self, channels: int, *, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    @abstractmethod
    def standard(self, x: Tensor) -> Tensor:
        """The channels with mean 0 and standard deviation 1, before gain and bias."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.standard(x), self.gain)


class LayerNormalization(Normalization):
    """Layer normalization: mean and standard deviation are those of the position's own channels.

    Source: Ba, Kiros and Hinton, "Layer normalization", arXiv 1607.06450, section 3.
    """

    def standard(self, x: Tensor) -> Tensor:
        parts = x.unflatten(-1, (self.groups, -1))
        return F.layer_norm(parts, [int(parts.shape[-1])], eps=_EPSILON).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        if self.groups > 1:
            return super().forward(x)
        # A fixed number in a traced graph too.
        return F.layer_norm(x, [int(x.shape[-1])], self.gain, self.bias, _EPSILON)


class SubBatchNormalization(Normalization):
    """Sub-batch normalization: mean and standard deviation of a channel are those of an auxiliary part of the batch.

    In training the rows are given twice, ``[auxiliary; main]``, and halves of the batch serve each other: an auxiliary
    half is normalized by its own statistics, and the main half by those of the auxiliary rows of the *other* half. So
    what a main row gives at one position depends on no later position of its own half, and every row can be scored.
    Ordinary batch normalization would tell each position of what follows in its own row. Out of training the
    statistics are running averages of the auxiliary ones, the same for each position and row. These averages are
    buffers that a pass in training moves, as batch normalization's everywhere: no other layer leaves anything behind,
    and networks with this one are no examples of the laws that say so.

    Shapes: in training ``[2B, T, channels]`` with B of 2 or more, else ``[B, T, channels]``.

    Raises:
        SeqgenError: in training for less than two rows.

    Source: Kalchbrenner et al., arXiv 1610.10099 version 1, section 3: there one part of the batch is auxiliary and
    never scored. That two halves serve each other is ours, and uses every row.
    """

    def __init__(self, channels: int, *, groups: int = 1) -> None:
        super().__init__(channels, groups=groups)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    mean: Tensor
    variance: Tensor

    def standard(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self.mean) * (self.variance + _EPSILON).rsqrt()
        rows = x.shape[0] // 2
        if rows < 2:
            raise SeqgenError("sub-batch normalization: got one row", remedy="train with a batch_size of 2 or more")
        halves = (rows + 1) // 2, rows // 2
        statistics = [torch.var_mean(part, dim=(0, 1), correction=0) for part in x[:rows].split(halves)]
        self._average(statistics)
        normalizers = [*statistics, *self.served(statistics)]
        parts = x.split((*halves, *halves))
        made = [(p - mean) * (var + _EPSILON).rsqrt() for p, (var, mean) in zip(parts, normalizers, strict=True)]
        return torch.cat(made)

    @staticmethod
    def served(statistics: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
        """Statistics that the main halves are normalized by: those of the other half."""
        return statistics[::-1]

    @torch.no_grad()
    def _average(self, statistics: list[tuple[Tensor, ...]]) -> None:
        for variance, mean in statistics:
            self.mean.lerp_(mean.to(self.mean.dtype), _MOMENTUM)
            self.variance.lerp_(variance.to(self.variance.dtype), _MOMENTUM)


def normalization(kind: Kind, channels: int, *, groups: int = 1) -> Normalization:
    """A normalization of the kind that an option names."""
    kinds = {"layer": LayerNormalization, "sub-batch": SubBatchNormalization}
    return kinds[kind](channels, groups=groups)
