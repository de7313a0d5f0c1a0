"""Bundles of language models: every runtime scores and draws as torch does, in any chunks; damage is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from safetensors.numpy import load_file, save_file

from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.export import symbols
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.manifest import LanguageModelManifest
from seqgen.runtime import open_runtime, open_symbols, runnable
from seqgen.runtime.replay import check, replay, require_golden
from seqgen.runtime.symbols import SymbolRuntime
from seqgen.spec import Facts
from seqgen.text.tokenizer import tokenizer
from tests.runtime.test_bundle import resign
from tests.runtime.text_bundles import BODIES, LETTERS, component, density_of, export, run_of

FILES = {
    "config.yaml", "weights.safetensors", "initial.safetensors", "step.onnx", "loop.onnx", "golden.safetensors",
    "program.json", "tokenizer.json",
}  # fmt: skip
SIZE = LETTERS.vocab_size


@pytest.fixture(scope="module", params=sorted(BODIES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(tmp_path_factory.mktemp("models") / request.param, BODIES[request.param])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(tmp_path_factory.mktemp("models") / "lm", BODIES["one-layer"])


@pytest.fixture
def damaged(model: Bundle, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(model.directory, tmp_path / "lm"))


def drawn(runtime: SymbolRuntime, rows: int, positions: int, pieces: list[int], temperature: float = 1.0) -> Any:
    """Symbols of ``rows`` streams, drawn in calls that end at these positions, and the state."""
    u = np.stack([noise.block(3, row, 0, positions) for row in range(rows)])
    state, parts = runtime.init(rows), []
    for start, stop in zip([0, *pieces], [*pieces, positions], strict=True):
        part, state = runtime.sample(u[:, start:stop], state, temperature=temperature)
        parts.append(part)
    return np.concatenate(parts, axis=1), state


def test_a_bundle_explains_itself(made: Bundle) -> None:
    programmed = made.directory.name not in ("attending", "long-short-term")
    assert {entry.name for entry in made.manifest.files} == (FILES if programmed else FILES - {"program.json"})
    manifest = made.require(LanguageModelManifest)
    assert (manifest.kind, manifest.licence, manifest.name) == ("language-model", "CC0", "tiny")
    assert (manifest.vocab_size, manifest.tokenizer_signature) == (SIZE, LETTERS.signature)
    assert manifest.state[0].name == "previous"
    assert runnable(made)[-2:] == ["onnx", "torch"]
    assert open_symbols(made).tokenizer.encode("cafébabe".encode()).symbols.shape == (8,)


def test_weights_are_stored_once(made: Bundle) -> None:
    """Graphs have numbers of their own that are no parameters, and few."""
    stored = {(*tensor.shape,) for tensor in made.tensors("weights.safetensors").values() if tensor.size > SIZE}
    for name in ("step.onnx", "loop.onnx"):
        graph = onnx.load(str(made.path(name)), load_external_data=False).graph
        outside = {tuple(one.dims) for one in graph.initializer if one.data_location == TensorProto.EXTERNAL}
        assert outside >= stored
        own = [tuple(one.dims) for one in graph.initializer if one.data_location != TensorProto.EXTERNAL]
        assert not stored & set(own)


def test_every_runtime_reproduces_the_golden_vectors(made: Bundle) -> None:
    verdicts = check(made.directory)
    assert [verdict.runtime.split()[0] for verdict in verdicts] == runnable(made)
    assert all(verdict.ok for verdict in verdicts)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_onnxruntime_draws_what_torch_draws_in_any_chunks(made: Bundle, temperature: float) -> None:
    onnx, other = open_symbols(made, "onnx"), open_symbols(made, "torch")
    expected, after = drawn(other, 3, 90, [], temperature)
    assert len(np.unique(expected)) > (2 if temperature else 0)
    for pieces in ([], [1], [40, 41, 89], list(range(1, 90))):
        symbols_made, state = drawn(onnx, 3, 90, pieces, temperature)
        assert np.array_equal(symbols_made, expected)
        for leaf, mine, theirs in zip(made.manifest.state, state, after, strict=True):
            assert (mine.shape, mine.dtype) == ((3, *leaf.shape), leaf.dtype)
            assert np.allclose(mine, theirs, atol=1e-5)


def test_likelihoods_are_torchs(made: Bundle) -> None:
    """Against the density's own ``log_prob``, cut at uneven places and in one piece."""
    run = run_of(component(BODIES[made.directory.name], SIZE))
    density = density_of(run, Facts(vocab_size=SIZE))
    x = np.random.default_rng(0).integers(0, SIZE, (2, 70))
    with torch.no_grad():
        expected = density.log_prob(torch.from_numpy(x)).numpy()
    runtime = open_symbols(made, "onnx")
    for pieces in ([], [1, 2, 33, 69]):
        state, parts = runtime.init(2), []
        for start, stop in zip([0, *pieces], [*pieces, 70], strict=True):
            logits, state = runtime.step(x[:, start:stop], state)
            parts.append(logits)
        told = torch.log_softmax(torch.from_numpy(np.concatenate(parts, axis=1)), dim=-1)
        mine = told.gather(2, torch.from_numpy(x)[..., None])[..., 0].numpy()
        assert np.abs(mine - expected).max() < 1e-4
        assert np.array_equal(state[0], x[:, -1])


