"""A Gaussian density of y given x, whose mean and deviations are learnt.

    q(y | x) = N(y; μ(x), diag σ(x)²)

Source: Poole et al., "On variational bounds of mutual information", arXiv 1905.06922, section 2 (a tractable density in
the place of a critic).
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from seqgen.models.conditional_density import ConditionalDensity, gaussian_scores
from seqgen.models.critic import PerceptronSizes, perceptron


class GaussianConditional(ConditionalDensity):
    """A perceptron over x that gives the means and the logarithms of the deviations of y's elements.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> config = GaussianConditional.Config(x_dim=3, y_dim=2)
        >>> GaussianConditional(config)(torch.zeros(5, 3), torch.zeros(4, 2)).shape
        torch.Size([4, 5])
    """

    Config = PerceptronSizes

    @classmethod
    def examples(cls) -> Iterable[GaussianConditional]:
        return [cls(cls.Config(x_dim=3, y_dim=2, hidden=6, layers=layers)) for layers in (0, 1)]

    def __init__(self, config: PerceptronSizes) -> None:
        super().__init__(config.x_dim, config.y_dim)
        self.net = perceptron(config.x_dim, 2 * config.y_dim, hidden=config.hidden, layers=config.layers)

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        mean, log_deviation = self.net(x).chunk(2, dim=-1)  # [J, y_dim]
        return gaussian_scores(y, mean, log_deviation)
