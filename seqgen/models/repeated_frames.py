"""Conditioning networks that treat every frame by itself: each of its samples is conditioned on the same vector."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from seqgen.errors import SeqgenError
from seqgen.nets.layers import Activation, Dense
from seqgen.spec import Facts, FrameSpec
from seqgen.stream.combinators import Repeat, Serial


class RepeatedFrames(Repeat):
    """Frames as conditioning vectors: ``v_t = c_{t // hop}``.

    Shapes: ``[B, F, channels + speakers] → [B, F·hop, channels + speakers]``; no latency.

    Example:
        >>> facts = Facts(frames=FrameSpec(channels=1, hop=16))
        >>> RepeatedFrames.build(RepeatedFrames.Config(), facts, out_dim=1).spec.up
        16
    """

    @dataclass(frozen=True)
    class Config:
        """Options of repeated frames: none."""

    @classmethod
    def examples(cls) -> Iterable[RepeatedFrames]:
        return [cls(3, dim=2)]

    @classmethod
    def build(cls, options: Config, facts: Facts, *, out_dim: int) -> RepeatedFrames:
        """Construct what repeats the frames of a task's data.

        Raises:
            SeqgenError: for data without frames, and where a frame is no vector that the body takes.
        """
        frames = require_frames(facts, "repeat")
        if out_dim != frames.channels + facts.num_speakers:
            raise SeqgenError(
                f"repeat: the model takes {out_dim} conditioning channels, a frame has "
                f"{frames.channels + facts.num_speakers}",
                remedy="choose the conditioner perceptron, which makes as many as there are to be",
            )
        return cls(frames.hop, dim=out_dim)


class FramePerceptron(Serial):
    """A perceptron over each frame, its outputs repeated: ``v_t = W_n φ(… φ(W_1 c_{t // hop} + b_1)) + b_n``.

    Shapes: ``[B, F, channels + speakers] → [B, F·hop, out_dim]``; no latency.

    Raises:
        SeqgenError: for a layer without channels.

    Example:
        >>> facts = Facts(frames=FrameSpec(channels=1, hop=16))
        >>> FramePerceptron.build(FramePerceptron.Config(), facts, out_dim=6).spec.up
        16
    """

    @dataclass(frozen=True)
    class Config:
        """``hidden``: channels of each layer but the last; ``activation`` φ behind those layers."""

        hidden: tuple[int, ...] = (64,)
        activation: Literal["relu", "tanh", "gelu"] = "tanh"

    @classmethod
    def examples(cls) -> Iterable[FramePerceptron]:
        frames = FrameSpec(channels=2, hop=3)
        return [cls(cls.Config(hidden), frames=frames, speakers=2, out_dim=4) for hidden in ((5,), ())]

    @classmethod
    def build(cls, options: Config, facts: Facts, *, out_dim: int) -> FramePerceptron:
        """Construct the network for a task's frames and speakers.

        Raises:
            SeqgenError: for data without frames.
        """
        frames = require_frames(facts, "perceptron")
        return cls(options, frames=frames, speakers=facts.num_speakers, out_dim=out_dim)

    def __init__(self, config: Config, *, frames: FrameSpec, speakers: int, out_dim: int) -> None:
        if min(config.hidden, default=1) < 1:
            raise SeqgenError(f"perceptron: hidden is {list(config.hidden)}", remedy="give each layer a channel")
        widths = [frames.channels + speakers, *config.hidden, out_dim]
        layers = [
            part
            for width, above in pairwise(widths[:-1])
            for part in (Dense(width, above), Activation(config.activation, dim=above))
        ]
        super().__init__(*layers, Dense(*widths[-2:]), Repeat(frames.hop, dim=out_dim))


def require_frames(facts: Facts, name: str) -> FrameSpec:
    """The frames of a task's data.

    Raises:
        SeqgenError: for data without any, naming the conditioner that needs them.
    """
    if facts.frame_spec is None:
        raise SeqgenError(
            f"{name}: the model takes conditioning, the data have no frames", remedy="set conditioned: false"
        )
    return facts.frame_spec
