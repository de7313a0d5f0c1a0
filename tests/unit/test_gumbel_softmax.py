"""Relaxed categorical posteriors: what is drawn, its density, and what its gradients are of."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from seqgen import noise
from seqgen.config import Component
from seqgen.distributions.normal_quantile import SMALLEST
from seqgen.distributions.relaxed_categorical import gumbel, log_density, relaxed
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Setting
from seqgen.latents.gumbel_softmax import GumbelSoftmaxPosterior
from seqgen.noise import Key
from seqgen.objectives.contract import Rows
from tests.unit.known_posteriors import gradients, known, mean_and_error, objective_of, prior

LOGITS = torch.tensor([[0.9, -0.4, 0.3, -1.2]]).double()  # [N, K]
A = torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
DRAWS = 100_000


def family(classes: int = 4, **options: float | bool) -> GumbelSoftmaxPosterior:
    return GumbelSoftmaxPosterior(GumbelSoftmaxPosterior.Config(1, classes, **options)).double()  # type: ignore[arg-type]


def uniforms(*shape: int, stream: int = 0) -> Tensor:
    return torch.from_numpy(noise.block(1, stream, 0, math.prod(shape))).double().view(shape)


def drawn(posterior: GumbelSoftmaxPosterior, logits: Tensor, u: Tensor, *, exact: bool = False) -> Draw:
    """Samples of one row, ``[S, 1, N, K]`` of uniforms of that shape."""
    setting = Setting(prior("uniform", classes=posterior.classes), None, torch.ones(1, len(logits), dtype=torch.bool))
    return posterior.draw(logits[None], u, setting, exact=exact)


def frequencies_fit(symbols: Tensor, probabilities: Tensor) -> bool:
    counts = torch.bincount(symbols.flatten(), minlength=len(probabilities)).numpy()
    return bool(scipy.stats.chisquare(counts, len(symbols) * probabilities.numpy()).pvalue > 1e-3)


def linear(z: Tensor) -> Tensor:
    return (z[..., 0, :] * A).sum(dim=-1)


def curved(z: Tensor) -> Tensor:
    return linear(z) ** 2 + torch.sin(3 * z[..., 0, 1])


def test_gumbel_noise_has_its_moments() -> None:
    g = gumbel(uniforms(200_000))
    assert float(g.mean()) == pytest.approx(0.57722, abs=0.01)
    assert float(g.var()) == pytest.approx(math.pi**2 / 6, rel=0.02)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_the_largest_entry_is_a_symbol_of_the_categorical(temperature: float) -> None:
    """At every temperature, and the one that is drawn exactly from the same uniforms."""
    posterior, u = family(temperature=temperature), uniforms(200_000, 1, 1, 4)
    symbols = drawn(posterior, LOGITS, u, exact=True).z[:, 0, 0]
    soft = drawn(posterior, LOGITS, u).z[:, 0, 0]
    assert torch.equal(symbols.argmax(-1), soft.argmax(-1))
    assert frequencies_fit(soft.argmax(-1), torch.softmax(LOGITS[0], 0))
    assert not frequencies_fit(soft.argmax(-1), torch.softmax(0.95 * LOGITS[0], 0))


def test_samples_lie_on_the_simplex_between_its_corners_and_its_middle() -> None:
    logits, u = torch.tensor([[3.0, 0.0, -3.0]]).double(), uniforms(5000, 1, 1, 3)
    for temperature in (0.01, 0.5, 1e4):
        y = drawn(family(3, temperature=temperature), logits, u).z
        torch.testing.assert_close(y.sum(-1), torch.ones(5000, 1, 1).double())
        assert float(y.min()) > 0
        largest = y.max(-1).values
        if temperature == 0.01:
            assert float(largest.mean()) > 0.99
        elif temperature == 1e4:
            torch.testing.assert_close(y, torch.full_like(y, 1 / 3), rtol=0, atol=1e-3)
        else:
            assert 0.6 < float(largest.mean()) < 0.99


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("straight_through", [False, True])
def test_gradients_are_those_of_the_softmax(temperature: float, straight_through: bool) -> None:
    """``∂y_i/∂θ_j = y_i (δ_ij - y_j) / τ``, also where the value is a symbol's."""
    u = uniforms(1, 1, 1, 4)
    y = drawn(family(temperature=temperature), LOGITS, u).z[0, 0, 0]
    posterior = family(temperature=temperature, straight_through=straight_through)
    leaf = LOGITS.clone().requires_grad_()
    made = drawn(posterior, leaf, u).z[0, 0, 0]
    jacobian = torch.stack([torch.autograd.grad(one, leaf, retain_graph=True)[0][0] for one in made])
    torch.testing.assert_close(jacobian, (torch.diag(y) - torch.outer(y, y)) / temperature)


