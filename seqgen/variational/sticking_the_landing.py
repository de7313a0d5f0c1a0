"""The path derivative of a bound: sticking the landing."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior
from seqgen.variational.contract import Bound, GradientEstimator


class StickingTheLanding(GradientEstimator):
    """Path derivative of the evidence lower bound, with ``z = t(ε, φ)``:

        ∇_φ [ln p(x, z) - ln q_sg(φ)(z | x)],    the score ``∇_φ ln q_φ(z | x)`` at a fixed z left out

    Its expectation is zero, so that the gradient is unbiased for one sample, and where q is the posterior every
    sample's gradient is zero. Of a bound of several samples it is biased (Tucker et al., arXiv 1810.04152).

    Source: Roeder, Wu and Duvenaud, "Sticking the landing", arXiv 1703.09194.
    """

    stops = True
    sampled = True

    @dataclass(frozen=True)
    class Config:
        """Options of the estimator: none."""

    def __init__(self, config: Config) -> None:
        super().__init__()

    def require_fit(self, posterior: Posterior, bound: Bound) -> None:
        """Refuse symbols, through which there is no path.

        Raises:
            SeqgenError: naming another estimator.
        """
        if posterior.discrete:
            raise SeqgenError(
                "objective.gradient: there is no path through symbols", remedy="choose the gradient 'score-function'"
            )
