"""Replay of a vocoder's golden vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen import registry
from seqgen.runtime.contract import Runtime
from seqgen.runtime.verdict import FLIP_BOUND, REAL_TOLERANCE, Verdict


def replay_vocoder(runtime: Runtime) -> Verdict:
    """Run a vocoder's golden vectors through a runtime, as one block and as two."""
    golden = runtime.golden_vectors("params", "audio")
    features, uniforms = golden["features"], golden["uniforms"]
    state = runtime.init(features.shape[0])
    params, _ = runtime.step(golden["elements"], state, features)
    expected = golden["params"]
    error = np.abs(params[:, : expected.shape[1]] - expected).max() / max(1.0, np.abs(expected).max())
    audio, _ = runtime.sample(uniforms, state, features)
    spec, per = runtime.manifest.spec, runtime.manifest.uniforms_per_sample
    frames = (features.shape[1] + spec.alignment.skipped) // 2
    cut = spec.alignment.first_samples(frames) * per
    first, between = runtime.sample(uniforms[:, : cut + runtime.manifest.ahead * per], state, features[:, :frames])
    second, _ = runtime.sample(uniforms[:, cut:], between, features[:, frames:])
    allowed = _allowed(runtime, params, audio)
    flips, unexplained = _departures(runtime, audio, golden, params, allowed)
    chunked = bool((np.abs(np.concatenate([first, second], axis=1) - audio) <= allowed).all())
    return Verdict(str(runtime), float(error), flips, unexplained, chunked)


def _allowed(
    runtime: Runtime, params: npt.NDArray[np.float32], audio: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Distance allowed from the golden samples. Noise that is scaled and shifted rounds as its mean does, which
    frames of noise may lead far beyond full scale."""
    if runtime.manifest.feeds_back:
        return np.zeros_like(audio)
    return (REAL_TOLERANCE * np.maximum(1, np.abs(params[..., 0]))).astype(np.float32)


def _departures(
    runtime: Runtime,
    audio: npt.NDArray[np.float32],
    golden: dict[str, npt.NDArray[Any]],
    params: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.float32],
) -> tuple[int, int]:
    """Numbers of streams that leave the golden one through a rounding flip, and without excuse."""
    flips = unexplained = 0
    step = _steps(runtime, audio.shape[1])
    # From this step on samples are made that the audio does not show: what they did to others cannot be explained.
    seen = step < audio.shape[1] // runtime.manifest.lanes
    for row in range(len(audio)):
        different = np.flatnonzero((np.abs(audio[row] - golden["audio"][row]) > allowed[row]) & seen)
        if different.size:
            mine = {name: value[row] for name, value in golden.items()}
            first = different[step[different] == step[different].min()]
            excused = all(_explained(runtime, audio[row], mine, params[row], sample) for sample in first)
            flips, unexplained = flips + excused, unexplained + (not excused)
    return flips, unexplained


def _steps(runtime: Runtime, samples: int) -> npt.NDArray[np.int64]:
    """In which step each sample was made: one by one, or where there are lanes those of one step side by side."""
    lanes, sample = runtime.manifest.lanes, np.arange(samples)
    behind = runtime.manifest.ahead // (lanes * (lanes - 1)) if lanes > 1 else 0  # a lane the one before, in steps
    return sample // lanes + sample % lanes * behind


def _explained(
    runtime: Runtime,
    audio: npt.NDArray[np.float32],
    golden: dict[str, npt.NDArray[Any]],
    params: npt.NDArray[np.float32],
    sample: int,
) -> bool:
    """Test that rounding may have drawn a sample that differs, one of the first to be made."""
    manifest = runtime.manifest
    codec, per = registry.CODECS.load(manifest.codec)(), manifest.symbols_per_sample
    moved = audio[sample] - golden["audio"][sample]
    if runtime.format != "float32":
        return False
    if codec.alphabet == 0:
        return bool(abs(moved) <= REAL_TOLERANCE)
    # What was made before is the same in both streams, so what differs is the elements of this sample by just that
    # much, whatever filter stands behind the codec.
    wanted = golden["elements"][sample * per : (sample + 1) * per]
    got = codec.encode(codec.decode(wanted) + moved)
    at = int(np.flatnonzero(got != wanted)[0]) if (got != wanted).any() else 0
    logits = params[sample * per + at].astype(np.float64)
    edges = np.cumsum(np.exp(logits - logits.max()))
    u = golden["uniforms"].reshape(len(golden["elements"]), -1)[sample * per + at, 0]
    low, high = np.searchsorted(edges / edges[-1], [u - FLIP_BOUND, u + FLIP_BOUND], side="right")
    return bool(low <= got[at] <= high)
