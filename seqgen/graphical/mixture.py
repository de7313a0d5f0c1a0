"""Block mean field for a mixture of Gaussians whose points are known by Gaussian potentials only.

    p(z = k) = π_k,   p(x | z = k) = N(µ_k, Σ_k),   evidence ψ(x) for each point;   q(z) q(x) maximises

    L̂ = E_q[ln p(z) + ln p(x | z) + ψ(x)] + H(q(z)) + H(q(x)) ≤ ln Σ_z ∫ p(z) p(x | z) e^{ψ(x)} dx

    η_x = ψ + Σ_k r_k η_k,        r = softmax_k( E ln π_k + <E t(x), η_k> )

Each of the two updates is the best one given the other, so that L̂ never falls. Parameters enter by expectations of the
log-densities, η_k of the components and E ln π.

Source: Johnson et al., arXiv 1603.06277, section 4.2 and the released code (gmm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.graphical.exponential_family import Statistics, averaged
from seqgen.graphical.gaussian import GaussianFactor


class MixturePosterior(NamedTuple):
    """Local posterior ``q(z) q(x)`` of N points under a mixture of K components.

    Attributes:
        responsibilities: q(z), ``[N, K]``. points: q(x), factors ``[N]``. kl: ``KL(q(z) q(x) ‖ p(z, x))`` of each
            point, in the mean over the parameters, ``[N]``.
    """

    responsibilities: Tensor
    points: GaussianFactor
    kl: Tensor

    def bound(self, potentials: GaussianFactor) -> Tensor:
        """L̂ of each point in nats, ``E ψ(x) - KL``, ``[N]``."""
        return potentials.inner(self.points.expected()) - self.kl

    def statistics(self) -> tuple[Tensor, Statistics]:
        """Counts ``[K]`` of the components, and sums ``Σ_n r_nk (x x^T, x, 1)`` of their points, ``[K, …]``."""
        r = self.responsibilities
        return r.sum(dim=0), averaged(self.points.expected(), r, GaussianFactor.ranks)


@dataclass(frozen=True)
class GaussianMixture:
    """Mixture of K Gaussians of n dimensions, by expectations of its log-densities.

    Attributes:
        log_weights: E ln π, ``[K]``. components: ``E ln N(x; µ_k, Σ_k)`` as factors, ``[K]``.
    """

    log_weights: Tensor
    components: GaussianFactor

    def joint(self, potentials: GaussianFactor) -> Tensor:
        """``ln ∫ p(z) p(x | z) e^{ψ(x)} dx`` of each point and component, ``[N] → [N, K]``: with known parameters their
        softmax is the exact ``p(z | ψ)``, with expected ones where to begin from."""
        spread = GaussianFactor(*(each[:, None] for each in potentials.natural))
        return self.log_weights + (spread + self.components).log_normaliser()

    def points(self, responsibilities: Tensor, potentials: GaussianFactor) -> GaussianFactor:
        """Best q(x) for q(z): ``[N, K]`` and potentials ``[N] → [N]``."""
        return potentials + self.components.mixed(responsibilities)

    def scores(self, statistics: Statistics) -> Tensor:
        """``E ln π_k + <E t(x), η_k>`` of each point and component, from statistics of points ``[N, …]``, ``[N, K]``;
        their softmax is the best q(z)."""
        spread = tuple(statistic[:, None] for statistic in statistics)  # [N, 1, ...]
        return self.log_weights + self.components.inner(spread)

    def step(self, responsibilities: Tensor, potentials: GaussianFactor) -> MixturePosterior:
        """One sweep of updates, of q(x) and then of q(z), and the divergence of what they give."""
        points = self.points(responsibilities, potentials)
        statistics, log_normaliser = points.inferred()
        scores = self.scores(statistics)
        # KL = <η_x, E t> - log Z(η_x) + Σ_k r_k (ln r_k - score_k), whose last sum is -logsumexp of the scores.
        negentropy = points.inner(statistics) - log_normaliser
        return MixturePosterior(scores.softmax(dim=-1), points, negentropy - torch.logsumexp(scores, dim=-1))

    def fit(
        self, potentials: GaussianFactor, responsibilities: Tensor, *, tolerance: float = 1e-3, sweeps: int = 100
    ) -> MixturePosterior:
        """Local posterior at a fixed point of the updates, from responsibilities ``[N, K]``.

        The fixed point is looked for without gradients, until the total divergence changes by less than ``tolerance``
        or ``sweeps`` are over; the last sweep is differentiable by potentials and parameters.
        """
        with torch.no_grad():
            before = None
            for _ in range(sweeps):
                made = self.step(responsibilities, potentials)
                responsibilities, total = made.responsibilities, made.kl.sum()
                if before is not None and (total - before).abs() < tolerance:
                    break
                before = total
        return self.step(responsibilities, potentials)
