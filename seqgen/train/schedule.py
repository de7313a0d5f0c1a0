"""Learning rates as pure functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from seqgen.train.settings import TrainConfig


def learning_rate(settings: TrainConfig, step: int, peak: float | None = None) -> float:
    """Rate of the update that follows ``step`` finished updates (``0 <= step < settings.steps``).

    With peak rate a (that of the settings unless another is given), warm-up W and N steps, for t = step + 1 (so the
    first update has a rate above 0):

        t <= W:        a · t / W
        constant:      a
        cosine:        a · (1 + cos(π (t - 1 - W) / (N - W))) / 2
        inverse-sqrt:  a · sqrt(max(W, 1) / t)

    Source: cosine, Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5 without restarts; inverse square root,
    Vaswani et al., "Attention is all you need", 2017, equation 3 written with its peak.

    Example:
        >>> learning_rate(TrainConfig(steps=10, learning_rate=1.0, warmup=4), 1)
        0.5
    """
    peak = settings.learning_rate if peak is None else peak
    warmup, update = settings.warmup, step + 1
    if update <= warmup:
        return peak * update / warmup
    if settings.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(settings.steps - warmup, 1)))
    if settings.schedule == "inverse-sqrt":
        return peak * math.sqrt(max(warmup, 1) / update)
    return peak


def depends_on_length(settings: TrainConfig) -> bool:
    """Test of a schedule for rates on the way that depend on how many steps there are in all."""
    return settings.schedule == "cosine"
