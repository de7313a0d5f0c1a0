"""Small recordings for the laws of tasks: tones in noise of two speakers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seqgen import noise
from seqgen.audio import io
from seqgen.data import directory as data
from seqgen.data.directory import Utterance

SIZES = {"train": 5, "valid": 3, "test": 4}
_RATE = 8000


def record(folder: Path) -> dict[str, str]:
    """Data directories of all splits under ``folder``; their paths by split."""
    for split, count in SIZES.items():
        data.write(folder / split, list(_utterances(folder / "audio", split, count)))
    return {split: str(folder / split) for split in SIZES}


def _utterances(folder: Path, split: str, count: int) -> Iterator[Utterance]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        speaker = ("ann", "bo")[number % 2]
        name = f"{speaker}-{split}-{number}"
        samples = 900 + 170 * number
        drawn = noise.block(0, noise.name_to_stream(name), 0, samples) - 0.5
        tone = 0.3 * np.sin(np.arange(samples) * (0.1 + 0.05 * number)) + 0.02 * drawn
        path = folder / f"{name}.wav"
        io.write(path, tone.astype(np.float32), _RATE)
        yield Utterance(name, path, _RATE, 0, samples, speaker, f"word {number}")
