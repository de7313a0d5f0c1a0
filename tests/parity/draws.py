"""Two runs that should have drawn the same bytes: equal, or parted where rounding alone may part them.

A byte is the number of cumulative probabilities that lie at or below its uniform. Two correct runtimes compute those
with logits that differ by at most about 1e-5 relative (sums of a few hundred float32 terms), which moves a cumulative
probability by at most 2e-5, and sum 256 terms of 2^-24 rounding each, 1.5e-5 at the very worst: together less than
``BOUND``. So a first difference is excused only where every boundary between the two bytes lies within ``BOUND`` of
the uniform. In practice errors are near 1e-7; a flat distribution has 255 boundaries, so about one draw in 10^5 lies
so close to one of them that rounding decides.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BOUND = 4e-5


def parted_rows(
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    params: npt.NDArray[np.float32],
    uniforms: npt.NDArray[np.float32],
) -> int:
    """How many rows part; every parting must be one that rounding explains.

    Shapes: elements ``[B, T]`` twice, the distributions ``[B, T, 256]`` of ``first``, ``[B, T]``.
    """
    parted = 0
    for row in range(first.shape[0]):
        different = np.flatnonzero(first[row] != second[row])
        if len(different) == 0:
            continue
        t = different[0]
        logits = params[row, t].astype(np.float64)
        p = np.exp(logits - logits.max())
        cumulative = np.cumsum(p / p.sum())
        low, high = sorted((int(first[row, t]), int(second[row, t])))
        distance = np.abs(cumulative[low:high] - uniforms[row, t]).max()
        assert distance <= BOUND, f"row {row} parts at {t}: {low} or {high}, {distance:.2g} from the boundary"
        parted += 1
    return parted
