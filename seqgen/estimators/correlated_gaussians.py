"""Pairs of correlated Gaussian vectors: their mutual information is known, so estimators can be judged by them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen import noise
from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.noise import Key

_EULER = 0.5772156649015329  # γ


@dataclass(frozen=True)
class CorrelatedGaussians:
    """``x ~ N(0, 1)`` and ``y = ρ x + √(1-ρ²) ε`` in each of d dimensions, so that

        I(X; Y) = -d/2 ln(1 - ρ²),    ρ = √(1 - e^{-2I/d})

    Attributes:
        information: I in nats. dimension: d, of x as of y.
        cubic: y³ stands for y, element by element. An invertible map changes no information, but the density is farther
            from what a network easily represents.

    Raises:
        SeqgenError: for a dimension below 1, or an information that is negative or not finite.

    Source: Poole et al., arXiv 1905.06922, section 3; Belghazi et al., "MINE", arXiv 1801.04062, section 5.1.

    Example:
        >>> CorrelatedGaussians(information=2.0, dimension=1).correlation
        0.9908...
    """

    information: float
    dimension: int = 20
    cubic: bool = False

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise SeqgenError(f"'dimension' is {self.dimension}", remedy="give 1 or more")
        if not 0 <= self.information < math.inf:
            raise SeqgenError(f"'information' is {self.information}", remedy="give nats, 0 or more and finite")

    @property
    def correlation(self) -> float:
        """ρ, of each element of x with its element of y."""
        return math.sqrt(-math.expm1(-2 * self.information / self.dimension))

    @property
    def log_scale(self) -> float:
        """``ln √(1-ρ²)``: of what x does not tell of an element of y."""
        return -self.information / self.dimension

    @property
    def entropy(self) -> float:
        """h(Y) in nats, ``d/2 ln 2πe``.

        Of cubes h(Y) has ``E ln 3y² = ln 3/2 - γ`` more in each dimension.
        """
        cubed = math.log(1.5) - _EULER if self.cubic else 0.0
        return self.dimension * (0.5 * math.log(2 * math.pi * math.e) + cubed)

    def describe(self) -> str:
        """The process in a few words."""
        return f"correlated Gaussians of {self.dimension} dimensions{', y cubed' if self.cubic else ''}"

    def draw(self, key: Key, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Pairs ``first … first + count - 1`` of an endless row of them: x and y ``[count, d]``, float64."""
        width = 2 * self.dimension
        u = noise.block(key.seed, key.stream, first * width, count * width)
        z = quantile(torch.from_numpy(u).double()).view(count, 2, self.dimension)
        x, unknown = z.unbind(dim=1)
        y = self.correlation * x + math.exp(self.log_scale) * unknown
        return x, y**3 if self.cubic else y

    def log_ratio(self, x: Tensor, y: Tensor) -> Tensor:
        """``ln p(x_j, y_i) - ln p(x_j) p(y_i)`` in nats: ``[…, K, d]`` twice ``→ […, K, K]``, row = y, column = x.

        Of each dimension ``y²/2 - (y - ρx)² / 2(1-ρ²) - ln √(1-ρ²)``.
        """
        if self.cubic:
            y = y.sign() * y.abs() ** (1 / 3)
        apart = torch.cdist(y, self.correlation * x) ** 2  # […, K, K]
        own = 0.5 * (y * y).sum(dim=-1, keepdim=True)  # […, K, 1]
        return own - 0.5 * math.exp(-2 * self.log_scale) * apart + self.information
