"""Replay of a speech codec's golden vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.runtime.codec_prior import CodecPrior
from seqgen.runtime.contract import Floats
from seqgen.runtime.speech_codec import SpeechCodec
from seqgen.runtime.verdict import Verdict

_LEAST_ALIKE = 0.99  # of the symbols: rounding makes another entry the nearest where two are about as near


def replay_speech_codec(runtime: SpeechCodec) -> Verdict:
    """Run golden ``audio [N]`` through the encoder and golden ``symbols [F, G]`` through the decoder, whose
    distributions of the golden ``elements`` are compared; both as one block and as several. Of a prior the nats of the
    symbols of every position, ``[F]``, are compared too."""
    golden = runtime.golden_vectors("params")
    symbols = np.concatenate(list(runtime.encode([golden["audio"]])))
    pieces = np.array_split(golden["audio"], [37, len(golden["audio"]) // 2])
    alike = symbols.shape == golden["symbols"].shape and (symbols == golden["symbols"]).mean() >= _LEAST_ALIKE
    chunked = np.array_equal(symbols, np.concatenate(list(runtime.encode(pieces))))
    made = _scored(runtime, golden["frames"], golden["elements"])
    error = np.abs(made[: len(golden["params"])] - golden["params"]).max() / max(1.0, np.abs(golden["params"]).max())
    if runtime.manifest.prior:
        missed = np.abs(_nats(runtime, golden["symbols"]) - golden["nats"]).max()
        error = max(error, missed / max(1.0, np.abs(golden["nats"]).max()))
    speaker = runtime.manifest.speakers[0] if runtime.manifest.speakers else ""
    whole, parts = (
        np.concatenate(list(runtime.decode(given, speaker=speaker)))
        for given in ([golden["symbols"]], np.array_split(golden["symbols"], 3))
    )
    return Verdict(str(runtime), float(error), 0, int(not alike), chunked and np.array_equal(whole, parts))


def _scored(runtime: SpeechCodec, frames: Floats, elements: npt.NDArray[Any]) -> Floats:
    """Parameters of elements ``[T]`` over frames ``[F, C]``, ``[T, params]``."""
    engine, count = runtime.engine, len(elements) // runtime.manifest.symbols_per_sample
    params = np.empty((1, len(elements), engine.info.params), np.float32)
    given, made = engine.scoring(elements[None], params)
    engine.run(engine.init(1), frames[None], count, drawing=False, given=given, made=made)
    scored: Floats = params[0]
    return scored


def _nats(runtime: SpeechCodec, symbols: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Nats that the prior gives the symbols ``[F, G]`` of each position, ``[F]``."""
    prior, line = CodecPrior(runtime.bundle), symbols.reshape(1, -1)
    logits = prior.step(line, prior.init(1))[0][0].astype(np.float64)  # [F·G, K]
    logits -= logits.max(axis=1, keepdims=True)
    scores = logits[np.arange(len(logits)), line[0]] - np.log(np.exp(logits).sum(axis=1))
    found: npt.NDArray[np.float64] = -scores.reshape(symbols.shape).sum(axis=1)
    return found
