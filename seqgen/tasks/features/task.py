"""The task of features: networks learn from the log-mel frames of recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.latents import examples
from seqgen.latents.variable import LatentVariable
from seqgen.runtime.extractor import Extractor, Floats
from seqgen.spec import Facts, FeatureSpec
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.extraction import CodeFeatures
from seqgen.tasks.features.batches import Batch, FrameStretches, batch_of, count_stretches, cut, frames_of_audio
from seqgen.tasks.table import Table
from seqgen.tasks.vocoder.content import content_digest
from seqgen.tasks.vocoder.evaluation import measured, of_utterances
from seqgen.tasks.vocoder.examples import SIZES, record
from seqgen.train.identity import NEUTRAL, PLACE, WEIGHTS


@dataclass(frozen=True)
class FeaturesConfig:
    """Options of the task of features.

    Attributes:
        train, valid, test: data directories; a relative path is taken from the working directory.
        features: definition of the frames. longest: frames of a row; longer recordings are cut up (0: none is).
        centred: whether the mean of each band over its recording is taken off, and with it much of the loudness and of
            the channel.
    """

    train: str = field(metadata=PLACE)
    valid: str = field(metadata=PLACE)
    test: str = field(metadata=NEUTRAL)
    features: FeatureSpec = field(metadata=WEIGHTS)
    longest: int = 0
    centred: bool = field(default=True, metadata=WEIGHTS)

    def __post_init__(self) -> None:
        if self.longest < 0:
            raise SeqgenError(f"'task.longest' is {self.longest}", remedy="give 1 or more, or 0 for whole recordings")


class FeatureFrames(Task):
    """Task of features: log-mel frames as sequences of real numbers, frame after frame."""

    Config = FeaturesConfig
    config: FeaturesConfig
    evaluation_options = frozenset({"data", "evidence_samples"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        features = {"sample_rate": 8000, "n_fft": 256, "window": 160, "hop": 80, "n_mels": 5}
        options = {**record(directory), "features": features}
        bands = features["n_mels"]
        models, pairs = (examples.readers(LatentVariable, vocab_size=0, down=count * bands) for count in (1, 2))
        yield cls.example(options, {"valid": SIZES["valid"], "test": SIZES["test"]}, extracting=pairs)
        # Of 12, 14, 16 (and 18) frames; five at a time.
        cut_up = options | {"longest": 5, "centred": False}
        yield cls.example(cut_up, {"valid": 10, "test": 14}, extracting=models)

    def read_facts(self) -> Facts:
        data = self._data(Path(self.config.train))
        count = count_stretches(data, self.config.features, self.config.longest)
        return Facts(examples=count, shape=(self.config.features.bands,), unit="number")

    def _data(self, path: Path) -> DataDir:
        data = DataDir.load(path)
        data.require_rate(self.config.features.sample_rate)
        return data

    def digest(self, name: str) -> str:
        """Digest of the utterances: ids, speakers and sounds, wherever they lie."""
        return content_digest(DataDir.load(Path(getattr(self.config, name))))

    def describe(self) -> str:
        return f"{self.facts.examples:,} stretches of frames of {self.facts.shape[0]} numbers"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse codes whose positions are no whole number of frames, and networks of symbols."""
        bands = self.facts.shape[0]
        for name, network in networks.items():
            if not isinstance(network, LatentVariable):
                continue
            if network.encoder.vocab_size:
                raise SeqgenError(
                    f"networks.{name}.encoder reads {network.encoder.vocab_size} symbols, frames are real numbers",
                    remedy="give an encoder of real numbers",
                )
            if network.encoder.down % bands:
                raise SeqgenError(
                    f"networks.{name}: a position of the code stands for {network.encoder.down} numbers, a frame has "
                    f"{bands}",
                    remedy=f"make it {bands}, or a multiple",
                )

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks that learnt frames of another width."""
        if facts.shape != self.facts.shape:
            raise SeqgenError(
                f"{where} was trained on frames of shape {list(facts.shape)}, these have {list(self.facts.shape)}",
                remedy="give both runs the same task.features",
            )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> FrameStretches:
        return self._stretches(self._data(Path(getattr(self.config, split))), learnt=split == "train")

    def _stretches(self, data: DataDir, *, learnt: bool = False) -> FrameStretches:
        settings, options = self.run.train, self.config
        return FrameStretches(
            data,
            options.features,
            longest=options.longest,
            centred=options.centred,
            rows=settings.batch_size,
            seed=settings.seed,
            learnt=learnt,
        )

    def extractor(self, network: nn.Module, layer: str = "") -> Extractor:
        """Codes of frames, of recordings cut up as for training.

        Raises:
            SeqgenError: for a network without codes, and stretches that are no whole number of positions.
        """
        if not isinstance(network, LatentVariable):
            raise SeqgenError(
                f"{type(network).__name__} makes no codes of frames", remedy="name a model with latent variables"
            )
        together, longest = network.encoder.down // self.facts.shape[0], self.config.longest
        if longest % together:
            raise SeqgenError(
                f"stretches of {longest} frames are no whole number of positions of {together}",
                remedy=f"train with task.longest {longest // together * together or together}",
            )
        spec = self.config.features

        def batches(audio: Floats) -> list[Batch]:
            frames = frames_of_audio(audio, spec, centred=self.config.centred)
            return [batch_of([("", piece) for _, piece in cut(frames, longest)])]

        return CodeFeatures(network, layer, sample_rate=spec.sample_rate, hop=together * spec.hop, batches=batches)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over held-out recordings."""
        system = system.measured_by(options.evidence_samples)
        assert system.objective is not None
        data = self._data(options.data or Path(self.config.test))
        found = measured(system.objective, self._stretches(data).whole(), self.run.train.seed)
        return of_utterances(self.run, system.label, data, found)
