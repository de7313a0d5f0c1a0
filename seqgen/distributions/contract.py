"""The contract of a distribution: the probability of one element of a sequence, given the network's outputs for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor

from seqgen.errors import SeqgenError


def full(params: Tensor) -> Tensor:
    """Half-precision network outputs as float32: likelihoods are not to be summed in 8 bits."""
    return params.float() if params.dtype in (torch.bfloat16, torch.float16) else params


class Distribution(ABC):
    """Log-probability and sampling of one element, given the network's outputs for it.

    Deterministic: all randomness comes in as uniforms ``u`` in [0, 1). The laws of
    :func:`seqgen.distributions.verify.verify` hold for every registered one.

    Attributes:
        num_params: network outputs per element.
        num_uniforms: uniforms that one sample takes.
        vocab_size: alphabet size where values are int64 symbols; 0 where they are real numbers in [-1, 1].
    """

    num_params: int
    num_uniforms: int
    vocab_size: int

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over; by default one of default options."""
        return [cls(cls.Config())]  # type: ignore[attr-defined,call-arg]  # registered classes take their Config

    @abstractmethod
    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        """``ln p(value)`` in nats: ``[…, num_params]``, ``[…] → […]``; a density where values are continuous."""

    @abstractmethod
    def sample(self, params: Tensor, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        """One value per element: ``[…, num_params]``, ``[…, num_uniforms] → […]``; temperature 0 gives the mode's
        side."""

    @property
    def num_values(self) -> int:
        """Values that an element can take; 0 where they are the real numbers."""
        return self.vocab_size

    def values(self, index: Tensor) -> Tensor:
        """Values by their number, int64 ``[…]`` from 0 to ``num_values - 1``, in ascending order."""
        return index

    def cumulative(self, params: Tensor, index: Tensor) -> Tensor:
        """Probability ``P(k < index)`` of the values before one: ``[…, num_params]``, int64 ``[…, E] → […, E]``; 0
        before the first value, 1 at ``num_values``. What an entropy coder divides its interval by.

        Raises:
            SeqgenError: for a distribution of real numbers.
        """
        raise SeqgenError(
            f"{type(self).__name__} is a density over the real numbers: no value has a probability",
            remedy="choose a distribution over levels or symbols",
        )

    def kl(self, params: Tensor, other: Tensor) -> Tensor:
        """``KL(p ‖ q)`` in nats of two distributions of this kind, ``[…, num_params]`` twice ``→ […]``.

        Raises:
            SeqgenError: where it has no closed form.
        """
        raise SeqgenError(
            f"the divergence of two {type(self).__name__} distributions has no closed form",
            remedy="estimate it from samples: the mean of log_prob(params, x) - log_prob(other, x)",
        )


class LocationScale(Distribution):
    """A distribution of real numbers that has a density, and whose values can be made larger or smaller.

    Attributes:
        levels: equal levels of [-1, 1] that values are, the first at -1; 0 where they are real numbers.
    """

    levels: int = 0

    @property
    def num_values(self) -> int:
        return self.levels

    def values(self, index: Tensor) -> Tensor:
        top = self.levels - 1
        return index.to(torch.get_default_dtype()) * (2 / top) - 1

    @abstractmethod
    def log_density(self, params: Tensor, value: Tensor) -> Tensor:
        """``ln p(value)`` of the continuous density behind the levels: nats per unit of amplitude,
        ``[…, num_params]``, ``[…] → […]``. A level's probability is about the density times the width of its bin."""

    @abstractmethod
    def scaled(self, params: Tensor, log_gain: Tensor) -> Tensor:
        """Parameters of the distribution of the value times ``e^log_gain``: ``[…, num_params]``, ``[…, 1] → […,
        num_params]``."""
