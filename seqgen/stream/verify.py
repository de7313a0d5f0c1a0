"""The laws of a Streamable as library code: run over every registered model and layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqgen.stream.contract import Streamable
from seqgen.stream.state import leaves, map_leaves, merge, rows

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class LawBroken(AssertionError):
    """Breach of a law by a Streamable; the message says which, where and by how much."""


def _close(law: str, got: Tensor, expected: Tensor, tolerance: float) -> None:
    if got.shape != expected.shape or got.dtype != expected.dtype:
        raise LawBroken(f"{law}: got {got.dtype} {tuple(got.shape)}, expected {expected.dtype} {tuple(expected.shape)}")
    if got.numel() == 0:
        return
    scale = max(1.0, float(expected.detach().abs().max())) if expected.is_floating_point() else 1.0
    worst = float((got.detach().double() - expected.detach().double()).abs().max()) / scale
    if not worst <= tolerance:
        raise LawBroken(f"{law}: differs by {worst:.3g} (relative to {scale:.3g}), allowed {tolerance:.1g}")


def inputs(model: Streamable[Any], batch: int, length: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Random inputs and conditioning of ``length`` positions that fit the model's spec and dtype."""
    spec = model.spec
    generator = torch.Generator().manual_seed(seed)
    dtype = model.zeros(0).dtype
    if spec.in_dim == 0:
        x = torch.randint(spec.vocab_size, (batch, length), generator=generator)
    else:
        x = torch.randn(batch, length, spec.in_dim, generator=generator, dtype=dtype)
    vectors = spec.conditions(0, length)[1]
    cond = torch.randn(batch, vectors, spec.cond_dim, generator=generator, dtype=dtype) if spec.cond_dim else None
    return x, cond


def run(model: Streamable[Any], x: Tensor, cond: Tensor | None, cuts: Sequence[int]) -> tuple[Tensor, Any]:
    """Outputs and final state of one stream fed in blocks that end at ``cuts`` (the last is the length)."""
    state, outputs, start = model.init_state(x.shape[0]), [], 0
    for stop in cuts:
        first, last = model.spec.conditions(start, stop)
        y, state = model.step(x[:, start:stop], state, None if cond is None else cond[:, first:last])
        outputs.append(y)
        start = stop
    return torch.cat(outputs, dim=1), state


