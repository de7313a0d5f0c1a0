"""Gaps of trained latent-variable models: models as targets of inference, flows of couplings as posteriors, annealed
entropy, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen.analysis.latent_posterior import EncodedFamily, LatentPosterior
from seqgen.analysis.local_inference import LocalOptimisation, evaluate, log_ratios, optimise
from seqgen.analysis.unnormalised_posterior import normals, uniforms
from seqgen.analysis.variational_family import standard_normal
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.latents.categorical import CategoricalPosterior
from seqgen.latents.contract import Posterior, Setting
from seqgen.latents.coupling_flow import CouplingFlow
from seqgen.latents.examples import SYMBOLS, small
from seqgen.latents.gaussian import GaussianPosterior
from seqgen.latents.standard_normal import StandardNormal
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.objectives.contract import Rows
from seqgen.objectives.evidence import MaximumEvidence
from seqgen.spec import Facts
from seqgen.variational.contract import Evidence
from seqgen.variational.entropy_annealed import EntropyAnnealed
from seqgen.variational.weighted import Weighted
from tests.unit.cli_workspace import done, refused

LIKE = torch.zeros((), dtype=torch.float64)
CONFIG = """\
name: gaps
task: {{name: pictures, data: {data}}}
networks:
  model:
    name: latent-variable
    encoder: {{name: block-perceptron, vocab_size: 2, length: 64, hidden: [8]}}
    posterior: {posterior}
    prior: {prior}
    decoder: {{name: conditionally-independent, length: 64, hidden: [8]}}
objective: {{name: evidence, gradient: {{name: {gradient}}}, samples: 2, rate: {{name: {rate}}}}}
train: {{steps: 4, batch_size: 8, learning_rate: 1e-2, validate_every: 2, checkpoint_every: 2, log_every: 2}}
"""
NORMAL = {"prior": "{name: standard-normal, dim: 2}", "gradient": "pathwise", "rate": "entropy-annealed"}
QUICK = ("--samples", 50, "--temperatures", 6, "--chains", 3, "--leapfrog", 2, "--search-steps", 20)


def batch() -> Rows:
    """Rows of two, two, and one position."""
    x = torch.randint(SYMBOLS, (3, 6), generator=torch.Generator().manual_seed(0))
    return Rows(x, torch.tensor([6, 4, 1]), index=torch.arange(3))


def sequences(posterior: Posterior) -> tuple[LatentPosterior, EncodedFamily]:
    """A small model of sequences, as a target and as a family."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = small(LatentVariable, posterior, StandardNormal(StandardNormal.Config(posterior.dim))).double().eval()
    with torch.no_grad():
        params, setting = model.requires_grad_(False).encoded(batch())
    return LatentPosterior(model, batch(), setting), EncodedFamily(model.posterior, params, setting)


def coupling_flow() -> CouplingFlow:
    flow = CouplingFlow(CouplingFlow.Config(dim=3, hidden=5, context=2)).double()
    with torch.no_grad():
        for index, parameter in enumerate(flow.parameters()):
            parameter.copy_(0.5 * normals(Key(1, index), 0, tuple(parameter.shape), LIKE))
    return flow


def test_the_targets_evidence_is_that_of_the_objective() -> None:
    target, encoder = sequences(GaussianPosterior(GaussianPosterior.Config(2)))
    ratios = evaluate(encoder, target, Key(2, 0), 2000)
    facts = Facts(examples=3, vocab_size=SYMBOLS)
    objective = MaximumEvidence(MaximumEvidence.Config(samples=2000), {"model": target.model}, facts)
    expected = objective.measure(batch(), Key(2, 1), 0)["elbo"].amounts
    error = ratios.std(dim=0) / math.sqrt(len(ratios))
    assert bool(((ratios.mean(dim=0) - expected).abs() < 4 * math.sqrt(2) * error).all())
    assert float(error.max()) < 0.05


