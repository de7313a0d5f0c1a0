"""The engine against torch on exported voices: distributions, drawn bytes, states in the middle of a stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.replay import replay
from seqgen.tasks.vocoder.runtime import TorchRuntime
from tests.engine.voices import in_two_processes, native_voice
from tests.parity.draws import parted_rows
from tests.runtime.voices import inputs

VOICES: dict[str, dict[str, Any]] = {
    "one-voice": {"hidden": 16, "hop": 40},
    "three-speakers": {"hidden": 30, "hop": 20, "speakers": ("ann", "bo", "cy")},
    "prediction": {"hidden": 64, "hop": 80, "prediction": 16},
}
TOLERANCE = 1e-5  # of logits, relative to the largest
Array = Any


@pytest.fixture(scope="module", params=VOICES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return native_voice(tmp_path_factory.mktemp(request.param), **VOICES[request.param])


@pytest.fixture(scope="module")
def pair(opened: Bundle) -> tuple[NativeRuntime, TorchRuntime]:
    return NativeRuntime(opened), TorchRuntime(opened)


def parted(pair: tuple[NativeRuntime, TorchRuntime], audio: tuple[Array, Array], uniforms: Array, cond: Array) -> int:
    """Rows whose audio differs; asserts that each parts where rounding may decide (see tests/parity/draws.py)."""
    if np.array_equal(*audio):
        return 0
    ours, theirs = (pair[1].vocoder.elements(one, cond) for one in audio)
    params, _ = pair[1].step(theirs, pair[1].init(len(cond)), cond)
    return parted_rows(ours, theirs, params, uniforms)


@pytest.mark.parametrize(("rows", "frames"), [(1, 4), (3, 9), (17, 5)])
def test_distributions(pair: tuple[NativeRuntime, TorchRuntime], rows: int, frames: int) -> None:
    _, x, cond = inputs(pair[0], rows, frames, seed=rows)
    got, expected = (runtime.step(x, runtime.init(rows), cond)[0] for runtime in pair)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_same_bytes(pair: tuple[NativeRuntime, TorchRuntime], temperature: float) -> None:
    uniforms, _, cond = inputs(pair[0], 3, 12)
    audio = tuple(runtime.sample(uniforms, runtime.init(3), cond, temperature)[0] for runtime in pair)
    assert len(np.unique(audio[1])) > 50
    if temperature == 1.0:
        assert parted(pair, (audio[0], audio[1]), uniforms, cond) <= 1
    else:
        assert (audio[0] == audio[1]).all(axis=1).sum() >= 2


def test_two_seconds_of_the_same_bytes(tmp_path: Path) -> None:
    """32,000 draws at 8 kHz in chunks of 100 ms; one may fall where rounding decides, all before it are equal."""
    opened = native_voice(tmp_path, hidden=64, hop=80, seed=2)
    runtimes = NativeRuntime(opened), TorchRuntime(opened)
    spec = opened.manifest.spec
    frames = 2 * 8000 // spec.up + 2
    uniforms, _, cond = inputs(runtimes[0], 1, frames, seed=9)
    expected, _ = runtimes[1].sample(uniforms, runtimes[1].init(1), cond)
    state, parts = runtimes[0].init(1), []
    for first in range(0, frames, 10):
        begin, end = (2 * max(0, k * spec.up - spec.latency) for k in (first, min(frames, first + 10)))
        made, state = runtimes[0].sample(uniforms[:, begin:end], state, cond[:, first : first + 10])
        parts.append(made)
    assert parted(runtimes, (np.concatenate(parts, axis=1), expected), uniforms, cond) <= 1
    assert len(np.unique(expected)) > 5000


def test_golden_vectors(pair: tuple[NativeRuntime, TorchRuntime]) -> None:
    verdict = replay(pair[0])
    assert verdict.ok
    assert verdict.params_error <= TOLERANCE


def test_a_state_goes_on_in_another_process(pair: tuple[NativeRuntime, TorchRuntime], tmp_path: Path) -> None:
    uniforms, _, cond = inputs(pair[0], 2, 8)
    whole, parts = in_two_processes(pair[0], uniforms, cond, 5, tmp_path)
    assert np.array_equal(parts, whole)


def test_states_are_values(pair: tuple[NativeRuntime, TorchRuntime]) -> None:
    uniforms, _, cond = inputs(pair[0], 2, 6)
    state = pair[0].init(2)
    kept = state[0].copy()
    first, _ = pair[0].sample(uniforms, state, cond)
    again, _ = pair[0].sample(uniforms, state, cond)
    assert np.array_equal(state[0], kept)
    assert np.array_equal(first, again)


def test_a_state_of_another_voice_is_refused(opened: Bundle, tmp_path: Path) -> None:
    other = NativeRuntime(native_voice(tmp_path, hidden=16, hop=40, seed=3))
    ours = NativeRuntime(opened, format="int8" if other.bundle.manifest.spec == opened.manifest.spec else "program")
    uniforms, _, cond = inputs(other, 1, 5)
    state = ours.init(1)
    with pytest.raises(SeqgenError, match=r"another bundle|the state is uint8"):
        other.sample(uniforms, state, cond)


def test_more_than_two_threads_are_refused(opened: Bundle) -> None:
    with pytest.raises(SeqgenError, match="3 threads; give 1 or 2"):
        NativeRuntime(opened, threads=3)
