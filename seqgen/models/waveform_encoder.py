"""Waveform encoder: strided causal convolutions over raw audio, and a gated recurrence over what they give.

    h^0 = x,    h^l_t = ReLU(N(W^l * h^{l-1})_t)    every stride_l inputs,    z = h^L,    c_t = GRU(z_t, c_{t-1})

Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", arXiv 1807.03748,
section 3.1. There convolutions are padded on both sides; here they see the past alone, so that the encoder streams: its
frames are the same, later by what the padding on the right was. N, by layer and per position, is ours; the paper
normalises nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from seqgen.errors import SeqgenError
from seqgen.models.context_encoder import ContextEncoder
from seqgen.nets.strided import StridedConvolutions


class WaveformEncoder(ContextEncoder):
    """Encoder of raw audio: samples in [-1, 1] in, a context for each frame of ``Π strides`` samples out.

    The latents z, its inner activation, see ``front.spec.context`` samples back: 465 by default, at 100 frames a
    second of 16 kHz. The first ``spec.latency`` frames of a stream see zeros from before its start.

    Shapes: ``[B, T, 1] → [B, T/down, hidden]``, z ``[B, T/down, channels]``; blocks in whole frames.

    Raises:
        SeqgenError: for sizes that make no network (see the message).

    Source: arXiv 1807.03748, section 3.1; what is ours is said at the top of this file.

    Example:
        >>> net = WaveformEncoder(WaveformEncoder.Config(channels=8, hidden=4))
        >>> net(torch.zeros(2, 20480, 1)).shape, net.front.spec.context, net.spec.latency
        (torch.Size([2, 128, 4]), 465, 2)
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder; those by default are the paper's.

        Attributes:
            strides, kernels: of each convolution. channels: of each of them, and of the latents.
            normalization: ``layer``, over the channels of each position, or ``none``.
            hidden: width of the context.
        """

        strides: tuple[int, ...] = (5, 4, 2, 2, 2)
        kernels: tuple[int, ...] = (10, 8, 4, 4, 4)
        channels: int = 512
        normalization: Literal["none", "layer"] = "none"
        hidden: int = 256

    @classmethod
    def examples(cls) -> Iterable[WaveformEncoder]:
        sizes = cls.Config(strides=(3, 2), kernels=(5, 4), channels=5, hidden=4)
        return [cls(sizes), cls(replace(sizes, kernels=(3, 2), normalization="layer"))]

    def __init__(self, config: Config) -> None:
        pairs = list(zip(config.kernels, config.strides, strict=False))
        uneven = not pairs or len(config.kernels) != len(config.strides)
        if uneven or min(config.channels, config.hidden) < 1 or any(not 1 <= stride <= k for k, stride in pairs):
            raise SeqgenError(
                f"waveform encoder: kernels {config.kernels}, strides {config.strides}, {config.channels} channels, "
                f"hidden {config.hidden}",
                remedy="give as many kernels as strides, no stride above its kernel, and sizes of 1 or more",
            )
        normalized = config.normalization == "layer"
        front = StridedConvolutions(1, config.channels, config.kernels, config.strides, normalized=normalized)
        super().__init__(front, config.hidden)
