"""CTM files: which label is spoken when, ``<utterance> <channel> <start> <duration> <label> [<confidence>]`` a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError


@dataclass(frozen=True, slots=True)
class Stretch:
    """Stretch of an utterance: from ``start`` on for ``duration`` seconds there is ``label``."""

    start: float
    duration: float
    label: str


Alignment = Mapping[str, Sequence[Stretch]]
"""Stretches of each utterance by its id."""


def read(path: Path) -> dict[str, list[Stretch]]:
    """Stretches of each utterance, in the order of their starts; comments begin with ``;;``.

    Raises:
        SeqgenError: naming the file and line of what is no row of a CTM file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SeqgenError(f"{path}: cannot be read ({error.strerror})", remedy="give a CTM file") from None
    except UnicodeDecodeError:
        raise SeqgenError(f"{path}: not UTF-8", remedy="give a CTM file") from None
    found: dict[str, list[Stretch]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        try:
            utterance, _, start, duration, label, *_ = fields
            stretch = Stretch(float(start), float(duration), label)
        except ValueError:
            stretch = Stretch(-1, 0, "")
        if not (0 <= stretch.start < np.inf and 0 <= stretch.duration < np.inf):
            raise SeqgenError(
                f"{path}:{number}: '{line[:60]}'",
                remedy="give <utterance> <channel> <start> <duration> <label>, times in seconds",
            )
        found.setdefault(utterance, []).append(stretch)
    for stretches in found.values():
        stretches.sort(key=lambda one: one.start)
    return found


def render(alignment: Alignment) -> str:
    """The text of a CTM file, times in milliseconds' precision."""
    return "".join(
        f"{utterance} 1 {one.start:.3f} {one.duration:.3f} {one.label}\n"
        for utterance, stretches in alignment.items()
        for one in stretches
    )


def frame_labels(stretches: Sequence[Stretch], frames: int, seconds: float) -> npt.NDArray[np.str_]:
    """The label at the middle of each frame of so many seconds, ``[frames]``; "" where there is none.

    Example:
        >>> frame_labels([Stretch(0.0, 0.02, "AA"), Stretch(0.03, 0.01, "B")], 4, 0.01).tolist()
        ['AA', 'AA', '', 'B']
    """
    made = np.full(frames, "", dtype=object)
    middles = (np.arange(frames) + 0.5) * seconds
    for one in stretches:
        made[(middles >= one.start) & (middles < one.start + one.duration)] = one.label
    return made.astype(np.str_)
