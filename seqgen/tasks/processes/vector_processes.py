"""Known processes of real vectors: clusters of points on bent arms, and frames of a dot that swings to and fro."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from scipy.special import ndtri

from seqgen.errors import SeqgenError
from seqgen.tasks.processes.hidden_markov import Reals, Symbols


class Vectors(NamedTuple):
    """Drawn sequences: frames ``x [N, T, D]``, the class of each, ``label [N]``, and x without its noise, ``quiet``."""

    x: Reals
    label: Symbols
    quiet: Reals


class VectorProcess(ABC):
    """A process whose sequences have T frames of D real numbers.

    Attributes:
        frames: T. dim: D. num_uniforms: that one sequence takes.
    """

    Config: ClassVar[type]
    frames: int
    dim: int
    num_uniforms: int

    @classmethod
    @abstractmethod
    def examples(cls) -> Iterable[Self]:
        """Small ones."""

    @abstractmethod
    def draw(self, u: Reals) -> Vectors:
        """Sequences, a function of uniforms ``[N, num_uniforms]``."""


class Pinwheel(VectorProcess):
    """Pinwheel: points in the plane on A arms, which are bent the more the farther out they are. With normal a and b,

        r = 1 + radial · a,    (x, y) = scale · R(2π k / A + bend · e^r) (r, tangential · b),    k the arm

    One frame of two numbers; the class is the arm.

    Source: Johnson et al., arXiv 1603.06277, section 5 (the released script has these defaults).
    """

    @dataclass(frozen=True)
    class Config:
        """``arms``: A. ``radial``, ``tangential``: deviations along an arm and across. ``bend``: of the arms.
        ``scale``: distance of the arms' middles from the centre."""

        arms: int = 5
        radial: float = 0.3
        tangential: float = 0.05
        bend: float = 0.25
        scale: float = 10.0

        def __post_init__(self) -> None:
            if self.arms < 1 or min(self.radial, self.tangential, self.scale) <= 0:
                raise SeqgenError(f"pinwheel: got {self}", remedy="give an arm or more, deviations and a scale above 0")

    frames, dim, num_uniforms = 1, 2, 3

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def examples(cls) -> Iterable[Pinwheel]:
        return [cls(cls.Config())]

    def draw(self, u: Reals) -> Vectors:
        c = self.config
        arm = np.minimum((u[:, 0] * c.arms).astype(np.int64), c.arms - 1)
        radius, across = 1 + c.radial * normal(u[:, 1]), c.tangential * normal(u[:, 2])
        angle = 2 * math.pi * arm / c.arms + c.bend * np.exp(radius)
        cosine, sine = np.cos(angle), np.sin(angle)
        x = np.stack([cosine * radius - sine * across, sine * radius + cosine * across], axis=-1)  # [N, 2]
        return Vectors(c.scale * x[:, None], arm, c.scale * x[:, None])


class MovingDot(VectorProcess):
    """Moving dot: frames of P pixels with a bright dot on them, whose place swings as a sine of its own phase,

        place_t = (P - 1)/2 · (1 + reach · sin(2π t / period + phase)),
        x_tp = exp(-½ ((p - place_t) / width)²) + deviation · ε

    The class is the quarter that the phase is in.

    Source: Johnson et al., arXiv 1603.06277, section 5 (the dot; the sine and these numbers are a choice made here).
    """

    @dataclass(frozen=True)
    class Config:
        """``frames``: T. ``pixels``: P. ``period``: of the swing in frames. ``reach``: of the swing, a share of half
        the frame. ``width``: of the dot in pixels. ``deviation``: of the noise on each pixel."""

        frames: int = 50
        pixels: int = 20
        period: float = 20.0
        reach: float = 0.8
        width: float = 1.5
        deviation: float = 0.05

        def __post_init__(self) -> None:
            if min(self.frames, self.pixels) < 1 or min(self.period, self.width) <= 0 or self.deviation < 0:
                raise SeqgenError(
                    f"moving dot: got {self}", remedy="give a frame and a pixel or more, a period and a width above 0"
                )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.frames, self.dim = config.frames, config.pixels
        self.num_uniforms = 1 + config.frames * config.pixels

    @classmethod
    def examples(cls) -> Iterable[MovingDot]:
        return [cls(cls.Config(frames=3, pixels=4))]

    def draw(self, u: Reals) -> Vectors:
        c = self.config
        phase = u[:, :1]
        angle = 2 * math.pi * (np.arange(c.frames) / c.period + phase)  # [N, T]
        place = 0.5 * (c.pixels - 1) * (1 + c.reach * np.sin(angle))
        apart = (np.arange(c.pixels) - place[..., None]) / c.width  # [N, T, P]
        quiet = np.exp(-0.5 * apart**2)
        noise = normal(u[:, 1:]).reshape(apart.shape)
        return Vectors(quiet + c.deviation * noise, (4 * phase[:, 0]).astype(np.int64), quiet)


def normal(u: Reals) -> Reals:
    """Standard normal numbers of uniforms in [0, 1), multiples of 2^-24: 0 counts as half of one."""
    found: Reals = ndtri(np.clip(u, 2.0**-25, None))
    return found
