"""Log-mel front end, the only one: offline and streaming in numpy, and the files that carry features."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.audio.periodicity import periodicity
from seqgen.config import set_apart
from seqgen.errors import SeqgenError
from seqgen.files.inputs import in_utf8
from seqgen.files.outputs import replacing
from seqgen.spec import FeatureSpec, require_same_signature

_BLOCK = 512  # frames transformed at once: bounds memory on long recordings

# Slaney's mel scale: linear below 1 kHz at 200/3 Hz per mel, then 27 steps per factor 6.4.
_LINEAR = 200 / 3
_KNEE = 1000.0
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR if hz < _KNEE else float(_KNEE / _LINEAR + np.log(hz / _KNEE) / _LOG_STEP)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    knee = _KNEE / _LINEAR
    return np.where(mel < knee, mel * _LINEAR, _KNEE * np.exp((mel - knee) * _LOG_STEP))


@lru_cache(maxsize=16)
def mel_filters(spec: FeatureSpec) -> npt.NDArray[np.float64]:
    """Triangular filters on Slaney's mel scale, each scaled to unit area: ``[n_fft // 2 + 1, n_mels]``, read-only.

    Source: Slaney 1998, Auditory Toolbox; equal to ``librosa.filters.mel(htk=False, norm="slaney").T``.

    Raises:
        SeqgenError: when a band is so narrow that no frequency bin falls into it.
    """
    bins = np.arange(spec.n_fft // 2 + 1) * (spec.sample_rate / spec.n_fft)
    edges = _mel_to_hz(np.linspace(_hz_to_mel(spec.fmin), _hz_to_mel(spec.top_frequency), spec.n_mels + 2))
    rising = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    bank: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))
    empty = np.flatnonzero(bank.max(axis=0) == 0)
    if empty.size:
        raise SeqgenError(
            f"features: {spec.n_mels} mel bands leave {empty.size} without a frequency bin at n_fft {spec.n_fft}",
            remedy="use fewer bands or a longer n_fft",
        )
    bank.flags.writeable = False
    return bank


@lru_cache(maxsize=16)
def hann(length: int) -> npt.NDArray[np.float64]:
    """The periodic Hann window ``[length]``: ``(1 - cos(2πn/length)) / 2``, read-only."""
    window: npt.NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    window.flags.writeable = False
    return window


def _analyse(padded: npt.NDArray[Any], frames: int, spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Frames that start at 0, hop, 2·hop … of an already padded signal."""
    out = np.empty((frames, spec.bands), np.float32)
    if not frames:
        return out
    windows = np.lib.stride_tricks.sliding_window_view(padded, spec.window)[:: spec.hop]
    # float64 throughout: next to a loud band, the rounding of a float32 transform reaches the floor of a quiet one.
    shape, bank = hann(spec.window), mel_filters(spec)
    for first in range(0, frames, _BLOCK):
        last = min(first + _BLOCK, frames)
        magnitude = np.abs(np.fft.rfft(windows[first:last] * shape, n=spec.n_fft, axis=-1))
        out[first:last, : spec.n_mels] = np.log(np.maximum(magnitude @ bank, spec.floor))
        if spec.pitch:
            out[first:last, spec.n_mels :] = spec.silence * (1 - periodicity(windows[first:last], spec.sample_rate))
    return out


