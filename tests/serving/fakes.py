"""A voice without a network: its audio is a plain function of noise, frames and position, exact for any chunking."""

from __future__ import annotations

import io
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile

from seqgen.audio.features import save_features
from seqgen.runtime.contract import Runtime
from seqgen.spec import FeatureSpec, StateLeaf, StreamSpec
from serving.vocoder import Vocoder

SPEC = FeatureSpec(sample_rate=8000, n_fft=256, window=80, hop=40, n_mels=10)


class FakeRuntime(Runtime):
    """Sample ``p`` is made from frame ``p // hop``, the look-ahead, uniform ``p`` and all uniforms before it.

    Options: seconds of ``delay`` per frame; ``fail_after`` / ``nan_after`` samples; a ``gate`` to wait for
    from call number ``gate_from`` on.
    """

    def __init__(self, bundle: Any) -> None:
        super().__init__(bundle)
        self.delay = 0.0
        self.fail_after = self.nan_after = 1 << 60
        self.gate: threading.Event | None = None
        self.gate_from = 0
        self.blocks: list[int] = []

    def init(self, batch: int) -> Any:
        spec = self.manifest.spec
        past = -(-spec.latency // spec.up)
        history = np.full((batch, past, spec.in_dim), self.manifest.features.silence, np.float32)
        return history, np.zeros(batch, np.int64), np.zeros(batch, np.int64)

    def step(self, x: Any, state: Any, cond: Any) -> Any:
        raise AssertionError("a server draws samples; it never scores given ones")

    def sample(self, noise: Any, state: Any, cond: Any, temperature: float = 1.0) -> Any:
        per, hop, latency = self.manifest.uniforms_per_sample, self.manifest.spec.up, self.manifest.spec.latency
        count = self.samples(noise, per, state, cond)
        history, position, total = state
        start = int(position[0])
        assert count == cond.shape[1] * hop - (0 if start else latency), "the stream asked for a wrong length"
        if self.gate is not None and len(self.blocks) >= self.gate_from:
            assert self.gate.wait(60)
        time.sleep(self.delay * cond.shape[1])
        self.blocks.append(cond.shape[1])
        if start + count > self.fail_after:
            raise ArithmeticError("the fake voice was told to fail")
        frames = np.concatenate([history, cond], axis=1)
        seen = (start + latency) // hop if start else 0
        now = np.arange(start, start + count)
        sound = np.tanh(frames[0].astype(np.float64) @ np.linspace(0.5, 1.5, frames.shape[2]) / 100)
        first = seen - history.shape[1]  # number of the first frame at hand
        heard = (sound[now // hop - first] + sound[(now + latency) // hop - first]) / 2
        u = noise[0].reshape(count, per)
        sums = int(total[0]) + np.cumsum((u * 2**24).astype(np.int64).sum(axis=1))
        audio = 0.3 * heard + 0.3 * temperature * (u[:, 0] - 0.5) + 0.1 * (sums % 65536) / 65536
        if start + count > self.nan_after:
            audio[-1] = np.nan
        after = (frames[:, cond.shape[1] :], position + count, np.array([sums[-1]]))
        return audio[None].astype(np.float32), after


def fake_vocoder(
    *, latency: int = 100, speakers: tuple[str, ...] = (), uniforms: int = 2, name: str = "fake"
) -> Vocoder:
    """A vocoder over :class:`FakeRuntime`; it is reached as ``.runtime``."""
    dim = SPEC.n_mels + len(speakers)
    spec = StreamSpec(in_dim=dim, out_dim=1, up=SPEC.hop, latency=latency, context=None)
    manifest = SimpleNamespace(
        name=name,
        kind="vocoder",
        sample_rate=SPEC.sample_rate,
        features=SPEC,
        feature_signature=SPEC.signature,
        speakers=speakers,
        symbols_per_sample=2,
        uniforms_per_sample=uniforms,
        spec=spec,
        state=(StateLeaf("history", (1, dim), "float32"),),
    )
    bundle: Any = SimpleNamespace(manifest=manifest)
    return Vocoder(bundle, FakeRuntime(bundle))


def tone(seconds: float, rate: int = SPEC.sample_rate) -> np.ndarray:
    """A chirp with a little noise, float32."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(t.size) * 0.01
    return (0.3 * np.sin(2 * np.pi * (200 + 300 * t) * t) + noise).astype(np.float32)


def audio_file(audio: np.ndarray, rate: int = SPEC.sample_rate, form: str = "WAV", subtype: str | None = None) -> bytes:
    """The bytes of an audio file."""
    out = io.BytesIO()
    soundfile.write(out, audio, rate, format=form, subtype=subtype)
    return out.getvalue()


def features_file(folder: Any, features: np.ndarray, spec: FeatureSpec = SPEC) -> bytes:
    """The bytes of a features file."""
    path = folder / "features.safetensors"
    save_features(path, features, spec)
    return bytes(path.read_bytes())
