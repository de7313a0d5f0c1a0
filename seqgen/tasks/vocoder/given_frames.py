"""Frames that a vocoder is given in place of its recordings' own: what an acoustic model makes of them, and whose sound
it is to learn."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.audio.features import load_features
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

Floats = npt.NDArray[np.float32]


class GivenFrames:
    """Frames of utterances by their ids, files ``ID.safetensors`` of one folder, read when they are asked for and kept.

    Args:
        folder: of the files. spec: what the frames have to be.

    Raises:
        SeqgenError: for a folder that is not there; on use for one that lacks an utterance, for frames of another
            definition, and for another number of them than the recording has.
    """

    def __init__(self, folder: Path, spec: FeatureSpec) -> None:
        if not folder.is_dir():
            raise SeqgenError(
                f"{folder}: no folder of frames", remedy="make it with `seqgen sample RUN DATA -o FOLDER`"
            )
        self.folder, self.spec = folder, spec
        self._kept: dict[str, Floats] = {}

    def of(self, name: str, count: int) -> Floats:
        """Frames ``[F, bands]`` of an utterance that has so many."""
        if name not in self._kept:
            made, _ = load_features(self.folder / f"{name}.safetensors", self.spec)
            if len(made) != count:
                raise SeqgenError(
                    f"{self.folder}: '{name}' has {len(made)} frames, its recording {count}",
                    remedy="make them of the same data directory",
                )
            self._kept[name] = made
        return self._kept[name]

    def stretch(self, name: str, count: int, first: int, last: int) -> Floats:
        """Frames ``first … last - 1`` of an utterance of so many, silence outside it."""
        made = np.full((last - first, self.spec.bands), self.spec.silence, np.float32)
        start, stop = max(first, 0), min(last, count)
        if start < stop:
            made[start - first : stop - first] = self.of(name, count)[start:stop]
        return made


def frames_digest(folder: Path) -> str:
    """16 hexadecimal digits of all files of frames below a folder, by their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*/*.safetensors")):
        whole.update(f"{path.parent.name}/{path.name}".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]
