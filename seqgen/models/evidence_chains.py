"""Recursive evidence chains: matrix completion without a stored vector for each user and each item.

A few prototypes, the first N_u users and N_i items, own vectors. Everybody else's vector is computed from what it has
rated, or been rated, and the vectors of those, which are computed the same way, until the chain ends at prototypes:

    u(i, d) = mean over j in E of φ_u([v(j, d - 1), R_ij]),    v(j, d) = mean over i in E of φ_v([u(i, d - 1), R_ij])
    R_ij = ψ(u(i, D), v(j, D))

E is the evidence: the observed ratings of the row but for the one that is predicted, which no link of the chain sees;
at depth 0 those of prototypes alone. Without evidence a vector is a learnt one, ū or v̄. The number of parameters
depends neither on the users nor on the items, and new ones need no training.

Source: Tragas, Luo, Gazeau, Luk and Duvenaud, arXiv 1807.02150, abstract and introduction. The mean, the order and
limits of evidence, ψ and all sizes are choices of this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.critic import perceptron
from seqgen.models.evidence_chains_layers import Layer, Layers, Rules, layers
from seqgen.models.matrix_completion import EXAMPLE_SHAPE, MatrixCompletion
from seqgen.models.observed_matrix import EntryLists, ObservedMatrix
from seqgen.noise import Key


@dataclass(frozen=True)
class EvidenceChainsConfig:
    """Options.

    Attributes:
        dim: of a vector. prototypes: users and items that own one, the first of each.
        depth: D. evidence: the most that counts at depths D … 0 (0: all that there is), prototypes first, then by lot;
            one number is for every depth.
        hidden, layers: width and hidden layers of φ_u and φ_v.
        scorer_layers: hidden layers of a perceptron over both vectors, of width ``hidden``, that ψ adds to their scalar
            product (0: ψ is the scalar product).
        product: whether φ adds the product of the rating and a linear map of the vector to its perceptron, which learns
            products slowly.
        count: whether φ is told how much evidence there is, as ln(1 + n), which a mean does not show.
        dropout: share of the ratings that training leaves out of the evidence.
        thinning: the most that training leaves out of what the user and the item of an entry themselves have: nothing
            for half of them, for the others a share by lot up to this one. So users of few ratings are met in training.
        draws: over which an estimate is averaged. estimate_evidence: as ``evidence``, of estimates (none: the same).
    """

    dim: int = 32
    prototypes: tuple[int, int] = (20, 20)
    depth: int = 2
    evidence: tuple[int, ...] = (20, 8, 8)
    hidden: int = 64
    layers: int = 2
    scorer_layers: int = 2
    product: bool = True
    count: bool = False
    dropout: float = 0.0
    thinning: float = 0.9
    draws: int = 5
    estimate_evidence: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require(
            min(self.dim, *self.prototypes) >= 1,
            f"{self.dim} dimensions of {self.prototypes[0]} and {self.prototypes[1]} prototypes",
            "give 1 or more of each",
        )
        _require(self.depth >= 0, f"'depth' is {self.depth}", "give 0 or more")
        for name in ("evidence", "estimate_evidence"):
            limits = getattr(self, name)
            fits = len(limits) in (1, self.depth + 1) or (not limits and name != "evidence")
            _require(
                fits and min(limits, default=0) >= 0,
                f"'{name}' is {list(limits)} at depth {self.depth}",
                f"give {self.depth + 1} limits of 0 or more, from depth {self.depth} to depth 0, or one for all",
            )
        shares = 0 <= self.dropout < 1 and 0 <= self.thinning <= 1
        _require(
            shares,
            f"'dropout' is {self.dropout}, 'thinning' {self.thinning}",
            "give a dropout from 0, below 1, and a thinning from 0 to 1",
        )
        _require(
            self.draws >= 1 and self.scorer_layers >= 0,
            f"'draws' is {self.draws}, 'scorer_layers' {self.scorer_layers}",
            "give 1 draw or more, and 0 layers or more",
        )


def _require(holds: bool, problem: str, remedy: str) -> None:
    if not holds:
        raise SeqgenError(problem, remedy=remedy)


class Link(nn.Module):
    """φ: what one piece of evidence says of a vector, a perceptron over another vector, its rating and, where that is
    asked for, ln(1 + n)."""

    def __init__(self, config: EvidenceChainsConfig) -> None:
        super().__init__()
        self.perceptron = perceptron(
            config.dim + 1 + config.count, config.dim, hidden=config.hidden, layers=config.layers
        )
        self.product = nn.Linear(config.dim, config.dim, bias=False) if config.product else None
        if self.product is not None:
            nn.init.eye_(self.product.weight)  # fresh chains weigh vectors by ratings, however many links there are

    def forward(self, vector: Tensor, rating: Tensor, *counts: Tensor) -> Tensor:
        """``[M, dim]``, ``[M, 1]``, perhaps n ``[M, 1]`` → ``[M, dim]``."""
        said: Tensor = self.perceptron(torch.cat([vector, rating, *(one.log1p() for one in counts)], dim=1))
        return said if self.product is None else said + rating * self.product(vector)


class EvidenceChains(MatrixCompletion):
    """The chains of the module, computed layer by layer from the prototypes up.

    Raises:
        SeqgenError: for sizes that make no network; more prototypes than there are users or items with a rating.

    Example:
        >>> network = EvidenceChains(EvidenceChainsConfig(dim=16))
        >>> sum(parameter.numel() for parameter in network.parameters())  # of any number of users and items
        20065
    """

    Config = EvidenceChainsConfig

    @classmethod
    def examples(cls) -> Iterable[EvidenceChains]:
        small = {"dim": 3, "prototypes": (3, 2), "hidden": 5, "layers": 1, "scorer_layers": 1}
        for options in (
            {"evidence": (0,), "dropout": 0.2},
            {"depth": 3, "evidence": (4, 3, 2, 2), "count": True, "thinning": 0.0, "draws": 2},
            {"depth": 0, "evidence": (1,), "scorer_layers": 0},
            {"depth": 1, "prototypes": (1, EXAMPLE_SHAPE[1]), "evidence": (3, 2), "estimate_evidence": (0,)},
        ):
            yield cls(EvidenceChainsConfig(**{**small, **options}))  # type: ignore[arg-type]

    def __init__(self, config: EvidenceChainsConfig) -> None:
        super().__init__()
        self.config = config
        users, items = config.prototypes
        deviation = config.dim**-0.5
        self.users = nn.Parameter(deviation * torch.randn(users, config.dim))
        self.items = nn.Parameter(deviation * torch.randn(items, config.dim))
        self.mean_user = nn.Parameter(torch.zeros(config.dim))
        self.mean_item = nn.Parameter(torch.zeros(config.dim))
        self.phi_user = Link(config)
        self.phi_item = Link(config)
        scorer = {"hidden": config.hidden, "layers": config.scorer_layers}
        self.psi = perceptron(2 * config.dim, 1, **scorer) if config.scorer_layers else None

    def require_fit(self, observed: ObservedMatrix) -> None:
        for what, count, lists in zip(
            ("user", "item"), self.config.prototypes, (observed.by_user, observed.by_item), strict=True
        ):
            rated = int((lists.starts.diff() > 0).sum())
            if count > rated:
                raise SeqgenError(
                    f"{count} {what} prototypes, but {rated} {what}s have a training rating",
                    remedy=f"give {rated} prototypes or fewer",
                )

    def warnings(self, observed: ObservedMatrix) -> list[str]:
        if self.config.depth > 0:
            return []
        sides = (("user", "item", observed.by_user), ("item", "user", observed.by_item))
        found = []
        for side, (what, other, lists) in enumerate(sides):
            rated = torch.bincount(
                lists.owners[lists.partners < self.config.prototypes[1 - side]], minlength=lists.rows
            )
            unreached = int((rated[self.config.prototypes[side] :] == 0).sum())
            if unreached:
                found.append(
                    f"at depth 0 the {unreached} {what}s without a rating by {other} prototypes share one vector; "
                    "raise depth or the number of prototypes"
                )
        return found

    def predictions(self, user: Tensor, item: Tensor, observed: ObservedMatrix, key: Key) -> Tensor:
        rules = self._rules(self.config.evidence, key)
        lists = (observed.by_user, observed.by_item)
        if self.training and self.config.dropout:
            rules = rules._replace(kept=(self._kept(lists[0]), self._kept(lists[1])))
        if self.training and self.config.thinning:
            rules = rules._replace(kept_last=(self._thinned(lists[0]), self._thinned(lists[1])))
        return self._scores(layers(observed, user, item, rules))

    def estimates(self, user: Tensor, item: Tensor, observed: ObservedMatrix, key: Key) -> Tensor:
        limits = self.config.estimate_evidence or self.config.evidence
        draws = self.config.draws if any(limits) else 1  # where all evidence counts nothing is drawn
        rules = [self._rules(limits, key, draw=draw) for draw in range(draws)]
        return torch.stack([self._scores(layers(observed, user, item, one)) for one in rules]).mean(dim=0)

    def _kept(self, lists: EntryLists) -> Tensor:
        """Ratings that dropout leaves, bool ``[N]``."""
        return torch.rand(len(lists.values), device=lists.values.device) >= self.config.dropout

    def _thinned(self, lists: EntryLists) -> Tensor:
        """Ratings that thinning leaves, bool ``[N]``."""
        shares = self.config.thinning * (2 * torch.rand(lists.rows, device=lists.values.device) - 1).clamp_min(0)
        return torch.rand(len(lists.values), device=lists.values.device) >= shares[lists.owners]

    def _rules(self, limits: tuple[int, ...], key: Key, *, draw: int = 0) -> Rules:
        each = limits * (self.config.depth + 1) if len(limits) == 1 else limits[::-1]
        return Rules(self.config.prototypes, each, key, draw)

    def _scores(self, made: Layers) -> Tensor:
        """ψ of the vectors that layers lead to, ``[B]``."""
        users, items = self.users, self.items  # one depth below the first layers
        for of_users, of_items in made.depths:
            users, items = (
                self._vectors(of_users, items, self.phi_user, self.users, self.mean_user),
                self._vectors(of_items, users, self.phi_item, self.items, self.mean_item),
            )
        u, v = users[made.user], items[made.item]  # [B, dim]
        scores = (u * v).sum(dim=1)  # [B]
        return scores if self.psi is None else scores + self.psi(torch.cat([u, v], dim=1))[:, 0]

    def _vectors(self, layer: Layer, others: Tensor, phi: nn.Module, stored: Tensor, mean: Tensor) -> Tensor:
        """Vectors of one layer ``[m, dim]`` from those of the other side one depth below."""
        counts = layer.counts[:, None].to(stored.dtype)  # [m, 1]
        known = [counts[layer.owner]] if self.config.count else []
        messages = phi(others[layer.source], layer.value[:, None], *known)  # [M, dim]
        sums = messages.new_zeros(len(layer.rows), self.config.dim).index_add(0, layer.owner, messages)
        computed = torch.where(counts > 0, sums / counts.clamp_min(1), mean)  # [m, dim]
        own = stored[layer.rows.clamp_max(len(stored) - 1)]
        return torch.where(layer.rows[:, None] < len(stored), own, computed)
