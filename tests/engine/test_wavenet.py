"""The engine's WaveNet against torch, and every instruction set against the plain loops."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.export import program
from seqgen.generation.vocoder import Vocoder
from seqgen.runtime.native import MAX_STREAMS, Engine, Format
from seqgen.stream.state import leaves
from seqgen.train import weights
from tests.engine.calls import draw, goes_on_from_another_set, same_on_all_sets, score
from tests.runtime.voices import density, run_of, tiny_system

FORMATS: tuple[Format, ...] = ("float32", "bf16", "int8")


def sizes(layers: int, cycle: int, **channels: int) -> dict[str, int]:
    """Options of a WaveNet; ``channels`` by the names without ``_channels``."""
    return {"layers": layers, "dilation_cycle": cycle, **{f"{name}_channels": n for name, n in channels.items()}}


MODELS: dict[str, dict[str, Any]] = {
    "plain": sizes(6, 3, residual=16, gate=16, skip=32, head=16),
    "ragged": sizes(5, 4, residual=10, gate=7, skip=20, head=9) | {"kernel": 3, "input_kernel": 1},
    "one layer": sizes(1, 1, residual=24, gate=40, skip=16, head=256) | {"input_kernel": 4},
    "no skips": sizes(5, 5, residual=20, gate=16, skip=0, head=16),
    "context": {
        "rate": 7,
        "channels": 12,
        "layers": 2,
        "embedding": 3,
        "wavenet": sizes(5, 5, residual=10, gate=7, skip=20, head=9),
    },
}
TOLERANCE = {"float32": 1e-5, "bf16": 0.1, "int8": 0.2}  # relative to the largest logit; the latter rule out mistakes
Array = Any


@dataclass
class Voice:
    """A tiny WaveNet over µ-law: where its program lies, and torch's view of it."""

    where: Path
    vocoder: Vocoder

    def inputs(self, streams: int, frames: int, seed: int = 0) -> tuple[Array, Array, Array]:
        """Features, uniforms and elements of fresh streams."""
        net = self.vocoder.generator.conditioner
        assert net is not None
        samples = frames * net.spec.up - net.spec.latency
        rng = np.random.default_rng(seed)
        features = rng.normal(-5, 2, (streams, frames, net.spec.in_dim)).astype(np.float32)
        uniforms = np.stack([noise.block(seed, row, 0, samples) for row in range(streams)])
        return features, uniforms, rng.integers(0, 256, (streams, samples)).astype(np.uint8)


def make(directory: Path, options: dict[str, Any], seed: int = 1, precision: program.Precision = "float32") -> Voice:
    body = {"name": "wavenet-context" if "wavenet" in options else "wavenet", **options}
    vocoder, _ = tiny_system(run_of(density(body), hop=20, codec="mulaw8"), (), seed)
    generator = vocoder.generator
    with torch.no_grad():
        for table in (p for name, p in generator.named_parameters() if name.endswith("embedding.weight")):
            table.normal_(generator=torch.Generator().manual_seed(seed))
    directory.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in weights.of(generator).items()}, directory / "weights.safetensors")
    fresh = {name: leaf.clone().contiguous() for name, leaf in leaves(vocoder.init_state(1))}
    save_file(fresh, directory / "initial.safetensors")
    program.write(vocoder, directory, 8000, precision)
    return Voice(directory, vocoder)


@pytest.fixture(scope="module", params=MODELS)
def voice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return make(tmp_path_factory.mktemp("wavenet"), MODELS[request.param])


@pytest.mark.parametrize("form", FORMATS)
def test_the_distributions_are_those_of_torch(voice: Voice, form: Format) -> None:
    features, _, elements = voice.inputs(3, 9)
    engine = Engine(voice.where, format=form)
    assert (engine.info.elements_per_sample, engine.info.classes) == (1, 256)
    got, _ = score(engine, features, elements)
    vocoder = voice.vocoder
    with torch.no_grad():
        x, cond = torch.from_numpy(elements.astype(np.int64)), torch.from_numpy(features)
        expected = vocoder.step(x, vocoder.init_state(3), cond)[0].numpy()
    assert expected.shape == got.shape
    assert np.abs(expected).max() > 1
    assert np.abs(got - expected).max() <= TOLERANCE[form] * np.abs(expected).max()


def test_the_samples_are_those_of_torch(voice: Voice) -> None:
    """Levels of µ-law to the last bit; at most one of three rows may part, where rounding decides a draw."""
    features, uniforms, _ = voice.inputs(3, 12)
    got, _ = draw(Engine(voice.where), features, uniforms)
    vocoder = voice.vocoder
    with torch.no_grad():
        cond, u = torch.from_numpy(features), torch.from_numpy(uniforms)
        expected = vocoder.generate(u[..., None], vocoder.init_state(3), cond, 1.0).audio.numpy()
    assert len(np.unique(expected)) > 50
    assert (got == expected).all(axis=1).sum() >= 2


@pytest.mark.parametrize("form", FORMATS)
def test_all_sets_give_the_same_bits(voice: Voice, form: Format, sets: list[str]) -> None:
    features, uniforms, elements = voice.inputs(MAX_STREAMS, 5, seed=1)
    same_on_all_sets(voice.where, form, sets, features, uniforms, elements)


@pytest.mark.parametrize("form", FORMATS)
def test_another_set_goes_on_from_a_state(voice: Voice, form: Format, sets: list[str]) -> None:
    features, uniforms, _ = voice.inputs(2, 12)
    goes_on_from_another_set(voice.where, form, sets, features, uniforms)


