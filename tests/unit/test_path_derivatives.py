"""Path derivatives of bounds, sticking the landing and doubly reparameterised: unbiased, and without variance where the
approximate posterior is the posterior."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqgen import registry
from seqgen.config import Component
from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Posterior, Setting, equal_shares
from seqgen.latents.coupling_flow import CouplingFlow
from seqgen.latents.gaussian import GaussianPosterior, normal_log_prob
from seqgen.latents.standard_normal import StandardNormal
from seqgen.noise import Key
from seqgen.objectives.contract import Rows
from seqgen.objectives.evidence import MaximumEvidence
from tests.unit.known_posteriors import Known, gradients, known, mean_and_error, objective_of, prior

DRAWS = 100_000
STUDY = torch.tensor([[1.0, 2 * math.log(1.2)]])  # q = N(1, 1.2²), and p = N(0, 1)
X, SCALE = torch.tensor([0.8, -1.5]).double(), 0.7  # p(x | z) = N(x; z, 0.7²)
VARIANCE = SCALE**2 / (1 + SCALE**2)  # of the posterior
EXACT = torch.cat([X / (1 + SCALE**2), torch.full_like(X, math.log(VARIANCE))])[None]  # the posterior's outputs


def nothing(z: Tensor) -> Tensor:
    return 0 * z.sum(dim=(-2, -1))


def linear(z: Tensor) -> Tensor:
    return normal_log_prob(X, z, torch.tensor(SCALE, dtype=torch.float64)).sum(dim=(-2, -1))


def normal(dim: int) -> tuple[GaussianPosterior, StandardNormal]:
    return GaussianPosterior(GaussianPosterior.Config(dim)), StandardNormal(StandardNormal.Config(dim))


def studied(gradient: str, samples: int = 1, rows: int = DRAWS, **options: Any) -> Tensor:
    """Gradients by µ of q, one a row."""
    bound = "elbo" if samples == 1 and gradient != "doubly-reparameterised" else "importance-weighted"
    model = known(*normal(1), STUDY, nothing, rows)
    _, found = gradients(objective_of(model, bound=bound, gradient=gradient, samples=samples, closed=False, **options))
    return found[:, 0, 0]


def with_exact_posterior(gradient: str, rows: int = 20_000, **options: Any) -> Tensor:
    """Gradients of a linear Gaussian model by the outputs of the posterior, ``[B, 2 D]``."""
    model = known(*normal(2), EXACT, linear, rows)
    _, found = gradients(objective_of(model, gradient=gradient, **options))
    return found[:, 0]


def test_the_value_and_the_other_gradients_are_the_same_bit_for_bit() -> None:
    found = {}
    for gradient in ("pathwise", "sticking-the-landing", "doubly-reparameterised"):
        for bound in ("elbo", "importance-weighted"):
            if gradient == "doubly-reparameterised" and bound == "elbo":
                continue
            objective, batch = example(bound, gradient)
            loss = objective.loss(batch, "model", Key(0, 3), None).total
            decoder = list(objective.model.decoder.parameters())
            found[gradient, bound] = loss.detach(), torch.autograd.grad(loss, decoder)
    for (_, bound), (value, each) in found.items():
        plain, expected = found["pathwise", bound]
        assert torch.equal(value, plain)
        assert all(torch.equal(one, other) for one, other in zip(each, expected, strict=True))


def example(bound: str, gradient: str) -> tuple[MaximumEvidence, Rows]:
    """A small model with an encoder and a decoder, trained with three samples."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one = next(iter(MaximumEvidence.examples()))
    config = MaximumEvidence.Config(Component(bound), Component(gradient), samples=3, closed=False)
    made = MaximumEvidence(config, {"model": one.objective.model}, one.objective.facts)
    assert isinstance(one.batch, Rows)
    return made, one.batch


def test_the_dropped_score_has_a_mean_of_zero_and_most_of_the_variance() -> None:
    total, path = studied("pathwise"), studied("sticking-the-landing")
    for found, spread in ((total, 1.199), (path, 0.367)):
        mean, error = mean_and_error(found)
        assert abs(float(mean) + 1) < 3 * float(error)
        assert float(found.std()) == pytest.approx(spread, rel=0.02)
    mean, error = mean_and_error(total - path)
    assert abs(float(mean)) < 3 * float(error)


