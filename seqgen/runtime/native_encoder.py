"""Feature extractors through the native engine, without onnxruntime and without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.runtime.contract import Floats, State
from seqgen.runtime.encoder import EncoderRuntime
from seqgen.runtime.native import MAX_STREAMS, Engine, EngineRuntime


def extract(engine: Engine, audio: Floats, states: npt.NDArray[np.uint8]) -> Floats:
    """Vectors of all layers side by side, ``[B, F·hop] → [B, F, C]``; ``states`` are moved on."""
    frames = np.ascontiguousarray(audio, np.float32).reshape(len(audio), -1, engine.info.channels)
    made = np.empty((*frames.shape[:2], engine.info.params), np.float32)
    for first in range(0, len(audio), MAX_STREAMS):
        rows = slice(first, first + MAX_STREAMS)
        engine.run(states[rows], frames[rows], frames.shape[1], drawing=False, given={}, made={"params": made[rows]})
    return made


class NativeEncoder(EngineRuntime, EncoderRuntime):
    """Runtime that runs ``program.json`` in the native engine. The state is one array, uint8 ``[B, state_bytes]``.

    Args:
        bundle: a verified bundle. threads: 1; more change nothing. format, isa: see
            :class:`~seqgen.runtime.native.Engine`.

    Raises:
        SeqgenError: where the engine is not built or cannot run the bundle.
    """

    def described(self) -> bool:
        info, manifest = self.engine.info, self.manifest
        given = info.sample_rate, info.classes, info.channels, info.params
        return bool(given == (0, 0, manifest.hop, sum(manifest.layers.values())))

    def init(self, batch: int) -> State:
        """Fresh streams."""
        return (self.engine.init(batch),)

    def step(self, audio: Floats, state: State, layer: str = "context") -> tuple[Floats, State]:
        self.require_fit(audio, state, layer)
        blobs = state[0].copy()
        self.require_own(blobs)
        made = extract(self.engine, audio, blobs)
        widths = list(self.manifest.layers.values())
        first = sum(widths[: list(self.manifest.layers).index(layer)])
        return made[..., first : first + self.manifest.layers[layer]], (blobs,)
