"""The laws of bijectors as library code, to be run over every registered flow, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.flows.contract import Bijector
from seqgen.flows.one_hot import one_hot
from seqgen.stream import verify as streams
from seqgen.stream.contract import Streamable

_TOLERANCE = 1e-9
_ROWS, _TIME = 2, 7
_MOST = 2000  # sequences that are gone through one by one


def verify(bijector: Bijector, z: Tensor | None = None, cond: Tensor | None = None) -> None:
    """Every law of a bijector.

    Args:
        bijector: in float64. z, cond: what it maps, ``[B, T, C]``, and the conditioning for it; of a stream they are
            drawn as its ``spec`` says, of a map of symbols as its alphabet says.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    if z is None and bijector.vocab_size:
        z = drawn(bijector)
    if z is None:
        assert isinstance(bijector, Streamable), "only of a stream the law knows what it maps; give z"
        z, cond = streams.inputs(bijector, _ROWS, _TIME, seed=0)
    check_inverse(bijector, z, cond)
    check_log_det(bijector, z, cond)
    check_rows(bijector, z, cond)
    if bijector.vocab_size:
        check_symbols(bijector, z, cond)


def check_inverse(bijector: Bijector, z: Tensor, cond: Tensor | None = None) -> None:
    """Law of inversion: the way back leads to where one was, and its shares are the negatives of the others."""
    with torch.no_grad():
        x, there = bijector.forward_and_log_det(z, cond)
        again, back = bijector.inverse_and_log_det(x, cond)
    assert x.shape == z.shape, f"z {list(z.shape)} becomes x {list(x.shape)}"
    assert there.shape == back.shape == z.shape[:2], f"shares are {list(there.shape)}, expected {list(z.shape[:2])}"
    assert _apart(again, z) <= _TOLERANCE, f"f⁻¹(f(z)) is {_apart(again, z):.2g} away from z"
    assert _apart(back, -there) <= _TOLERANCE, f"the two logarithms differ by {_apart(back, -there):.2g}"


def check_log_det(bijector: Bijector, z: Tensor, cond: Tensor | None = None) -> None:
    """Law of volume: the shares add up to ``ln|det|`` of the Jacobian that differentiation gives; maps of symbols have
    none."""
    with torch.no_grad():
        _, shares = bijector.forward_and_log_det(z, cond)
    if bijector.vocab_size:
        assert bool((shares == 0).all()), "a map of symbols has no volume to change"
        return
    for row in range(len(z)):
        given = None if cond is None else cond[row : row + 1]

        def mapped(flat: Tensor, like: Tensor = z[row : row + 1], given: Tensor | None = given) -> Tensor:
            return bijector.forward_and_log_det(flat.view_as(like), given)[0].flatten()

        jacobian = torch.autograd.functional.jacobian(mapped, z[row].flatten())
        expected, found = float(torch.linalg.slogdet(jacobian)[1]), float(shares[row].sum())
        assert abs(found - expected) <= _TOLERANCE * max(1.0, abs(expected)), f"ln|det| is {found}, not {expected}"


def check_rows(bijector: Bijector, z: Tensor, cond: Tensor | None = None) -> None:
    """Law of rows: each is mapped as if it were alone, and nothing that is given changes."""
    kept = z.clone(), None if cond is None else cond.clone()
    with torch.no_grad():
        x, shares = bijector.forward_and_log_det(z, cond)
        for row in range(len(z)):
            given = None if cond is None else cond[row : row + 1]
            alone, share = bijector.forward_and_log_det(z[row : row + 1], given)
            worst = max(_apart(alone, x[row : row + 1]), _apart(share, shares[row : row + 1]))
            assert worst <= _TOLERANCE, f"row {row} is mapped otherwise where it is alone, by {worst:.2g}"
    same = kept[1] is None or (cond is not None and torch.equal(cond, kept[1]))
    assert torch.equal(z, kept[0]), "z was changed"
    assert same, "the conditioning was changed"


def check_symbols(bijector: Bijector, z: Tensor, cond: Tensor | None = None) -> None:
    """Law of symbols: both ways lead from one-hots to one-hots and exactly back, and no two sequences to the same one;
    over all of them where they are few."""
    with torch.no_grad():
        for there, back in (
            (bijector.forward_and_log_det, bijector.inverse_and_log_det),
            (bijector.inverse_and_log_det, bijector.forward_and_log_det),
        ):
            made = there(z, cond)[0]
            hard = (made == 0) | (made == 1)
            assert bool(hard.all() and (made.sum(dim=-1) == 1).all()), "a one-hot becomes none"
            assert torch.equal(back(made, cond)[0], z), "the way back does not lead exactly to where one was"
        if cond is None and bijector.vocab_size ** z.shape[1] <= _MOST:
            every = every_sequence(bijector.vocab_size, z.shape[1], z.dtype)
            made = bijector.forward_and_log_det(every)[0].argmax(dim=-1)
            assert len(made.unique(dim=0)) == len(every), "two sequences become one"


def every_sequence(vocab_size: int, length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """All sequences of one-hots in lexical order, ``[K^T, T, K]``."""
    symbols = torch.cartesian_prod(*[torch.arange(vocab_size)] * length).view(-1, length)
    return one_hot(symbols, vocab_size, dtype)


def drawn(bijector: Bijector) -> Tensor:
    """One-hots of random symbols in float64, ``[B, T, K]``."""
    generator = torch.Generator().manual_seed(0)
    symbols = torch.randint(bijector.vocab_size, (_ROWS, bijector.length or _TIME), generator=generator)
    return one_hot(symbols, bijector.vocab_size, torch.float64)


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest distance, relative to what is larger than 1."""
    scale = max(1.0, float(other.abs().max())) if other.numel() else 1.0
    return float((one - other).abs().max()) / scale if other.numel() else 0.0
