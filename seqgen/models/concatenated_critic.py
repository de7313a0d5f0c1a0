"""A critic that reads both vectors at once: a perceptron over x and y side by side.

    f(x, y) = MLP([x, y])

Source: Poole et al., "On variational bounds of mutual information", arXiv 1905.06922, section 3; Belghazi et al.,
"MINE", arXiv 1801.04062.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seqgen.models.critic import Critic, CriticPerceptron, perceptron


class ConcatenatedCritic(Critic):
    """One perceptron over every pairing: K² passes for K² scores.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> ConcatenatedCritic(ConcatenatedCritic.Config(x_dim=3, y_dim=2))(torch.zeros(5, 3), torch.zeros(4, 2)).shape
        torch.Size([4, 5])
    """

    Config = CriticPerceptron

    @classmethod
    def examples(cls) -> Iterable[ConcatenatedCritic]:
        kinds = ((1, False), (2, False), (2, True))
        return [cls(cls.Config(3, 2, hidden=6, layers=layers, spectral_norm=normed)) for layers, normed in kinds]

    def __init__(self, config: CriticPerceptron) -> None:
        super().__init__(config.x_dim, config.y_dim)
        sizes = {"hidden": config.hidden, "layers": config.layers, "spectral_norm": config.spectral_norm}
        self.f = perceptron(config.x_dim + config.y_dim, 1, **sizes)

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        rows, columns = len(y), len(x)
        of_x = x[None].expand(rows, -1, -1)  # [I, J, x_dim]
        of_y = y[:, None].expand(-1, columns, -1)  # [I, J, y_dim]
        scores: Tensor = self.f(torch.cat([of_x, of_y], dim=-1))  # [I, J, 1]
        return scores[..., 0]  # [I, J]

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = self.f(torch.cat([x, y], dim=-1))  # [K, 1]
        return scores[..., 0]
