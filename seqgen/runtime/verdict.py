"""Verdict of a replay of golden vectors, and how far two correct programs may differ."""

from __future__ import annotations

from dataclasses import dataclass

# Parameters of two correct runtimes differ by rounding alone: about 1e-6 for float32 sums of a few hundred terms. The
# edges between drawn values move as much, so about one draw in 20,000 of a flat distribution over 256 values may flip.
PARAMS_TOLERANCE = 1e-4
FLIP_BOUND = 1e-5
# Real-valued distributions draw numbers that move with their parameters.
REAL_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Verdict:
    """Verdict of a replay of golden vectors.

    Attributes:
        runtime: which one.
        params_error: largest difference of the distributions' parameters, relative to the largest of them.
        flips: streams that left the golden one at an element whose uniform number lies within ``FLIP_BOUND`` of the
            edge between two values, where the rounding of two correct programs may decide differently; what is made
            after it is another stream of the same distribution.
        unexplained: streams that left it anywhere else: a mistake.
        chunked: whether the runtime makes the very same elements in two chunks as in one; those of a voice that reads
            nothing of what it drew may differ by ``REAL_TOLERANCE`` of their mean, or of 1 where that is less, for a
            matrix product's roundings depend on how many rows it has.
    """

    runtime: str
    params_error: float
    flips: int
    unexplained: int
    chunked: bool

    @property
    def ok(self) -> bool:
        """Test that the runtime may be trusted with this bundle."""
        return self.params_error <= PARAMS_TOLERANCE and self.unexplained == 0 and self.chunked

    def __str__(self) -> str:
        streams = "the same streams" if not self.flips else f"{self.flips} stream(s) flipped by rounding"
        return f"parameters within {self.params_error:.1e}, {streams}, {self.unexplained} unexplained differences"
