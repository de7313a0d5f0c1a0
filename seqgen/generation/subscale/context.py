"""The conditioning network of a subscale generator: the lanes that came before, up to a look-ahead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.nets.layers import Activation, CausalConv1d, Dense
from seqgen.spec import StreamSpec
from seqgen.stream.combinators import Residual, Serial
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

# Lane steps of the past that the first convolution reads next to the look-ahead.
BEHIND = 2


class LaneContext(Streamable[Any]):
    """Context network of lanes, ``Dense ∘ residual blocks ∘ convolution`` over lane time; row by row for the lane that
    is to be made.

    What it reads at lane step k is one vector of ``2·lanes - 1`` numbers (:meth:`inputs`): the samples ``u_{Bk+z}`` of
    the lanes before this one, the nearest first, 0 where there is no such lane; then the lane's one-hot. Its output at
    k answers lane step ``k - horizon``. The first convolution is linear and ``horizon + 3`` wide, so that a sample's
    neighbours in time reach the gates undistorted; ``blocks`` residual ones (ReLU, width 3, dilations 1, 2, 4, …) add
    the rest.

    Shapes: ``[rows, T, 2·lanes - 1] → [rows, T, out_dim]``, latency ``horizon``.

    Raises:
        SeqgenError: for fewer than two lanes, a negative horizon, or no channels.

    Source: Kalchbrenner et al., arXiv 1802.08435, section 4 (a masked dilated CNN; its sizes are not given).

    Example:
        >>> net = LaneContext(lanes=4, horizon=2, channels=8, blocks=1, out_dim=12)
        >>> net.spec.in_dim, net.spec.latency, net(torch.zeros(1, 5, 7)).shape
        (7, 2, torch.Size([1, 5, 12]))
    """

    def __init__(self, *, lanes: int, horizon: int, channels: int, blocks: int, out_dim: int) -> None:
        super().__init__()
        if lanes < 2 or horizon < 0 or channels < 1 or blocks < 0:
            raise SeqgenError(
                f"subscale: lanes {lanes}, horizon {horizon}, channels {channels}, blocks {blocks}",
                remedy="give 2 lanes or more, a horizon and blocks that are not negative, and channels",
            )
        self.lanes, self.horizon = lanes, horizon
        reading = CausalConv1d(2 * lanes - 1, channels, kernel=horizon + 1 + BEHIND, look_ahead=horizon)
        self.net = Serial(
            reading, *(_block(channels, dilation=2**block) for block in range(blocks)), Dense(channels, out_dim)
        )
        spec = self.net.spec
        self.spec = StreamSpec(in_dim=spec.in_dim, out_dim=out_dim, latency=spec.latency, context=spec.context)

    def init_state(self, batch: int, memory: Any = None) -> Any:
        return self.net.init_state(batch)

    def step(self, x: Tensor, state: Any, cond: Conditioning | None = None) -> tuple[Tensor, Any]:
        with torch.autocast(x.device.type, enabled=False):  # half precision would drop half of a 16-bit sample
            return self.net.step(x.to(self._like.dtype), state)

    def inputs(self, samples: Tensor, lane: Tensor) -> Tensor:
        """Context that each lane reads of the samples at its own lane step.

        Shapes: ``samples [N, …, lanes]``, those at the lane step of row n; int64 ``lane [N]`` →
        ``[N, …, 2·lanes - 1]``.
        """
        nearest = lane[:, None] - 1 - torch.arange(self.lanes - 1, device=lane.device)
        shape = (-1, *[1] * (samples.dim() - 2), self.lanes - 1)
        index = nearest.clamp_min(0).view(shape).expand(*samples.shape[:-1], -1)
        before = samples.gather(-1, index) * (nearest >= 0).view(shape)
        hot = torch.nn.functional.one_hot(lane, self.lanes).to(samples.dtype)
        return torch.cat([before, hot.view(*shape[:-1], self.lanes).expand(*samples.shape[:-1], -1)], dim=-1)


def _block(channels: int, *, dilation: int) -> Residual:
    return Residual(
        Serial(
            Activation("relu", dim=channels),
            CausalConv1d(channels, channels, kernel=3, dilation=dilation),
            Activation("relu", dim=channels),
            Dense(channels, channels),
        )
    )
