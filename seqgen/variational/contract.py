"""The contracts of variational inference: what a batch's samples tell, bounds of the evidence, estimators of the
bounds' gradients, and control of the rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior, Setting


@dataclass(frozen=True)
class Evidence:
    """What S samples of an approximate posterior tell of each of B rows, in nats.

    Attributes:
        log_likelihood: ``ln p(x | z_s)``, ``[S, B]``.
        log_prior: ``ln p(z_s,n | …)`` of each position, ``[S, B, N]``, 0 outside of a row. log_posterior: the same of
            ``ln q``. Both are ``None`` where nothing needs them.
        log_shares: of each sample, ``[S, B]``.
        closed: ``KL(q ‖ p)`` in shares of the positions ``[B, N]``, where its closed form is taken.
        z: the samples ``[S, B, N, D]``. params: of the posterior, ``[B, N, P]``. posterior, setting: what they are of.
        examples: rows of the whole training set; 0 where they are drawn without end.
    """

    log_likelihood: Tensor
    log_prior: Tensor | None
    log_posterior: Tensor | None
    log_shares: Tensor
    closed: Tensor | None
    z: Tensor
    params: Tensor
    posterior: Posterior
    setting: Setting
    examples: int = 0

    @property
    def shares(self) -> Tensor:
        """How much each sample counts, ``[S, B]``."""
        return self.log_shares.exp()

    @cached_property
    def distortion(self) -> Tensor:
        """``-E_q ln p(x | z)``, ``[B]``."""
        return -(self.shares * self.log_likelihood).sum(dim=0)

    @cached_property
    def rates(self) -> Tensor:
        """``E_q [ln q(z_n | x) - ln p(z_n)]`` of each position, ``[B, N]``."""
        if self.closed is not None:
            return self.closed
        return (self.shares[..., None] * (self.sampled_posterior - self.sampled_prior)).sum(dim=0)

    @property
    def rate(self) -> Tensor:
        """The rate of each row, ``[B]``."""
        return self.rates.sum(dim=-1)

    @property
    def sampled_prior(self) -> Tensor:
        """``ln p(z)`` of the positions.

        Raises:
            SeqgenError: where the closed form was taken and nothing else.
        """
        return self._sampled(self.log_prior)

    @property
    def sampled_posterior(self) -> Tensor:
        """``ln q(z | x)`` of the positions.

        Raises:
            SeqgenError: where the closed form was taken and nothing else.
        """
        return self._sampled(self.log_posterior)

    def log_weights(self, beta: Tensor | float = 1.0) -> Tensor:
        """``ln p(x | z) + β (ln p(z) - ln q(z | x))`` of each sample, ``[S, B]``."""
        return self.log_likelihood + beta * (self.sampled_prior - self.sampled_posterior).sum(dim=-1)

    @staticmethod
    def _sampled(value: Tensor | None) -> Tensor:
        if value is None:
            raise SeqgenError(
                "probabilities of single samples are asked for, and the closed form of the rate was taken",
                remedy="set objective.closed to false",
            )
        return value


class RateControl(nn.Module, ABC):
    """Control of the rate: how a row's distortion and its rate, in nats, become what is minimised.

    Attributes:
        couples_rows: whether rows of a batch see each other.
        sampled: whether the probabilities of single samples are needed, so that the closed form of the rate is no
            choice.
    """

    Config: ClassVar[type[Any]]
    couples_rows: ClassVar[bool] = False
    sampled: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Instances that the laws are run over; by default one of default options."""
        return [cls(cls.Config())]  # type: ignore[call-arg]  # registered classes take their Config

    @abstractmethod
    def loss(self, evidence: Evidence) -> Tensor:
        """What is minimised, ``[B]`` nats; with a weight of 1 distortion plus rate, the negative ELBO."""

    def weight(self) -> Tensor | float:
        """Weight β of the rate inside a bound of several samples.

        Raises:
            SeqgenError: where the control is no weight.
        """
        raise SeqgenError(
            f"{type(self).__name__} is no weight of the rate, as a bound of several samples needs",
            remedy="choose the rate 'weighted', or the bound 'elbo'",
        )

    @property
    def settled(self) -> bool:
        """Whether the loss means what it will always mean; while a weight rises it does not."""
        return True

    def terms(self, evidence: Evidence) -> dict[str, Tensor]:
        """Scalars for the record."""
        return {}

    def noted(self, evidence: Evidence) -> dict[str, Tensor]:
        """Sums over the batch that :meth:`after_update` is told, beside ``rows``, their number."""
        return {}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        """Change buffers after an update: dual variables, schedules."""


