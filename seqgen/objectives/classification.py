"""Classification of recordings: a causal network over samples that learns labels, for other methods to listen with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.nets.layers import Activation, CausalConv1d, Dense
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows, scored
from seqgen.spec import Facts
from seqgen.stream.combinators import Serial
from seqgen.stream.contract import Streamable


class Classification(Objective):
    """Classification loss ``L = -1/B Σ_b ln softmax(mean_t y_t)_label``: one label for each row, its transcript.

    Terms: ``accuracy``, the share of rows whose label has the largest mean output.

    The network ``classifier`` is causal, ``[B, T, 1] → [B, T/down, labels]``. Batches have ``x``, ``lengths`` and
    ``texts``.

    Raises:
        SeqgenError: for a network with another number of outputs, a conditioned one, or a transcript that is no label.
    """

    @dataclass(frozen=True)
    class Config:
        """``labels``: every transcript that occurs."""

        labels: tuple[str, ...]

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"classifier": ("classifier",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"classifier": Streamable})
    classifier: Streamable[Any]

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        labels = ("low", "high")
        network = Serial(CausalConv1d(1, 4, kernel=3), Activation("tanh", dim=4), Dense(4, len(labels)))
        x = torch.randn(4, 9, 1, generator=torch.Generator().manual_seed(0))
        batch = Rows(x, torch.tensor([9, 4, 7, 1]), texts=("high", "low", "low", "high"))
        strided = Serial(CausalConv1d(1, 4, kernel=4, stride=3), Dense(4, len(labels)))
        return [
            ObjectiveExample(cls(cls.Config(labels), {"classifier": one}, Facts()), batch) for one in (network, strided)
        ]

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        spec = self.classifier.spec
        if (spec.in_dim, spec.cond_dim, spec.out_dim) != (1, 0, len(config.labels)):
            raise SeqgenError(
                f"classification: a model of {spec.in_dim} inputs, {spec.cond_dim} conditioning channels and "
                f"{spec.out_dim} outputs for {len(config.labels)} labels",
                remedy="give it one real input (vocab_size: 0), conditioned: false and an output for each label",
            )
        self.labels = config.labels

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        logits, wanted = self._judged(batch)
        accuracy = (logits.argmax(dim=1) == wanted).to(logits.dtype).mean()
        return Loss(F.cross_entropy(logits.float(), wanted), {"accuracy": accuracy}, logits.new_tensor(len(wanted)))

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        logits, wanted = self._judged(batch)
        right = (logits.argmax(dim=1) == wanted).to(logits.dtype)
        return {"accuracy": Measure(right, torch.ones_like(right))}

    def _judged(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Logits ``[B, labels]``, means over the real part of each row, and the labels ``[B]``."""
        outputs: Tensor = self.classifier(batch.x)
        frames = batch.lengths // self.classifier.spec.down
        weight = scored(replace(batch, lengths=frames), outputs[..., 0])[..., None]
        logits = (outputs * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        return logits, torch.tensor([self._label(text) for text in batch.texts], device=logits.device)

    def _label(self, text: str) -> int:
        if text not in self.labels:
            raise SeqgenError(f"the transcript '{text}' is no label", remedy=f"known: {', '.join(self.labels)}")
        return self.labels.index(text)
