"""A channel that adds Gaussian noise: the density of y given x is known, and nothing of it is learnt.

y = gain · x + noise · ε,    ε ~ N(0, 1):    p(y | x) = N(y; gain · x, noise²)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.models.conditional_density import ConditionalDensity, gaussian_scores


class GaussianChannel(ConditionalDensity):
    """The known density of a channel of additive Gaussian noise, the same in every dimension.

    Correlated Gaussians are such a channel, of gain ρ and noise ``√(1-ρ²)``; so is an encoder that draws its codes
    about means x with one deviation.

    Raises:
        SeqgenError: for dimensions that differ or are below 1, and for noise that is not positive.

    Example:
        >>> config = GaussianChannel.Config(x_dim=2, y_dim=2, gain=0.8, noise=0.6)
        >>> GaussianChannel(config)(torch.zeros(5, 2), torch.zeros(4, 2)).shape
        torch.Size([4, 5])
    """

    known = True

    @dataclass(frozen=True)
    class Config:
        """``x_dim, y_dim``: dimensions of both, the same. ``gain``: what x is multiplied by. ``noise``: its standard
        deviation."""

        x_dim: int
        y_dim: int
        gain: float = 1.0
        noise: float = 1.0

        def __post_init__(self) -> None:
            if not 1 <= self.x_dim == self.y_dim:
                raise SeqgenError(
                    f"'x_dim' is {self.x_dim}, 'y_dim' {self.y_dim}",
                    remedy="give the same, 1 or more: y is x with noise",
                )
            if not (math.isfinite(self.gain) and 0 < self.noise < math.inf):
                raise SeqgenError(
                    f"'gain' is {self.gain}, 'noise' {self.noise}", remedy="give finite numbers, noise above 0"
                )

    @classmethod
    def examples(cls) -> Iterable[GaussianChannel]:
        return [cls(cls.Config(x_dim=2, y_dim=2, gain=0.8, noise=0.6))]

    def __init__(self, config: Config) -> None:
        super().__init__(config.x_dim, config.y_dim)
        self.config = config

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        mean = self.config.gain * x  # [J, D]
        return gaussian_scores(y, mean, mean.new_full(mean.shape, math.log(self.config.noise)))
