"""The recurrence kernel: its written-out gradients, torch.nn.GRU, the cuDNN form, reduced precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen.nets import gru
from seqgen.nets.gru import GRU, gru_cell, gru_sequence

GROUPS = [1, 2, 3]


def problem(
    groups: int, *, steps: int = 5, batch: int = 3, piece: int = 2, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Gate inputs, initial state and recurrent matrix of a state of ``groups`` pieces."""
    generator = torch.Generator().manual_seed(groups)
    width = groups * piece

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    return draw(batch, steps, 3 * width), draw(batch, width), draw(3 * width, width)


def equations(
    inputs: Tensor, hidden: Tensor, weight: Tensor, groups: int, functions: Any = (torch.sigmoid, torch.tanh)
) -> Tensor:
    """``h' = z h + (1-z) tanh(g_n + r (R_n h))``, gate by gate, on rows that come as ``groups`` times (r, z, n)."""
    width, (sigmoid, tanh) = hidden.shape[1] // groups, functions

    def rows(gate: int) -> list[int]:
        return [(3 * group + gate) * width + i for group in range(groups) for i in range(width)]

    states = []
    for t in range(inputs.shape[1]):
        r, z = (sigmoid(inputs[:, t, rows(g)] + hidden @ weight[rows(g)].T) for g in (0, 1))
        n = tanh(inputs[:, t, rows(2)] + r * (hidden @ weight[rows(2)].T))
        hidden = z * hidden + (1 - z) * n
        states.append(hidden)
    return torch.stack(states, dim=1)


def gradients(states: Tensor, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients of a loss that weighs every state differently."""
    weights = torch.linspace(-1, 1, states.numel(), dtype=states.dtype).view_as(states)
    return torch.autograd.grad((states * weights).sum(), given)


@pytest.mark.parametrize("groups", GROUPS)
def test_gradients_are_those_of_finite_differences(groups: int) -> None:
    assert torch.autograd.gradcheck(lambda *given: gru_sequence(*given, groups=groups), problem(groups))


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("form", ["kernel", "cudnn"])
def test_values_and_gradients_are_those_of_the_equations(form: str, groups: int) -> None:
    """The cuDNN form runs on a CPU too; there it proves its reordering of the gates."""
    given = problem(groups, steps=7)
    run = gru_sequence if form == "kernel" else gru._torch
    made, expected = run(*given, groups), equations(*given, groups)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    for got, wanted in zip(gradients(made, given), gradients(expected, given), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("groups", GROUPS)
def test_groups_are_not_interchangeable(groups: int) -> None:
    """The order of the rows matters: read with another number of groups the same numbers are another network."""
    inputs, hidden, weight = problem(groups, piece=6 // groups)
    other = groups % 3 + 1
    assert (gru_sequence(inputs, hidden, weight, groups) - equations(inputs, hidden, weight, other)).abs().max() > 0.1


def test_it_is_torch_gru_without_the_hidden_bias() -> None:
    torch.manual_seed(2)
    reference = torch.nn.GRU(3, 5, batch_first=True).double()
    torch.nn.init.zeros_(reference.bias_hh_l0)
    layer = GRU(3, 5).double()
    with torch.no_grad():
        layer.input.weight.copy_(reference.weight_ih_l0)
        layer.input.bias.copy_(reference.bias_ih_l0)
        layer.recurrent.copy_(reference.weight_hh_l0)
    x, h = torch.randn(4, 9, 3, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    expected, last = reference(x, h[None])
    for cut in (9, 1, 4):
        first, state = layer.step(x[:, :cut], h)
        second, state = layer.step(x[:, cut:], state) if cut < 9 else (first[:, :0], state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(state, last[0], rtol=0, atol=1e-12)


def test_the_cell_is_one_step_of_the_sequence() -> None:
    inputs, hidden, weight = problem(1, steps=1)
    made = gru_cell(inputs[:, 0], hidden @ weight.T, hidden)
    torch.testing.assert_close(made, gru_sequence(inputs, hidden, weight)[:, 0])


def test_the_reset_gate_comes_after_the_product() -> None:
    """The variant with the reset gate in front of the matrix is another network, and this test would see it."""
    inputs, hidden, weight = (tensor.detach() for tensor in problem(1, steps=1, piece=6))
    r, z = (torch.sigmoid(inputs[:, 0, g] + hidden @ weight[g].T) for g in (slice(0, 6), slice(6, 12)))
    n = torch.tanh(inputs[:, 0, 12:] + (r * hidden) @ weight[12:].T)
    assert (z * hidden + (1 - z) * n - gru_sequence(inputs, hidden, weight)[:, 0]).abs().max() > 0.1


@pytest.mark.parametrize("groups", [1, 2])
def test_bfloat16_products_stay_close_and_states_stay_float32(groups: int) -> None:
    given = problem(groups, steps=40, batch=4, piece=16 // groups, dtype=torch.float32)
    with torch.no_grad():
        given[2].mul_(0.25)  # products of the size that a trained network has
    exact = gru_sequence(*given, groups=groups)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gru_sequence(*given, groups=groups)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.05
    for got, wanted in zip(gradients(rounded, given), gradients(exact, given), strict=True):
        assert got.dtype == torch.float32
        assert (got - wanted).abs().max() < 0.05 * wanted.abs().max()


@pytest.mark.parametrize("groups", [1, 2])
def test_nothing_given_is_changed(groups: int) -> None:
    given = problem(groups)
    before = [tensor.detach().clone() for tensor in given]
    states = gru_sequence(*given, groups=groups)
    kept = states.detach().clone()
    gradients(states, given)
    for tensor, old in zip((*given, states), (*before, kept), strict=True):
        assert torch.equal(tensor, old)


def test_backward_twice_gives_the_same() -> None:
    given = problem(2)
    loss = gru_sequence(*given, groups=2).square().sum()
    first = torch.autograd.grad(loss, given, retain_graph=True)
    second = torch.autograd.grad(loss, given)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_empty_block_leaves_the_state_alone() -> None:
    layer = GRU(3, 4)
    state = torch.randn(2, 4)
    made, after = layer.step(torch.zeros(2, 0, 3), state)
    assert made.shape == (2, 0, 4)
    assert torch.equal(after, state)
