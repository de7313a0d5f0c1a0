"""Density of a flow: a base density whose elements an invertible map makes into those of the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.flows.contract import Bijector
from seqgen.flows.one_hot import one_hot
from seqgen.generation.contract import Density, DensityExample
from seqgen.generation.successive import Transformed
from seqgen.spec import Facts


class Flow(Density, Transformed):
    """Density ``ln p(x) = ln p_base(f⁻¹(x)) + ln|det ∂f⁻¹/∂x|`` with ``f = f_n ∘ … ∘ f_1``, the last bijector being the
    data's.

    Symbols go through as hard one-hots, so that what is scored is always a distribution; gradients reach the bijectors
    straight through. A bijection of symbols moves probabilities and changes none: what the base cannot do but for the
    order of sequences, the flow cannot do. Conditioning reaches the base alone.

    Args:
        base: of the noise, which is scored as one-hots where it is symbols. bijectors: from the base to the data.

    Raises:
        SeqgenError: where base and bijectors have other alphabets or blocks.

    Source: arXiv 1905.10347, section 3 (symbols); arXiv 1505.05770 (real numbers).
    """

    @dataclass(frozen=True)
    class Config:
        """``base``: registered density. ``bijectors``: registered flows, from the base to the data."""

        base: Component
        bijectors: tuple[Component, ...]

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        for name in registry.FLOWS:
            kind = registry.FLOWS.load(name)
            for bijector in kind.examples():
                if bijector.vocab_size:
                    sizes = {"vocab_size": bijector.vocab_size}
                    block = Component("factorised", sizes | {"length": bijector.length})
                    body = {"name": "recurrent", "outputs": bijector.vocab_size, "hidden": 5, "embedding": 3}
                    for base in (block, Component("autoregressive", {"body": body | sizes})):
                        yield cls._example(bijector, base)

    @classmethod
    def _example(cls, bijector: Any, base: Component) -> DensityExample:
        size, generator = bijector.vocab_size, torch.Generator().manual_seed(0)
        density = cls(_base(base, Facts(vocab_size=size), "example"), [bijector])
        with torch.no_grad():
            for parameter in density.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        x = torch.randint(size, (3, bijector.length), generator=generator)
        return DensityExample(density, x, values=torch.arange(size))

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> Flow:
        """Construct the base, which is told the facts, and the bijectors."""
        bijectors = [config.construct(one, registry.FLOWS, source=source) for one in options.bijectors]
        return cls(_base(options.base, facts, source), bijectors)

    def __init__(self, base: Density, bijectors: list[Any]) -> None:
        super().__init__()
        self.base: Density = base
        self.bijectors = nn.ModuleList(bijectors)
        self.vocab_size = base.vocab_size
        for part in bijectors:
            if part.vocab_size != base.vocab_size:
                raise SeqgenError(
                    f"{type(part).__name__} maps {part.vocab_size} symbols, the base draws {base.vocab_size}",
                    remedy="give base and bijectors the same vocab_size",
                )
        lengths = {part.length for part in (base, *bijectors) if part.length}
        if len(lengths) > 1:
            raise SeqgenError(f"parts of blocks of {sorted(lengths)}", remedy="give base and bijectors the same length")
        self.length = max(lengths, default=0)

    @property
    def num_uniforms(self) -> int:
        return self.base.num_uniforms

    def log_prob(self, x: Tensor, cond: Any = None) -> Tensor:
        """Shares of ``ln p(x)``: of every element of the noise ``ln p_base(z_d | z_<d)`` and what the map adds."""
        z, shares = self._inverse(x)
        return self.base.log_prob(z, cond) + shares

    def sample(self, u: Tensor, cond: Any = None, temperature: Tensor | float = 1.0) -> Tensor:
        """Whole sequences: noise of the base, made into data; the temperature is the base's."""
        self.require_length(u.shape[1])
        return self.from_noise(self.base.sample(u, cond, temperature))

    def to_noise(self, x: Tensor) -> Tensor:
        z, _ = self._inverse(x)
        return self._elements(z)

    def from_noise(self, z: Tensor) -> Tensor:
        self.require_length(z.shape[1])
        made = self._vectors(z)
        for bijector in self._bijectors():
            made, _ = bijector.forward_and_log_det(made)
        return self._elements(made)

    def _inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Noise as the base scores it, and the shares of the map's log-determinant."""
        self.require_length(x.shape[1])
        z = self._vectors(x)  # [B, D, K], or [B, D, 1] real numbers
        shares = z.new_zeros(z.shape[:2])
        for bijector in reversed(self._bijectors()):
            z, share = bijector.inverse_and_log_det(z)
            shares = shares + share
        return z, shares

    def _elements(self, vectors: Tensor) -> Tensor:
        """Elements of what bijectors give."""
        return vectors.argmax(dim=-1) if self.vocab_size else vectors[..., 0]

    def _vectors(self, x: Tensor) -> Tensor:
        """Elements as bijectors take them."""
        if self.vocab_size:
            return one_hot(x, self.vocab_size, next(self.parameters()).dtype)
        return x if x.dim() == 3 else x[..., None]

    def _bijectors(self) -> list[Bijector]:
        return list(self.bijectors)  # type: ignore[arg-type]


def _base(component: Component, facts: Facts, source: str) -> Density:
    kind = registry.DENSITIES.load(component.name)
    made: Density = kind.build(config.options(component, registry.DENSITIES, source=source), facts, source=source)
    return made
