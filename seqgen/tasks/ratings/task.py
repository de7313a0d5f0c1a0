"""The task of ratings: entries of a matrix of users and items that are missing, also of users who come later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqgen import config as configs
from seqgen.errors import SeqgenError
from seqgen.models.matrix_completion import MatrixCompletion
from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.objectives.contract import Objective
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.ratings import division, triples
from seqgen.tasks.ratings.batches import RatingSource, Scale
from seqgen.tasks.ratings.division import Division, NewUsers
from seqgen.tasks.ratings.evaluation import Measured, measured
from seqgen.tasks.ratings.process import LowRankRatings
from seqgen.tasks.ratings.triples import Triples
from seqgen.tasks.table import Table
from seqgen.train.identity import PLACE

_ROWS = 1 << 14  # ratings that are predicted at once


@dataclass(frozen=True)
class RatingsConfig:
    """Ratings that a run learns from: stored ones, or drawn ones.

    Attributes:
        ratings: a file of lines ``user <tab> item <tab> rating``, or an ``.npz`` archive of arrays so called.
        process: the matrix that ratings are drawn from.
        split: shares that are valid and test ones, of the stored ratings, or of all entries of the drawn matrix; always
            the same, by lot.
        new_users: users who are left out of training, to validate on and to be judged by.
        given: how many ratings of a new user are given before the others are predicted; those are the same for all.
        random_share: share of the order of users, and of items, that goes by lot instead of by the number of ratings.
            The first ones may be treated apart (as prototypes, say).
    """

    ratings: str = field(default="", metadata=PLACE)
    process: LowRankRatings | None = None
    split: tuple[float, float] = (0.1, 0.1)
    new_users: tuple[int, int] = (0, 0)
    given: tuple[int, ...] = (1, 3, 10, 20)
    random_share: float = 0.2

    def __post_init__(self) -> None:
        if bool(self.ratings) == (self.process is not None):
            raise SeqgenError("ratings need one origin", remedy="give the file ratings, or else process: {users: …}")
        if min(self.split) <= 0 or sum(self.split) >= 1:
            raise SeqgenError(f"'split' is {list(self.split)}", remedy="give two shares above 0 whose sum is below 1")
        if min(self.new_users) < 0 or min(self.given, default=-1) < 0 or len(set(self.given)) < len(self.given):
            raise SeqgenError(
                f"'new_users' is {list(self.new_users)}, 'given' {list(self.given)}",
                remedy="give numbers from 0, at least one of given ratings and each of them once",
            )
        if self.process is not None and any(self.new_users) and max(self.given) >= self.process.items:
            raise SeqgenError(
                f"{max(self.given)} ratings are given of {self.process.items} items", remedy="leave some to predict"
            )
        if not 0 <= self.random_share <= 1:
            raise SeqgenError(f"'random_share' is {self.random_share}", remedy="give a share from 0 to 1")


class Ratings(Task):
    """Networks learn to predict ratings from others; they are judged by held-out ratings of the training users, and by
    those of new users of whom a few are given."""

    Config = RatingsConfig
    config: RatingsConfig
    evaluation_options = frozenset({"limit", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        process = {"users": 12, "items": 10, "rank": 2, "observed": 0.4}
        path = directory / "ratings.tsv"
        path.write_text("".join(f"u{n % 9}\ti{n * 7 % 11}\t{n % 5 + 1}\n" for n in range(80)), encoding="utf-8")
        stored = {"ratings": str(path), "split": [0.2, 0.3], "new_users": [1, 2], "given": [1, 3]}
        for options in ({"process": process, "split": [0.1, 0.2], "new_users": [2, 2], "given": [0, 2]}, stored):
            task = cls.example(options, {}).task
            assert isinstance(task, Ratings)
            yield cls.example(options, {"valid": len(task.division.valid.user), "test": len(task.division.test.user)})

    def read_facts(self) -> Facts:
        shape = (len(self.division.users), len(self.division.items))
        return Facts(len(self.division.train.user), shape=shape, unit="rating")

    def describe(self) -> str:
        users, items = self.facts.shape
        return f"{self.facts.examples:,} ratings of {users:,} users for {items:,} items"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse networks for another matrix."""
        for name, network in networks.items():
            if isinstance(network, MatrixCompletion):
                try:
                    network.require_fit(self.observed)
                except SeqgenError as error:
                    raise SeqgenError(f"networks.{name}: {error.problem}", remedy=error.remedy) from None

    def warnings(self, networks: Mapping[str, nn.Module]) -> list[str]:
        return [
            f"networks.{name}: {line}"
            for name, network in networks.items()
            if isinstance(network, MatrixCompletion)
            for line in network.warnings(self.observed)
        ]

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> RatingSource:
        part = {"train": self.division.train, "valid": self.division.valid, "test": self.division.test}[split]
        settings = self.run.train
        return self._source(part, rows=settings.batch_size if split == "train" else _ROWS, seed=settings.seed)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method on the test ratings, and on those of new users of whom as many are given as ``given``
        says; the same on what is validated on stands under ``validation`` in the JSON object, to choose settings by."""
        assert system.objective is not None
        objective, parts, seed = system.objective.eval(), self.division, options.seed
        test = parts.test.chosen(np.arange(len(parts.test.user))[: options.limit or None])
        found = measured(self._source(test), objective, seed)
        later = self._of_new_users(parts.new_test, objective, seed)
        validation = measured(self._source(parts.valid), objective, seed).figures
        validation |= self._of_new_users(parts.new_valid, objective, seed).figures
        others = f" and of {len(parts.new_test.names)} new ones" if parts.new_test.names else ""
        return Table(
            title=f"{len(test.user):,} held-out ratings of {len(parts.users):,} users{others}, checkpoint "
            f"{system.label}",
            figures=found.figures | later.figures,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "data": self.config.ratings or self.describe(),
                "ratings": len(test.user),
                "deviation": self.scale.deviation,
                "parameters": sum(one.numel() for network in system.networks.values() for one in network.parameters()),
            },
            examples=found.ratings | later.users,
            further={"validation": {name: one.value for name, one in validation.items()}},
        )

    def _of_new_users(self, new: NewUsers, objective: Objective, seed: int) -> Measured:
        """What is measured on new users, with the number of given ratings behind each name."""
        every = Measured({}, {}, {})
        for count in self.config.given if new.names else ():
            known = self.observed.with_users(*self.scale.standardised(new.given(count)), count=len(new.names))
            hidden = new.held_out(max(self.config.given))
            users = len(self.division.users)
            asked = RatingSource(
                hidden._replace(user=hidden.user + users),
                known,
                self.scale,
                names=(self.division.users + new.names, self.division.items),
                rows=_ROWS,
            )
            for into, found in zip(every, measured(asked, objective, seed), strict=True):
                into.update({f"{name}_given_{count}": one for name, one in found.items()})
        return every

    @cached_property
    def division(self) -> Division:
        """What is learnt from and what is held out."""
        given = self.config
        if given.process is not None:
            parts = division.drawn(given.process, given.split, given.new_users)
        else:
            parts = division.stored(triples.read(Path(given.ratings)), given.split, given.new_users, max(given.given))
        return division.ordered(parts, given.random_share)

    @cached_property
    def scale(self) -> Scale:
        """Mean and deviation of the training ratings."""
        ratings = self.division.train.rating
        if not len(ratings) or not ratings.std():
            said = (
                f"all {len(ratings):,} training ratings are {ratings[0]:g}" if len(ratings) else "no training ratings"
            )
            raise SeqgenError(said, remedy="give ratings that differ")
        return Scale(float(ratings.mean()), float(ratings.std()))

    @cached_property
    def observed(self) -> ObservedMatrix:
        """The training ratings, which everything may be told from."""
        shape = (len(self.division.users), len(self.division.items))
        return ObservedMatrix.of(*self.scale.standardised(self.division.train), shape)

    def _source(self, part: Triples, *, rows: int = _ROWS, seed: int = 0) -> RatingSource:
        names = (self.division.users, self.division.items)
        return RatingSource(part, self.observed, self.scale, names=names, rows=rows, seed=seed)
