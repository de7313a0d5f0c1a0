"""The task of pairs: what two vectors tell of each other, from files or drawn where their information is known."""

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
from seqgen.pictures.directory import SPLITS, PictureData, PictureFacts, PictureSet, write
from seqgen.spec import Facts
from seqgen.tasks import networks
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.pairs import probing
from seqgen.tasks.pairs.arrays import VectorPairs, read
from seqgen.tasks.pairs.batches import Batch, DrawnPairs, PairProcess, StoredPairs
from seqgen.tasks.pairs.picture_cells import Cells, NextInCells
from seqgen.tasks.pairs.probing import PairProbe
from seqgen.tasks.table import Figure, Gathered, Table
from seqgen.tasks.turns import shuffled
from seqgen.train.identity import NEUTRAL, PLACE

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step
_STREAMS = {split: noise.name_to_stream(f"seqgen.pairs.{split}") for split in ("train", "valid", "test", "probe")}


@dataclass(frozen=True)
class PairsConfig:
    """Pairs that a run learns from: stored ones, or drawn ones.

    Attributes:
        x, y: ``.npy`` or ``.npz`` files of vectors ``[N, dimensions]`` whose rows belong together, pairs independent of
            each other; of an archive of several arrays those called x and y are taken.
        split: shares of the stored pairs that are valid and test ones; always the same, by lot.
        standardise: stored vectors and pictures get the mean 0 and the standard deviation 1 in every dimension, by
            those of the training pairs or drawings. It changes no information, but what a critic easily learns.
        gaussian: a process that pairs are drawn from, without end.
        pictures: picture data directory; pairs are pictures composed of these, without end, of each split its own.
            cells: of a composed picture.
        held_out: drawn pairs of a validation, and of an evaluation.
        probe: how an evaluation probes what represents x, where x has labels.
    """

    x: str = field(default="", metadata=PLACE)
    y: str = field(default="", metadata=PLACE)
    split: tuple[float, float] = (0.1, 0.1)
    standardise: bool = False
    gaussian: CorrelatedGaussians | None = None
    pictures: str = field(default="", metadata=PLACE)
    cells: Cells = field(default_factory=Cells)
    held_out: int = 25_600
    probe: PairProbe | None = field(default=None, metadata=NEUTRAL)

    def __post_init__(self) -> None:
        origins = (bool(self.x), self.gaussian is not None, bool(self.pictures))
        if bool(self.x) != bool(self.y) or sum(origins) != 1:
            raise SeqgenError(
                "pairs need one origin",
                remedy="give both files, x and y, or gaussian: {information: …}, or pictures: DIR",
            )
        if not self.pictures and (self.probe is not None or self.cells != Cells()):
            raise SeqgenError("cells or a probe, and no pictures", remedy="leave them out, or give pictures: DIR")
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
        x, y = np.arange(36, dtype=np.uint8).reshape(18, 1, 1, 2) % 5, np.arange(18) % 3
        drawings = PictureSet(x, tuple(f"picture {number}" for number in y.argsort(kind="stable")), y)
        splits = {name: drawings.rows(slice(at, at + 6)) for name, at in zip(SPLITS, (0, 6, 12), strict=True)}
        write(directory / "pictures", PictureFacts((1, 1, 2), 5, classes=("a", "b", "c")), splits)
        composed = {"pictures": str(directory / "pictures"), "cells": {"count": 2}, "standardise": True}
        yield cls.example({**composed, "held_out": 22}, {"valid": 20, "test": 20})

    def read_facts(self) -> Facts:
        process = self._process("train")
        if process is not None:
            return Facts(shape=(process.dimension,) * 2, unit="pair")
        examples = len(self._numbers("train"))
        return Facts(examples, shape=(self._stored.x.shape[1], self._stored.y.shape[1]), unit="pair")

    def describe(self) -> str:
        process, (x_dim, y_dim) = self._process("train"), self.facts.shape
        if process is None:
            return f"{self.facts.examples:,} pairs of {x_dim} and {y_dim} dimensions"
        return f"{process.describe()} with {process.information:g} nats"

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
        settings, process = self.run.train, self._process(split)
        if process is not None:
            return self._drawn(process, split, settings.seed, self.config.held_out)
        pairs = self._scaled(self._stored)
        return StoredPairs(pairs, self._numbers(split), rows=settings.batch_size, seed=settings.seed)

    def warnings(self, networks: Mapping[str, nn.Module]) -> list[str]:
        return [
            f"{name} has {dimensions:,} dimensions and there are {self.facts.examples:,} pairs to learn from: what a "
            "critic finds in them may be chance"
            for name, dimensions in zip("xy", self.facts.shape, strict=True)
            if self.config.x and dimensions > self.facts.examples
        ]

    def digest(self, name: str) -> str:
        """Digest of the file, or of the drawings of the directory, that an option names."""
        return PictureData.open(Path(self.config.pictures)).digest() if name == "pictures" else super().digest(name)

    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over whole batches of held-out pairs; drawn ones are those of ``options.seed``."""
        assert system.objective is not None
        source, found, batches = self._held_out(options), Gathered(), 0
        for batch in source.whole():
            key = Key(self.run.train.seed, _EVALUATION + batches)
            with torch.no_grad():
                found.add(system.objective.measure(batch, key, batches), batch.ids)
            batches += 1
        rows, known = source.rows, source.process.information if isinstance(source, DrawnPairs) else None
        probed = self._probed(system, source) if isinstance(source, DrawnPairs) else {}
        return Table(
            title=f"{batches * rows:,} pairs in {batches:,} batches of {rows}, checkpoint {system.label}",
            figures=_with_intervals(found.figures) | probed,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "data": str(options.data or self.config.x or self.config.pictures or self.describe()),
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
        process = self._process("test")
        if process is not None:
            return self._drawn(process, "test", options.seed, limit or self.config.held_out)
        return StoredPairs(self._scaled(self._stored), self._numbers("test")[:limit], rows=rows, seed=0)

    def _drawn(self, process: PairProcess, split: Split, seed: int, count: int) -> DrawnPairs:
        return DrawnPairs(process, key=Key(seed, _STREAMS[split]), rows=self.run.train.batch_size, count=count)

    def _process(self, split: Split) -> PairProcess | None:
        """Process that pairs of a split are drawn from; ``None`` where they are stored."""
        return self._composed(split) if self.config.pictures else self.config.gaussian

    def _composed(self, split: Split) -> NextInCells:
        data = PictureData.open(Path(self.config.pictures))
        known = data.split("train") if self.config.standardise else None
        return NextInCells(data.split(split), data.facts, self.config.cells, known=known)

    def _probed(self, system: System, source: DrawnPairs) -> dict[str, Figure]:
        """Accuracies of classifiers on the representation of x and on those of baselines, where they are asked for."""
        options = self.config.probe
        critic = next((one for one in system.networks.values() if isinstance(one, Critic)), None)
        if options is None or critic is None:
            return {}
        seed, process, rows = self.run.train.seed, self._composed("train"), source.rows
        x, y, label = process.draw(Key(seed, _STREAMS["probe"]), 0, options.examples)
        learnt = Batch(x, y, (), label)
        kinds = {"probe": critic.represented}
        if options.baseline_steps:
            sizes = tuple(len(alphabet) for alphabet in process.alphabets)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                fresh = networks.build(self.run.networks, self.facts, source="probe")
            other = next(one for one in fresh.values() if isinstance(one, Critic))
            labelled = self._drawn(process, "train", seed, rows)
            by_labels = probing.supervised(other, labelled, sizes, steps=options.baseline_steps, rows=rows, seed=seed)
            kinds |= {"supervised": by_labels.represented, "pixels": lambda x: x}
        return {
            name: one
            for kind, represented in kinds.items()
            for name, one in probing.told(represented, learnt, source.whole(), kind).items()
        }

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
