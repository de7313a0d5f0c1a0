"""Posteriors that are mixtures of normal distributions: their density, their sum over components, and its gradients."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Setting
from seqgen.latents.gaussian_mixture import GaussianMixturePosterior
from seqgen.noise import Key
from seqgen.objectives.contract import Rows
from tests.unit.known_posteriors import Known, gradients, known, mean_and_error, objective_of, prior

# Of one number and two components: logits, means, logarithms of variances.
ONE = torch.tensor([[0.4, -0.3, -1.0, 1.2, -0.8, 0.3]]).double()
# Of two positions, of which the second one's logits say nothing.
TWO = torch.cat([ONE, torch.tensor([[5.0, -5.0, 0.5, -0.7, 0.2, -1.0]]).double()])


def family(dim: int = 1, components: int = 2) -> GaussianMixturePosterior:
    return GaussianMixturePosterior(GaussianMixturePosterior.Config(dim, components)).double()


def drawn(params: Tensor, samples: int, *, exact: bool) -> Draw:
    """Samples of one row of one number a position."""
    posterior = family()
    shape = (samples, 1, len(params), posterior.num_uniforms)
    u = torch.from_numpy(noise.block(3, 0, 0, math.prod(shape))).double().view(shape)
    setting = Setting(prior("standard-normal", dim=1), None, torch.ones(1, len(params), dtype=torch.bool))
    return posterior.draw(params[None], u, setting, exact=exact)


def by_hand(params: Tensor, z: Tensor) -> Tensor:
    """``ln Σ_k π_k Π_n N(z_n; µ_k,n, s_k,n²)`` of codes ``[..., N]``."""
    log_weights, mean, log_variance = params[0, :2].log_softmax(0), params[:, 2:4], params[:, 4:]  # [N, K]
    each = torch.distributions.Normal(mean, (0.5 * log_variance).exp()).log_prob(z[..., None]).sum(dim=-2)
    return torch.logsumexp(log_weights + each, dim=-1)


def grid(points: int = 801) -> tuple[Tensor, float]:
    z = torch.linspace(-12, 12, points, dtype=torch.float64)
    return z, float(z[1] - z[0])


def curved(z: Tensor) -> Tensor:
    """Logarithm of a likelihood of one number, ``[S, B, N, 1] → [S, B]``."""
    return (torch.sin(2 * z) - 0.2 * z**2).sum(dim=(-2, -1))


def test_positions_have_the_probability_of_the_whole_code_together() -> None:
    z, step = grid(241)
    whole = torch.cartesian_prod(z, z)  # [S, N]
    found = family().log_prob(TWO[None], whole[:, None, :, None])[:, 0]  # [S, N]
    torch.testing.assert_close(found.sum(dim=-1), by_hand(TWO, whole))
    assert float(found.sum(dim=-1).exp().sum()) * step**2 == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(found[:, 0], by_hand(TWO[:1], whole[:, :1]))


@pytest.mark.parametrize("exact", [False, True])
def test_samples_are_drawn_as_often_as_they_are_scored(exact: bool) -> None:
    """Moments of codes of two positions, of which the components tie one to the other."""
    draw = drawn(TWO, 100_000, exact=exact)
    z, shares = draw.z[:, 0, :, 0], draw.log_shares[:, 0].exp()
    weights, mean, variance = TWO[0, :2].softmax(0), TWO[:, 2:4], TWO[:, 4:].exp()
    first = mean @ weights
    second = torch.einsum("k,mk,nk->mn", weights, mean, mean) + torch.diag(variance @ weights)
    torch.testing.assert_close(shares @ z, first, rtol=0, atol=0.02)
    torch.testing.assert_close((shares[:, None] * z).T @ z, second, rtol=0, atol=0.05)
    assert len(z) == (100_000 if exact else 200_000)


@pytest.mark.parametrize("gradient", ["pathwise", "sticking-the-landing"])
def test_gradients_are_those_of_the_bound_by_quadrature(gradient: str) -> None:
    z, step = grid()
    leaf = ONE.clone().requires_grad_()
    log_q = by_hand(leaf, z[:, None])
    joint = curved(z[:, None, None, None])[:, 0] - 0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    (expected,) = torch.autograd.grad((log_q.exp() * (joint - log_q)).sum() * step, leaf)
    model = known(family(), prior("standard-normal", dim=1), ONE, curved, 50_000)
    bound, found = gradients(objective_of(model, gradient=gradient))
    mean, error = mean_and_error(found[:, 0])
    assert bool(((mean - expected[0]).abs() < 3.5 * error).all())
    value = (log_q.exp() * (joint - log_q)).detach().sum() * step
    assert float(bound) == pytest.approx(float(value), abs=0.02)


def test_weights_of_components_are_those_of_importance() -> None:
    """The mean of what stands under the bound's logarithm is the evidence, whatever the family."""
    model = known(family(), prior("standard-normal", dim=1), ONE, curved, 1)
    model.params = ONE.expand(50_000, *ONE.shape)
    objective = objective_of(model, bound="importance-weighted", samples=1)
    batch = Rows(torch.zeros(50_000, 1, dtype=torch.int64), torch.ones(50_000, dtype=torch.int64))
    params, setting = model.encoded(batch)
    evidence = objective.evidence(batch, params, setting, Key(0, 0), 1, closed=False)
    weights = torch.logsumexp(evidence.log_shares + evidence.log_weights(), dim=0).exp()
    z, step = grid()
    expected = float((curved(z[:, None, None, None])[:, 0] - 0.5 * z**2).exp().sum()) * step / math.sqrt(2 * math.pi)
    mean, error = mean_and_error(weights)
    assert abs(float(mean) - expected) < 3.5 * float(error)


