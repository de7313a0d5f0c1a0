"""δ-VAE: the autoregressive prior, the rate that normal posteriors cannot get below, and the encoder of what is to
come."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen import noise
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.latents.ar1 import AutoregressiveProcess
from seqgen.latents.committed_gaussian import CommittedGaussian
from seqgen.latents.contract import GaussianMarginals, Prior, Setting
from seqgen.latents.gaussian import GaussianPosterior
from seqgen.latents.standard_normal import StandardNormal
from seqgen.latents.variable import LatentVariable
from seqgen.models.unidirectional_encoder import UnidirectionalEncoder
from seqgen.noise import Key
from seqgen.objectives.contract import Part, Rows
from seqgen.objectives.evidence import MaximumEvidence
from seqgen.spec import Facts

# Nats of one number: positions, α, δ.
TABLE = [(8, 0.5, 0.813), (8, 0.9, 2.610), (32, 0.9, 9.730), (32, 0.95, 10.811), (64, 0.95, 21.102)]
SPREAD = AutoregressiveProcess.Config(dim=3, low=0.3, high=0.95)


def process(config: AutoregressiveProcess.Config = SPREAD) -> AutoregressiveProcess:
    return AutoregressiveProcess(config).double()


def committed(alpha: float, positions: int) -> float:
    made = process(AutoregressiveProcess.Config(dim=1, high=alpha, low=0))
    return float(made.committed_rate(torch.tensor([positions])))


def normals(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rate(prior: Prior, mean: Tensor, scale: Tensor) -> Tensor:
    """``KL(q ‖ p)`` of normal distributions ``[B, N, D]``, by the closed forms of the prior and of the posterior."""
    posterior = GaussianPosterior(GaussianPosterior.Config(dim=mean.shape[-1]))
    params = torch.cat([mean, 2 * scale.log()], dim=-1)
    found = posterior.kl(params, Setting(prior, None, torch.ones(mean.shape[:2], dtype=torch.bool)))
    assert found is not None
    return found.sum(dim=-1)


def optimum(alpha: Tensor, positions: int) -> Tensor:
    """Scales ``[N, D]`` of the normal posterior that is nearest to the process, derived."""
    square = alpha.square()
    variance = ((1 - square) / (1 + square)).repeat(positions, 1)
    variance[0] = variance[-1] = 1 - square
    return variance.sqrt()


def test_the_rate_is_that_of_the_joint_distribution() -> None:
    prior, mean, scale = process(), normals(2, 6, 3), (0.4 * normals(2, 6, 3, seed=2)).exp()
    place = torch.arange(6)
    joint = []
    for row in range(2):
        each = []
        for alpha, m, s in zip(prior.alpha, mean[row].T, scale[row].T, strict=True):
            covariance = alpha ** (place[:, None] - place[None]).abs()
            p = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance)
            q = torch.distributions.MultivariateNormal(m, torch.diag(s.square()))
            each.append(torch.distributions.kl_divergence(q, p))
        joint.append(torch.stack(each).sum())
    torch.testing.assert_close(rate(prior, mean, scale), torch.stack(joint))


def test_the_rate_is_that_of_samples() -> None:
    prior, mean, scale = process(), normals(1, 5, 3), (0.4 * normals(1, 5, 3, seed=2)).exp()
    z = mean + scale * normals(100_000, 1, 5, 3, seed=3)
    log_q = torch.distributions.Normal(mean, scale).log_prob(z).sum(dim=(-2, -1))
    drawn = log_q - prior.log_prob(z).sum(dim=-1)  # [S, 1]
    error = drawn.std(dim=0) / len(drawn) ** 0.5
    assert bool(((drawn.mean(dim=0) - rate(prior, mean, scale)).abs() < 3 * error).all())
    q = GaussianMarginals(mean, scale)
    torch.testing.assert_close(-prior.log_prob(z).mean(dim=0), prior.cross_entropy(q), rtol=0.02, atol=0.02)


def test_no_normal_posterior_gets_below_the_committed_rate() -> None:
    prior, rows = process(), 10_000
    scale = optimum(prior.alpha, 7) * (normals(rows, 7, 3, seed=2) * torch.logspace(-4, 0.3, rows)[:, None, None]).exp()
    mean = normals(rows, 7, 3) * torch.logspace(-4, 0, rows)[:, None, None]
    apart = rate(prior, mean, scale) - prior.committed_rate(torch.tensor([7]))
    assert 0 < float(apart.min()) < 1e-3  # samples come near


def test_the_committed_rate_is_had_at_the_optimum() -> None:
    prior, mean = process(), torch.zeros(1, 7, 3, dtype=torch.float64, requires_grad=True)
    log_scale = optimum(prior.alpha, 7).log()[None].clone().requires_grad_()
    least = rate(prior, mean, log_scale.exp()).sum()
    assert abs(float(least.detach() - prior.committed_rate(torch.tensor([7])))) <= 1e-9
    for gradient in torch.autograd.grad(least, [mean, log_scale]):
        assert float(gradient.abs().max()) < 1e-9


def test_the_committed_rate_of_two_positions_is_what_their_correlation_is_worth() -> None:
    for alpha in (0.1, 0.5, 0.9):
        assert committed(alpha, 2) == pytest.approx(-0.5 * math.log(1 - alpha**2), rel=1e-6)


def test_the_committed_rate_rises_with_slowness_and_length() -> None:
    by_alpha = [committed(alpha, 8) for alpha in (0.0, 0.2, 0.5, 0.9, 0.99)]
    by_length = [committed(0.7, positions) for positions in (1, 2, 3, 8, 64)]
    assert by_alpha == sorted(set(by_alpha))
    assert by_length == sorted(set(by_length))
    assert by_length[0] == 0  # one position matches its standard normal prior
    assert committed(0.9999999, 1000) - committed(0.9999999, 999) == pytest.approx(0.5 * math.log(2), rel=1e-4)


@pytest.mark.parametrize(("positions", "alpha", "nats"), TABLE)
def test_known_committed_rates(positions: int, alpha: float, nats: float) -> None:
    assert committed(alpha, positions) == pytest.approx(nats, abs=6e-4)


def test_rows_have_committed_rates_of_their_own_lengths() -> None:
    prior = process()
    together = prior.committed_rate(torch.tensor([1, 4, 9]))
    alone = [prior.committed_rate(torch.tensor([n])) for n in (1, 4, 9)]
    assert torch.equal(together, torch.cat(alone))


def test_without_correlation_it_is_the_standard_normal_prior() -> None:
    prior, plain = (
        process(AutoregressiveProcess.Config(dim=3, low=0.0, high=0.0)),
        StandardNormal(StandardNormal.Config(dim=3)),
    )
    mean, scale = normals(2, 5, 3), normals(2, 5, 3, seed=2).exp()
    assert float(prior.committed_rate(torch.tensor([9]))) == 0
    torch.testing.assert_close(rate(prior, mean, scale), rate(plain, mean, scale))
    torch.testing.assert_close(prior.log_prob(mean[None]), plain.log_prob(mean[None]))


def test_codes_of_the_prior_have_unit_variance_and_its_correlation() -> None:
    prior, rows = process(), 10_000
    u = torch.from_numpy(noise.block(0, 0, 0, rows * 6 * 3)).double().view(rows, 6, 3)
    z = prior.sample(u)
    assert float((z.square().mean(dim=0) - 1).abs().max()) < 0.05
    lagged = (z[:, 1:] * z[:, :-1]).mean(dim=0)
    assert float((lagged - prior.alpha).abs().max()) < 0.04
    assert prior.alpha.tolist() == pytest.approx([0.3, 0.625, 0.95])


@pytest.mark.parametrize("options", [{"dim": 0}, {"low": -0.1}, {"high": 1.0}, {"low": 0.9, "high": 0.5}])
def test_impossible_processes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SeqgenError, match="0 <= low <= high < 1"):
        AutoregressiveProcess(AutoregressiveProcess.Config(**options))


@pytest.mark.parametrize("nats", [0.01, 0.5, 3.0])
def test_scales_that_are_held_down_commit_to_a_rate(nats: float) -> None:
    posterior = CommittedGaussian(CommittedGaussian.Config(dim=2, nats=nats)).double()
    prior = StandardNormal(StandardNormal.Config(dim=2))
    setting = Setting(prior, None, torch.ones(1000, 3, dtype=torch.bool))
    promised = posterior.committed_rate(setting)
    assert promised is not None
    assert promised.tolist() == pytest.approx([nats * 6] * 1000)
    params = 3 * normals(1000, 3, 4)
    found = posterior.kl(params, setting)
    assert found is not None
    assert bool((found.sum(dim=-1) > promised).all())
    widest = torch.cat([torch.zeros(1, 3, 2), torch.full((1, 3, 2), 14.0)], dim=-1).double()
    least = posterior.kl(widest, setting._replace(inside=setting.inside[:1]))
    assert least is not None
    assert float(least.sum()) == pytest.approx(nats * 6, abs=1e-5)


def test_a_family_that_commits_to_nothing_says_so() -> None:
    posterior, prior = GaussianPosterior(GaussianPosterior.Config()), StandardNormal(StandardNormal.Config())
    assert posterior.committed_rate(Setting(prior, None, torch.ones(1, 3, dtype=torch.bool))) is None
    narrow = GaussianPosterior(GaussianPosterior.Config(scale=0.5))
    found = narrow.committed_rate(Setting(prior, None, torch.ones(1, 3, dtype=torch.bool)))
    assert found is not None
    assert float(found) == pytest.approx(6 * (0.5 * (0.25 - 1) + math.log(2)))
    with pytest.raises(SeqgenError, match="committed rate of 0 nats"):
        CommittedGaussian(CommittedGaussian.Config(nats=0))


BODIES = {
    "symbols": Component("recurrent", {"vocab_size": 5, "outputs": 4, "hidden": 3, "embedding": 3}),
    "reals": Component(
        "wavenet",
        {"layers": 3, "dilation_cycle": 3, "vocab_size": 0, "outputs": 4, "conditioned": False},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("direction", ["anticausal", "causal"])
def test_columns_depend_on_one_side(kind: str, direction: Any) -> None:
    """Gradients of each column by every element, rows of 11 and of 8 elements, columns of 3."""
    torch.manual_seed(0)
    encoder = UnidirectionalEncoder(UnidirectionalEncoder.Config(BODIES[kind], 3, direction)).double()
    x = normals(2, 11, 5 if kind == "symbols" else 1).requires_grad_()
    lengths = torch.tensor([11, 8])
    columns = encoder(x, lengths)
    assert columns.shape == (2, 4, 4)
    for row, n in ((row, n) for row in range(2) for n in range(4) if 3 * n < lengths[row]):
        (gradient,) = torch.autograd.grad(columns[row, n].sum(), x, retain_graph=True)
        reached = gradient[row].abs().sum(dim=-1) > 0
        last, place = int(lengths[row]), torch.arange(11)
        seen = (place >= 3 * n) if direction == "anticausal" else (place < 3 * n + 3)
        seen &= place < last
        assert torch.equal(reached & ~seen, torch.zeros(11, dtype=torch.bool))
        assert bool(reached[min(3 * n, last - 1)])
        if kind == "symbols":
            assert torch.equal(reached, seen)
        assert not bool(gradient[1 - row].any())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (Component("wavenet", {"layers": 2, "dilation_cycle": 2}), "'wavenet' gives no output"),
        (Component("transformer-encoder", {"vocab_size": 5, "positions": 4}), "'transformer-encoder' gives no output"),
    ],
)
def test_bodies_that_are_no_plain_streams_are_refused(body: Component, said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        UnidirectionalEncoder(UnidirectionalEncoder.Config(body))


def model(prior: str = "ar1") -> LatentVariable:
    """A small model over five symbols, a position of two numbers for three of them."""
    torch.manual_seed(0)
    body = {"layers": 3, "dilation_cycle": 3, "residual_channels": 6, "gate_channels": 4, "skip_channels": 6,
            "head_channels": 6, "vocab_size": 5, "outputs": 5, "name": "wavenet"}  # fmt: skip
    encoder = {"body": {"name": "recurrent", **BODIES["symbols"].options}, "down": 3}
    config = LatentVariable.Config(
        Component("unidirectional-encoder", encoder),
        Component("gaussian", {"dim": 2}),
        Component(prior, {"dim": 2}),
        Component("autoregressive", {"body": body, "conditioner": {"name": "perceptron", "hidden": [4]}}),
    )
    return LatentVariable.build(config, Facts(vocab_size=5)).double()


BATCH = Rows(
    torch.randint(5, (3, 12), generator=torch.Generator().manual_seed(1)), torch.tensor([12, 12, 7]), index=None
)


def test_the_decoder_sees_no_later_element_and_no_later_position() -> None:
    made, z = model(), normals(1, 3, 4, 2).requires_grad_()
    scores = made.log_likelihood(BATCH, z)  # [1, B, T]
    for t in range(12):
        (gradient,) = torch.autograd.grad(scores[0, 0, t], z, retain_graph=True)
        reached = gradient[0, 0].abs().sum(dim=-1) > 0
        assert not bool(reached[t // 3 + 1 :].any())
        assert bool(reached[t // 3])
    other = Rows(BATCH.x.clone(), BATCH.lengths)
    other.x[:, 6] = (other.x[:, 6] + 1) % 5
    again = made.log_likelihood(other, z)
    assert torch.equal(again[..., :6], scores[..., :6])
    assert bool((again[..., 6] != scores[..., 6]).all())
    assert bool((again[..., 7] != scores[..., 7]).all())


def test_the_importance_weighted_bound_is_above_the_elbo_and_no_rate_below_the_committed_one() -> None:
    objective = MaximumEvidence(MaximumEvidence.Config(evaluation_samples=200), {"model": model()}, Facts())
    found = objective.measure(BATCH, Key(0, 0), 0)
    assert bool((found["evidence"].amounts > found["elbo"].amounts).all())
    assert bool((found["rate"].amounts > found["committed_rate"].amounts).all())
    prior = objective.model.prior
    assert isinstance(prior, AutoregressiveProcess)
    expected = prior.committed_rate(torch.tensor([4, 4, 3]))
    torch.testing.assert_close(found["committed_rate"].amounts, expected)
    loss = objective(Part(BATCH, Key(0, 0)), "model")
    assert float(loss.terms["committed_rate"]) == pytest.approx(float(expected.mean()))
    assert float(loss.terms["rate"]) > float(loss.terms["committed_rate"])


def test_collapse_is_a_rate_that_is_no_more_than_committed() -> None:
    objective = MaximumEvidence(MaximumEvidence.Config(), {"model": model()}, Facts())
    assert objective.remarks({"rate": 5.23, "committed_rate": 5.22}) == []
    (said,) = objective.remarks({"rate": 5.225, "committed_rate": 5.22})
    assert "posterior collapse" in said


def test_the_elbo_is_below_the_likelihood_of_a_linear_model() -> None:
    """``x_t = W z + b + s ε`` with z of the process: x is normal, its covariance known."""
    torch.manual_seed(0)
    decoder = {"length": 6, "hidden": [], "distribution": {"name": "gaussian"}}
    encoder = {"body": {"name": "wavenet", **BODIES["reals"].options}, "down": 2}
    config = LatentVariable.Config(
        Component("unidirectional-encoder", encoder),
        Component("gaussian", {"dim": 2}),
        Component("ar1", {"dim": 2, "low": 0.2, "high": 0.5}),
        Component("conditionally-independent", decoder),
    )
    made = LatentVariable.build(config, Facts()).double()
    layer = made.decoder.network[0]
    with torch.no_grad():
        layer.weight[1::2] = 0  # scales are constants
        made.head.weight *= 0.1  # so that a few thousand samples tell the likelihood
        made.head.bias.zero_()
    prior, place = made.prior, torch.arange(3)
    blocks = torch.zeros(3, 2, 3, 2, dtype=torch.float64)
    for k in range(2):
        blocks[:, k, :, k] = prior.alpha[k] ** (place[:, None] - place[None]).abs()
    weight, bias = layer.weight[::2], layer.bias[::2]
    covariance = weight @ blocks.view(6, 6) @ weight.T + torch.diag((2 * layer.bias[1::2]).exp())
    exact = torch.distributions.MultivariateNormal(bias, covariance)
    x = exact.sample((8,))
    objective = MaximumEvidence(
        MaximumEvidence.Config(samples=200, evaluation_samples=2000), {"model": made}, Facts()
    ).double()
    found = objective.measure(Rows(x[..., None], torch.full((8,), 6)), Key(3, 0), 0)
    known = exact.log_prob(x)
    assert bool((found["elbo"].amounts < known).all())
    torch.testing.assert_close(found["evidence"].amounts, known, rtol=0, atol=0.15)
