"""A data directory as one recording: ``python -m egs.fsdd.lossless.joined data/fsdd/test test.wav``."""

from __future__ import annotations

import sys
from pathlib import Path

from seqgen.audio import io
from seqgen.data.directory import DataDir


def main(directory: Path, out: Path) -> None:
    """Write them one after the other, in the order of their ids."""
    data = DataDir.load(directory)
    pieces = (io.read(one.path, start=one.start, count=one.samples)[0] for one in data)
    io.write_blocks(out, pieces, data.sample_rate)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
