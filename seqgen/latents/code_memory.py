"""Memory of the codes of a training set's rows, and which of them are near a code."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError


class Chosen(NamedTuple):
    """Neighbours chosen for some codes: ``rows [B]`` int64, and which rows have been chosen in this pass, bool
    ``[X]``."""

    rows: Tensor
    used: Tensor


class CodeMemory(nn.Module):
    """One code for each of X rows, as a network gave it when it saw the row last.

    A row that has not been seen has a sample of a standard normal distribution for its code. Rows are numbers from 0 to
    X - 1, -1 one that is none of them; a row is never a neighbour of itself. Distances are Euclidean, the search is
    exact.

    Attributes:
        codes: ``[X, D]``. used: bool ``[X]``, rows that have been chosen in this pass, where each is once.

    Raises:
        SeqgenError: for fewer than two rows, which have no neighbours.

    Example:
        >>> memory = CodeMemory(3, 1)
        >>> memory.write(torch.tensor([[0.0], [1.0], [5.0]]), torch.ones(3))
        >>> memory.nearest(torch.tensor([[0.9]]), torch.tensor([1]), 2)
        tensor([[0, 2]])
    """

    codes: Tensor
    used: Tensor

    def __init__(self, rows: int, dim: int) -> None:
        if rows < 2:
            raise SeqgenError(
                f"a memory of the codes of {rows} training rows",
                remedy="choose a task with a training set of 2 rows or more, and another prior for data without end",
            )
        super().__init__()
        self.register_buffer("codes", torch.randn(rows, dim))
        self.register_buffer("used", torch.zeros(rows, dtype=torch.bool))

    def nearest(self, code: Tensor, index: Tensor, count: int) -> Tensor:
        """Rows whose codes are nearest, nearest first: codes ``[B, D]`` of rows ``[B] → [B, min(count, X - 1)]``."""
        distances = self._distances(code, index)
        return distances.topk(min(count, len(self.codes) - 1), largest=False).indices

    def once(self, code: Tensor, index: Tensor, count: int, u: Tensor) -> Chosen:
        """Neighbours, each row that of one code in a pass: of the ``count`` nearest among those that are left, the one
        that the uniform says, ``[B, D], [B], [B]``. Codes choose one after the other. A pass ends when none is left but
        the row itself."""
        distances, used, rows = self._distances(code, index), self.used.clone(), []
        for own, to_each, uniform in zip(index.tolist(), distances, u.tolist(), strict=True):
            free = ~used
            if own >= 0:
                free[own] = False
            if not free.any():
                used = torch.zeros_like(used)
                free = torch.arange(len(used), device=used.device) != own
            left = min(count, int(free.sum()))
            near = to_each.masked_fill(~free, torch.inf).topk(left, largest=False).indices
            rows.append(near[int(uniform * left)])
            used[rows[-1]] = True
        return Chosen(torch.stack(rows), used)

    def sums(self, code: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Codes added up by their rows ``[X, D]``, and how many each has ``[X]``: what :meth:`write` is given."""
        known = index >= 0
        total, count = torch.zeros_like(self.codes), self.codes.new_zeros(len(self.codes))
        total.index_add_(0, index[known], code[known].to(total.dtype))
        return total, count.index_add_(0, index[known], count.new_ones(int(known.sum())))

    def write(self, total: Tensor, count: Tensor) -> None:
        """Put the means of what was added up in the place of the rows' codes."""
        seen = count > 0
        self.codes[seen] = (total[seen] / count[seen, None]).to(self.codes.dtype)

    def _distances(self, code: Tensor, index: Tensor) -> Tensor:
        """Distances to all codes ``[B, X]``, infinite to a row's own."""
        found = torch.cdist(code.to(self.codes.dtype), self.codes, compute_mode="donot_use_mm_for_euclid_dist")
        return found.masked_fill(index[:, None] == torch.arange(len(self.codes), device=index.device), torch.inf)
