"""WaveNet with a context stack (arXiv 1609.03499, section 2.6).

A second, smaller stack sees a long part of the past at a lower rate and conditions the first one, which sees a short
part closely. Here it reads ``rate`` elements at a time through dilated residual convolutions, and its output, held
until the next is due, is added to what the gates of all layers get from outside. The paper names the idea and pooling
at a lower frequency; sizes and the kind of its layers are not given there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.wavenet import WaveNet, WaveNetState
from seqgen.nets.downsample_hold import DownsampleHold, DownsampleHoldState
from seqgen.nets.layers import Activation, CausalConv1d, Dense
from seqgen.spec import StreamSpec
from seqgen.stream.combinators import Residual, Serial
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


class ContextState(NamedTuple):
    """State of a WaveNet with a context stack: that of the stack and that of the WaveNet."""

    context: DownsampleHoldState
    wavenet: WaveNetState


class ContextWaveNet(Streamable[ContextState]):
    """WaveNet with a context stack, ``y = WaveNet(x, cond + hold(context stack(x)))``.

    Shapes: those of :class:`WaveNet`.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> small = WaveNet.Config(layers=2, dilation_cycle=2, conditioned=False)
        >>> net = ContextWaveNet(ContextWaveNet.Config(wavenet=small, rate=8, channels=8, layers=3))
        >>> net.spec.context  # the WaveNet alone would see 5
        73
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body.

        Attributes:
            wavenet: the stack that makes the outputs; its ``conditioned`` is about what comes from outside.
            rate: elements that the context stack reads at a time. channels: of it. layers: dilations 1, 2, 4, ….
            embedding: channels of an embedded symbol, where the elements are symbols.
        """

        wavenet: WaveNet.Config = field(default_factory=WaveNet.Config)
        rate: int = 16
        channels: int = 32
        layers: int = 6
        embedding: int = 16

    @classmethod
    def examples(cls) -> Iterable[ContextWaveNet]:
        sizes = WaveNet.Config(layers=3, dilation_cycle=2, residual_channels=5, gate_channels=4, skip_channels=6,
                               head_channels=7, vocab_size=6, outputs=6)  # fmt: skip
        real = replace(sizes, vocab_size=0, outputs=2, conditioned=False, kernel=3)
        return [cls(cls.Config(wavenet, rate=3, channels=4, layers=2, embedding=3)) for wavenet in (sizes, real)]

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.rate, config.channels, config.layers, config.embedding) < 1:
            raise SeqgenError(
                f"wavenet-context: rate {config.rate}, channels {config.channels}, layers {config.layers}, embedding "
                f"{config.embedding}",
                remedy="give 1 or more of each",
            )
        outer = config.wavenet
        self.wavenet = WaveNet(WaveNet.Config(**(vars(outer) | {"conditioned": True})))
        self.unit, dim = outer.unit, config.embedding if outer.vocab_size else 1
        self.embedding = nn.Embedding(outer.vocab_size, dim) if outer.vocab_size else None
        inner = self.wavenet.spec
        blocks = [_block(config.channels, dilation=2**layer) for layer in range(config.layers)]
        stack = Serial(Dense(config.rate * dim, config.channels), *blocks, Dense(config.channels, inner.cond_dim))
        self.context = DownsampleHold(stack, down=config.rate, dim=dim)
        self.spec = StreamSpec(
            in_dim=inner.in_dim,
            out_dim=inner.out_dim,
            cond_dim=inner.cond_dim if outer.conditioned else 0,
            context=self._reach(),
            vocab_size=inner.vocab_size,
        )

    def _reach(self) -> int:
        """An output depends on older ones of the first layer, and each of those was conditioned where it was made."""
        direct, context = self.wavenet.spec.context, self.context.spec.context
        assert direct is not None
        assert context is not None
        return max(direct, context + sum(self.wavenet.lengths[1:]))

    def init_state(self, batch: int, memory: Any = None) -> ContextState:
        return ContextState(self.context.init_state(batch), self.wavenet.init_state(batch))

    def step(self, x: Tensor, state: ContextState, cond: Conditioning | None = None) -> tuple[Tensor, ContextState]:
        y, after, _ = self.observe(x, state, cond)
        return y, after

    @property
    def observed_dims(self) -> tuple[int, ...]:
        """Those of the WaveNet."""
        return self.wavenet.observed_dims

    def observe(
        self, x: Tensor, state: ContextState, cond: Conditioning | None = None
    ) -> tuple[Tensor, ContextState, list[Tensor]]:
        if self.spec.cond_dim and cond is None:
            raise SeqgenError("wavenet-context: got no conditioning", remedy=f"give cond [B, T, {self.spec.cond_dim}]")
        with torch.autocast(x.device.type, enabled=False):  # half precision would drop half of a 16-bit sample
            embedded = x * (1 / self.unit) if self.embedding is None else self.embedding(x)
            seen, context = self.context.step(embedded, state.context)
        y, wavenet, gated = self.wavenet.observe(x, state.wavenet, seen if cond is None else seen + cond)
        return y, ContextState(context, wavenet), gated


def _block(channels: int, *, dilation: int) -> Residual:
    return Residual(
        Serial(
            Activation("gelu", dim=channels),
            CausalConv1d(channels, channels, kernel=2, dilation=dilation),
            Activation("gelu", dim=channels),
            Dense(channels, channels),
        )
    )
