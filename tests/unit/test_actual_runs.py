"""Adversarial runs by the command line: they begin with another run's generator, and go on as if never stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seqgen.tasks.experiment import Experiment
from seqgen.train.checkpoint import Checkpoints
from tests.unit.cli_workspace import done, refused

MLE = """\
name: mle
task: {name: grammar, symbols: 3, length: 4, states: 3, held_out: 64, samples: 128}
networks:
  generator:
    name: autoregressive
    body: {name: recurrent, vocab_size: 3, outputs: 3, hidden: 4, embedding: 2}
train: {steps: 6, batch_size: 8, learning_rate: 1e-2, validate_every: 6, checkpoint_every: 6, log_every: 3}
"""
ADVERSARIAL = """\
name: adversarial
task: {{name: grammar, symbols: 3, length: 4, states: 3, held_out: 64, samples: 128}}
networks:
  generator: {{name: pretrained, experiment: {root}/mle, frozen: false}}
  critic: {{name: recurrent, vocab_size: 3, outputs: 3, hidden: 4, embedding: 2}}
  discriminator: {{name: recurrent, vocab_size: 3, outputs: 1, hidden: 4, embedding: 2}}
objective: {{name: actual, target_rate: 0.1}}
players:
  discriminator: {{optimiser: rmsprop, learning_rate: 1e-2, every: 2}}
  critic: {{optimiser: adam, learning_rate: 1e-2, repeat: 3}}
  actor: {{optimiser: sgd, learning_rate: 1e-1, after: 4}}
