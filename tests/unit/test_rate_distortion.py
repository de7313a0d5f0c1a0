"""Rate and distortion: the facts of the plane by enumeration, control of the rate, and the command."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import registry
from seqgen.analysis.rate_distortion import Point, draw, frontier
from seqgen.cli import evaluate
from seqgen.cli.main import main
from seqgen.config import Component
from seqgen.distributions.categorical import Categorical
from seqgen.generation.conditionally_independent import ConditionallyIndependent
from seqgen.latents.categorical import CategoricalPosterior
from seqgen.latents.gaussian import GaussianPosterior
from seqgen.latents.learned_categorical import LearnedCategorical
from seqgen.latents.standard_normal import StandardNormal
from seqgen.latents.variable import LatentVariable
from seqgen.models.encoder import Encoder
from seqgen.noise import Key
from seqgen.objectives import latent_objective
from seqgen.objectives.contract import Part, Rows
from seqgen.objectives.evidence import MaximumEvidence
from seqgen.spec import Facts
from seqgen.tasks import table
from seqgen.tasks.contract import Evaluation, System
from seqgen.variational.contract import Evidence

VALUES = CODES = 8


class Table(Encoder):
    """An encoder that reads one symbol and gives it a column of its own."""

    def __init__(self) -> None:
        super().__init__(vocab_size=VALUES, out_dim=VALUES)

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        return nn.functional.one_hot(symbols, VALUES).to(torch.get_default_dtype())


class Tabular(NamedTuple):
    """Tables of a model over one symbol and one code: ``p(x)``, ``e(z | x)``, ``d(x | z)`` and ``m(z)``."""

    data: Tensor
    encoder: Tensor
    decoder: Tensor
    marginal: Tensor

    @property
    def aggregated(self) -> Tensor:
        """``p_e(z) = Σ_x p(x) e(z | x)``."""
        return self.data @ self.encoder

    @property
    def inverse(self) -> Tensor:
        """``p_e(x | z)``, ``[Z, X]``."""
        joint = self.data[:, None] * self.encoder
        return (joint / joint.sum(dim=0)).T

    @property
    def entropy(self) -> float:
        return float(-(self.data * self.data.log()).sum())

    @property
    def distortion(self) -> float:
        joint = self.data[:, None] * self.encoder
        return float(-torch.xlogy(joint, self.decoder.T).sum())

    @property
    def rate(self) -> float:
        return float((self.data[:, None] * torch.xlogy(self.encoder, self.encoder / self.marginal)).sum())

    @property
    def information(self) -> float:
        return self._replace(marginal=self.aggregated).rate


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Double precision, and weights that are the same each time."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_default_dtype(before)


def drawn(seed: int) -> Tabular:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(*shape, generator=generator).softmax(dim=-1) for shape in ((8,), (8, 8), (8, 8), (8,))]
    return Tabular(*rows)


@pytest.mark.parametrize("seed", range(5))
def test_information_lies_between_what_is_decoded_and_the_rate(seed: int) -> None:
    one = drawn(seed)
    assert one.entropy - one.distortion <= one.information <= one.rate
    joint = one.data[:, None] * one.encoder
    decoder_gap = float((joint.T * (one.inverse / one.decoder).log()).sum())
    marginal_gap = float((one.aggregated * (one.aggregated / one.marginal).log()).sum())
    assert one.information - (one.entropy - one.distortion) == pytest.approx(decoder_gap, abs=1e-10)
    assert one.rate - one.information == pytest.approx(marginal_gap, abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_marginal_and_decoder_close_the_gaps(seed: int) -> None:
    one = drawn(seed)
    best = one._replace(marginal=one.aggregated, decoder=one.inverse)
    assert best.rate == pytest.approx(best.information, abs=1e-10)
    assert best.entropy - best.distortion == pytest.approx(best.information, abs=1e-10)
    assert best.distortion + best.rate == pytest.approx(best.entropy, abs=1e-10)


def test_ends_of_the_curve() -> None:
    data, same = drawn(0).data, torch.eye(8)
    identity = Tabular(data, same, same, data)
    assert (identity.distortion, identity.rate) == (0, pytest.approx(identity.entropy, abs=1e-10))
    constant = Tabular(data, torch.full((8, 8), 1 / 8), data.expand(8, 8), torch.full((8,), 1 / 8))
    assert (constant.distortion, constant.rate) == (pytest.approx(constant.entropy, abs=1e-10), pytest.approx(0))


def model(tables: Tabular) -> LatentVariable:
    """The tables as a latent-variable model."""
    posterior = CategoricalPosterior(CategoricalPosterior.Config(1, CODES))
    prior = LearnedCategorical(LearnedCategorical.Config(1, CODES))
    network = nn.Linear(CODES, VALUES, bias=False)
    decoder = ConditionallyIndependent(network, Categorical(Categorical.Config(VALUES)), length=1, frames=1)
    made = LatentVariable(Table(), posterior, prior, decoder)
    with torch.no_grad():
        made.head.weight.copy_(tables.encoder.log().T)
        made.head.bias.zero_()
        network.weight.copy_(tables.decoder.log().T)
        prior.logits.copy_(tables.marginal.log()[None])
    return made


EVERY = Rows(torch.arange(VALUES)[:, None], torch.ones(VALUES, dtype=torch.int64))
FACTS = Facts(examples=VALUES, vocab_size=VALUES)


def test_figures_of_the_objective_are_those_of_the_tables() -> None:
    one = drawn(1)
    objective = MaximumEvidence(
        MaximumEvidence.Config(gradient=Component("score-function"), samples=4000, evaluation_samples=2000),
        {"model": model(one)},
        FACTS,
    )
    found = objective.measure(EVERY, Key(0, 0), 0)
    rate = float(found["rate"].amounts @ one.data)
    distortion = float(found["distortion"].amounts @ one.data)
    assert rate == pytest.approx(one.rate, abs=1e-10)
    assert distortion == pytest.approx(one.distortion, abs=0.05)
    log_likelihood = float(((one.decoder.T @ one.marginal).log() * one.data).sum())
    assert float(found["evidence"].amounts @ one.data) == pytest.approx(log_likelihood, abs=0.05)
    assert torch.allclose(found["elbo"].amounts, -(found["rate"].amounts + found["distortion"].amounts))


def control(name: str, **options: float) -> Component:
    return Component(name, options)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (control("weighted", beta=0.8), "encoded"),
        (control("weighted", beta=1.2), "decoded"),
        (control("target", nats=1.0, step=0.05), "target"),
    ],
    ids=["beta-0.8", "beta-1.2", "target"],
)
def test_where_a_tabular_model_ends(rate: Component, expected: str) -> None:
    """All probabilities are free and the data uniform, so that the optimum is known."""
    entropy = math.log(VALUES)
    wanted = {"encoded": (entropy, 0.0), "decoded": (0.0, entropy), "target": (1.0, entropy - 1)}[expected]
    assert trained(rate) == (pytest.approx(wanted[0], abs=0.03), pytest.approx(wanted[1], abs=0.03))


def test_the_more_the_rate_counts_the_lower_it_ends() -> None:
    """And the higher the distortion; with a weight of 1 all that adds up to the entropy is as good."""
    ends = [trained(control("weighted", beta=beta)) for beta in (0.6, 0.9, 1.0, 1.1, 1.5)]
    for (rate, distortion), (next_rate, next_distortion) in itertools.pairwise(ends):
        assert next_rate <= rate + 0.02
        assert next_distortion >= distortion - 0.02
    assert sum(ends[2]) == pytest.approx(math.log(VALUES), abs=0.03)
    assert ends[0][0] > ends[4][0] + 1


def trained(rate: Component) -> tuple[float, float]:
    """Rate and distortion of free tables after a training under a control of the rate."""
    generator = torch.Generator().manual_seed(0)
    fresh = [torch.randn(*shape, generator=generator) for shape in ((8, 8), (8, 8), (8,))]
    # Codes begin as the values' own, or two values might share one for ever.
    tables = [(table + 4 * torch.eye(8) if table.dim() == 2 else table).requires_grad_() for table in fresh]
    chosen = configs.construct(rate, registry.RATES, source="test")
    optimiser = torch.optim.Adam(tables, lr=0.05)
    for _ in range(700):
        encoder, decoder, marginal = (table.log_softmax(dim=-1) for table in tables)
        rates = (encoder.exp() * (encoder - marginal)).sum(dim=-1, keepdim=True)  # [B, 1]
        # Every code is a sample, and counts by its probability: [Z, B].
        found = Evidence(decoder, None, None, encoder.T, rates, encoder, encoder, None, None)  # type: ignore[arg-type]
        optimiser.zero_grad()
        chosen.loss(found).mean().backward()
        optimiser.step()
        chosen.after_update({"rate": found.rate.sum().detach(), "rows": torch.tensor(float(VALUES))})
    return found.rate.mean().item(), found.distortion.mean().item()


def gaussian(rate: Component, closed: bool) -> MaximumEvidence:
    torch.manual_seed(3)
    posterior, prior = GaussianPosterior(GaussianPosterior.Config(2)), StandardNormal(StandardNormal.Config(2))
    decoder = ConditionallyIndependent(
        nn.Linear(2, VALUES), Categorical(Categorical.Config(VALUES)), length=1, frames=1
    )
    made = LatentVariable(Table(), posterior, prior, decoder)
    return MaximumEvidence(MaximumEvidence.Config(rate=rate, closed=closed, samples=1), {"model": made}, FACTS)


def test_a_weight_of_one_is_the_elbo_bit_for_bit() -> None:
    objective = gaussian(control("weighted"), closed=True)
    loss = objective(Part(EVERY, Key(0, 7)), "model")
    params, setting = objective.model.encoded(EVERY)
    evidence = objective.evidence(EVERY, params, setting, Key(0, 7), 1, closed=True)
    plain = (evidence.distortion + evidence.rate).mean()
    assert float(loss.total) == float(plain)
    mine = torch.autograd.grad(loss.total, list(objective.parameters()))
    other = torch.autograd.grad(plain, list(objective.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_the_sampled_rate_is_the_closed_one_in_the_mean() -> None:
    objective = gaussian(control("weighted"), closed=False)
    params, setting = objective.model.encoded(EVERY)
    found = objective.evidence(EVERY, params, setting, Key(0, 1), 20000, closed=False)
    each = (found.sampled_posterior - found.sampled_prior).sum(dim=-1)  # [S, B]
    closed = objective.model.posterior.kl(params, setting).sum(dim=-1)
    assert bool(((each.mean(dim=0) - closed).abs() < 3 * each.std(dim=0) / len(each) ** 0.5).all())


def test_free_bits_hold_a_position_up() -> None:
    objective = gaussian(control("free-bits", nats=5.0), closed=True)
    params, setting = objective.model.encoded(EVERY)
    evidence = objective.evidence(EVERY, params, setting, Key(0, 1), 1, closed=True)
    assert bool((evidence.rate < 5).all())
    assert torch.allclose(objective.control.loss(evidence), evidence.distortion + 5)


def test_information_of_codes_is_bounded_from_both_sides() -> None:
    """Far apart and narrow, codes tell everything: the lower bound leans on its cap."""
    objective = gaussian(control("weighted"), closed=True)
    with torch.no_grad():
        objective.model.head.weight.zero_()
        objective.model.head.weight[0] = 100 * torch.arange(VALUES)
    found = objective.measure(EVERY, Key(0, 0), 0)
    assert float(found["information_at_least"].amounts[0]) == pytest.approx(math.log(VALUES), abs=1e-6)
    assert found["information_at_least"].cap == pytest.approx(math.log(VALUES))
    assert float(found["information_at_most"].amounts[0]) > 100


def test_collapse_is_remarked() -> None:
    objective = gaussian(control("weighted"), closed=True)
    assert "posterior collapse: the rate is 0.002 nats" in objective.remarks({"rate": 0.002})[0]
    assert objective.remarks({"rate": 1.0, "perplexity": 2.0}) == []
    same = {"rate": 6.2, "perplexity": 1.04}
    assert "posterior collapse: nearly all symbols are the same (perplexity 1.040)" in objective.remarks(same)[0]


def test_an_evaluation_warns_of_a_collapse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = table.Table("2 rows", {"rate": table.Figure(6.2), "perplexity": table.Figure(1.04)})
    task = SimpleNamespace(require_heeded=lambda options: None, evaluate=lambda system, options: found)
    system = System({}, objective=gaussian(control("weighted"), closed=True))
    monkeypatch.setattr("seqgen.cli.opened.opened", lambda path, runtime: (task, system))
    text, plain = evaluate.evaluated(tmp_path, Evaluation(), None)
    (warning,) = plain["warnings"]
    assert warning.startswith("warning: posterior collapse: nearly all symbols are the same (perplexity 1.040)")
    assert warning in text


def test_samples_of_long_rows_are_looked_at_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of all values of all elements would else be held for every sample at once."""
    objective = gaussian(control("weighted"), closed=True).measured_by(7)
    counts: list[int] = []
    inner = objective.evidence

    def counted(batch: Rows, params: Tensor, setting: object, rng: Key, samples: int, **given: bool) -> Evidence:
        counts.append(samples)
        return inner(batch, params, setting, rng, samples, **given)

    monkeypatch.setattr(objective, "evidence", counted)
    monkeypatch.setattr(latent_objective, "_NUMBERS", 3 * EVERY.x.numel() * max(1, objective.facts.vocab_size))
    few = objective.measure(EVERY, Key(0, 0), 0)["evidence"].amounts
    assert counts == [1, 3, 3, 1]
    monkeypatch.undo()
    together = objective.measure(EVERY, Key(0, 0), 0)["evidence"].amounts  # of other draws
    torch.testing.assert_close(few.mean(), together.mean(), rtol=0, atol=0.5)


