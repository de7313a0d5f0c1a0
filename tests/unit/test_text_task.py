"""The text task: rows by number, whole documents as streams, bits of symbols, characters and bytes, and runs through
the command line."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.generation.contract import Density
from seqgen.noise import Key
from seqgen.objectives.likelihood import Likelihood
from seqgen.spec import Facts
from seqgen.tasks import experiment
from seqgen.tasks.contract import Evaluation, System
from seqgen.tasks.run import load
from seqgen.tasks.text.batches import Stretches
from seqgen.tasks.text.streams import Trained, score
from seqgen.tasks.text.task import Text
from seqgen.text.bytes import Bytes
from seqgen.text.characters import Characters, CharactersConfig
from seqgen.text.directory import Document, Encoded
from seqgen.text.prepare import Preparation, prepare
from seqgen.train import checkpoint
from tests.unit.cli_workspace import done, refused

CONFIG = """\
name: text
task: {{name: text, data: {data}, segment: 8}}
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
    prepare(tmp_path / "text.txt", tmp_path / "data", Preparation("characters", valid_share=0.1, test_share=0.2))
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.format(data=tmp_path / "data", size=8))
    return path


@pytest.fixture
def task(conf: Path) -> Text:
    made = experiment.task_of(load(conf), source=str(conf))
    assert isinstance(made, Text)
    return made


def test_facts_are_of_the_training_text_alone(task: Text) -> None:
    assert task.facts.tokenizer == Characters(CharactersConfig(" ,abcdr")).plain()
    assert (task.facts.examples, task.facts.vocab_size, task.facts.unit) == (182, 8, "character")
    assert task.describe() == "182 characters of 8 kinds"


def test_one_text_is_cut_and_nothing_is_in_two_parts(task: Text) -> None:
    parts = [b"".join(task.tokenizer.decode(row[:n]) for batch in task.source(split, {}).whole()
                      for row, n in zip(batch.x.tolist(), batch.lengths.tolist(), strict=True))
             for split in ("train", "valid", "test")]  # fmt: skip
    assert b"".join(parts).decode() == TEXT
    assert [len(part) for part in parts] == [182, 26, 52]


def stretches(sizes: list[int], **settings: int | bool) -> Stretches:
    """Documents of these sizes; a symbol's number is its place."""
    encoded = Encoded(np.arange(sum(sizes), dtype=np.uint32), np.cumsum([0, *sizes]))
    return Stretches(encoded, **{"segment": 7, "rows": 4, "seed": 3} | settings)  # type: ignore[arg-type]


def test_batches_are_functions_of_their_number() -> None:
    rows = stretches([100])
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


@pytest.mark.parametrize("context", [0, 4])
def test_rows_cross_no_end_of_a_document(context: int) -> None:
    """Of long documents, and of such as are shorter than a row; each symbol is learnt from about as often."""
    sizes = [3, 40, 1, 7, 60]
    bounds = np.cumsum([0, *sizes])
    seen = np.zeros(sum(sizes))
    for batch in stretches(sizes, context=context).batches(0, 3000, 0, 1):
        skip = batch.skip.tolist() if batch.skip is not None else [0] * 4
        for row, length, heard in zip(batch.x.tolist(), batch.lengths.tolist(), skip, strict=True):
            symbols = row[:length]
            assert symbols == list(range(symbols[0], symbols[0] + length))
            assert np.searchsorted(bounds, symbols[0], "right") == np.searchsorted(bounds, symbols[-1], "right")
            assert heard == min(context, symbols[heard] - bounds[np.searchsorted(bounds, symbols[heard], "right") - 1])
            seen[symbols[heard:]] += 1
    inner = [symbol for first, end in pairwise(bounds) for symbol in range(first, end)
             if end - first <= 7 or first + 7 <= symbol < end - 7]  # fmt: skip
    assert np.ptp(seen[inner]) < 0.35 * seen[inner].mean()
    assert seen.min() > 0


def test_the_whole_is_every_symbol_once_also_with_context() -> None:
    for context in (0, 4):
        found = []
        for batch in stretches([3, 40, 1, 7, 60], context=context).whole():
            skip = batch.skip.tolist() if batch.skip is not None else [0] * len(batch.ids)
            for row, length, heard in zip(batch.x.tolist(), batch.lengths.tolist(), skip, strict=True):
                found += row[heard:length]
        assert found == list(range(111))


