"""Annealed importance sampling: bounds of the evidence ``ln p(x)`` of a latent-variable model, from both sides.

    f_t(z) = p(z) p(x|z)^{β_t},    0 = β_0 < β_1 < … < β_T = 1
    ln w = Σ_{t=1..T} (β_t - β_{t-1}) ln p(x|z_{t-1}),    z_0 ~ p(z),    z_t ~ a transition that leaves f_t as it is

``E w = p(x)`` for any T, so ``ln mean(w)`` is a lower bound in expectation. Backwards from an exact sample of the
posterior ``E 1/w = 1/p(x)``, which gives an upper bound. Both are exact for transitions of a fixed step size; an
adaptive one makes them approximate.

Source: Neal, "Annealed importance sampling", arXiv physics/9803008; from both sides: Grosse, Ghahramani and Adams,
"Sandwiching the marginal likelihood using bidirectional Monte Carlo", arXiv 1511.02543.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.analysis.hamiltonian import Hamiltonian
from seqgen.analysis.unnormalised_posterior import UnnormalisedPosterior, log_mean_exp, normals, uniforms
from seqgen.errors import SeqgenError
from seqgen.noise import Key


class Annealed(NamedTuple):
    """Annealed chains, S of each of B examples.

    Attributes:
        log_weights: ``ln w [S, B]`` in nats. z: where the chains are at the end, ``[S, B, D]``.
        acceptance: share of the trajectories that were taken, ``[S, B]``.
    """

    log_weights: Tensor
    z: Tensor
    acceptance: Tensor

    @property
    def lower_bound(self) -> Tensor:
        """``ln mean(w)`` over the chains of :func:`forward`, ``[B]`` in nats."""
        return log_mean_exp(self.log_weights)

    @property
    def upper_bound(self) -> Tensor:
        """The negative of ``ln mean(1/w)`` over the chains of :func:`reverse`, ``[B]`` in nats."""
        return -log_mean_exp(-self.log_weights)


def linear_schedule(temperatures: int) -> Tensor:
    """Inverse temperatures ``β_t = t/T``, float64 ``[T + 1]``.

    Raises:
        SeqgenError: for fewer than one.
    """
    if temperatures < 1:
        raise SeqgenError(f"{temperatures} temperatures", remedy="give 1 or more")
    return torch.linspace(0, 1, temperatures + 1, dtype=torch.float64)


def sigmoidal_schedule(temperatures: int, spread: float = 4.0) -> Tensor:
    """Inverse temperatures that lie closest at both ends, float64 ``[T + 1]``: ``σ(δ (2t/T - 1))``, moved and scaled
    to reach from 0 to 1, with ``δ = spread``.

    Raises:
        SeqgenError: for fewer than one, or a spread that is not positive.

    Source: Wu et al., "On the quantitative analysis of decoder-based generative models", arXiv 1611.04273, section 5.

    Example:
        >>> sigmoidal_schedule(2)
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    if not spread > 0:
        raise SeqgenError(f"a spread of {spread}", remedy="give a number above 0")
    raw = torch.sigmoid(spread * (2 * linear_schedule(temperatures) - 1))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def forward(target: UnnormalisedPosterior, z: Tensor, schedule: Tensor, key: Key, hamiltonian: Hamiltonian) -> Annealed:
    """Chains from the prior to the posterior.

    Args:
        z: samples of the prior, ``[S, B, D]``. schedule: inverse temperatures from 0 to 1, ``[T + 1]``.
        key: of the transitions' noise.

    Raises:
        SeqgenError: for a schedule that does not rise from 0 to 1.

    With T = 1 this is importance sampling from the prior: ``ln w = ln p(x|z)``.
    """
    return _anneal(target, z, _required(schedule), key, hamiltonian)


def reverse(target: UnnormalisedPosterior, z: Tensor, schedule: Tensor, key: Key, hamiltonian: Hamiltonian) -> Annealed:
    """Chains from the posterior to the prior, through the temperatures of :func:`forward` in the other order.

    Args:
        z: exact samples of the posterior, ``[S, B, D]``: z of pairs (z, x) that the model itself has drawn. Chains of
            an example may start at the same z.

    Raises:
        SeqgenError: for a schedule that does not rise from 0 to 1.
    """
    return _anneal(target, z, _required(schedule).flip(0), key, hamiltonian)


def _anneal(target: UnnormalisedPosterior, z: Tensor, betas: Tensor, key: Key, hamiltonian: Hamiltonian) -> Annealed:
    levels = betas.tolist()
    numbers = z.numel() + z.shape[:-1].numel()
    chains, log_weights = hamiltonian.begin(z), z.new_zeros(z.shape[:-1])
    with torch.no_grad():
        for index, (before, beta) in enumerate(itertools.pairwise(levels)):
            if index:
                momentum = normals(key, index * numbers, tuple(z.shape), z)
                u = uniforms(key, index * numbers + z.numel(), tuple(z.shape[:-1]), z)
                chains = hamiltonian.transition(_Tempered(target, before), chains, momentum, u)
            log_weights = log_weights + abs(beta - before) * target.log_likelihood(chains.z)
    return Annealed(log_weights, chains.z, chains.acceptance)


class _Tempered(NamedTuple):
    """``ln p(z) + β ln p(x|z)`` as a function of z."""

    target: UnnormalisedPosterior
    beta: float

    def __call__(self, z: Tensor) -> Tensor:
        return self.target.log_prior(z) + self.beta * self.target.log_likelihood(z)


def _required(schedule: Tensor) -> Tensor:
    ends = schedule.ndim == 1 and len(schedule) > 1 and schedule[0] == 0 and schedule[-1] == 1
    if not ends or not bool((schedule.diff() > 0).all()):
        raise SeqgenError(f"inverse temperatures {schedule.tolist()}", remedy="let them rise from 0 to 1")
    return schedule
