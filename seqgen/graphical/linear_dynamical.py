"""Gaussian chains: exact inference in linear dynamical systems, whose evidence is a Gaussian potential on each frame.

    p(x) ∝ exp( initial(x_1) + Σ_t pair_t(x_t, x_{t+1}) + Σ_t node_t(x_t) )

is a Gaussian with a block-tridiagonal precision, D_t on its diagonal and ``-Λ_t`` beside it. The filter in information
form eliminates the states from the first to the last,

    P_t = D_t - Λ_{t-1}^T P_{t-1}^-1 Λ_{t-1},        g_t = h_t + Λ_{t-1}^T P_{t-1}^-1 g_{t-1}
    log Z = Σ_t ½ g_t^T P_t^-1 g_t - ½ ln|P_t| + constants

and what remains is ``x_t | x_{t+1} ~ N(P_t^-1 (g_t + Λ_t x_{t+1}), P_t^-1)``, by which smoother and sampler go back. A
frame that was not seen has a potential of zeros.

Source: Johnson et al., arXiv 1603.06277, section 4 and appendix; Rauch, Tung and Striebel, AIAA Journal 3 (8), 1965.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.graphical.exponential_family import Statistics
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.positive_definite import cholesky, inverse, log_det, outer, solve, whitened
from seqgen.graphical.transition import TransitionFactor


class GaussianMoments(NamedTuple):
    """Expected statistics of a Gaussian chain.

    Attributes:
        second: ``E x_t x_t^T``, ``[B, T, n, n]``. first: ``E x_t``, ``[B, T, n]``. across: ``E x_t x_{t+1}^T``,
            ``[B, T - 1, n, n]``.
    """

    second: Tensor
    first: Tensor
    across: Tensor

    @property
    def nodes(self) -> Statistics:
        """Statistics of every frame's factor, ``[B, T, …]``."""
        return self.second, self.first, torch.ones_like(self.first[..., 0])

    @property
    def initial(self) -> Statistics:
        """Statistics of the first frame's factor, ``[B, …]``."""
        return self.second[:, 0], self.first[:, 0], torch.ones_like(self.first[:, 0, 0])

    @property
    def pairs(self) -> Statistics:
        """Statistics of every transition's factor, ``[B, T - 1, …]``."""
        return self.second[:, :-1], self.across, self.second[:, 1:], torch.ones_like(self.across[..., 0, 0])


class _Eliminated(NamedTuple):
    """Conditionals ``x_t | x_{t+1} ~ N(offset_t + gain_t x_{t+1}, (L_t L_t^T)^-1)``, the last without a successor."""

    lower: Tensor  # L_t, [B, T, n, n]
    information: Tensor  # g_t, [B, T, n]
    offset: Tensor  # P_t^-1 g_t, [B, T, n]
    gain: Tensor  # P_t^-1 Λ_t, [B, T - 1, n, n]


