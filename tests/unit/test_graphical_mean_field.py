"""Block mean field of mixtures and of switching systems: bounds that never fall and stay below the exact integral."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.linear_dynamical import GaussianChain
from seqgen.graphical.mixture import GaussianMixture
from seqgen.graphical.switching import SwitchingPosterior, SwitchingSystem
from tests.unit.graphical_models import Drawn

K = 3
SEEDS = (0, 1, 2)


def mixture(seed: int, n: int = 2, components: int = K) -> tuple[GaussianMixture, GaussianFactor, Tensor]:
    """A mixture, potentials of seven points, and responsibilities to begin with."""
    drawn = Drawn(seed)
    made = GaussianMixture(drawn.normal(components).log_softmax(dim=-1), drawn.gaussian(components, n=n))
    return made, drawn.evidence(7, n=n), drawn.normal(7, components).softmax(dim=-1)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bound_of_a_mixture_never_falls(seed: int) -> None:
    made, potentials, r = mixture(seed)
    bounds = []
    for _ in range(20):
        posterior = made.step(r, potentials)
        bounds.append(posterior.bound(potentials))
        r = posterior.responsibilities
    rises = torch.stack(bounds).diff(dim=0)
    assert (rises > -1e-12).all()
    assert rises[0].max() > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bound_of_a_mixture_is_below_the_integral(seed: int) -> None:
    """``ln Σ_z ∫ p(z) p(x | z) e^{ψ(x)} dx`` in one dimension, by quadrature."""
    made, potentials, r = mixture(seed, n=1)
    bound = made.fit(potentials, r, tolerance=1e-12).bound(potentials)
    x = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    statistics = (x[:, None, None] ** 2, x[:, None], torch.ones_like(x))
    density = made.components.inner(tuple(each[:, None] for each in statistics)) + made.log_weights  # [X, K]
    evidence = potentials.inner(tuple(each[:, None] for each in statistics))  # [X, N]
    exponent = density.logsumexp(dim=-1)[:, None] + evidence - 0.5 * math.log(2 * math.pi)
    exact = exponent.logsumexp(dim=0) + math.log(60 / 60_000)
    assert (bound <= exact + 1e-9).all()
    assert (exact - bound).max() < 1.0
    torch.testing.assert_close(made.joint(potentials).logsumexp(dim=-1), exact, rtol=1e-6, atol=1e-6)


def test_the_bound_of_one_component_is_the_integral() -> None:
    made, potentials, r = mixture(0, components=1)
    exact = (potentials + made.components[0]).log_normaliser()
    torch.testing.assert_close(made.step(r, potentials).bound(potentials), exact + made.log_weights[0])


def test_the_divergence_is_that_of_the_published_formula() -> None:
    """At the fixed point: ``<ψ, E t> - log Z(η_x) + r·s - logsumexp(E ln π + s)``, s without E ln π."""
    made, potentials, r = mixture(0)
    found = made.fit(potentials, r, tolerance=0.0)
    statistics = found.points.expected()
    s = made.components.inner(tuple(each[:, None] for each in statistics))
    points = potentials.inner(statistics) - found.points.log_normaliser()
    known = points + (found.responsibilities * s).sum(dim=-1) - (made.log_weights + s).logsumexp(dim=-1)
    torch.testing.assert_close(found.kl, known, rtol=1e-9, atol=1e-9)


def test_the_divergence_is_right_before_the_fixed_point() -> None:
    """Against q's own definition: entropies and expectations one by one."""
    made, potentials, r = mixture(1)
    found = made.step(r, potentials)
    statistics = found.points.expected()
    z = found.responsibilities
    s = made.components.inner(tuple(each[:, None] for each in statistics))
    inside = found.points.inner(statistics) - found.points.log_normaliser()
    known = inside + (z * (z.log() - made.log_weights - s)).sum(dim=-1)
    torch.testing.assert_close(found.kl, known)
    assert (found.kl > 0).all()


