"""State trees, and the spec of composed layers against what brute force measures."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.nets.layers import CausalConv1d, Dense
from seqgen.spec import StateLeaf
from seqgen.stream import state as trees
from seqgen.stream.combinators import Delay, Fold, Interpolate, Repeat, Residual, Serial, Unfold
from seqgen.stream.contract import Streamable


class Inner(NamedTuple):
    first: Tensor
    nothing: tuple[()]
    pair: tuple[Tensor, Tensor]


class Empty(NamedTuple):
    pass


def tree(batch: int = 3, base: float = 0.0) -> tuple[Any, ...]:
    def make(width: int) -> Tensor:
        return base + torch.arange(batch * width, dtype=torch.float32).reshape(batch, width)

    count = torch.arange(batch, dtype=torch.int64)
    return (Inner(make(2), (), (make(1), count)), Empty(), (make(3),))


NAMES = ["0.first", "0.pair.0", "0.pair.1", "2.0"]


def same(left: Any, right: Any) -> bool:
    pairs = zip(trees.leaves(left), trees.leaves(right), strict=True)
    return all(a == b and x.dtype == y.dtype and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_leaves_are_named_by_their_path() -> None:
    assert [name for name, _ in trees.leaves(tree())] == NAMES
    assert [name for name, _ in trees.leaves(tree(), "body")] == [f"body.{name}" for name in NAMES]
    assert list(trees.leaves(())) == []
    ((name, leaf),) = trees.leaves(torch.ones(2))
    assert (name, leaf.tolist()) == ("", [1.0, 1.0])


def test_map_keeps_the_structure_and_the_given_tree() -> None:
    given_tree = tree()
    doubled = trees.map_leaves(lambda leaf: leaf * 2, given_tree)
    assert isinstance(doubled[0], Inner)
    assert isinstance(doubled[1], Empty)
    assert type(doubled) is tuple
    assert same(given_tree, tree())
    summed = trees.map_leaves(torch.add, tree(), tree())
    assert same(summed, doubled)
    with pytest.raises(ValueError, match="zip"):
        trees.map_leaves(torch.add, tree(), tree()[:2])


def test_unflatten_undoes_leaves() -> None:
    flat = [leaf for _, leaf in trees.leaves(tree(base=5))]
    assert same(trees.unflatten(tree(), flat), tree(base=5))
    assert trees.unflatten((), []) == ()


@pytest.mark.parametrize("count", [0, 3, 5])
def test_unflatten_refuses_another_number_of_leaves(count: int) -> None:
    flat = [torch.zeros(1)] * count
    with pytest.raises((ValueError, RuntimeError, SeqgenError, AssertionError)):
        trees.unflatten(tree(), flat)


def test_rows_and_merge_are_inverse() -> None:
    whole = tree(4)
    assert same(trees.merge([trees.rows(whole, slice(0, 1)), trees.rows(whole, slice(1, 4))]), whole)
    chosen = trees.rows(whole, torch.tensor([2, 0]))
    assert torch.equal(chosen[0].first, whole[0].first[[2, 0]])
    assert chosen[0].pair[1].tolist() == [2, 0]
    assert trees.merge([(), ()]) == ()


def test_the_table_describes_leaves_without_the_batch() -> None:
    assert trees.table(tree(7)) == (
        StateLeaf("0.first", (2,), "float32"),
        StateLeaf("0.pair.0", (1,), "float32"),
        StateLeaf("0.pair.1", (), "int64"),
        StateLeaf("2.0", (3,), "float32"),
    )
    assert trees.table(()) == ()
    assert trees.table(torch.zeros(1, 2, dtype=torch.float64)) == (StateLeaf("", (2,), "float64"),)


class Reach(NamedTuple):
    context: int
    inputs: int
    outputs: int


def measure(model: Streamable[Any], blocks: int) -> Reach:
    """The receptive field, counted back from the newest input there was when an output came out.

    Every output is linked to the inputs that move it, by gradients; the model is fed in its smallest blocks.
    """
    spec = model.spec
    x = torch.ones(1, blocks * spec.block, spec.in_dim, dtype=torch.float64, requires_grad=True)
    state, context, outputs = model.init_state(1), 0, 0
    for start in range(0, x.shape[1], spec.block):
        y, state = model.step(x[:, start : start + spec.block], state)
        outputs += y.shape[1]
        for t in range(y.shape[1]):
            if y.requires_grad:
                (moved,) = torch.autograd.grad(y[0, t].sum(), x, retain_graph=True, allow_unused=True)
                inputs = [] if moved is None else moved[0].abs().sum(dim=1).nonzero()[:, 0].tolist()
                if inputs:
                    context = max(context, start + spec.block - min(inputs))
    return Reach(context, x.shape[1], outputs)


def ones(model: Streamable[Any]) -> Streamable[Any]:
    """Positive weights: no path cancels another."""
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
    return model.double()


def layer(kind: str, size: int, dim: int) -> Streamable[Any]:
    if kind == "conv":
        return CausalConv1d(dim, 1, kernel=size + 1, dilation=2 if size == 3 else 1)
    if kind == "delay":
        return Delay(size, dim=dim)
    if kind == "repeat":
        return Repeat(size, dim=dim)
    if kind == "interpolate":
        return Interpolate(size + 1, dim=dim)
    if kind == "fold":
        return Fold(size + 1, dim=dim)
    return Serial(Dense(dim, 2), Unfold(2, dim=1))


def stack(kinds: list[tuple[str, int]]) -> Streamable[Any]:
    parts, dim = [], 1
    for kind, size in kinds:
        parts.append(layer(kind, size, dim))
        dim = parts[-1].spec.out_dim
    return ones(Serial(*parts))


def agrees(model: Streamable[Any], *, exact: bool) -> None:
    spec = model.spec
    assert spec.context is not None
    reach = measure(model, 3 + -(-2 * spec.context // spec.block))
    assert (0, reach.outputs) == spec.outputs(0, reach.inputs)
    assert reach.context <= spec.context, f"declared {spec.context}, measured {reach.context}"
    if exact:
        assert reach.context == spec.context, f"declared {spec.context}, measured {reach.context}"


kinds = st.tuples(st.sampled_from(["conv", "delay", "repeat", "interpolate", "fold", "unfold"]), st.integers(1, 3))
rising = st.tuples(st.sampled_from(["conv", "delay", "repeat", "interpolate", "unfold"]), st.integers(1, 3))
falling = st.tuples(st.sampled_from(["conv", "delay", "fold"]), st.integers(1, 3))


@settings(max_examples=25, phases=(Phase.explicit, Phase.generate))
@given(st.lists(rising, min_size=1, max_size=3) | st.lists(falling, min_size=1, max_size=3))
def test_the_declared_receptive_field_is_the_measured_one(parts: list[tuple[str, int]]) -> None:
    agrees(stack(parts), exact=True)


@settings(max_examples=25, phases=(Phase.explicit, Phase.generate))
@given(st.lists(kinds, min_size=2, max_size=4))
def test_the_declared_receptive_field_is_never_too_small(parts: list[tuple[str, int]]) -> None:
    agrees(stack(parts), exact=False)


@pytest.mark.parametrize(
    "parts",
    [
        [("fold", 1), ("unfold", 1), ("conv", 1)],  # an output of the conv reaches into the group before its own
        [("fold", 1), ("repeat", 3), ("conv", 1)],
        [("fold", 2), ("unfold", 1), ("delay", 1)],
    ],
    ids=["fold-unfold-conv", "fold-repeat-conv", "fold-unfold-delay"],
)
def test_groups_count_as_a_whole(parts: list[tuple[str, int]]) -> None:
    agrees(stack(parts), exact=True)


@pytest.mark.parametrize("parts", [[("repeat", 2), ("fold", 1)], [("repeat", 2), ("fold", 3)]])
def test_folding_what_was_repeated_reaches_no_further(parts: list[tuple[str, int]]) -> None:
    agrees(stack(parts), exact=True)


@pytest.mark.parametrize("down", [1, 2, 3])
@pytest.mark.parametrize("look_ahead", [0, 1, 2, 3, 4])
def test_after_its_latency_a_stack_answers_without_padding(look_ahead: int, down: int) -> None:
    """Look-ahead that is no whole number of groups cannot be declared: refused, or counted up, never down."""
    conv = CausalConv1d(1, 1, kernel=look_ahead + 1, look_ahead=look_ahead)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, 0] = 1.0  # y_t = x_{t - look_ahead}
    try:
        model = Serial(conv, Fold(down, dim=1)) if down > 1 else Serial(conv)
    except SeqgenError:
        assert look_ahead % down
        return
    y = model(torch.ones(1, 12, 1))
    assert (y[:, model.spec.latency :] == 1).all()


@pytest.mark.parametrize("up", [1, 2, 3, 4])
def test_latencies_add_at_the_rate_where_they_arise(up: int) -> None:
    look = CausalConv1d(1, 1, kernel=3, look_ahead=1)
    assert Serial(look, Repeat(up, dim=1), look).spec.latency == up + 1
    assert Serial(look, Interpolate(up, dim=1)).spec.latency == up + (up - up // 2)
    assert Residual(look).spec.latency == 1


def test_a_block_is_what_every_layer_can_take() -> None:
    assert Serial(Repeat(2, dim=1), Fold(4, dim=1)).spec.block == 2
    assert Serial(Repeat(4, dim=1), Fold(2, dim=1)).spec.block == 1
    assert Serial(Fold(2, dim=1), Fold(3, dim=2)).spec.block == 6
    assert Serial(Repeat(3, dim=1), Fold(2, dim=1)).spec.block == 2


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SeqgenError, match=r"4 outputs .* 3 inputs"):
        Serial(Dense(2, 4), Dense(3, 2))
    with pytest.raises(SeqgenError, match="2 to 3 channels"):
        Residual(Dense(2, 3))
    with pytest.raises(SeqgenError, match="rate 2/1"):
        Residual(Repeat(2, dim=1))
    with pytest.raises(SeqgenError, match="0 steps"):
        Delay(0, dim=1)
    with pytest.raises(SeqgenError, match="block of 3"):
        Fold(2, dim=1)(torch.zeros(1, 3, 1))


@pytest.mark.parametrize("make", [lambda: Delay(2, dim=1), lambda: Repeat(2, dim=1), lambda: Interpolate(3, dim=1),
                                  lambda: CausalConv1d(1, 1, kernel=3), lambda: Dense(1, 1)])  # fmt: skip
def test_an_empty_block_changes_nothing(make: Any) -> None:
    model = make()
    state = model.step(torch.ones(1, 2, 1), model.init_state(1))[1]
    y, after = model.step(torch.ones(1, 0, 1), state)
    assert y.shape[:2] == (1, 0)
    assert same(after, state)
