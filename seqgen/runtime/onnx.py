"""Runtime of bundles over onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.runtime.contract import Floats, Runtime, State
from seqgen.runtime.onnx_session import session

if TYPE_CHECKING:
    import onnxruntime


# Samples that a voice without feedback makes in one call for each thread: its memory grows with them, its speed hardly
# beyond these.
PIECE = 2400


class OnnxRuntime(Runtime):
    """Runtime that runs ``loop.onnx`` (sampling) and ``step.onnx`` (likelihood; loaded when first used).

    Args:
        bundle: a verified bundle. threads: cores one call may use; autoregressive loops gain nothing from more.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        self._threads = threads
        self._loop = session(bundle, "loop.onnx", threads)
        self._step: onnxruntime.InferenceSession | None = None

    def _run(
        self, session: onnxruntime.InferenceSession, inputs: dict[str, npt.NDArray[Any]], state: State
    ) -> tuple[Floats, State]:
        names = [leaf.name for leaf in self.manifest.state]
        feeds = inputs | {f"state.{name}": leaf for name, leaf in zip(names, state, strict=True)}
        made, *after = session.run(None, feeds)
        return made, tuple(after)

    @property
    def _least(self) -> int:
        """The fewest samples that a graph makes, with those ahead of them: one, or where some are ahead a frame's."""
        return self.manifest.spec.up + self.manifest.ahead if self.manifest.ahead else 1

    def _steps(self) -> onnxruntime.InferenceSession:
        if self._step is None:
            self._step = session(self.bundle, "step.onnx", self._threads)
        return self._step

    def _look_ahead(
        self, session: onnxruntime.InferenceSession, name: str, one: npt.NDArray[Any], state: State, cond: Floats
    ) -> tuple[Floats, State]:
        """Frames that make no sample yet: onnxruntime dies of an empty Scan, so something is made and thrown away."""
        inputs = {name: one, "features": np.asarray(cond, np.float32)}
        if session is self._loop:
            inputs["temperature"] = np.ones((), np.float32)
        if cond.shape[1] * self.manifest.spec.up == 0:
            silence = np.full((len(cond), 1, cond.shape[2]), self.manifest.features.silence, np.float32)
            made, _ = self._run(session, inputs | {"features": silence}, state)
            return made[:, :0], state
        made, after = self._run(session, inputs, state)
        names = [leaf.name for leaf in self.manifest.state]
        moved = (name.startswith(("conditioner", "coefficients")) for name in names)
        kept = (new if move else old for move, new, old in zip(moved, after, state, strict=True))
        return made[:, :0], tuple(kept)

    def step(self, x: npt.NDArray[Any], state: State, cond: Floats) -> tuple[Floats, State]:
        per = self.manifest.symbols_per_sample
        if not self.samples(x, per, state, cond):
            return self._look_ahead(self._steps(), "x", np.zeros((len(x), self._least * per), x.dtype), state, cond)
        return self._run(self._steps(), {"x": x, "features": np.asarray(cond, np.float32)}, state)

    def sample(self, noise: Floats, state: State, cond: Floats, temperature: float = 1.0) -> tuple[Floats, State]:
        samples = self.samples(noise, self.manifest.uniforms_per_sample, state, cond)
        if self.manifest.feeds_back or not samples:
            return self._sample(noise, state, cond, temperature)
        per, up, made = self.manifest.uniforms_per_sample, self.manifest.spec.up, []
        ahead, frames = cond.shape[1] * up - samples, max(1, PIECE * self._threads // up)
        for first in range(0, cond.shape[1], frames):
            piece = cond[:, first : first + frames]
            start, stop = (max(0, frame * up - ahead) * per for frame in (first, first + piece.shape[1]))
            audio, state = self._sample(noise[:, start:stop], state, piece, temperature)
            made.append(audio)
        return np.concatenate(made, axis=1), state

    def _sample(self, noise: Floats, state: State, cond: Floats, temperature: float) -> tuple[Floats, State]:
        if noise.shape[1] == self.manifest.ahead * self.manifest.uniforms_per_sample:
            one = np.zeros((len(noise), self._least * self.manifest.uniforms_per_sample), np.float32)
            return self._look_ahead(self._loop, "uniforms", one, state, cond)
        inputs = {
            "uniforms": np.asarray(noise, np.float32),
            "features": np.asarray(cond, np.float32),
            "temperature": np.asarray(temperature, np.float32),
        }
        return self._run(self._loop, inputs, state)
