"""The doubly reparameterised gradient of the importance-weighted bound."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior
from seqgen.variational.contract import Bound, Evidence, GradientEstimator, RateControl, require_one_distribution


class DoublyReparameterised(GradientEstimator):
    """Doubly reparameterised gradient (DReG) of the importance-weighted bound, with ``z_s = t(ε_s, φ)``:

        ∇_φ bound = E Σ_s v_s² ∂ln w_s/∂z_s ∂z_s/∂φ,    v_s = w_s / Σ_r w_r

    The score ``∇_φ ln q_φ(z_s | x)`` at a fixed sample, whose factor is v_s, is turned into a path derivative itself.
    The gradient is unbiased for any number of samples, and where q is the posterior every sample's is zero. With a
    weight β of the rate inside of ``ln w`` the factor of the path derivative is ``v_s (1 - β + β v_s)``, not ``v_s²``.

    All other parameters, those of the decoder and the prior, keep the factor v_s.

    Source: Tucker, Lawson, Gu and Maddison, "Doubly reparameterized gradient estimators for Monte Carlo objectives",
    arXiv 1810.04152, the estimator IWAE-DReG.
    """

    stops = True
    reweights = True
    sampled = True

    @dataclass(frozen=True)
    class Config:
        """Options of the estimator: none."""

    def __init__(self, config: Config) -> None:
        super().__init__()

    def factors(self, bound: Bound, evidence: Evidence, control: RateControl) -> Tensor:
        """``1 - β + β v_s``: the bound's own gradient brings one v_s along."""
        beta = control.weight()
        return 1 - beta + beta * bound.weights(evidence, control)

    def require_fit(self, posterior: Posterior, bound: Bound) -> None:
        """Refuse symbols, through which there is no path, samples of several distributions, and bounds that do not
        weigh samples by ``w``.

        Raises:
            SeqgenError: naming another estimator.
        """
        if posterior.discrete:
            raise SeqgenError(
                "objective.gradient: there is no path through symbols", remedy="choose the gradient 'score-function'"
            )
        require_one_distribution(posterior)
        if not bound.sampled:
            raise SeqgenError(
                "objective.gradient: samples of the evidence lower bound are not weighed, so that there is no weight to"
                " reparameterise",
                remedy="choose the gradient 'sticking-the-landing', or the bound 'importance-weighted'",
            )
