"""The dilated stack of training: every set of kernels against plain loops in float64."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.models.wavenet import WaveNet
from seqgen.nets import dilated_kernel, training_library
from seqgen.nets.dilated_kernel import Stack, dilated_stack
from seqgen.nets.gru_kernel import Lines
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.lazy_interpolation import LazyInterpolation

SETS = ("generic", "avx2", "avx512", "avx512bf16", "amx", "neon")

pytestmark = pytest.mark.skipif(not training_library.available(), reason="the native engine is not built")


class Shape(NamedTuple):
    rows: int
    steps: int
    width: int
    gate: int
    dilations: tuple[int, ...]
    taps: int = 2
    last: bool = False  # whether the last layer leaves a residual


SHAPES = [
    Shape(1, 1, 1, 1, (1,)),
    Shape(3, 5, 5, 4, (1, 2, 8), taps=3),
    Shape(2, 70, 7, 20, (1, 4, 16, 3), last=True),
    Shape(5, 130, 33, 16, (2, 90), last=True),
    Shape(2, 64, 64, 64, (1, 2, 4)),
]
"""One of each, a reach beyond the block, ragged vectors, more positions than go through the layers together."""


class Problem(NamedTuple):
    entered: Tensor
    history: Tensor
    weights: list[Tensor]
    outputs: list[Tensor]
    biases: list[Tensor]
    inputs: Tensor
    grad_z: Tensor
    grad_left: Tensor

    def wanted(self) -> list[Tensor]:
        return [self.entered, *self.weights, *self.outputs, *self.biases, self.inputs]


@pytest.fixture(params=SETS)
def isa(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    try:
        by_kernel(single(problem(SHAPES[0])), SHAPES[0], isa=name)
    except SeqgenError as error:
        assert "not here" in str(error)  # noqa: PT017
        pytest.skip(f"this machine has no {name}")
    return name


def problem(shape: Shape) -> Problem:
    """All that enters, in float64 that float32 holds exactly."""
    make = torch.Generator().manual_seed(sum(shape[:4]))
    layers, gates = len(shape.dilations), 2 * shape.gate
    left = layers if shape.last else layers - 1

    def drawn(*size: int, by: float = 1.0) -> Tensor:
        return (by * torch.randn(size, generator=make)).double()

    return Problem(
        drawn(shape.rows, shape.steps, shape.width),
        drawn(shape.rows, sum((shape.taps - 1) * one for one in shape.dilations), shape.width),
        [drawn(gates, shape.taps * shape.width, by=(shape.taps * shape.width) ** -0.5) for _ in range(layers)],
        [drawn(shape.width, shape.gate, by=shape.gate**-0.5) for _ in range(left)],
        [drawn(shape.width) for _ in range(left)],
        drawn(shape.rows, shape.steps, layers * gates),
        drawn(shape.rows, shape.steps, layers * shape.gate),
        drawn(shape.rows, shape.steps, shape.width),
    )


class _Rounded(torch.autograd.Function):
    """A product of what bfloat16 holds, forward and back: ``x [..., K], w [O, K] → [..., O]``."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return cut(x) @ cut(w).T

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, w = ctx.saved_tensors  # type: ignore[attr-defined]
        return cut(grad) @ cut(w), cut(grad).flatten(0, 1).T @ cut(x).flatten(0, 1)


def cut(x: Tensor) -> Tensor:
    return x.bfloat16().to(x.dtype)


def by_loops(given: Problem, shape: Shape, half: bool) -> Stack:
    product = _Rounded.apply if half else lambda x, w: x @ w.T
    a, gated, kept, start = given.entered, [], [], 0
    inputs = given.inputs.split(2 * shape.gate, dim=2)
    for layer, dilation in enumerate(shape.dilations):
        reach = (shape.taps - 1) * dilation
        line = torch.cat([given.history[:, start : start + reach], a], dim=1)
        start += reach
        kept.append(line[:, shape.steps :])
        # Each tap's product is rounded by itself on the way back.
        parts = given.weights[layer].split(shape.width, dim=1)
        taps = [line[:, tap * dilation : tap * dilation + shape.steps] for tap in range(shape.taps)]
        inner = inputs[layer] + sum(product(x, w) for x, w in zip(taps, parts, strict=True))  # type: ignore[no-untyped-call]
        x, s = inner.split(shape.gate, dim=2)
        gated.append(torch.tanh(x) * torch.sigmoid(s))
        if layer < len(given.outputs):
            a = a + product(gated[-1], given.outputs[layer]) + given.biases[layer]  # type: ignore[no-untyped-call]
    return Stack(torch.cat(gated, dim=2), a, torch.cat(kept, dim=1))


