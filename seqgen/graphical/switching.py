"""Block mean field for switching linear dynamical systems: a hidden Markov model chooses the dynamics of each frame.

    z_1 … z_T a Markov chain,    x_1 ~ N(µ_{z_1}, Σ_{z_1}),    x_{t+1} = A_{z_{t+1}} x_t + N(0, Q_{z_{t+1}})

with a Gaussian evidence potential ψ_t(x_t) on each frame. q(z) is a discrete chain, q(x) a Gaussian one:

    q(x): initial = Σ_k r_{1,k} initial_k,  pair_t = Σ_k r_{t+1,k} pair_k,  nodes ψ
    q(z): node_1(k) = <E t(x_1), initial_k>,  node_{t+1}(k) = <E t(x_t, x_{t+1}), pair_k>,  transitions E ln π
    L̂ = log Z_z + log Z_x - Σ_t Σ_k r_{t,k} node_t(k)

L̂ is a lower bound on ``ln Σ_z ∫ p(z) p(x | z) e^{Σ ψ_t(x_t)} dx``, and no update makes it fall; the last sum is the
cross term, which both normalisers count.

Source: Johnson et al., arXiv 1603.06277, section 4.3; the cross term is derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.graphical.exponential_family import Statistics, averaged
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.hidden_markov import DiscreteChain, StateMarginals
from seqgen.graphical.linear_dynamical import GaussianChain, GaussianMoments
from seqgen.graphical.transition import TransitionFactor


class SwitchingStatistics(NamedTuple):
    """Statistics of a switching linear dynamical system's parameters, summed over sequences.

    Attributes:
        starts: of first states, ``[K]``. moves: of transitions, ``[K, K]``. initial: of each state's first frames,
            ``[K, …]``. pairs: of each state's transitions of x, ``[K, …]``.
    """

    starts: Tensor
    moves: Tensor
    initial: Statistics
    pairs: Statistics


class SwitchingPosterior(NamedTuple):
    """Local posterior ``q(z) q(x)`` of B sequences under a switching linear dynamical system.

    Attributes:
        states: q(z). marginals: of q(z). path: q(x). moments: of q(x). bound: L̂ of each sequence in nats, ``[B]``.
        inside: bool ``[B, T]``, frames that lie within their sequences.
    """

    states: DiscreteChain
    marginals: StateMarginals
    path: GaussianChain
    moments: GaussianMoments
    bound: Tensor
    inside: Tensor

    def kl(self) -> Tensor:
        """``KL(q(z) q(x) ‖ p(z, x))`` of each sequence, in the mean over the parameters, ``[B]``."""
        return self.path.nodes.inner(self.moments.nodes).sum(dim=-1) - self.bound

    def statistics(self) -> SwitchingStatistics:
        """Statistics that add to the natural parameters of the conjugate prior, summed over the sequences."""
        r = self.marginals.nodes * self.inside[..., None]
        pairs = self.marginals.pairs * self.inside[:, 1:, None, None]
        later = tuple(each.flatten(0, 1) for each in self.moments.pairs)
        return SwitchingStatistics(
            r[:, 0].sum(dim=0),
            pairs.sum(dim=(0, 1)),
            averaged(self.moments.initial, r[:, 0], GaussianFactor.ranks),
            averaged(later, r[:, 1:].flatten(0, 1), TransitionFactor.ranks),
        )


@dataclass(frozen=True)
class SwitchingSystem:
    """Switching linear dynamical system of K states and n dimensions, by expectations of its log-densities.

    Attributes:
        log_initial: E ln π of the first state, ``[K]``. log_transition: E ln π of transitions, ``[K, K]``.
        initial: ``E ln p(x_1 | z_1 = k)``, factors ``[K]``.
        pairs: ``E ln p(x_{t+1} | x_t, z_{t+1} = k)``, factors ``[K]``.
    """

    log_initial: Tensor
    log_transition: Tensor
    initial: GaussianFactor
    pairs: TransitionFactor

    def path(self, responsibilities: Tensor, potentials: GaussianFactor, inside: Tensor) -> GaussianChain:
        """Best q(x) for the marginals of q(z): ``[B, T, K]``, potentials ``[B, T]`` and bool ``[B, T]``."""
        first, later = responsibilities[:, 0], responsibilities[:, 1:]
        return GaussianChain(self.initial.mixed(first), self.pairs.mixed(later).where(inside[:, 1:]), potentials)

    def states(self, moments: GaussianMoments, inside: Tensor) -> DiscreteChain:
        """Best q(z) for the statistics of q(x)."""
        first = self.initial.inner(tuple(each[:, None] for each in moments.initial))  # [B, K]
        later = self.pairs.inner(tuple(each[:, :, None] for each in moments.pairs))  # [B, T - 1, K]
        nodes = torch.cat([first[:, None], later], dim=1) * inside[..., None]
        # Behind a sequence's end every state is as probable as any, so that it counts nothing.
        count = len(self.log_initial)
        even = torch.full_like(self.log_transition, -math.log(count))
        return DiscreteChain(self.log_initial, torch.where(inside[:, 1:, None, None], self.log_transition, even), nodes)

    def step(
        self, responsibilities: Tensor, potentials: GaussianFactor, inside: Tensor | None = None
    ) -> SwitchingPosterior:
        """One sweep of updates, of q(x) and then of q(z), and the bound of what they give."""
        inside = _everywhere(responsibilities) if inside is None else inside
        path = self.path(responsibilities, potentials, inside)
        moments, x_total = path.inferred()
        states = self.states(moments, inside)
        marginals, z_total = states.inferred()
        # q(x) was made with the responsibilities given, so it is they that its normaliser counts.
        cross = (responsibilities * states.nodes).sum(dim=(1, 2))
        return SwitchingPosterior(states, marginals, path, moments, z_total + x_total - cross, inside)

    def fit(
        self,
        potentials: GaussianFactor,
        responsibilities: Tensor,
        inside: Tensor | None = None,
        *,
        tolerance: float = 1e-2,
        sweeps: int = 100,
    ) -> SwitchingPosterior:
        """Local posterior at a fixed point of the updates, from responsibilities ``[B, T, K]``.

        The fixed point is looked for without gradients, until the total bound changes by less than ``tolerance`` or
        ``sweeps`` are over; the last sweep is differentiable by potentials and parameters. Frames outside of their
        sequences, which have no evidence, count nothing; every sequence has one frame at least.
        """
        with torch.no_grad():
            before = None
            for _ in range(sweeps):
                made = self.step(responsibilities, potentials, inside)
                responsibilities, total = made.marginals.nodes, made.bound.sum()
                if before is not None and (total - before).abs() < tolerance:
                    break
                before = total
        return self.step(responsibilities, potentials, inside)


def _everywhere(responsibilities: Tensor) -> Tensor:
    return torch.ones(responsibilities.shape[:2], dtype=torch.bool, device=responsibilities.device)
