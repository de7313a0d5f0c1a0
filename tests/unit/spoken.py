"""Small recordings whose speaker, digit and phones are heard in tones: labels that features hold or do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqgen import noise
from seqgen.audio import io
from seqgen.data import ctm
from seqgen.data import directory as data
from seqgen.data.ctm import Stretch
from seqgen.data.directory import Utterance

RATE = 8000
SPEAKERS = {"ann": 0.05, "bo": 0.2, "cy": 0.6}
"""Loudness of each."""
DIGITS = {"one": (300, 900), "two": (1400, 500), "three": (2000, 2000)}
"""Frequencies of the first and the second half of each."""
HALF = 400


def record(folder: Path, takes: Sequence[int], half: int = HALF) -> Path:
    """A data directory of so many takes of each speaker and digit, ``half`` samples of each tone, and ``phones.ctm``
    beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    made, aligned = [], {}
    for speaker, loudness in SPEAKERS.items():
        for digit, frequencies in DIGITS.items():
            for take in takes:
                name = f"{speaker}-{digit}-{take}"
                tones = [np.sin(2 * np.pi * f * np.arange(half) / RATE + take) for f in frequencies]
                drawn = noise.block(0, noise.name_to_stream(name), 0, 2 * half) - 0.5
                io.write(folder / f"{name}.wav", (loudness * np.concatenate(tones) + 0.01 * drawn).astype("f4"), RATE)
                made.append(Utterance(name, folder / f"{name}.wav", RATE, 0, 2 * half, speaker, digit))
                seconds = half / RATE
                aligned[name] = [Stretch(i * seconds, seconds, f"F{f}") for i, f in enumerate(frequencies)]
    data.write(folder / "data", made)
    (folder / "phones.ctm").write_text(ctm.render(aligned), encoding="utf-8")
    return folder / "data"
