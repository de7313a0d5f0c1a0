"""Recordings in which every word and phone has its time, and Praat's TextGrid files of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from seqgen.data.ctm import Stretch

SILENCE = "SIL"
"""The label of a stretch in which nothing is said."""


class Aligned(NamedTuple):
    """Recording in which words and phones have their times.

    Attributes:
        utterance: its id. phones, words: stretches that cover it without gaps, silences too.
        nats: mean logarithm of a frame's likelihood under its phone. A transcript of something else shows here.
    """

    utterance: str
    phones: list[Stretch]
    words: list[Stretch]
    nats: float


def textgrid(one: Aligned) -> str:
    """The text of a TextGrid file with a tier of words and one of phones; a silence is an interval without a label.

    Source: Praat's manual, "TextGrid file formats", the long format.

    Example:
        >>> print(textgrid(Aligned("a", [Stretch(0, 0.5, "SIL")], [Stretch(0, 0.5, "SIL")], 0.0)).splitlines()[0])
        File type = "ooTextFile"
    """
    tiers = [("words", one.words), ("phones", one.phones)]
    end = max((stretches[-1].start + stretches[-1].duration for _, stretches in tiers if stretches), default=0.0)
    lines = [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}",
        "tiers? <exists>", f"size = {len(tiers)}", "item []:",
    ]  # fmt: skip
    for number, (name, stretches) in enumerate(tiers, 1):
        lines += [
            f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"',
            "        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(stretches)}",
        ]  # fmt: skip
        lines += _intervals(stretches)
    return "\n".join(lines) + "\n"


def _intervals(stretches: Sequence[Stretch]) -> list[str]:
    lines = []
    for number, stretch in enumerate(stretches, 1):
        label = "" if stretch.label == SILENCE else stretch.label.replace('"', '""')
        lines += [
            f"        intervals [{number}]:", f"            xmin = {stretch.start:.6f}",
            f"            xmax = {stretch.start + stretch.duration:.6f}", f'            text = "{label}"',
        ]  # fmt: skip
    return lines
