"""A voice without a network: its audio is a plain function of noise, frames and position, exact for any chunking."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile

from seqgen.audio.features import save_features
from seqgen.registry import RUNTIMES
from seqgen.runtime.contract import Runtime
from seqgen.spec import FeatureSpec, StateLeaf, StreamSpec
from serving.scheduling.batcher import Batcher
from serving.scheduling.events import FlowControl
from serving.sound.body import Body, BodyFile
from serving.sound.source import InputSource
from serving.streams.sound import SoundRequest
from serving.streams.vocoder import StreamingVocoder

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
        self.rows: list[int] = []

    def init(self, batch: int) -> Any:
        spec = self.manifest.spec
        past = -(-spec.latency // spec.up)
        history = np.full((batch, past, spec.in_dim), self.manifest.features.silence, np.float32)
        return history, np.zeros(batch, np.int64), np.zeros(batch, np.int64)

    def step(self, x: Any, state: Any, cond: Any) -> Any:
        raise AssertionError("a server draws samples; it never scores given ones")

    def sample(self, noise: Any, state: Any, cond: Any, temperature: float = 1.0) -> Any:
        per = self.manifest.uniforms_per_sample
        count = self.samples(noise, per, state, cond)
        if self.gate is not None and len(self.blocks) >= self.gate_from:
            assert self.gate.wait(60)
        time.sleep(self.delay * cond.shape[1])
        self.blocks.append(cond.shape[1])
        self.rows.append(len(cond))
        states = [[leaf[i : i + 1] for leaf in state] for i in range(len(cond))]
        made = [self._row(noise[i], states[i], cond[i], temperature) for i in range(len(cond))]
        assert all(len(audio) == count for audio, _ in made)
        after = tuple(np.concatenate(leaf) for leaf in zip(*(state for _, state in made), strict=True))
        return np.stack([audio for audio, _ in made]), after

    def _row(self, noise: Any, state: Any, cond: Any, temperature: float) -> Any:
        per, hop, latency = self.manifest.uniforms_per_sample, self.manifest.spec.up, self.manifest.spec.latency
        history, position, total = state
        start = int(position[0])
        count = len(noise) // per
        assert count == len(cond) * hop - (0 if start else latency), "the stream asked for a wrong length"
        if start + count > self.fail_after:
            raise ArithmeticError("the fake voice was told to fail")
        frames = np.concatenate([history[0], cond])
        seen = (start + latency) // hop if start else 0
        now = np.arange(start, start + count)
        sound = np.tanh(frames.astype(np.float64) @ np.linspace(0.5, 1.5, frames.shape[1]) / 100)
        first = seen - history.shape[1]  # number of the first frame at hand
        heard = (sound[now // hop - first] + sound[(now + latency) // hop - first]) / 2
        u = noise.reshape(count, per)
        sums = int(total[0]) + np.cumsum((u * 2**24).astype(np.int64).sum(axis=1))
        audio = 0.3 * heard + 0.3 * temperature * (u[:, 0] - 0.5) + 0.1 * (sums % 65536) / 65536
        if start + count > self.nan_after:
            audio[-1] = np.nan
        return audio.astype(np.float32), (frames[None, len(cond) :], position + count, np.array([sums[-1]]))


def fake_vocoder(
    *, latency: int = 100, speakers: tuple[str, ...] = (), uniforms: int = 2, name: str = "fake", batch: int = 1
) -> StreamingVocoder:
    """A vocoder over :class:`FakeRuntime`; it is reached as ``.runtime``."""
    dim = SPEC.n_mels + len(speakers)
    spec = StreamSpec(in_dim=dim, out_dim=1, up=SPEC.hop, latency=latency, context=None)
    manifest = SimpleNamespace(
        name=name,
        digest="0" * 64,
        kind="vocoder",
        runtimes=RUNTIMES,
        licence="CC0",
        sample_rate=SPEC.sample_rate,
        features=SPEC,
        feature_signature=SPEC.signature,
        speakers=speakers,
        symbols_per_sample=2,
        uniforms_per_sample=uniforms,
        ahead=0,
        spec=spec,
        state=(StateLeaf("history", (1, dim), "float32"),),
    )
    bundle: Any = SimpleNamespace(manifest=manifest, require=lambda kind: manifest)
    return StreamingVocoder(bundle, FakeRuntime(bundle), batch=batch)


class FileGate:
    """A gate that opens for every process at once, when its file is there."""

    def __init__(self, path: str) -> None:
        self._path = path

    def wait(self, seconds: float) -> bool:
        """Until then; tells whether it came."""
        until = time.monotonic() + seconds
        while not os.path.exists(self._path) and time.monotonic() < until:
            time.sleep(0.005)
        return os.path.exists(self._path)


def fake_reference(vocoder: StreamingVocoder) -> dict[str, Any]:
    """How a worker process makes the same fake: the arguments of :func:`fake_vocoder`, and its runtime's options."""
    runtime, manifest = vocoder.runtime, vocoder.manifest
    return {
        "given": {"latency": vocoder.alignment.latency, "speakers": manifest.speakers, "uniforms": vocoder.uniforms,
                  "name": vocoder.name, "batch": vocoder.batch},
        "options": {name: getattr(runtime, name) for name in ("delay", "fail_after", "nan_after", "gate_from")},
        "gate": getattr(runtime, "gate_file", None),
        "broken": getattr(runtime, "broken", False),
    }  # fmt: skip


def fake_opener(reference: dict[str, Any]) -> StreamingVocoder:
    """The fake of a reference, in a worker process."""
    if reference["broken"]:
        os._exit(3)
    vocoder = fake_vocoder(**{**reference["given"], "speakers": tuple(reference["given"]["speakers"])})
    for name, value in reference["options"].items():
        setattr(vocoder.runtime, name, value)
    if reference["gate"]:
        vocoder.runtime.gate = FileGate(reference["gate"])
    return vocoder


def everything(vocoder: StreamingVocoder, request: SoundRequest, body: bytes) -> list[bytes]:
    """The sound of one request, call by call, by a batcher of its own.

    Raises:
        Exception: what the stream ended with.
    """
    batcher, flow, made = Batcher(slots=1), FlowControl(), []
    batcher.open((0, 0), vocoder, request, 0.0, flow)
    batcher.push((0, 0), body)
    batcher.finish((0, 0))
    now, over = 0.0, False
    while not over:
        if (batch := batcher.plan(now)) is not None:
            batch.run()
            batcher.commit(batch, now)
        now += 0.1  # a listener that never waits
        for event in batcher.events():
            made.append(event.data)
            over = event.over
            if event.failure is not None:
                raise event.failure
            flow.consumed = flow.sent
    return made


def opened_body(
    body: bytes, content_type: str = "", *, longest: float = 600.0, pause: Callable[[], bool] = lambda: True
) -> InputSource:
    """What becomes of a request body."""
    file = BodyFile()
    file.append(body)
    given = Body(file, content_type, SPEC, longest)
    given.vet(pause)
    return given.open()


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