@pytest.mark.parametrize("form", FORMATS)
def test_chunks_and_batch_mates_change_nothing(voice: Voice, form: Format) -> None:
    """Streams at different times may share a call: their rings stand at different places."""
    net = voice.vocoder.generator.conditioner
    assert net is not None
    engine = Engine(voice.where, format=form)
    features, uniforms, _ = voice.inputs(3, 9, seed=3)
    whole, final = draw(engine, features, uniforms)
    alone = np.concatenate([draw(engine, features[r : r + 1], uniforms[r : r + 1])[0] for r in range(3)])
    assert np.array_equal(alone, whole)
    cut = 5 * net.spec.up - net.spec.latency
    first, states = draw(engine, features[:, :5], uniforms[:, :cut])
    rest, states = draw(engine, features[:, 5:], uniforms[:, cut:], states)
    assert np.array_equal(np.concatenate([first, rest], axis=1), whole)
    assert np.array_equal(states, final)
    late = draw(engine, features[:1, :5], uniforms[:1, :cut])[1]
    early = draw(engine, features[1:2, :4], uniforms[1:2, : cut - net.spec.up])[1]
    both = np.concatenate([features[:1, 5:8], features[1:2, 4:7]])
    count = 3 * net.spec.up
    given = np.stack([uniforms[0, cut : cut + count], uniforms[1, cut - net.spec.up : cut - net.spec.up + count]])
    made, _ = draw(engine, both, given, np.concatenate([late, early]))
    assert np.array_equal(made[0], whole[0, cut : cut + count])
    assert np.array_equal(made[1], whole[1, cut - net.spec.up : cut - net.spec.up + count])


def pcm_of(engine: Engine, features: Array, uniforms: Array) -> Array:
    pcm = np.empty(uniforms.shape, np.int16)
    given = {"uniforms": uniforms}
    engine.run(engine.init(2), features, pcm.shape[1], drawing=True, given=given, made={"pcm": pcm}, temperature=1.0)
    return pcm


def test_pcm_is_the_audio_rounded_and_held(voice: Voice, tmp_path: Path) -> None:
    """The highest symbol lies so little below 1 that it rounds to 32768, one more than 16 bits hold."""
    features, uniforms, _ = voice.inputs(2, 8)
    engine = Engine(voice.where)
    audio, _ = draw(engine, features, uniforms)
    expected = np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16)
    assert np.array_equal(pcm_of(engine, features, uniforms), expected)
    loud = shutil.copytree(voice.where, tmp_path / "loud")
    weights = load_file(loud / "weights.safetensors")
    (bias,) = (name for name in weights if name.startswith("body.") and name.endswith("out.bias"))
    weights[bias][255] = 1e4
    save_file(weights, loud / "weights.safetensors")
    assert (pcm_of(Engine(loud), features, uniforms) == 32767).all()


def test_a_place_beyond_the_context_s_group_is_refused(tmp_path: Path) -> None:
    """Behind the rings: how many elements wait."""
    voice = make(tmp_path / "voice", MODELS["context"])
    engine = Engine(voice.where)
    features, uniforms, _ = voice.inputs(1, 8)
    rings = sum(2**layer for layer in range(5)) * 16 * 4  # rows are padded to whole vectors
    phase = 32 + 40 + rings
    state = draw(engine, features, uniforms)[1]
    assert state[0, phase] == uniforms.shape[1] % MODELS["context"]["rate"]
    state[0, phase] = MODELS["context"]["rate"]
    with pytest.raises(SeqgenError, match="damaged"):
        draw(engine, features, uniforms, state)


def test_damaged_states_are_refused(voice: Voice) -> None:
    features, uniforms, _ = voice.inputs(1, 8)
    engine = Engine(voice.where)
    state = engine.init(1)
    state[0, 32 + 8 : 32 + 12] = 255  # a symbol that the first convolution is to look back on
    with pytest.raises(SeqgenError, match="damaged"):
        draw(engine, features, uniforms, state)


CONTEXTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no rate": (lambda c: c.pop("rate"), "'rate' is missing"),
    "a rate of nothing": (lambda c: c.update(rate=0), "rate"),
    "a group of another size": (lambda c: c.update(rate=8), "weight"),
    "an unknown op": (lambda c: c["ops"][0].update(op="tanh"), "unknown op 'tanh' in the context; known: normalise"),
    "an op without end": (lambda c: c.update(ops=c["ops"] * 40), "more than 256 ops"),
    "a value of another width": (lambda c: c.update(out=c["ops"][0]["out"]), "another width than the gates take"),
    "no such value": (lambda c: c.update(out="nothing"), "no op before it makes 'nothing'"),
    "other elements": (
        lambda c: (c.pop("embedding"), c.update(ops=c["ops"][-1:], out=c["ops"][-1]["out"])), "'value"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts_that_are_wrong(name: str, tmp_path: Path) -> None:
    spoil, words = CONTEXTS[name]
    where = make(tmp_path / "voice", MODELS["context"]).where
    document = json.loads((where / "program.json").read_text())
    (cell,) = (op for op in document["ops"] if op["op"] == "wavenet")
    spoil(cell["context"])
    (where / "program.json").write_text(json.dumps(document))
    with pytest.raises(SeqgenError, match=r"op \d+ \(wavenet\): context|tensor") as caught:
        Engine(where)
    assert words in str(caught.value)