def test_scoring_what_was_drawn_leads_to_the_same_state(made: Bundle) -> None:
    """A prompt is read by the same state that goes on drawing."""
    runtime = open_symbols(made, "onnx")
    symbols_made, after = drawn(runtime, 2, 30, [])
    _, read = runtime.step(symbols_made, runtime.init(2))
    for mine, theirs in zip(read, after, strict=True):
        assert np.allclose(mine, theirs, atol=1e-6)


def test_empty_calls_change_nothing(model: Bundle) -> None:
    for name in ("onnx", "torch"):
        runtime = open_symbols(model, name)
        state = runtime.init(2)
        logits, after = runtime.step(np.zeros((2, 0), np.int64), state)
        assert logits.shape == (2, 0, SIZE)
        none, again = runtime.sample(np.zeros((2, 0), np.float32), after)
        assert none.shape == (2, 0)
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(again, state, strict=True))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda r: r.step(np.array([[SIZE]]), r.init(1)), f"symbols from {SIZE} to {SIZE} for an alphabet of {SIZE}"),
        (lambda r: r.step(np.array([[-1]]), r.init(1)), "symbols from -1"),
        (lambda r: r.step(np.array([1]), r.init(1)), "have shape"),
        (lambda r: r.step(np.array([[1]]), r.init(2)), "match the batch"),
        (lambda r: r.step(np.array([[1]]), r.init(1), np.zeros((1, 1, 3), np.float32)), "give none"),
        (lambda r: r.sample(np.array([[1.0]], np.float32), r.init(1)), r"not all in \[0, 1\)"),
        (lambda r: r.sample(np.array([[np.nan]], np.float32), r.init(1)), r"not all in \[0, 1\)"),
        (lambda r: r.columns(np.array([[1]]), np.array([1])), "kind 'language-model'"),
    ],
)
@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_what_does_not_fit_is_refused(model: Bundle, name: str, call: Any, match: str) -> None:
    with pytest.raises(SeqgenError, match=match):
        call(open_symbols(model, name))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_flipped_byte_is_refused(damaged: Path, name: str) -> None:
    data = bytearray((damaged / name).read_bytes())
    data[len(data) // 2] ^= 4
    (damaged / name).write_bytes(data)
    with pytest.raises(SeqgenError, match="does not match the manifest's"):
        check(damaged)


def test_another_tokenizer_is_refused(damaged: Path) -> None:
    """Even where somebody signed it: the symbols of another table are other text."""
    plain = json.loads((damaged / "tokenizer.json").read_text())
    plain["characters"] = plain["characters"][::-1]
    (damaged / "tokenizer.json").write_text(json.dumps(plain))
    resign(damaged, lambda _: None)
    with pytest.raises(SeqgenError, match=r"a tokenizer of \d+ symbols with the signature .*; export"):
        open_symbols(Bundle.open(damaged))


def test_a_model_that_is_no_longer_itself_fails_its_golden_vectors(damaged: Path) -> None:
    """The weights changed and signed: hashes are right, what it makes is not."""
    weights = load_file(damaged / "weights.safetensors")
    name = next(name for name in weights if name.endswith("embedding.weight"))
    weights[name] = weights[name][::-1].copy()
    save_file(weights, damaged / "weights.safetensors")
    resign(damaged, lambda _: None)
    with pytest.raises(SeqgenError, match="does not reproduce the golden vectors"):
        check(damaged)


def test_only_a_draw_at_an_edge_is_excused(model: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = open_symbols(model, "onnx")
    golden = model.tensors("golden.safetensors")
    assert replay(runtime).ok
    wrong = golden | {"drawn": golden["drawn"].copy()}
    wrong["drawn"][0, 5] = (wrong["drawn"][0, 5] + 1) % SIZE
    monkeypatch.setattr(runtime, "golden_vectors", lambda *_: wrong)
    verdict = replay(runtime)
    assert (verdict.flips, verdict.unexplained, verdict.ok) == (0, 1, False)
    with pytest.raises(SeqgenError, match="1 unexplained"):
        require_golden(runtime)


def test_what_is_no_language_model_is_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    other = tokenizer(Component("bytes"))
    run = run_of(component(BODIES["one-layer"], SIZE))
    density = density_of(run, Facts(vocab_size=SIZE))
    with pytest.raises(SeqgenError, match="a tokenizer of 256 symbols for a model of 14"):
        symbols.write(density, symbols.About("x", "CC0", "", other), tmp_path / "x")
    assert isinstance(density, AutoRegressive)
    density.symbols_per_sample = 2
    with pytest.raises(SeqgenError, match="no graphs of symbols for Recurrent over Categorical"):
        symbols.write(density, symbols.About("x", "CC0", "", LETTERS), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(SeqgenError, match="a bundle of the kind 'vocoder'"):
        open_symbols(Bundle.open(tiny_bundle))


def test_a_server_of_voices_refuses_it(model: Bundle) -> None:
    with pytest.raises(SeqgenError, match="give one of the kind vocoder"):
        open_runtime(model)


def test_nothing_is_dropped_out_of_training(tmp_path: Path) -> None:
    """Golden vectors of a network with dropout are those of the network as it is used, whatever was traced before."""
    body = {"name": "bytenet", "channels": 4, "cycles": 1, "dilations": [1, 2], "dropout": 0.5}
    verdicts = check(export(tmp_path / "lm", body).directory)
    assert all(verdict.ok for verdict in verdicts)