train: {{steps: 10, batch_size: 8, ema: 0.9, validate_every: 5, checkpoint_every: 2, keep: 9, log_every: 2}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs ``mle`` and ``whole``, and their configurations."""
    root = tmp_path_factory.mktemp("actual")
    (root / "mle.yaml").write_text(MLE)
    (root / "run.yaml").write_text(ADVERSARIAL.format(root=root))
    done("train", root / "mle.yaml", "--out", root / "mle", "--device", "cpu")
    done("train", root / "run.yaml", "--out", root / "whole", "--device", "cpu")
    return root


def model(out: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(Checkpoints(out).path(step) / "model.safetensors")


def history(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timing = ("seconds", "elements_per_second")
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


@pytest.mark.parametrize("stopped", [2, 6])
def test_a_resumed_run_is_the_same_run(root: Path, tmp_path: Path, stopped: int) -> None:
    """Weights, targets, moments, averages and history: before the actor's first turn, and behind it."""
    out, whole = tmp_path / "resumed", root / "whole"
    shutil.copytree(whole, out)
    for step in Checkpoints(out).steps():
        if step > stopped:
            shutil.rmtree(Checkpoints(out).path(step))
    done("train", root / "run.yaml", "--out", out, "--device", "cpu", "--resume")
    for name in ("model", "optimiser", "ema"):
        places = [Checkpoints(one).path(10) / f"{name}.safetensors" for one in (out, whole)]
        assert places[0].read_bytes() == places[1].read_bytes(), name
    assert history(out) == history(whole)


def test_a_run_begins_where_the_other_ended(root: Path) -> None:
    """Until its first turn the actor, and its target, are the generator of maximum likelihood; then both move."""
    start, waiting, moved = model(root / "mle", 6), model(root / "whole", 4), model(root / "whole", 6)
    for name, value in start.items():
        assert torch.equal(waiting[name], value)
        assert torch.equal(waiting[f"target_generator.network.{name.removeprefix('generator.')}"], value)
    assert any(not torch.equal(moved[name], value) for name, value in start.items())
    behind = {name: f"target_generator.network.{name.removeprefix('generator.')}" for name in start}
    assert any(not torch.equal(moved[target], moved[name]) for name, target in behind.items())
    assert any(not torch.equal(waiting[name], moved[name]) for name in moved if name.startswith("target_critic"))


def test_a_discriminator_that_is_not_followed_is_reported(root: Path, tmp_path: Path) -> None:
    words = (
        "train",
        root / "run.yaml",
        "--out",
        tmp_path / "lost",
        "--device",
        "cpu",
        "--set",
        "objective.ceiling=0.5",
    )
    said = done(*words, "train.steps=6", "players.discriminator.every=1").err
    assert "step 6: the discriminator tells " in said
    assert "of the actor's updates followed the likelihood alone" in said
    last = [line for line in history(tmp_path / "lost") if line["split"] == "train"][-1]
    assert 0 < last["actor/likelihood_alone"] <= 1


def test_an_evaluation_tells_of_the_generator_and_of_the_critic(root: Path) -> None:
    found = done("eval", root / "whole", "--json").json()
    assert found["exact_oracle_nll"] == pytest.approx(found["oracle_nll"], abs=3 * found["oracle_nll_95"])
    assert found["gradient_variance_all_actions"] > 0
    assert found["critic_error"] > 0
    sampled = done("sample", root / "whole", "--length", 10).out
    assert [len(line.split()) for line in sampled.splitlines()] == [4, 4, 4]


def test_what_was_trained_further_needs_its_first_run_no_more(root: Path, tmp_path: Path) -> None:
    for name in ("mle", "whole"):
        shutil.copytree(root / name, tmp_path / name)
    text = MLE.replace("name: mle", "name: third")
    (tmp_path / "run.yaml").write_text(ADVERSARIAL.format(root=tmp_path))
    (tmp_path / "third.yaml").write_text(text)
    other = f"networks.generator={{name: pretrained, experiment: {tmp_path}/whole, network: generator, frozen: false}}"
    words = (tmp_path / "third.yaml", "--out", tmp_path / "third", "--device", "cpu")
    for run in (words, (tmp_path / "run.yaml", "--out", tmp_path / "second", "--device", "cpu")):
        done("train", *run, *(("--set", other, "train.steps=1") if run is words else ()))
    assert not (tmp_path / "mle/networks.yaml").exists()
    shutil.rmtree(tmp_path / "whole")
    shutil.rmtree(tmp_path / "mle")
    for name in ("second", "third"):
        assert done("eval", tmp_path / name, "--json").json()["nll"] > 0
        assert done("sample", tmp_path / name, "--length", 4).out


def test_likelihood_goes_on_with_an_adversarial_generator(root: Path, tmp_path: Path) -> None:
    """A chain of three runs: each network is built as the first says, with the weights of the last."""
    other = f"networks.generator={{name: pretrained, experiment: {root}/whole, network: generator, frozen: false}}"
    done("train", root / "mle.yaml", "--out", tmp_path / "third", "--device", "cpu", "--set", other, "train.steps=1")
    network, _ = Experiment.open(tmp_path / "third").network("generator")
    trained = model(tmp_path / "third", 1)
    assert all(torch.equal(value, trained[f"generator.{name}"]) for name, value in network.named_parameters())


def test_what_cannot_begin_so_is_refused(root: Path, tmp_path: Path) -> None:
    words = ("train", root / "run.yaml", "--out", tmp_path / "x", "--device", "cpu", "--set")
    refused(*words, "networks.generator.frozen=true", named=("player 'actor' has no trainable parameter",), quiet=False)
    refused(*words, "networks.generator.experiment=nowhere", named=("networks.generator nowhere: no experiment here",))
    fresh = MLE.replace("symbols: 3", "symbols: 4", 1)
    (tmp_path / "four.yaml").write_text(fresh)
    apart = ("train", tmp_path / "four.yaml", "--out", tmp_path / "x", "--device", "cpu")
    refused(*apart, named=("networks.generator reads 3 symbols, the data have 4",))
    several = f"networks.generator.experiment={root}/whole"
    refused(*words, several, named=("trains 3 networks", "give network: generator or critic or discriminator"))
    refused(*words, several, "networks.generator.network=actor", named=("trains no network 'actor'",))
    refused(*words, "task.symbols=4", named=("was trained on 3 symbols, this grammar has 4",))
    refused(*words, "players.actor.after=-1", named=("'after' is -1",))
    assert not (tmp_path / "x").exists()
