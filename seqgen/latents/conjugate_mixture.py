"""The conjugate mixture prior: codes in Gaussian clusters, whose weights, means and covariances are inferred."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.graphical.dirichlet import DirichletFactor
from seqgen.graphical.exponential_family import Statistics, averaged
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.hidden_markov import inverted
from seqgen.graphical.mixture import GaussianMixture, MixturePosterior
from seqgen.graphical.normal_inverse_wishart import NormalInverseWishart
from seqgen.latents.conjugate import TRUST, Belief, ConjugatePrior, Inferred

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class ConjugateMixture(ConjugatePrior):
    """Mixture of K Gaussians over each position of a code by itself, its parameters conjugate:

        π ~ Dirichlet(α),    µ_k, Σ_k ~ NIW(ν = D + strength, S = ν I, m = 0, κ = strength)
        p(z_n | θ) = Σ_k π_k N(z_n; µ_k, Σ_k)

    Local inference is block mean field (:class:`~seqgen.graphical.mixture.GaussianMixture`). Where the prior is looked
    at without any x, its parameters are E π, m_k and S_k / ν_k.

    Shapes: z ``[S, B, N, D]``, u ``[B, N, 1 + D]``.

    Raises:
        SeqgenError: for a mixture of nothing, or a prior that is improper.

    Source: Johnson et al., arXiv 1603.06277, section 4.2; defaults of the released pinwheel script.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            dim: D. components: K, more than are needed. concentration: α of each component; small ones leave
                components empty. strength: of the prior over means and covariances, in points.
            spread: deviation of the components' first means. natural: whether q(θ) moves along natural gradients.
            trust: nats by which a step of these may change what the codes of a row cost.
            sweeps: of local inference at most. tolerance: change of the batch's divergence in nats that ends it.
        """

        dim: int = 2
        components: int = 15
        concentration: float = 0.05 / 15
        strength: float = 0.5
        spread: float = 3.0
        natural: bool = True
        trust: float = TRUST
        sweeps: int = 100
        tolerance: float = 1e-3

    @classmethod
    def small(cls, dim: int) -> Config:
        return cls.Config(dim=dim, components=3, concentration=2.0, strength=8.0, spread=1.0, sweeps=20, tolerance=0.0)

    @classmethod
    def examples(cls) -> Iterable[ConjugateMixture]:
        return [cls(cls.small(2))]

    def __init__(self, config: Config) -> None:
        if min(config.dim, config.components) < 1 or min(config.concentration, config.strength) <= 0:
            raise SeqgenError(
                f"a conjugate mixture of {config}",
                remedy="give a number, a component, and weights of the prior above 0",
            )
        super().__init__()
        self.config, self.dim = config, config.dim
        self.natural, self.trust = config.natural, config.trust
        self.num_uniforms = 1 + config.dim
        k, n = config.components, config.dim
        weights = DirichletFactor.of_standard(torch.full((k,), config.concentration))
        fresh = DirichletFactor.of_standard(0.1 + torch.rand(k))
        self.beliefs = nn.ModuleDict(
            {
                "weights": Belief(weights, fresh, natural=config.natural),
                "components": Belief(
                    standard_belief(k, n, config.strength, torch.zeros(k, n)),
                    standard_belief(k, n, 1.0, config.spread * torch.randn(k, n)),
                    natural=config.natural,
                ),
            }
        )

    def infer(self, potentials: GaussianFactor, inside: Tensor) -> InferredClusters:
        components: NormalInverseWishart = self._member("components")
        (log_weights,) = self._member("weights").expected()
        mixture = GaussianMixture(log_weights, components.expected_factor())
        flat = GaussianFactor(*(each.flatten(0, 1) for each in potentials.natural))  # [B·N]
        with torch.no_grad():
            start = mixture.joint(flat).softmax(dim=-1)
        found = mixture.fit(flat, start, tolerance=self.config.tolerance, sweeps=self.config.sweeps)
        return InferredClusters(found, inside)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        weights, components = self._plugged_in()
        x = z.double()[..., None, :]  # [S, B, N, 1, D]
        each = components.inner((x[..., :, None] * x[..., None, :], x, torch.ones_like(x[..., 0])))  # [S, B, N, K]
        total = torch.logsumexp(weights.log() + each, dim=-1) - self.dim * _HALF_LOG_TAU
        return total.to(z.dtype)

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        weights, components = self._plugged_in()
        chosen = inverted(weights.log(), u[..., 0].double())  # [B, N]
        return components[chosen].sample(quantile(u[..., 1:].double())).to(u.dtype)

    def _plugged_in(self) -> tuple[Tensor, GaussianFactor]:
        """Weights and components of mean parameters, ``[K]`` both."""
        concentration = self._member("weights").standard()
        scatter, mean, _, degrees = self._member("components").standard()
        covariance = scatter / degrees[:, None, None]
        return concentration / concentration.sum(), GaussianFactor.of_standard(mean, covariance)


class InferredClusters(Inferred):
    """Local posterior of a batch under a mixture, of B·N points."""

    def __init__(self, found: MixturePosterior, inside: Tensor) -> None:
        self._found, self._inside = found, inside
        self._points = found.points.expected()  # [B·N, ...]
        self.moments = tuple(each.unflatten(0, inside.shape) for each in self._points)
        self.rates = found.kl.unflatten(0, inside.shape) * inside
        self.responsibilities = found.responsibilities.unflatten(0, inside.shape)  # [B, N, K]

    def sample(self, normals: Tensor) -> Tensor:
        drawn = self._found.points.sample(normals.flatten(1, 2))  # [S, B·N, D]
        return drawn.unflatten(1, self._inside.shape)

    def statistics(self) -> Mapping[str, Statistics]:
        weights = self._found.responsibilities * self._inside.flatten()[:, None]  # [B·N, K]
        points = averaged(self._points, weights, GaussianFactor.ranks)
        return {"weights": (weights.sum(dim=0),), "components": NormalInverseWishart.sufficient(points)}


def standard_belief(k: int, n: int, strength: float, mean: Tensor) -> NormalInverseWishart:
    """K members ``NIW(ν = n + strength, S = ν I, m, κ = strength)``."""
    degrees = n + strength
    return NormalInverseWishart.of_standard(
        (degrees * torch.eye(n)).expand(k, n, n), mean, torch.full((k,), strength), torch.full((k,), degrees)
    )