def test_without_evidence_one_component_is_the_prior() -> None:
    made, potentials, r = mixture(0, components=1)
    nothing = potentials - potentials
    found = GaussianMixture(torch.zeros(1, dtype=torch.float64), made.components).step(r, nothing)
    torch.testing.assert_close(found.kl, torch.zeros(7, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.points.standard()[0], made.components[0].standard()[0].expand(7, 2))


def test_the_last_sweep_has_gradients_and_the_search_none() -> None:
    """The gradient of a fit is that of one sweep which starts at the fixed point."""
    made, potentials, r = mixture(0)
    leaves = tuple(each.detach().requires_grad_() for each in potentials.natural)
    fitted = made.fit(GaussianFactor(*leaves), r, tolerance=0.0, sweeps=400)
    (found,) = torch.autograd.grad(fitted.kl.sum(), leaves[1])
    swept = made.step(fitted.responsibilities.detach(), GaussianFactor(*leaves))
    (known,) = torch.autograd.grad(swept.kl.sum(), leaves[1])
    torch.testing.assert_close(found, known)
    assert (found != 0).any()


def test_statistics_of_a_mixture_are_weighted_sums() -> None:
    made, potentials, r = mixture(0)
    found = made.fit(potentials, r)
    counts, (second, first, same) = found.statistics()
    mean, covariance = found.points.standard()
    torch.testing.assert_close(counts, found.responsibilities.sum(dim=0))
    torch.testing.assert_close(same, counts)
    torch.testing.assert_close(first, found.responsibilities.T @ mean)
    outer = covariance + mean[:, :, None] * mean[:, None, :]
    torch.testing.assert_close(second, torch.einsum("nk,nij->kij", found.responsibilities, outer))


S, T, B, N = 2, 4, 3, 2


def switching(seed: int, states: int = S) -> tuple[SwitchingSystem, GaussianFactor, Tensor]:
    drawn = Drawn(seed)
    system = SwitchingSystem(
        drawn.normal(states).log_softmax(dim=-1),
        drawn.normal(states, states).log_softmax(dim=-1),
        drawn.gaussian(states, n=N),
        drawn.transition(states, n=N),
    )
    return system, drawn.evidence(B, T, n=N), drawn.normal(B, T, states).softmax(dim=-1)


def exact(system: SwitchingSystem, potentials: GaussianFactor) -> Tensor:
    """``ln Σ_z ∫ p(z) p(x | z) e^ψ dx`` by going through every z, each with an exact integral, [B]."""
    every = []
    for z in itertools.product(range(len(system.log_initial)), repeat=T):
        pairs = system.pairs[torch.tensor(z[1:])]
        chain = GaussianChain(system.initial[z[0]], pairs, potentials)
        moves = sum(system.log_transition[a, b] for a, b in itertools.pairwise(z))
        every.append(chain.log_normaliser() + system.log_initial[z[0]] + moves)
    return torch.stack(every).logsumexp(dim=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bound_of_a_switching_system_never_falls_and_is_below_the_integral(seed: int) -> None:
    system, potentials, r = switching(seed)
    bounds = []
    for _ in range(15):
        posterior = system.step(r, potentials)
        bounds.append(posterior.bound)
        r = posterior.marginals.nodes
    rises = torch.stack(bounds).diff(dim=0)
    assert (rises > -1e-12).all()
    assert rises[0].max() > 1e-3
    known = exact(system, potentials)
    assert (bounds[-1] <= known + 1e-9).all()
    assert (known - bounds[-1]).max() < 1.5
    fitted = system.fit(potentials, switching(seed)[2], tolerance=1e-12)
    torch.testing.assert_close(fitted.bound, bounds[-1], rtol=0, atol=1e-3)


def test_the_bound_of_one_state_is_the_integral() -> None:
    system, potentials, r = switching(0, states=1)
    torch.testing.assert_close(system.step(r, potentials).bound, exact(system, potentials))


def by_definition(system: SwitchingSystem, made: SwitchingPosterior, potentials: GaussianFactor) -> Tensor:
    """The bound by its definition: expectations and entropies one by one, [B]."""
    r, pairs, moments = made.marginals.nodes, made.marginals.pairs, made.moments
    scores = system.states(moments, made.inside).nodes
    prior = r[:, 0] @ system.log_initial + (pairs * system.log_transition).sum(dim=(1, 2, 3))
    evidence = potentials.inner(moments.nodes).sum(dim=-1)
    # Of a chain: H(z) = Σ_t H(z_t, z_{t+1}) - Σ_{1 < t < T} H(z_t).
    discrete = -(pairs * pairs.log()).sum(dim=(1, 2, 3)) + (r[:, 1:-1] * r[:, 1:-1].log()).sum(dim=(1, 2))
    covariance = moments.second - moments.first[..., :, None] * moments.first[..., None, :]
    cross = moments.across - moments.first[:, :-1, :, None] * moments.first[:, 1:, None, :]
    left = torch.cat([covariance[:, :-1], cross], dim=-1)
    right = torch.cat([cross.mT, covariance[:, 1:]], dim=-1)
    joint = torch.logdet(torch.cat([left, right], dim=-2)).sum(dim=-1)
    # Half a log-determinant and n/2 for each frame: powers of 2π stand in the base measure.
    real = 0.5 * (joint - torch.logdet(covariance[:, 1:-1]).sum(dim=-1)) + 0.5 * T * N
    return prior + (r * scores).sum(dim=(1, 2)) + evidence + discrete + real


def test_the_bound_of_a_switching_system_is_its_definition() -> None:
    """Before the fixed point too, where q(x) was made with other responsibilities than those of q(z)."""
    system, potentials, r = switching(0)
    made = system.step(r, potentials)
    torch.testing.assert_close(made.bound, by_definition(system, made, potentials))
    evidence = potentials.inner(made.moments.nodes).sum(dim=-1)
    torch.testing.assert_close(made.kl(), evidence - made.bound)
    assert (made.kl() > 0).all()


def test_without_evidence_one_state_is_the_prior() -> None:
    system, potentials, r = switching(0, states=1)
    found = system.step(r, potentials - potentials).kl()
    torch.testing.assert_close(found, torch.zeros(B, dtype=torch.float64), rtol=0, atol=1e-12)


def test_frames_behind_a_sequence_s_end_count_nothing() -> None:
    """A shorter sequence beside a longer one has the bound, the path and the statistics that it has alone."""
    system, potentials, r = switching(0)
    # expectations of log-probabilities, which add up to less than 1
    system = replace(system, log_transition=system.log_transition - 0.3)
    inside = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    padded = GaussianFactor(*(each * inside.reshape(B, T, *[1] * (each.dim() - 2)) for each in potentials.natural))
    found = system.fit(padded, r, inside, tolerance=0.0, sweeps=200)
    total = torch.zeros(S, S, dtype=torch.float64)
    for row, length in enumerate((4, 2, 1)):
        alone = system.fit(potentials[row : row + 1, :length], r[row : row + 1, :length], tolerance=0.0, sweeps=200)
        torch.testing.assert_close(found.bound[row], alone.bound[0])
        torch.testing.assert_close(found.kl()[row], alone.kl()[0])
        torch.testing.assert_close(found.moments.first[row, :length], alone.moments.first[0])
        total += alone.statistics().moves
    torch.testing.assert_close(found.statistics().moves, total)
    torch.testing.assert_close(found.statistics().pairs[3].sum(), torch.tensor(4.0, dtype=torch.float64))


def test_statistics_of_a_switching_system_are_gradients_of_its_bound() -> None:
    """At the fixed point the bound is stationary in q, so its gradient by a parameter is what stands beside it."""
    system, potentials, r = switching(1)
    with torch.no_grad():
        r = system.fit(potentials, r, tolerance=0.0, sweeps=200).marginals.nodes
    leaves = [each.detach().requires_grad_() for each in (system.log_initial, system.log_transition)]
    factors = [
        tuple(each.detach().requires_grad_() for each in factor.natural) for factor in (system.initial, system.pairs)
    ]
    live = SwitchingSystem(*leaves, type(system.initial)(*factors[0]), type(system.pairs)(*factors[1]))
    made = live.step(r, potentials)
    found = made.statistics()
    everything = [*leaves, *factors[0], *factors[1]]
    gradients = torch.autograd.grad(made.bound.sum(), everything)
    known = [found.starts, found.moves, *found.initial, *found.pairs]
    for gradient, statistic in zip(gradients, known, strict=True):
        torch.testing.assert_close(gradient, statistic.detach(), rtol=1e-6, atol=1e-6)
