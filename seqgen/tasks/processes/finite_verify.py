"""The laws of finite targets as library code, to be run over every registered one."""

from __future__ import annotations

import math

import numpy as np

from seqgen import noise
from seqgen.tasks.processes.finite_targets import Target
from seqgen.tasks.processes.hidden_markov import every_sequence

_DRAWS = 400  # for each block that can be drawn
_EXACT = 1e-9


def verify(target: Target) -> None:
    """Every law of a target whose blocks can be gone through: its mass is 1, its entropy and marginals are those of its
    probabilities, and it is drawn as often as it is scored.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    every = every_sequence(target.vocab_size, target.length)
    log_p = target.log_prob(every)
    p = np.exp(log_p)
    assert abs(p.sum() - 1) <= _EXACT, f"the mass of all blocks is {p.sum()}"
    expected = float(-(p[p > 0] * log_p[p > 0]).sum())
    assert abs(target.entropy - expected) <= _EXACT * max(1, expected), (
        f"the entropy is {target.entropy}, not {expected}"
    )
    for place, row in enumerate(target.marginals):
        found = np.bincount(every[:, place], weights=p, minlength=target.vocab_size)
        assert np.abs(found - row).max() <= _EXACT, f"the marginals of position {place} are {row}, not {found}"
    count = _DRAWS * int((p > 0).sum())
    u = noise.uniforms(1, 0, np.arange(count * target.num_uniforms)).reshape(count, -1)
    drawn = target.draw(u)
    assert drawn.shape == (count, target.length), f"{count} blocks are {drawn.shape}"
    numbers = drawn @ target.vocab_size ** np.arange(target.length - 1, -1, -1, dtype=np.int64)
    often = np.bincount(numbers, minlength=len(every)) / count
    apart = 0.5 * float(np.abs(often - p).sum())  # about half of √(2 / π) of what independent draws have at most
    assert apart <= 0.5 / math.sqrt(_DRAWS), f"what is drawn is {apart:.4f} away from what is scored"
