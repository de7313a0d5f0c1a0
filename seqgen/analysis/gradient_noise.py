"""Noise of an estimated gradient: how far a draw of it is from its mean, and its mean from what it is taken for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior
from seqgen.noise import Key

_MOST_CODES = 4096


@dataclass(frozen=True)
class GradientNoise:
    """Mean and variance of a gradient by P parameters.

    Attributes:
        mean: over the draws, ``[P]``. variance: of one draw, the parameters' added up, ``E |g - E g|²``.
        draws: how many.
    """

    mean: Tensor
    variance: float
    draws: int

    def squared_bias(self, exact: Tensor) -> float:
        """``|E g - exact|²``, from which what the mean owes to its own noise is taken: without bias it is 0 in the
        mean, and may be below."""
        return float((self.mean - exact).square().sum()) - self.variance / self.draws


def gradient_noise(gradient: Callable[[Key], Tensor], draws: int, key: Key) -> GradientNoise:
    """The noise of a gradient ``[P]`` that is a function of its key, over so many keys.

    Raises:
        SeqgenError: for fewer than two draws.

    Example:
        >>> gradient_noise(lambda key: torch.ones(3) * (key.stream % 2), 4, Key(0, 0)).variance
        1.0
    """
    if draws < 2:
        raise SeqgenError(f"a variance of {draws} draws", remedy="take 2 or more")
    mean, squares = torch.zeros(()), torch.zeros(())
    for count in range(1, draws + 1):
        each = gradient(Key(key.seed, key.stream + count)).detach().double()
        before = each - mean
        mean = mean + before / count
        squares = squares + (before * (each - mean)).sum()
    return GradientNoise(mean, float(squares) / (draws - 1), draws)


def every_code(posterior: Posterior, like: Tensor) -> Tensor:
    """All codes of one position of a family of symbols, ``[K^G, dim]``, of the kind of a tensor.

    Raises:
        SeqgenError: where codes are no symbols, or too many.

    Example:
        >>> from seqgen.latents.categorical import CategoricalPosterior
        >>> every_code(CategoricalPosterior(CategoricalPosterior.Config(1, 3)), torch.zeros(())).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    groups, classes = posterior.groups, posterior.classes
    if not posterior.discrete or not 0 < classes**groups <= _MOST_CODES:
        raise SeqgenError(
            f"{groups} symbols of {classes} classes are not enumerated",
            remedy=f"take codes of symbols, at most {_MOST_CODES:,} of them",
        )
    symbols = torch.tensor(list(itertools.product(range(classes), repeat=groups)), device=like.device)
    return F.one_hot(symbols, classes).flatten(1).to(like.dtype)


def expectation(log_probs: Tensor, values: Tensor) -> Tensor:
    """``Σ_z q(z) f(z)`` of all codes of each row, ``[S, B]`` both, to ``[B]``.

    Raises:
        SeqgenError: where the probabilities of a row do not add up to 1.
    """
    total = torch.logsumexp(log_probs.detach(), dim=0).abs().max()
    if float(total) > math.sqrt(torch.finfo(log_probs.dtype).eps):
        raise SeqgenError("the codes are not all there are", remedy="give every code of one position")
    return (log_probs.exp() * values).sum(dim=0)
