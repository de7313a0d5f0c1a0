"""The speech task: networks learn from windows of raw audio of known speakers, and from nothing else of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from seqgen import config as configs
from seqgen.bundle import Bundle
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.export import encoder
from seqgen.nets.layers import Activation, CausalConv1d
from seqgen.runtime.extractor import Extractor
from seqgen.spec import Facts
from seqgen.stream.combinators import Serial
from seqgen.stream.contract import Streamable
from seqgen.tasks.contract import Evaluation, Exporting, Split, System, Task, TaskExample
from seqgen.tasks.extraction import NetworkFeatures
from seqgen.tasks.speech.batches import Windows
from seqgen.tasks.speech.runtime import ENCODER
from seqgen.tasks.table import Table
from seqgen.tasks.vocoder.content import content_digest
from seqgen.tasks.vocoder.evaluation import measured
from seqgen.tasks.vocoder.examples import record
from seqgen.train.identity import NEUTRAL, PLACE, WEIGHTS

_NAMED = 3


@dataclass(frozen=True)
class SpeechConfig:
    """Options of the speech task.

    Attributes:
        train, valid, test: data directories; a relative path is taken from the working directory.
        sample_rate: Hz. window: samples of a row.
        shortest: samples of the shortest recording that is learnt from; shorter ones are left out, and said to be.
            Those shorter than a window are filled up behind their end (0: none are, the shortest is a window).
        speaker_rows: rows in succession that are of one speaker, for methods that compare rows of a speaker.
        held_out: most windows of a validation, and of an evaluation (0: all).
    """

    train: str = field(metadata=PLACE)
    valid: str = field(metadata=PLACE)
    test: str = field(metadata=NEUTRAL)
    sample_rate: int = field(metadata=WEIGHTS)
    window: int = 20480
    shortest: int = 0
    speaker_rows: int = 1
    held_out: int = 0

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.window, self.speaker_rows) < 1 or min(self.shortest, self.held_out) < 0:
            raise SeqgenError(
                f"speech: {self}",
                remedy="give sample_rate, window and speaker_rows from 1, shortest and held_out from 0",
            )
        if self.shortest > self.window:
            raise SeqgenError(
                f"'shortest' is {self.shortest}, 'window' {self.window}", remedy="give a shortest up to the window"
            )


class Speech(Task):
    """Task of speech: networks hear windows of recordings as they are."""

    Config = SpeechConfig
    config: SpeechConfig
    bundle_kind = "encoder"
    evaluation_options = frozenset({"data", "limit"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        options = {**record(directory), "sample_rate": 8000, "window": 200}
        network = Serial(CausalConv1d(1, 3, kernel=8, stride=4), Activation("tanh", dim=3))
        yield cls.example(options, {"valid": 12, "test": 20}, extracting={ENCODER: network})
        yield cls.example(options | {"speaker_rows": 2, "held_out": 9}, {"valid": 8, "test": 8})

    def read_facts(self) -> Facts:
        data = self._data(Path(self.config.train), quiet=True)
        return Facts(
            examples=len(data),
            shape=(1,),
            speakers=data.speakers,
            sample_rate=data.require_rate(self.config.sample_rate),
        )

    def _data(self, path: Path, *, quiet: bool = False) -> DataDir:
        """Recordings of a data directory that are long enough; of the others it is said on standard error that they are
        left out."""
        data = DataDir.load(path)
        data.require_rate(self.config.sample_rate)
        shortest = self.config.shortest or self.config.window
        few = [one for one in data if one.samples < shortest]
        if len(few) == len(data):
            raise SeqgenError(
                f"{path}: all {len(data)} recordings are shorter than {shortest} samples, the longest has "
                f"{max(one.samples for one in data)}",
                remedy="lower task.window, or set task.shortest below it",
            )
        if few and not quiet:
            names = ", ".join(one.id for one in few[:_NAMED]) + (", …" if len(few) > _NAMED else "")
            what = f"{len(few)} of {len(data)} recordings are shorter than {shortest} samples"
            sys.stderr.write(f"{path}: {what}: left out ({names})\n")
        return replace(data, utterances=tuple(one for one in data if one.samples >= shortest))

    def digest(self, name: str) -> str:
        """Digest of the utterances: ids, speakers and sounds, wherever they lie."""
        return content_digest(DataDir.load(Path(getattr(self.config, name))))

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse networks that read no raw audio, and windows of no whole number of their blocks."""
        for name, network in networks.items():
            if not isinstance(network, Streamable):
                continue
            if network.spec.in_dim != 1 or network.spec.cond_dim:
                raise SeqgenError(
                    f"networks.{name} reads no raw audio", remedy="give a network of one input channel, unconditioned"
                )
            if self.config.window % network.spec.block:
                block = network.spec.block
                raise SeqgenError(
                    f"'task.window' is {self.config.window} samples, networks.{name} reads blocks of {block}",
                    remedy=f"use {max(1, round(self.config.window / block)) * block}",
                )

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks that were trained at another rate."""
        there = facts.sample_rate or (facts.features.sample_rate if facts.features is not None else 0)
        if there != self.config.sample_rate:
            raise SeqgenError(
                f"{where} has a sample rate of {there or 'no'} Hz, this run {self.config.sample_rate} Hz",
                remedy="name a run on recordings of this rate",
            )

    def describe(self) -> str:
        data = self._data(Path(self.config.train), quiet=True)
        return f"{len(data)} utterances ({data.seconds / 60:.1f} min, {len(data.speakers)} speakers)"

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> Windows:
        return self._windows(self._data(Path(getattr(self.config, split))), self.config.held_out)

    def _windows(self, data: DataDir, limit: int) -> Windows:
        settings, options = self.run.train, self.config
        return Windows(
            data,
            window=options.window,
            rows=settings.batch_size,
            together=options.speaker_rows,
            seed=settings.seed,
            workers=settings.workers,
            limit=limit,
        )

    def export(self, system: System, out: Path, options: Exporting) -> Bundle:
        """Write the bundle of the run's encoder, a feature extractor.

        Raises:
            SeqgenError: where the run trains none.
        """
        found = system.networks.get(ENCODER)
        if found is None:
            raise SeqgenError(
                f"this run trains no encoder, but {' and '.join(system.networks)}", remedy="name its network 'encoder'"
            )
        about = encoder.Described(
            name=self.run.name,
            licence=self.run.licence,
            config=configs.dump(replace(self.run, networks={**self.run.networks, **system.definitions})),
            sample_rate=self.config.sample_rate,
            provenance={"config_digest": configs.digest(self.run), "checkpoint": system.label, **options.notes},
        )
        return encoder.write(found, about, out, options.precision, engine_only=options.engine_only)

    def extractor(self, network: nn.Module, layer: str = "") -> Extractor:
        """Features that an encoder of raw audio makes."""
        return NetworkFeatures(network, layer, self.config.sample_rate)

    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over whole batches of windows of held-out recordings."""
        assert system.objective is not None
        data = self._data(options.data or Path(self.config.test))
        source = self._windows(data, options.limit or self.config.held_out)
        found = measured(system.objective, source.whole(), self.run.train.seed)
        return Table(
            title=f"{len(data)} utterances in windows of {self.config.window} samples, {source.rows} to a batch, "
            f"checkpoint {system.label}",
            figures=found.figures,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "data": str(data.path),
                "utterances": len(data),
                "window": self.config.window,
                "batch_size": source.rows,
            },
            examples=found.examples,
        )
