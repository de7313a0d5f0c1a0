"""The recurrence of training: every set of kernels against plain loops in float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.nets import gru, gru_kernel, training_library
from seqgen.nets.gru_kernel import Lines, gru_sequence

SHAPES = [(1, 1, 1, 16), (3, 5, 1, 7), (9, 4, 2, 24), (17, 6, 1, 33), (2, 3, 3, 5), (33, 2, 1, 100)]
"""Rows, steps, pieces and their width: one of each, ragged vectors, rows that fill no tile."""
SETS = ("generic", "avx2", "avx512", "avx512bf16", "amx", "neon")

pytestmark = pytest.mark.skipif(not training_library.available(), reason="the native engine is not built")
Problem = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(params=SETS)
def isa(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    try:
        gru_sequence(torch.zeros(1, 1, 3), torch.zeros(1, 1), torch.zeros(3, 1), isa=name)
    except SeqgenError as error:
        assert "not here" in str(error)  # noqa: PT017
        pytest.skip(f"this machine has no {name}")
    return name


def problem(shape: tuple[int, int, int, int]) -> tuple[Problem, Tensor]:
    """Inputs, state before and weights in float64 that float32 holds exactly, and the gradient of the states."""
    rows, steps, groups, width = shape
    state, make = groups * width, torch.Generator().manual_seed(sum(shape))
    sizes = ((rows, steps, 3 * state), (rows, state), (3 * state, state), (rows, steps, state))
    made = [torch.randn(size, generator=make) for size in sizes]
    made[2] /= state**0.5
    return (made[0].double(), made[1].double(), made[2].double()), made[3].double()


def by_loops(given: Problem, grad: Tensor, groups: int, rounded: bool) -> Iterator[Tensor]:
    """States, then the gradients of inputs, first state and weights, in float64; where ``rounded`` the operands of each
    product, forward and back, are what bfloat16 holds."""
    inputs, hidden, weight = given
    cut = (lambda x: x.bfloat16().double()) if rounded else (lambda x: x)
    (rows, steps, _), state = inputs.shape, hidden.shape[1]
    by_gate = lambda x: x.view(rows, groups, 3, -1)  # noqa: E731
    states, kept, h = [], [], hidden
    for step in range(steps):
        product, i = by_gate(cut(h) @ cut(weight).T), by_gate(inputs[:, step])
        r, z = torch.sigmoid(i[:, :, 0] + product[:, :, 0]), torch.sigmoid(i[:, :, 1] + product[:, :, 1])
        n = torch.tanh(i[:, :, 2] + r * product[:, :, 2])
        kept.append((h, r, z, n, product[:, :, 2]))
        h = (n + z * (h.view_as(n) - n)).flatten(1)
        states.append(h)
    yield torch.stack(states, dim=1)
    to_inputs, to_weight, carry = torch.zeros_like(inputs), torch.zeros_like(weight), torch.zeros(rows, state).double()
    for step in reversed(range(steps)):
        before, r, z, n, product = kept[step]
        after = (grad[:, step] + carry).view_as(n)
        to_n = after * (1 - z) * (1 - n * n)
        to_r, to_z = to_n * product * r * (1 - r), after * (before.view_as(n) - n) * z * (1 - z)
        to_inputs[:, step] = torch.stack([to_r, to_z, to_n], dim=2).flatten(1)
        of_products = cut(torch.stack([to_r, to_z, to_n * r], dim=2).flatten(1))
        to_weight += of_products.T @ cut(before)
        carry = of_products @ cut(weight) + (after * z).flatten(1)
    yield from (to_inputs, carry, to_weight)


def by_kernel(given: Problem, grad: Tensor, groups: int, *, half: bool, isa: str = "") -> list[Tensor]:
    single = [one.float().requires_grad_() for one in given]
    states = gru_sequence(single[0], single[1], single[2], groups, half=half, isa=isa)
    return [states.detach(), *torch.autograd.grad(states, single, grad.float())]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_states_and_gradients_are_those_of_the_equations(isa: str, shape: tuple[int, ...], half: bool) -> None:
    """In bfloat16 an operand beside a rounding edge may fall to its other side, and the gradient of the weights is
    rounded itself: it is torch's product."""
    given, grad = problem(shape)  # type: ignore[arg-type]
    made = by_kernel(given, grad, shape[2], half=half, isa=isa)
    wanted = list(by_loops(given, grad, shape[2], half))
    apart = [(one.double() - other).abs() / other.abs().max() for one, other in zip(made, wanted, strict=True)]
    assert max(float(one.max()) for one in apart[:3]) < (1e-4 if half else 3e-6)
    assert max(float(one.mean()) for one in apart[:3]) < (1e-6 if half else 1e-7)
    assert apart[3].max() < (4e-3 if half else 3e-6)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("shape", "lines"), [(SHAPES[1], (0, 2)), (SHAPES[2], (3, 4)), (SHAPES[4], (2, 0)), (SHAPES[5], (1, 3))]
)
def test_inputs_may_be_sums_of_lines(isa: str, shape: tuple[int, ...], lines: tuple[int, int], half: bool) -> None:
    """Lines that all rows share and those of a row's own; a coefficient in three is nothing."""
    rows, steps, groups, width = shape
    make, gates = torch.Generator().manual_seed(sum(lines)), 3 * groups * width
    coefficients = torch.randn(rows, steps, sum(lines), generator=make)
    coefficients[torch.rand(coefficients.shape, generator=make) < 1 / 3] = 0
    shared = torch.randn(lines[0], gates, generator=make, requires_grad=True)
    own = torch.randn(rows, lines[1], gates, generator=make, requires_grad=True)
    (_, hidden, weight), grad = problem(shape)  # type: ignore[arg-type]
    sums = Lines(coefficients.double(), shared.double(), own.double()).dense()
    made = gru_sequence(Lines(coefficients, shared, own), hidden.float(), weight.float(), groups, half=half, isa=isa)
    states, to_inputs, *_ = by_loops((sums.detach(), hidden, weight), grad, groups, half)
    assert (made - states).abs().max() < (1e-4 if half else 3e-6) * states.abs().max()
    found = torch.autograd.grad(made, (shared, own), grad.float())
    wanted = torch.autograd.grad(sums, (shared, own), to_inputs)
    for one, other in zip(found, wanted, strict=True):
        assert one.numel() == 0 or (one - other).abs().max() < (1e-3 if half else 1e-5) * other.abs().max()


