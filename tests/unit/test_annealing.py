"""Annealed importance sampling and Hamiltonian transitions, on a linear Gaussian model whose evidence is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen.analysis import annealed_importance
from seqgen.analysis.annealed_importance import linear_schedule, sigmoidal_schedule
from seqgen.analysis.hamiltonian import Hamiltonian
from seqgen.analysis.inference_gaps import Effort, sandwich
from seqgen.analysis.unnormalised_posterior import normals, uniforms
from seqgen.analysis.variational_family import standard_normal
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from tests.unit.linear_gaussian import LIKE, LinearGaussian, not_above

FIXED = Hamiltonian(leapfrog_steps=5, step_size=0.3, adaptive=False)
MODEL = LinearGaussian.drawn()


def test_one_temperature_is_importance_sampling_from_the_prior() -> None:
    z = MODEL.prior(50)
    made = annealed_importance.forward(MODEL, z, linear_schedule(1), Key(11, 0), FIXED)
    assert torch.equal(made.log_weights, MODEL.log_likelihood(z))
    assert torch.equal(made.z, z)


@pytest.mark.parametrize("temperatures", [1, 2, 5, 20])
@pytest.mark.parametrize("schedule", [linear_schedule, sigmoidal_schedule])
def test_annealed_weights_have_the_evidence_as_their_mean(temperatures: int, schedule: Callable[[int], Tensor]) -> None:
    model = LinearGaussian.drawn(dim=2, width=3, scale=1.5, examples=4)
    betas, z = schedule(temperatures), model.prior(5000)
    made = annealed_importance.forward(model, z, betas, Key(11, temperatures), FIXED)
    weights = torch.exp(made.log_weights - model.log_evidence)
    errors = (weights.mean(0) - 1) / (weights.std(0) / math.sqrt(len(weights)))
    assert float(errors.abs().max()) < 4
    back = model.posterior_samples(5000)
    inverse = torch.exp(
        model.log_evidence - annealed_importance.reverse(model, back, betas, Key(12, 0), FIXED).log_weights
    )
    errors = (inverse.mean(0) - 1) / (inverse.std(0) / math.sqrt(len(inverse)))
    # With few temperatures 1/w has tails that a mean of so many does not see.
    assert temperatures < 5 or float(errors.abs().max()) < 4


def test_more_temperatures_are_tighter_and_schedules_rise() -> None:
    means = [
        annealed_importance.forward(MODEL, MODEL.prior(16), linear_schedule(t), Key(11, 0), FIXED).lower_bound.mean()
        for t in (1, 4, 16, 64)
    ]
    assert all(low < high for low, high in itertools.pairwise(means))
    for schedule in (linear_schedule(7), sigmoidal_schedule(7)):
        assert schedule[0] == 0
        assert schedule[-1] == 1
        assert (schedule.diff() > 0).all()
    assert float(sigmoidal_schedule(100)[1]) < 0.003
    expected = (torch.sigmoid(torch.tensor(-2.0)) - torch.sigmoid(torch.tensor(-4.0))) / torch.tanh(torch.tensor(2.0))
    assert float(sigmoidal_schedule(4)[1]) == pytest.approx(float(expected), rel=1e-5)


def test_both_directions_enclose_the_evidence() -> None:
    wide = LinearGaussian.drawn(examples=30)
    z = wide.posterior_samples(1)[0]  # (z, x) is a draw from the model where z is one from the posterior of x
    widths = []
    for temperatures in (10, 150):
        effort = Effort(temperatures=temperatures, hamiltonian=FIXED)
        both = sandwich(wide, z, wide.prior(4), Key(14, 0), effort)
        assert not_above(both.lower, wide.log_evidence)
        assert not_above(wide.log_evidence, both.upper)
        widths.append(float((both.upper - both.lower).mean()))
    assert widths[1] < 0.25 < widths[0]


def test_annealing_is_a_function_of_its_key() -> None:
    first, again, other = (
        annealed_importance.forward(MODEL, MODEL.prior(2), linear_schedule(5), Key(0, s), FIXED).log_weights
        for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("bad", [[0.0], [0.0, 0.5], [0.1, 1.0], [0.0, 0.6, 0.5, 1.0]])
def test_other_schedules_are_refused(bad: list[float]) -> None:
    with pytest.raises(SeqgenError, match="let them rise from 0 to 1"):
        annealed_importance.forward(MODEL, MODEL.prior(1), torch.tensor(bad), Key(0, 0), FIXED)
    with pytest.raises(SeqgenError, match="0 temperatures"):
        linear_schedule(0)


def test_transitions_leave_a_normal_distribution_as_it_is() -> None:
    """Long steps, a third of which end in refusals: without them the variance would be 1.5."""
    chosen = Hamiltonian(leapfrog_steps=2, step_size=1.2, largest=2.0, adaptive=False)
    rows, dim, steps = 80, 3, 1200
    chains = chosen.begin(normals(Key(15, 0), 0, (rows, 1, dim), LIKE))
    momenta, u = normals(Key(15, 1), 0, (steps, rows, 1, dim), LIKE), uniforms(Key(15, 2), 0, (steps, rows, 1), LIKE)
    seen = []
    for index in range(steps):
        chains = chosen.transition(standard_normal, chains, momenta[index], u[index])
        seen.append(chains.z)
    z = torch.stack(seen).view(-1, dim)
    assert 0.5 < float(chains.acceptance.mean()) < 0.9
    assert float(z.mean(0).abs().max()) < 0.03
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(dim).to(LIKE), rtol=0, atol=0.03)
    assert float((z**4).mean()) == pytest.approx(3, abs=0.15)


def test_trajectories_lead_back() -> None:
    z = MODEL.prior(5)
    momentum, step = normals(Key(16, 0), 0, tuple(z.shape), LIKE), torch.full(z.shape[:-1], 0.1).to(LIKE)
    chosen = Hamiltonian(leapfrog_steps=20, gradient_limit=3.0)
    density = lambda z: MODEL.log_prior(z) + MODEL.log_likelihood(z)  # noqa: E731
    there, turned = chosen.leapfrog(density, z, momentum, step)
    assert float((there - z).abs().min(dim=-1).values.max()) > 0.05
    back, first = chosen.leapfrog(density, there, -turned, step)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-5)
    torch.testing.assert_close(-first, momentum, rtol=0, atol=1e-5)


def test_gradients_are_held_within_their_limit() -> None:
    z, still, step = torch.full((1, 1, 2), 100.0).to(LIKE), torch.zeros(1, 1, 2).to(LIKE), torch.ones(1, 1).to(LIKE)
    there, momentum = Hamiltonian(leapfrog_steps=1, gradient_limit=3.0).leapfrog(standard_normal, z, still, step)
    assert torch.equal(momentum, torch.full_like(z, -3.0))
    assert torch.equal(there, z - 1.5)


def test_small_steps_keep_the_energy() -> None:
    z, momentum = MODEL.prior(5), normals(Key(16, 0), 0, tuple(MODEL.prior(5).shape), LIKE)
    density = lambda z: MODEL.log_prior(z) + MODEL.log_likelihood(z)  # noqa: E731
    errors = []
    for step in (0.02, 0.01):
        size = torch.full(z.shape[:-1], step).to(LIKE)
        there, turned = Hamiltonian(leapfrog_steps=round(0.4 / step)).leapfrog(density, z, momentum, size)
        energies = [density(a) - 0.5 * p.square().sum(-1) for a, p in ((z, momentum), (there, turned))]
        errors.append(float((energies[0] - energies[1]).abs().mean()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)  # of second order


def test_step_sizes_adapt_to_each_target() -> None:
    scales = torch.tensor([1.0, 0.05]).to(LIKE)  # of two examples
    chosen = Hamiltonian(leapfrog_steps=5, step_size=0.1, largest=5.0)
    chains = chosen.begin(normals(Key(17, 0), 0, (16, 2, 10), LIKE) * scales[:, None])
    for index in range(300):
        momentum = normals(Key(17, 1), index * 320, (16, 2, 10), LIKE)
        u = uniforms(Key(17, 2), index * 32, (16, 2), LIKE)
        chains = chosen.transition(lambda z: standard_normal(z / scales[:, None]), chains, momentum, u)
    assert float((chains.acceptance.mean(0) - 0.65).abs().max()) < 0.12
    steps = chains.step_size.mean(0)
    assert float(steps[0]) > 2 * float(steps[1])


def test_a_density_that_is_no_number_is_not_entered() -> None:
    chains = FIXED.begin(torch.ones(4, 1, 1).to(LIKE))
    density = lambda z: torch.where(z[..., 0] > 0.99, 0.0, math.nan) * z[..., 0]  # noqa: E731
    moved = FIXED.transition(density, chains, -torch.ones(4, 1, 1).to(LIKE), torch.zeros(4, 1).to(LIKE))
    assert torch.equal(moved.z, chains.z)
    assert float(moved.acceptance.max()) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"leapfrog_steps": 0}, "'leapfrog_steps' is 0"),
        ({"step_size": 0.6}, "a step size of 0.6"),
        ({"gradient_limit": 0.0}, "'gradient_limit' is 0.0"),
    ],
)
def test_impossible_transitions_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        Hamiltonian(**options)
