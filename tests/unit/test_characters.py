"""The character task: texts that are refused, symbols, stretches by number, and runs through the command line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.noise import Key
from seqgen.objectives.likelihood import Likelihood
from seqgen.tasks import experiment
from seqgen.tasks.run import load
from seqgen.tasks.text.characters import UNKNOWN, Characters, Stretches
from seqgen.train import checkpoint
from tests.unit.cli_workspace import contents, done, refused

CONFIG = """\
name: text
task: {{name: characters, train: {text}, valid: {text}, test: {text}, split: [0.1, 0.2], segment: 8}}
networks:
  generator:
    name: autoregressive
    body: {{name: recurrent, vocab_size: {size}, outputs: {size}, hidden: 6, embedding: 3}}
train: {{steps: 6, batch_size: 4, learning_rate: 1e-2, validate_every: 3, checkpoint_every: 3, log_every: 1, keep: 3}}
"""
TEXT = "abracadabra, " * 20


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.format(text=tmp_path / "text.txt", size=8))
    return path


@pytest.fixture
def task(conf: Path) -> Characters:
    made = experiment.task_of(load(conf), source=str(conf))
    assert isinstance(made, Characters)
    return made


def test_facts_are_of_the_training_text_alone(task: Characters) -> None:
    assert task.facts.alphabet == (UNKNOWN, " ", ",", "a", "b", "c", "d", "r")
    assert (task.facts.examples, task.facts.vocab_size, task.facts.unit) == (182, 8, "character")


def test_unknown_characters_become_one_symbol(task: Characters) -> None:
    symbols = task.encode("bar\N{GREEK SMALL LETTER ALPHA}x")
    assert symbols.tolist() == [4, 3, 7, 0, 0]
    assert task.decode(symbols) == f"bar{UNKNOWN}{UNKNOWN}"


def test_one_file_is_cut_and_nothing_is_in_two_parts(task: Characters) -> None:
    parts = ["".join(task.decode(row[:n]) for batch in task.source(split, {}).whole()
                     for row, n in zip(batch.x.tolist(), batch.lengths.tolist(), strict=True))
             for split in ("train", "valid", "test")]  # fmt: skip
    assert "".join(parts) == TEXT
    assert [len(part) for part in parts] == [182, 26, 52]


def test_batches_are_functions_of_their_number() -> None:
    rows = Stretches(np.arange(100), segment=7, rows=4, seed=3)
    straight = list(rows.batches(0, 5, 0, 1))
    again = list(rows.batches(2, 5, 0, 1))
    assert all(torch.equal(one.x, other.x) for one, other in zip(straight[2:], again, strict=True))
    shares = [next(rows.batches(2, 3, rank, 2)) for rank in (0, 1)]
    whole = torch.stack([shares[0].x, shares[1].x], dim=1).flatten(0, 1)
    assert torch.equal(whole, straight[2].x)
    starts = torch.cat([batch.x[:, 0] for batch in rows.batches(0, 2000, 0, 1)])
    counts = torch.bincount(starts, minlength=94)
    assert len(counts) == 94, "stretches begin at every place that leaves room for one"
    assert counts.min() > 40
    assert all((batch.x.diff(dim=1) == 1).all() for batch in straight)


def test_a_short_text_is_one_padded_row() -> None:
    (batch,) = Stretches(np.arange(3), segment=7, rows=4, seed=0).whole()
    assert (batch.x.tolist(), batch.lengths.tolist()) == ([[0, 1, 2]], [3])


def test_a_uniform_model_has_as_many_bits_as_the_alphabet_says(task: Characters) -> None:
    """Also on the last, padded batch: padding is neither counted nor scored."""
    system = experiment.build(task, source="here")
    generator = system.networks["generator"]
    assert isinstance(generator, AutoRegressive)
    for parameter in generator.body.out.parameters():  # type: ignore[union-attr,operator]
        torch.nn.init.zeros_(parameter)
    objective = system.objective
    assert isinstance(objective, Likelihood)
    for index, batch in enumerate(task.source("test", {}).whole()):
        measure = objective.measure(batch, Key(0, index), index)["bits_per_character"]
        assert torch.equal(measure.weights, batch.lengths)
        torch.testing.assert_close(measure.amounts, batch.lengths * math.log2(8.0), rtol=1e-6, atol=0)
        assert objective.loss(batch, "generator", Key(0, 0), None).total.item() == pytest.approx(math.log(8), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.write_bytes(b""), ("is empty; give a text",)),
        (lambda text: text.write_bytes(b"abc\xff"), ("not UTF-8 at byte 3; convert",)),
        (lambda text: text.unlink(), ("cannot read the text", "No such file")),
        (lambda text: text.write_text("a"), ("'task.segment' is 8 characters, the training text has 1; train on",)),
        (lambda text: text.write_text("a"), ("nothing is left for valid",)),
    ],
)
def test_a_text_that_will_not_do_is_one_line(conf: Path, tmp_path: Path, change: object, said: tuple[str, ...]) -> None:
    change(tmp_path / "text.txt")  # type: ignore[operator]
    size = 2 if "left" in said[0] or "segment" in said[0] else 8
    conf.write_text(CONFIG.format(text=tmp_path / "text.txt", size=size))
    shorter = ("--set", "task.segment=1") if "left" in said[0] else ()
    refused("train", conf, "--out", tmp_path / "exp", *shorter, named=("text.txt" if size == 8 else "", *said))
    assert not (tmp_path / "exp").exists()


def test_a_byte_order_mark_is_no_character(conf: Path, tmp_path: Path) -> None:
    facts = experiment.task_of(load(conf), source=str(conf)).facts
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert experiment.task_of(load(conf), source=str(conf)).facts == facts


def test_a_model_of_another_alphabet_is_refused(conf: Path, tmp_path: Path) -> None:
    said = refused("train", conf, "--out", tmp_path / "exp", "--set", "networks.generator.body.vocab_size=9",
                   "networks.generator.body.outputs=9")  # fmt: skip
    assert "networks.generator reads 9 symbols, the data have 8; set vocab_size and outputs to 8" in said


@pytest.mark.parametrize("wrong", ["task.segment=0", "task.split=[0.5, 0.5]", "task.split=[-0.1, 0.5]"])
def test_settings_that_make_no_sense_are_refused(conf: Path, wrong: str) -> None:
    with pytest.raises(SeqgenError, match=wrong.split("=", maxsplit=1)[0].split(".")[1]):
        experiment.task_of(load(conf, [wrong]), source=str(conf))


def test_train_eval_sample_and_an_exact_resume(conf: Path, tmp_path: Path) -> None:
    done("train", conf, "--out", tmp_path / "whole")
    done("train", conf, "--out", tmp_path / "cut")
    for name in ("step-000006", "step-000005"):  # as a run that was killed before its last checkpoint
        for file in sorted((tmp_path / "cut/checkpoints" / name).glob("*")):
            file.unlink()
    folder = tmp_path / "cut/checkpoints/step-000006"
    if folder.exists():
        folder.rmdir()
    done("train", conf, "--out", tmp_path / "cut", "--resume")
    ends = [checkpoint.read(tmp_path / run / "checkpoints/step-000006").tensors for run in ("whole", "cut")]
    for part, tensors in ends[0].items():
        assert all(torch.equal(value, ends[1][part][name]) for name, value in tensors.items()), part
    found = done("eval", tmp_path / "whole", "--json").json()
    assert found["characters"] == 52
    assert 1 < found["bits_per_character"] < 4
    assert len(found["examples"]["bits_per_character"]) == 7
    (tmp_path / "other.txt").write_text("abc\N{GREEK SMALL LETTER ALPHA}\n" * 4)
    other = done("eval", tmp_path / "whole", "--data", tmp_path / "other.txt").out
    assert "20 characters, 8 of them unknown" in other
    words = ("sample", tmp_path / "whole", "--prompt", "abra", "--length", 12, "--seed", 5)
    text = done(*words).out
    assert text == done(*words).out
    assert (len(text), text[:4]) == (4 + 12 + 1, "abra")
    done(*words, "-o", tmp_path / "made.txt")
    assert (tmp_path / "made.txt").read_text() == text[:-1]
    before = contents(tmp_path / "whole")
    assert "cannot be exported" in refused("export", tmp_path / "whole", "--out", tmp_path / "bundle")
    assert contents(tmp_path / "whole") == before
