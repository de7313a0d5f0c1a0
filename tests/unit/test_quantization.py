"""Products in 8 bits: the whole numbers, their sums, and gradients that pass the rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqgen.models.wavernn import WaveRNN
from seqgen.nets import quantization
from seqgen.nets.gru import gru_sequence
from tests.unit.test_gru import equations, problem
from tests.unit.test_wavernn import data, in_blocks, make, shifted


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_row_reaches_from_minus_127_to_127_by_its_absmax() -> None:
    matrix = torch.tensor([[0.5, -1.0, 0.25], [0.0, 0.0, 0.0], [3e-3, 1e-3, -1.5e-3]])
    levels = quantization.weights(matrix)
    assert levels.whole.tolist() == [[64, -127, 32], [0, 0, 0], [127, 42, -64]]
    assert levels.absmax[:, 0].tolist() == matrix.abs().amax(dim=1).tolist()
    assert (levels.values - matrix).abs().max() <= (levels.unit / 2).max()


@pytest.mark.parametrize("pair", [(-1.4095021486282349, 3.345921039581299), (1.6363950967788696, 3.7445437908172607)])
def test_ties_fall_as_in_double_precision(pair: tuple[float, float]) -> None:
    """Quotients that float32 would round onto a tie; the engine computes them in double precision."""
    matrix = torch.tensor([pair])
    expected = round(pair[0] / pair[1] * 127)
    assert (matrix / matrix.abs().max() * 127).round()[0, 0] != expected
    assert quantization.weights(matrix).whole[0, 0] == expected


def test_states_and_rectified_vectors() -> None:
    assert quantization.state(torch.tensor([1.0, -1.0, 0.5, 0.004])).whole.tolist() == [127, -127, 64, 1]
    made = quantization.rectified(torch.tensor([[0.0, 1.0, 0.25], [0.0, 0.0, 0.0]]))
    assert made.whole.tolist() == [[0, 254, 64], [0, 0, 0]]
    assert made.values[0, 1] == 1


def test_the_product_is_that_of_whole_numbers() -> None:
    x, weight = torch.tanh(draw(3, 5, 40)), draw(7, 40, seed=1)
    absmax = weight.abs().amax(1).double()
    whole = torch.round(weight.double() / absmax[:, None] * 127)
    expected = torch.round(127 * x).double() @ whole.T * absmax / 127 / 127
    torch.testing.assert_close(
        quantization.product(x, weight, quantization.state), expected.float(), rtol=3e-7, atol=1e-7
    )


def test_autocast_sums_the_same_whole_numbers() -> None:
    """Only the sum is rounded to bfloat16, by at most 2⁻⁸; weights and states rounded again would be off by more."""
    x, weight = torch.tanh(draw(9, 64)), draw(30, 64, seed=1)
    exact = quantization.product(x, weight, quantization.state)
    with torch.autocast("cpu", torch.bfloat16):
        half = quantization.product(x, weight, quantization.state)
    assert half.dtype == torch.float32
    assert ((half - exact).abs() <= 2**-8 * exact.abs()).all()


@pytest.mark.parametrize("small", [quantization.state, quantization.rectified])
def test_gradients_are_those_of_the_product_of_rounded_numbers(small) -> None:
    x, weight, ahead = torch.rand(4, 6, 16).requires_grad_(), draw(5, 16).requires_grad_(), draw(4, 6, 5, seed=2)
    got = torch.autograd.grad((quantization.product(x, weight, small) * ahead).sum(), (x, weight))
    x_q, w_q = small(x).values.requires_grad_(), quantization.weights(weight).values.requires_grad_()
    expected = torch.autograd.grad(((x_q @ w_q.T) * ahead).sum(), (x_q, w_q))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_head_rounds_state_rectified_values_and_weights() -> None:
    inner, outer, y = nn.Linear(24, 24), nn.Linear(24, 9), torch.tanh(draw(3, 24, seed=4))
    between = torch.relu(quantization.state(y).values @ quantization.weights(inner.weight).values.T + inner.bias)
    expected = quantization.rectified(between).values @ quantization.weights(outer.weight).values.T + outer.bias
    made = quantization.head(y, inner, outer)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-6)
    assert (made - outer(torch.relu(inner(y)))).abs().max() > 1e-4


def test_gates_are_read_from_the_table() -> None:
    """Near σ and tanh, odd around their middle, in one piece where pieces meet, and in the end 0 or 1."""
    x = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    gate, squashed = quantization.sigmoid(x), quantization.tanh(x)
    assert 5e-5 < (gate - x.sigmoid()).abs().max() < 1.5e-4
    assert 1e-4 < (squashed - x.tanh()).abs().max() < 3e-4
    torch.testing.assert_close(gate + gate.flip(0), torch.ones_like(gate), rtol=0, atol=1e-12)
    assert gate.diff().abs().max() < 6e-4
    assert gate[x > 9.3].min() > 1 - 1e-9  # an update gate that ended below 1 would forget
    assert gate[x < -9.3].max() < 1e-9


def test_gates_have_the_slope_of_the_functions_at_their_value() -> None:
    x = torch.tensor([-3.0, -0.2, 0.0, 1.7], requires_grad=True)
    for function, slope in ((quantization.sigmoid, lambda y: y * (1 - y)), (quantization.tanh, lambda y: 1 - y * y)):
        made = function(x)
        torch.testing.assert_close(torch.autograd.grad(made.sum(), x)[0], slope(made.detach()))


def by_autograd(inputs: Tensor, hidden: Tensor, weight: Tensor, groups: int) -> Tensor:
    """The recurrence step by step through :func:`quantization.product`."""

    class Rounded:
        """Stands for the matrix in the equations: ``hidden @ weight[rows].T``."""

        def __init__(self, rows: Tensor) -> None:
            self.rows = rows

        def __getitem__(self, rows: list[int]) -> Rounded:
            return Rounded(self.rows[rows])

        @property
        def T(self) -> Rounded:
            return self

        def __rmatmul__(self, other: Tensor) -> Tensor:
            return quantization.product(other, self.rows, quantization.state)

    functions = (quantization.sigmoid, quantization.tanh)
    return equations(inputs, hidden, Rounded(weight), groups, functions)  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [1, 2])
def test_the_recurrence_in_8_bits_is_its_equations_and_their_gradients(groups: int) -> None:
    inputs, hidden, weight = problem(groups, steps=6, piece=8)
    given = (inputs, torch.tanh(hidden.detach()).requires_grad_(), weight)
    made, expected = gru_sequence(*given, groups=groups, fake_quantized=True), by_autograd(*given, groups)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    assert (made - gru_sequence(*given, groups=groups)).abs().max() > 1e-4
    ahead = torch.randn(made.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got, wanted = (torch.autograd.grad((states * ahead).sum(), given) for states in (made, expected))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_wavernn_in_8_bits_is_the_same_in_any_blocks() -> None:
    body = make(conditioned=True, dtype=torch.float64)
    elements, cond = data(body)
    plain = body(shifted(elements), cond)
    body.fake_quantized = True
    whole = body(shifted(elements), cond)
    assert (whole - plain).abs().max() > 1e-3
    for sizes in ((1,), (3, 7), (10, 1)):
        torch.testing.assert_close(in_blocks(body, shifted(elements), cond, sizes), whole, rtol=0, atol=1e-12)


def test_pruned_rows_take_finite_gradients() -> None:
    body = WaveRNN(WaveRNN.Config(hidden=16, conditioned=False))
    with torch.no_grad():
        body.recurrent[:8] = 0
        body.o2.weight[:] = 0
    body.fake_quantized = True
    body(torch.zeros(2, 12, dtype=torch.int64)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in body.parameters())