def test_straight_through_samples_are_symbols_exactly() -> None:
    logits, u = LOGITS.float(), uniforms(1000, 1, 1, 4).float()
    posterior = family(straight_through=True).float()
    z = drawn(posterior, logits.requires_grad_(), u).z
    assert torch.equal(z, drawn(posterior, logits, u, exact=True).z)
    assert bool(((z == 0) | (z == 1)).all())
    assert z.requires_grad
    assert not drawn(posterior, logits, u, exact=True).z.requires_grad


def simplex(classes: int, steps: int) -> tuple[Tensor, Tensor]:
    """Points of a grid in the logarithms of ratios to the last entry, ``[steps^(K-1), K]``, and the volume of each."""
    t = torch.linspace(-30, 30, steps, dtype=torch.float64)
    grid = torch.cartesian_prod(*[t] * (classes - 1)).reshape(-1, classes - 1)
    y = torch.softmax(torch.nn.functional.pad(grid, (0, 1)), dim=-1)
    return y, y.prod(dim=-1) * float(t[1] - t[0]) ** (classes - 1)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_density_has_a_mass_of_one_and_is_that_of_samples(classes: int, temperature: float) -> None:
    logits = LOGITS[:, :classes]
    y, volume = simplex(classes, 30_001 if classes == 2 else 701)
    mass = log_density(torch.log_softmax(logits, -1), y, temperature).exp() * volume
    assert float(mass.sum()) == pytest.approx(1, abs=1e-4)
    made = drawn(family(classes, temperature=temperature), logits, uniforms(40_000, 1, 1, classes)).z[:, 0, 0]
    edges = np.array([0.02, 0.11, 0.23, 0.37, 0.52, 0.68, 0.83, 0.96])
    cells = [np.digitize(one[:, : classes - 1].numpy(), edges) @ 9 ** np.arange(classes - 1) for one in (y, made)]
    shares = np.bincount(cells[0], mass.numpy(), 81)
    counts = np.bincount(cells[1], minlength=81)
    full = shares * len(made) > 200  # where an edge of the grid's cells counts little
    counts, shares = np.append(counts[full], counts[~full].sum()), np.append(shares[full], shares[~full].sum())
    errors = (counts - len(made) * shares) / np.sqrt(np.maximum(len(made) * shares, 1))
    assert float(np.abs(errors[:-1]).max()) < 5


def test_the_density_is_that_of_the_family_and_symbols_have_probabilities() -> None:
    posterior, u = family(temperature=0.7), uniforms(5, 1, 1, 4)
    log_probs = torch.log_softmax(LOGITS, -1)
    y, z = drawn(posterior, LOGITS, u).z, drawn(posterior, LOGITS, u, exact=True).z
    torch.testing.assert_close(posterior.log_prob(LOGITS[None], y), log_density(log_probs, y, 0.7))
    torch.testing.assert_close(posterior.log_prob(LOGITS[None], z), (z * log_probs).sum(-1))


def test_a_constant_added_to_all_logits_changes_nothing() -> None:
    posterior, u = family(temperature=0.7), uniforms(50, 1, 1, 4)
    one, other = (drawn(posterior, LOGITS + shift, u).z for shift in (0.0, 7.0))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(posterior.log_prob(LOGITS[None], one), posterior.log_prob(LOGITS[None] + 7, one))


def test_gradients_are_unbiased_for_the_relaxed_objective() -> None:
    posterior = family(temperature=0.6)
    even = prior("uniform", classes=4)
    model = known(posterior, even, LOGITS, curved, DRAWS)
    _, found = gradients(objective_of(model, rate=Component("weighted", {"beta": 0.0})))
    mean, error = mean_and_error(found[:, 0])
    step = 1e-4
    for place in range(4):
        move = step * torch.nn.functional.one_hot(torch.tensor(place), 4).double()
        u = uniforms(DRAWS, 1, 1, 4, stream=9)
        above, below = (curved(drawn(posterior, LOGITS + sign * move, u).z) for sign in (1, -1))
        expected, spread = mean_and_error((above - below) / (2 * step))
        assert abs(float(mean[place] - expected)) < 3 * math.hypot(float(error[place]), float(spread))