def test_positions_behind_a_rows_end_change_nothing() -> None:
    target, encoder = sequences(GaussianPosterior(GaussianPosterior.Config(2)))
    assert target.shape == (3, 4)
    z = normals(Key(3, 0), 0, (5, 3, 4), LIKE)
    moved = z.clone()
    moved[:, 2, 2:] = 7.0
    assert torch.equal(target.log_likelihood(moved), target.log_likelihood(z))
    first = standard_normal(z[:, 2, :2])
    torch.testing.assert_close(target.log_prior(z)[:, 2], first + standard_normal(z[:, 2, 2:]))
    u = uniforms(Key(3, 1), 0, (5, 3, 4), LIKE)
    other = u.clone()
    other[:, 2, 2:] = 0.9
    assert torch.equal(log_ratios(encoder, target, u), log_ratios(encoder, target, other))
    assert float(encoder.sample(u).z[:, 2, 2:].detach().abs().max()) == 0


def test_priors_are_drawn_by_their_key() -> None:
    target, _ = sequences(GaussianPosterior(GaussianPosterior.Config(2)))
    z = target.prior(Key(4, 0), 500)
    assert z.shape == (500, 3, 4)
    assert torch.equal(z, target.prior(Key(4, 0), 500))
    assert not torch.equal(z, target.prior(Key(4, 1), 500))
    assert float(z.mean(dim=0).abs().max()) < 0.2
    torch.testing.assert_close(z.std(dim=0), torch.ones(3, 4).to(LIKE), rtol=0, atol=0.15)


def test_every_example_has_a_flow_of_its_own() -> None:
    target, encoder = sequences(coupling_flow())
    u = uniforms(Key(5, 0), 0, (7, 3, encoder.num_uniforms), LIKE)
    made = encoder.sample(u)
    code = u.unflatten(-1, (2, 3))
    expected = target.model.posterior.draw(encoder.params, code, target.setting)
    inside = target.setting.inside
    torch.testing.assert_close(made.z, (expected.z * inside[..., None]).flatten(2))
    scores = target.model.posterior.log_prob(encoder.params, expected.z)
    torch.testing.assert_close(made.log_q[:, :2], scores[:, :2].sum(dim=-1))
    gradients = torch.autograd.grad(made.log_q[:, 0].sum(), list(encoder.own))
    assert all(bool(one[0].any()) and not bool(one[1:].any()) for one in gradients)
    found = optimise(encoder, target, Key(5, 1), LocalOptimisation(0.02, samples=16, interval=50, max_steps=60))
    before, after = (evaluate(q, target, Key(5, 2), 500).mean(dim=0) for q in (encoder, found.family))
    assert bool((after > before + 0.01).all())


def test_a_flows_density_is_that_of_its_jacobian() -> None:
    flow = coupling_flow()
    params = normals(Key(6, 0), 0, (1, 1, 8), LIKE)
    setting = Setting(StandardNormal(StandardNormal.Config(3)), None, torch.ones(1, 1))
    u = uniforms(Key(6, 1), 0, (3,), LIKE)

    def code(u: Tensor) -> Tensor:
        return flow.draw(params, u.view(1, 1, 1, 3), setting).z.view(3)

    jacobian = torch.autograd.functional.jacobian(code, u)
    found = flow.log_prob(params, code(u).view(1, 1, 1, 3))
    torch.testing.assert_close(found.view(()), -torch.linalg.slogdet(jacobian).logabsdet)
    with pytest.raises(SeqgenError, match="a flow of"):
        CouplingFlow(CouplingFlow.Config(dim=1))


@pytest.mark.parametrize("posterior", [CategoricalPosterior(CategoricalPosterior.Config())])
def test_codes_of_symbols_are_refused(posterior: Posterior) -> None:
    with pytest.raises(SeqgenError, match="codes of CategoricalPosterior are symbols"):
        EncodedFamily(posterior, torch.zeros(1, 1, posterior.num_params), Setting(None, None, None))


def evidence() -> Evidence:
    log_likelihood, log_prior, log_posterior = (normals(Key(7, i), 0, (4, 3, 2), LIKE) for i in range(3))
    shares = torch.full((4, 3), -math.log(4)).to(LIKE)
    parts: Any = (None, log_likelihood[..., :1], None, None, None)
    return Evidence(log_likelihood.sum(-1), log_prior, log_posterior, shares, *parts)


