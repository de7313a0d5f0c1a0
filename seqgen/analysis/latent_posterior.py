"""Latent-variable models of sequences as unnormalised posteriors, and their encoders' posteriors as families."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.analysis.unnormalised_posterior import normals, uniforms
from seqgen.analysis.variational_family import Samples, VariationalFamily, standard_normal
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Posterior, Setting
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.objectives.contract import scored


class LatentPosterior:
    """Joint density ``p(z) p(x|z)`` of a latent-variable model and a batch of sequences x, as a function of z.

    The N positions of a code with their numbers stand in one row: ``D = N · dim``. Positions behind a row's end are
    independent standard normal numbers that nothing depends on, so they change no evidence.

    Args:
        model: in evaluation mode. batch: with ``x`` and ``lengths``. setting: of the batch (``model.encoded``).
    """

    def __init__(self, model: LatentVariable, batch: Any, setting: Setting) -> None:
        self.model, self.batch, self.setting = model, batch, setting

    @property
    def shape(self) -> tuple[int, int]:
        """B and D."""
        rows, positions = self.setting.inside.shape
        return rows, positions * self.model.posterior.dim

    def log_prior(self, z: Tensor) -> Tensor:
        code = self._code(z)  # [S, B, N, dim]
        real = self.model.prior.log_prob(code, self.setting.given)  # [S, B, N]
        return torch.where(self.setting.inside, real, standard_normal(code)).sum(dim=-1)

    def log_likelihood(self, z: Tensor) -> Tensor:
        scores = self.model.log_likelihood(self.batch, self._code(z))  # [S, B, T]
        counted = scored(self.batch, scores[0], length=self.model.decoder.length)
        return (scores * counted).sum(dim=-1)

    def prior(self, key: Key, samples: int) -> Tensor:
        """Samples of ``p(z)``, a function of the key, ``[S, B, D]``."""
        rows, positions = self.setting.inside.shape
        prior, like = self.model.prior, next(self.model.parameters())
        u = uniforms(key, 0, (samples, rows, positions, prior.num_uniforms), like)
        with torch.no_grad():
            codes = torch.stack([prior.sample(one, self.setting.given) for one in u])  # [S, B, N, dim]
        beyond = normals(key, u.numel(), tuple(codes.shape), like)
        return torch.where(self.setting.inside[..., None], codes, beyond).flatten(2)

    def _code(self, z: Tensor) -> Tensor:
        return z.unflatten(-1, (-1, self.model.posterior.dim))


class EncodedFamily(VariationalFamily):
    """Posteriors of the family that a model's encoder chooses from, at first what it chooses for each example.

    An example's parameters are those that the encoder tells, and copies of what all examples of a model share beside
    them, the networks of a flow say.

    Raises:
        SeqgenError: for codes of symbols, and for posteriors whose samples have no density.
    """

    def __init__(self, posterior: Posterior, params: Tensor, setting: Setting) -> None:
        super().__init__()
        require_continuous(posterior)
        self.examples, positions, _ = params.shape
        self.latent_dim, self.num_uniforms = positions * posterior.dim, positions * posterior.num_uniforms
        self.setting = setting
        self.params = nn.Parameter(params.detach().clone())
        self._shared = (_Scored(copy.deepcopy(posterior)),)  # a tuple, so that it is no part of what is optimised
        self._names = [name for name, _ in self._shared[0].named_parameters()]
        self.own = nn.ParameterList(
            one.detach().repeat(self.examples, *[1] * one.dim()) for one in self._shared[0].parameters()
        )

    def sample(self, u: Tensor) -> Samples:
        u = u.unflatten(-1, (self.params.shape[1], -1))  # [S, B, N, U]
        z, log_q = self._drawn(u)  # [S, B, N, dim], [S, B, N]
        inside = self.setting.inside
        # Behind a row's end there is one value, as likely as the target says: such positions cost nothing.
        z = torch.where(inside[..., None], z, 0.0)
        log_q = torch.where(inside, log_q, standard_normal(torch.zeros_like(z)))
        return Samples(z.flatten(2), log_q.sum(dim=-1))

    def _drawn(self, u: Tensor) -> tuple[Tensor, Tensor]:
        shared = self._shared[0]
        if not self._names:
            return shared(self.params, u, self.setting)

        def alone(own: dict[str, Tensor], params: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
            """One example by its own copies: ``[N, P]``, ``[S, N, U]``."""
            given = (params[None], u[:, None], self.setting)
            z, log_q = torch.func.functional_call(shared, own, given)
            return z[:, 0], log_q[:, 0]

        own = dict(zip(self._names, self.own, strict=True))
        return torch.func.vmap(alone, in_dims=(0, 0, 1), out_dims=1)(own, self.params, u)


def require_continuous(posterior: Posterior) -> None:
    """Refuse posteriors whose gaps cannot be measured.

    Raises:
        SeqgenError: for codes of symbols, and for samples that have no density.
    """
    if posterior.discrete:
        raise SeqgenError(
            f"codes of {type(posterior).__name__} are symbols; gaps are measured of real numbers, by gradients",
            remedy="name a model of continuous codes",
        )
    if not posterior.scored:
        raise SeqgenError(
            f"samples of {type(posterior).__name__} have no density, which gaps are measured by",
            remedy="name a model whose posterior has one",
        )


class _Scored(nn.Module):
    """Exact samples of a posterior and their probabilities."""

    def __init__(self, posterior: Posterior) -> None:
        super().__init__()
        self.posterior = posterior

    def forward(self, params: Tensor, u: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
        draw: Draw = self.posterior.draw(params, u, setting, exact=True)
        return draw.z, self.posterior.log_prob(params, draw.z)