TEMPERATURES = (2.0, 1.0, 0.5, 0.25, 0.1)


def discrete_gradient(logits: Tensor, values: Tensor) -> Tensor:
    """Of ``E ⟨a, z⟩`` for symbols z: ``π ∘ (a - ⟨π, a⟩)``."""
    pi = torch.softmax(logits, 0)
    return pi * (values - (pi * values).sum())


def test_the_bias_for_the_discrete_objective_falls_with_the_temperature() -> None:
    """Of two classes, whose noise is one logistic number: by quadrature over it."""
    logits, values, points = LOGITS[:, :2], A[:2], 20_000
    v = (torch.arange(points).double() + 0.5) / points
    u = torch.stack([torch.exp(-(1 - v) / v), torch.full_like(v, math.exp(-1))], dim=-1)[:, None, None]
    found = []
    for temperature in TEMPERATURES:
        leaf = logits.clone().requires_grad_()
        y = drawn(family(2, temperature=temperature), leaf, u).z
        (gradient,) = torch.autograd.grad((y[:, 0, 0] @ values).mean(), leaf)
        found.append(float((gradient[0] - discrete_gradient(logits[0], values)).norm()))
    assert all(low < high for low, high in pairwise(found[::-1]))
    assert found[-1] < 0.01 * found[0]


def test_the_variance_rises_as_the_temperature_falls() -> None:
    variances = []
    for temperature in TEMPERATURES:
        model = known(family(temperature=temperature), prior("uniform", classes=4), LOGITS, linear, DRAWS)
        _, found = gradients(objective_of(model, rate=Component("weighted", {"beta": 0.0})))
        mean, error = mean_and_error(found[:, 0])
        bias = (mean - discrete_gradient(LOGITS[0], A)) / error
        assert (float(bias.abs().max()) > 5) == (temperature >= 0.5)
        variances.append(float(found[:, 0].var(dim=0).sum()))
    assert all(low < high for low, high in pairwise(variances))
    assert 10**0.5 < variances[-1] / variances[1] < 10**2  # from 1 to 0.1


def test_the_score_function_is_unbiased_for_symbols_with_a_larger_variance() -> None:
    found = {}
    for gradient in ("score-function", "pathwise"):
        posterior = family(temperature=1.0, straight_through=True)
        options = Component("score-function", {"baseline": "none"}) if gradient == "score-function" else gradient
        model = known(posterior, prior("uniform", classes=4), LOGITS, linear, DRAWS)
        _, each = gradients(objective_of(model, gradient=options, rate=Component("weighted", {"beta": 0.0})))
        found[gradient] = each[:, 0]
    mean, error = mean_and_error(found["score-function"])
    assert float(((mean - discrete_gradient(LOGITS[0], A)) / error).abs().max()) < 3.5
    assert float(found["score-function"].var(dim=0).sum()) > 2 * float(found["pathwise"].var(dim=0).sum())


def test_two_classes_are_a_logistic_number() -> None:
    u = uniforms(100, 1, 1, 2)
    y = drawn(family(2, temperature=0.3), LOGITS[:, :2], u).z
    g = gumbel(u)
    logistic = torch.sigmoid((LOGITS[0, 0] - LOGITS[0, 1] + g[..., 0] - g[..., 1]) / 0.3)
    torch.testing.assert_close(y[..., 0], logistic)
    assert scipy.stats.kstest((g[..., 0] - g[..., 1]).flatten().numpy(), "logistic").pvalue > 1e-3


@pytest.mark.parametrize("straight_through", [False, True])
def test_extremes_are_numbers(straight_through: bool) -> None:
    logits = torch.tensor([[80.0, -80.0, 0.0, 80.0]]).requires_grad_()
    smallest = torch.finfo(torch.float32).tiny
    u = torch.tensor([[0.0, smallest, SMALLEST, 1 - 2**-24], [1.0, 1.0, 1.0, 0.0], [0.5, 0.0, 1 - 2**-24, smallest]])
    posterior = family(temperature=0.01, straight_through=straight_through).float()
    z = drawn(posterior, logits, u[:, None, None]).z
    total = posterior.log_prob(logits[None], z).sum() + (z * torch.arange(4.0)).sum()
    (gradient,) = torch.autograd.grad(total, logits)
    assert bool(z.isfinite().all())
    assert bool(total.isfinite())
    assert bool(gradient.isfinite().all())
    assert bool(gumbel(u).isfinite().all())


