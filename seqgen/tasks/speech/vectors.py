"""Files of vectors of recordings, one pair for each: what encoders make of it, its label, and its signal in short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.analysis.linear_probe import Examples
from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data.directory import Utterance
from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing
from seqgen.spec import FeatureSpec

LABEL, SIGNAL = "label", "signal"
"""Files of what is known of the recordings; others are of what encoders make of them."""
_WINDOW, _HOP, _BANDS, _FLOOR = 0.032, 0.016, 20, 1e-3  # seconds, seconds, bands, magnitude
_PARTS = 4


class VectorFiles:
    """Writer of vectors of recordings, ``NAME.npy [recordings, dimensions]`` float32, training recordings first and in
    the same order in each file.

    A row of a table is written under the last part of its name. ``label.npy`` has one-hots of the labels, in their
    order. ``signal.npy`` has log-mel frames in the mean over each quarter of a recording: as it is a function of the
    signal, what vectors tell of it is at most what they tell of the signal.

    Args:
        folder: of the files; it is made where it is not there. names: of the rows that are to come.

    Raises:
        SeqgenError: for two rows that would become one file, before anything is written; and where the folder cannot be
            written.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        counts = Counter([LABEL, SIGNAL, *(Path(name).name for name in names)])
        stem, count = counts.most_common(1)[0]
        if count > 1:
            raise SeqgenError(
                f"{count} files would become {folder / stem}.npy", remedy="rename one of the experiments or bundles"
            )

    def write(self, name: str, train: Examples, test: Examples) -> None:
        """Write the vectors of one row."""
        self._save(Path(name).name, np.concatenate([train.x, test.x]))

    def write_known(self, utterances: Sequence[Utterance], train: Examples, test: Examples) -> None:
        """Write what is known of the recordings, whose labels the examples of any row have."""
        labels = np.concatenate([train.labels, test.labels])
        self._save(LABEL, (labels[:, None] == np.unique(labels)).astype(np.float32))
        self._save(SIGNAL, np.stack([summary(one) for one in utterances]))

    def _save(self, stem: str, array: npt.NDArray[np.float32]) -> None:
        from numpy.lib import format as npy

        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{stem}.npy") as file:
            npy.write_array(file, np.ascontiguousarray(array, np.float32))


def summary(utterance: Utterance) -> npt.NDArray[np.float32]:
    """Log-mel frames of a recording in the mean over each of its quarters, ``[4 · 20]`` nats."""
    audio, rate = io.read(utterance.path, start=utterance.start, count=utterance.samples)
    window, hop = (2 * round(seconds * rate / 2) for seconds in (_WINDOW, _HOP))
    size = max(512, 1 << (window - 1).bit_length())
    frames = log_mel(audio, FeatureSpec(rate, size, window, hop, _BANDS, floor=_FLOOR))  # [F, bands]
    edges = np.linspace(0, len(frames), _PARTS + 1)
    parts = [frames[int(first) : max(int(last), int(first) + 1)] for first, last in pairwise(edges)]
    return np.concatenate([part.mean(axis=0) for part in parts])
