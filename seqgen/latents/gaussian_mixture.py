"""Mixtures of normal distributions as posteriors, summed over their components."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Posterior, Setting, equal_shares
from seqgen.latents.gaussian import normal_log_prob


class GaussianMixturePosterior(Posterior):
    """Mixture of K normal distributions of a whole code, each independent from number to number:

        q(z | x) = Σ_k π_k(x) Π_n,d N(z_n,d; µ_k,n,d(x), s_k,n,d(x)²),    s = exp(½ v), v held at -14 … 14

    Training draws every component, ``z_k = µ_k + s_k Φ⁻¹(u_k)``, and lets it count by its weight, so that the sum over
    components is exact and gradients reach the weights too:

        E_q f(z) = Σ_k π_k E f(z_k)

    A draw costs as many samples as there are components. Exact samples are of a component that is drawn, one a draw.
    Logits of π are those of the first position; of later ones they say nothing. The probability of a position is that
    given the positions before it, by which the components are told apart. There is no closed form of the rate.

    Shapes: params (logits, µ, v) ``[B, N, K + 2 K D]``, z ``[K·S, B, N, D]``, u ``[S, B, N, 1 + K D]``.

    Raises:
        SeqgenError: for a code of no numbers, and for fewer than two components.

    Source: Roeder, Wu and Duvenaud, "Sticking the landing", arXiv 1703.09194, the extension to mixtures.

    Example:
        >>> GaussianMixturePosterior(GaussianMixturePosterior.Config(dim=8, components=3)).num_params
        51
    """

    @dataclass(frozen=True)
    class Config:
        """``dim``: numbers of a position. ``components``: K."""

        dim: int = 2
        components: int = 3

    @classmethod
    def examples(cls) -> Iterable[GaussianMixturePosterior]:
        return [cls(cls.Config(dim=2)), cls(cls.Config(dim=1, components=2))]

    def __init__(self, config: Config) -> None:
        if config.dim < 1 or config.components < 2:
            raise SeqgenError(f"a posterior of {config}", remedy="give 1 number or more, and 2 components or more")
        super().__init__()
        self.dim, self.samples_per_draw = config.dim, config.components
        self.num_params = config.components * (1 + 2 * config.dim)
        self.num_uniforms = 1 + config.components * config.dim
        self._one = Categorical(Categorical.Config(config.components))

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        log_weights, mean, scale = self._parts(params)
        normals = quantile(u[..., 1:].to(mean.dtype)).unflatten(-1, mean.shape[-2:])  # [S, B, N, K, D]
        z = mean + scale * normals
        if exact:
            chosen = self._one.sample(log_weights, u[:, :, 0, :1].to(mean.dtype))  # [S, B]
            place = chosen[..., None, None, None].expand(*z.shape[:3], 1, self.dim)
            only = z.gather(-2, place).squeeze(-2)  # [S, B, N, D]
            return Draw(only, equal_shares(only))
        each = z.movedim(-2, 1)  # [S, K, B, N, D]
        shares = log_weights.T + equal_shares(z)[:, None]  # [S, K, B]
        return Draw(each.flatten(0, 1), shares.flatten(0, 1))

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        log_weights, mean, scale = self._parts(params)
        each = normal_log_prob(z[..., None, :], mean, scale).sum(dim=-1)  # [S, B, N, K]
        until = torch.logsumexp(log_weights[:, None] + each.cumsum(dim=-2), dim=-1)  # [S, B, N], ln q(z_≤n)
        return torch.diff(until, dim=-1, prepend=torch.zeros_like(until[..., :1]))

    def code(self, params: Tensor, setting: Setting) -> Tensor:
        """The mean of the component with the largest weight."""
        log_weights, mean, _ = self._parts(params)
        place = log_weights.argmax(dim=-1)[:, None, None, None].expand(*mean.shape[:2], 1, self.dim)
        return mean.gather(-2, place).squeeze(-2)

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``ln π [B, K]``, µ and s ``[B, N, K, D]``."""
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        components, numbers = self.samples_per_draw, self.samples_per_draw * self.dim
        logits, mean, log_variance = params.split([components, numbers, numbers], dim=-1)
        mean, log_variance = (one.unflatten(-1, (components, self.dim)) for one in (mean, log_variance))
        return torch.log_softmax(logits[:, 0], dim=-1), mean, torch.exp(0.5 * log_variance.clamp(-14, 14))
