"""The rate taken apart: index-code information, total correlation and what is left number by number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.latents.contract import GaussianMarginals
from seqgen.latents.gaussian import normal_log_prob
from seqgen.variational.contract import Evidence, RateControl

Estimate = Literal["stratified", "weighted"]


class RateParts(NamedTuple):
    """Parts of the rate, of each row ``[B]`` nats; they add up to ``ln q(z | x) - ln p(z)``.

    Attributes:
        information: between the code and which example it is of. total_correlation: between the numbers of the code.
        dimensions: of each number's distribution from the prior.
    """

    information: Tensor
    total_correlation: Tensor
    dimensions: Tensor


class TotalCorrelation(RateControl):
    """Distortion plus the three parts of the rate, each with its own weight:

        D + α I(z; n) + β KL(q(z) ‖ Π_k q(z_k)) + γ Σ_k KL(q(z_k) ‖ p(z_k)),    q(z) = 1/N Σ_n q(z | x_n)

    With equal weights it is the evidence lower bound of one sample, with ``beta`` alone larger β-TCVAE. The aggregated
    posterior q(z) of all N training examples is estimated from the other codes of the batch:

        weighted    ln q(z_i) ≈ ln Σ_j q(z_i | x_j) - ln (N B)
        stratified  q(z_i) ≈ 1/N q(z_i | x_i) + Σ_{j≠i} w_j q(z_i | x_j)
                    w_j = 1/M, for one of them (N - M) / (N M), M = B - 1

    The first is off by constants, the second right in the mean (before the logarithm). All positions of a code count as
    one vector. Terms: ``information``, ``total_correlation``, ``dimensions``.

    Raises:
        SeqgenError: for negative weights; with a batch for posteriors that are not normal and independent, for fewer
            than two rows, and for a training set without end.

    Source: Chen et al., "Isolating sources of disentanglement in variational autoencoders", arXiv 1802.04942. Where the
    own row and the one of another weight stand in the stratified estimate is worked out from the formula.
    """

    couples_rows = True
    sampled = True

    @dataclass(frozen=True)
    class Config:
        """Weights of the parts, and how q(z) is estimated."""

        alpha: float = 1.0
        beta: float = 6.0
        gamma: float = 1.0
        estimate: Estimate = "stratified"

    @classmethod
    def examples(cls) -> Iterable[TotalCorrelation]:
        return [cls(cls.Config()), cls(cls.Config(estimate="weighted"))]

    def __init__(self, config: Config) -> None:
        if min(config.alpha, config.beta, config.gamma) < 0:
            raise SeqgenError(f"weights of the rate's parts of {config}", remedy="give 0 or more")
        super().__init__()
        self.config = config

    def loss(self, evidence: Evidence) -> Tensor:
        parts, weights = self.parts(evidence), self.config
        of_rate = weights.alpha * parts.information + weights.beta * parts.total_correlation
        return evidence.distortion + of_rate + weights.gamma * parts.dimensions

    def terms(self, evidence: Evidence) -> dict[str, Tensor]:
        return {name: value.detach().mean() for name, value in self.parts(evidence)._asdict().items()}

    def parts(self, evidence: Evidence) -> RateParts:
        """The parts of the rate of each row, in the mean over samples."""
        marginals = evidence.posterior.marginals(evidence.params)
        rows = len(evidence.params)
        if not isinstance(marginals, GaussianMarginals):
            raise SeqgenError(
                "objective.rate: the distribution of single numbers of a code is asked for",
                remedy="take the posterior 'gaussian'",
            )
        if rows < 2 or evidence.examples < rows:
            raise SeqgenError(
                f"objective.rate: q(z) of {evidence.examples} examples is to be told from a batch of {rows}",
                remedy="give batches of two or more, at most the training set, and data that are stored",
            )
        each = [
            _parts(z, marginals, prior, own, evidence.examples, self.config.estimate)
            for z, prior, own in zip(
                evidence.z, evidence.sampled_prior.sum(-1), evidence.sampled_posterior.sum(-1), strict=True
            )
        ]
        shares = evidence.shares
        return RateParts(*((shares * torch.stack(part)).sum(dim=0) for part in zip(*each, strict=True)))


def _parts(
    z: Tensor, marginals: GaussianMarginals, log_prior: Tensor, log_own: Tensor, examples: int, estimate: Estimate
) -> RateParts:
    """Parts of the rate of one sample of each row, ``z [B, N, D]``."""
    flat, mean, scale = z.flatten(1), marginals.mean.flatten(1), marginals.scale.flatten(1)  # [B, K]
    pairs = normal_log_prob(flat[:, None], mean[None], scale[None])  # [B, B, K], of code i under row j's posterior
    weights = log_weights(len(z), examples, estimate).to(pairs)  # [B, B]
    together = torch.logsumexp(weights + pairs.sum(dim=-1), dim=1)  # [B], ln q(z)
    apart = torch.logsumexp(weights[..., None] + pairs, dim=1).sum(dim=-1)  # [B], Σ_k ln q(z_k)
    return RateParts(log_own - together, together - apart, apart - log_prior)


def log_weights(rows: int, examples: int, estimate: Estimate) -> Tensor:
    """Logarithms of what each row's posterior counts in the estimate of q at each code, ``[rows, rows]``.

    Example:
        >>> log_weights(3, 6, "stratified").exp().sum(dim=1)
        tensor([1.0000, 1.0000, 1.0000])
    """
    if estimate == "weighted":
        return torch.full((rows, rows), -math.log(examples * rows))
    others = rows - 1
    weights = torch.full((rows, rows), 1 / others)
    weights.fill_diagonal_(1 / examples)
    row = torch.arange(rows)
    weights[row, (row + 1) % rows] = (examples - others) / (examples * others)
    return weights.log()