@dataclass(frozen=True)
class GaussianChain:
    """Gaussian chain: a linear dynamical system over n-dimensional states together with its evidence.

    Attributes:
        initial: factor of the first state, ``[…]`` that broadcasts to ``[B]``.
        pairs: factor of each transition, ``[…]`` that broadcasts to ``[B, T - 1]``.
        nodes: evidence potential of each frame, ``[B, T]``; zeros where nothing was seen.

    Example:
        >>> chain = GaussianChain(GaussianFactor.of_standard(zeros, eye), TransitionFactor.of_standard(a, q), evidence)
        >>> chain.expected().first  # smoothed means, [B, T, n]
    """

    initial: GaussianFactor
    pairs: TransitionFactor
    nodes: GaussianFactor

    def log_normaliser(self) -> Tensor:
        """``log Z`` of each sequence, ``[B]``: of normalised factors the evidence's ``ln E_prior e^{nodes}``."""
        return self._log_normaliser(self._eliminated())

    def expected(self) -> GaussianMoments:
        """Smoothed statistics, which are the gradients of ``log_normaliser`` by the factors' natural parameters."""
        return self._moments(self._eliminated())

    def sample(self, normals: Tensor) -> Tensor:
        """Draws of whole sequences, a function of standard normals ``[…, B, T, n]``, backwards from the last frame."""
        made = self._eliminated()
        noise = whitened(made.lower, normals)  # [..., B, T, n]
        states = [made.offset[:, -1] + noise[..., -1, :]]
        for t in reversed(range(made.gain.shape[1])):
            after = (made.gain[:, t] @ states[-1][..., None])[..., 0]  # [..., B, n]
            states.append(made.offset[:, t] + after + noise[..., t, :])
        return torch.stack(states[::-1], dim=-2)

    def inferred(self) -> tuple[GaussianMoments, Tensor]:
        """Smoothed statistics and ``log Z [B]``, by one pass of the filter."""
        made = self._eliminated()
        return self._moments(made), self._log_normaliser(made)

    def kl(self) -> Tensor:
        """``KL(chain ‖ exp(initial + pairs)) = <nodes, E t> - log Z`` of each sequence, ``[B]``.

        Where ``initial`` and ``pairs`` are expectations of log-densities over their parameters, the divergence from the
        prior in the mean over them.
        """
        moments, log_normaliser = self.inferred()
        return self.nodes.inner(moments.nodes).sum(dim=-1) - log_normaliser

    def _eliminated(self) -> _Eliminated:
        batch, frames, n = self.nodes.linear.shape
        across = self.pairs.across.expand(batch, frames - 1, n, n)
        diagonal = self._diagonal()  # [B, T, n, n]
        lower, offset, information, gain = [], [], [], []
        precision, g = diagonal[:, 0], self.initial.linear + self.nodes.linear[:, 0]
        for t in range(frames):
            lower.append(cholesky(precision, of="precision of a linear dynamical system"))
            information.append(g)
            if t == frames - 1:
                offset.append(solve(lower[-1], g))
                break
            sides = torch.cat([across[:, t], g[..., None]], dim=-1)  # [B, n, n + 1]
            solved = torch.cholesky_solve(sides, lower[-1])
            message = across[:, t].mT @ solved
            gain.append(solved[..., :n])
            offset.append(solved[..., n])
            precision = diagonal[:, t + 1] - message[..., :n]
            g = self.nodes.linear[:, t + 1] + message[..., n]
        gains = torch.stack(gain, dim=1) if gain else across
        return _Eliminated(
            torch.stack(lower, dim=1), torch.stack(information, dim=1), torch.stack(offset, dim=1), gains
        )

    def _diagonal(self) -> Tensor:
        """D_t, blocks of the precision's diagonal, ``[B, T, n, n]``."""
        batch, frames, n = self.nodes.linear.shape
        pairs = (batch, frames - 1, n, n)
        none = self.nodes.quadratic.new_zeros(batch, 1, n, n)
        before = torch.cat([self.pairs.before.expand(pairs), none], dim=1)
        first = self.initial.quadratic.expand(batch, n, n)[:, None]
        after = torch.cat([first, self.pairs.after.expand(pairs)], dim=1)
        total = self.nodes.quadratic + before + after
        return -(total + total.mT)

    def _log_normaliser(self, made: _Eliminated) -> Tensor:
        batch, frames, _ = self.nodes.linear.shape
        each = 0.5 * (made.information * made.offset).sum(dim=-1) - 0.5 * log_det(made.lower)  # [B, T]
        pairs = self.pairs.constant.expand(batch, frames - 1).sum(dim=-1)
        return (each + self.nodes.constant).sum(dim=-1) + self.initial.constant + pairs

    def _moments(self, made: _Eliminated) -> GaussianMoments:
        remaining = inverse(made.lower)  # [B, T, n, n]
        mean, covariance = [made.offset[:, -1]], [remaining[:, -1]]
        cross = []
        for t in reversed(range(made.gain.shape[1])):
            gain = made.gain[:, t]
            cross.append(gain @ covariance[-1])  # Cov(x_t, x_{t+1}), [B, n, n]
            mean.append(made.offset[:, t] + (gain @ mean[-1][..., None])[..., 0])
            covariance.append(remaining[:, t] + cross[-1] @ gain.mT)
        first = torch.stack(mean[::-1], dim=1)
        second = torch.stack(covariance[::-1], dim=1) + outer(first, first)
        across = torch.stack(cross[::-1], dim=1) if cross else made.gain
        return GaussianMoments(second, first, across + outer(first[:, :-1], first[:, 1:]))
