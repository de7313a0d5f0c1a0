"""Gaps of inference on a linear Gaussian model, where posterior, evidence and both gaps are known; local inference and
its families each by itself."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from seqgen.analysis import annealed_importance
from seqgen.analysis.annealed_importance import linear_schedule
from seqgen.analysis.auxiliary_flow import AuxiliaryFlow
from seqgen.analysis.hamiltonian import Hamiltonian
from seqgen.analysis.inference_gaps import Effort, Evidence, Gaps, measure
from seqgen.analysis.local_inference import LocalOptimisation, evaluate, importance_bound, log_ratios, optimise
from seqgen.analysis.unnormalised_posterior import log_mean_exp, normals, uniforms
from seqgen.analysis.variational_family import FactorisedGaussian, FullGaussian, VariationalFamily, standard_normal
from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from tests.unit.linear_gaussian import LIKE, LinearGaussian, not_above

SEARCH = LocalOptimisation(learning_rate=0.02, samples=32, interval=50, patience=2, max_steps=2000)
MODEL = LinearGaussian.drawn()
FRESH = torch.zeros_like(MODEL.posterior_mean)
EFFORT = Effort(5000, 200, Hamiltonian(leapfrog_steps=3, step_size=0.35), SEARCH)


@pytest.fixture(scope="module")
def found() -> Gaps:
    families = {"gaussian": FactorisedGaussian(FRESH, FRESH), "full": FullGaussian(FRESH, FRESH)}
    return measure(MODEL, MODEL.encoder(), families, MODEL.prior(300), Key(4, 0), EFFORT)


def test_the_pipeline_finds_evidence_and_gaps(found: Gaps) -> None:
    encoder = MODEL.encoder()
    amortisation = MODEL.amortisation_gap(encoder.mean.detach(), encoder.log_variance.detach())
    assert MODEL.approximation_gap > 0.3
    assert float(amortisation.mean()) > 0.1
    assert float((found.log_evidence - MODEL.log_evidence).mean()) == pytest.approx(0, abs=0.02)
    assert float(found.approximation("gaussian").mean()) == pytest.approx(MODEL.approximation_gap, abs=0.02)
    assert float((found.amortisation("gaussian") - amortisation).mean()) == pytest.approx(0, abs=0.02)
    assert float((found.evidence["annealed"].bound - MODEL.log_evidence).mean()) == pytest.approx(0, abs=0.02)


def test_the_best_factorised_gaussian_is_the_known_one(found: Gaps) -> None:
    best, q = MODEL.best(), found.searches["gaussian"].family
    assert isinstance(q, FactorisedGaussian)
    torch.testing.assert_close(q.mean, best.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(q.log_variance, best.log_variance, rtol=0, atol=0.1)


def test_a_full_covariance_leaves_no_approximation_gap(found: Gaps) -> None:
    assert float(found.approximation("full").abs().max()) < 0.02


def test_gaps_add_up(found: Gaps) -> None:
    total = found.log_evidence - found.amortised
    torch.testing.assert_close(found.approximation("full") + found.amortisation("full"), total)


def test_bounds_are_in_order(found: Gaps) -> None:
    assert not_above(found.amortised, found.optimal["gaussian"])
    assert not_above(found.optimal["gaussian"], found.optimal["full"])
    for bound in (*found.optimal.values(), *(one.bound for one in found.evidence.values())):
        assert not_above(bound, MODEL.log_evidence)
    assert not_above(found.amortised, found.evidence["encoder"].bound)


def test_the_evidence_is_the_largest_bound_beyond_noise(found: Gaps) -> None:
    assert set(found.evidence) == {"annealed", "encoder", "gaussian", "full"}
    assert found.source == "full"  # whose weights are all the same, whatever others are by chance
    evidence = {
        name: Evidence(torch.full((4,), bound), torch.full((4,), error))
        for name, bound, error in (("loose", -1.0, 0.5), ("tight", 0.0, 0.1), ("noisy", 0.1, 0.4))
    }
    ranked = dataclasses.replace(found, evidence=evidence)
    assert ranked.source == "tight"


def test_standard_errors_are_those_of_repeated_bounds() -> None:
    log_weights = 0.5 * normals(Key(5, 1), 0, (400, 50, 1), LIKE)  # 400 bounds of 50 log-normal weights each
    made = [Evidence.of(one) for one in log_weights]
    shown = float(torch.stack([one.bound for one in made]).std())
    assert float(torch.stack([one.error for one in made]).mean()) == pytest.approx(shown, rel=0.1)
    pair = Evidence(torch.tensor([1.0, 2.0]), torch.tensor([0.3, 0.4]))
    assert pair.certain == pytest.approx(1.5 - 2 * 0.25)


def test_importance_bounds_rise_with_their_samples() -> None:
    ratios = evaluate(MODEL.encoder(), MODEL, Key(5, 0), 4096)
    bounds = [importance_bound(ratios, k).mean() for k in (1, 4, 16, 64, 256, 4096)]
    assert all(low < high + 0.01 for low, high in itertools.pairwise(bounds))
    torch.testing.assert_close(importance_bound(ratios, 1), ratios.mean(dim=0))
    torch.testing.assert_close(importance_bound(ratios, 4096), log_mean_exp(ratios))
    with pytest.raises(SeqgenError, match="a bound of 5000 samples from 4096"):
        importance_bound(ratios, 5000)


def test_samples_do_not_depend_on_how_many_are_taken_at_once() -> None:
    all_at_once, few = (evaluate(MODEL.encoder(), MODEL, Key(5, 0), 10, at_once=n) for n in (10, 3))
    torch.testing.assert_close(all_at_once, few)


def test_the_search_does_not_depend_on_where_it_starts() -> None:
    model, bounds = LinearGaussian.drawn(examples=2), []
    for seed in (0, 1):
        mean, log_variance = (normals(Key(6, 2 * seed + i), 0, (2, 4), LIKE) for i in (0, 1))
        q = optimise(FactorisedGaussian(mean, log_variance), model, Key(6, 9 + seed), SEARCH)
        assert q.stopped
        bounds.append(evaluate(q.family, model, Key(6, 8), 2000).mean(dim=0))
    assert float((bounds[0] - bounds[1]).abs().max()) < 0.05


def test_the_search_leaves_its_start_and_stops_by_its_rule() -> None:
    start = MODEL.best()
    kept = start.mean.detach().clone()
    q = optimise(start, MODEL, Key(6, 0), LocalOptimisation(0.02, samples=8, interval=10, patience=2, max_steps=5000))
    assert torch.equal(start.mean, kept)
    assert q.stopped
    assert q.steps % 10 == 0
    assert not optimise(start, MODEL, Key(6, 0), LocalOptimisation(max_steps=7)).stopped
    with pytest.raises(SeqgenError, match="the bound became"):
        optimise(start, MODEL, Key(6, 0), LocalOptimisation(1e9, interval=5))


def test_the_search_sees_each_example_by_itself() -> None:
    """Two examples, and the first of them beside another second one."""
    other = LinearGaussian(MODEL.weight, MODEL.bias, MODEL.scale, MODEL.x[[0, 5]])
    pair = LinearGaussian(MODEL.weight, MODEL.bias, MODEL.scale, MODEL.x[:2])
    steps = LocalOptimisation(samples=4, max_steps=20)
    means = [optimise(FactorisedGaussian(FRESH[:2], FRESH[:2]), m, Key(6, 0), steps).family for m in (pair, other)]
    assert torch.equal(means[0].mean[0], means[1].mean[0])
    assert not torch.equal(means[0].mean[1], means[1].mean[1])


def fresh_flow(examples: int = 3, dim: int = 2) -> AuxiliaryFlow:
    """A flow whose networks are not near their beginnings."""
    zeros = torch.zeros(examples, dim).to(LIKE)
    flow = AuxiliaryFlow(zeros, zeros, Key(7, 0), hidden=8)
    with torch.no_grad():
        for index, parameter in enumerate(flow.parameters()):
            parameter += 0.3 * normals(Key(7, 100 + index), 0, tuple(parameter.shape), LIKE)
    return flow


def perturbed_full(examples: int = 3, dim: int = 2) -> FullGaussian:
    mean, log_variance = (normals(Key(8, i), 0, (examples, dim), LIKE) for i in (0, 1))
    q = FullGaussian(mean, log_variance)
    torch.nn.init.constant_(q.below, 0.7)
    return q


@pytest.mark.parametrize("q", [perturbed_full(), perturbed_full(dim=4)], ids=["2", "4"])
def test_densities_are_those_of_the_samples(q: FullGaussian) -> None:
    made = q.sample(uniforms(Key(8, 2), 0, (50, q.examples, q.num_uniforms), LIKE))
    root = torch.tril(q.below, -1) + torch.diag_embed(q.log_diagonal.exp())
    expected = torch.distributions.MultivariateNormal(q.mean, scale_tril=root).log_prob(made.z)
    torch.testing.assert_close(made.log_q, expected)
    plain = FactorisedGaussian(q.mean, 2 * q.log_diagonal)
    made = plain.sample(uniforms(Key(8, 2), 0, (50, q.examples, q.num_uniforms), LIKE))
    spread = torch.exp(0.5 * plain.log_variance)
    torch.testing.assert_close(made.log_q, torch.distributions.Normal(plain.mean, spread).log_prob(made.z).sum(-1))


def test_the_flows_density_is_that_of_its_jacobian() -> None:
    flow = fresh_flow(examples=1)
    u = uniforms(Key(7, 1), 0, (1, 1, 4), LIKE)

    def pair(noise: Tensor) -> Tensor:
        """z and v from normal numbers."""
        first, v = noise.chunk(2, dim=-1)
        z = flow.base.mean + torch.exp(0.5 * flow.base.log_variance) * first
        for index, coupling in enumerate(flow.couplings):
            if index % 2:
                z, _ = coupling(z, v)
            else:
                v, _ = coupling(v, z)
        return torch.cat([z, v], dim=-1)

    noise = quantile(u)
    jacobian = torch.autograd.functional.jacobian(lambda n: pair(n.view(1, 1, 4)).view(4), noise.view(4))
    z, v = pair(noise).chunk(2, dim=-1)
    mean, log_variance = flow.auxiliary(z).chunk(2, dim=-1)
    log_r = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance)).log_prob(v).sum(-1)
    expected = standard_normal(noise) - torch.linalg.slogdet(jacobian).logabsdet - log_r
    torch.testing.assert_close(flow.sample(u).log_q, expected)
    torch.testing.assert_close(flow.sample(u).z, z)


def test_a_flow_comes_nearer_than_a_gaussian() -> None:
    """A posterior on a ring, which no Gaussian comes near."""

    class Ring:
        def log_prior(self, z: Tensor) -> Tensor:
            return standard_normal(z)

        def log_likelihood(self, z: Tensor) -> Tensor:
            return -0.5 * ((z.square().sum(-1) - 4) / 0.7).square()

    zeros = torch.zeros(1, 2).to(LIKE)
    search = LocalOptimisation(0.03, samples=32, max_steps=250)
    plain = optimise(FactorisedGaussian(zeros, zeros), Ring(), Key(9, 0), search)
    flow = optimise(AuxiliaryFlow(zeros, zeros, Key(9, 1), hidden=32), Ring(), Key(9, 0), search)
    bounds = [float(evaluate(q.family, Ring(), Key(9, 2), 4000).mean()) for q in (plain, flow)]
    exact = float(log_mean_exp(Ring().log_likelihood(normals(Key(9, 3), 0, (200_000, 1, 2), LIKE))))
    assert bounds[0] + 0.2 < bounds[1] < exact


def broad(family: VariationalFamily) -> VariationalFamily:
    """A family's members beyond which a model has nothing: their weights have small variances."""
    wide = {"log_variance": 0.7, "log_diagonal": 0.35, "base.log_variance": 0.7}
    with torch.no_grad():
        for name, parameter in family.named_parameters():
            parameter.mul_(0.3).add_(wide.get(name, 0.0))
        if isinstance(family, AuxiliaryFlow):
            family.auxiliary.biases[-1].sub_(1.0)  # r is narrower than q(v|z)
    return family


