"""Parallel WaveNet (van den Oord et al., "Parallel WaveNet: Fast High-Fidelity Speech Synthesis", 2017).

Logistic noise goes through inverse autoregressive flows, each of which takes its means and scales from a WaveNet of its
own over the samples before:

    x^0 = z,      x^i_t = x^{i-1}_t · s^i_t + μ^i_t,      (μ^i_t, s^i_t) = WaveNet_i(x^{i-1}_<t, c)

All samples of a stretch are made at once, at the cost of one pass of each network. It learns from a WaveNet that
generates sample by sample (section 3.1 of the paper).

Source: arXiv 1711.10433, section 3; sections of the flows and of the WaveNet in their own files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import nn

from seqgen.errors import SeqgenError
from seqgen.flows.affine import AffineAutoregressive, AffineStream, Composed
from seqgen.models.wavenet import WaveNet
from seqgen.stream.combinators import Delay, Serial


class ParallelWaveNet(Composed):
    """Flow of a Parallel WaveNet, a composition of flows over WaveNets: white logistic noise in, samples out.

    Shapes: ``z [B, T, 1]`` and, where conditioned, ``cond [B, T, Σ layers·2·gate_channels]`` (flow by flow, as each
    :class:`~seqgen.models.wavenet.WaveNet` takes it) → ``x [B, T, 1]``; no latency.

    Raises:
        SeqgenError: for sizes that make no network (see the message).

    Source: arXiv 1711.10433, section 3.

    Example:
        >>> sizes = ParallelWaveNet.Config(layers=(2, 3), dilation_cycle=3, conditioned=False)
        >>> ParallelWaveNet(sizes)(torch.zeros(1, 5, 1)).shape
        torch.Size([1, 5, 1])
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the flows.

        Attributes:
            layers: dilated layers of each flow's WaveNet.
            dilation_cycle, kernel, residual_channels, gate_channels, skip_channels, head_channels, conditioned: of
                every WaveNet; see its own options. Without skip connections by default.
            scale: scale of each flow before training; the product over flows is how loud a fresh one is.
            floor: smallest scale of each flow.
        """

        layers: tuple[int, ...] = (10, 10, 10, 30)
        dilation_cycle: int = 10
        kernel: int = 2
        residual_channels: int = 64
        gate_channels: int = 64
        skip_channels: int = 0
        head_channels: int = 64
        conditioned: bool = True
        scale: float = 0.5
        floor: float = 1e-3

    @classmethod
    def examples(cls) -> Iterable[ParallelWaveNet]:
        sizes = cls.Config(layers=(2, 3), dilation_cycle=2, residual_channels=5, gate_channels=4, head_channels=6)
        kinds = (
            replace(sizes, layers=(1, 2, 1), conditioned=False),
            replace(sizes, kernel=3),
            replace(sizes, layers=(4,), skip_channels=7),
        )
        return [cls(config) for config in kinds]

    def __init__(self, config: Config) -> None:
        if not config.layers:
            raise SeqgenError("parallel-wavenet: there are no flows", remedy="give the layers of each, e.g. [10, 30]")
        if not 0 < config.floor < config.scale < 1:
            raise SeqgenError(
                f"parallel-wavenet: scale is {config.scale}, floor {config.floor}",
                remedy="choose 0 < floor < scale < 1: a product of scales that start above one explodes",
            )
        super().__init__([_flow(config, index) for index in range(len(config.layers))])


def _flow(config: ParallelWaveNet.Config, index: int) -> AffineStream[object]:
    """Flow ``index``, whose input a fresh composition scales by ``scale^index``."""
    body = WaveNet(
        WaveNet.Config(
            layers=config.layers[index],
            dilation_cycle=config.dilation_cycle,
            kernel=config.kernel,
            input_kernel=1,
            residual_channels=config.residual_channels,
            gate_channels=config.gate_channels,
            skip_channels=config.skip_channels,
            head_channels=config.head_channels,
            conditioned=config.conditioned,
            vocab_size=0,
            unit=config.scale**index,
            outputs=2,
        )
    )
    # Else the next flow makes louder what this one makes of the noise: a fresh one would be far louder than speech,
    # and its first steps would be about that alone.
    nn.init.normal_(body.out.weight, std=0.1 * config.head_channels**-0.5)
    nn.init.zeros_(body.out.bias)
    return AffineAutoregressive(Serial(Delay(1, dim=1), body), scale=config.scale, floor=config.floor)