def test_the_frontier_is_what_nothing_beats() -> None:
    points = [Point("a", 0, 9), Point("b", 1, 9.5), Point("c", 2, 4), Point("d", 3, 4), Point("e", 5, 1)]
    assert [one.name for one in frontier(points)] == ["a", "c", "e"]


def evaluated(folder: Path, rate: float, distortion: float) -> str:
    folder.mkdir()
    (folder / "eval.json").write_text(json.dumps({"rate": rate, "distortion": distortion, "rate_95": 0.1}))
    return str(folder)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [evaluated(tmp_path / name, rate, 10 - rate) for name, rate in (("low", 1.0), ("high", 6.0))]
    assert main(["curve", *places, "-o", str(tmp_path / "curve.png"), "--entropy", "9.5"]) == 0
    shown = capsys.readouterr().out
    assert "1.000 ± 0.100" in shown
    assert "10.000" in shown
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert main(["curve", *places, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["frontier"] for one in found["models"]] == [True, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "not evaluated"), ("{}", "no rate and distortion"), ("[", "eval.json: Expecting value")],
)
def test_bad_input(text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if text is not None:
        (tmp_path / "eval.json").write_text(text)
    assert main(["curve", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_picture_of_one_point(tmp_path: Path) -> None:
    draw([Point("only", 0.0, 3.0)], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000
