"""An experiment directory: the resolved configuration, the speakers, and the trained generator."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from seqgen import config
from seqgen.audio.features import mel_filters
from seqgen.errors import SeqgenError
from seqgen.train import weights
from seqgen.train.checkpoint import CheckpointIdentity
from seqgen.train.run import RunConfig, System, Voice, build, voice

CONFIG = "config.yaml"
SPEAKERS = "speakers.txt"


@dataclass(frozen=True)
class Experiment:
    """One run on disk. ``speakers`` are those of the training data, in the order of the one-hot."""

    directory: Path
    run: RunConfig
    speakers: tuple[str, ...]

    @staticmethod
    def create(directory: Path, run: RunConfig, speakers: tuple[str, ...]) -> Experiment:
        """Write the resolved configuration and the speakers beside what training will write."""
        experiment = Experiment(directory, run, speakers)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _replace(directory / CONFIG, config.dump(run))
            _replace(directory / SPEAKERS, "".join(f"{speaker}\n" for speaker in experiment.speakers))
        except OSError as error:
            raise SeqgenError(
                f"cannot write {directory}: {error.strerror}", remedy="choose a writable place with free space"
            ) from None
        return experiment

    @staticmethod
    def open(directory: Path) -> Experiment:
        """Read an experiment.

        Raises:
            SeqgenError: where the directory is none.
        """
        if not (directory / CONFIG).is_file() or not (directory / SPEAKERS).is_file():
            raise SeqgenError(
                f"{directory}: no experiment here ({CONFIG} is missing)", remedy="run `seqgen train` first"
            )
        try:
            speakers = tuple((directory / SPEAKERS).read_text(encoding="utf-8").splitlines())
        except UnicodeDecodeError as error:
            raise SeqgenError(f"{directory / SPEAKERS}: {error}", remedy="restore the file, one name a line") from None
        return Experiment(directory, config.load(directory / CONFIG, RunConfig), speakers)

    def identity(self) -> CheckpointIdentity:
        """What its checkpoints must belong to."""
        return CheckpointIdentity(config.dump(self.run), config.digest(self.run), self.run.features.signature)

    def build(self, source: str = "") -> System:
        """The system with fresh weights, which ``train.seed`` decides."""
        mel_filters(self.run.features)  # bands that no frequency falls into are found before anything is written
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.run.train.seed)
            return build(self.run, self.speakers, source=source or str(self.directory / CONFIG))

    def voice(self) -> tuple[Voice, Path]:
        """What :meth:`load` gives, without the objective and what that would need."""
        made = voice(self.run, self.speakers, source=str(self.directory / CONFIG))
        source = weights.load(self.directory, made.generator, prefix="generator.")
        made.generator.eval()
        return made, source

    def load(self) -> tuple[System, Path]:
        """The system with the best checkpoint's (averaged) weights, in evaluation mode, and that checkpoint."""
        system = self.build()
        source = weights.load(self.directory, system.objective)
        system.objective.eval()
        return system, source


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)
