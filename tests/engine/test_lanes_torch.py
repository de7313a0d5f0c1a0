"""Exported voices with lanes in the engine against torch: distributions, samples, states under way, rounded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.onnx import OnnxRuntime
from seqgen.runtime.replay import check, replay
from seqgen.tasks.run import RunConfig
from seqgen.tasks.vocoder.runtime import TorchRuntime
from tests.engine.programs import Array
from tests.engine.voices import in_two_processes
from tests.parity.draws import parted_rows
from tests.runtime.voices import export, export_tiny, inputs, subscale_run, tiny_system

TOLERANCE = 1e-5  # of logits, relative to the largest
SPEAKERS = ("ann", "bo")

VOICES: dict[str, RunConfig] = {
    "three without horizon": subscale_run(hidden=30, hop=24, lanes=3, horizon=0, channels=19, blocks=2),
    "sixteen": subscale_run(hidden=64, hop=80, lanes=16, horizon=1, channels=16, blocks=2),
}


@pytest.fixture(scope="module", params=VOICES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_tiny(tmp_path_factory.mktemp("lanes") / "voice", VOICES[request.param], SPEAKERS, seed=1)


@pytest.fixture(scope="module")
def engine(opened: Bundle) -> NativeRuntime:
    return NativeRuntime(opened)


@pytest.fixture(scope="module")
def reference(opened: Bundle) -> TorchRuntime:
    return TorchRuntime(opened)


def given(runtime: NativeRuntime, rows: int, samples: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Uniforms, elements and conditioning for about so many samples of fresh streams, with what lies ahead."""
    spec, ahead = runtime.manifest.spec, runtime.manifest.ahead
    frames = -(-(spec.latency + samples) // spec.up)
    count = 2 * (frames * spec.up - spec.latency + ahead)
    _, _, cond = inputs(runtime, rows, frames, seed)
    uniforms = np.stack([runtime.uniforms(seed, row, 0, count) for row in range(rows)])
    elements = np.random.Generator(np.random.Philox(seed)).integers(0, 256, (rows, count))
    elements[:, ::2] = 126 + elements[:, ::2] % 4
    return uniforms, elements, cond


def test_distributions(engine: NativeRuntime, reference: TorchRuntime, opened: Bundle) -> None:
    _, x, cond = given(engine, 3, 200)
    expected, _ = reference.step(x, reference.init(3), cond)
    for runtime in (engine, OnnxRuntime(opened)):
        got, _ = runtime.step(x, runtime.init(3), cond)
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_the_same_bytes(engine: NativeRuntime, reference: TorchRuntime) -> None:
    uniforms, _, cond = given(engine, 3, 400)
    ours, theirs = (one.sample(uniforms, one.init(3), cond)[0] for one in (engine, reference))
    assert len(np.unique(theirs)) > 50
    # Where the two part is judged before lanes have spread it: samples that were under way then are later in the row.
    if not np.array_equal(ours, theirs):
        count, ahead = 2 * theirs.shape[1], 2 * engine.manifest.ahead
        x = reference.vocoder.elements(theirs, cond)
        params, _ = reference.step(np.pad(x, ((0, 0), (0, ahead))), reference.init(3), cond)
        kept = count - ahead
        mine = reference.vocoder.elements(ours, cond)
        assert parted_rows(mine[:, :kept], x[:, :kept], params[:, :kept], uniforms[:, :kept]) <= 1


def test_distributions_in_chunks_continue_those_under_way(engine: NativeRuntime) -> None:
    _, x, cond = given(engine, 2, 300)
    spec, ahead = engine.manifest.spec, engine.manifest.ahead
    whole, _ = engine.step(x, engine.init(2), cond)
    state, parts, made = engine.init(2), [], 0
    for frame in range(cond.shape[1]):
        stop = max(0, (frame + 1) * spec.up - spec.latency)
        told, state = engine.step(x[:, 2 * made : 2 * (stop + ahead)], state, cond[:, frame : frame + 1])
        parts.append(told)
        made = stop
    assert np.array_equal(np.concatenate(parts, axis=1), whole)


def test_scoring_behind_sampling_is_refused(engine: NativeRuntime) -> None:
    """What was under way then has been drawn, and its distributions were never told."""
    uniforms, x, cond = given(engine, 2, 200)
    _, state = engine.sample(uniforms, engine.init(2), cond)
    up, ahead = engine.manifest.spec.up, engine.manifest.ahead
    with pytest.raises(SeqgenError, match=r"sampling moved this state on, .*score a stream from its start"):
        engine.step(x[:, : 2 * (up + ahead)], state, cond[:, :1])
    again, _ = engine.sample(uniforms[:, : 2 * (up + ahead)], state, cond[:, :1])
    assert again.shape == (2, up)


def test_golden_vectors(engine: NativeRuntime) -> None:
    assert replay(engine).ok


def test_a_state_goes_on_in_another_process(engine: NativeRuntime, tmp_path: Path) -> None:
    uniforms, _, cond = given(engine, 2, 300)
    whole, parts = in_two_processes(engine, uniforms, cond, cond.shape[1] - 2, tmp_path)
    assert np.array_equal(parts, whole)


def test_a_state_is_small(engine: NativeRuntime, reference: TorchRuntime) -> None:
    """Frames' vectors and bytes, where torch keeps samples' vectors and distributions."""
    theirs = sum(leaf.nbytes for leaf in reference.init(1))
    assert engine.init(1)[0].nbytes < theirs / 4


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_rounded_weights(precision: str, tmp_path: Path) -> None:
    """Near the distributions of float32, and the same samples from a bundle for the engine alone."""
    vocoder, task = tiny_system(VOICES["sixteen"], SPEAKERS)
    whole = export(vocoder.generator, task, tmp_path / "whole", engine_only=True)
    small = export(vocoder.generator, task, tmp_path / "small", precision=precision, engine_only=True)
    exact = NativeRuntime(whole)
    uniforms, x, cond = given(exact, 2, 300)
    expected, _ = exact.step(x, exact.init(2), cond)
    made = []
    for bundle, form in ((whole, precision), (small, "program")):
        runtime = NativeRuntime(bundle, format=form)
        assert runtime.format == precision
        got, _ = runtime.step(x, runtime.init(2), cond)
        assert 0 < np.abs(got - expected).max() < 0.1 * np.abs(expected).max()
        assert np.abs(got - expected).mean() < 0.04 * np.abs(expected).mean()
        made.append(runtime.sample(uniforms, runtime.init(2), cond)[0])
    assert np.array_equal(*made)
    assert [verdict.runtime.split()[0] for verdict in check(small.directory)] == ["native"]
