"""A prior that is a learnt mixture of normal distributions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.distributions.categorical import Categorical
from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior, Prior
from seqgen.latents.gaussian import normal_log_prob


class NormalMixture(Prior):
    """Prior ``p(z) = Σ_m w_m N(z; µ_m, diag s_m²)`` of every position by itself, with M components that are learnt.

    Shapes: z ``[S, B, N, D]``, u ``[B, N, 1 + D]``, of which the first number chooses the component. The means begin
    spread as a standard normal's samples are, the scales at 1.

    Source: a marginal that is learnt: Alemi et al., "Fixing a broken ELBO", arXiv 1711.00464, section 3.
    """

    @dataclass(frozen=True)
    class Config:
        """``dim``: numbers of a position. ``components``: M."""

        dim: int = 2
        components: int = 32

    @classmethod
    def examples(cls) -> Iterable[NormalMixture]:
        return [cls(cls.Config(dim=2, components=3))]

    @classmethod
    def options_for(cls, posterior: Posterior) -> Iterable[Config]:
        return [] if posterior.discrete else [cls.Config(dim=posterior.dim, components=3)]

    def __init__(self, config: Config) -> None:
        if min(config.dim, config.components) < 1:
            raise SeqgenError(f"a mixture of {config}", remedy="give 1 or more of each")
        super().__init__()
        self.dim, self.num_uniforms = config.dim, 1 + config.dim
        self.logits = nn.Parameter(torch.zeros(config.components))
        self.mean = nn.Parameter(torch.randn(config.components, config.dim))
        self.log_scale = nn.Parameter(torch.zeros(config.components, config.dim))
        self._one = Categorical(Categorical.Config(config.components))

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        each = normal_log_prob(z[..., None, :], self.mean, self.log_scale.exp()).sum(dim=-1)  # [S, B, N, M]
        return torch.logsumexp(torch.log_softmax(self.logits, dim=0) + each, dim=-1)

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        component = self._one.sample(self.logits, u[..., :1])  # [B, N]
        return self.mean[component] + self.log_scale.exp()[component] * quantile(u[..., 1:])
