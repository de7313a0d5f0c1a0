"""Comparison of models: paired differences, what cannot be paired, and the command over several tokenizers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.tasks.comparison import Judged, compare
from seqgen.tasks.table import Figure, Table, ratio
from seqgen.text.directory import TextData
from seqgen.text.prepare import Preparation, prepare
from tests.unit.cli_workspace import done, refused


def judged(name: str, amounts: list[float], weights: list[float], figure: str = "bits_per_byte") -> Judged:
    rows = {f"one:{index}": pair for index, pair in enumerate(zip(amounts, weights, strict=True))}
    found = ratio(np.array(amounts), np.array(weights))
    return Judged(name, Table("", {figure: found}, examples={figure: rows}), 10, 2.0)


HARD = np.random.default_rng(0).uniform(1000, 9000, 50)
WEIGHTS = np.random.default_rng(1).integers(500, 1001, 50).astype(float)


def test_what_is_hard_for_both_is_no_part_of_a_difference() -> None:
    """A model that costs a hundredth of a bit more a byte, give or take little, is known to be worse, though each one's
    own interval is as wide as the examples differ."""
    noise = np.random.default_rng(2).normal(0, 1, 50)
    one = judged("one", HARD.tolist(), WEIGHTS.tolist())
    other = judged("other", (HARD + 0.01 * WEIGHTS + noise).tolist(), WEIGHTS.tolist())
    first, second = compare([one, other])
    assert first.differences == {}
    apart = second.differences["bits_per_byte"]
    assert apart.value == pytest.approx(0.01, abs=4e-4)
    assert apart.half_width < 1e-3 < first.figures["bits_per_byte"].half_width / 100
    expected = ratio(np.array([0.01 * w + n for w, n in zip(WEIGHTS, noise, strict=True)]), WEIGHTS)
    assert apart[:2] == pytest.approx(expected[:2], rel=1e-6)
    assert second.total == pytest.approx(HARD.sum() + 0.01 * WEIGHTS.sum() + noise.sum())


def test_differences_to_the_best() -> None:
    models = [judged(name, (HARD * by).tolist(), WEIGHTS.tolist()) for name, by in (("a", 1.1), ("b", 1.0), ("c", 1.2))]
    rows = compare(models, best=True)
    assert [bool(row.differences) for row in rows] == [True, False, True]
    assert all(row.differences["bits_per_byte"].value > 0 for row in rows if row.differences)


def test_order_of_the_examples_does_not_matter() -> None:
    one = judged("one", HARD.tolist(), WEIGHTS.tolist())
    rows = dict(reversed(one.table.examples["bits_per_byte"].items()))
    other = Judged("other", Table("", one.table.figures, examples={"bits_per_byte": rows}), 10, 1.0)
    assert compare([one, other])[1].differences["bits_per_byte"][:2] == (0.0, 0.0)


@pytest.mark.parametrize(
    "other",
    [
        judged("other", HARD[1:].tolist(), WEIGHTS[1:].tolist()),
        judged("other", HARD.tolist(), (WEIGHTS + 1).tolist()),
        judged("other", HARD.tolist(), WEIGHTS.tolist(), "accuracy"),
        Judged("other", Table("", {"kl": Figure(1.0)}), 10, 1.0),
    ],
)
def test_what_was_not_judged_on_the_same_is_not_compared(other: Judged) -> None:
    one = judged("one", HARD.tolist(), WEIGHTS.tolist())
    with pytest.raises(SeqgenError, match=r"no figure that all models have of the same examples \(one: bits_per_byte"):
        compare([one, other])


RUN = """\
name: {name}
task: {{name: text, data: {data}, segment: 16}}
networks:
  generator: {{name: autoregressive, body: {{name: recurrent, vocab_size: {size}, outputs: {size}, hidden: 8}}}}
