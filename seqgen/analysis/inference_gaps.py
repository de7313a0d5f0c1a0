"""Why the bound of a latent-variable model is below the evidence: the approximation gap and the amortisation gap.

    ln p(x) - L[q] = (ln p(x) - L[q*])  +  (L[q*] - L[q])
    inference gap  =  approximation gap +  amortisation gap

q is what the encoder says, q* the best member of its family for this x alone: the approximation gap is what the family
costs, ``KL(q* ‖ p(z|x))``, the amortisation gap what the encoder costs. Every term is of the same examples.

Source: Cremer, Li and Duvenaud, "Inference suboptimality in variational autoencoders", arXiv 1801.03558, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.analysis import annealed_importance
from seqgen.analysis.annealed_importance import Annealed, sigmoidal_schedule
from seqgen.analysis.hamiltonian import Hamiltonian
from seqgen.analysis.local_inference import LocalOptimisation, Optimised, evaluate, optimise
from seqgen.analysis.unnormalised_posterior import UnnormalisedPosterior, log_mean_exp
from seqgen.analysis.variational_family import VariationalFamily
from seqgen.noise import Key

_EVALUATION, _FORWARD, _REVERSE, _SEARCHES = range(4)  # streams after a key's own; searches are the last


@dataclass(frozen=True)
class Effort:
    """Effort of measuring gaps: samples, chains and steps.

    Attributes:
        samples: of each q, for L and for the importance-weighted bound of as many samples.
        temperatures: of the annealing, on a sigmoidal schedule. hamiltonian: its transitions. local: the search for q*.
    """

    samples: int = 5000
    temperatures: int = 10_000
    hamiltonian: Hamiltonian = field(default_factory=Hamiltonian)
    local: LocalOptimisation = field(default_factory=LocalOptimisation)


class Evidence(NamedTuple):
    """A lower bound of ``ln p(x)`` from weights whose mean is p(x): ``bound [B]`` in nats, and its standard error, by
    the spread of the weights, ``error [B]``."""

    bound: Tensor
    error: Tensor

    @classmethod
    def of(cls, log_weights: Tensor) -> Evidence:
        """``ln mean(w)`` and ``sd(w) / (√S mean(w))`` from ``ln w [S, B]``."""
        weights = torch.softmax(log_weights, dim=0) * len(log_weights)  # [S, B], of mean 1
        return cls(log_mean_exp(log_weights), weights.std(dim=0) / math.sqrt(len(weights)))

    @property
    def certain(self) -> float:
        """Mean of the bound over examples, less twice its standard error."""
        return float(self.bound.mean() - 2 * self.error.square().sum().sqrt() / len(self.error))


@dataclass(frozen=True)
class Gaps:
    """Gaps of B examples, every value ``[B]`` in nats.

    Attributes:
        amortised: ``L[q]`` of the encoder's q. optimal: ``L[q*]`` by family.
        evidence: of ``ln p(x)`` by how it was made: by annealed importance sampling under "annealed", and by
            importance-weighted bounds, of q under "encoder" and of q* under its family's name.
        annealed: the chains. searches: by family.
    """

    amortised: Tensor
    optimal: Mapping[str, Tensor]
    evidence: Mapping[str, Evidence]
    annealed: Annealed
    searches: Mapping[str, Optimised]

    @property
    def source(self) -> str:
        """The evidence whose bound is the largest in the mean over examples, beyond what is noise.

        One stands for all examples: the largest bound of each example would be chosen by its noise.
        """
        return max(self.evidence, key=lambda name: self.evidence[name].certain)

    @property
    def log_evidence(self) -> Tensor:
        """``ln p(x)``, estimated by the tightest lower bound."""
        return self.evidence[self.source].bound

    def approximation(self, family: str) -> Tensor:
        """``ln p(x) - L[q*]`` of a family."""
        return self.log_evidence - self.optimal[family]

    def amortisation(self, family: str) -> Tensor:
        """``L[q*] - L[q]``; the amortisation gap where q is of this family."""
        return self.optimal[family] - self.amortised


class Sandwich(NamedTuple):
    """Bounds of the evidence of simulated examples, ``[B]`` in nats: the difference is the most that annealing from
    below can be wrong by, in the mean."""

    lower: Tensor
    upper: Tensor


def measure(
    target: UnnormalisedPosterior,
    encoder: VariationalFamily,
    families: Mapping[str, VariationalFamily],
    prior: Tensor,
    key: Key,
    effort: Effort,
) -> Gaps:
    """Gaps of the examples of a target.

    Args:
        encoder: what the encoder says of each example. families: where the searches for q* start, by name.
        prior: samples of ``p(z)`` from which chains are annealed, ``[chains, B, D]``.
        key: of all noise; streams ``key.stream … key.stream + 2 + len(families)`` are used. The same numbers evaluate q
            and every q* of as many uniforms, so that their difference is less noisy than either.
    """
    streams = [Key(key.seed, key.stream + offset) for offset in range(_SEARCHES + len(families))]
    searches = {
        name: optimise(family, target, stream, effort.local)
        for (name, family), stream in zip(families.items(), streams[_SEARCHES:], strict=True)
    }
    judged = {"encoder": encoder} | {name: found.family for name, found in searches.items()}
    ratios = {name: evaluate(one, target, streams[_EVALUATION], effort.samples) for name, one in judged.items()}
    schedule = sigmoidal_schedule(effort.temperatures)
    annealed = annealed_importance.forward(target, prior, schedule, streams[_FORWARD], effort.hamiltonian)
    weighted = {name: Evidence.of(one) for name, one in ratios.items()}
    return Gaps(
        amortised=ratios["encoder"].mean(dim=0),
        optimal={name: ratios[name].mean(dim=0) for name in searches},
        evidence={"annealed": Evidence.of(annealed.log_weights)} | weighted,
        annealed=annealed,
        searches=searches,
    )


def joined(parts: Sequence[Gaps]) -> Gaps:
    """Gaps of the examples of several measurements, which were made alike, as one; the searches are the last's."""

    def together(values: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([one[name] for one in values]) for name in values[0]}

    bounds, errors = (
        together([{name: getattr(one, field) for name, one in part.evidence.items()} for part in parts])
        for field in Evidence._fields
    )
    return Gaps(
        amortised=torch.cat([part.amortised for part in parts]),
        optimal=together([part.optimal for part in parts]),
        evidence={name: Evidence(bounds[name], errors[name]) for name in bounds},
        annealed=Annealed(*(torch.cat(leaves, dim=1) for leaves in zip(*(p.annealed for p in parts), strict=True))),
        searches=parts[-1].searches,
    )


def sandwich(simulated: UnnormalisedPosterior, z: Tensor, prior: Tensor, key: Key, effort: Effort) -> Sandwich:
    """Both bounds of the evidence of examples that the model itself has drawn, with the z that each was drawn from.

    Args:
        simulated: the target of the drawn examples. z: ``[B, D]``. prior: other samples of ``p(z)``,
            ``[chains, B, D]``. key: streams ``key.stream + 1`` and ``key.stream + 2`` are used.
    """
    schedule, exact = sigmoidal_schedule(effort.temperatures), z.expand(prior.shape)
    streams = [Key(key.seed, key.stream + offset) for offset in (_FORWARD, _REVERSE)]
    forward = annealed_importance.forward(simulated, prior, schedule, streams[0], effort.hamiltonian)
    reverse = annealed_importance.reverse(simulated, exact, schedule, streams[1], effort.hamiltonian)
    return Sandwich(forward.lower_bound, reverse.upper_bound)
