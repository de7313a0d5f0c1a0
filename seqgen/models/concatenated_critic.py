"""A critic that reads both vectors at once: a perceptron over x and y side by side.

    f(x, y) = MLP([x, y])

Source: Poole et al., "On variational bounds of mutual information", arXiv 1905.06922, section 3; Belghazi et al.,
"MINE", arXiv 1801.04062.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
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
        # The first layer is linear: its part of x and its part of y are made once for each, not once for each pairing.
        first, others = self.f[0], self.f[1:]
        of_x = first(F.pad(x, (0, self.y_dim)))  # [J, hidden]
        of_y = first(F.pad(y, (self.x_dim, 0))) - first.bias  # [I, hidden]
        scores: Tensor = others(of_x[None] + of_y[:, None])  # [I, J, 1]
        return scores[..., 0]  # [I, J]

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = self.f(torch.cat([x, y], dim=-1))  # [K, 1]
        return scores[..., 0]