def _cuts(length: int, grid: int) -> list[list[int]]:
    units = length // grid
    every = [index * grid for index in range(1, units + 1)]
    some = sorted({1, 2, units // 3, units // 2, units - 1, units} - {0})
    return [every, [index * grid for index in some], [every[-1] // 2 // grid * grid or grid, every[-1]]]


def _gradients(model: Streamable[Any], x: Tensor, cond: Tensor | None, cuts: Sequence[int]) -> list[Tensor]:
    x = x.clone().requires_grad_(x.is_floating_point())
    cond = None if cond is None else cond.clone().requires_grad_(True)
    y, _ = run(model, x, cond, cuts)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    wanted = [p for p in (*model.parameters(), x, cond) if p is not None and p.requires_grad]
    if not y.requires_grad:
        return []
    made = torch.autograd.grad((y * weights).sum(), wanted, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, made, strict=True)]


def check_chunking(model: Streamable[Any], x: Tensor, cond: Tensor | None, tolerance: float) -> None:
    """Any cut of the sequence gives the same outputs, final state and gradients."""
    length = x.shape[1]
    whole, final = run(model, x, cond, [length])
    gradients = _gradients(model, x, cond, [length])
    for cuts in _cuts(length, model.spec.block):
        y, state = run(model, x, cond, cuts)
        _close(f"chunking at {cuts[:4]}…", y, whole, tolerance)
        first = model.spec.conditions(0, cuts[0])[1]
        head = None if cond is None else cond[:, :first]
        advanced = model.advance(x[:, : cuts[0]], model.init_state(x.shape[0]), head)
        stepped = model.step(x[:, : cuts[0]], model.init_state(x.shape[0]), head)[1]
        for (name, got), (_, expected) in zip(leaves(advanced), leaves(stepped), strict=True):
            _close(f"advance over {cuts[0]}, state {name}", got, expected, tolerance)
        for (name, got), (_, expected) in zip(leaves(state), leaves(final), strict=True):
            _close(f"chunking at {cuts[:4]}…, state {name}", got, expected, tolerance)
        # Gradients are sums over all positions, in another order for another cut: allow ten roundings.
        for got, expected in zip(_gradients(model, x, cond, cuts), gradients, strict=True):
            _close(f"chunking at {cuts[:4]}…, gradient {tuple(got.shape)}", got, expected, 10 * tolerance)


def check_closure(model: Streamable[Any], x: Tensor, cond: Tensor | None) -> None:
    """The state has the same structure, shapes and dtypes after a step as before; outputs have the declared shape."""
    before = list(leaves(model.init_state(x.shape[0])))
    y, state = run(model, x, cond, [x.shape[1]])
    after = list(leaves(state))
    if [(n, t.shape, t.dtype) for n, t in before] != [(n, t.shape, t.dtype) for n, t in after]:
        raise LawBroken(f"closure: state went in as {_table(before)} and came out as {_table(after)}")
    if any(leaf.shape[0] != x.shape[0] for _, leaf in before):
        raise LawBroken(f"closure: a state leaf is not batch first: {_table(before)}")
    expected = (x.shape[0], model.spec.outputs(0, x.shape[1])[1], model.spec.out_dim)
    if (tuple(y.shape) if model.spec.out_dim else (*y.shape, 0)) != expected:
        raise LawBroken(f"closure: outputs have shape {tuple(y.shape)}, the spec says {expected}")


def _table(named: Sequence[tuple[str, Tensor]]) -> str:
    return ", ".join(f"{name} {tuple(leaf.shape)} {leaf.dtype}" for name, leaf in named) or "nothing"


def check_rows(model: Streamable[Any], x: Tensor, cond: Tensor | None, tolerance: float) -> None:
    """Each row is what it would be alone; splitting and merging states between steps changes nothing."""
    whole, _ = run(model, x, cond, [x.shape[1]])
    middle = x.shape[1] // 2 // model.spec.block * model.spec.block
    first, last = model.spec.conditions(0, middle)
    _, state = run(model, x[:, :middle], None if cond is None else cond[:, first:last], [middle])
    parts = []
    for row in range(x.shape[0]):
        alone, _ = run(model, x[row : row + 1], None if cond is None else cond[row : row + 1], [x.shape[1]])
        _close(f"rows: row {row}", alone, whole[row : row + 1], tolerance)
        parts.append(rows(state, slice(row, row + 1)))
    rest = None if cond is None else cond[:, last:]
    y, _ = model.step(x[:, middle:], merge(parts), rest)
    _close("rows: split and merged state", y, whole[:, whole.shape[1] - y.shape[1] :], tolerance)


def check_purity(model: Streamable[Any], x: Tensor, cond: Tensor | None) -> None:
    """Nothing given is changed, a state can be used twice, and two interleaved streams do not meet."""
    state = model.init_state(x.shape[0])
    middle = x.shape[1] // 2 // model.spec.block * model.spec.block
    cut = model.spec.conditions(0, middle)[1]
    heads = (x[:, :middle], None if cond is None else cond[:, :cut])
    tails = (x[:, middle:], None if cond is None else cond[:, cut:])
    _, state = model.step(heads[0], state, heads[1])
    given = (x.clone(), None if cond is None else cond.clone(), map_leaves(torch.clone, state))
    y1, after = model.step(tails[0], state, tails[1])
    model.step(heads[0].flip(0), map_leaves(lambda leaf: leaf.flip(0), state), None if cond is None else heads[1])
    again, after_again = model.step(tails[0], state, tails[1])
    _close("purity: the same step twice", again, y1, 0.0)
    for (name, got), (_, expected) in zip(leaves(after_again), leaves(after), strict=True):
        _close(f"purity: the same step twice, state {name}", got, expected, 0.0)
    for (name, got), (_, expected) in zip(leaves(state), leaves(given[2]), strict=True):
        _close(f"purity: state {name} was changed", got, expected, 0.0)
    _close("purity: the input was changed", x, given[0], 0.0)
    if cond is not None and given[1] is not None:
        _close("purity: the conditioning was changed", cond, given[1], 0.0)


def measured_reach(model: Streamable[Any], x: Tensor, cond: Tensor | None) -> int:
    """Perturb one early input and see which outputs move; returns how many input positions the effect spans at most, of
    four places: how far one reaches may depend on its place in a group.

    Raises:
        LawBroken: where an output before the perturbed position moves.
    """
    spec = model.spec
    worst = 0
    for position in range(spec.down * 2, spec.down * 2 + max(4, spec.down * 2)):
        other = x.clone()
        other[:, position] = (x[:, position] + 1) % spec.vocab_size if spec.in_dim == 0 else x[:, position] + 1
        y, base = model(other, cond), model(x, cond)
        moved = (y != base).reshape(y.shape[0], y.shape[1], -1).any(dim=2).any(dim=0).nonzero()
        if len(moved) == 0:
            continue
        first = spec.outputs(0, position // spec.down * spec.down)[1]
        if int(moved[0]) < first:
            raise LawBroken(f"context: input {position} moves output {int(moved[0])}, the first allowed is {first}")
        # The input that had just arrived when the last moved output was made:
        newest = (int(moved[-1]) // spec.up + 1) * spec.down - 1
        worst = max(worst, newest - position + 1)
    return worst


def check_context(model: Streamable[Any], x: Tensor, cond: Tensor | None) -> None:
    """Causal; the declared receptive field is the measured one; the declared latency lies inside it."""
    spec = model.spec
    reach = measured_reach(model, x, cond)
    if spec.context is not None and reach != spec.context:
        raise LawBroken(f"context: declared a receptive field of {spec.context} inputs, measured {reach}")
    if spec.context is not None and not 0 <= spec.latency * spec.down <= spec.context * spec.up:
        raise LawBroken(f"context: latency {spec.latency} lies outside the receptive field {spec.context}")


def verify(model: Streamable[Any], *, length: int = 24, batch: int = 3, seed: int = 0) -> None:
    """Run every law over one model in its own dtype.

    Args:
        model: any Streamable; ``length`` is rounded to whole groups and must exceed its receptive field.

    Raises:
        LawBroken: naming the law, the place and the size of the difference.

    Example:
        >>> verify(Delay(1, dim=2))
    """
    grid = model.spec.block
    length = -(-length // grid) * grid
    x, cond = inputs(model, batch, max(length, 4 * grid), seed)
    tolerance = TOLERANCE[model.zeros(0).dtype]
    check_closure(model, x, cond)
    check_purity(model, x, cond)
    check_rows(model, x, cond, tolerance)
    check_chunking(model, x, cond, tolerance)
    with torch.no_grad():
        check_context(model, x, cond)
