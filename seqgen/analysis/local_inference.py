"""Local variational inference: the best member of a family for each example by itself, and what it is worth.

    L[q] = E_q [ln p(x, z) - ln q(z)],    q*(x) = argmax over the family
    L_k[q] = E ln 1/k Σ_{i=1..k} p(x, z_i) / q(z_i),    L_1 = L ≤ L_k ≤ ln p(x)

Source: Cremer et al., arXiv 1801.03558, section 3 and 5; Burda et al., "Importance weighted autoencoders", arXiv
1509.00519, equation 8.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from seqgen.analysis.unnormalised_posterior import UnnormalisedPosterior, log_mean_exp, uniforms
from seqgen.analysis.variational_family import VariationalFamily
from seqgen.errors import SeqgenError
from seqgen.noise import Key

FamilyT = TypeVar("FamilyT", bound=VariationalFamily)


@dataclass(frozen=True)
class LocalOptimisation:
    """Options of the search for q*: Adam climbs L, all examples at once.

    Attributes:
        learning_rate: of Adam. samples: of each example at each step.
        interval: steps between judgements; each compares the mean of L since the last with the best so far.
        patience: it stops after more judgements in a row than this without a better mean. max_steps: or here.

    Raises:
        SeqgenError: for numbers that are not positive.
    """

    learning_rate: float = 1e-3
    samples: int = 100
    interval: int = 100
    patience: int = 10
    max_steps: int = 100_000

    def __post_init__(self) -> None:
        if min(self.learning_rate, self.samples, self.interval, self.patience, self.max_steps) <= 0:
            raise SeqgenError(f"got {self}", remedy="give numbers above 0")


class Optimised(NamedTuple):
    """Result of a search: the family's members, steps taken, and L in its last interval, the mean over examples.

    ``stopped`` says whether it ended by its own rule, not by ``max_steps``.
    """

    family: VariationalFamily
    steps: int
    bound: float
    stopped: bool


def log_ratios(family: VariationalFamily, target: UnnormalisedPosterior, u: Tensor) -> Tensor:
    """``ln p(x, z) - ln q(z)`` of samples from uniforms ``[S, B, num_uniforms]``: ``[S, B]`` in nats."""
    z, log_q = family.sample(u)
    ratios: Tensor = target.log_prior(z) + target.log_likelihood(z) - log_q
    return ratios


def optimise(
    family: VariationalFamily, target: UnnormalisedPosterior, key: Key, options: LocalOptimisation
) -> Optimised:
    """q* of every example, from the members in ``family``, which are left as they are.

    What is found is the mean of the parameters over the last interval, which the noise of single steps moves less than
    the last of them.

    Raises:
        SeqgenError: where L is not finite.
    """
    family = copy.deepcopy(family)
    parameters = list(family.parameters())
    shape = (options.samples, family.examples, family.num_uniforms)
    optimiser = torch.optim.Adam(parameters, options.learning_rate)
    interval, best, worse, steps = _Interval(parameters), -math.inf, 0, 0
    while steps < options.max_steps and worse <= options.patience:
        if steps % options.interval == 0:
            interval = _Interval(parameters)
        u = uniforms(key, steps * math.prod(shape), shape, parameters[0])
        with torch.enable_grad():
            bound = log_ratios(family, target, u).mean(dim=0)  # [B]
            optimiser.zero_grad(set_to_none=True)
            # The sum, so that no example's step depends on how many are beside it.
            (-bound.sum()).backward(inputs=parameters)  # type: ignore[no-untyped-call]
            optimiser.step()
        steps += 1
        interval.add(parameters, float(bound.detach().mean()))
        if steps % options.interval == 0:
            _require_finite(interval.bound, steps)
            best, worse = (interval.bound, 0) if interval.bound > best else (best, worse + 1)
    interval.set(parameters)
    return Optimised(family, steps, interval.bound, worse > options.patience)


class _Interval:
    """Means of the bound and of the parameters over the steps since the last judgement."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self._sums, self._bounds, self._steps = [torch.zeros_like(one) for one in parameters], 0.0, 0

    def add(self, parameters: list[Tensor], bound: float) -> None:
        """Take in one step."""
        with torch.no_grad():
            torch._foreach_add_(self._sums, parameters)
        self._bounds, self._steps = self._bounds + bound, self._steps + 1

    @property
    def bound(self) -> float:
        return self._bounds / self._steps

    def set(self, parameters: list[Tensor]) -> None:
        """Give parameters their means."""
        with torch.no_grad():
            for parameter, total in zip(parameters, self._sums, strict=True):
                parameter.copy_(total / self._steps)


def evaluate(
    family: VariationalFamily, target: UnnormalisedPosterior, key: Key, samples: int, *, at_once: int = 100
) -> Tensor:
    """``ln p(x, z) - ln q(z)`` of so many samples, ``[samples, B]`` in nats, of which bounds are made: their mean over
    samples is L, :func:`importance_bound` L_k. Numbers do not depend on how many are taken ``at_once``."""
    like, parts = next(family.parameters()), []
    each = family.examples * family.num_uniforms
    with torch.no_grad():
        for first in range(0, samples, at_once):
            count = min(at_once, samples - first)
            u = uniforms(key, first * each, (count, family.examples, family.num_uniforms), like)
            parts.append(log_ratios(family, target, u))
    return torch.cat(parts)


def importance_bound(ratios: Tensor, k: int) -> Tensor:
    """Importance-weighted bound ``L_k [B]`` in nats from log-ratios ``[S, B]``: the mean over ``⌊S/k⌋`` groups.

    Raises:
        SeqgenError: for fewer than k samples.

    Source: Burda et al., arXiv 1509.00519, equation 8.
    """
    if not 1 <= k <= len(ratios):
        raise SeqgenError(f"a bound of {k} samples from {len(ratios)}", remedy="take at least as many, and k >= 1")
    groups = len(ratios) // k
    return log_mean_exp(ratios[: groups * k].view(groups, k, -1), dim=1).mean(dim=0)


def _require_finite(mean: float, steps: int) -> None:
    if not math.isfinite(mean):
        raise SeqgenError(
            f"the bound became {mean} within {steps} steps", remedy="lower the learning rate of the local optimisation"
        )
