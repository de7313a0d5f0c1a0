"""Monotone alignments against every path written out."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.graphical import monotone
from seqgen.graphical.monotone import Tokens

_CASES = [
    (5, [False, False, False]),
    (4, [True, False, True, False, True]),
    (3, [False, True, False]),
    (2, [True, False]),
    (1, [True]),
    (3, [False]),
]


def paths(frames: int, optional: list[bool]) -> list[tuple[int, ...]]:
    """Every path: tokens never go back, and only optional ones are passed over."""
    needed = {at for at, free in enumerate(optional) if not free}
    every = itertools.combinations_with_replacement(range(len(optional)), frames)
    return [path for path in every if needed <= set(path)]


def padded(cases: list[tuple[int, list[bool]]]) -> Tokens:
    widest = max(len(optional) for _, optional in cases)
    return Tokens(
        torch.tensor([len(optional) for _, optional in cases]),
        torch.tensor([optional + [False] * (widest - len(optional)) for _, optional in cases]),
        torch.tensor([frames for frames, _ in cases]),
    )


def scores_of(tokens: Tokens) -> Tensor:
    shape = (len(tokens.counts), int(tokens.lengths.max()), tokens.optional.shape[1])
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_total_is_that_of_every_path() -> None:
    """Rows of different sizes side by side, with and without what may be left out."""
    tokens = padded(_CASES)
    scores = scores_of(tokens)
    found = monotone.total(scores, tokens)
    for row, (frames, optional) in enumerate(_CASES):
        each = [sum(scores[row, t, n] for t, n in enumerate(path)) for path in paths(frames, optional)]
        assert torch.allclose(found[row], torch.logsumexp(torch.stack(each), dim=0), atol=1e-12)


def test_the_gradient_is_the_share_of_paths() -> None:
    """Against finite differences; in a row's frames the shares are one in sum, behind its end there are none."""
    tokens = padded(_CASES)
    scores = scores_of(tokens).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda given: monotone.total(given, tokens), (scores,))
    (shares,) = torch.autograd.grad(monotone.total(scores, tokens).sum(), scores)
    inside = torch.arange(scores.shape[1])[None] < tokens.lengths[:, None]
    assert torch.allclose(shares.sum(dim=2), inside.double())


def test_the_best_path_is_the_best_of_all() -> None:
    """And nothing behind a row's end."""
    tokens = padded(_CASES)
    scores = scores_of(tokens)
    found = monotone.best(scores, tokens)
    for row, (frames, optional) in enumerate(_CASES):
        own = scores[row]
        wanted = max(paths(frames, optional), key=lambda path: float(sum(own[t, n] for t, n in enumerate(path))))
        assert found[row].tolist() == [*wanted, *[-1] * (scores.shape[1] - frames)]


def test_a_row_without_a_path_is_refused() -> None:
    """Fewer frames than tokens, and two tokens that may be left out next to each other."""
    with pytest.raises(SeqgenError, match="row 1 has 2 frames for 3 tokens"):
        monotone.total(torch.zeros(2, 3, 3), padded([(3, [False] * 3), (2, [False] * 3)]))
    with pytest.raises(SeqgenError, match="two optional tokens"):
        monotone.best(torch.zeros(1, 3, 3), padded([(3, [False, True, True])]))
