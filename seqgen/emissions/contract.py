"""The contract of an emission: the distribution of one element of a sequence."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from seqgen.errors import SeqgenError


def full(params: Tensor) -> Tensor:
    """Half-precision network outputs as float32: likelihoods are not to be summed in 8 bits."""
    return params.float() if params.dtype in (torch.bfloat16, torch.float16) else params


class Emission(ABC):
    """Log-probability and sampling of one element, given the network's outputs for it.

    Deterministic: all randomness comes in as uniforms ``u`` in [0, 1).

    Attributes:
        params: network outputs per element.
        draws: uniforms that one sample takes.
        levels: how many values there are; 0 for a continuum.
        symbols: alphabet size where values are int64 symbols; 0 where they are real numbers in [-1, 1].
    """

    params: int
    draws: int
    levels: int
    symbols: int

    @abstractmethod
    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        """``ln p(value)`` in nats: ``[…, params]``, ``[…] → […]``; a density where values are continuous."""

    def log_density(self, params: Tensor, value: Tensor) -> Tensor:
        """``ln p(value)`` of the continuous density behind the levels: nats per unit of amplitude, ``[…, params]``,
        ``[…] → […]``. A level's probability is about the density times the width of its bin.

        Raises:
            SeqgenError: where there is none: a softmax over symbols knows no distances.
        """
        raise SeqgenError(
            f"{type(self).__name__} has no density", remedy="use an emission over real numbers, e.g. logistic-mixture"
        )

    def louder(self, params: Tensor, log_gain: Tensor) -> Tensor:
        """Parameters of the distribution of the value times ``e^log_gain``: ``[…, params]``, ``[…, 1] → […, params]``.

        Raises:
            SeqgenError: where values are symbols.
        """
        raise SeqgenError(
            f"{type(self).__name__} is over symbols, which have no amplitude",
            remedy="use an emission over real numbers",
        )

    @abstractmethod
    def sample(self, params: Tensor, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        """One value per element: ``[…, params]``, ``[…, draws] → […]``; temperature 0 gives the mode's side."""
