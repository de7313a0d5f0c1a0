"""Small corpora of tones for tests of data preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqgen.audio import io
from seqgen.data.corpus import SPLITS
from seqgen.data.directory import DataDir

RATE = 8000


def record(path: Path, samples: int = 800, rate: int = RATE, *, pitch: float = 200.0) -> Path:
    """A quiet tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write(path, 0.3 * np.sin(2 * np.pi * pitch / rate * np.arange(samples)).astype(np.float32), rate)
    return path


def folder(root: Path, count: int = 12) -> Path:
    """``count`` recordings of two speakers."""
    for index in range(count):
        record(root / ("anna", "ben")[index % 2] / f"take {index:02d}.wav", 800 + index)
    return root


def loaded(out: Path) -> dict[str, DataDir]:
    return {split: DataDir.load(out / split) for split in SPLITS if (out / split).exists()}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