def by_kernel(given: Problem, shape: Shape, *, half: bool = False, isa: str = "", lines: Lines | None = None) -> Stack:
    return dilated_stack(
        given.entered,
        given.history,
        given.weights,
        given.outputs,
        given.biases,
        given.inputs if lines is None else lines,
        dilations=shape.dilations,
        half=half,
        isa=isa,
    )


def single(given: Problem) -> Problem:
    """In float32, gradients wanted."""

    def cast(x: Tensor) -> Tensor:
        return x.float().requires_grad_()

    return Problem(
        cast(given.entered), given.history.float(), *([cast(x) for x in one] for one in given[2:5]),
        cast(given.inputs), given.grad_z.float(), given.grad_left.float(),
    )  # fmt: skip


def wanting(given: Problem) -> Problem:
    for one in given.wanted():
        one.requires_grad_()
    return given


def apart(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other).abs().max() / other.abs().max().clamp_min(1e-3)) if other.numel() else 0.0


def gradients(made: Stack, given: Problem, *wanted: Tensor) -> list[Tensor]:
    """Of what is wanted; the last residual is none of a stack's without one."""
    ends, grads = [made.z], [given.grad_z.to(made.z.dtype)]
    if len(given.outputs) == len(given.weights):
        ends, grads = [*ends, made.left], [*grads, given.grad_left.to(made.left.dtype)]
    return list(torch.autograd.grad(ends, wanted, grads))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_units_and_gradients_are_those_of_the_equations(isa: str, shape: Shape, half: bool) -> None:
    """In bfloat16 an operand beside a rounding edge may fall to its other side, as may all that follows."""
    exact, given = wanting(problem(shape)), single(problem(shape))
    expected, made = by_loops(exact, shape, half), by_kernel(given, shape, half=half, isa=isa)
    assert made.z.dtype == (torch.bfloat16 if half else torch.float32)
    for one, other in zip(made, expected, strict=True):
        assert apart(one, other.detach()) < (2e-2 if half else 3e-6)
    found = gradients(made, given, *given.wanted())
    wanted = gradients(expected, exact, *exact.wanted())
    for one, other in zip(found, wanted, strict=True):
        assert apart(one, other) < (4e-2 if half else 1e-5)
        assert (one.double() - other).abs().mean() < (4e-3 if half else 1e-6) * other.abs().max().clamp_min(1e-3)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("shape", "counts"), [(SHAPES[1], (1, 0)), (SHAPES[2], (2, 3)), (SHAPES[3], (0, 4))])
def test_inputs_may_be_sums_of_lines(isa: str, shape: Shape, counts: tuple[int, int], half: bool) -> None:
    make, channels = torch.Generator().manual_seed(4), len(shape.dilations) * 2 * shape.gate
    coefficients = torch.randn(shape.rows, shape.steps, sum(counts), generator=make)
    coefficients[torch.rand(coefficients.shape, generator=make) < 1 / 3] = 0
    shared = torch.randn(counts[0], channels, generator=make, requires_grad=True)
    own = torch.randn(shape.rows, counts[1], channels, generator=make, requires_grad=True)
    lines, given = Lines(coefficients, shared, own), single(problem(shape))
    sums = lines.dense().detach().requires_grad_()
    by_sums = by_kernel(given._replace(inputs=sums), shape, half=half, isa=isa)
    made = by_kernel(given, shape, half=half, isa=isa, lines=lines)
    assert apart(made.z, by_sums.z.double()) < (2e-2 if half else 3e-6)
    of_sums, of_entered = gradients(by_sums, given, sums, given.entered)
    *found, entered = gradients(made, given, shared, own, given.entered)
    wanted = torch.autograd.grad(lines.dense(), (shared, own), of_sums)
    for one, other in zip([*found, entered], [*wanted, of_entered], strict=True):
        assert apart(one, other.double()) < (4e-2 if half else 1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_threads_change_no_bit(isa: str, half: bool) -> None:
    shape = Shape(7, 70, 5, 6, (1, 2, 40))
    given, threads, made = single(problem(shape)), torch.get_num_threads(), []
    lines = Lines(torch.ones(7, 70, 3), torch.ones(1, 36, requires_grad=True), torch.ones(7, 2, 36, requires_grad=True))
    try:
        for count in (1, 2, 5, 40):
            torch.set_num_threads(count)
            plain, summed = (
                by_kernel(given, shape, half=half, isa=isa),
                by_kernel(given, shape, half=half, isa=isa, lines=lines),
            )
            # Gradients of the weights are torch's own products, which need not keep to this.
            made.append([
                *(one.detach() for one in plain),
                *gradients(plain, given, given.entered, given.inputs),
                *gradients(summed, given, lines.shared, lines.own),
            ])  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for other in made[1:] for one, two in zip(made[0], other, strict=True))


