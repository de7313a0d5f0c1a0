"""Matrix factorisation: a stored vector for every user and every item.

    R_ij = b_i + c_j + p_i · q_j

Source: Koren, Bell and Volinsky, "Matrix factorization techniques for recommender systems", IEEE Computer 42(8), 2009,
equations 1 to 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.matrix_completion import EXAMPLE_SHAPE, MatrixCompletion
from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.noise import Key


class MatrixFactorisation(MatrixCompletion):
    """Factors p_i and q_j and biases b_i and c_j of users i and items j; without factors, what the means of rows and of
    columns tell.

    A user who came after training is folded in: with the items fixed, w = [b_i, p_i] is the one that minimises

        Σ_j (R_ij - c_j - [1, q_j] · w)² + ridge ‖w - w̄‖²,    w̄ the mean of the trained users'

    over what that user has rated, the entry to predict left out.

    Raises:
        SeqgenError: for sizes that make no network; a matrix of other users or items.

    Example:
        >>> network = MatrixFactorisation(MatrixFactorisation.Config(users=400, items=200, factors=10))
        >>> sum(parameter.numel() for parameter in network.parameters())
        6600
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            users, items: of the training data.
            factors: dimensions of a vector (0: biases alone). biases: whether there are any.
            ridge: how strongly a new user is held to the mean, above 0. deviation: of fresh factors.
        """

        users: int
        items: int
        factors: int = 10
        biases: bool = True
        ridge: float = 1.0
        deviation: float = 0.1

        def __post_init__(self) -> None:
            if min(self.users, self.items) < 1 or self.factors < 0 or not (self.factors or self.biases):
                raise SeqgenError(
                    f"{self.factors} factors of {self.users} users and {self.items} items"
                    + ("" if self.biases else " without biases"),
                    remedy="give 1 user and item or more, and 1 factor or more where there are no biases",
                )
            if self.ridge <= 0 or self.deviation <= 0:
                raise SeqgenError(
                    f"'ridge' is {self.ridge}, 'deviation' {self.deviation}", remedy="give numbers above 0"
                )

    @classmethod
    def examples(cls) -> Iterable[MatrixFactorisation]:
        users, items = EXAMPLE_SHAPE
        for factors, biases in ((3, True), (3, False), (0, True)):
            yield cls(cls.Config(users, items, factors, biases))

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.users = _factors(config.users, config)
        self.items = _factors(config.items, config)
        self.user_biases = nn.Parameter(torch.zeros(config.users, 1)) if config.biases else None
        self.item_biases = nn.Parameter(torch.zeros(config.items, 1)) if config.biases else None

    def require_fit(self, observed: ObservedMatrix) -> None:
        users, items = observed.shape
        if (users, items) != (self.config.users, self.config.items):
            raise SeqgenError(
                f"vectors of {self.config.users} users and {self.config.items} items, the data have {users} and "
                f"{items}",
                remedy=f"set users to {users} and items to {items}",
            )

    def predictions(self, user: Tensor, item: Tensor, observed: ObservedMatrix, key: Key) -> Tensor:
        features, offsets = self._items()
        weights = self._users()[user.clamp_max(self.config.users - 1)]  # [B, 1 + factors]
        fresh = user >= self.config.users  # [B]
        if fresh.any():
            weights = weights.masked_scatter(fresh[:, None], self._folded(user[fresh], item[fresh], observed))
        return offsets[item] + (features[item] * weights).sum(dim=1)  # [B]

    def _users(self) -> Tensor:
        """[b_i, p_i] of each user, ``[users, 1 + factors]``, or one of the two."""
        return torch.cat([part for part in (self.user_biases, self.users) if part is not None], dim=1)

    def _items(self) -> tuple[Tensor, Tensor]:
        """[1, q_j] of each item, ``[items, 1 + factors]``, or one of the two; and c_j, ``[items]``."""
        if self.item_biases is None:
            assert self.items is not None
            return self.items, torch.zeros_like(self.items[:, 0])
        ones = torch.ones_like(self.item_biases)
        features = ones if self.items is None else torch.cat([ones, self.items], dim=1)
        return features, self.item_biases[:, 0]

    def _folded(self, user: Tensor, item: Tensor, observed: ObservedMatrix) -> Tensor:
        """Weights w of users who came after training, each by what it has rated beside one item, ``[n, 1 + factors]``:

        (Σ_j x_j x_jᵀ + ridge · 1) (w - w̄) = Σ_j x_j (R_ij - c_j - x_j · w̄),    x_j = [1, q_j]
        """
        features, offsets = self._items()
        mean = self._users().mean(dim=0)
        owner, entry = observed.by_user.gathered(user)  # [M] both
        rated = observed.by_user.partners[entry]
        others = rated != item[owner]
        owner, entry, rated = owner[others], entry[others], rated[others]
        x = features[rated]  # [M, 1 + factors]
        missed = observed.by_user.values[entry] - offsets[rated] - x @ mean  # [M]
        width = x.shape[1]
        squares = x.new_zeros(len(user), width, width).index_add(0, owner, x[:, :, None] * x[:, None, :])
        products = x.new_zeros(len(user), width).index_add(0, owner, x * missed[:, None])
        held = squares + self.config.ridge * torch.eye(width, dtype=x.dtype, device=x.device)
        return mean + torch.linalg.solve(held, products)


def _factors(rows: int, config: MatrixFactorisation.Config) -> nn.Parameter | None:
    """Fresh vectors ``[rows, factors]``, where there are any."""
    return nn.Parameter(config.deviation * torch.randn(rows, config.factors)) if config.factors else None
