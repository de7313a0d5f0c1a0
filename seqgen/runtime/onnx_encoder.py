"""Runtime of feature extractors over onnxruntime."""

from __future__ import annotations

import numpy as np

from seqgen.bundle import Bundle
from seqgen.runtime.contract import Floats, State
from seqgen.runtime.encoder import EncoderRuntime
from seqgen.runtime.onnx_session import session

PIECE = 200
"""Vectors that one call makes at most: its memory grows with them, its speed hardly beyond these."""


class OnnxEncoder(EncoderRuntime):
    """Runtime that runs ``encoder.onnx``.

    Args:
        bundle: a verified bundle. threads: cores one call may use.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        self._session = session(bundle, "encoder.onnx", threads)
        self._names = [f"state.{leaf.name}" for leaf in self.manifest.state]

    def step(self, audio: Floats, state: State, layer: str = "context") -> tuple[Floats, State]:
        self.require_fit(audio, state, layer)
        made = [np.zeros((len(audio), 0, self.manifest.layers[layer]), np.float32)]
        piece = PIECE * self.manifest.hop
        for start in range(0, audio.shape[1] if len(audio) else 0, piece):
            feeds = {"audio": np.asarray(audio[:, start : start + piece], np.float32)}
            feeds |= dict(zip(self._names, state, strict=True))
            vectors, *after = self._session.run([layer, *(f"{name}.after" for name in self._names)], feeds)
            made.append(vectors)
            state = tuple(after)
        return np.concatenate(made, axis=1), state