def test_a_block_goes_on_where_another_ended(isa: str) -> None:
    shape = SHAPES[2]
    given = single(problem(shape))
    whole, at = by_kernel(given, shape, isa=isa), 33

    def part(begin: int, end: int, history: Tensor) -> Stack:
        piece = given._replace(entered=given.entered[:, begin:end], inputs=given.inputs[:, begin:end], history=history)
        return by_kernel(piece, shape, isa=isa)

    first = part(0, at, given.history)
    second = part(at, shape.steps, first.ahead.detach())
    (found,) = torch.autograd.grad(first.ahead.sum(), given.entered, retain_graph=True)
    exact = wanting(problem(shape))
    short = exact._replace(entered=exact.entered[:, :at], inputs=exact.inputs[:, :at])
    (wanted,) = torch.autograd.grad(by_loops(short, shape._replace(steps=at), half=False).ahead.sum(), exact.entered)
    assert apart(found, wanted) < 1e-5
    assert torch.equal(torch.cat([first.z, second.z], dim=1), whole.z)
    assert torch.equal(second.ahead, whole.ahead)


def test_what_is_not_a_number_stays_none(isa: str) -> None:
    shape = SHAPES[2]
    given = single(problem(shape))
    entered = given.entered.detach().clone()
    entered[1, 20, 3] = float("nan")
    for half in (False, True):
        made = by_kernel(given._replace(entered=entered), shape, half=half, isa=isa)
        assert made.z[1, 20].isnan().any()
        assert not made.z[1, :20].isnan().any()
        assert not made.z[0].isnan().any()


def test_nothing_is_rows_or_steps(isa: str) -> None:
    for rows, steps in ((0, 3), (2, 0)):
        shape = Shape(rows, steps, 3, 2, (1, 2))
        given = single(problem(shape))
        made = by_kernel(given, shape, isa=isa)
        assert made.z.shape == (rows, steps, 4)
        assert torch.equal(made.ahead, given.history) or rows == 0
        assert not torch.autograd.grad(made.z.sum(), given.weights[0])[0].any()


def test_an_unknown_instruction_set_is_named() -> None:
    with pytest.raises(SeqgenError, match="instruction set 'sse' cannot be used"):
        by_kernel(single(problem(SHAPES[0])), SHAPES[0], isa="sse")


def test_what_is_no_stack_is_named() -> None:
    given = single(problem(SHAPES[4]))
    with pytest.raises(SeqgenError, match="dilation 0 of layer 1; give 1"):
        dilated_kernel.dilated_stack(*given[:6], dilations=(1, 0, 2))


@pytest.mark.parametrize("number", range(4))
def test_it_is_what_wavenets_run(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every small body, in two blocks, its conditioning between frames or a vector for each element: outputs, states
    and gradients are those of torch's layers."""
    seen: list[str] = []
    run = dilated_kernel._run
    monkeypatch.setattr(
        dilated_kernel, "_run", lambda name, *more, **arrays: (seen.append(name), run(name, *more, **arrays))
    )
    net = list(WaveNet.examples())[number]
    make = torch.Generator().manual_seed(number)
    x = torch.randint(6, (2, 21), generator=make) if net.embedding else torch.randn(2, 21, 1, generator=make)
    frames = torch.randn(2, 4, net.spec.cond_dim, generator=make, requires_grad=True)
    lazy = LazyInterpolation(torch.rand(21, 4, generator=make), frames)

    def found(dense: bool) -> list[Tensor]:
        cond: Conditioning | None = None
        if net.spec.cond_dim:
            cond = lazy.dense() if dense else lazy
        first, state = net.step(x[:, :9], net.init_state(2), None if cond is None else cond[:, :9])
        y, after = net.step(x[:, 9:], state, None if cond is None else cond[:, 9:])
        made = torch.cat([first, y], dim=1)
        wanted = [*net.parameters(), *([] if cond is None else [frames])]
        return [made.detach(), after.queues.detach(), *torch.autograd.grad(made.square().sum(), wanted)]

    for dense in (False, True):
        with training_library.by_torch():
            expected = found(dense)
        assert not seen
        for one, other in zip(found(dense), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        # The second block's history has a gradient, of which torch's layers take care.
        assert seen == ["seqgen_dilated_forward", "seqgen_dilated_backward"]
        seen.clear()
    with torch.no_grad():
        net.step(x, net.init_state(2), lazy if net.spec.cond_dim else None)
    assert not seen  # what is only scored goes through torch


def test_activations_are_seen_in_training_too() -> None:
    net = next(iter(WaveNet.examples()))
    x = torch.randint(6, (2, 12))
    _, _, gated = net.observe(x, net.init_state(2))
    with training_library.by_torch():
        _, _, expected = net.observe(x, net.init_state(2))
    assert len(gated) == len(expected) == 4
    for one, other in zip(gated, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
