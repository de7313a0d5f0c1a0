"""Posteriors by a flow of couplings: normal numbers, each half of which is moved by what the other half says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Posterior, Setting, equal_shares
from seqgen.latents.gaussian import normal_log_prob

_GATE = 2.0  # bias of gates: a fresh flow nearly keeps what it is given


class CouplingFlow(Posterior):
    """Flow posterior: ``z_0 = µ(x) + s(x) Φ⁻¹(u)``, then couplings of its halves a, b in turn, given a context c(x):

        b ← b · sig(g_k(a, c)) + m_k(a, c),    a ← a · sig(g_k'(b, c)) + m_k'(b, c),    …
        ln q(z | x) = ln N(z_0; µ, s²) - Σ ln sig(g)

    The networks g, m are the same for all x: what an x has of its own is µ, s and c. There is no closed form of the
    rate.

    Shapes: params ``[B, N, 2 D + context]``, z ``[S, B, N, D]``, u the same.

    Raises:
        SeqgenError: for a code of fewer than two numbers, or sizes that make no flow.

    Source: Dinh et al., "Density estimation using real NVP", arXiv 1605.08803, section 3; as a posterior:
    Cremer et al., arXiv 1801.03558, section 4.1, without auxiliary variables.

    Example:
        >>> CouplingFlow(CouplingFlow.Config(dim=8)).num_params
        16
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the family.

        Attributes:
            dim: numbers of a position. flows: couplings of both halves. hidden: units of each coupling's layer.
            context: numbers c(x) that couplings read beside a half.
        """

        dim: int = 2
        flows: int = 2
        hidden: int = 50
        context: int = 0

    @classmethod
    def examples(cls) -> Iterable[CouplingFlow]:
        return [cls(cls.Config(dim=2, hidden=5)), cls(cls.Config(dim=3, flows=1, hidden=4, context=2))]

    def __init__(self, config: Config) -> None:
        if config.dim < 2 or min(config.flows, config.hidden) < 1 or config.context < 0:
            raise SeqgenError(f"a flow of {config}", remedy="give 2 numbers or more, and 1 flow and unit or more")
        super().__init__()
        self.dim = self.num_uniforms = config.dim
        self.num_params = 2 * config.dim + config.context
        self.halves = [config.dim - config.dim // 2, config.dim // 2]
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(kept + config.context, config.hidden), nn.ELU(), nn.Linear(config.hidden, 2 * moved)
            )
            for _ in range(config.flows)
            for kept, moved in (self.halves, self.halves[::-1])
        )

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        mean, scale, context = self._parts(params)
        z = self._moved(mean + scale * quantile(u.to(mean.dtype)), context)
        return Draw(z, equal_shares(z))

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        mean, scale, context = self._parts(params)
        halves, log_det = list(z.split(self.halves, dim=-1)), z.new_zeros(z.shape[:-1])
        for index in reversed(range(len(self.networks))):
            log_gate, shift = self._coupling(index, halves, context)
            place = 1 - index % 2
            halves[place] = (halves[place] - shift) * torch.exp(-log_gate)
            log_det = log_det + log_gate.sum(dim=-1)
        first = torch.cat(halves, dim=-1)  # [S, B, N, D], z_0
        return normal_log_prob(first, mean, scale).sum(dim=-1) - log_det

    def code(self, params: Tensor, setting: Setting) -> Tensor:
        """What the flow makes of µ."""
        mean, _, context = self._parts(params)
        return self._moved(mean[None], context)[0]

    def _moved(self, z: Tensor, context: Tensor) -> Tensor:
        halves = list(z.split(self.halves, dim=-1))
        for index in range(len(self.networks)):
            log_gate, shift = self._coupling(index, halves, context)
            place = 1 - index % 2
            halves[place] = halves[place] * log_gate.exp() + shift
        return torch.cat(halves, dim=-1)

    def _coupling(self, index: int, halves: list[Tensor], context: Tensor) -> tuple[Tensor, Tensor]:
        """``ln sig(g)`` and m of one coupling, ``[S, B, N, moved]`` each."""
        kept = halves[index % 2]  # [S, B, N, kept]
        given = torch.cat([kept, context.expand(*kept.shape[:-1], -1)], dim=-1)
        gate, shift = self.networks[index](given).chunk(2, dim=-1)
        return F.logsigmoid(gate + _GATE), shift

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """µ, s and c, from a network's outputs."""
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        mean, log_variance = params[..., : 2 * self.dim].chunk(2, dim=-1)
        return mean, torch.exp(0.5 * log_variance.clamp(-14, 14)), params[..., 2 * self.dim :]
