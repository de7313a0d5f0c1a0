"""Bundles of translators: columns, scores and draws of every runtime are torch's; what does not fit is refused."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from seqgen import config, noise
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import symbols
from seqgen.generation import decoding
from seqgen.generation.decoding import Ending
from seqgen.generation.encoder_decoder import EncoderDecoder, Sources
from seqgen.manifest import TranslatorManifest
from seqgen.runtime import open_symbols, runnable
from seqgen.runtime.replay import check
from seqgen.runtime.symbol_replay import columns_for
from seqgen.spec import Facts
from seqgen.stream.verify import verify
from seqgen.tasks.text.executed import ExecutedBody, ExecutedTranslator
from seqgen.text import tokenizer
from tests.runtime.text_bundles import (
    COLUMNS,
    ENCODERS,
    LETTERS,
    NUMBERS,
    density_of,
    export_translator,
    run_of,
    translating,
)
from tests.unit.cli_workspace import done

GENERATORS = {name: translating(encoder) for name, encoder in ENCODERS.items()}
GENERATORS["stretched"] = translating(ENCODERS["convolutions"], factor=2.0, offset=0.0, stretch=True)
LENGTHS = np.array([7, 3, 1])


@pytest.fixture(scope="module", params=sorted(GENERATORS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_translator(tmp_path_factory.mktemp("translators") / request.param, GENERATORS[request.param])


@pytest.fixture(scope="module")
def source() -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(0).integers(0, NUMBERS.vocab_size, (3, 7))


def density_in(made: Bundle) -> EncoderDecoder:
    density = density_of(run_of(GENERATORS[made.directory.name]), Facts(vocab_size=LETTERS.vocab_size)).eval()
    assert isinstance(density, EncoderDecoder)
    return density


def test_it_says_what_it_translates(made: Bundle) -> None:
    manifest = made.require(TranslatorManifest)
    assert (manifest.source_vocab_size, manifest.columns, manifest.spec.cond_dim) == (11, COLUMNS, COLUMNS)
    assert {"encoder.onnx", "source_tokenizer.json"} <= {entry.name for entry in made.manifest.files}
    runtime = open_symbols(made, "onnx")
    assert runtime.source_tokenizer is not None
    assert runtime.source_tokenizer.signature == NUMBERS.signature
    assert runtime.tokenizer.signature == LETTERS.signature


def test_every_runtime_reproduces_the_golden_vectors(made: Bundle) -> None:
    verdicts = check(made.directory)
    assert [verdict.runtime.split()[0] for verdict in verdicts] == runnable(made)
    assert all(verdict.ok for verdict in verdicts)


def test_columns_are_torchs_and_zero_beyond_what_is_expected(made: Bundle, source: Any) -> None:
    density, manifest = density_in(made), made.require(TranslatorManifest)
    columns = open_symbols(made, "onnx").columns(source, LENGTHS)
    factor, offset = manifest.unfolding
    expected = np.ceil(factor * LENGTHS + offset).astype(int)
    assert columns.shape == (3, expected.max(), COLUMNS)
    for row, length in zip(columns, expected, strict=True):
        assert not row[length:].any()
        assert row[:1].any()
    with torch.no_grad():
        _, theirs = density.begin(Sources(torch.from_numpy(source), torch.from_numpy(LENGTHS)))
    assert theirs is not None
    assert np.abs(columns - theirs.numpy()).max() < 1e-5


def test_a_source_is_encoded_by_itself(made: Bundle, source: Any) -> None:
    """Neither the rows beside it nor its padding change its columns."""
    runtime = open_symbols(made, "onnx")
    together = runtime.columns(source, LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = runtime.columns(source[row : row + 1, :length], LENGTHS[row : row + 1])[0]
        assert np.allclose(together[row, : len(alone)], alone, atol=1e-5)


def test_likelihoods_and_draws_are_torchs(made: Bundle, source: Any) -> None:
    density, onnx, other = density_in(made), open_symbols(made, "onnx"), open_symbols(made, "torch")
    x = np.random.default_rng(1).integers(0, LETTERS.vocab_size, (3, 20))
    sources = Sources(torch.from_numpy(source), torch.from_numpy(LENGTHS))
    with torch.no_grad():
        expected = density.log_prob(torch.from_numpy(x), sources).numpy()
    cond = columns_for(onnx.columns(source, LENGTHS), 20)
    logits, _ = onnx.step(x, onnx.init(3), cond)
    told = torch.log_softmax(torch.from_numpy(logits), dim=-1).gather(2, torch.from_numpy(x)[..., None])[..., 0]
    assert np.abs(told.numpy() - expected).max() < 1e-4
    u = np.stack([noise.block(5, row, 0, 20) for row in range(3)])
    drawn, _ = onnx.sample(u[:, :9], onnx.init(3), cond[:, :9])
    theirs, _ = other.sample(u[:, :9], other.init(3), cond[:, :9])
    assert np.array_equal(drawn, theirs)
    none, _ = onnx.sample(u[:, :9], onnx.init(3), np.zeros_like(cond[:, :9]))
    assert not np.array_equal(drawn, none)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda r: r.columns(np.array([[99]]), np.array([1])), "symbols from 99 to 99 for an alphabet of 11"),
        (lambda r: r.columns(np.array([[1]]), np.array([2])), "lengths from 2 to 2 of sources of 1"),
        (lambda r: r.columns(np.array([[1]]), np.array([0])), "lengths from 0"),
        (lambda r: r.columns(np.array([1]), np.array([1])), "sources have shape"),
        (lambda r: r.step(np.array([[1]]), r.init(1)), r"columns have shape None; give \[1, 1, 12\]"),
        (lambda r: r.step(np.array([[1]]), r.init(1), np.zeros((1, 2, 12), np.float32)), r"give \[1, 1, 12\]"),
    ],
)
@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_what_does_not_fit_is_refused(made: Bundle, name: str, call: Any, match: str) -> None:
    with pytest.raises(SeqgenError, match=match):
        call(open_symbols(made, name))


def test_what_has_no_graphs_is_refused(tmp_path: Any) -> None:
    attending = translating(ENCODERS["convolutions"], {"name": "attention-decoder", "memory_dim": COLUMNS, "hidden": 6})
    with pytest.raises(SeqgenError, match="attends to a whole memory has no graphs"):
        export_translator(tmp_path / "x", attending)
    run = run_of(GENERATORS["convolutions"])
    about = symbols.About("x", "CC0", config.dump(run), LETTERS)
    with pytest.raises(SeqgenError, match="no tokenizer for sources of 11"):
        symbols.write(density_of(run, Facts(vocab_size=LETTERS.vocab_size)), about, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_a_runtime_is_a_body_under_the_laws_of_streams(made: Bundle, name: str) -> None:
    verify(ExecutedBody(open_symbols(made, name)))


def test_what_a_runtime_executes_is_decoded_as_the_network(made: Bundle, source: Any) -> None:
    """Greedily, and by a beam, whose rows change places with their states."""
    density = density_in(made)
    sources, ending = Sources(torch.from_numpy(source), torch.from_numpy(LENGTHS)), Ending(3, 12)
    for name in runnable(made):
        executed = ExecutedTranslator(open_symbols(made, name))
        with torch.no_grad():
            for decode in (
                lambda one: decoding.decode(one.decoder, *one.begin(sources), decoding.greedy, ending),
                lambda one: decoding.beam(one.decoder, *one.begin(sources), ending, width=3, best=2),
            ):
                mine, theirs = decode(executed), decode(density)
                assert torch.equal(mine.symbols, theirs.symbols)
                assert torch.allclose(mine.log_prob, theirs.log_prob, atol=1e-4)


def test_the_encoders_graph_alone_gives_the_columns(made: Bundle, source: Any, tmp_path: Any) -> None:
    done("onnx", made.directory, "--graph", "encoder", "--out", tmp_path / "encoder.onnx")
    (alone,) = onnxruntime.InferenceSession(str(tmp_path / "encoder.onnx")).run(
        None, {"source": source, "lengths": LENGTHS}
    )
    assert np.array_equal(alone, open_symbols(made, "onnx").columns(source, LENGTHS))


CONFIG = """\
name: spelt
task: {{name: translation, data: {data}, longest: 6}}
networks:
  generator:
    name: encoder-decoder
    encoder: {{name: bytenet-encoder, vocab_size: {source}, channels: 4, cycles: 1, dilations: [1, 2], out_dim: 8}}
    body: {{name: bytenet, vocab_size: {target}, outputs: {target}, channels: 4, dilations: [1, 2], cond_dim: 8}}
