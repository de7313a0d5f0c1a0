"""Word dropout: maximum likelihood of a density that sees some of the elements before as others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows
from seqgen.spec import Facts


class WordDropout(Objective):
    """``L = -1/N Σ_t ln p(x_t | x̃_<t)`` in nats, where each of x̃ is x's own or, with a probability, the first symbol.

    Source: Bowman et al., "Generating sentences from a continuous space", arXiv 1511.06349, section 3.3.
    """

    @dataclass(frozen=True)
    class Config:
        """``rate``: probability that a symbol is not seen."""

        rate: float = 0.1

        def __post_init__(self) -> None:
            if not 0 <= self.rate < 1:
                raise SeqgenError(f"'rate' is {self.rate}", remedy="give a probability below 1")

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"generator": ("generator",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"generator": AutoRegressive})
    config: Config
    generator: AutoRegressive

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        batch = Rows(torch.tensor([[0, 1, 2, 3], [3, 0, 1, 2], [1, 2, 2, 3]]), torch.tensor([4, 2, 3]))
        made = (cls(cls.Config(rate), {"generator": language_model(4)}, Facts()) for rate in (0.0, 0.5))
        return [ObjectiveExample(one, batch) for one in made]

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        u = torch.from_numpy(noise.block(rng.seed, rng.stream, 0, batch.x.numel())).to(batch.x.device)
        seen = torch.where(u.view_as(batch.x) < self.config.rate, 0, batch.x)
        nats, real = self._scored(batch, seen)
        return Loss((nats * real).sum() / real.sum().clamp_min(1), {}, real.sum())

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        nats, real = self._scored(batch, batch.x)
        return {"nats_per_symbol": Measure((nats * real).sum(dim=1), real.sum(dim=1))}

    def _scored(self, batch: Any, seen: Tensor) -> tuple[Tensor, Tensor]:
        """``-ln p`` of every element given what is seen of those before, ``[B, T]``, and 1 where it is no padding."""
        params = self.generator.distributions(seen, batch.cond)
        length = torch.arange(seen.shape[1], device=seen.device)
        real = (length[None] < batch.lengths[:, None]).to(params.dtype)
        return -self.generator.distribution.log_prob(params, batch.x), real
