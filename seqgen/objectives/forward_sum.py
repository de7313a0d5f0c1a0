"""The forward sum: an aligner learns from recordings and what was said in them, by all alignments at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqgen import registry
from seqgen.graphical import monotone
from seqgen.models.aligner import Aligner
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement
from seqgen.spec import Facts


@dataclass(frozen=True)
class _Spoken:
    """Recordings with their tokens, as examples have them."""

    x: Tensor
    lengths: Tensor
    tokens: Tensor
    counts: Tensor
    optional: Tensor
    ids: tuple[str, ...]


class ForwardSum(Objective):
    """``L = -1/Σ_b T_b Σ_b ln Σ_paths Π_t p(t, path_t)`` in nats a frame, over all monotone paths of frames
    through the tokens of a recording, p a frame's likelihood under a token; tokens that are optional (silences) may be
    left out.

    Batches have frames ``x [B, T, D]`` and their ``lengths [B]``; ``tokens`` int64 ``[B, N]``, their ``counts [B]``,
    and ``optional`` bool ``[B, N]``.

    Term and figure: ``nats_per_frame``.

    The paper's p are shares of a recording's tokens in each frame, which can be won without saying anything of the
    frame: on one reader's recordings paths ended with most phones of a single frame. A density of the frames cannot.

    Source: Badlani et al., "One TTS alignment to rule them all", arXiv 2108.10447, section 2.2.
    """

    @dataclass(frozen=True)
    class Config:
        """No options."""

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"aligner": ("aligner",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"aligner": Aligner})
    aligner: Aligner

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(3, 9, 4, generator=generator)
        tokens = torch.randint(1, 5, (3, 5), generator=generator)
        optional = torch.tensor([[True, False, False, True, False], [False] * 5, [False, True, False, False, False]])
        batch = _Spoken(
            x, torch.tensor([9, 5, 3]), tokens, torch.tensor([5, 4, 3]), optional, ("long", "short", "shortest")
        )
        for name in registry.MODELS:
            kind = registry.MODELS.load(name)
            for network in kind.examples() if issubclass(kind, Aligner) else ():
                yield ObjectiveExample(cls(cls.Config(), {"aligner": network}, Facts()), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        frames = batch.lengths.sum()
        each = -self._summed(batch).sum() / frames
        return Loss(each, {"nats_per_frame": each.detach()}, frames.to(each.dtype))

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        return {"nats_per_frame": Measure(-self._summed(batch), batch.lengths, "nats")}

    def _summed(self, batch: Any) -> Tensor:
        """``ln Σ_paths`` of each row, ``[B]``."""
        scores = self.aligner(batch.x, batch.lengths, batch.tokens, batch.counts)
        return monotone.total(scores, monotone.Tokens(batch.counts, batch.optional, batch.lengths))
