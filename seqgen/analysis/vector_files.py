"""Files of vectors of examples, one pair for each: what encoders make of it, its label, and its signal in short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.analysis.linear_probe import Examples
from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing

LABEL, SIGNAL = "label", "signal"
"""Files of what is known of the examples; others are of what encoders make of them."""


class VectorFiles:
    """Writer of vectors of examples, ``NAME.npy [examples, dimensions]`` float32, training examples first and in the
    same order in each file.

    A row of a table is written under the last part of its name. ``label.npy`` has one-hots of the labels, in their
    order, ``signal.npy`` the signals in short: as that is a function of the signal, what vectors tell of it is at most
    what they tell of the signal.

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

    def write_known(self, labels: npt.NDArray[np.str_], signals: npt.NDArray[np.float32]) -> None:
        """Write what is known of the examples: their labels ``[N]``, and their signals in short ``[N, S]``."""
        self._save(LABEL, (labels[:, None] == np.unique(labels)).astype(np.float32))
        self._save(SIGNAL, signals)

    def _save(self, stem: str, array: npt.NDArray[np.float32]) -> None:
        from numpy.lib import format as npy

        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{stem}.npy") as file:
            npy.write_array(file, np.ascontiguousarray(array, np.float32))
