"""Durations of phones by speaker, as ratings: ``python -m egs.librispeech.evidence_chains.durations DATA CTM OUT``.

A line ``speaker <tab> phone <tab> mean of ln(duration in ms)`` for every phone that a speaker of the data directory has
at least twice in the CTM file; silence and noises are no phones.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

from seqgen.data import ctm
from seqgen.data.directory import DataDir

LEAST = 2
"""Occurrences that a mean is taken of."""


def durations(data: Path, phones: Path) -> dict[tuple[str, str], float]:
    """Mean logarithms of the durations, by speaker and phone."""
    speakers = {one.id: one.speaker for one in DataDir.load(data)}
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for utterance, stretches in ctm.read(phones).items():
        for one in stretches:
            if one.label != "SIL" and not one.label.startswith("+") and one.duration > 0:
                found[speakers[utterance], one.label].append(math.log(1000 * one.duration))
    return {key: mean(values) for key, values in sorted(found.items()) if len(values) >= LEAST}


def main(words: list[str]) -> None:
    """Write the ratings, and print how many speakers and phones they are of."""
    data, phones, out = map(Path, words)
    found = durations(data, phones)
    lines = [f"{speaker}\t{phone}\t{value:.4f}\n" for (speaker, phone), value in found.items()]
    out.write_text("".join(lines), encoding="utf-8")
    counts = (len({key[side] for key in found}) for side in (0, 1))
    sys.stdout.write(f"{len(found):,} durations: %d speakers, %d phones\n" % tuple(counts))


if __name__ == "__main__":
    main(sys.argv[1:])
