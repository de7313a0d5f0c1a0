"""onnxruntime against torch and against the published equations: parameters, states, sampled bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen.audio.codec import Bytes16
from seqgen.bundle import Bundle
from seqgen.models.wavernn import mixing, scale
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from tests.parity.draws import parted_rows
from tests.parity.wavernn_reference import reference_logits
from tests.runtime.voices import export_tiny, inputs, tiny_run

VOICES: dict[str, dict[str, Any]] = {
    "one-voice": {"run": tiny_run(hidden=16, hop=40)},
    "three-speakers": {"run": tiny_run(hidden=32, hop=20), "speakers": ("ann", "bo", "cy")},
}
TOLERANCE = 1e-5  # of parameters, relative to the largest
Array = Any


@pytest.fixture(scope="module", params=VOICES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_tiny(tmp_path_factory.mktemp(request.param) / "voice", seed=1, **VOICES[request.param])


@pytest.fixture(scope="module")
def pair(opened: Bundle) -> tuple[Runtime, Runtime]:
    return open_runtime(opened, "onnx"), open_runtime(opened, "torch")


def close(got: Array, expected: Array) -> None:
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    if expected.size:
        assert np.abs(got - expected).max() <= TOLERANCE * max(1.0, float(np.abs(expected).max()))


def same_audio(
    runtime: Runtime, first: Array, second: Array, uniforms: Array, cond: Array, temperature: float = 1.0
) -> int:
    """Rows that part; asserts that each may (see :mod:`tests.parity.draws`)."""
    if np.array_equal(first, second):
        return 0
    bytes_ = Bytes16().encode(first), Bytes16().encode(second)
    params, _ = runtime.step(bytes_[0], runtime.init(len(first)), cond)
    return parted_rows(*bytes_, params / temperature, uniforms)


def test_golden_vectors(opened: Bundle, pair: tuple[Runtime, Runtime]) -> None:
    golden = opened.tensors("golden.safetensors")
    rows = len(golden["features"])
    assert len(np.unique(golden["audio"])) > 50  # nothing degenerate
    for runtime in pair:
        params, _ = runtime.step(golden["elements"], runtime.init(rows), golden["features"])
        close(params[:, : golden["params"].shape[1]], golden["params"])
        audio, state = runtime.sample(golden["uniforms"], runtime.init(rows), golden["features"])
        assert np.array_equal(Bytes16().encode(golden["audio"]), golden["elements"])
        parted = same_audio(runtime, golden["audio"], audio, golden["uniforms"], golden["features"])
        assert parted <= 1
        for leaf, value in zip(opened.manifest.state, state, strict=True):
            if not parted:
                close(value, golden[f"state.{leaf.name}"])


@pytest.mark.parametrize(("rows", "frames"), [(1, 4), (2, 7), (3, 12), (8, 5), (1, 31)])
def test_sizes_that_the_export_never_saw(pair: tuple[Runtime, Runtime], rows: int, frames: int) -> None:
    uniforms, x, cond = inputs(pair[0], rows, frames, seed=rows)
    made = [runtime.step(x, runtime.init(rows), cond) for runtime in pair]
    close(made[0][0], made[1][0])
    for got, expected in zip(made[0][1], made[1][1], strict=True):
        close(got, expected)
    for temperature in (1.0, 0.6):
        audio = [runtime.sample(uniforms, runtime.init(rows), cond, temperature) for runtime in pair]
        parted = same_audio(pair[0], audio[0][0], audio[1][0], uniforms, cond, temperature)
        assert parted <= 1
        for got, expected in zip(audio[0][1], audio[1][1], strict=True):
            if not parted:
                close(got, expected)


def test_states_pass_from_one_runtime_to_the_other(pair: tuple[Runtime, Runtime]) -> None:
    """A state is a value: what onnxruntime left, torch continues, and the other way about."""
    uniforms, _, cond = inputs(pair[0], 2, 8)
    spec, per = pair[0].manifest.spec, pair[0].manifest.uniforms_per_sample
    cut = (5 * spec.up - spec.latency) * per
    whole, _ = pair[1].sample(uniforms, pair[1].init(2), cond)
    for first, second in (pair, pair[::-1]):
        start, state = first.sample(uniforms[:, :cut], first.init(2), cond[:, :5])
        rest, _ = second.sample(uniforms[:, cut:], state, cond[:, 5:])
        assert same_audio(pair[1], whole, np.concatenate([start, rest], axis=1), uniforms, cond) <= 1


@pytest.mark.parametrize("sizes", [(2, 1, 1, 1, 1, 1, 1, 1, 1, 1), (2, 1, 5), (9,)], ids=str)
def test_any_chunks(pair: tuple[Runtime, Runtime], sizes: tuple[int, ...]) -> None:
    """The first two frames bring the look-ahead and the first samples; then one frame is enough."""
    uniforms, x, cond = inputs(pair[0], 2, 11)
    spec = pair[0].manifest.spec
    runtime = pair[0]
    whole, _ = runtime.sample(uniforms, runtime.init(2), cond)
    params, _ = runtime.step(x, runtime.init(2), cond)
    sampling, scoring, first, audio, scores = runtime.init(2), runtime.init(2), 0, [], []
    while first < 11:
        stop = min(11, first + sizes[len(audio) % len(sizes)])
        begin, end = (2 * max(0, k * spec.up - spec.latency) for k in (first, stop))
        made, sampling = runtime.sample(uniforms[:, begin:end], sampling, cond[:, first:stop])
        score, scoring = runtime.step(x[:, begin:end], scoring, cond[:, first:stop])
        assert made.shape == (2, (end - begin) // 2)
        audio.append(made)
        scores.append(score)
        first = stop
    assert same_audio(runtime, whole, np.concatenate(audio, axis=1), uniforms, cond) <= 1
    close(np.concatenate(scores, axis=1), params)


def test_batches_of_eight_are_eight_single_streams(pair: tuple[Runtime, Runtime]) -> None:
    uniforms, _, cond = inputs(pair[0], 8, 12, seed=4)
    runtime = pair[0]
    whole, _ = runtime.sample(uniforms, runtime.init(8), cond)
    assert len({row.tobytes() for row in whole}) == 8
    alone = [runtime.sample(uniforms[r : r + 1], runtime.init(1), cond[r : r + 1])[0] for r in range(8)]
    assert same_audio(runtime, whole, np.concatenate(alone), uniforms, cond) <= 1


def test_the_graph_is_the_published_recurrence_and_no_other(opened: Bundle, pair: tuple[Runtime, Runtime]) -> None:
    """From the stored weights alone: the reset gate after the product, the coarse half blind to the coarse byte."""
    _, x, cond = inputs(pair[0], 2, 5, seed=7)
    params, _ = pair[0].step(x, pair[0].init(2), cond)
    stored = opened.tensors("weights.safetensors")
    body = {k.removeprefix("body."): v.astype(np.float64) for k, v in stored.items() if k.startswith("body.")}
    body["input"] = body["input"] @ mixing(256).double().numpy()
    unit = float(scale(torch.tensor(255), torch.zeros(())))
    generator = pair[1].generator  # type: ignore[attr-defined]
    with torch.no_grad():
        vectors = generator.conditioner(torch.from_numpy(cond))[:, generator.latency :].double().numpy()
    for row in range(2):
        expected = reference_logits(body, x[row], vectors[row], unit=unit)
        largest = np.abs(expected).max()
        assert np.abs(params[row] - expected).max() <= TOLERANCE * largest
        for other in ({"reset": "before"}, {"masked": False}):
            wrong = reference_logits(body, x[row], vectors[row], unit=unit, **other)
            assert np.abs(wrong - expected).max() > 1e-2 * largest


def test_speakers_sound_different(opened: Bundle, pair: tuple[Runtime, Runtime]) -> None:
    speakers = len(opened.manifest.speakers)
    if not speakers:
        pytest.skip("one voice")
    uniforms, _, cond = inputs(pair[0], 3, 6)
    cond[:, :, : opened.manifest.features.n_mels] = cond[0, :, : opened.manifest.features.n_mels]
    audio, _ = pair[0].sample(np.repeat(uniforms[:1], 3, axis=0), pair[0].init(3), cond)
    assert len({row.tobytes() for row in audio}) == speakers


def test_two_seconds_of_the_same_bytes(tmp_path: Path) -> None:
    """32,000 draws at 8 kHz: torch in one piece, onnxruntime in chunks of 100 ms.

    Logits of the two differ by about 1e-6, so about one draw in 10^5 lies where rounding decides; should one do so
    here, it must be within the bound of :mod:`tests.parity.draws`, and all before it is equal.
    """
    opened = export_tiny(tmp_path / "voice", tiny_run(hidden=64, hop=80), seed=2)
    runtimes = open_runtime(opened, "onnx"), open_runtime(opened, "torch")
    spec = opened.manifest.spec
    frames = 2 * 8000 // spec.up + 2
    uniforms, _, cond = inputs(runtimes[0], 1, frames, seed=9)
    assert uniforms.shape[1] // 2 >= 2 * 8000
    expected, _ = runtimes[1].sample(uniforms, runtimes[1].init(1), cond)
    state, parts = runtimes[0].init(1), []
    for first in range(0, frames, 10):
        begin, end = (2 * max(0, k * spec.up - spec.latency) for k in (first, min(frames, first + 10)))
        made, state = runtimes[0].sample(uniforms[:, begin:end], state, cond[:, first : first + 10])
        parts.append(made)
    assert same_audio(runtimes[1], expected, np.concatenate(parts, axis=1), uniforms, cond) <= 1
    assert len(np.unique(expected)) > 5000
