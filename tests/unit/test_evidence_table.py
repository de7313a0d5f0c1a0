"""Evidence of latent-variable models by samples of a posterior, in one table of several experiments; and the evaluation
that a training ends with."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from seqgen.files.outputs import write_text
from seqgen.tasks.experiment import Experiment
from tests.unit.cli_workspace import done, refused

CONFIG = """\
name: evidence
task: {{name: pictures, data: {data}}}
networks:
  model:
    name: latent-variable
    encoder: {{name: block-perceptron, vocab_size: 2, length: 64, hidden: [8]}}
    {code}
    decoder: {{name: conditionally-independent, length: 64, hidden: [8]}}
objective: {{name: evidence, samples: 2{options}}}
train: {{steps: 4, batch_size: 8, learning_rate: 1e-2, validate_every: 2, checkpoint_every: 2, log_every: 2}}
"""
MODELS = {
    "gaussian": ("posterior: {name: gaussian, dim: 2}\n    prior: {name: standard-normal, dim: 2}", ""),
    "symbols": ("posterior: {name: categorical}\n    prior: {name: uniform}", ", gradient: {name: score-function}"),
    "quantised": (
        "posterior: {name: vector-quantised, dim: 2, classes: 9}\n    prior: {name: uniform, classes: 9}",
        "",
    ),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluated runs over 40 binary digits, of codes of numbers, of symbols drawn and not drawn."""
    root = tmp_path_factory.mktemp("evidence")
    counts = ("--train", 40, "--valid", 10, "--test", 12)
    done(
        "data", "prepare", "pictures", "--corpus", "digits", "--out", root / "data", "--binarise", "threshold", *counts
    )
    for name, (code, options) in MODELS.items():
        write_text(root / f"{name}.yaml", CONFIG.format(data=root / "data", code=code, options=options))
        made = done("train", root / f"{name}.yaml", "--out", root / name, "--evaluate")
        assert made.out.startswith("12 pictures")
    return root


def test_a_training_ends_with_the_evaluation_that_is_asked_for(work: Path) -> None:
    kept = json.loads((work / "gaussian/eval.json").read_text())
    again = done("eval", work / "gaussian", "--json", "--report", work / "again.json").json()
    assert kept.keys() == again.keys()
    assert {key: one for key, one in kept.items() if key != "seconds"} == {
        key: one for key, one in again.items() if key != "seconds"
    }
    done("train", work / "gaussian.yaml", "--out", work / "bare")
    assert not (work / "bare/eval.json").exists()


def test_experiments_stand_in_one_table(work: Path) -> None:
    places = [work / name for name in MODELS]
    options = ("--data", work / "data/test", "--evidence-samples", 400, "--figures", "evidence", "rate")
    found = done("likelihood", *places, *options, "--json").json()["models"]
    assert [list(one["differences"]) for one in found] == [[], *[["evidence", "evidence_95", "rate", "rate_95"]] * 2]
    for place, one in zip(places, found, strict=True):
        few = json.loads((place / "eval.json").read_text())  # by 50 samples
        assert few["elbo"] - 1e-4 <= few["evidence"] + 0.05
        assert one["evidence"] >= few["elbo"] - 1e-4
        assert one["rate"] == few["rate"]
        apart = one["evidence"] - found[0]["evidence"]
        assert one["differences"].get("evidence", 0.0) == pytest.approx(apart, abs=1e-9)
    told = done("likelihood", *places, *options).out
    assert told.splitlines()[0].split()[:3] == ["evidence", "difference", "rate"]
    assert "by 400 samples" in told


def test_codes_that_are_not_drawn_have_the_evidence_of_their_bound(work: Path) -> None:
    found = json.loads((work / "quantised/eval.json").read_text())
    assert found["evidence"] == found["elbo"]
    assert found["rate"] == pytest.approx(math.log(9))


@torch.no_grad()
def test_many_samples_find_the_evidence(work: Path) -> None:
    """That of codes of one symbol, summed over the symbols."""
    experiment = Experiment.open(work / "symbols")
    task, model = experiment.task(), experiment.load().networks["model"]
    evidences = []
    for batch in task.source("test", {"model": model}).whole():
        count = model.posterior.dim
        z = torch.eye(count)[:, None, None].expand(-1, len(batch.x), -1, -1)  # [K, B, 1, K]
        each = model.log_likelihood(batch, z).sum(dim=-1) + model.prior.log_prob(z).sum(dim=-1)  # [K, B]
        evidences.append(torch.logsumexp(each, dim=0))
    options = ("--evidence-samples", 3000, "--json", "--report", work / "bound.json")
    found = done("eval", work / "symbols", *options).json()
    assert found["evidence"] == pytest.approx(float(torch.cat(evidences).mean()), abs=0.01)


def test_figures_that_none_has_are_refused(work: Path) -> None:
    said = refused("likelihood", work / "symbols", "--data", work / "data/test", "--figures", "bits", named=("elbo",))
    assert "no figure that all models have" in said
    refused("eval", work / "symbols", "--evidence-samples", -1, named=("--evidence-samples -1",))
