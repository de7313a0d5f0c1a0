"""Conjugate priors over codes: graphical models whose parameters have distributions of their own, and what inference in
them tells of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.graphical.exponential_family import ExponentialFamily, Statistics
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.unconstrained import constrained, unconstrained
from seqgen.latents.contract import Posterior, Prior, Setting

TRUST = 10.0
"""Nats by which a natural step changes what the codes of a row cost, at most, where nothing else is said."""
_HALVINGS = 60  # of a step; one that is still too long then goes nowhere that float32 can tell


class Inferred(ABC):
    """Local posterior of a batch's codes, made of evidence potentials and of a conjugate prior.

    Attributes:
        moments: ``E (z z^T, z, 1)`` of each position, ``[B, N, …]``.
        rates: KL from the prior, in the mean over its parameters, in shares of the positions, ``[B, N]``.
        responsibilities: probabilities of the discrete states, ``[B, N, K]``; of one state where there are none.
    """

    moments: Statistics
    rates: Tensor
    responsibilities: Tensor

    @property
    def mean(self) -> Tensor:
        """E z, ``[B, N, D]``."""
        return self.moments[1]

    @abstractmethod
    def sample(self, normals: Tensor) -> Tensor:
        """Codes, a function of standard normals, ``[S, B, N, D]`` both, differentiable in potentials and parameters."""

    @abstractmethod
    def statistics(self) -> Mapping[str, Statistics]:
        """Expected statistics of the parameters, by the prior's beliefs, summed over the batch."""


class Belief(nn.Module):
    """Belief about parameters: a member q(θ) of a conjugate family, beside the prior p(θ).

    Args:
        prior: p(θ). start: q(θ) of a fresh belief. natural: whether the trained numbers are natural parameters, whose
            steps follow :meth:`direction`; else they are unconstrained coordinates.
    """

    def __init__(self, prior: ExponentialFamily, start: ExponentialFamily, *, natural: bool) -> None:
        super().__init__()
        self.kind, self.natural = type(prior), natural
        for field, value in zip(fields(prior), prior.natural, strict=True):
            self.register_buffer(f"prior_{field.name}", value.float().clone())
        self.names = [field.name for field in fields(prior)]
        coordinates = start.natural if natural else unconstrained(start)
        for name, value in zip(self.names, coordinates, strict=True):
            self.register_parameter(name, nn.Parameter(value.float().clone()))

    def member(self) -> ExponentialFamily:
        """q(θ), in double precision."""
        numbers = tuple(getattr(self, name).double() for name in self.names)
        return self.kind(*numbers) if self.natural else constrained(self.kind, numbers)

    def prior(self) -> ExponentialFamily:
        """p(θ), in double precision."""
        return self.kind(*(getattr(self, f"prior_{name}").double() for name in self.names))

    def kl(self) -> Tensor:
        """``KL(q(θ) ‖ p(θ))`` in nats, of all members together."""
        return self.member().kl(self.prior()).sum()

    @torch.no_grad()
    def direction(self, statistics: Statistics) -> dict[str, Tensor]:
        """``η - (η_0 + E t)``, which a step of size 1 takes to the best q(θ) for these statistics of all data."""
        best = self.prior().plus(statistics)
        return {
            name: (number.double() - goal).to(number.dtype)
            for name, number, goal in zip(self.names, self.parameters(), best.natural, strict=True)
        }

    @torch.no_grad()
    def share(self, directions: Mapping[str, Tensor], step: float, rows: int, trust: float) -> float:
        """Share of a step along ``-directions`` that changes what the codes of a row cost by ``trust`` nats at most:
        the first of 1, ½, ¼ … for which

            Σ_k |<E_η' t_k - E_η t_k, s_k>| ≤ trust,      s = (η - direction - η_0) / rows

        over the members k, s the mean statistics of a row that the directions were made of, and η' inside of the
        family. Natural parameters count points: a step that is small in them moves ``E t``, which local inference
        goes by, from what was believed of no points to what many say.
        """
        now, before = self.member(), self.prior()
        moves = type(now)(*(directions[name].double() for name in self.names))
        told = (now - moves - before).natural
        row, old = tuple(each / rows for each in told), now.expected()
        share = 1.0
        for _ in range(_HALVINGS):
            try:
                new = now.plus(moves.natural, -step * share).expected()
            except SeqgenError:  # outside of the family
                share /= 2
                continue
            change = self.kind(*(one - other for one, other in zip(new, old, strict=True))).inner(row)
            if bool(change.abs().sum() <= trust):
                return share
            share /= 2
        return share


