"""The task of alignment: which word and which phone is spoken when, learnt from recordings with transcripts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqgen.data import ctm
from seqgen.data.aligned import SILENCE, Aligned
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.models.aligner import Aligner
from seqgen.objectives.contract import Measure
from seqgen.spec import Facts, FeatureSpec
from seqgen.tasks.alignment.aligned import aligned, deviations
from seqgen.tasks.alignment.batches import SpokenRecordings
from seqgen.tasks.alignment.examples import EvenAligner, recorded
from seqgen.tasks.alignment.transcripts import Transcript, alphabet, transcribed
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.table import Gathered, Table
from seqgen.tasks.vocoder.content import content_digest
from seqgen.tasks.vocoder.evaluation import measured, of_utterances
from seqgen.tasks.vocoder.examples import SIZES
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.pronouncer import Pronouncer
from seqgen.train.identity import NEUTRAL, PLACE, WEIGHTS

_NEAR = (20, 50)  # milliseconds within which boundaries of two alignments are counted
_SAME = 0.8  # share of a recording's phones that another alignment has to have
_NAMED = 5  # words of a warning


@dataclass(frozen=True)
class AlignmentConfig:
    """Options of the task of alignment.

    Attributes:
        train, valid, test: data directories with transcripts; a relative path is taken from the working directory.
        features: definition of the frames.
        lexicon: pronunciations, of ``seqgen data lexicon`` or lines. own: lines of one's own, which go before them.
        states: tokens that a phone is made of, each with a frame at least.
        reference: another alignment of the phones of the test set, a CTM file, to compare with.
    """

    train: str = field(metadata=PLACE)
    valid: str = field(metadata=PLACE)
    test: str = field(metadata=NEUTRAL)
    features: FeatureSpec = field(metadata=WEIGHTS)
    lexicon: str = field(metadata=PLACE)
    own: str = field(default="", metadata=PLACE)
    states: int = field(default=2, metadata=WEIGHTS)
    reference: str = field(default="", metadata=NEUTRAL)

    def __post_init__(self) -> None:
        if self.states < 1:
            raise SeqgenError(f"'task.states' is {self.states}", remedy="give 1 or more")


class Alignment(Task):
    """Task of alignment: recordings as log-mel frames, and the phones of their transcripts in order."""

    Config = AlignmentConfig
    config: AlignmentConfig
    evaluation_options = frozenset({"data"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        features = {"sample_rate": 8000, "n_fft": 256, "window": 160, "hop": 80, "n_mels": 4}
        options = {**recorded(directory), "features": features}
        rows: dict[Split, int] = {"valid": SIZES["valid"], "test": SIZES["test"]}
        for changed in ({"states": 1}, {"own": options["lexicon"], "reference": ""}):
            example = cls.example(options | changed, rows)
            even = EvenAligner(in_dim=4, vocab_size=len(example.task.facts.alphabet))
            yield example._replace(networks={"aligner": even})

    def read_facts(self) -> Facts:
        data = self._data(Path(self.config.train))
        return Facts(
            examples=len(data),
            shape=(self.config.features.bands,),
            unit="frame",
            alphabet=alphabet(self.config.states),
        )

    def _data(self, path: Path) -> DataDir:
        data = DataDir.load(path)
        data.require_rate(self.config.features.sample_rate)
        silent = [one.id for one in data if not one.text]
        if silent:
            raise SeqgenError(f"{path}: no transcript of '{silent[0]}' ({len(silent)} in all)", remedy="add them")
        return data

    def digest(self, name: str) -> str:
        """Digest of the utterances, sounds and transcripts, wherever they lie; of a lexicon its bytes."""
        if name not in ("train", "valid"):
            return super().digest(name)
        data = DataDir.load(Path(getattr(self.config, name)))
        said = "\n".join(one.text for one in data)
        return hashlib.sha256(f"{content_digest(data)}\n{said}".encode()).hexdigest()[:16]

    def describe(self) -> str:
        """Count of recordings, and the words that only their letters are known of."""
        every = self._transcripts(self._data(Path(self.config.train))).values()
        guessed = sorted({word.name for transcript in every for word in transcript.words if word.guessed})
        told = f"{self.facts.examples:,} recordings with transcripts, {len(self.facts.alphabet)} tokens"
        if not guessed:
            return told
        named = ", ".join(guessed[:_NAMED]) + (", …" if len(guessed) > _NAMED else "")
        return f"{told}; in no lexicon, so taken for their letters (give task.own), {len(guessed)} words: {named}"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse aligners of other frames or tokens."""
        for name, network in networks.items():
            if isinstance(network, Aligner):
                sizes = (network.in_dim, network.vocab_size)
                wanted = (self.facts.shape[0], len(self.facts.alphabet))
                if sizes != wanted:
                    raise SeqgenError(
                        f"networks.{name}: an aligner of {sizes[0]} bands and {sizes[1]} tokens",
                        remedy=f"the data have in_dim: {wanted[0]} and vocab_size: {wanted[1]}",
                    )

    @cached_property
    def pronouncer(self) -> Pronouncer:
        """Pronouncer of the transcripts."""
        own = Lexicon.open(Path(self.config.own)) if self.config.own else Lexicon({})
        return Pronouncer(Lexicon.open(Path(self.config.lexicon)), {word: own.find(word)[0] for word in own})

    def _transcripts(self, data: DataDir) -> dict[str, Transcript]:
        return {one.id: transcribed(one.text, self.pronouncer, self.config.states) for one in data}

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> SpokenRecordings:
        return self._recordings(self._data(Path(getattr(self.config, split))))

    def _recordings(self, data: DataDir) -> SpokenRecordings:
        settings = self.run.train
        return SpokenRecordings(
            data, self._transcripts(data), self.config.features, rows=settings.batch_size, seed=settings.seed
        )

    def align(self, system: System, data: Path) -> Iterator[Aligned]:
        """Recordings of a data directory with the times of their words and phones, as they are found."""
        return self._aligned(system, self._recordings(self._data(data)))

    def _aligned(self, system: System, source: SpokenRecordings) -> Iterator[Aligned]:
        aligner = next((one for one in system.networks.values() if isinstance(one, Aligner)), None)
        if aligner is None:
            raise self._cannot("has no aligner among its networks")
        for batch in source.whole():
            given = [source.transcripts[name] for name in batch.ids]
            yield from aligned(aligner, batch, given, self.config.features.hop / self.config.features.sample_rate)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over held-out recordings, and how far another alignment is away."""
        assert system.objective is not None
        data = self._data(options.data or Path(self.config.test))
        source = self._recordings(data)
        found = measured(system.objective, source.whole(), self.run.train.seed)
        if self.config.reference:
            self._compare(found, self._aligned(system, source))
        return of_utterances(self.run, system.label, data, found)

    def _compare(self, found: Gathered, recordings: Iterable[Aligned]) -> None:
        """Add how far boundaries are from those of the reference, of the recordings in which it has nearly the same
        phones."""
        reference = ctm.read(Path(self.config.reference))
        for one in recordings:
            away = np.round(1000 * np.abs(deviations(one.phones, reference.get(one.utterance, []))))  # ms
            said = sum(phone.label != SILENCE for phone in one.phones)
            if not said or len(away) < _SAME * said:
                continue
            count = torch.tensor([float(len(away))])
            figures = {"boundaries_away": Measure(_sum(away), count, "ms")}
            for limit in _NEAR:
                figures[f"boundaries_within_{limit}_ms"] = Measure(_sum(100.0 * (away <= limit)), count, "%")
            found.add(figures, (one.utterance,))


def _sum(values: npt.NDArray[np.floating]) -> Tensor:
    return torch.tensor([values.sum()])
