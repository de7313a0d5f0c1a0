"""A critic that reads both vectors at once: a perceptron over x and y side by side.

    f(x, y) = MLP([x, y])

Source: Poole et al., "On variational bounds of mutual information", arXiv 1905.06922, section 3; Belghazi et al.,
"MINE", arXiv 1801.04062.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seqgen.models.critic import Critic, PerceptronSizes, perceptron


class ConcatenatedCritic(Critic):
    """One perceptron over every pairing: K² passes for K² scores.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> ConcatenatedCritic(ConcatenatedCritic.Config(x_dim=3, y_dim=2))(torch.zeros(5, 3), torch.zeros(4, 2)).shape
        torch.Size([4, 5])
    """

    Config = PerceptronSizes

    @classmethod
    def examples(cls) -> Iterable[ConcatenatedCritic]:
        return [cls(cls.Config(x_dim=3, y_dim=2, hidden=6, layers=layers)) for layers in (1, 2)]

    def __init__(self, config: PerceptronSizes) -> None:
        super().__init__(config.x_dim, config.y_dim)
        self.f = perceptron(config.x_dim + config.y_dim, 1, hidden=config.hidden, layers=config.layers)

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        rows, columns = len(y), len(x)
        of_x = x[None].expand(rows, -1, -1)  # [I, J, x_dim]
        of_y = y[:, None].expand(-1, columns, -1)  # [I, J, y_dim]
        scores: Tensor = self.f(torch.cat([of_x, of_y], dim=-1))  # [I, J, 1]
        return scores[..., 0]  # [I, J]
