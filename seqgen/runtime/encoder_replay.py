"""Replay of a feature extractor's golden vectors."""

from __future__ import annotations

import numpy as np

from seqgen.runtime.contract import Floats
from seqgen.runtime.encoder import EncoderRuntime
from seqgen.runtime.verdict import PARAMS_TOLERANCE, Verdict


def replay_encoder(runtime: EncoderRuntime) -> Verdict:
    """Run a feature extractor's golden ``audio [B, N]`` through a runtime, as one block and as uneven ones.

    The error is that of every layer, relative to its largest number where that is above 1.
    """
    layers = tuple(runtime.manifest.layers)
    golden = runtime.golden_vectors(*layers)
    error, chunked = 0.0, True
    for layer in layers:
        whole, _ = runtime.step(golden["audio"], runtime.init(len(golden["audio"])), layer)
        error = max(error, _distance(whole, golden[layer]))
        chunked &= _distance(_in_pieces(runtime, golden["audio"], layer), whole) <= PARAMS_TOLERANCE
    return Verdict(str(runtime), error, 0, 0, chunked)


def _in_pieces(runtime: EncoderRuntime, audio: Floats, layer: str) -> Floats:
    hop, frames = runtime.manifest.hop, audio.shape[1] // runtime.manifest.hop
    state, parts = runtime.init(len(audio)), []
    for start, stop in ((0, 1), (1, frames // 3), (frames // 3, frames)):
        made, state = runtime.step(audio[:, start * hop : stop * hop], state, layer)
        parts.append(made)
    return np.concatenate(parts, axis=1)


def _distance(made: Floats, expected: Floats) -> float:
    if made.shape != expected.shape:
        return np.inf
    return float(np.abs(made - expected).max(initial=0) / max(1.0, np.abs(expected).max(initial=0)))
