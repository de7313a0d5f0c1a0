"""A matrix of ratings that is drawn: of known rank, with users in soft groups of taste."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from seqgen import noise
from seqgen.errors import SeqgenError

Reals = npt.NDArray[np.float64]
_USERS, _ITEMS, _GROUPS, _NOISE, _LOTS = (
    noise.name_to_stream(f"seqgen.ratings.{name}") for name in ("users", "items", "groups", "noise", "lots")
)
_SMALLEST = 2.0**-25


@dataclass(frozen=True)
class LowRankRatings:
    """Ratings ``R_ij = 3 + s p_i · q_j + noise · ε_ij``, clipped to 1 … 5, with vectors of ``rank`` dimensions.

    Items have q ~ N(0, 1). A user stands between two of the groups, whose centres are c ~ N(0, 1):

        p_i = t c_a + (1 - t) c_b + spread · ε,    t ~ U(½, 1),    s = 1 / √(rank (2/3 + spread²))

    so that s p · q has a deviation of 1 over groups and items. A user is a function of the seed and of its number,
    whatever other users there are.

    Attributes:
        users, items: of the matrix. rank, groups, spread: see above. noise: standard deviation of a rating.
        observed: share of the entries that is learnt from. seed: of everything.

    Raises:
        SeqgenError: for numbers that make no such matrix.
    """

    users: int = 400
    items: int = 200
    rank: int = 5
    groups: int = 4
    spread: float = 0.5
    noise: float = 0.25
    observed: float = 0.08
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.users, self.items, self.rank) < 1 or self.groups < 2:
            raise SeqgenError(
                f"a matrix of {self.users} users and {self.items} items, rank {self.rank}, {self.groups} groups",
                remedy="give 1 or more of each, and 2 groups or more",
            )
        if min(self.spread, self.noise) < 0 or not 0 < self.observed < 1:
            raise SeqgenError(
                f"'spread' is {self.spread}, 'noise' {self.noise}, 'observed' {self.observed}",
                remedy="give deviations from 0, and a share between 0 and 1",
            )

    def ratings(self, users: npt.NDArray[np.int64]) -> Reals:
        """All ratings of the users of these numbers ``[n]``, ``[n, items]``."""
        q = self._normal(_ITEMS, np.arange(self.items * self.rank)).reshape(self.items, self.rank)
        scale = 1 / math.sqrt(self.rank * (2 / 3 + self.spread**2))
        clean = 3 + scale * self._tastes(users) @ q.T
        made: Reals = (clean + self.noise * self._normal(_NOISE, self._entries(users))).clip(1, 5)
        return made

    def lots(self, users: npt.NDArray[np.int64]) -> Reals:
        """A uniform number for each of their entries, ``[n, items]``, which says what it is for."""
        made: Reals = noise.uniforms(self.seed, _LOTS, self._entries(users))
        return made

    def _tastes(self, users: npt.NDArray[np.int64]) -> Reals:
        """p of each user, ``[n, rank]``."""
        width = 3 + self.rank
        places = users[:, None] * width + np.arange(width)
        u = noise.uniforms(self.seed, _USERS, places)
        share, first = 0.5 + 0.5 * u[:, :1], (u[:, 1] * self.groups).astype(np.int64)
        other = (first + 1 + (u[:, 2] * (self.groups - 1)).astype(np.int64)) % self.groups
        centres = self._normal(_GROUPS, np.arange(self.groups * self.rank)).reshape(self.groups, self.rank)
        own = ndtri(u[:, 3:].clip(_SMALLEST))
        made: Reals = share * centres[first] + (1 - share) * centres[other] + self.spread * own
        return made

    def _entries(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return users[:, None] * self.items + np.arange(self.items)

    def _normal(self, stream: int, places: npt.NDArray[Any]) -> Reals:
        made: Reals = ndtri(noise.uniforms(self.seed, stream, places).clip(_SMALLEST))
        return made
