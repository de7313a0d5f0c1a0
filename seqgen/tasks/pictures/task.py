"""The task of pictures: pixels in raster order, as symbols or as real numbers, with their classes and factors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import language_model
from seqgen.generation.contract import Density
from seqgen.latents.variable import LatentVariable
from seqgen.models.encoder import Encoder
from seqgen.pictures.directory import SPLITS, PictureData, PictureFacts, PictureSet, write
from seqgen.pictures.sheet import sheet, write_png
from seqgen.spec import Facts
from seqgen.tasks.codes import classes_told
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.pictures import evaluation, samples
from seqgen.tasks.pictures.batches import StoredPictures
from seqgen.tasks.table import Table
from seqgen.train.identity import PLACE
from seqgen.train.report import Report

_SHOWN = 64  # pictures of a sheet
_PREVIEWED = 16
_VARIED = 8  # pictures that variations are shown of, each in a row of so many


@dataclass(frozen=True)
class PicturesConfig:
    """Options of the task of pictures.

    Attributes:
        data: picture data directory (``seqgen data prepare pictures``). real: whether pixels are real numbers in [-1,
            1] instead of symbols.
        probed: training pictures whose codes classifiers of the class learn from in an evaluation (0: none).
    """

    data: str = field(metadata=PLACE)
    real: bool = False
    probed: int = 0

    def __post_init__(self) -> None:
        if self.probed < 0:
            raise SeqgenError(f"'probed' is {self.probed}", remedy="give 0 or more")


class Pictures(Task):
    """Task of pictures: networks learn from their pixels; one called ``generator`` that is a density is scored exactly,
    and what draws pictures is shown."""

    Config = PicturesConfig
    config: PicturesConfig
    evaluation_options = frozenset({"data", "limit", "temperature", "seed", "samples", "keep", "evidence_samples"})
    sampling_options = frozenset({"out", "length", "temperature", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        x = np.random.Generator(np.random.Philox(0)).integers(0, 3, (18, 1, 3, 2)).astype(np.uint8)
        ids, numbers = tuple(f"picture {number}" for number in range(18)), np.arange(18)
        bare, full = directory / "bare", directory / "full"
        known = PictureSet(x, ids, numbers % 2, np.stack([numbers // 4, numbers % 4], axis=1))
        for place, pictures, names in ((bare, PictureSet(x, ids), ((), ())), (full, known, (("a", "b"), ("c", "d")))):
            splits = {name: pictures.rows(slice(at, at + 6)) for name, at in zip(SPLITS, (0, 6, 12), strict=True)}
            write(place, PictureFacts((1, 3, 2), 3, classes=names[0], factors=names[1]), splits)
        yield cls.example({"data": str(full)}, {"valid": 6, "test": 6}, {"generator": language_model(3)})
        yield cls.example({"data": str(bare), "real": True}, {"valid": 6, "test": 6})

    def read_facts(self) -> Facts:
        about = self._data.facts
        return Facts(
            examples=len(self._split("train")),
            vocab_size=0 if self.config.real else about.levels,
            shape=about.shape,
            unit="pixel",
        )

    @cached_property
    def _data(self) -> PictureData:
        return PictureData.open(Path(self.config.data))

    def _split(self, split: Split) -> PictureSet:
        return self._data.split(split)

    def describe(self) -> str:
        channels, height, width = self.facts.shape
        kinds = "real numbers" if self.config.real else f"{self.facts.vocab_size} levels"
        deep = f" in {channels} channels" if channels > 1 else ""
        return f"{self.facts.examples:,} pictures of {height}x{width} pixels{deep}, {kinds}"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse a generator and parts of latent-variable models of other elements, or of blocks of another length."""
        length = int(np.prod(self.facts.shape))
        for name, part in _parts(networks).items():
            if part.vocab_size != self.facts.vocab_size:
                raise SeqgenError(
                    f"networks.{name} is of {_elements(part.vocab_size)}, the pictures of "
                    f"{_elements(self.facts.vocab_size)}",
                    remedy="set vocab_size and what depends on it, or task.real",
                )
            if isinstance(part, Density) and part.length not in (0, length):
                raise SeqgenError(
                    f"networks.{name} takes sequences of {part.length} elements, a picture has {length}",
                    remedy=f"set its length to {length}",
                )

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks that learnt pictures of another size or other levels."""
        theirs, ours = ((one.shape, one.vocab_size) for one in (facts, self.facts))
        if theirs != ours:
            raise SeqgenError(
                f"{where} was trained on pictures of shape {list(theirs[0])} with {theirs[1]} levels, these have "
                f"{list(ours[0])} and {ours[1]}",
                remedy="prepare both alike, and give both runs the same task.real",
            )

    def digest(self, name: str) -> str:
        return self._data.digest()

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> StoredPictures:
        self._require_alike(self._data.facts, self.config.data)
        return self._stored(self._split(split), learnt=split == "train")

    def _require_alike(self, about: PictureFacts, where: str) -> None:
        """Refuse pictures of another size or other levels than those that the run was begun with."""
        levels = self.facts.vocab_size or self._data.facts.levels
        if (about.shape, about.levels) != (self.facts.shape, levels):
            raise SeqgenError(
                f"{where}: pictures of shape {list(about.shape)} with {about.levels} levels, the run's have "
                f"{list(self.facts.shape)} and {levels}",
                remedy="prepare them alike",
            )

    def _stored(self, pictures: PictureSet, *, learnt: bool = False) -> StoredPictures:
        settings = self.run.train
        return StoredPictures(
            pictures,
            self._data.facts.levels,
            rows=settings.batch_size,
            seed=settings.seed,
            real=self.config.real,
            learnt=learnt,
        )

    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Likelihoods and figures of the method over held-out pictures; sheets of samples where they are to be kept."""
        if options.samples and options.keep is None:
            raise SeqgenError("samples are to be drawn, and kept nowhere", remedy="give --keep DIR")
        place = Path(self.config.data) / "test" if options.data is None else options.data
        pictures, about = PictureData.split_at(place)
        self._require_alike(about, str(place))
        source = self._stored(pictures, learnt=self._is_training(Path(place)))
        system = system.measured_by(options.evidence_samples)
        table = evaluation.evaluate(self.run, system, source, about.factors, data=str(place), limit=options.limit)
        if self.config.probed:
            learnt, judged = self.source("train", system.networks), source.whole(options.limit or None)
            told = classes_told(system.networks, learnt.whole(), judged, most=self.config.probed)
            table = dataclasses.replace(table, figures={**table.figures, **told})
        if options.keep is not None and not options.likelihood_only:
            self._keep(system, source, options.keep, options)
        return table

    def _is_training(self, place: Path) -> bool:
        """Whether pictures at a place are those that are learnt from, which methods may remember."""
        return place.resolve() == (Path(self.config.data) / "train").resolve()

    def _keep(self, system: System, source: StoredPictures, folder: Path, options: Evaluation) -> None:
        """Sheets of held-out pictures, and of what the networks make."""
        count = options.samples or _SHOWN
        given = {"references": source.pictures.x[:count]}
        for name, pictures in (given | self._made(system, source, count, options.seed, options.temperature)).items():
            write_png(folder / f"{name}.png", sheet(pictures, self._data.facts.levels))

    def _made(
        self, system: System, source: StoredPictures, count: int, seed: int, temperature: float
    ) -> dict[str, samples.Pixels]:
        """Pictures that the networks draw, and held-out ones beside what became of them."""
        shape, levels = self.facts.shape, self._data.facts.levels
        made = {}
        maker = samples.maker(system.networks)
        if maker is not None:
            made["samples"] = samples.drawn(maker, count, shape, levels, seed=seed, temperature=temperature)
        if isinstance(maker, LatentVariable):
            batch = source.first(count)
            again = samples.reconstructed(maker, batch, shape, levels)
            given = samples.pixels(batch.x, shape, levels)
            made["reconstructions"] = np.stack([given, again], axis=1).reshape(-1, *shape)
            like = samples.variations(maker, source.first(min(count, _VARIED)), _VARIED - 1, shape, levels)
            if like is not None:
                made["variations"] = np.concatenate([given[: len(like), None], like], axis=1).reshape(-1, *shape)
        return made

    def sample(self, system: System, options: Sampling) -> str:
        """Draw pictures, as many as ``length`` says, into one contact sheet."""
        if options.out is None:
            raise SeqgenError("no file for the pictures", remedy="give -o FILE.png")
        network = samples.maker(system.networks)
        if network is None:
            raise SeqgenError("this run trains no network that draws", remedy="name the run of a generator")
        count, levels = options.length or _SHOWN, self._data.facts.levels
        made = samples.drawn(
            network, count, self.facts.shape, levels, seed=options.seed, temperature=options.temperature
        )
        write_png(options.out, sheet(made, levels))
        return f"{options.out}: {count} pictures"

    def previews(self, system: System, report: Report, step: int) -> None:
        if report.active:
            source = self.source("valid", system.networks)
            for name, pictures in self._made(system, source, _PREVIEWED, 0, 1.0).items():
                report.picture(name, sheet(pictures, self._data.facts.levels), step)


def _parts(networks: Mapping[str, nn.Module]) -> dict[str, Density | Encoder]:
    """Networks and parts of networks that read or make pixels."""
    generator = networks.get("generator")
    found: dict[str, Density | Encoder] = {"generator": generator} if isinstance(generator, Density) else {}
    for name, network in networks.items():
        if isinstance(network, LatentVariable):
            found |= {f"{name}.encoder": network.encoder, f"{name}.decoder": network.decoder}
    return found


def _elements(vocab_size: int) -> str:
    return f"{vocab_size} symbols" if vocab_size else "real numbers"