def test_rows_of_one_length_leave_out_what_is_shorter() -> None:
    rows = stretches([3, 40, 7, 15], exact=True)
    batches = [*rows.batches(0, 200, 0, 1), *rows.whole()]
    assert all((batch.lengths == 7).all() for batch in batches)
    starts = {int(start) for batch in batches for start in batch.x[:, 0]}
    assert starts == {*range(3, 37), 43, *range(50, 59)}
    assert sum(len(batch.ids) for batch in rows.whole()) == 5 + 1 + 2


def uniform(symbols: int) -> AutoRegressive:
    """A density that finds each symbol as likely as any other."""
    made = language_model(symbols)
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    return made


def test_a_uniform_model_has_as_many_bits_as_the_alphabet_says(task: Text) -> None:
    """Also on the last, padded batch: padding is neither counted nor scored."""
    objective = Likelihood(Likelihood.Config(), {"generator": uniform(8)}, task.facts)
    for index, batch in enumerate(task.source("test", {}).whole()):
        measure = objective.measure(batch, Key(0, index), index)["bits_per_character"]
        assert torch.equal(measure.weights, batch.lengths)
        torch.testing.assert_close(measure.amounts, batch.lengths * math.log2(8.0), rtol=1e-6, atol=0)
    table = task.evaluate(System({"generator": uniform(8)}, objective, "fresh"), Evaluation())
    assert table.figures["bits_per_character"].value == pytest.approx(3, rel=1e-6)


def test_a_document_is_one_stream_and_short_ones_are_scored_side_by_side() -> None:
    torch.manual_seed(0)
    model, tokenizer = language_model(256), Bytes()
    documents = [Document(str(n), bytes(range(n % 50, n % 50 + n))) for n in (1, 90, 13, 200, 5)]
    model.block = 37  # without gradients a stream is read in blocks
    with torch.no_grad():
        for one, document in zip(score(Trained(model), tokenizer, documents), documents, strict=True):
            state, total = model.init_state(1), 0.0
            for symbol in document.data:  # symbol by symbol from a fresh state
                x = torch.tensor([[symbol]])
                params, state = model.step(x, state, None)
                total -= float(model.distribution.log_prob(params, x)) / math.log(2)
            assert one.blocks.bits.sum() == pytest.approx(total, rel=1e-5)
            assert one.blocks.bytes.sum() == one.blocks.symbols.sum() == len(document.data)


def test_blocks_are_cut_at_the_same_bytes_for_every_tokenizer() -> None:
    """Characters of two bytes: a block of a thousand bytes has 500 of them, and the bits of 500 or 1,000 symbols."""
    document = Document("one", "é".encode() * 1250 + b"\xff")
    (two,) = score(Trained(uniform(256)), Bytes(), [document])
    (one,) = score(Trained(uniform(2)), Characters(CharactersConfig("é")), [document])
    for found in (one, two):
        assert found.blocks.bytes.tolist() == [1000, 1000, 501]
        assert found.blocks.characters.tolist() == [500, 500, 251]
        assert (found.invalid, found.rest) == (1, 0)
    assert two.blocks.symbols.tolist() == [1000, 1000, 501]
    np.testing.assert_allclose(two.blocks.bits, [8000, 8000, 8 * 501], rtol=1e-6)
    assert (one.unknown, two.unknown) == (1, 0)
    np.testing.assert_allclose(one.blocks.bits, [500, 500, 251 + 16], rtol=1e-6)


class Sequences(Density):
    """Sequences of three symbols, of which the first is always 0."""

    length = 3
    num_uniforms = 1

    def log_prob(self, x: Tensor, cond: None = None) -> Tensor:
        assert x.shape[1] == 3
        return torch.tensor([0.0, -1.0, -1.0]) * math.log(2) + 0.0 * x

    def sample(self, u: Tensor, cond: None = None, temperature: Tensor | float = 1.0) -> Tensor:
        assert u.shape[1:] == (3, 1)
        return (128 * u[..., 0]).long() * torch.tensor([0, 1, 1])


def test_a_density_of_a_length_scores_whole_sequences_and_the_rest_at_the_alphabets_size() -> None:
    found = list(
        score(Trained(Sequences()), Bytes(), [Document("a", bytes(8)), Document("b", bytes(3)), Document("c", b"x")])
    )
    assert [one.rest for one in found] == [2, 0, 1]
    assert [one.blocks.bits.sum() for one in found] == pytest.approx([4 + 16, 2, 8])