class ConjugatePrior(Prior):
    """Prior over codes that is a graphical model, its parameters θ known by a conjugate distribution q(θ).

        p(θ) Π_n p(z_n | θ),    -bound = distortion + KL(q(z) ‖ p(z | θ))_{E θ} + KL(q(θ) ‖ p(θ)) / N_x

    in nats of a row, N_x of them in the training set. With natural gradients the direction of q(θ) is
    ``η - (η_0 + N_x · mean E t)``, so that plain descent with a rate of ρ is stochastic variational inference of that
    step; what the local posterior's own dependence on θ would add is left out.

    Attributes:
        training_rows: sequences of the training set. natural: whether q(θ) moves along natural gradients.
        trust: nats by which such a step changes what the codes of a row cost, at most.
        beliefs: q(θ) in independent parts, by name.

    Source: Johnson et al., arXiv 1603.06277, section 4; Hoffman et al., "Stochastic variational inference", JMLR 14,
    2013.
    """

    conjugate = True
    training_rows: int
    natural: bool
    trust: float
    beliefs: nn.ModuleDict

    @classmethod
    def options_for(cls, posterior: Posterior) -> list[Any]:
        """Small options, with natural and with plain gradients."""
        options = cls.small(posterior.dim)
        return [options, replace(options, natural=False)]

    @classmethod
    @abstractmethod
    def small(cls, dim: int) -> Any:
        """Options of a small instance, for examples."""

    @classmethod
    def build(cls, options: Any, *, dim: int, examples: int) -> Self:
        """Construct the prior of a model of so many training examples.

        Raises:
            SeqgenError: for options that do not fit, and where examples are drawn without end.
        """
        made: Self = super().build(options, dim=dim, examples=examples)
        if examples < 1:
            raise SeqgenError(
                "a conjugate prior weighs its data against what was believed before, and these have no end",
                remedy="choose a task with a fixed number of examples",
            )
        made.training_rows = examples
        return made

    @abstractmethod
    def infer(self, potentials: GaussianFactor, inside: Tensor) -> Inferred:
        """Local posterior of evidence potentials ``[B, N]`` on codes, of the positions that are ``inside``."""

    def regulariser(self) -> Tensor:
        """``KL(q(θ) ‖ p(θ))`` in nats."""
        return torch.stack([belief.kl() for belief in self.beliefs.values()]).sum()

    @torch.no_grad()
    def directions(self, posterior: Posterior, params: Tensor, setting: Setting) -> dict[str, Tensor]:
        if not self.natural:
            return {}
        scale = self.training_rows / len(params)
        return {
            f"beliefs.{belief}.{name}": direction
            for belief, statistics in setting.inferred.statistics().items()
            for name, direction in self.beliefs[belief].direction(tuple(scale * each for each in statistics)).items()
        }

    def limited(self, directions: Mapping[str, Tensor], rate: float) -> Mapping[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, belief in self.beliefs.items():
            assert isinstance(belief, Belief)
            own = {number: directions[f"beliefs.{name}.{number}"] for number in belief.names}
            share = belief.share(own, rate, self.training_rows, self.trust)
            found |= {f"beliefs.{name}.{number}": share * direction for number, direction in own.items()}
        return found

    def _member(self, name: str) -> Any:
        return self.beliefs[name].member()
