"""A critic of two encoders, whose scores are scalar products.

    f(x, y) = g(x) · h(y)

Source: Poole et al., "On variational bounds of mutual information", arXiv 1905.06922, section 3; van den Oord, Li and
Vinyals, arXiv 1807.03748, equation 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from seqgen.models.critic import Critic, CriticPerceptron, perceptron


class SeparableCritic(Critic):
    """Perceptrons g and h over x and y, and the scalar product of what they give: 2K passes for K² scores.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> SeparableCritic(SeparableCritic.Config(x_dim=3, y_dim=2))(torch.zeros(5, 3), torch.zeros(4, 2)).shape
        torch.Size([4, 5])
    """

    @dataclass(frozen=True)
    class Config(CriticPerceptron):
        """Sizes of both perceptrons. ``embedding``: dimensions of the scalar product."""

        embedding: int = 32

    @classmethod
    def examples(cls) -> Iterable[SeparableCritic]:
        sizes = {"x_dim": 3, "y_dim": 2, "hidden": 6, "embedding": 4}
        return [
            cls(cls.Config(**sizes, layers=0)),
            cls(cls.Config(**sizes)),
            cls(cls.Config(**sizes, spectral_norm=True)),
        ]

    def __init__(self, config: Config) -> None:
        super().__init__(config.x_dim, config.y_dim)
        sizes = {"hidden": config.hidden, "layers": config.layers, "spectral_norm": config.spectral_norm}
        self.g = perceptron(config.x_dim, config.embedding, **sizes)
        self.h = perceptron(config.y_dim, config.embedding, **sizes)

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        of_x: Tensor = self.g(x)  # [J, embedding]
        of_y: Tensor = self.h(y)  # [I, embedding]
        return of_y @ of_x.T  # [I, J]

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        paired: Tensor = (self.g(x) * self.h(y)).sum(dim=-1)  # [K]
        return paired

    def represented(self, x: Tensor) -> Tensor:
        of_x: Tensor = self.g(x)  # [J, embedding]
        return of_x
