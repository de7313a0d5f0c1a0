"""Location and scale modulo K: the invertible map of a symbol that discrete flows are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import add, hardened, inverses, minus, mul, straight_through, units


class Parameters(NamedTuple):
    """One-hot location ``[…, K]`` of every symbol, and its scale ``[…, F]`` over the factors where there are any."""

    location: Tensor
    scale: Tensor | None


@dataclass(frozen=True)
class Modular:
    """Map of a symbol ``z = (µ + σ · x) mod K``, ``x = σ⁻¹ · (z - µ) mod K``, of one-hots ``[…, K]``.

    A network gives K logits of µ, then one of each factor that σ may be; straight-through choices make them one-hot.
    Logits of the identity (µ = 0, σ = 1) are raised by ``identity``, so that a fresh network leaves most symbols as
    they are. The inverse of the scale is needed where symbols are made, not where they are scored.

    Attributes:
        vocab_size: K. scaling: none (σ = 1), coprime (every σ that is coprime to K), free (every σ but 0: K is prime).
        temperature: τ of the straight-through gradients. identity: what the logits of the identity are raised by.

    Raises:
        SeqgenError: for an alphabet of fewer than two symbols, a free scale where K is composite, a temperature that is
            not positive.

    Source: Tran et al., arXiv 1905.10347, section 4 (its released code has the directions as here).
    """

    vocab_size: int
    scaling: Literal["none", "coprime", "free"] = "none"
    temperature: float = 0.1
    identity: float = 0.1

    def __post_init__(self) -> None:
        size = self.vocab_size
        if size < 2:
            raise SeqgenError(f"a flow over {size} symbols", remedy="set vocab_size to that of the data, 2 or more")
        if not 0 < self.temperature < math.inf:
            raise SeqgenError(f"'temperature' is {self.temperature}", remedy="give a positive number")
        if self.scaling == "free" and len(units(size)) != size - 1:
            factor = next(factor for factor in range(2, size) if size % factor == 0)
            raise SeqgenError(
                f"a free scale modulo {size} is not invertible: times {factor}, symbol {size // factor} becomes 0 as "
                f"0 does",
                remedy="set scaling to coprime, which leaves such factors out, or to none",
            )

    @property
    def factors(self) -> tuple[int, ...]:
        """Values that σ may have; none where there is no σ."""
        return () if self.scaling == "none" else units(self.vocab_size)

    @property
    def num_params(self) -> int:
        """Logits that describe the map of one symbol."""
        return self.vocab_size + len(self.factors)

    def parameters(self, logits: Tensor) -> Parameters:
        """Hard choices from a network's outputs ``[…, num_params]``, with straight-through gradients."""
        raised = torch.zeros(self.num_params).to(logits)
        raised[0] = self.identity  # a location of 0 and a scale of 1, the first factor
        raised[self.vocab_size :][:1] = self.identity
        location, scale = (logits + raised).split([self.vocab_size, len(self.factors)], dim=-1)
        choices = straight_through(location, self.temperature)
        return Parameters(choices, straight_through(scale, self.temperature) if self.factors else None)

    def towards_noise(self, x: Tensor, given: Parameters) -> Tensor:
        """``z = (µ + σ · x) mod K``, the direction in which symbols are scored."""
        moved = x if given.scale is None else mul(x, given.scale, self.factors)
        return hardened(add(moved, given.location))

    def from_noise(self, z: Tensor, given: Parameters) -> Tensor:
        """``x = σ⁻¹ · (z - µ) mod K``, the direction in which symbols are made."""
        moved = hardened(minus(z, given.location))
        return moved if given.scale is None else mul(moved, given.scale, inverses(self.factors, self.vocab_size))
