"""Hamiltonian Monte Carlo: a Markov transition that leaves a distribution as it is, led by the gradient of its density.

    H(z, p) = -ln f(z) + ½|p|²,    p ~ N(0, I)

A trajectory of leapfrog steps keeps H nearly, and is taken with probability ``min(1, e^{H - H'})``.

Source: Neal, "MCMC using Hamiltonian dynamics", arXiv 1206.1901, sections 2.3 and 3.2; adaptation of the step size:
Cremer et al., "Inference suboptimality in variational autoencoders", arXiv 1801.03558, in its authors' program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.errors import SeqgenError

LogDensity = Callable[[Tensor], Tensor]
"""Logarithm of a density, known up to a constant: ``z [S, B, D] → [S, B]``, differentiable."""
_GROWTH, _SHRINKAGE = 1.02, 0.98  # of a step size, after each transition


class Chains(NamedTuple):
    """Markov chains side by side: S of each of B targets.

    Attributes:
        z: ``[S, B, D]``. step_size: ``[S, B]``. accepted: ``[S, B]``, trajectories taken so far. transitions: so far.
    """

    z: Tensor
    step_size: Tensor
    accepted: Tensor
    transitions: int

    @property
    def acceptance(self) -> Tensor:
        """Share of the trajectories that were taken, ``[S, B]``; 1 before the first."""
        return self.accepted / self.transitions if self.transitions else torch.ones_like(self.accepted)


@dataclass(frozen=True)
class Hamiltonian:
    """Hamiltonian transition, deterministic in the noise that it is given.

    An adaptive step size grows by 2 % after a transition where the chain's acceptance so far is above
    ``target_acceptance``, and shrinks by 2 % elsewhere. It then depends on where the chain has been, so that a
    distribution is left as it is approximately; a fixed one leaves it exactly.

    Attributes:
        leapfrog_steps: of a trajectory. step_size: of every chain at first.
        adaptive: whether step sizes change, within ``smallest`` and ``largest``.
        gradient_limit: each element of the gradient is held within ± this. The trajectory stays reversible and keeps
            volumes, so what it leaves as it is does not change.

    Raises:
        SeqgenError: for no step, or sizes and limits that are not positive or not in order.
    """

    leapfrog_steps: int = 10
    step_size: float = 0.01
    adaptive: bool = True
    target_acceptance: float = 0.65
    smallest: float = 1e-4
    largest: float = 0.5
    gradient_limit: float = math.inf

    def __post_init__(self) -> None:
        if self.leapfrog_steps < 1:
            raise SeqgenError(f"'leapfrog_steps' is {self.leapfrog_steps}", remedy="give 1 or more")
        if not 0 < self.smallest <= self.step_size <= self.largest:
            raise SeqgenError(
                f"a step size of {self.step_size} within [{self.smallest}, {self.largest}]",
                remedy="choose 0 < smallest <= step_size <= largest",
            )
        if not self.gradient_limit > 0:
            raise SeqgenError(f"'gradient_limit' is {self.gradient_limit}", remedy="give a number above 0")

    def begin(self, z: Tensor) -> Chains:
        """Chains that start at ``z [S, B, D]``."""
        return Chains(z, z.new_full(z.shape[:-1], self.step_size), z.new_zeros(z.shape[:-1]), 0)

    def transition(self, log_density: LogDensity, chains: Chains, momentum: Tensor, u: Tensor) -> Chains:
        """Chains after one trajectory each.

        Args:
            momentum: standard normal numbers ``[S, B, D]``. u: uniforms ``[S, B]``, which decide what is taken.
        """
        before, gradient = self._value_and_gradient(log_density, chains.z)
        z, turned, after = self._trajectory(log_density, chains, momentum, gradient)
        change = after - before + 0.5 * (momentum.square() - turned.square()).sum(dim=-1)  # [S, B], H - H'
        taken = u < change.clamp_max(0.0).exp()  # a change that is not a number is not taken
        chosen = torch.where(taken[..., None], z, chains.z)  # [S, B, D]
        accepted = chains.accepted + taken
        moved = Chains(chosen, chains.step_size, accepted, chains.transitions + 1)
        return moved._replace(step_size=self._adapted(moved)) if self.adaptive else moved

    def leapfrog(
        self, log_density: LogDensity, z: Tensor, momentum: Tensor, step_size: Tensor
    ) -> tuple[Tensor, Tensor]:
        """End of a trajectory and its momentum, ``[S, B, D]`` each; step size ``[S, B]``. Started there with the
        momentum's negative, it leads back."""
        chains = Chains(z, step_size, torch.zeros_like(step_size), 0)
        _, gradient = self._value_and_gradient(log_density, z)
        z, momentum, _ = self._trajectory(log_density, chains, momentum, gradient)
        return z, momentum

    def _trajectory(
        self, log_density: LogDensity, chains: Chains, momentum: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        z, step = chains.z, chains.step_size[..., None]  # [S, B, D], [S, B, 1]
        momentum = momentum + 0.5 * step * gradient
        for index in range(self.leapfrog_steps):
            z = z + step * momentum
            value, gradient = self._value_and_gradient(log_density, z)
            last = index == self.leapfrog_steps - 1
            momentum = momentum + (0.5 if last else 1.0) * step * gradient
        return z, momentum, value

    def _value_and_gradient(self, log_density: LogDensity, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            value = log_density(z)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), gradient.clamp(-self.gradient_limit, self.gradient_limit)

    def _adapted(self, chains: Chains) -> Tensor:
        good = chains.acceptance > self.target_acceptance
        factor = torch.where(good, _GROWTH, _SHRINKAGE).to(chains.step_size)
        return (chains.step_size * factor).clamp(self.smallest, self.largest)
