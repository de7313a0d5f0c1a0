"""Normal posteriors that cannot match the standard normal prior: their scales are held below one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from scipy.special import lambertw
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.latents.contract import GaussianMarginals
from seqgen.latents.gaussian import GaussianPosterior


class CommittedGaussian(GaussianPosterior):
    """Normal posterior each of whose numbers has a rate of ``nats`` or more against the standard normal prior:

        s(x) = s_δ σ(v),    ½ (s_δ² - 1 - ln s_δ²) = nats,  s_δ ≤ 1,    v the second half of the network's outputs

    ``KL(N(µ, s²) ‖ N(0, 1)) = ½ (s² + µ² - 1 - ln s²)`` falls with s below 1, so that s_δ at a mean of 0 has the least.
    Codes of all x together can be standard normal all the same, with means of variance ``1 - s_δ²``.

    Raises:
        SeqgenError: for a code of no numbers, or a rate that is not above 0.

    Source: the idea of a committed rate is of Razavi et al., arXiv 1901.03416; this family is derived here, and need
    not be the one that the paper has for independent priors.

    Example:
        >>> made = CommittedGaussian(CommittedGaussian.Config(dim=1, nats=0.5))
        >>> round(made.largest_scale, 4)
        0.3983
    """

    @dataclass(frozen=True)
    class Config:
        """``dim``: numbers of a position. ``nats``: least rate of each."""

        dim: int = 2
        nats: float = 0.1

    @classmethod
    def examples(cls) -> Iterable[CommittedGaussian]:
        return [cls(cls.Config(dim=2)), cls(cls.Config(dim=3, nats=1.0))]

    def __init__(self, config: Config) -> None:
        if config.nats <= 0:
            raise SeqgenError(f"a committed rate of {config.nats} nats", remedy="give a number above 0")
        super().__init__(GaussianPosterior.Config(dim=config.dim))
        self.largest_scale = math.sqrt(-lambertw(-math.exp(-1 - 2 * config.nats)).real)

    def marginals(self, params: Tensor) -> GaussianMarginals:
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        mean, narrow = params.chunk(2, dim=-1)
        return GaussianMarginals(mean, self.largest_scale * torch.sigmoid(narrow.clamp(-14, 14)))