def test_the_rate_of_relaxed_samples_is_their_own() -> None:
    """Of two classes by quadrature; the closed form is the rate of symbols."""
    logits, even = LOGITS[:, :2], torch.full((2,), -math.log(2)).double()
    y, volume = simplex(2, 4001)
    log_q = log_density(torch.log_softmax(logits, -1), y, 0.5)
    exact = float((log_q.exp() * volume * (log_q - log_density(even, y, 0.8))).sum())
    model = known(family(2, temperature=0.5), prior("uniform", classes=2, temperature=0.8), logits, nothing, DRAWS)
    bound, _ = gradients(objective_of(model, closed=False))
    assert -float(bound) == pytest.approx(exact, abs=0.02)
    bound, _ = gradients(objective_of(model))
    log_pi = torch.log_softmax(logits[0], -1)
    symbols = float((log_pi.exp() * (log_pi + math.log(2))).sum())
    assert -float(bound) == pytest.approx(symbols, abs=1e-9)
    assert abs(exact - symbols) > 0.05
    with pytest.raises(SeqgenError, match=r"these are relaxed; set prior\.temperature, or take the closed form"):
        gradients(objective_of(known(family(2), prior("uniform", classes=2), logits, nothing, 3), closed=False))


def nothing(z: Tensor) -> Tensor:
    return 0 * z.sum(dim=(-2, -1))


def test_evaluation_draws_symbols() -> None:
    seen: list[Tensor] = []

    def kept(z: Tensor) -> Tensor:
        seen.append(z)
        return linear(z)

    model = known(family(), prior("uniform", classes=4), LOGITS, kept, 3)
    objective = objective_of(model, evaluation_samples=7)
    objective.measure(Rows(torch.zeros(3, 1, dtype=torch.int64), torch.ones(3, dtype=torch.int64)), Key(0, 0), 0)
    assert [len(z) for z in seen] == [1, 7]
    assert all(bool(((z == 0) | (z == 1)).all()) for z in seen)


def test_temperatures_are_annealed_by_updates() -> None:
    posterior = family(temperature=2.0, rate=0.1, floor=0.9, every=3)
    found = []
    for _ in range(12):
        found.append(float(posterior.temperature))
        posterior.after_update({})
    assert found[:7] == pytest.approx([2.0] * 3 + [2 * math.exp(-0.3)] * 3 + [2 * math.exp(-0.6)])
    assert found[-1] == pytest.approx(0.9)
    other = family(temperature=2.0, rate=0.1, floor=0.9, every=3)
    other.load_state_dict(posterior.state_dict())
    assert float(other.temperature) == float(posterior.temperature)
    assert float(family(temperature=0.1).temperature) == pytest.approx(0.1)


def test_a_temperature_is_learnt() -> None:
    model = known(family(temperature=0.5, learnt=True), prior("uniform", classes=4), LOGITS, curved, 500)
    objective = objective_of(model)
    batch = Rows(torch.zeros(500, 1, dtype=torch.int64), torch.ones(500, dtype=torch.int64))
    parameter = model.posterior.log_temperature
    assert isinstance(parameter, torch.nn.Parameter)
    (gradient,) = torch.autograd.grad(objective.loss(batch, "model", Key(0, 0), None).total, parameter)
    assert float(gradient.abs()) > 1e-3
    assert "model.posterior.log_temperature" in objective.owned("model")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"groups": 0}, "give 1 group or more of 2 classes or more"),
        ({"classes": 1}, "give 1 group or more of 2 classes or more"),
        ({"temperature": 0.0}, "give a temperature, a floor and an interval above 0"),
        ({"rate": 0.1, "floor": 0.0}, "give a temperature, a floor and an interval above 0"),
        ({"every": 0}, "give a temperature, a floor and an interval above 0"),
        ({"learnt": True, "rate": 0.1}, "annealed and learnt"),
    ],
)
def test_other_options_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        GumbelSoftmaxPosterior(GumbelSoftmaxPosterior.Config(**options))  # type: ignore[arg-type]


def test_relaxed_points_hold_their_smallest_entries_above_nothing() -> None:
    least, most = relaxed(torch.tensor([0.0, 1e6]), 0.1).tolist()
    assert 0 < least < 1e-30
    assert most == 1