@pytest.mark.parametrize("half", [False, True])
def test_threads_change_no_bit(isa: str, half: bool) -> None:
    given, grad = problem((19, 3, 2, 20))
    lines = [one.requires_grad_() for one in (torch.randn(2, 120), torch.randn(19, 3, 120))]
    threads, made = torch.get_num_threads(), {}
    try:
        for count in (1, 2, 5, 19, 40):
            torch.set_num_threads(count)
            single = [one.float().requires_grad_() for one in given]
            states = gru_sequence(single[0], single[1], single[2], 2, half=half, isa=isa)
            # The gradient of the weights is torch's own product, which need not keep to this.
            made[count] = [states.detach(), *torch.autograd.grad(states, single[:2], grad.float())]
            sums = Lines(torch.ones(19, 3, 5), *lines)
            states = gru_sequence(sums, single[1], single[2], 2, half=half, isa=isa)
            made[count] += [states.detach(), *torch.autograd.grad(states, lines, grad.float())]
    finally:
        torch.set_num_threads(threads)
    for other in made.values():
        assert all(torch.equal(one, two) for one, two in zip(made[1], other, strict=True))


def test_nothing_is_rows_steps_or_gradients(isa: str) -> None:
    for rows, steps in ((0, 3), (2, 0)):
        given, grad = problem((rows, steps, 1, 4))
        states, to_inputs, to_hidden, to_weight = by_kernel(given, grad, 1, half=False, isa=isa)
        assert states.shape == (rows, steps, 4)
        assert to_inputs.shape == (rows, steps, 12)
        assert not to_hidden.any()
        assert not to_weight.any()
    with torch.no_grad():
        assert not gru_sequence(torch.ones(1, 2, 3), torch.ones(1, 1), torch.ones(3, 1), isa=isa).requires_grad


def test_what_is_not_a_number_stays_none(isa: str) -> None:
    given, _ = problem((4, 3, 1, 20))
    given[0][2, 1, 5] = float("nan")
    for half in (False, True):
        states = gru_sequence(*(one.float() for one in given), half=half, isa=isa)
        assert states[2, 1, 5].isnan()
        assert states[2, 2].isnan().all()
        assert not states[[0, 1, 3]].isnan().any()


def test_it_is_what_layers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library float32 goes through it; float64 and what is differentiated twice go through torch."""
    seen = []
    monkeypatch.setattr(gru_kernel, "_run", lambda name, *_, **__: seen.append(name))
    given, _ = problem((2, 3, 1, 4))
    gru.gru_sequence(*(one.float() for one in given))
    with torch.autocast("cpu", torch.bfloat16):
        gru.gru_sequence(*(one.float() for one in given))
    assert seen == ["seqgen_gru_forward"] * 2
    gru.gru_sequence(*given)
    with gru.twice_differentiable():
        gru.gru_sequence(*(one.float() for one in given))
    assert len(seen) == 2


def test_coefficients_are_one_for_each_line() -> None:
    lines = Lines(torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(2, 3, 3))
    with pytest.raises(SeqgenError, match=r"4 coefficients for 2 \+ 3 lines"):
        gru_sequence(lines, torch.zeros(2, 1), torch.zeros(3, 1))


def test_coefficients_that_want_a_gradient_have_one() -> None:
    lines = Lines(torch.ones(2, 3, 2, requires_grad=True), torch.ones(1, 6), torch.ones(2, 1, 6))
    made = gru.gru_sequence(lines, torch.zeros(2, 2), torch.ones(6, 2))
    (grad,) = torch.autograd.grad(made.sum(), lines.coefficients)
    assert grad.abs().min() > 0


def test_an_unknown_instruction_set_is_named() -> None:
    with pytest.raises(SeqgenError, match=r"instruction set 'sse' cannot be used; known: .*generic"):
        gru_sequence(torch.zeros(1, 1, 3), torch.zeros(1, 1), torch.zeros(3, 1), isa="sse")


def test_without_the_library_torch_does_it_and_that_is_said_once() -> None:
    code = (
        "import torch, warnings\n"
        "from seqgen.nets.gru import gru_sequence\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    made = [gru_sequence(torch.zeros(1, 2, 3), torch.ones(1, 1), torch.zeros(3, 1)) for _ in range(2)]\n"
        "print(made[0].flatten().tolist(), [str(one.message) for one in said if 'training runs' in str(one.message)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120,
                          env={"SEQGEN_ENGINE": "/nowhere/engine.so", "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.stdout.startswith("[0.5, 0.25] ['training runs through torch alone, which is slower: ")
    assert done.stdout.count("training runs") == 1
