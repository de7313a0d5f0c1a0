"""The task of pairs: what two vectors tell of each other, from files or from Gaussians whose information is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.estimators.correlated_gaussians import CorrelatedGaussians
from seqgen.models.critic import Critic
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.pairs.arrays import VectorPairs, read
from seqgen.tasks.pairs.batches import DrawnPairs, StoredPairs
from seqgen.tasks.table import Figure, Gathered, Table
from seqgen.tasks.turns import shuffled
from seqgen.train.identity import PLACE

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step
_STREAMS = {split: noise.name_to_stream(f"seqgen.pairs.{split}") for split in ("train", "valid", "test")}


@dataclass(frozen=True)
class PairsConfig:
    """Pairs that a run learns from: stored ones, or drawn ones.

    Attributes:
        x, y: ``.npy`` or ``.npz`` files of vectors ``[N, dimensions]`` whose rows belong together, pairs independent of
            each other; of an archive of several arrays those called x and y are taken.
        split: shares of the stored pairs that are valid and test ones; always the same, by lot.
        standardise: stored vectors get the mean 0 and the standard deviation 1 in every dimension, by those of the
            training pairs. It changes no information, but what a critic easily learns.
        gaussian: the process that pairs are drawn from, without end.
        held_out: drawn pairs of a validation, and of an evaluation.
    """

    x: str = field(default="", metadata=PLACE)
    y: str = field(default="", metadata=PLACE)
    split: tuple[float, float] = (0.1, 0.1)
    standardise: bool = False
    gaussian: CorrelatedGaussians | None = None
    held_out: int = 25_600

    def __post_init__(self) -> None:
        if bool(self.x) != bool(self.y) or bool(self.x) == (self.gaussian is not None):
            raise SeqgenError(
                "pairs need one origin", remedy="give both files, x and y, or else gaussian: {information: …}"
            )
        if min(self.split) <= 0 or sum(self.split) >= 1:
            raise SeqgenError(f"'split' is {list(self.split)}", remedy="give two shares above 0 whose sum is below 1")


class Pairs(Task):
    """Networks learn from pairs of vectors (x, y); one that scores them has to fit their dimensions."""

    Config = PairsConfig
    config: PairsConfig
    evaluation_options = frozenset({"data", "limit", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        generator = torch.Generator().manual_seed(0)
        files = {name: str(directory / f"{name}.npy") for name in ("x", "y")}
        for path, dimension in zip(files.values(), (3, 2), strict=True):
            np.save(path, torch.randn(50, dimension, generator=generator).numpy())
        yield cls.example({**files, "split": [0.2, 0.3]}, {"valid": 8, "test": 12})
        yield cls.example({"gaussian": {"information": 2.0}, "held_out": 22}, {"valid": 20, "test": 20})

    def read_facts(self) -> Facts:
        if self.config.gaussian is not None:
            return Facts(shape=(self.config.gaussian.dimension,) * 2, unit="pair")
        examples = len(self._numbers("train"))
        return Facts(examples, shape=(self._stored.x.shape[1], self._stored.y.shape[1]), unit="pair")

    def describe(self) -> str:
        process, (x_dim, y_dim) = self.config.gaussian, self.facts.shape
        if process is None:
            return f"{self.facts.examples:,} pairs of {x_dim} and {y_dim} dimensions"
        cubes = ", y cubed" if process.cubic else ""
        return f"correlated Gaussians of {x_dim} dimensions{cubes} with {process.information:g} nats"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse critics of other dimensions."""
        x_dim, y_dim = self.facts.shape
        for name, network in networks.items():
            if isinstance(network, Critic) and (network.x_dim, network.y_dim) != (x_dim, y_dim):
                raise SeqgenError(
                    f"networks.{name} scores vectors of {network.x_dim} and {network.y_dim} dimensions, the pairs have "
                    f"{x_dim} and {y_dim}",
                    remedy=f"set x_dim to {x_dim} and y_dim to {y_dim}",
                )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> DrawnPairs | StoredPairs:
        settings = self.run.train
        if self.config.gaussian is not None:
            return self._drawn(split, settings.seed, self.config.held_out)
        pairs = self._scaled(self._stored)
        return StoredPairs(pairs, self._numbers(split), rows=settings.batch_size, seed=settings.seed)

    def warnings(self, networks: Mapping[str, nn.Module]) -> list[str]:
        return [
            f"{name} has {dimensions:,} dimensions and there are {self.facts.examples:,} pairs to learn from: what a "
            "critic finds in them may be chance"
            for name, dimensions in zip("xy", self.facts.shape, strict=True)
            if self.config.gaussian is None and dimensions > self.facts.examples
        ]

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over whole batches of held-out pairs; drawn ones are those of ``options.seed``."""
        assert system.objective is not None
        source, found, batches = self._held_out(options), Gathered(), 0
        for batch in source.whole():
            key = Key(self.run.train.seed, _EVALUATION + batches)
            found.add(system.objective.measure(batch, key, batches), batch.ids)
            batches += 1
        rows, process = source.rows, self.config.gaussian if isinstance(source, DrawnPairs) else None
        known = None if process is None else process.information
        return Table(
            title=f"{batches * rows:,} pairs in {batches:,} batches of {rows}, checkpoint {system.label}",
            figures=_with_intervals(found.figures),
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "data": str(options.data or self.config.x or self.describe()),
                "pairs": batches * rows,
                "batch_size": rows,
                "known_information": known,
            },
            examples=found.examples,
            lines=() if known is None else (f"known information {known:.3f} nats",),
        )

    def _held_out(self, options: Evaluation) -> DrawnPairs | StoredPairs:
        """Pairs to evaluate on: of a file, drawn, or the run's own test pairs."""
        rows, limit = self.run.train.batch_size, options.limit or None
        if options.data is not None:
            pairs = read(options.data, options.data)
            self._require_shape(pairs, options.data)
            return StoredPairs(self._scaled(pairs), shuffled(len(pairs.x), 0, 0)[:limit], rows=rows, seed=0)
        if self.config.gaussian is not None:
            return self._drawn("test", options.seed, limit or self.config.held_out)
        return StoredPairs(self._scaled(self._stored), self._numbers("test")[:limit], rows=rows, seed=0)

    def _drawn(self, split: Split, seed: int, count: int) -> DrawnPairs:
        assert self.config.gaussian is not None
        key = Key(seed, _STREAMS[split])
        return DrawnPairs(self.config.gaussian, key=key, rows=self.run.train.batch_size, count=count)

    @cached_property
    def _stored(self) -> VectorPairs:
        return read(Path(self.config.x), Path(self.config.y))

    def _scaled(self, pairs: VectorPairs) -> VectorPairs:
        """Vectors in the units that networks are given them in."""
        if not self.config.standardise:
            return pairs
        of_x, of_y = (
            _standardised(given, known[torch.from_numpy(self._numbers("train"))])
            for given, known in zip(pairs, self._stored, strict=True)
        )
        return VectorPairs(of_x, of_y)

    def _numbers(self, split: Split) -> Any:
        """Rows of the files that are a split's, int64; the lot is drawn anew for another number of pairs only."""
        order, (valid, test) = shuffled(len(self._stored.x), 0, 0), self.config.split
        first, second = (round(len(order) * share) for share in (1 - valid - test, 1 - test))
        return {"train": order[:first], "valid": order[first:second], "test": order[second:]}[split]

    def _require_shape(self, pairs: VectorPairs, path: Path) -> None:
        found = (pairs.x.shape[1], pairs.y.shape[1])
        if found != self.facts.shape:
            raise SeqgenError(
                f"{path}: pairs of {found[0]} and {found[1]} dimensions, the run has {self.facts.shape[0]} and "
                f"{self.facts.shape[1]}",
                remedy="evaluate on pairs as the run was trained on",
            )


def _standardised(vectors: Tensor, known: Tensor) -> Tensor:
    """Vectors less the mean of those that are known, by their deviation; what is constant among these is not scaled."""
    deviation, mean = torch.std_mean(known.double(), dim=0, correction=0)
    return ((vectors.double() - mean) / torch.where(deviation > 0, deviation, 1.0)).float()


def _with_intervals(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Figures where the information of one batch alone has the interval that this batch tells of itself."""
    made = dict(figures)
    alone, variance = made.get("information"), made.get("variance_of_a_batch")
    if alone is not None and variance is not None and math.isnan(alone.half_width):
        made["information"] = alone._replace(half_width=1.96 * math.sqrt(variance.value))
    return made
