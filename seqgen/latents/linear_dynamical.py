"""The linear dynamical prior: codes move from position to position by linear dynamics that are inferred."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.graphical.exponential_family import Statistics
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.linear_dynamical import GaussianChain
from seqgen.graphical.matrix_normal_inverse_wishart import MatrixNormalInverseWishart
from seqgen.graphical.normal_inverse_wishart import NormalInverseWishart
from seqgen.latents.conjugate import TRUST, Belief, ConjugatePrior, Inferred
from seqgen.latents.conjugate_mixture import standard_belief

_LOG_TAU = math.log(2 * math.pi)


class LinearDynamical(ConjugatePrior):
    """Linear dynamical system over a code, its parameters conjugate:

        z_1 ~ N(µ, Σ),    z_{n+1} = A z_n + N(0, Q)
        µ, Σ ~ NIW(ν = D + strength, S = ν I, m = 0, κ = strength)
        A, Q ~ MNIW(ν = D + strength, S = ν · noise² I, M = persistence · I, K = I)

    Local inference is exact: a filter and a smoother. Where the prior is looked at without any x, its parameters are m,
    S / ν and M.

    Shapes: z ``[S, B, N, D]``, u ``[B, N, D]``.

    Raises:
        SeqgenError: for states of no numbers, or a prior that is improper.

    Source: Johnson et al., arXiv 1603.06277, section 4.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            dim: D. strength: of the prior, in points. noise: deviation that is expected of one step.
            persistence: what is expected of A, as a multiple of the identity.
            spread: deviation of what is added to the first A, so that no two directions are alike.
            natural: whether q(θ) moves along natural gradients. trust: nats by which a step of these may change what
                the codes of a row cost.
        """

        dim: int = 2
        strength: float = 10.0
        noise: float = 1.0
        persistence: float = 0.9
        spread: float = 0.1
        natural: bool = True
        trust: float = TRUST

    @classmethod
    def small(cls, dim: int) -> Config:
        return cls.Config(dim=dim)

    @classmethod
    def examples(cls) -> Iterable[LinearDynamical]:
        return [cls(cls.small(2))]

    def __init__(self, config: Config) -> None:
        if config.dim < 1 or min(config.strength, config.noise) <= 0:
            raise SeqgenError(
                f"linear dynamics of {config}", remedy="give a number or more, strength and noise above 0"
            )
        super().__init__()
        self.config, self.natural, self.trust = config, config.natural, config.trust
        self.dim = self.num_uniforms = n = config.dim
        first = standard_belief(1, n, config.strength, torch.zeros(1, n))[0]
        prior, start = (
            transition_belief(1, n, config.strength, config.noise, config.persistence * torch.eye(n) + added)[0]
            for added in (torch.zeros(n, n), config.spread * torch.randn(n, n))
        )
        self.beliefs = nn.ModuleDict(
            {
                "initial": Belief(first, first, natural=config.natural),
                "dynamics": Belief(prior, start, natural=config.natural),
            }
        )

    def infer(self, potentials: GaussianFactor, inside: Tensor) -> InferredPath:
        initial: NormalInverseWishart = self._member("initial")
        dynamics: MatrixNormalInverseWishart = self._member("dynamics")
        pairs = dynamics.expected_factor().where(inside[:, 1:])
        return InferredPath(GaussianChain(initial.expected_factor(), pairs, potentials), inside)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        mean, covariance, matrix, noise = self._plugged_in()
        x = z.double()
        first = normal_log_density(x[:, :, :1] - mean, covariance)  # [S, B, 1]
        later = normal_log_density(x[:, :, 1:] - x[:, :, :-1] @ matrix.mT, noise)  # [S, B, N - 1]
        return torch.cat([first, later], dim=-1).to(z.dtype)

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        mean, covariance, matrix, noise = self._plugged_in()
        fresh = quantile(u.double())
        states = [mean + fresh[:, 0] @ torch.linalg.cholesky(covariance).mT]
        steps = fresh[:, 1:] @ torch.linalg.cholesky(noise).mT
        for step in steps.unbind(dim=1):
            states.append(states[-1] @ matrix.mT + step)
        return torch.stack(states, dim=1).to(u.dtype)

    def _plugged_in(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and covariance of the first state, A and Q."""
        first, mean, _, degrees = self._member("initial").standard()
        scatter, matrix, _, freedom = self._member("dynamics").standard()
        return mean, first / degrees, matrix, scatter / freedom


class InferredPath(Inferred):
    """Local posterior of a batch of paths through linear dynamics."""

    def __init__(self, chain: GaussianChain, inside: Tensor) -> None:
        self._chain, self._inside = chain, inside
        self._path, log_normaliser = chain.inferred()
        self.moments = self._path.nodes
        kl = chain.nodes.inner(self.moments).sum(dim=-1) - log_normaliser  # [B]
        self.rates = shared_out(kl, inside)
        self.responsibilities = torch.ones_like(self.mean[..., :1])

    def sample(self, normals: Tensor) -> Tensor:
        return self._chain.sample(normals)

    def statistics(self) -> Mapping[str, Statistics]:
        pairs = tuple(summed(each, self._inside[:, 1:]) for each in self._path.pairs)
        initial = tuple(summed(each, self._inside[:, 0]) for each in self._path.initial)
        return {"initial": NormalInverseWishart.sufficient(initial), "dynamics": pairs}


def transition_belief(
    k: int, n: int, strength: float, noise: float, matrix: Tensor, columns: float = 1.0
) -> MatrixNormalInverseWishart:
    """K members ``MNIW(ν = n + strength, S = ν · noise² I, M, K = columns · I)``."""
    degrees = n + strength
    eye = torch.eye(n).expand(k, n, n)
    return MatrixNormalInverseWishart.of_standard(
        degrees * noise**2 * eye, matrix.expand(k, n, n), columns * eye, torch.full((k,), degrees)
    )


def normal_log_density(apart: Tensor, covariance: Tensor) -> Tensor:
    """``ln N(apart; 0, covariance)``, ``[…, n]``, ``[n, n] → […]``."""
    lower = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(lower, apart[..., None], upper=False)[..., 0]
    volume = lower.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    return -0.5 * white.square().sum(dim=-1) - volume - 0.5 * apart.shape[-1] * _LOG_TAU


def summed(statistic: Tensor, inside: Tensor) -> Tensor:
    """Sum over the batch, and over what lies inside of its rows, ``[…, event] → [event]``."""
    weights = inside.to(statistic.dtype).flatten()
    return torch.tensordot(weights, statistic.flatten(0, inside.dim() - 1), dims=1)


def shared_out(total: Tensor, inside: Tensor) -> Tensor:
    """A row's total in equal shares of its positions, ``[B]``, bool ``[B, N] → [B, N]``."""
    return inside * (total / inside.sum(dim=1).clamp_min(1))[:, None]
