"""Exponential families against what is known of them: gradients of the normaliser, divergences, round trips, drawn
moments."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import invwishart
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.graphical.categorical import CategoricalFactor
from seqgen.graphical.dirichlet import DirichletFactor
from seqgen.graphical.exponential_family import ExponentialFamily, averaged
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.matrix_normal_inverse_wishart import MatrixNormalInverseWishart
from seqgen.graphical.normal_inverse_wishart import NormalInverseWishart
from seqgen.graphical.unconstrained import constrained, unconstrained
from tests.unit.graphical_models import Drawn

FAMILIES = ("categorical", "dirichlet", "gaussian", "niw", "mniw", "mniw-rectangular")


def standard(family: str, seed: int, batch: int = 4) -> tuple[Tensor, ...]:
    """Drawn standard parameters of a family."""
    drawn = Drawn(seed)
    if family == "categorical":
        return (drawn.normal(batch, 5).softmax(dim=-1),)
    if family == "dirichlet":
        return (0.2 + 3 * drawn.uniform(batch, 5),)
    if family == "gaussian":
        return drawn.normal(batch, 3), drawn.positive_definite(batch, n=3)
    if family == "niw":
        scatter, mean = drawn.positive_definite(batch, n=3), drawn.normal(batch, 3)
        return scatter, mean, 0.5 + drawn.uniform(batch), 2.5 + 4 * drawn.uniform(batch)
    inputs = 2 if family == "mniw-rectangular" else 3
    scatter, mean = drawn.positive_definite(batch, n=3), drawn.normal(batch, 3, inputs)
    return scatter, mean, drawn.positive_definite(batch, n=inputs), 2.5 + 4 * drawn.uniform(batch)


CLASSES: dict[str, type[ExponentialFamily]] = {
    "categorical": CategoricalFactor,
    "dirichlet": DirichletFactor,
    "gaussian": GaussianFactor,
    "niw": NormalInverseWishart,
    "mniw": MatrixNormalInverseWishart,
    "mniw-rectangular": MatrixNormalInverseWishart,
}


def member(family: str, seed: int = 0) -> ExponentialFamily:
    return CLASSES[family].of_standard(*standard(family, seed))  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", FAMILIES)
def test_expected_statistics_are_the_gradient_of_the_log_normaliser(family: str) -> None:
    made = member(family)
    leaves = tuple(parameter.detach().requires_grad_() for parameter in made.natural)
    gradients = torch.autograd.grad(type(made)(*leaves).log_normaliser().sum(), leaves)
    for gradient, statistic in zip(gradients, made.expected(), strict=True):
        torch.testing.assert_close(gradient, statistic, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_natural_and_standard_parameters_are_converted_both_ways(family: str) -> None:
    expected = standard(family, 0)
    found = member(family).standard()  # type: ignore[attr-defined]
    for one, other in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_divergence_is_zero_of_itself_and_positive_of_others(family: str) -> None:
    one, other = member(family, 0), member(family, 1)
    torch.testing.assert_close(one.kl(one), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (one.kl(other) > 1e-3).all()
    assert (other.kl(one) > 1e-3).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_its_members(family: str) -> None:
    made, other = member(family), member(family, 1)
    for row in range(4):
        torch.testing.assert_close(made[row].kl(other[row]), made.kl(other)[row])


def test_divergence_of_gaussians_is_the_closed_form() -> None:
    (m, s), (m_other, s_other) = standard("gaussian", 0), standard("gaussian", 1)
    precision = torch.linalg.inv(s_other)
    apart = m_other - m
    known = 0.5 * (
        torch.einsum("bij,bji->b", precision, s)
        + torch.einsum("bi,bij,bj->b", apart, precision, apart)
        - 3
        + torch.logdet(s_other)
        - torch.logdet(s)
    )
    torch.testing.assert_close(member("gaussian", 0).kl(member("gaussian", 1)), known)


def test_divergence_of_dirichlets_is_that_of_torch() -> None:
    (one,), (other,) = standard("dirichlet", 0), standard("dirichlet", 1)
    known = torch.distributions.kl_divergence(torch.distributions.Dirichlet(one), torch.distributions.Dirichlet(other))
    torch.testing.assert_close(member("dirichlet", 0).kl(member("dirichlet", 1)), known)


def test_a_gaussian_of_standard_parameters_is_normalised_and_has_its_density() -> None:
    mean, covariance = standard("gaussian", 0)
    made, x = member("gaussian"), Drawn(9).normal(4, 3)
    assert isinstance(made, GaussianFactor)
    torch.testing.assert_close(made.log_normaliser(), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    exponent = made.inner((x[:, :, None] * x[:, None, :], x, torch.ones(4, dtype=torch.float64)))
    known = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)
    torch.testing.assert_close(exponent - 1.5 * math.log(2 * math.pi), known)


def test_draws_of_a_gaussian_have_its_moments() -> None:
    made = member("gaussian")[0]
    assert isinstance(made, GaussianFactor)
    x = made.sample(Drawn(3).normal(200_000, 3))
    mean, covariance = made.standard()
    torch.testing.assert_close(x.mean(dim=0), mean, rtol=0, atol=0.02)
    torch.testing.assert_close(torch.cov(x.T), covariance, rtol=0, atol=0.03)


def test_normal_inverse_wishart_expectations_are_those_of_draws() -> None:
    scatter, mean, count, degrees = (each[0] for each in standard("niw", 2))
    made = NormalInverseWishart.of_standard(scatter, mean, count, degrees + 6)
    drawn = invwishart(float(degrees + 6), scatter.numpy()).rvs(100_000, random_state=0)
    covariance = torch.from_numpy(drawn)
    precision = torch.linalg.inv(covariance)
    mu = mean + (torch.linalg.cholesky(covariance / count) @ Drawn(5).normal(100_000, 3, 1))[..., 0]
    information = (precision @ mu[..., None])[..., 0]
    known = (
        -0.5 * precision.mean(dim=0),
        information.mean(dim=0),
        -0.5 * (mu * information).sum(dim=-1).mean(),
        0.5 * torch.logdet(precision).mean(),
    )
    for one, other in zip(made.expected(), known, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.15)


def test_matrix_normal_inverse_wishart_expectations_are_those_of_draws() -> None:
    scatter, mean, columns, degrees = (each[0] for each in standard("mniw-rectangular", 2))
    made = MatrixNormalInverseWishart.of_standard(scatter, mean, columns, degrees + 6)
    noise = torch.from_numpy(invwishart(float(degrees + 6), scatter.numpy()).rvs(100_000, random_state=0))
    rows, across = torch.linalg.cholesky(noise), torch.linalg.cholesky(columns)
    matrix = mean + rows @ Drawn(6).normal(100_000, 3, 2) @ across.T
    precision = torch.linalg.inv(noise)
    known = (
        -0.5 * (matrix.mT @ precision @ matrix).mean(dim=0),
        (matrix.mT @ precision).mean(dim=0),
        -0.5 * precision.mean(dim=0),
        0.5 * torch.logdet(precision).mean(),
    )
    for one, other in zip(made.expected(), known, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.15)


def test_expected_factors_are_expected_log_densities() -> None:
    """``E ln N(x; µ, Σ)`` and ``E ln N(y; A x, Q)`` at a point, over draws of the parameters."""
    scatter, mean, count, degrees = (each[0] for each in standard("niw", 2))
    clusters = NormalInverseWishart.of_standard(scatter, mean, count, degrees + 6)
    covariance = torch.from_numpy(invwishart(float(degrees + 6), scatter.numpy()).rvs(50_000, random_state=0))
    mu = mean + (torch.linalg.cholesky(covariance / count) @ Drawn(5).normal(50_000, 3, 1))[..., 0]
    x, one = Drawn(9).normal(3), torch.ones((), dtype=torch.float64)
    known = torch.distributions.MultivariateNormal(mu, covariance).log_prob(x).mean() + 1.5 * math.log(2 * math.pi)
    found = clusters.expected_factor().inner((torch.outer(x, x), x, one))
    torch.testing.assert_close(found, known, rtol=0, atol=0.05)
    scatter, matrix, columns, degrees = (each[0] for each in standard("mniw", 2))
    moves = MatrixNormalInverseWishart.of_standard(scatter, matrix, columns, degrees + 6)
    noise = torch.from_numpy(invwishart(float(degrees + 6), scatter.numpy()).rvs(50_000, random_state=0))
    rows, across = torch.linalg.cholesky(noise), torch.linalg.cholesky(columns)
    after = (matrix + rows @ Drawn(6).normal(50_000, 3, 3) @ across.T) @ x
    y = Drawn(10).normal(3)
    known = torch.distributions.MultivariateNormal(after, noise).log_prob(y).mean() + 1.5 * math.log(2 * math.pi)
    found = moves.expected_factor().inner((torch.outer(x, x), torch.outer(x, y), torch.outer(y, y), one))
    torch.testing.assert_close(found, known, rtol=0, atol=0.15)


@pytest.mark.parametrize("family", ["dirichlet", "niw", "mniw"])
def test_unconstrained_coordinates_are_converted_both_ways(family: str) -> None:
    made = member(family)
    coordinates = unconstrained(made)
    for one, other in zip(constrained(type(made), coordinates).natural, made.natural, strict=True):
        torch.testing.assert_close(one, other)
    moved = tuple(each + 0.3 * Drawn(3).normal(*each.shape) for each in coordinates)
    assert torch.isfinite(constrained(type(made), moved).log_normaliser()).all()


@pytest.mark.parametrize("family", ["categorical", "gaussian"])
def test_only_conjugate_priors_have_unconstrained_coordinates(family: str) -> None:
    made = member(family)
    with pytest.raises(SeqgenError, match="Factor has no unconstrained coordinates; give a Dirichlet"):
        unconstrained(made)
    with pytest.raises(SeqgenError, match="Factor has no unconstrained coordinates; give a Dirichlet"):
        constrained(type(made), ())


def test_conjugate_posterior_of_gaussian_points() -> None:
    """Formulas of the posterior in standard parameters (Murphy 2007, section 9) against sums in natural ones."""
    scatter, mean, count, degrees = (each[0] for each in standard("niw", 0))
    x = Drawn(7).normal(10, 3)
    prior = NormalInverseWishart.of_standard(scatter, mean, count, degrees)
    one = torch.tensor(10.0, dtype=torch.float64)
    found = prior.plus(NormalInverseWishart.sufficient((x.T @ x, x.sum(dim=0), one))).standard()
    centre, apart = x.mean(dim=0), x.mean(dim=0) - mean
    within = (x - centre).T @ (x - centre)
    known = (
        scatter + within + count * 10 / (count + 10) * torch.outer(apart, apart),
        (count * mean + 10 * centre) / (count + 10),
        count + 10,
        degrees + 10,
    )
    for each, other in zip(found, known, strict=True):
        torch.testing.assert_close(each, other)


def test_evidence_of_data_is_a_difference_of_normalisers() -> None:
    """``ln p(x)`` of one point is log Z(posterior) - log Z(prior): a Student t density."""
    scatter, mean, count, degrees = (each[0] for each in standard("niw", 0))
    x = Drawn(8).normal(3)
    prior = NormalInverseWishart.of_standard(scatter, mean, count, degrees)
    one = torch.ones((), dtype=torch.float64)
    posterior = prior.plus(NormalInverseWishart.sufficient((torch.outer(x, x), x, one)))
    found = posterior.log_normaliser() - prior.log_normaliser() - 1.5 * math.log(2 * math.pi)
    free = degrees - 2
    shape = scatter * (count + 1) / (count * free)
    apart = x - mean
    distance = apart @ torch.linalg.solve(shape, apart)
    known = (
        torch.lgamma(0.5 * (free + 3))
        - torch.lgamma(0.5 * free)
        - 1.5 * torch.log(free * math.pi)
        - 0.5 * torch.logdet(shape)
        - 0.5 * (free + 3) * torch.log1p(distance / free)
    )
    torch.testing.assert_close(found, known)


def test_sums_over_a_batch_are_weighted_by_component() -> None:
    drawn = Drawn(0)
    points, weights = drawn.gaussian(6, n=2), drawn.uniform(6, 3)
    second, first, count = averaged(points.expected(), weights, GaussianFactor.ranks)
    torch.testing.assert_close(first, torch.einsum("nk,ni->ki", weights, points.expected()[1]))
    torch.testing.assert_close(second, torch.einsum("nk,nij->kij", weights, points.expected()[0]))
    torch.testing.assert_close(count, weights.sum(dim=0))


def test_an_improper_factor_is_refused() -> None:
    nothing = GaussianFactor.of_evidence(torch.zeros(2), torch.zeros(2))
    with pytest.raises(SeqgenError, match="precision of a Gaussian is not positive definite; give proper priors"):
        nothing.log_normaliser()