train: {{steps: {steps}, batch_size: 4, learning_rate: 1e-2, validate_every: 2, checkpoint_every: 2}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models over bytes, characters and subwords of one text; the first twice, trained longer."""
    root = tmp_path_factory.mktemp("trained")
    words = "the quick brown fox jumps over the lazy dog naïve".split()  # noqa: SIM905
    order = np.random.default_rng(0).integers(0, len(words), 4000)
    (root / "text.txt").write_text(" ".join(words[index] for index in order), encoding="utf-8")
    for kind, size, name, steps in (
        ("bytes", 256, "bytes", 2), ("bytes", 256, "longer", 60), ("characters", 29, "characters", 2),
        ("sentencepiece", 300, "subwords", 2),
    ):  # fmt: skip
        settings = Preparation(kind, size if kind == "sentencepiece" else 0, valid_share=0.1, test_share=0.2)
        prepare(root / "text.txt", root / "data" / kind, settings)
        size = TextData.open(root / "data" / kind).tokenizer.vocab_size
        (root / f"{name}.yaml").write_text(RUN.format(name=name, data=root / "data" / kind, size=size, steps=steps))
        done("train", root / f"{name}.yaml", "--out", root / name)
    return root


def test_models_over_other_symbols_compare(trained: Path) -> None:
    models = [trained / name for name in ("bytes", "longer", "characters", "subwords")]
    found = done("likelihood", *models, "--data", trained / "data/bytes/test", "--json").json()
    assert found["reference"] == str(models[0])
    rows = {Path(row["path"]).name: row for row in found["models"]}
    size = (trained / "data/bytes/test/text").stat().st_size
    for name, row in rows.items():
        assert row["total"] == pytest.approx(row["bits_per_byte"] * size)
        assert row["bits_per_character"] > row["bits_per_byte"]  # of which some are two bytes
        own = done("eval", trained / name, "--data", trained / "data/bytes/test", "--json").json()
        assert own["bits_per_byte"] == pytest.approx(row["bits_per_byte"], rel=1e-6)
        if name != "bytes":
            apart = row["differences"]["bits_per_byte"]
            assert apart == pytest.approx(row["bits_per_byte"] - rows["bytes"]["bits_per_byte"], abs=1e-9)
    assert rows["longer"]["differences"]["bits_per_byte"] < -1
    assert rows["bytes"]["bits_per_byte"] == pytest.approx(8, abs=0.5)
    assert rows["characters"]["bits_per_byte"] == pytest.approx(math.log2(29), abs=0.5)
    assert rows["subwords"]["symbols"] < rows["characters"]["symbols"] < rows["bytes"]["symbols"]


def test_a_bundle_is_worth_what_its_experiment_is(trained: Path, tmp_path: Path) -> None:
    """Also read in many blocks, whose states are handed on."""
    done("export", trained / "longer", "--out", tmp_path / "bundle")
    words = ("--data", trained / "data/bytes/test", "--json", "--runtime", "onnx")
    found = done("likelihood", trained / "longer", tmp_path / "bundle", *words).json()
    one, other = found["models"]
    assert one["symbols"] > 2048 < other["symbols"]
    assert abs(other["differences"]["bits_per_byte"]) < 1e-5
    assert other["differences"]["bits_per_byte_95"] < 1e-5
    assert one["parameters"] == other["parameters"] > 0


def test_voices_are_compared_recording_by_recording(cli_work: Path) -> None:
    words = ("likelihood", cli_work / "exp", cli_work / "exp", "--data", cli_work / "data/test", "--json")
    one, other = done(*words).json()["models"]
    assert one["bits_per_sample"] == other["bits_per_sample"] > 0
    assert other["differences"]["bits_per_sample"] == 0
    assert "differences" in one and not one["differences"]  # noqa: PT018
    assert one["total"] == pytest.approx(one["bits_per_sample"] * one["symbols"])


def test_the_table_for_the_eye(trained: Path, tmp_path: Path) -> None:
    words = ("likelihood", trained / "bytes", trained / "longer", "--data", trained / "data/bytes/test")
    head, first, second = done(*words, "--best", "--report", tmp_path / "found.json").out.splitlines()
    assert head.split()[:5] == ["bits", "per", "byte", "difference", "bits"]
    assert first.split()[1:4:2] and "+" in first  # noqa: PT018
    assert "+" not in second
    assert json.loads((tmp_path / "found.json").read_text())["reference"] == str(trained / "longer")


def test_what_cannot_be_compared_is_one_line(trained: Path, tmp_path: Path) -> None:
    words = ("likelihood", trained / "bytes", "--data", tmp_path / "absent")
    assert "no text data at" in refused(*words)
    words = ("likelihood", trained / "bytes", tmp_path, "--data", trained / "data/bytes/test")
    assert str(tmp_path) in refused(*words)
