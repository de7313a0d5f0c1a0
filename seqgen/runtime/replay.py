"""Replay of a bundle's golden vectors: whether a runtime, on this machine, makes what was exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen import registry
from seqgen.errors import SeqgenError
from seqgen.runtime.contract import Runtime

# Parameters of two correct runtimes differ by rounding alone: about 1e-6 for float32 sums of a few hundred terms. The
# edges between drawn values move as much, so about one draw in 20,000 of a flat distribution over 256 values may flip.
PARAMS_TOLERANCE = 1e-4
FLIP_BOUND = 1e-5
# Real-valued distributions draw numbers that move with their parameters.
REAL_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Verdict:
    """Verdict of a replay of golden vectors.

    Attributes:
        runtime: which one.
        params_error: largest difference of the distributions' parameters, relative to the largest of them.
        flips: streams that left the golden one at an element whose uniform number lies within ``FLIP_BOUND`` of the
            edge between two values, where the rounding of two correct programs may decide differently; what is made
            after it is different audio of the same distribution.
        unexplained: streams that left it anywhere else: a mistake.
        chunked: whether the runtime makes the very same samples in two chunks as in one; those of a voice that reads
            nothing of what it drew may differ by ``REAL_TOLERANCE`` of their mean, or of 1 where that is less, for a
            matrix product's roundings depend on how many rows it has.
    """

    runtime: str
    params_error: float
    flips: int
    unexplained: int
    chunked: bool

    @property
    def ok(self) -> bool:
        """Whether the runtime may be trusted with this bundle."""
        return self.params_error <= PARAMS_TOLERANCE and self.unexplained == 0 and self.chunked

    def __str__(self) -> str:
        streams = "the same audio" if not self.flips else f"{self.flips} stream(s) flipped by rounding"
        return f"parameters within {self.params_error:.1e}, {streams}, {self.unexplained} unexplained differences"


def require_golden(runtime: Runtime) -> Verdict:
    """:func:`replay`, refusing a runtime that fails it.

    Raises:
        SeqgenError: naming the bundle, the runtime and what differed.
    """
    verdict = replay(runtime)
    if not verdict.ok:
        raise SeqgenError(
            f"{runtime.bundle.directory}: {verdict.runtime} does not reproduce the golden vectors ({verdict}, "
            f"same in chunks: {verdict.chunked})",
            remedy="export the bundle again on this machine",
        )
    return verdict


def replay(runtime: Runtime) -> Verdict:
    """Run a bundle's golden vectors through a runtime, as one block and as two."""
    golden = runtime.bundle.tensors("golden.safetensors")
    if runtime.format != "float32":  # weights rounded on purpose: the bundle says what that must give, to the bit
        names = {name: f"{name}.{runtime.format}" for name in ("params", "audio")}
        if any(name not in golden for name in names.values()):
            raise SeqgenError(
                f"{runtime.bundle.directory}: no golden vectors for {runtime.format} weights",
                remedy=f"export it with --quantise {runtime.format}",
            )
        golden = golden | {name: golden[stored] for name, stored in names.items()}
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
    """How many streams leave the golden one through a rounding flip, and how many without excuse."""
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
    """Whether rounding may have drawn a sample that differs, one of the first to be made."""
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
