"""Pairs of a pronouncing dictionary, spelling and phonemes: ``python -m egs.cmudict.g2p.dictionary FILE > pairs.tsv``.

Of the dictionary's lines ``word PH ON EMES`` comments (``# …``, ``;;; …``) and the numbers of further pronunciations
(``word(2)``) are left out. The file may be gzipped; spellings are in lower case.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_FURTHER = re.compile(r"\(\d+\)$")


def pairs(lines: Iterator[str]) -> Iterator[str]:
    """A line ``spelling<TAB>phonemes`` for each pronunciation."""
    for line in lines:
        told = line.split("#")[0].split()
        if len(told) > 1 and not told[0].startswith(";;;"):
            yield f"{_FURTHER.sub('', told[0]).lower()}\t{' '.join(told[1:])}\n"


def main(path: Path) -> None:
    """Write the pairs of a dictionary to standard output."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        sys.stdout.writelines(pairs(iter(lines)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