THREE = torch.tensor([[0.2, -0.5, 0.9, -2.0, 0.1, 0.4, 1.5, 2.5, -0.6, -0.2, 0.4, -1.0, 0.3, -0.7, 0.1]]).double()


def to_itself(begun: Tensor, rows: int = 2000) -> Known:
    """A model of two numbers whose posterior is the mixture of three components ``THREE``."""
    target, standard = copy.deepcopy(family(2, 3)), prior("standard-normal", dim=2)

    def likelihood(z: Tensor) -> Tensor:
        return (target.log_prob(THREE.expand(z.shape[1], *THREE.shape), z) - standard.log_prob(z)).sum(dim=-1)

    return known(family(2, 3), standard, begun, likelihood, rows)


def test_there_is_no_variance_where_the_mixture_is_the_posterior() -> None:
    _, path = gradients(objective_of(to_itself(THREE), gradient="sticking-the-landing"))
    assert float(path.abs().max()) < 1e-10
    _, total = gradients(objective_of(to_itself(THREE), gradient="pathwise"))
    assert float(total[:, 0].var(dim=0).min()) > 1e-3


def test_the_weights_inside_of_the_density_have_to_be_held_too() -> None:
    model, posterior = to_itself(THREE), family(2, 3)
    leaf = THREE.clone().requires_grad_()
    u = torch.from_numpy(noise.block(0, 0, 0, 7)).double().view(1, 1, 1, 7)
    setting = Setting(model.prior, None, torch.ones(1, 1, dtype=torch.bool))
    draw = posterior.draw(leaf[None], u, setting)
    target = posterior.log_prob(THREE[None], draw.z)
    for held, most in ((leaf.detach(), 1e-12), (torch.cat([leaf[:, :3], leaf[:, 3:].detach()], dim=-1), None)):
        each = target - posterior.log_prob(held[None], draw.z)
        (found,) = torch.autograd.grad((draw.log_shares.exp() * each[..., 0]).sum(), leaf, retain_graph=True)
        assert (float(found.abs().max()) < most) if most else (float(found[:, :3].abs().max()) > 1e-2)


def test_the_variance_falls_on_the_way_to_the_posterior() -> None:
    begun, found = torch.zeros_like(THREE), []
    begun[0, 3:9] = torch.tensor([-1.0, -1.0, 0.0, 0.5, 1.0, 0.0])
    for share in (0.0, 0.5, 0.9, 1.0):
        model = to_itself((1 - share) * begun + share * THREE)
        found.append(float(gradients(objective_of(model, gradient="sticking-the-landing"))[1].var(dim=0).sum()))
    assert all(high > low for high, low in pairwise(found))


def test_the_code_is_the_mean_of_the_heaviest_component() -> None:
    setting = Setting(prior("standard-normal", dim=1), None, torch.ones(1, 2, dtype=torch.bool))
    assert family().code(TWO[None], setting).flatten().tolist() == [-1.0, 0.5]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SeqgenError, match="give 1 number or more, and 2 components or more"):
        family(components=1)
    with pytest.raises(SeqgenError, match="give 1 number or more"):
        family(dim=0)
    model = known(family(), prior("standard-normal", dim=1), ONE, curved, 3)
    for gradient, bound in (("score-function", "elbo"), ("doubly-reparameterised", "importance-weighted")):
        with pytest.raises(SeqgenError, match="component by component, none of them from the posterior itself; choose"):
            objective_of(model, gradient=gradient, bound=bound)
