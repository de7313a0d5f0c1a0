"""Recordings with the time of every word and phone, and how well another alignment agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt
import torch

from seqgen.data.aligned import SILENCE, Aligned
from seqgen.data.ctm import Stretch
from seqgen.graphical import monotone
from seqgen.models.aligner import Aligner
from seqgen.tasks.alignment.batches import Batch
from seqgen.tasks.alignment.transcripts import Spoken, Transcript


@torch.no_grad()
def aligned(aligner: Aligner, batch: Batch, transcripts: Sequence[Transcript], seconds: float) -> Iterator[Aligned]:
    """The best path of each recording of a batch; ``seconds`` of a frame."""
    scores = aligner(batch.x, batch.lengths, batch.tokens, batch.counts)
    paths = monotone.best(scores, monotone.Tokens(batch.counts, batch.optional, batch.lengths))
    for row, (name, transcript) in enumerate(zip(batch.ids, transcripts, strict=True)):
        path = paths[row, : batch.lengths[row]]
        nats = scores[row, torch.arange(len(path)), path].mean().item()
        silences = [one for one in transcript.phones if one.name == SILENCE]
        words = sorted([*transcript.words, *silences], key=lambda one: one.first)
        phones, said = (_stretches(path.numpy(), parts, seconds) for parts in (transcript.phones, words))
        yield Aligned(name, phones, said, nats)


def _stretches(path: npt.NDArray[np.int64], parts: Sequence[Spoken], seconds: float) -> list[Stretch]:
    """Stretches of the parts of a transcript that a path through its tokens goes by; ``parts`` have all tokens."""
    owners = np.repeat(np.arange(len(parts)), [one.stop - one.first for one in parts])[path]
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    stops = np.append(starts[1:], len(path))
    return [
        Stretch(start * seconds, (stop - start) * seconds, parts[owners[start]].name)
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
    ]


def deviations(found: Sequence[Stretch], reference: Sequence[Stretch]) -> npt.NDArray[np.float64]:
    """Seconds by which phones begin later than those of another alignment, of the phones that both have in the same
    order, stress aside; silences are not compared.

    Example:
        >>> other = [Stretch(0.0, 0.08, "SIL"), Stretch(0.08, 0.1, "AH")]
        >>> deviations([Stretch(0.1, 0.1, "AH0")], other).round(2).tolist()
        [0.02]
    """
    mine, theirs = (
        [(one.label.rstrip("012"), one.start) for one in line if one.label.rstrip("012") != SILENCE]
        for line in (found, reference)
    )
    matcher = SequenceMatcher(None, [name for name, _ in mine], [name for name, _ in theirs], autojunk=False)
    pairs = [(a + n, b + n) for a, b, size in matcher.get_matching_blocks() for n in range(size)]
    return np.array([mine[a][1] - theirs[b][1] for a, b in pairs])
