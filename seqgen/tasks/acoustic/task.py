"""The task of acoustic models: the prosody of phones, and what they sound like, learnt from aligned recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from seqgen.audio import io
from seqgen.data import ctm
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.spec import Facts
from seqgen.tasks.acoustic.aloud import ALPHABET, NUMBERS
from seqgen.tasks.acoustic.batches import PROSODY, TimedRecordings
from seqgen.tasks.acoustic.config import AcousticConfig
from seqgen.tasks.acoustic.examples import timed
from seqgen.tasks.acoustic.judging import judged
from seqgen.tasks.acoustic.speaker import Speaker
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.table import Table
from seqgen.tasks.vocoder.content import content_digest
from seqgen.tasks.vocoder.evaluation import measured, of_utterances
from seqgen.tasks.vocoder.examples import SIZES


class Acoustic(Task):
    """Task of acoustic models: phones of recordings with their prosody, and the recordings' log-mel frames."""

    Config = AcousticConfig
    config: AcousticConfig
    evaluation_options = frozenset({"data", "limit", "temperature", "seed", "texts", "keep", "judges"})
    sampling_options = frozenset({"out", "prompt", "temperature", "seed", "runtime"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        features = {"sample_rate": 8000, "n_fft": 256, "window": 160, "hop": 80, "n_mels": 4}
        options = {**timed(directory), "features": features}
        rows: dict[Split, int] = {"valid": SIZES["valid"], "test": SIZES["test"]}
        yield cls.example(options, rows)
        yield cls.example(options | {"target": "prosody"}, rows)

    def read_facts(self) -> Facts:
        data = self._data(Path(self.config.train))
        bands = self.config.features.bands if self.config.target == "frames" else PROSODY
        return Facts(examples=len(data), shape=(bands,), unit="number", alphabet=ALPHABET)

    def _data(self, path: Path) -> DataDir:
        data = DataDir.load(path)
        data.require_rate(self.config.features.sample_rate)
        return data

    def digest(self, name: str) -> str:
        """Digest of the utterances, and of the times of all that is learnt from."""
        if name != "times":
            return content_digest(DataDir.load(Path(getattr(self.config, name))))
        known = (self._times(Path(getattr(self.config, split))) for split in ("train", "valid"))
        said = "".join(ctm.render(dict(sorted(one.items()))) for one in known)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def _times(self, data: Path) -> dict[str, list[ctm.Stretch]]:
        """Times of the phones of a data directory, which lie under its name."""
        return ctm.read(Path(self.config.times) / data.name / "phones.ctm")

    def describe(self) -> str:
        learnt = "frames" if self.config.target == "frames" else "prosody of phones"
        return f"{self.facts.examples:,} recordings, {learnt}"

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> TimedRecordings:
        return self._recordings(Path(getattr(self.config, split)))

    def _recordings(self, path: Path) -> TimedRecordings:
        settings = self.run.train
        return TimedRecordings(
            self._data(path),
            self._times(path),
            NUMBERS,
            self.config.features,
            target=self.config.target,
            rows=settings.batch_size,
            seed=settings.seed,
        )

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over held-out recordings; with judges or a folder for it also what is spoken of their
        transcripts, or of lines of a file."""
        assert system.objective is not None
        source = self._recordings(options.data or Path(self.config.test))
        found = measured(system.objective, source.whole(), self.run.train.seed)
        table = of_utterances(self.run, system.label, source.data, found)
        if not options.judges and options.keep is None:
            return table
        heard = judged(self._speaker(system), source.data, options)
        return replace(table, figures={**table.figures, **heard})

    @torch.no_grad()
    def sample(self, system: System, options: Sampling) -> str:
        """Speak a text or a document of SSML."""
        speaker = self._speaker(system, options.runtime)
        lacking = [name for name, value in (("-o FILE", options.out), ("--prompt TEXT", options.prompt)) if not value]
        if lacking or options.out is None:
            raise SeqgenError(f"nothing is spoken without {lacking[0]}", remedy=f"give {' and '.join(lacking)}")
        frames = speaker.frames(options.prompt, options.temperature, options.seed)
        sound = speaker.sound(frames, options.seed)
        io.write(options.out, sound, self.config.features.sample_rate)
        return f"{options.out}: {len(sound) / self.config.features.sample_rate:.2f} s"

    def _speaker(self, system: System, runtime: str = "") -> Speaker:
        generator = system.networks.get("generator")
        if self.config.target != "frames" or not isinstance(generator, Density):
            raise self._cannot("speaks by a generator of frames alone")
        return Speaker(self.config, generator, runtime)