@pytest.mark.parametrize(("samples", "true"), [(5, -0.209), (20, -0.050)])
def test_of_several_samples_one_is_unbiased_and_the_other_is_not(samples: int, true: float) -> None:
    rows = 40_000
    total, reweighted = (studied(name, samples, rows) for name in ("pathwise", "doubly-reparameterised"))
    for found in (total, reweighted):
        mean, error = mean_and_error(found)
        assert abs(float(mean) - true) < 3 * float(error) + 0.001
    expected = {5: (0.63, 0.072, -0.758), 20: (0.31, 0.010, -0.710)}[samples]
    assert float(total.std()) == pytest.approx(expected[0], rel=0.05)
    assert float(reweighted.std()) == pytest.approx(expected[1], rel=0.15)
    assert float(studied("sticking-the-landing", samples, rows).mean()) == pytest.approx(expected[2], abs=0.02)


@pytest.mark.parametrize("beta", [1.0, 0.4, 1.7])
def test_the_doubly_reparameterised_gradient_is_that_of_the_bound_by_quadrature(beta: float) -> None:
    """Two samples on a grid of their normal numbers, whose mass each point counts by."""
    e = torch.linspace(-5.2, 5.2, 161).double()
    grid = torch.cartesian_prod(e, e)  # [B, 2]
    mass = torch.exp(-0.5 * grid.square().sum(-1))
    u = torch.special.ndtr(grid).T[..., None, None]  # [S, B, 1, 1]
    means = []
    for gradient in ("pathwise", "doubly-reparameterised", "sticking-the-landing"):
        objective = objective_of(
            known(*normal(1), STUDY, curved, len(grid)),
            bound="importance-weighted", gradient=gradient, samples=2, rate=Component("weighted", {"beta": beta}),
        )  # fmt: skip
        objective.uniforms = lambda *_: u  # type: ignore[method-assign]
        _, found = gradients(objective)
        means.append((mass[:, None] * found[:, 0]).sum(dim=0) / mass.sum())
    torch.testing.assert_close(means[1], means[0], rtol=0, atol=1e-4)
    assert float((means[2] - means[0]).abs().max()) > 0.03


def curved(z: Tensor) -> Tensor:
    return (torch.sin(2 * z) - 0.1 * z**2).sum(dim=(-2, -1))


def test_there_is_no_variance_where_q_is_the_posterior() -> None:
    path = with_exact_posterior("sticking-the-landing")
    assert float(path.abs().max()) < 1e-10
    total = with_exact_posterior("pathwise", closed=False)
    expected = torch.tensor([1 / VARIANCE] * 2 + [0.5] * 2).double()  # by the logarithm of the variance 2 / 4
    torch.testing.assert_close(total.var(dim=0), expected, rtol=0.05, atol=0)
    assert float(with_exact_posterior("pathwise", closed=True).var(dim=0).min()) > 0.05


def test_there_is_no_variance_of_several_samples_where_q_is_the_posterior() -> None:
    options: dict[str, Any] = {"bound": "importance-weighted", "samples": 4}
    assert float(with_exact_posterior("doubly-reparameterised", **options).abs().max()) < 1e-10
    total = with_exact_posterior("pathwise", **options)
    torch.testing.assert_close(total.var(dim=0)[:2], torch.full((2,), 1 / VARIANCE / 4).double(), rtol=0.05, atol=0)


def test_the_variance_falls_on_the_way_to_the_posterior() -> None:
    begun, ratios = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).double(), []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        output = (1 - share) * begun + share * EXACT
        variances = []
        for gradient in ("sticking-the-landing", "pathwise"):
            objective = objective_of(known(*normal(2), output, linear, 20_000), gradient=gradient, closed=False)
            variances.append(float(gradients(objective)[1].var(dim=0).sum()))
        ratios.append(variances[0] / variances[1])
    assert all(high > low for high, low in pairwise(ratios))
    assert ratios[-1] < 1e-20


def by_all(model: Known, gradient: str, seed: int = 0) -> list[Tensor]:
    """Gradients by the rows' outputs and by the family's own parameters."""
    objective = objective_of(model, gradient=gradient, closed=False)
    rows = len(model.params)
    batch = Rows(torch.zeros(rows, 1, dtype=torch.int64), torch.ones(rows, dtype=torch.int64))
    loss = objective.loss(batch, "model", Key(seed, 0), None).total
    return list(torch.autograd.grad(loss, [model.params, *model.posterior.parameters()]))


