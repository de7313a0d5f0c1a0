"""Pictures as texts of binary pixels: ``python -m egs.images.professor_forcing.pictures ARCHIVE OUT SIDE TRAIN TEST``.

The first TRAIN of ``x_train`` become OUT/train, the last 500 of it OUT/valid, the first TEST of ``x_test`` OUT/test: a
file of SIDE × SIDE characters 0 and 1 for each, row by row. A pixel is 1 where the mean of its part of the picture is
above a half.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

_VALID = 500


def binary(pictures: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.bool_]:
    """Pixels of smaller pictures: ``[N, 28, 28] → [N, side, side]``.

    Raises:
        ValueError: for a side that does not divide that of the pictures.
    """
    block, rest = divmod(pictures.shape[1], side)
    if rest:
        raise ValueError(f"a side of {side} does not divide {pictures.shape[1]}; give 7, 14 or 28")
    blocks = pictures.reshape(len(pictures), side, block, side, block)
    return np.asarray(blocks.mean(axis=(2, 4)) > 127.5)


def main(archive: Path, out: Path, side: int, train: int, test: int) -> None:
    """Write the files."""
    with np.load(archive) as arrays:
        learnt, held = arrays["x_train"], arrays["x_test"]
    for name, pictures in (("train", learnt[:train]), ("valid", learnt[-_VALID:]), ("test", held[:test])):
        (out / name).mkdir(parents=True, exist_ok=True)
        characters = binary(pictures, side).reshape(len(pictures), -1).astype(np.uint8) + ord("0")
        for index, one in enumerate(characters):
            (out / name / f"{index:05d}").write_bytes(one.tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:6]))