def test_annealed_entropy_rises_to_the_whole_bound() -> None:
    control, one = EntropyAnnealed(EntropyAnnealed.Config(warm_up=4)), evidence()
    joint = one.log_likelihood + one.sampled_prior.sum(dim=-1)
    entropy = -one.sampled_posterior.sum(dim=-1)
    for update in range(6):
        weight = min(update / 4, 1.0)
        assert float(control.terms(one)["entropy_weight"]) == weight
        torch.testing.assert_close(control.loss(one), -(joint + weight * entropy).mean(dim=0))
        control.after_update({})
    torch.testing.assert_close(control.loss(one), Weighted(Weighted.Config()).loss(one))
    with pytest.raises(SeqgenError, match="a warm-up of 0 updates"):
        EntropyAnnealed(EntropyAnnealed.Config(warm_up=0))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs over 40 binary digits: normal posteriors, a flow, and codes of symbols."""
    root = tmp_path_factory.mktemp("gaps")
    counts = ("--train", 40, "--valid", 10, "--test", 12)
    done(
        "data", "prepare", "pictures", "--corpus", "digits", "--out", root / "data", "--binarise", "threshold", *counts
    )
    symbols = {"prior": "{name: uniform}", "gradient": "score-function", "rate": "weighted"}
    for name, posterior, options in (
        ("gaussian", "{name: gaussian, dim: 2}", NORMAL),
        ("flow", "{name: coupling-flow, dim: 2, hidden: 4}", NORMAL),
        ("symbols", "{name: categorical}", symbols),
    ):
        write_text(root / f"{name}.yaml", CONFIG.format(data=root / "data", posterior=posterior, **options))
        done("train", root / f"{name}.yaml", "--out", root / name)
    return root


def test_gaps_add_up_and_are_in_order(work: Path) -> None:
    report = work / "gaps.json"
    options = ("--examples", 10, "--split", "train", "test", "--report", report)
    made = done("gaps", work / "gaussian", *options, *QUICK, "--json").json()
    assert made == json.loads(report.read_text())
    for split in ("train", "test"):
        found = made[split]
        gaps = [found[f"{name}_gap"] for name in ("approximation", "amortisation", "inference")]
        assert gaps[0] + gaps[1] == pytest.approx(gaps[2], abs=1e-4)
        assert gaps[2] == pytest.approx(found["log_evidence"] - found["encoder_bound"], abs=1e-4)
        assert found["encoder_bound"] < found["best_own_bound"] + 0.05
        assert set(found["searches"]) == {"own", "gaussian", "full", "flow"}
        assert {len(rows) for rows in found["examples"].values()} == {10}
        assert -64 * math.log(2) - 5 < found["log_evidence"] < -20
    assert made["train"]["log_evidence"] != made["test"]["log_evidence"]
    assert abs(made["simulated"]["error_at_most"]) < 1


def test_the_table_says_how_the_evidence_was_found(work: Path) -> None:
    said = done("gaps", work / "flow", "--examples", 5, *QUICK, "--families", "none").out
    assert "5 examples of test, checkpoint step-00000" in said
    assert "amortisation gap " in said
    assert "best full" not in said
    assert "5 examples drawn from the model, annealed from both sides" in said
    assert said == done("gaps", work / "flow", "--examples", 5, *QUICK, "--families", "none").out
    other = done("gaps", work / "flow", "--examples", 5, *QUICK, "--families", "none", "--seed", 1).out
    assert said != other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("symbols",), "codes of CategoricalPosterior are symbols"),
        (("gaussian", "--families", "gaussian,banana"), "unknown family 'banana'; known: gaussian, full, flow"),
        (("gaussian", "--temperatures", 0), "--temperatures 0"),
        (("gaussian", "--network", "x"), "no latent-variable model 'x'; name --network model"),
        (("data",), "no experiment here"),
    ],
)
def test_what_cannot_be_measured_is_refused(work: Path, words: tuple[Any, ...], said: str) -> None:
    assert said in refused("gaps", work / words[0], *words[1:])