def test_rows_of_another_length_than_a_density_takes_are_refused(task: Text) -> None:
    density = Sequences()
    density.vocab_size = task.facts.vocab_size
    with pytest.raises(SeqgenError, match=r"takes sequences of 3 symbols, rows have 8 .*set task.segment to 3"):
        task.require_fit({"generator": density})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: (data / "tokenizer.json").unlink(), ("there is no tokenizer.json; make one with",)),
        (lambda data: (data / "train/symbols.npy").unlink(), ("no symbols", "prepare the text again")),
        (lambda data: (data / "train/symbols.npy").write_bytes(b"abc"), ("no symbols", "prepare the text again")),
        (lambda data: np.save(data / "train/bounds.npy", np.array([0, 5])), ("do not fit",)),
        (lambda data: (data / "tokenizer.json").write_text('{"name": "characters", "characters": "xyz"}'),
         ("the symbols were made by tokenizer",)),
    ],
)  # fmt: skip
def test_data_that_will_not_do_are_one_line(conf: Path, tmp_path: Path, change: object, said: tuple[str, ...]) -> None:
    change(tmp_path / "data")  # type: ignore[operator]
    refused("train", conf, "--out", tmp_path / "exp", named=said)
    assert not (tmp_path / "exp").exists()


def test_settings_that_make_no_sense_are_refused(conf: Path, tmp_path: Path) -> None:
    for wrong in ("task.segment=0", "task.context=-1"):
        with pytest.raises(SeqgenError, match="'segment' is"):
            experiment.task_of(load(conf, [wrong]), source=str(conf))
    said = refused("train", conf, "--out", tmp_path / "exp", "--set", "task.segment=183")
    assert "'task.segment' is 183 characters, the longest document that is learnt from has 182; train on" in said


def test_a_model_of_another_alphabet_is_refused(conf: Path, tmp_path: Path) -> None:
    said = refused("train", conf, "--out", tmp_path / "exp", "--set", "networks.generator.body.vocab_size=9",
                   "networks.generator.body.outputs=9")  # fmt: skip
    assert "networks.generator reads 9 symbols, the data have 8; set vocab_size and outputs to 8" in said


def test_weights_of_other_symbols_are_refused(task: Text) -> None:
    other = Facts(tokenizer=Bytes().plain())
    with pytest.raises(SeqgenError, match=r"other symbols \(bytes, 256 symbols, .*; prepare both"):
        task.adopt(nn.Identity(), other, "networks.generator exp/other")
    task.adopt(nn.Identity(), task.facts, "networks.generator exp/same")


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
    assert (found["characters"], found["documents"], found["unknown"]) == (52, 1, 0)
    assert 1 < found["bits_per_character"] < 4
    assert found["bits_per_byte"] == found["bits_per_character"]
    (tmp_path / "other.txt").write_bytes("abc\N{GREEK SMALL LETTER ALPHA}\n".encode() * 4 + b"\xff")
    other = done("eval", tmp_path / "whole", "--data", tmp_path / "other.txt").out
    assert "25 bytes, 21 characters, 21 symbols" in other
    assert "9 characters are unknown" in other
    assert "1 bytes are no UTF-8" in other
    words = ("sample", tmp_path / "whole", "--prompt", "abra", "--length", 12, "--seed", 5)
    text = done(*words).out
    assert text == done(*words).out
    assert (len(text), text[:4]) == (4 + 12 + 1, "abra")
    done(*words, "-o", tmp_path / "made.txt")
    assert (tmp_path / "made.txt").read_text() == text[:-1]
    for file in ("symbols.npy", "text"):  # what is trained needs its data no more
        (tmp_path / "data/train" / file).unlink()
    assert done(*words).out == text


def test_text_that_was_prepared_anew_is_other_data(conf: Path, tmp_path: Path) -> None:
    done("train", conf, "--out", tmp_path / "exp")
    (tmp_path / "text.txt").write_text(TEXT.replace("cad", "dac", 1))
    prepare(tmp_path / "text.txt", tmp_path / "data", Preparation("characters", valid_share=0.1, test_share=0.2))
    said = refused("train", conf, "--out", tmp_path / "exp", "--resume", "--set", "train.steps=9", quiet=False)
    assert "task.data: data" in said


def test_samples_come_as_they_are_made(conf: Path, tmp_path: Path) -> None:
    """A reader that goes away after the first characters of very many ends it."""
    done("train", conf, "--out", tmp_path / "exp")
    words = [sys.executable, "-m", "seqgen.cli.main", "sample", str(tmp_path / "exp"), "--length", "10000000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}) as made:  # fmt: skip
        assert made.stdout is not None
        assert len(made.stdout.read(20)) == 20
        made.stdout.close()
        assert made.wait(timeout=30) == 0  # ten million would take half an hour
