"""Pictures as raw bytes: ``python -m egs.mnist.lossless.pictures mnist.npz OUT TRAIN TEST``.

The first TRAIN of ``x_train`` become OUT/train, the last 200 of it OUT/valid, the first TEST of ``x_test`` OUT/test, a
file of pixels each; OUT/test.raw has those of the test one after the other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

_VALID = 200


def main(archive: Path, out: Path, train: int, test: int) -> None:
    """Write the files."""
    with np.load(archive) as arrays:
        learnt, held = arrays["x_train"], arrays["x_test"][:test]
    for name, pictures in (("train", learnt[:train]), ("valid", learnt[-_VALID:]), ("test", held)):
        (out / name).mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(pictures):
            (out / name / f"{index:05d}").write_bytes(picture.tobytes())
    (out / "test.raw").write_bytes(held.tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
