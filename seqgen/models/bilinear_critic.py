"""A bilinear critic, the one of contrastive predictive coding.

    f(x, y) = yᵀ W x

Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", arXiv 1807.03748,
equation 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.critic import Critic


class BilinearCritic(Critic):
    """One matrix W between x and y; of Gaussians it sees the correlations, of others no more than these.

    Raises:
        SeqgenError: for a dimension below 1.

    Example:
        >>> BilinearCritic(BilinearCritic.Config(x_dim=3, y_dim=2))(torch.zeros(5, 3), torch.zeros(4, 2)).shape
        torch.Size([4, 5])
    """

    @dataclass(frozen=True)
    class Config:
        """``x_dim, y_dim``: dimensions of x and y."""

        x_dim: int
        y_dim: int

        def __post_init__(self) -> None:
            if min(self.x_dim, self.y_dim) < 1:
                raise SeqgenError(f"'x_dim' is {self.x_dim}, 'y_dim' {self.y_dim}", remedy="give 1 or more of each")

    def __init__(self, config: Config) -> None:
        super().__init__(config.x_dim, config.y_dim)
        self.weight = nn.Parameter(torch.empty(config.y_dim, config.x_dim))
        nn.init.xavier_uniform_(self.weight)

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        return y @ self.weight @ x.T  # [I, J]
