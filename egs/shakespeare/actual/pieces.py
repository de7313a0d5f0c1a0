"""One text in four parts: ``python -m egs.shakespeare.actual.pieces TEXT OUT``.

OUT/train.txt has the first 45 % of its bytes, OUT/valid.txt and OUT/test.txt 5 % each, OUT/judge.txt the rest.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

NAMES, ENDS = ("train", "valid", "test", "judge"), (0, 45, 50, 55, 100)


def main(text: Path, out: Path) -> None:
    """Write the parts."""
    data = text.read_bytes()
    out.mkdir(parents=True, exist_ok=True)
    for name, (start, end) in zip(NAMES, pairwise(len(data) * percent // 100 for percent in ENDS), strict=True):
        (out / f"{name}.txt").write_bytes(data[start:end])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
