"""``seqgen align``: which word and which phone is spoken when, by a trained aligner."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgen.data.aligned import Aligned

_HELP = """\
Align: the time of every word and phone of the recordings of a data directory with transcripts, by a trained experiment
of the task `alignment`. The folder that is written has `phones.ctm` and `words.ctm` (utterance, channel, start and
duration in seconds, label), a Praat TextGrid for each recording under `textgrid/`, and `scores.tsv`, the worst first:
how well the phones explain a frame, in nats. Recordings that lie far below the others are listed, for there the
transcript may be of something else.

  seqgen align exp/aligner data/train -o align/train
"""
_FAR = 6.0  # deviations below the median from which on a recording is listed,
_SCALE = 1.4826  # a deviation being so many times the median distance, as of a normal distribution
_FOLDER = ("phones.ctm", "words.ctm", "scores.tsv", "textgrid")


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "align",
        help="times of words and phones",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("path", type=Path, help="experiment")
    command.add_argument("data", type=Path, metavar="DIR", help="data directory with transcripts")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="folder to write")
    command.set_defaults(run=run_align)


def run_align(given: argparse.Namespace) -> int:
    """Align the recordings and write the folder, whole or not at all."""
    from seqgen.cli.opened import opened
    from seqgen.data import ctm
    from seqgen.data.aligned import textgrid
    from seqgen.files.folders import replacing_folder
    from seqgen.files.outputs import write_text

    task, system = opened(given.path, objective=False)
    with replacing_folder(given.out, kind="an alignment", may_replace=_is_alignment) as folder:
        found = list(task.align(system, given.data))
        write_text(folder / "phones.ctm", ctm.render({one.utterance: one.phones for one in found}))
        write_text(folder / "words.ctm", ctm.render({one.utterance: one.words for one in found}))
        ranked = sorted(found, key=lambda one: one.nats)
        write_text(folder / "scores.tsv", "".join(f"{one.utterance}\t{one.nats:.4f}\n" for one in ranked))
        (folder / "textgrid").mkdir()
        for one in found:
            write_text(folder / "textgrid" / f"{one.utterance}.TextGrid", textgrid(one))
    doubtful = far_below(ranked)
    for one in doubtful:
        sys.stderr.write(f"{one.utterance}: {one.nats:.2f} nats a frame; does the transcript match?\n")
    sys.stderr.write(f"{given.out}: {len(found)} recordings aligned, {len(doubtful)} of them doubtful\n")
    return 0


def far_below(ranked: Sequence[Aligned]) -> list[Aligned]:
    """Recordings whose score is far below the others', the worst first."""
    from statistics import median

    middle = median(one.nats for one in ranked)
    deviation = _SCALE * median(abs(one.nats - middle) for one in ranked)
    return [one for one in ranked if one.nats < middle - _FAR * deviation]


def _is_alignment(folder: Path) -> bool:
    return {place.name for place in folder.iterdir()} <= set(_FOLDER)
