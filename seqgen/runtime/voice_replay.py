"""Replay of a speaking voice's golden vectors."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np

from seqgen.runtime.contract import Runtime
from seqgen.runtime.speaker import Sentence
from seqgen.runtime.verdict import Verdict
from seqgen.runtime.vocoder_replay import replay_vocoder
from seqgen.runtime.voice import GOLDEN, SPELLING_GOLDEN, Voice


def replay_voice(runtime: Runtime) -> Verdict:
    """Run the vocoder's golden vectors through its runtime, and golden phones through the networks of the frames: the
    errors of prosody and frames, which are drawn at a temperature of 0, count as those of the vocoder's parameters.
    Golden words have to have their phones."""
    vocoder = replay_vocoder(runtime)
    golden, voice = runtime.bundle.tensors(GOLDEN), Voice(runtime)
    tokens, durations = golden["tokens"], golden["durations"]
    u = np.full((len(tokens) * golden["prosody"].shape[1], voice.manifest.prosody_uniforms), 0.5, np.float32)
    prosody = voice.prosody(tokens, u, 0.0)
    sentence = Sentence(tokens, durations, golden["prosody"][:, 1:].astype(np.float64), np.zeros(len(tokens)))
    u = np.full((int(durations.sum()) * voice.spec.bands, voice.manifest.frame_uniforms), 0.5, np.float32)
    frames = np.concatenate(list(voice.numbers(sentence, u, 0.0)))
    errors = (
        np.abs(made - golden[name]).max() / max(1.0, np.abs(golden[name]).max())
        for name, made in (("prosody", prosody), ("frames", frames))
    )
    spelt = 0.0 if _spells(voice) else math.inf
    return replace(vocoder, params_error=max(vocoder.params_error, spelt, *map(float, errors)))


def _spells(voice: Voice) -> bool:
    """Whether golden words are read as they were."""
    if voice.speller is None:
        return True
    golden = json.loads(voice.bundle.path(SPELLING_GOLDEN).read_text(encoding="utf-8"))
    return [" ".join(told) for told in voice.speller(list(golden))] == list(golden.values())
