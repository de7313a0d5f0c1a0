"""Pairs of texts: tables that are refused, data directories, batches by number, and translation by the commands."""

from __future__ import annotations

import gzip
import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.errors import SeqgenError
from seqgen.generation.encoder_decoder import translator as small
from seqgen.metrics import sequences
from seqgen.tasks import experiment
from seqgen.tasks.run import load
from seqgen.tasks.translation import lines
from seqgen.tasks.translation.batches import EncodedPairs, PairBatches, padded
from seqgen.tasks.translation.evaluation import judged
from seqgen.tasks.translation.task import Translation
from seqgen.tasks.translation.translator import LONGEST_SOURCE, Decoding, Translator
from seqgen.text import pairs as tables
from seqgen.text.bytes import Bytes
from seqgen.text.characters import Characters, CharactersConfig
from seqgen.text.pairs import Pair, Preparation
from seqgen.text.phonemes import Phonemes, PhonemesConfig
from tests.unit.cli_workspace import contents, done, refused, seqgen

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TABLE = "".join(f"{one} {two}\t{a}{b}\n" for a, one in enumerate(WORDS) for b, two in enumerate(WORDS))
CONFIG = """\
name: spelt
task: {{name: translation, data: {data}, longest: 5, overlap: [chrf, bleu], ignoring: "0"}}
networks:
  generator:
    name: encoder-decoder
    encoder: {{name: recurrent-encoder, vocab_size: {source}, hidden: 8, embedding: 8}}
    body: {{name: attention-decoder, vocab_size: 12, outputs: 12, memory_dim: 16, hidden: 16, embedding: 8}}
train: {{steps: {steps}, batch_size: 16, learning_rate: 2e-2, validate_every: 30, checkpoint_every: 30, log_every: 10}}
"""
SYMBOLS = 17  # of the spelt words: fifteen letters, the space, the unknown one


def prepared(tmp_path: Path, *more: object) -> Path:
    (tmp_path / "table.tsv").write_text(TABLE)
    data = tmp_path / "data"
    done("data", "prepare", "pairs", "--corpus", tmp_path / "table.tsv", "--out", data, "--test", "0.2", *more)
    return data


def configured(tmp_path: Path, steps: int = 2) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.format(data=prepared(tmp_path), source=SYMBOLS, steps=steps))
    return path


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"one\t1\ntwo 2\nthree\t3\n", ":2: 1 column, expected a source, a tab and a target"),
        (b"one\t1\n\t2\n", ":2: the source is empty"),
        (b"one\t1\t \n", ":1: target 2 is empty"),
        (b"one\t1\ntwo\t\n", ":2: target 1 is empty"),
        (b"one\t\xff\n", ":1: not UTF-8 at byte 4"),
        (b"one\t1\rtwo\t2\n", ":1: a carriage return or NUL inside"),
        (b"one\t1\n" + b"x\n" * 9, r":2: 1 column.* \(and 8 more, in lines 3, 4, 5, 6, 7, …\)"),
        (b"", "has no pairs"),
        (b"\x1f\x8b\x08\x00", "damaged gzip|cannot read"),
    ],
)
def test_what_is_no_table_of_pairs_is_refused_by_line(tmp_path: Path, table: bytes, said: str) -> None:
    (tmp_path / "table.tsv").write_bytes(table)
    with pytest.raises(SeqgenError, match=said):
        tables.read(tmp_path / "table.tsv")


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match=r"cannot read .*none\.tsv"):
        tables.read(tmp_path / "none.tsv")


def test_tables_are_read_plain_and_gzipped_with_several_targets(tmp_path: Path) -> None:
    data = "one\t1\tI\r\nthrée\t3\n".encode()
    (tmp_path / "plain.tsv").write_bytes(data)
    (tmp_path / "zipped").write_bytes(gzip.compress(data))
    expected = [Pair("one", ("1", "I")), Pair("thrée", ("3",))]
    assert tables.read(tmp_path / "plain.tsv") == tables.read(tmp_path / "zipped") == expected


