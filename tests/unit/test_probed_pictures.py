"""Linear probes of pictures: codes of models, and what stands beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seqgen.cli.main import main
from seqgen.tasks.pictures.probing import summary
from seqgen.train.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def handwriting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of scikit-learn's digits, and an experiment of a few updates on them."""
    place = tmp_path_factory.mktemp("digits")
    data, exp = place / "data", place / "exp"
    assert (
        main(["data", "prepare", "pictures", "--corpus", "digits", "--binarise", "threshold", "--out", str(data)]) == 0
    )
    (place / "conf.yaml").write_text(
        f"name: codes\nlicence: Apache-2.0\ntask: {{name: pictures, data: {data}}}\n"
        "networks:\n  model:\n    name: latent-variable\n"
        "    encoder: {name: block-perceptron, vocab_size: 2, length: 64, hidden: [32]}\n"
        "    posterior: {name: gaussian, dim: 6}\n    prior: {name: standard-normal, dim: 6}\n"
        "    decoder: {name: conditionally-independent, length: 64, hidden: [32]}\n"
        "objective: {name: evidence}\nplayers: {model: {optimiser: adam, learning_rate: 1e-2}}\n"
        "train: {steps: 60, batch_size: 50, validate_every: 60, checkpoint_every: 60}\n"
    )
    assert main(["train", str(place / "conf.yaml"), "--out", str(exp)]) == 0
    return place


def test_classes_are_read_off_codes_beside_baselines(handwriting: Path, tmp_path: Path) -> None:
    data = handwriting / "data"
    sides = ["--train", str(data / "train"), "--data", str(data / "test"), "--target", "class"]
    report = tmp_path / "class.json"
    options = ["--examples", "500", "--supervised", "40", "--vectors", str(tmp_path / "v"), "--report", str(report)]
    assert main(["probe", str(handwriting / "exp"), *sides, *options]) == 0
    found = json.loads(report.read_text())
    codes = found[str(handwriting / "exp")]
    assert list(found["probes"]) == ["pixels", "random", "supervised", str(handwriting / "exp")]
    assert found["pixels"] > 80
    assert codes > found["random"] > 10
    assert found["supervised"] > 80
    assert (found["training_examples"], found["labels"]) == (500, 10)
    vectors = {place.stem: np.load(place) for place in (tmp_path / "v").iterdir()}
    assert set(vectors) == {"pixels", "random", "supervised", "exp", "label", "signal"}
    assert {len(one) for one in vectors.values()} == {500 + found["test_examples"]}
    assert vectors["exp"].shape[1] == 6
    assert vectors["label"].sum(axis=1).tolist() == [1] * len(vectors["label"])
    assert main(["probe", str(handwriting / "exp"), *sides, "--no-baselines", "--report", str(report)]) == 0
    assert list(json.loads(report.read_text())["probes"]) == [str(handwriting / "exp")]


@pytest.mark.parametrize("warm_up", [0, 30, 100])
def test_validations_count_once_the_rate_has_its_whole_weight(handwriting: Path, tmp_path: Path, warm_up: int) -> None:
    """Before, a loss means another thing than it will later; where it never means the same, the newest is the best."""
    fewer = (
        "train.steps=40",
        "train.validate_every=10",
        "train.checkpoint_every=10",
        f"objective.rate.warm_up={warm_up}",
    )
    rising = (
        "players.model.learning_rate=3e-1",
        "train.schedule=constant",
    )  # from the second validation on it is worse
    settings = ("objective.rate={name: weighted}", *fewer, *rising)
    assert main(["train", str(handwriting / "conf.yaml"), "--out", str(tmp_path / "exp"), "--set", *settings]) == 0
    lines = [json.loads(line) for line in (tmp_path / "exp/metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if line["split"] == "valid"}
    settled = {step: loss for step, loss in losses.items() if step >= warm_up}
    best = min(settled, key=settled.__getitem__, default=None)
    state = json.loads((tmp_path / "exp/checkpoints/step-000040/state.json").read_text())
    assert (state["best"] and state["best"][1]) == best
    assert Checkpoints(tmp_path / "exp").best().name == f"step-{best or 40:06d}"


def test_pictures_in_short_are_means_of_their_parts() -> None:
    x = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    assert summary(x).shape == (1, 16)
    assert summary(x)[0, 0] == pytest.approx(np.mean([0, 1, 8, 9]))
    assert summary(x)[0, 1] == pytest.approx(np.mean([2, 3, 10, 11]))
    assert summary(x[:, :, :3, :5]).shape == (1, 12)


def test_what_has_no_codes_of_pictures_is_refused(
    handwriting: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, exp = handwriting / "data", str(handwriting / "exp")
    assert main(["probe", exp, "--data", str(data / "test"), "--target", "class"]) == 1
    assert "give the pictures to learn from: --train DATA/train" in capfd.readouterr().err
    larger = tmp_path / "larger.npz"
    np.savez(larger, x=np.zeros((40, 6, 6), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None] % 2)
    assert main(["data", "prepare", "pictures", "--corpus", str(larger), "--out", str(tmp_path / "other")]) == 0
    other = str(tmp_path / "other/test")
    assert main(["probe", exp, "--train", other, "--data", str(data / "test"), "--target", "class"]) == 1
    assert "pictures of shape [1, 6, 6]" in capfd.readouterr().err
