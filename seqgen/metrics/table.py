"""All distances of one utterance, and their mean over a test set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.audio.pitch import harvest
from seqgen.metrics import intelligibility, pitch, spectral
from seqgen.metrics.intelligibility import stoi
from seqgen.metrics.interval import quantile_95
from seqgen.metrics.pitch import f0_errors
from seqgen.metrics.spectral import log_spectral_distance, mcd

UNITS = {
    "mcd": "dB",
    "log_spectral_distance": "dB",
    "log_f0_rmse": "nats",
    "vuv_error": "share of frames",
    "log_f0_rmse_harvest": "nats",
    "vuv_error_harvest": "share of frames",
    "stoi": "0 to 1",
}
"""Name of each value in :func:`evaluate_pair` and its unit; only for ``stoi`` is more better. Pitch is tracked
twice, by pYIN and by Harvest."""
SHORTEST = {
    "mcd": spectral.SHORTEST,
    "log_spectral_distance": spectral.SHORTEST,
    "log_f0_rmse": pitch.SHORTEST,
    "vuv_error": pitch.SHORTEST,
    "log_f0_rmse_harvest": pitch.SHORTEST,
    "vuv_error_harvest": pitch.SHORTEST,
    "stoi": intelligibility.SHORTEST,
}
"""Seconds of the shortest utterance that each value is defined for; a shorter one is left out of it."""


def undefined(samples: int, rate: int) -> list[str]:
    """Names of the values that an utterance of so many samples is too short for.

    Example:
        >>> undefined(samples=240, rate=8000)
        ['log_f0_rmse', 'vuv_error']
    """
    return [name for name, seconds in SHORTEST.items() if samples < seconds * rate]


def evaluate_pair(reference: npt.NDArray[Any], synthetic: npt.NDArray[Any], rate: int) -> dict[str, float]:
    """Every metric of one utterance, under the names of ``UNITS``.

    Args:
        reference, synthetic: ``[N]``; the longer is trimmed. rate: Hz.

    Returns:
        Values; NaN where one is undefined (a reference that is silence only or too short, no common voiced frame).

    Raises:
        SeqgenError: for NaN, infinity or 0 samples.
    """
    f0, other = f0_errors(reference, synthetic, rate), f0_errors(reference, synthetic, rate, harvest)
    values = {
        "mcd": mcd(reference, synthetic, rate),
        "log_spectral_distance": log_spectral_distance(reference, synthetic, rate),
        "log_f0_rmse": f0.log_f0_rmse,
        "vuv_error": f0.vuv_error,
        "log_f0_rmse_harvest": other.log_f0_rmse,
        "vuv_error_harvest": other.vuv_error,
        "stoi": stoi(reference, synthetic, rate),
    }
    return values | dict.fromkeys(undefined(min(len(reference), len(synthetic)), rate), math.nan)


class Summary(NamedTuple):
    """Mean over utterances: ``mean`` ± ``half_width`` (95 % confidence) of the ``utterances`` in which the value is
    defined."""

    mean: float
    half_width: float
    utterances: int

    def __str__(self) -> str:
        if not math.isfinite(self.mean):
            return "undefined"
        return f"{self.mean:.3f} ± {self.half_width:.3f}" if math.isfinite(self.half_width) else f"{self.mean:.3f}"


def summarise(rows: Sequence[Mapping[str, float]]) -> dict[str, Summary]:
    """Mean and 95 % confidence interval of each value, over utterances.

    ``mean ± t_{0.975, n-1} · s / √n``, leaving out NaN (``utterances`` says how many remain). The interval is NaN for
    fewer than two utterances, the mean for none.

    Example:
        >>> str(summarise([{"mcd": 4.0}, {"mcd": 5.0}, {"mcd": 6.0}])["mcd"])
        '5.000 ± 2.484'
    """
    out = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        values = np.array([row[name] for row in rows if not math.isnan(row.get(name, math.nan))])
        count = len(values)
        mean = float(values.mean()) if count else math.nan
        half = quantile_95(count) * float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
        out[name] = Summary(mean, half, count)
    return out
