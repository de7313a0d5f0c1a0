"""The pathwise gradient of a bound."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior
from seqgen.variational.contract import Bound, GradientEstimator


class Pathwise(GradientEstimator):
    """Pathwise gradient: the total derivative of the bound's own value, through samples and probabilities alike.

    Of a relaxed or straight-through sample it is what the relaxation makes of it.

    Source: Kingma and Welling, arXiv 1312.6114, section 2.4 (the reparameterisation).
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the estimator: none."""

    def __init__(self, config: Config) -> None:
        super().__init__()

    def require_fit(self, posterior: Posterior, bound: Bound) -> None:
        """Refuse symbols that pass no gradient.

        Raises:
            SeqgenError: naming what passes one.
        """
        if not posterior.differentiable:
            raise SeqgenError(
                "objective.gradient: no gradient passes through symbols that are drawn as they are",
                remedy="set the posterior's straight_through, relax it, or choose the gradient 'score-function'",
            )
