"""The prior of associative compression: what a code is like is told by the code of a similar row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.latents import number_mixture
from seqgen.latents.code_memory import CodeMemory
from seqgen.latents.contract import GaussianMarginals, Marginals, Posterior, Prior
from seqgen.nets.hidden_layers import hidden_layers
from seqgen.noise import Key

_CHOICE = noise.name_to_stream("seqgen.latents.neighbour")
_BLOCK = 1 << 22  # numbers that a marginal looks at side by side


class Neighbours(NamedTuple):
    """Neighbours of a batch's codes: ``code [B, D]``; where each row is one once, those chosen so far, bool ``[X]``."""

    code: Tensor
    used: Tensor | None = None


class NeighbourPrior(Prior):
    """Prior ``p(z | ĉ)`` of codes of one position, given the code ĉ of a similar row of the training set:

        ĉ ~ uniform over the K rows whose codes are nearest, the row itself excluded
        p(z | ĉ) = Π_d Σ_m π_dm(ĉ) N(z_d; µ_dm(ĉ), s_dm(ĉ)²),    (π, µ, s) a perceptron's outputs

    The codes of all X training rows are kept as they were encoded last, without gradients. In evaluation ĉ is the
    nearest. Where no neighbour is given a code has the marginal ``1/X Σ_j p(z | c_j)`` over all rows: what a row costs
    by itself. Naming one of the rows takes ``ln X`` nats, so the marginal costs at most that much more.

    With ``once`` each row is the neighbour of one code in a pass while training, as where a data set is sent in an
    order in which every row follows another.

    Shapes: z ``[S, B, 1, D]``, u ``[B, 1, 1 + 2 D]``, of which the first number chooses a row where none is given.

    Raises:
        SeqgenError: for sizes that make no network, codes of several positions, and data without numbered rows.

    Source: Graves, Menick and van den Oord, "Associative compression networks for representation learning", arXiv
    1804.02476. The marginal is ours.
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the prior.

        Attributes:
            dim: D. neighbours: K. components: M; with one there is a closed form of the rate.
            hidden: widths of the network. once: whether a row is the neighbour of one code in a pass.
        """

        dim: int = 2
        neighbours: int = 5
        components: int = 5
        hidden: tuple[int, ...] = (256, 256)
        once: bool = False

    positions = 1

    @classmethod
    def examples(cls) -> Iterable[NeighbourPrior]:
        small = cls.Config(dim=2, neighbours=2, components=3, hidden=(4,))
        return [cls(small, rows=5), cls(cls.Config(dim=3, components=1, hidden=(), once=True), rows=6)]

    @classmethod
    def options_for(cls, posterior: Posterior) -> Iterable[Config]:
        sizes = {"dim": posterior.dim, "hidden": (4,)}
        mixture, once = cls.Config(**sizes, components=2), cls.Config(**sizes, components=1, once=True)
        return [] if posterior.discrete else [mixture, once]

    @classmethod
    def build(cls, options: Config, *, dim: int, examples: int) -> NeighbourPrior:
        if options.dim != dim:
            raise SeqgenError(
                f"a prior of {options.dim} numbers, the posterior's codes have {dim}", remedy=f"set prior.dim to {dim}"
            )
        return cls(options, rows=examples)

    def __init__(self, config: Config, *, rows: int) -> None:
        if min(config.dim, config.neighbours, config.components, *config.hidden) < 1:
            raise SeqgenError(f"a prior by neighbours of {config}", remedy="give 1 or more of everything")
        super().__init__()
        self.config, self.dim, self.couples_rows = config, config.dim, config.once
        self.num_uniforms = 1 + number_mixture.NUM_UNIFORMS * config.dim
        self.memory = CodeMemory(rows, config.dim)
        widths = (config.dim, *config.hidden)
        outputs = nn.Linear(widths[-1], config.dim * number_mixture.PER_COMPONENT * config.components)
        self.network = nn.Sequential(*hidden_layers(widths, "tanh"), outputs)

    def given(self, code: Tensor, index: Tensor | None, rng: Key | None) -> Neighbours:
        if code.shape[1] != 1:
            raise SeqgenError(
                f"codes of {code.shape[1]} positions, a prior by neighbours knows codes of one",
                remedy="give an encoder that makes one column of a whole row",
            )
        code, rows = code[:, 0], len(code)
        if index is None:
            index = torch.full((rows,), -1, device=code.device)
        if rng is None:
            return Neighbours(self.memory.codes[self.memory.nearest(code, index, 1)[:, 0]])
        u = torch.from_numpy(noise.block(rng.seed, rng.stream + _CHOICE, 0, rows)).to(code.device)
        if self.config.once:
            chosen = self.memory.once(code, index, self.config.neighbours, u)
            return Neighbours(self.memory.codes[chosen.rows], chosen.used)
        near = self.memory.nearest(code, index, self.config.neighbours)  # [B, K]
        which = (u * near.shape[1]).long()[:, None]
        return Neighbours(self.memory.codes[near.gather(1, which)[:, 0]])

    def log_prob(self, z: Tensor, given: Neighbours | None = None) -> Tensor:
        if given is None:
            return self._marginal(z)
        return number_mixture.log_prob(self._params(given.code)[:, None], z).sum(dim=-1)

    def cross_entropy(self, q: Marginals, given: Neighbours | None = None) -> Tensor | None:
        """``½ Σ_d [ln 2π s_d² + (σ_d² + (m_d - µ_d)²) / s_d²]`` of normal q with one component, given a neighbour."""
        if not isinstance(q, GaussianMarginals) or given is None or self.config.components > 1:
            return None
        _, mean, log_scale = number_mixture.parts(self._params(given.code)[:, None])  # [B, 1, D, 1]
        mean, log_scale = mean[..., 0], log_scale[..., 0]
        apart = (q.scale.square() + (q.mean - mean).square()) / (2 * log_scale).exp()
        return 0.5 * (apart + 2 * log_scale + math.log(2 * math.pi)).sum(dim=-1)

    def sample(self, u: Tensor, given: Neighbours | None = None) -> Tensor:
        codes = self.memory.codes
        code = codes[(u[:, 0, 0] * len(codes)).long()] if given is None else given.code
        pairs = u[..., 1:].unflatten(-1, (self.dim, -1))  # [B, 1, D, 2]
        return number_mixture.sample(self._params(code)[:, None], pairs)

    def noted(self, code: Tensor, index: Tensor | None, given: Neighbours | None) -> dict[str, Tensor]:
        if index is None:
            raise SeqgenError(
                "a prior by neighbours of rows that have no numbers: the task does not say which row is which",
                remedy="choose a task of stored rows, pictures say",
            )
        total, count = self.memory.sums(code[:, 0], index)
        found = {"codes": total, "count": count}
        return found if given is None or given.used is None else found | {"used": given.used.to(count.dtype)}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        self.memory.write(noted["codes"], noted["count"])
        if "used" in noted:
            self.memory.used.copy_(noted["used"] > 0)

    def _params(self, code: Tensor) -> Tensor:
        """Outputs of the network by number, ``[X, D] → [X, D, 3 M]``."""
        made: Tensor = self.network(code.to(self.network[-1].weight.dtype)).unflatten(-1, (self.dim, -1))
        return made

    def _marginal(self, z: Tensor) -> Tensor:
        """``ln 1/X Σ_j p(z | c_j)``, ``[S, B, 1, D] → [S, B, 1]``."""
        params, numbers = self._params(self.memory.codes), z.flatten(0, 2)[:, None]  # [X, D, 3 M], [R, 1, D]
        each = max(1, _BLOCK // (numbers.numel() * self.config.components))
        scores = [number_mixture.log_prob(part[None], numbers).sum(dim=-1) for part in params.split(each)]  # [R, x]
        found = torch.logsumexp(torch.cat(scores, dim=1), dim=1) - math.log(len(params))
        return found.view(z.shape[:-1])


def ordering_credit(rows: int) -> float:
    """``ln(N!) / N``: nats a row that N rows can save at most by the order in which they are sent, as a set of them has
    N! orders.

    Example:
        >>> round(ordering_credit(60_000), 2)
        10.0
    """
    return math.lgamma(rows + 1) / rows