@pytest.mark.parametrize(
    "family", [FactorisedGaussian(FRESH[:3, :2], FRESH[:3, :2]), perturbed_full(), fresh_flow()], ids=type
)
def test_weights_have_the_evidence_as_their_mean(family: VariationalFamily) -> None:
    model = LinearGaussian.drawn(dim=2, width=2, scale=2.0, examples=3)
    with torch.no_grad():
        ratios = log_ratios(broad(family), model, uniforms(Key(10, 0), 0, (20_000, 3, family.num_uniforms), LIKE))
    weights = torch.exp(ratios - model.log_evidence)
    assert float(weights.std()) < 6
    errors = (weights.mean(0) - 1) / (weights.std(0) / math.sqrt(len(weights)))
    assert float(errors.abs().max()) < 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_that_of_the_samples(dtype: torch.dtype) -> None:
    model = LinearGaussian(MODEL.weight.to(dtype), MODEL.bias.to(dtype), MODEL.scale, MODEL.x.to(dtype))
    made = annealed_importance.forward(model, MODEL.prior(2).to(dtype), linear_schedule(20), Key(0, 0), Hamiltonian())
    assert made.log_weights.dtype == made.z.dtype == made.acceptance.dtype == dtype
    q = optimise(FullGaussian(FRESH.to(dtype), FRESH.to(dtype)), model, Key(0, 0), LocalOptimisation(max_steps=3))
    assert evaluate(q.family, model, Key(0, 0), 4).dtype == dtype
