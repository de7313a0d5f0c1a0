"""The contract of a conditional density: a critic that says how y is distributed, given x."""

from __future__ import annotations

from seqgen.models.critic import Critic


class ConditionalDensity(Critic):
    """A critic whose scores are the logarithms of a density of y, in nats:

        F[i, j] = ln q(y_i | x_j),    ∫ q(y | x) dy = 1

    Attributes:
        known: whether y was drawn by it, as the user says; then nothing of it is learnt.
    """

    known: bool = False
