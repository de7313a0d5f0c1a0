"""Small recordings with a lexicon and another alignment, for the laws of tasks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from seqgen.data import ctm
from seqgen.data.ctm import Stretch
from seqgen.files.outputs import write_text
from seqgen.models.aligner import Aligner
from seqgen.tasks.vocoder.examples import record

_LEXICON = "word W ER1 D\nzero Z IH1\none W AH1\ntwo T UW1\nthree TH R\nfour F R\n"


def recorded(directory: Path) -> dict[str, str]:
    """Options of the task for what is written into a folder: data directories, a lexicon, an alignment of one
    recording of the test set."""
    made = {name: str(directory / name) for name in ("lexicon", "reference")}
    write_text(made["lexicon"], _LEXICON)
    known = [Stretch(0.02, 0.03, "W"), Stretch(0.05, 0.02, "ER")]
    write_text(made["reference"], ctm.render({"ann-test-0": known}))
    return {**record(directory), **made}


class EvenAligner(Aligner):
    """An aligner that gives all tokens the same share."""

    @classmethod
    def examples(cls) -> Iterable[EvenAligner]:
        return [cls(in_dim=4, vocab_size=5)]

    def scores(self, frames: Tensor, lengths: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
        return frames.new_zeros(*frames.shape[:2], tokens.shape[1])
