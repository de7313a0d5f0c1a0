"""Probes of what a critic's encoder of x keeps of labels, beside x as it is and an encoder that learnt the labels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.analysis.linear_probe import Examples, ProbeConfig, probe
from seqgen.errors import SeqgenError
from seqgen.models.critic import Critic
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective, Requirement
from seqgen.spec import Facts
from seqgen.tasks.table import Figure, ratio
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.loop import Recipe, train
from seqgen.train.settings import TrainConfig
from seqgen.train.source import Source

_UNIT = "%"


@dataclass(frozen=True)
class PairProbe:
    """Probe of the representation of x, for pairs whose x has labels.

    Attributes:
        examples: pairs of training drawings that classifiers learn from.
        baseline_steps: of the training of an encoder by all labels, one baseline; the other is x as it is (0: neither).

    Raises:
        SeqgenError: for fewer than two examples, or a negative number of steps.
    """

    examples: int = 5000
    baseline_steps: int = 0

    def __post_init__(self) -> None:
        if self.examples < 2 or self.baseline_steps < 0:
            raise SeqgenError(f"probe: {self}", remedy="give 2 examples or more, and 0 steps or more")


@torch.no_grad()
def told(represented: Callable[[Tensor], Tensor], learnt: Any, judged: Iterable[Any], name: str) -> dict[str, Figure]:
    """Accuracies in percent of logistic regression on what stands for x: of every label, their mean, and the least.

    Args:
        represented: ``[N, x_dim] → [N, D]``. learnt: a batch that classifiers learn from. judged: batches that they are
            judged on. name: of the figures.
    """
    batches = list(judged)
    x, held = (torch.cat([represented(one.x) for one in some]).cpu().numpy() for some in ([learnt], batches))
    labels, wanted = learnt.label.numpy(), torch.cat([one.label for one in batches]).numpy()
    right = [
        probe(_examples(x, labels[:, place]), _examples(held, wanted[:, place]), ProbeConfig(most=len(x))).right
        for place in range(labels.shape[1])
    ]
    each = [ratio(100 * one, np.ones(len(one)), _UNIT) for one in right]
    figures = {f"{name}_{place}": one for place, one in enumerate(each, 1)}
    figures[f"{name}_mean"] = ratio(100 * np.mean(right, axis=0), np.ones(len(held)), _UNIT)
    figures[f"{name}_least"] = min(each, key=lambda one: one.value)
    return figures


def _examples(x: Any, labels: Any) -> Examples:
    return Examples(x.astype(np.float32), labels.astype(str), np.arange(len(x)))


def supervised(critic: Critic, source: Source, sizes: tuple[int, ...], *, steps: int, rows: int, seed: int) -> Critic:
    """Train a critic's encoder of x, with a linear layer for each label on top, to tell all labels of a pair; returns
    the critic. Adam at 1e-3.

    Args:
        critic: with fresh weights. source: of labelled pairs. sizes: classes of each label. rows: pairs of a batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = nn.ModuleList(nn.LazyLinear(size) for size in sizes)
        objective = _Labels(None, {"critic": critic, "heads": heads}, Facts())
        first = next(iter(source.batches(0, 1, 0, 1)))
        objective.logits(first.x)  # the layers learn their inputs' number
    settings = TrainConfig(steps=steps, batch_size=rows, seed=seed, validate_every=0, checkpoint_every=0)
    with tempfile.TemporaryDirectory(prefix="seqgen-probe-") as scratch:
        identity = CheckpointIdentity("", "", "")
        train(objective, Recipe(settings), out=Path(scratch), source=source, identity=identity, device="cpu")
    return critic.eval()


class _Labels(Objective):
    """Cross-entropy of every label of a pair, summed, by linear layers over the encoder of x."""

    requires: ClassVar[Mapping[str, Requirement]] = {"critic": Critic, "heads": nn.ModuleList}
    critic: Critic
    heads: nn.ModuleList

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        logits = self.logits(batch.x)
        losses = [F.cross_entropy(one, batch.label[:, place]) for place, one in enumerate(logits)]
        return Loss(torch.stack(losses).sum(), {}, batch.x.new_tensor(len(batch.x)))

    def logits(self, x: Tensor) -> list[Tensor]:
        represented = self.critic.represented(x)
        return [head(represented) for head in self.heads]
