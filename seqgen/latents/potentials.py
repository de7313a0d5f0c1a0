"""Posteriors of recognition potentials: a network tells evidence, which the prior's own inference combines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.latents.conjugate import ConjugatePrior, Inferred
from seqgen.latents.contract import Draw, Posterior, Setting, equal_shares


class RecognitionPotentials(Posterior):
    """Posterior that a conjugate prior makes of evidence potentials, by exact message passing or block mean field:

        ψ_n(z) = -½ Σ_d J_d z_d² + Σ_d h_d z_d,    J = floor + softplus(a),    (a, h) the network's outputs
        q(z | x) = the best of its family for E [ln p(z | θ) + Σ_n ψ_n(z_n)] + H(q)

    A position with no evidence has J = 0 and h = 0, and is known by the others alone. Samples have no probabilities one
    by one: their joint density is that of the prior's graph.

    Shapes: params ``[B, N, 2 D]``, z ``[S, B, N, D]``, u the same.

    Raises:
        SeqgenError: for a code of no numbers, a negative floor, or a prior that is not conjugate.

    Source: Johnson et al., arXiv 1603.06277, section 4.1.

    Example:
        >>> RecognitionPotentials(RecognitionPotentials.Config(dim=8)).num_params
        16
    """

    @dataclass(frozen=True)
    class Config:
        """``dim``: numbers of a position. ``floor``: lowest precision of a potential."""

        dim: int = 2
        floor: float = 1e-4

    conjugate = True

    @classmethod
    def examples(cls) -> Iterable[RecognitionPotentials]:
        return [cls(cls.Config(dim=2))]

    def __init__(self, config: Config) -> None:
        if config.dim < 1 or config.floor < 0:
            raise SeqgenError(f"recognition potentials: got {config}", remedy="give a number or more, and no floor < 0")
        super().__init__()
        self.dim, self.floor = config.dim, config.floor
        self.num_params, self.num_uniforms = 2 * config.dim, config.dim

    def infer(self, params: Tensor, setting: Setting) -> Inferred:
        if not isinstance(setting.prior, ConjugatePrior):
            raise SeqgenError(
                f"recognition potentials under {type(setting.prior).__name__}, which infers nothing of them",
                remedy="choose a conjugate prior, or another posterior",
            )
        return setting.prior.infer(self.potentials(params, setting.inside), setting.inside)

    def potentials(self, params: Tensor, inside: Tensor) -> GaussianFactor:
        """Evidence of each position in double precision, ``[B, N, 2 D]``, bool ``[B, N] → [B, N]``."""
        raw, linear = (params.double() * inside[..., None]).chunk(2, dim=-1)  # [B, N, D]
        precision = (self.floor + torch.nn.functional.softplus(raw)) * inside[..., None]
        return GaussianFactor.of_evidence(precision, linear)

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        z = setting.inferred.sample(quantile(u.double())).to(params.dtype)  # [S, B, N, D]
        return Draw(z, equal_shares(z))

    def kl(self, params: Tensor, setting: Setting) -> Tensor:
        rates: Tensor = setting.inferred.rates
        return rates.to(params.dtype)

    def code(self, params: Tensor, setting: Setting) -> Tensor:
        mean: Tensor = setting.inferred.mean
        return mean.to(params.dtype)