def test_lines_of_a_source_are_put_together() -> None:
    given = [Pair("a", ("1",)), Pair("b", ("2",)), Pair("a", ("3", "1"))]
    assert tables.grouped(given) == [Pair("a", ("1", "3")), Pair("b", ("2",))]


def test_further_pairs_move_no_source_to_another_split() -> None:
    few = [Pair(f"word {number}", ("x",)) for number in range(300)]
    how = Preparation(valid=0.1, test=0.2)
    one, other = tables.split(few, how), tables.split([*few, Pair("another", ("y",))], how)
    assert all(set(one[name]) <= set(other[name]) for name in one)
    assert 15 < len(one["valid"]) < 50
    assert 35 < len(one["test"]) < 90
    assert sorted(pair.source for part in one.values() for pair in part) == sorted(pair.source for pair in few)


def test_a_data_directory_holds_each_pair_once_and_its_tokenizers(tmp_path: Path) -> None:
    data = prepared(tmp_path, "--target-tokenizer", "phonemes")
    found = [pair for name in tables.SPLITS for pair in tables.read(data / name / tables.TABLE)]
    assert sorted(found) == sorted(tables.read(tmp_path / "table.tsv"))
    source, target = (json.loads((data / name).read_text()) for name in (tables.SOURCE, tables.TARGET))
    assert (source["name"], source["stop"], target["name"]) == ("characters", False, "phonemes")
    assert "\n" not in source["characters"]
    before = contents(data)
    prepared(tmp_path, "--target-tokenizer", "phonemes")
    assert contents(data) == before


def test_what_is_too_long_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text(TABLE)
    made = done(
        "data", "prepare", "pairs", "--corpus", tmp_path / "table.tsv", "--out", tmp_path / "d", "--longest", "9"
    )
    assert "too long" in made.out
    every = [pair for name in tables.SPLITS for pair in tables.read(tmp_path / "d" / name / tables.TABLE)]
    assert max(len(pair.source) for pair in every) == 9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--valid", "0.6", "--test", "0.6"], "shares of 0.6 and 0.6 held out"),
        (["--valid", "some"], "'some' is no share"),
        (["--valid", "0"], "no pair is left for valid"),
        (["--source-tokenizer", "words"], "unknown tokenizer 'words'"),
        (["--longest", "-1"], "negative"),
    ],
)
def test_preparations_that_make_no_sense_are_refused(tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "table.tsv").write_text(TABLE)
    corpus = ["--corpus", tmp_path / "table.tsv", "--out", tmp_path / "data"]
    refused("data", "prepare", "pairs", *corpus, *options, named=(said,))
    assert not (tmp_path / "data").exists()


def test_options_of_pairs_are_for_pairs(tmp_path: Path) -> None:
    refused(
        "data", "prepare", "demo", "--out", tmp_path / "d", "--source-tokenizer", "bytes", named=("does not apply",)
    )
    refused("data", "prepare", "pairs", "--out", tmp_path / "d", named=("--corpus",))


def encoded(count: int) -> EncodedPairs:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, count).tolist()
    pairs = [Pair("a" * length, ("b" * length, "c" * length)) for length in lengths]
    source, target = Characters(CharactersConfig("a")), Characters(CharactersConfig("bc", stop=True))
    return EncodedPairs(pairs, source, target, 1)


def test_batches_hold_every_pair_of_a_pass_and_rows_of_like_lengths() -> None:
    pairs = encoded(400)  # of two targets each
    source = PairBatches(pairs, rows=8, seed=3)
    made = list(source.batches(0, 200, 0, 1))
    for turn in (made[:100], made[100:]):
        assert len({name for batch in turn for name in batch.ids}) == 800
    assert [batch.ids for batch in made[:100]] != [batch.ids for batch in made[100:]]
    full = sum(int(batch.lengths.sum() + batch.cond.lengths.sum()) for batch in made)
    room = sum(batch.x.numel() + batch.cond.symbols.numel() for batch in made)
    assert full > 0.9 * room  # without an order by length a half of it is padding
    spread = [float(batch.cond.lengths.double().mean()) for batch in made[:100]]
    assert np.corrcoef(spread[:-1], spread[1:])[0, 1] < 0.5  # batches of like lengths do not follow each other


