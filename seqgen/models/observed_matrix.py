"""Observed entries of a matrix of users and items, by the user and by the item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class EntryLists:
    """Entries of each row of a sparse matrix, one row's behind another's, in the order of their partners.

    Attributes:
        starts: int64 ``[rows + 1]``, where each row's entries begin; the last is where all end.
        partners: int64 ``[N]``, the other side of each entry. values: ``[N]``.
    """

    starts: Tensor
    partners: Tensor
    values: Tensor

    @classmethod
    def of(cls, owners: Tensor, partners: Tensor, values: Tensor, *, rows: int) -> EntryLists:
        """Lists of entries that stand in any order, three tensors ``[N]``."""
        by_partner = partners.argsort(stable=True)
        order = by_partner[owners[by_partner].argsort(stable=True)]
        starts = torch.zeros(rows + 1, dtype=torch.int64, device=owners.device)
        starts[1:] = torch.bincount(owners, minlength=rows).cumsum(dim=0)
        return cls(starts, partners[order], values[order])

    @property
    def rows(self) -> int:
        """Rows of the matrix, those without entries included."""
        return len(self.starts) - 1

    @property
    def owners(self) -> Tensor:
        """The row of each entry, ``[N]``."""
        rows = torch.arange(self.rows, device=self.starts.device)
        return rows.repeat_interleave(self.starts.diff())

    def gathered(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Entries of some rows ``[n]``: which of the rows each belongs to, and its number, ``[M]`` both."""
        counts = self.starts[rows + 1] - self.starts[rows]
        owner = torch.arange(len(rows), device=rows.device).repeat_interleave(counts)
        before = counts.cumsum(dim=0) - counts
        place = torch.arange(len(owner), device=rows.device) - before[owner]
        return owner, self.starts[rows][owner] + place


@dataclass(frozen=True)
class ObservedMatrix:
    """Matrix of ratings R ``[users, items]`` of which some entries are observed; its lists take the memory of those.

    All rows of a batch read the same matrix.

    Attributes:
        by_user, by_item: the entries from either side. They are the same, save those of :meth:`with_users`.

    Example:
        >>> seen = ObservedMatrix.of(torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([0.5, -1.0]), (3, 2))
        >>> seen.contains(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 0]))
        tensor([False,  True,  True])
    """

    shared_by_rows: ClassVar[bool] = True
    by_user: EntryLists
    by_item: EntryLists

    @classmethod
    def of(cls, user: Tensor, item: Tensor, value: Tensor, shape: tuple[int, int]) -> ObservedMatrix:
        """A matrix of ``shape`` (users, items) with these entries, int64 ``[N]`` twice and values ``[N]``."""
        users, items = shape
        return cls(EntryLists.of(user, item, value, rows=users), EntryLists.of(item, user, value, rows=items))

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items."""
        return self.by_user.rows, self.by_item.rows

    def with_users(self, user: Tensor, item: Tensor, value: Tensor, *, count: int) -> ObservedMatrix:
        """The matrix with ``count`` users more, numbered from 0, and what they have rated ``[N]``.

        No item's list names them, so that they learn nothing of each other.
        """
        old, users = self.by_user, self.by_user.rows
        rated = torch.cat([old.partners, item]), torch.cat([old.values, value])
        both = EntryLists.of(torch.cat([old.owners, user + users]), *rated, rows=users + count)
        return ObservedMatrix(both, self.by_item)

    def contains(self, user: Tensor, item: Tensor) -> Tensor:
        """Whether these entries are observed, bool ``[B]``."""
        items = self.by_item.rows
        known, asked = self.by_user.owners * items + self.by_user.partners, user * items + item
        if not len(known):
            return torch.zeros_like(user, dtype=torch.bool)
        place = torch.searchsorted(known, asked).clamp_max(len(known) - 1)
        return known[place] == asked