train: {{steps: 4, batch_size: 8, validate_every: 4, checkpoint_every: 4}}
licence: CC0
"""


def test_the_commands_translate_through_any_runtime(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("zero", "one", "two", "three", "four")
    table = "".join(f"{one} {two}\t{a}{b}\n" for a, one in enumerate(words) for b, two in enumerate(words))
    (tmp_path / "table.tsv").write_text(table)
    data, lm = tmp_path / "data", tmp_path / "lm"
    done("data", "prepare", "pairs", "--corpus", tmp_path / "table.tsv", "--out", data, "--test", "0.3")
    sizes = {part: tokenizer.read(data / f"{part}.json").vocab_size for part in ("source", "target")}
    (tmp_path / "run.yaml").write_text(CONFIG.format(data=data, **sizes))
    done("train", tmp_path / "run.yaml", "--out", tmp_path / "exp")
    assert "reproduces the golden vectors" in done("export", tmp_path / "exp", "--out", lm).out

    def translated(path: Any, *options: str) -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one two\nfour four\n")))
        return done("translate", path, *options).out

    def judged(path: Any, *options: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(done("eval", path, "--data", data / "test", "--json", *options).out)
        return {name: found[name] for name in ("bits_per_character", "exact_match", "character_error")}

    trained = tmp_path / "exp"
    greedy, beam, figures = translated(trained), translated(trained, "--beam", "3"), judged(trained)
    for name in runnable(Bundle.open(lm)):
        assert translated(lm, "--runtime", name) == greedy
        assert translated(lm, "--beam", "3", "--runtime", name) == beam
        assert judged(lm, "--runtime", name) == pytest.approx(figures, abs=1e-4)