def test_targets_end_with_their_stop_symbol_and_rows_with_padding() -> None:
    batch = encoded(3).batch([1, 0])
    assert batch.x[0].tolist()[0] == 3
    assert batch.ids == ("0000001.2", "0000001.1")
    assert [int(row[length - 1]) for row, length in zip(batch.x, batch.lengths, strict=True)] == [1, 1]
    assert padded([np.array([1, 2]), np.array([3])])[0].tolist() == [[1, 2], [3, 0]]


def test_fewer_pairs_than_a_batch_are_refused() -> None:
    with pytest.raises(SeqgenError, match="6 pairs, fewer than a batch of 7"):
        next(PairBatches(encoded(3), rows=7, seed=0).batches(0, 1, 0, 1))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("", "", 0), ("abcd", "bcda", 2), ("ab", "ab", 0)],
)
def test_edits_are_the_fewest(one: str, other: str, expected: int) -> None:
    assert sequences.edits([*map(ord, one)], [*map(ord, other)]) == expected
    assert sequences.edits([*map(ord, other)], [*map(ord, one)]) == expected


def test_edits_against_the_recursion() -> None:
    rng = np.random.default_rng(1)

    def slow(one: list[int], other: list[int]) -> int:
        if not one or not other:
            return len(one) + len(other)
        return min(slow(one[1:], other) + 1, slow(one, other[1:]) + 1, slow(one[1:], other[1:]) + (one[0] != other[0]))

    for _ in range(30):
        one, other = (rng.integers(0, 3, rng.integers(0, 6)).tolist() for _ in range(2))
        assert sequences.edits(one, other) == slow(one, other)


def test_of_several_references_the_nearest_counts() -> None:
    assert sequences.nearest([1, 2, 3], [[9, 9, 9], [1, 2, 3, 4, 5], [1, 2, 4]]) == sequences.Errors(1, 3)


def test_overlap_is_sacrebleus_and_a_reference_more_never_hurts() -> None:
    made, references = ["the cat sat on the mat", "no"], [["the cat sat on a mat"], ["no", "not at all"]]
    for name in ("chrf", "bleu"):
        found = sequences.overlap(name, made, references)
        assert 0 < found.value < 100
        assert found.half_width >= 0
        assert sequences.overlap(name, made, [made[:1], made[1:]]).value == pytest.approx(100)
        assert sequences.overlap(name, made, [[*references[0], made[0]], references[1]]).value > found.value


class Spoken(Translator):
    """A translator that says what it is told to."""

    def __init__(self, says: dict[int, list[int]], source: Characters, target: Phonemes) -> None:
        super().__init__(small(source.vocab_size, target.vocab_size), source, target, Decoding())
        self.says = says

    def symbols(self, given):  # type: ignore[no-untyped-def]
        return [self.says[len(symbols)] for symbols in given]


def test_judgement_counts_matches_and_errors_with_and_without_stress() -> None:
    source, target = Characters(CharactersConfig("a")), Phonemes(PhonemesConfig(("AH0", "AH1", "B")))
    ah0, ah1, b = 2, 3, 4
    pairs = [Pair("a", ("AH0 B", "B")), Pair("aa", ("AH1 B",)), Pair("aaa", ("B B B B",))]
    made = Spoken({1: [b], 2: [ah0, b], 3: [ah1]}, source, target)
    found = judged(made, pairs, "01", ()).figures
    assert found["exact_match"].value == pytest.approx(100 / 3)
    assert found["sequence_error"].value == pytest.approx(200 / 3)
    assert found["phoneme_error"].value == pytest.approx(100 * (0 + 1 + 4) / (1 + 2 + 4))
    assert found["exact_match_ignoring_01"].value == pytest.approx(200 / 3)
    assert found["phoneme_error_ignoring_01"].value == pytest.approx(100 * 4 / 7)
    assert found["phoneme_error"].half_width > 0


