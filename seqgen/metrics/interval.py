"""Half widths of 95 % intervals of a mean over few or many independent values."""

from __future__ import annotations

import math

from scipy.special import stdtrit


def quantile_95(values: int) -> float:
    """Half of the 95 % interval of a mean over so many values, in deviations of that mean: Student's quantile with one
    degree of freedom less, 12.7 of two values and 1.96 of very many; NaN of fewer than two.

    Example:
        >>> round(quantile_95(5), 2)
        2.78
    """
    return float(stdtrit(values - 1, 0.975)) if values > 1 else math.nan
