"""The parts of the rate by enumeration, their estimates from batches, and the mutual information gap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from seqgen.analysis.information_gap import information_gap
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.latents.categorical import CategoricalPosterior
from seqgen.latents.contract import Setting
from seqgen.latents.gaussian import GaussianPosterior, normal_log_prob
from seqgen.latents.standard_normal import StandardNormal
from seqgen.variational.contract import Evidence
from seqgen.variational.total_correlation import Estimate, RateParts, TotalCorrelation, log_weights

POSTERIOR = GaussianPosterior(GaussianPosterior.Config(dim=3))


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def evidence(params: Tensor, examples: int, seed: int = 1) -> Evidence:
    """One code of each row, under a standard normal prior."""
    prior = StandardNormal(StandardNormal.Config(dim=3))
    setting = Setting(prior, None, torch.ones(params.shape[:2], dtype=torch.bool))
    u = torch.rand(1, *params.shape[:2], 3, generator=torch.Generator().manual_seed(seed))
    drawn = POSTERIOR.draw(params, u, setting)
    z, shares = drawn.z, drawn.log_shares
    log_q = POSTERIOR.log_prob(params, z)
    return Evidence(0 * shares, prior.log_prob(z), log_q, shares, None, z, params, POSTERIOR, setting, examples)


def control(estimate: Estimate, **weights: float) -> TotalCorrelation:
    return TotalCorrelation(TotalCorrelation.Config(estimate=estimate, **weights))


def exact(params: Tensor, draws: int) -> RateParts:
    """The parts with q(z) of all rows, in the mean over codes."""
    mean, scale = POSTERIOR.marginals(params[:, 0])
    rows = len(params)
    eps = normals(draws, rows, 3, seed=2)
    z = mean + scale * eps  # [S, B, 3]
    pairs = normal_log_prob(z[:, :, None], mean, scale)  # [S, B, B, 3]
    own = normal_log_prob(z, mean, scale).sum(-1)
    together = torch.logsumexp(pairs.sum(-1), dim=2) - math.log(rows)
    apart = (torch.logsumexp(pairs, dim=2) - math.log(rows)).sum(-1)
    prior = normal_log_prob(z, 0.0, torch.ones(())).sum(-1)
    return RateParts(own - together, together - apart, apart - prior)


@pytest.mark.parametrize("estimate", ["weighted", "stratified"])
def test_parts_add_up_to_the_rate(estimate: Estimate) -> None:
    found = evidence(normals(6, 1, 6), 40)
    parts = control(estimate).parts(found)
    assert torch.allclose(sum(parts), found.rate, atol=1e-12)
    plain = control(estimate, alpha=1, beta=1, gamma=1).loss(found)
    assert torch.allclose(plain, found.distortion + found.rate, atol=1e-12)


def test_parts_with_all_rows_are_what_they_are_called() -> None:
    parts = exact(normals(16, 1, 6), 4000)
    means = [float(part.mean()) for part in parts]
    errors = [3 * float(part.mean(dim=1).std()) / 4000**0.5 for part in parts]
    assert -errors[0] <= means[0] <= math.log(16) + errors[0]
    assert means[1] >= -errors[1]
    assert means[2] >= -errors[2]


def test_far_apart_and_narrow_codes_tell_which_row_they_are_of() -> None:
    params = torch.cat([100 * normals(16, 1, 3), torch.full((16, 1, 3), -12.0)], dim=2)
    assert float(exact(params, 50).information.mean()) == pytest.approx(math.log(16), abs=1e-9)


def test_a_product_grid_has_no_total_correlation() -> None:
    grid = torch.tensor(list(itertools.product([-3.0, 0.0, 4.0], [1.0, 2.0], [0.0, 5.0])))
    params = torch.cat([grid, torch.full_like(grid, -1.0)], dim=1)[:, None]
    parts = exact(params, 400)
    assert float(parts.total_correlation.abs().max()) < 1e-9


def test_weighted_sampling_of_the_whole_is_off_by_constants() -> None:
    params = normals(8, 1, 6)
    found = evidence(params, 8)
    parts = control("weighted").parts(found)
    mean, scale = POSTERIOR.marginals(params[:, 0])
    pairs = normal_log_prob(found.z[0, :, 0][:, None], mean, scale)  # [B, B, 3]
    together = torch.logsumexp(pairs.sum(-1), dim=1) - math.log(8)
    apart = (torch.logsumexp(pairs, dim=1) - math.log(8)).sum(-1)
    assert torch.allclose(parts.total_correlation, together - apart + 2 * math.log(8), atol=1e-10)
    own = found.sampled_posterior.sum(-1)[0]
    assert torch.allclose(parts.information, own - together + math.log(8), atol=1e-10)


def test_stratified_sampling_is_right_in_the_mean_over_all_batches() -> None:
    rows, examples = 4, 6
    densities = normals(examples).exp()  # q(z | x_n) of one code
    found = []
    for others in itertools.permutations(range(1, examples), rows - 1):  # the code's own row first
        weights = log_weights(rows, examples, "stratified").exp()[0]
        found.append(float(weights @ densities[[0, *others]]))
    assert sum(found) / len(found) == pytest.approx(float(densities.mean()), abs=1e-12)
    sums = log_weights(rows, examples, "stratified").exp().sum(dim=1)
    assert torch.allclose(sums, torch.ones(rows))


def test_a_constant_encoder_gets_no_gradient_from_total_correlation() -> None:
    """All posteriors alike, q(z) is each of them whatever the weights, and factorises."""
    params = torch.zeros(5, 1, 6, requires_grad=True)
    found = evidence(params.expand(5, 1, 6), 20)
    only = control("stratified", alpha=0, beta=1, gamma=0).loss(found)
    assert float(only.abs().max()) < 1e-12
    (gradient,) = torch.autograd.grad(only.sum(), params)
    assert float(gradient.sum(dim=0).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: {"posterior": CategoricalPosterior(CategoricalPosterior.Config(1, 6))}, "single numbers"),
        (lambda found: {"examples": 0}, "of 0 examples is to be told from a batch of 5"),
        (lambda found: {"examples": 3}, "of 3 examples is to be told from a batch of 5"),
    ],
    ids=["symbols", "endless", "too few"],
)
def test_bad_input(change: object, said: str) -> None:
    import dataclasses

    found = evidence(normals(5, 1, 6), 20)
    with pytest.raises(SeqgenError, match=said):
        control("stratified").loss(dataclasses.replace(found, **change(found)))  # type: ignore[operator]


def test_negative_weights_are_refused() -> None:
    from seqgen import config, registry

    with pytest.raises(SeqgenError, match="weights of the rate's parts"):
        config.construct(Component("total-correlation", {"beta": -1.0}), registry.RATES, source="test")


def factors(values: int = 4) -> Tensor:
    """Two independent factors, every pair of values eight times."""
    return torch.tensor(list(itertools.product(range(values), range(values)))).repeat(8, 1)


def gap(z: Tensor, v: Tensor) -> float:
    return information_gap(z, torch.full_like(z, 0.05), v).gap


def test_the_gap_of_a_bijection_is_one_and_of_a_copy_zero() -> None:
    v = factors()
    noise = normals(len(v), 1, seed=4)
    alone = torch.cat([3.0 * v, 0 * noise], dim=1)
    assert gap(alone, v) == pytest.approx(1, abs=1e-3)
    twice = torch.cat([3.0 * v, 3.0 * v], dim=1)
    assert gap(twice, v) == pytest.approx(0, abs=1e-3)


def test_the_gap_does_not_depend_on_the_order_and_falls_where_factors_are_mixed() -> None:
    v = factors()
    z = torch.cat([3.0 * v, 0.3 * normals(len(v), 1, seed=4)], dim=1)
    assert gap(z[:, [2, 0, 1]], v) == pytest.approx(gap(z, v), abs=0.05)
    turned = z.clone()
    turned[:, 0], turned[:, 1] = (z[:, 0] - z[:, 1]) / 2**0.5, (z[:, 0] + z[:, 1]) / 2**0.5
    assert gap(turned, v) < 0.5 * gap(z, v)


def test_information_is_in_nats() -> None:
    v = factors()
    found = information_gap(3.0 * v, torch.full((len(v), 2), 0.05), v)
    assert torch.allclose(found.information, math.log(4) * torch.eye(2), atol=1e-3)
    assert torch.allclose(found.entropies, torch.full((2,), math.log(4)))


def test_a_gap_needs_two_numbers_and_two_values() -> None:
    v = factors()
    with pytest.raises(SeqgenError, match="one number"):
        information_gap(v[:, :1].double(), torch.ones(len(v), 1), v)
    with pytest.raises(SeqgenError, match="factor 1 has one value"):
        information_gap(v.double(), torch.ones(len(v), 2), v * torch.tensor([1, 0]))
