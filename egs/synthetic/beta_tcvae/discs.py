"""Pictures of discs whose place and size are known, every one of them: 16 columns x 16 rows x 4 sizes.

python -m egs.synthetic.beta_tcvae.discs OUT [SIDE] [SIZES]
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

from seqgen.pictures.directory import SPLITS, PictureFacts, PictureSet, write


def discs(side: int, sizes: int) -> PictureSet:
    """Every disc: radii from 1.5 pixels on in steps of one; what lies beyond the edge is not seen."""
    rows, columns = np.mgrid[:side, :side]
    factors = np.array(list(itertools.product(range(side), range(side), range(sizes))))
    away = (columns - factors[:, 0, None, None]) ** 2 + (rows - factors[:, 1, None, None]) ** 2
    x = (away <= (factors[:, 2, None, None] + 1.5) ** 2).astype(np.uint8)[:, None]  # [N, 1, H, W]
    return PictureSet(x, tuple("-".join(map(str, one)) for one in factors), factors=factors)


if __name__ == "__main__":
    side, sizes = (int(word) for word in (sys.argv[2:4] or ("16", "4")))
    every = discs(side, sizes)
    facts = PictureFacts((1, side, side), 2, factors=("column", "row", "size"))
    # The parts of the rate are those of the whole set, so that all of it is learnt and judged.
    write(Path(sys.argv[1]), facts, dict.fromkeys(SPLITS, every))