class Bound(ABC):
    """A lower bound of the evidence ``ln p(x)`` from several samples of an approximate posterior.

    Attributes:
        sampled: whether it needs the probabilities of single samples.
    """

    Config: ClassVar[type[Any]]
    sampled: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def loss(self, evidence: Evidence, control: RateControl) -> Tensor:
        """What is minimised, the negative bound under that control of the rate: ``[B]`` nats."""

    @abstractmethod
    def weights(self, evidence: Evidence, control: RateControl) -> Tensor:
        """How much each sample's ``ln w`` moves the bound, ``[S, B]`` without gradients: ``∂ bound / ∂ ln w_s``."""

    @abstractmethod
    def signal(self, evidence: Evidence, control: RateControl) -> Tensor:
        """What the bound rewards each sample with, ``[S, B]`` without gradients: the factor of ``∇ ln q(z_s)`` in an
        unbiased gradient."""


class GradientEstimator(nn.Module, ABC):
    """An estimator of a bound's gradient by the parameters of the approximate posterior.

    Attributes:
        stops: whether ``ln q`` is differentiated through the sample alone, its parameters being held.
        reweights: whether a gradient that arrives at a sample is multiplied by a factor (:meth:`factors`).
        sampled: whether the rate must be that of the samples, the closed form being no choice.
        detaches: whether samples pass no gradient on; their probabilities are needed instead, whatever form the rate
            has.
    """

    Config: ClassVar[type[Any]]
    stops: ClassVar[bool] = False
    reweights: ClassVar[bool] = False
    sampled: ClassVar[bool] = False
    detaches: ClassVar[bool] = False

    def surrogate(self, bound: Bound, evidence: Evidence, control: RateControl) -> Tensor:
        """What is differentiated, ``[B]``, with the value of the negative bound."""
        return bound.loss(evidence, control)

    def factors(self, bound: Bound, evidence: Evidence, control: RateControl) -> Tensor:
        """What a gradient that arrives at each sample is multiplied by on its way to the posterior's parameters, ``[S,
        B]`` without gradients; asked for where the estimator reweights."""
        return torch.ones_like(evidence.log_shares)

    def require_fit(self, posterior: Posterior, bound: Bound) -> None:
        """Refuse posteriors and bounds whose gradient is not what the estimator gives; by default none.

        Raises:
            SeqgenError: saying what fits.
        """

    def noted(self, bound: Bound, evidence: Evidence, control: RateControl) -> dict[str, Tensor]:
        """Sums over the batch that :meth:`after_update` is told, beside ``rows``, their number."""
        return {}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        """Change buffers after an update: baselines."""


def require_one_distribution(posterior: Posterior) -> None:
    """Refuse families whose samples come from several distributions, component by component.

    Raises:
        SeqgenError: naming other estimators.
    """
    if posterior.samples_per_draw > 1:
        raise SeqgenError(
            "objective.gradient: samples are drawn component by component, none of them from the posterior itself",
            remedy="choose the gradient 'pathwise', or 'sticking-the-landing'",
        )


def with_value(surrogate: Tensor, value: Tensor) -> Tensor:
    """A tensor of that value whose gradient is that of the surrogate."""
    return value.detach() + surrogate - surrogate.detach()


def normalized(log_weights: Tensor) -> Tensor:
    """Weights of samples that add up to 1 for each row, ``[S, B]``, without gradients."""
    return torch.softmax(log_weights.detach(), dim=0)
