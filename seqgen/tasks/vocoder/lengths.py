"""Recordings that are too short: left out by name and count of what they are too short for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError
from seqgen.metrics import table
from seqgen.spec import FeatureSpec

_NAMED = 3


def filling_a_frame(data: DataDir, features: FeatureSpec) -> DataDir:
    """The data without utterances that do not fill one frame: nothing can be learnt from them, or made of them.

    Raises:
        SeqgenError: where nothing is left.
    """
    kept = tuple(one for one in data if one.samples >= features.hop)
    if not kept:
        raise SeqgenError(
            f"{data.path}: all {len(data)} recordings are shorter than a frame of {features.hop} samples",
            remedy="give longer recordings, or features of a shorter hop",
        )
    return replace(data, utterances=kept)


def told(data: DataDir, features: FeatureSpec) -> str:
    """The line that says which recordings :func:`filling_a_frame` leaves out."""
    few = [one for one in data if one.samples < features.hop]
    what = f"{len(few)} of {len(data)} recordings are shorter than a frame of {features.hop} samples"
    return f"{what}: left out ({_names(few)})"


def told_of_metrics(utterances: Sequence[Utterance]) -> list[str]:
    """A line for each length that some utterances lack, with the values that these are left out of."""
    lacking: dict[float, list[str]] = {}
    for name, seconds in table.SHORTEST.items():
        lacking.setdefault(seconds, []).append(name)
    lines = []
    for seconds, names in sorted(lacking.items()):
        few = [one for one in utterances if one.samples < seconds * one.rate]
        if few:
            what = f"{len(few)} of {len(utterances)} recordings are shorter than {1000 * seconds:.1f} ms"
            lines.append(f"{what}: left out of {', '.join(names)} ({_names(few)})")
    return lines


def _names(few: Sequence[Utterance]) -> str:
    shown = ", ".join(one.id for one in few[:_NAMED])
    return f"{shown} and {len(few) - _NAMED} more" if len(few) > _NAMED else shown
