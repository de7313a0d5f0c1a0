"""Small recordings with the times of their phones, for the laws of tasks."""

from __future__ import annotations

from pathlib import Path

from seqgen.data import ctm
from seqgen.data.ctm import Stretch
from seqgen.data.directory import DataDir
from seqgen.files.outputs import write_text
from seqgen.tasks.vocoder.examples import record

HOP, RATE = 80, 8000


def timed(directory: Path) -> dict[str, str]:
    """Options of the task for what is written into a folder: data directories, and the times of their phones: three,
    the middle one three frames long."""
    options = record(directory)
    for split, place in options.items():
        times = {}
        for one in DataDir.load(Path(place)):
            frames = -(-one.samples // HOP)
            ends = (4, 7, frames)
            starts = (0, *ends[:-1])
            times[one.id] = [Stretch(start * HOP / RATE, (end - start) * HOP / RATE, name)
                             for start, end, name in zip(starts, ends, ("SIL", "AH0", "T"), strict=True)]  # fmt: skip
        (directory / "times" / split).mkdir(parents=True, exist_ok=True)
        write_text(directory / "times" / split / "phones.ctm", ctm.render(times))
    return {**options, "times": str(directory / "times")}