def test_a_run_learns_is_judged_and_translates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf, out = configured(tmp_path, 150), tmp_path / "exp"
    done("train", conf, "--out", out)
    record = done("eval", out, "--json").json()
    fresh = math.log(12)
    assert record["nats_per_character"] < 0.5 * fresh
    assert record["nats_per_character"] == pytest.approx(record["bits_per_character"] * math.log(2))
    assert record["exact_match"] + record["sequence_error"] == pytest.approx(100)
    assert 0 < record["chrf"] <= 100
    assert {"character_error", "character_error_95", "character_error_ignoring_0", "bleu", "bleu_95"} <= set(record)
    assert record["sources"] == len(tables.read(tmp_path / "data" / "test" / tables.TABLE))
    wide = done("eval", out, "--beam", "4", "--examples", "5", "--json").json()
    assert (wide["beam"], wide["sources"]) == (4, 5)
    given = b"one two\n\n  \nnine three\r\nfour \xc3\xa9\n"
    outputs = {}
    for options in ([], ["--beam", "3"], ["--temperature", "1", "--seed", "2"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        made = done("translate", out, *options)
        outputs[" ".join(options)] = made.out.split("\n")
        assert made.out.count("\n") == 5
        assert made.out.split("\n")[1:3] == ["", ""]
        assert "5 lines, 1 characters of them unknown" in made.err
    assert all(one.isdigit() for one in outputs[""][:1])
    prompt = done("sample", out, "--prompt", "one two", "--temperature", "0").out
    assert prompt == f"{outputs[''][0]}\n"
    refused("sample", out, named=("--prompt",))
    refused("translate", out, "--beam", "2", "--temperature", "1", named=("a beam draws nothing",))
    refused("translate", out, "--beam", "-1", named=("--beam -1",))


def test_a_line_that_is_too_long_is_left_empty_and_told(tmp_path: Path) -> None:
    source, target = Characters(CharactersConfig("a")), Characters(CharactersConfig("b", stop=True))
    torch.manual_seed(0)
    model = Translator(small(source.vocab_size, target.vocab_size), source, target, Decoding(longest=3))
    said: list[str] = []
    with pytest.raises(SeqgenError, match=r"line 2: 4,001 symbols, more than .* \(and 1 more\)"):
        lines.translate(model, [b"a", b"a" * (LONGEST_SOURCE + 1), b"a", b"a" * 5000], said.append)
    made = "".join(said).split("\n")
    assert len(made) == 5
    assert made[1] == made[3] == ""
    assert made[0] == made[2]


def test_a_tokenizer_without_an_end_is_refused() -> None:
    source = Characters(CharactersConfig("a"))
    with pytest.raises(SeqgenError, match="without a symbol that ends a target"):
        Translator(small(2, 256), source, Bytes.learn(list), Decoding())


@pytest.mark.parametrize("options", [{"beam": 0}, {"longest": 0}, {"normalization": -1.0}, {"temperature": 3.0}])
def test_decoding_that_makes_no_sense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(SeqgenError, match="decoding with"):
        Decoding(**options)  # type: ignore[arg-type]


def test_models_of_other_alphabets_are_refused(tmp_path: Path) -> None:
    conf = configured(tmp_path)
    body = "networks.generator.body"
    said = refused("train", conf, "--out", tmp_path / "e", "--set", f"{body}.vocab_size=13", f"{body}.outputs=13")
    assert "reads 17 symbols of a source and 13 of a target, the data have 17 and 12" in said


def test_other_pairs_are_other_data(tmp_path: Path) -> None:
    conf = configured(tmp_path)
    task = experiment.task_of(load(conf), source="")
    assert isinstance(task, Translation)
    before = task.data()
    table = tmp_path / "data" / "train" / tables.TABLE
    table.write_text(table.read_text() + "ten\t10\n")
    assert task.data() != before
    (tmp_path / "data" / tables.TARGET).unlink()
    with pytest.raises(SeqgenError, match=r"check task\.data"):
        task.data()


def test_other_tasks_translate_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "name: g\ntask: {name: grammar}\nnetworks: {generator: {name: autoregressive, "
        "body: {name: recurrent, vocab_size: 4, outputs: 4, hidden: 4}}}\ntrain: {steps: 1, batch_size: 4}\n"
    )
    done("train", tmp_path / "run.yaml", "--out", tmp_path / "e")
    assert "translates nothing" in seqgen("translate", tmp_path / "e").err
