"""The score-function gradient of a bound, with baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior
from seqgen.variational.contract import (
    Bound,
    Evidence,
    GradientEstimator,
    RateControl,
    require_one_distribution,
    with_value,
)


class ScoreFunction(GradientEstimator):
    """Score-function gradient (REINFORCE): samples pass no gradient, their probabilities do,

        ∇_φ bound = E Σ_s (r_s - b_s) ∇_φ ln q(z_s | x) + ∂ bound

    with r_s what the bound rewards the sample with, and ∂ the gradient by all that stands beside the samples.
    Baselines:

        none            b = 0
        running         b = mean of earlier batches' rewards of a row
        leave-one-out   b_s = the mean of the other samples' rewards; needs two samples or more

    Of the importance-weighted bound the reward of a sample is the bound itself; with ``leave-one-out`` less the bound
    of the other samples, in which the sample's weight is their geometric mean (VIMCO).

    Source: Williams 1992; Mnih and Rezende, "Variational inference for Monte Carlo objectives", arXiv 1602.06725.
    """

    detaches = True

    @dataclass(frozen=True)
    class Config:
        """``baseline``: what rewards are compared with. ``rate``: share of the last batch in a running one."""

        baseline: Literal["none", "running", "leave-one-out"] = "leave-one-out"
        rate: float = 0.1

    mean: Tensor
    updates: Tensor

    def __init__(self, config: Config) -> None:
        if not 0 < config.rate <= 1:
            raise SeqgenError(f"a running mean of rate {config.rate}", remedy="give a share above 0, at most 1")
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("updates", torch.zeros(()))

    def surrogate(self, bound: Bound, evidence: Evidence, control: RateControl) -> Tensor:
        log_q = evidence.sampled_posterior.sum(dim=-1)  # [S, B]
        advantage = bound.signal(evidence, control) - self._baseline(bound, evidence, control)
        value = bound.loss(evidence, control)
        return with_value(value - (advantage.detach() * log_q).sum(dim=0), value)

    def require_fit(self, posterior: Posterior, bound: Bound) -> None:
        """Refuse families whose samples have no probabilities, or are of several distributions.

        Raises:
            SeqgenError: naming another estimator.
        """
        if not posterior.scored:
            raise SeqgenError(
                "objective.gradient: the score function needs probabilities of samples, the posterior has none",
                remedy="choose the gradient 'pathwise'",
            )
        require_one_distribution(posterior)

    def noted(self, bound: Bound, evidence: Evidence, control: RateControl) -> dict[str, Tensor]:
        return {"rewards": bound.signal(evidence, control).sum()}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        self.updates += 1
        share = (1 / self.updates).clamp_min(self.config.rate)
        self.mean.lerp_((noted["rewards"] / noted["rows"].clamp_min(1)).to(self.mean.dtype), share)

    def _baseline(self, bound: Bound, evidence: Evidence, control: RateControl) -> Tensor:
        rewards, samples = bound.signal(evidence, control), len(evidence.log_shares)  # [S, B]
        if self.config.baseline == "none":
            return torch.zeros_like(rewards)
        if self.config.baseline == "running":
            return (self.mean / samples).expand_as(rewards)
        if samples < 2:
            raise SeqgenError(
                "objective.gradient: one sample has no others to be compared with",
                remedy="set objective.samples to 2 or more, or the baseline to running",
            )
        if bound.sampled:
            return _others_bound(evidence.log_weights(control.weight()).detach())
        return (rewards.sum(dim=0) - rewards) / (samples - 1)


def _others_bound(log_weights: Tensor) -> Tensor:
    """Importance-weighted bound without each sample, whose weight is the others' geometric mean: ``[S, B]``."""
    samples = len(log_weights)
    mean = (log_weights.sum(dim=0) - log_weights) / (samples - 1)  # [S, B]
    own = torch.eye(samples, dtype=torch.bool, device=log_weights.device)[..., None]  # [S, S, 1]
    replaced = torch.where(own, mean[:, None], log_weights[None])  # [S, S, B]
    return torch.logsumexp(replaced, dim=1) - torch.log(torch.tensor(float(samples)))
