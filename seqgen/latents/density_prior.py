"""A prior of symbols that is any density over sequences of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from seqgen import config as configs
from seqgen import registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.generation.autoregressive import language_model
from seqgen.generation.contract import Density
from seqgen.latents.contract import Posterior, Prior
from seqgen.spec import Facts


class DensityPrior(Prior):
    """Prior ``p(z) = Π_n p(z_n | z_<n)`` of G symbols of K classes at each position, by a density over the sequence of
    all of them, position by position: an autoregressive one, say.

    Shapes: one-hots z ``[S, B, N, G·K]``, u ``[B, N, G·num_uniforms]``.

    Args:
        density: over an alphabet of K, unconditioned. groups: G.

    Raises:
        SeqgenError: for a density over real numbers.

    Source: as a prior that is fitted to the codes of a model: van den Oord, Vinyals and Kavukcuoglu, arXiv 1711.00937,
    section 3.3.
    """

    @dataclass(frozen=True)
    class Config:
        """``density``: registered one over the symbols."""

        density: Component = field(default_factory=lambda: Component("autoregressive"))

    @classmethod
    def examples(cls) -> Iterable[DensityPrior]:
        return [cls(language_model(3), groups=2), cls(language_model(4), groups=1)]

    @classmethod
    def options_for(cls, posterior: Posterior) -> Iterable[Config]:
        classes = getattr(posterior, "classes", 0)
        body = {"name": "recurrent", "vocab_size": classes, "outputs": classes, "embedding": 3, "hidden": 4}
        return [cls.Config(Component("autoregressive", {"body": body}))] if posterior.discrete and classes else []

    @classmethod
    def build(cls, options: Config, *, dim: int, examples: int) -> DensityPrior:
        kind = registry.DENSITIES.load(options.density.name)
        inner = configs.options(options.density, registry.DENSITIES, source="prior.density")
        density: Density = kind.build(inner, Facts(examples=examples), source="prior.density")
        groups, rest = divmod(dim, max(density.vocab_size, 1))
        if rest or not groups:
            raise SeqgenError(
                f"prior.density is over {density.vocab_size} symbols, the posterior's codes have {dim} numbers",
                remedy="give it the vocab_size of one group of the code",
            )
        return cls(density, groups=groups)

    def __init__(self, density: Density, *, groups: int) -> None:
        if not density.vocab_size:
            raise SeqgenError("a prior of symbols by a density over real numbers", remedy="give one over symbols")
        super().__init__()
        self.density, self.groups, self.classes = density, groups, density.vocab_size
        self.dim, self.num_uniforms = groups * self.classes, groups * density.num_uniforms

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        symbols = z.unflatten(-1, (self.groups, self.classes)).argmax(dim=-1)  # [S, B, N, G]
        scores = self.density.log_prob(symbols.flatten(0, 1).flatten(1))  # [S·B, N·G]
        return scores.view(*symbols.shape).sum(dim=-1)

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        drawn = self.density.sample(u.flatten(1).unflatten(1, (-1, self.density.num_uniforms)))  # [B, N·G]
        return one_hot(drawn.unflatten(1, (-1, self.groups)), self.classes, u.dtype).flatten(-2)