def is_the_posterior(posterior: Posterior, output: Tensor, rows: int, *, of: Posterior | None = None) -> Known:
    """A model whose joint density, the prior's and the likelihood's together, is that of a family as it is begun with,
    by default of the approximate posterior itself."""
    standard = prior("standard-normal", dim=posterior.dim)
    target = copy.deepcopy(of or posterior).double().requires_grad_(False)

    def likelihood(z: Tensor) -> Tensor:
        joint = target.log_prob(output.double().expand(rows, *output.shape), z)
        return (joint - standard.log_prob(z)).sum(dim=-1)

    return known(posterior, standard, output, likelihood, rows)


def test_a_flow_that_is_the_posterior_has_no_gradient() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        flow = CouplingFlow(CouplingFlow.Config(dim=3, flows=2, hidden=5, context=1))
    output = torch.tensor([[0.3, -0.2, 0.5, 0.1, -0.4, 0.2, 0.7]])
    model = is_the_posterior(flow, output, 20)
    assert max(float(one.abs().max()) for one in by_all(model, "sticking-the-landing")) < 1e-12
    assert min(float(one.abs().max()) for one in by_all(model, "pathwise")) > 1e-4


class HeldBase(CouplingFlow):
    """A flow that holds what the outputs say and not its own couplings."""

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        return super().log_prob(params.detach(), z)


def test_a_flow_that_holds_its_base_alone_has_a_gradient() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        flow, same = HeldBase(CouplingFlow.Config(dim=2, hidden=5)), CouplingFlow(CouplingFlow.Config(dim=2, hidden=5))
    same.load_state_dict(flow.state_dict())
    model = is_the_posterior(flow, torch.tensor([[0.3, -0.2, 0.5, 0.1]]), 20, of=same)
    outputs, *couplings = by_all(model, "pathwise")
    assert float(outputs.abs().max()) < 1e-12
    assert max(float(one.abs().max()) for one in couplings) > 1e-3


class Chain(Posterior):
    """Two normal numbers, of which the second's mean is what a weight makes of the first."""

    num_params, dim, num_uniforms = 4, 2, 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.3))

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        normals = quantile(u)
        first = params[..., 0] + params[..., 2].exp() * normals[..., 0]
        second = self._second(params, first) + params[..., 3].exp() * normals[..., 1]
        z = torch.stack([first, second], dim=-1)
        return Draw(z, equal_shares(z))

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        mean = torch.stack([params[..., 0].expand(z.shape[:-1]), self._second(params, z[..., 0])], dim=-1)
        return normal_log_prob(z, self.seen(mean), params[..., 2:].exp()).sum(dim=-1)

    def seen(self, mean: Tensor) -> Tensor:
        return mean

    def code(self, params: Tensor, setting: Setting) -> Tensor:
        return params[..., :2]

    def _second(self, params: Tensor, first: Tensor) -> Tensor:
        return params[..., 1] + self.weight * torch.tanh(first)


class DetachedOutputs(Chain):
    """The same, with what the weight makes of the first number held, and not the weight alone."""

    def seen(self, mean: Tensor) -> Tensor:
        return mean.detach()


def test_a_chain_of_two_numbers_holds_its_weights_and_not_what_they_say() -> None:
    output = torch.tensor([[0.3, -0.2, -0.5, 0.1]])
    path = by_all(is_the_posterior(Chain(), output, 20_000), "sticking-the-landing")
    assert max(float(one.abs().max()) for one in path) < 1e-12
    outputs, weight = by_all(is_the_posterior(DetachedOutputs(), output, 20_000, of=Chain()), "sticking-the-landing")
    each = 20_000 * outputs[:, 0]
    mean, error = mean_and_error(each)
    assert bool((mean.abs() <= 3.5 * error + 1e-12).all())
    assert float(each[:, 0].var()) > 0.1
    assert abs(float(weight)) < 0.05


def test_bounds_and_codes_that_do_not_fit_are_refused() -> None:
    model = known(*normal(1), STUDY, nothing, 3)
    with pytest.raises(SeqgenError, match="choose the gradient 'sticking-the-landing', or the bound 'importance"):
        objective_of(model, gradient="doubly-reparameterised")
    with pytest.raises(SeqgenError, match="is no weight of the rate"):
        objective_of(model, bound="importance-weighted", gradient="doubly-reparameterised", rate="free-bits")
    for gradient in ("doubly-reparameterised", "sticking-the-landing"):
        categorical = registry.POSTERIORS.load("categorical")
        symbols = categorical(categorical.Config(1, 4, straight_through=True))
        model = known(symbols, prior("uniform", classes=4), torch.zeros(1, 4), nothing, 3)
        with pytest.raises(SeqgenError, match="there is no path through symbols; choose the gradient 'score-function'"):
            objective_of(model, bound="importance-weighted", gradient=gradient)