def log_mel(audio: npt.NDArray[Any], spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Log-mel features of a whole recording.

    Frame ``i`` sees the samples ``[i·hop - pad, (i+1)·hop + pad)``, zero outside the recording:
    ``feature = ln(max(|rfft(hann · x, n_fft)| @ mel_filters, floor))``.

    Args:
        audio: ``[N]`` at ``spec.sample_rate``.
        spec: the definition.

    Returns:
        float32 ``[ceil(N / hop), bands]`` (nats).

    Example:
        >>> log_mel(np.zeros(1600), FeatureSpec(16000, 1024, 640, 160, 80)).shape
        (10, 80)
    """
    x = np.asarray(audio)
    if x.ndim != 1:
        raise ValueError(f"expected a mono waveform [N], got shape {x.shape}")
    frames = spec.frames(x.size)
    return _analyse(np.pad(x, (spec.pad, frames * spec.hop - x.size + spec.pad)), frames, spec)


class MelState(NamedTuple):
    """State of a log-mel stream: samples still needed (from the next frame's start on), samples and frames so far."""

    buffer: npt.NDArray[np.float32]
    samples: int
    frames: int


class MelStream:
    """Log-mel features of a stream that comes in blocks of any length: :func:`log_mel` with a state that is a value.

    Frame ``i`` comes out once ``(i+1)·hop + pad`` samples are in; :meth:`flush` gives the rest at the end.
    Pushed and flushed frames together equal ``log_mel`` of the whole.

    Example:
        >>> stream = MelStream(spec); state = stream.init()
        >>> frames, state = stream.push(state, block)   # any number of times
        >>> last = stream.flush(state)
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec

    def init(self) -> MelState:
        """The state before the first sample: zeros on the left."""
        return MelState(np.zeros(self.spec.pad, np.float32), 0, 0)

    def push(self, state: MelState, audio: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], MelState]:
        """Take ``[N]`` samples; give the frames ``[F, bands]`` that are complete now (often none) and the state."""
        spec = self.spec
        buffer = np.concatenate([state.buffer, np.asarray(audio, np.float32)])
        ready = max(0, (buffer.size - spec.window) // spec.hop + 1)
        frames = _analyse(buffer, ready, spec)
        rest = buffer[ready * spec.hop :].copy()
        return frames, MelState(rest, state.samples + len(audio), state.frames + ready)

    def flush(self, state: MelState) -> npt.NDArray[np.float32]:
        """The frames ``[F, bands]`` still owed when the stream ends: zeros follow the last sample."""
        spec = self.spec
        owed = spec.frames(state.samples) - state.frames
        missing = max(0, (owed - 1) * spec.hop + spec.window - state.buffer.size)
        return _analyse(np.pad(state.buffer, (0, missing)), owed, spec)


def save_features(path: str | os.PathLike[str], features: npt.NDArray[Any], spec: FeatureSpec) -> None:
    """Write ``[F, bands]`` as safetensors that say what they are; the file appears whole or not at all.

    Raises:
        SeqgenError: when the place is read-only or full.
    """
    from safetensors.numpy import save

    if features.ndim != 2 or features.shape[1] != spec.bands:
        raise ValueError(f"expected [frames, {spec.bands}], got shape {features.shape}")
    tensors = {"features": np.ascontiguousarray(features, dtype=np.float32)}
    payload = save(tensors, {"signature": spec.signature, "spec": json.dumps(set_apart(spec), sort_keys=True)})
    with replacing(path) as file:
        file.write(payload)


def load_features(
    path: str | os.PathLike[str], expected: FeatureSpec | None = None
) -> tuple[npt.NDArray[np.float32], FeatureSpec]:
    """Read what :func:`save_features` wrote.

    Args:
        path: the file. expected: refuse features of any other definition.

    Returns:
        float32 ``[F, bands]`` and their definition.

    Raises:
        SeqgenError: for a missing, damaged or foreign file, NaN, or another signature (both are named).
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    try:
        with in_utf8(Path(path)) as place, safe_open(place, framework="numpy") as file:
            metadata, features = file.metadata() or {}, file.get_tensor("features")
        spec = FeatureSpec(**json.loads(metadata["spec"]))
    except OSError as error:
        raise SeqgenError(f"{name}: {error.strerror or 'cannot be opened'}", remedy="give a features file") from None
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise SeqgenError(f"{name}: not a features file ({error})", remedy="make it again from the recording") from None
    if spec.signature != metadata.get("signature"):
        raise SeqgenError(f"{name}: its parameters and signature disagree", remedy="make it again from the recording")
    if expected is not None:
        require_same_signature(spec, expected, where=name)
    if features.ndim != 2 or features.shape[1] != spec.bands or not np.isfinite(features).all():
        raise SeqgenError(f"{name}: not finite [frames, {spec.bands}] features", remedy="make it again")
    return np.asarray(features, np.float32), spec
