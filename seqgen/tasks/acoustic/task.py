"""The task of acoustic models: the prosody of phones, and what they sound like, learnt from aligned recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqgen import config
from seqgen.audio import io
from seqgen.audio.features import save_features
from seqgen.bundle import Bundle
from seqgen.data import ctm
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.export import speaking
from seqgen.files.folders import replacing_folder
from seqgen.generation.spoken import SpokenDensity
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from seqgen.runtime.speaker import PROSODY, Speaker
from seqgen.runtime.voice import Voice
from seqgen.spec import Facts
from seqgen.tasks.acoustic.batches import TimedRecordings
from seqgen.tasks.acoustic.config import AcousticConfig
from seqgen.tasks.acoustic.examples import timed
from seqgen.tasks.acoustic.judging import judged
from seqgen.tasks.acoustic.speaker import NetworkSpeaker, lexicons, prosody_of, speller_of, vocoder_of
from seqgen.tasks.contract import Evaluation, Exporting, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.table import Table
from seqgen.tasks.vocoder.content import content_digest
from seqgen.tasks.vocoder.evaluation import measured, of_utterances
from seqgen.tasks.vocoder.examples import SIZES
from seqgen.text.pronounced.aloud import ALPHABET, NUMBERS


class Acoustic(Task):
    """Task of acoustic models: phones of recordings with their prosody, and the recordings' log-mel frames."""

    Config = AcousticConfig
    config: AcousticConfig
    evaluation_options = frozenset({"data", "limit", "temperature", "seed", "texts", "keep", "judges"})
    sampling_options = frozenset({"given", "out", "prompt", "temperature", "seed", "runtime"})

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
        place, speaks = options.data or Path(self.config.test), bool(options.judges) or options.keep is not None
        table = Table(title=system.label, figures={}, record={"checkpoint": system.label})
        if system.objective is not None:
            source = self._recordings(place)
            found = measured(system.objective, source.whole(), self.run.train.seed)
            table = of_utterances(self.run, system.label, source.data, found)
        elif not speaks:
            raise SeqgenError("a voice that speaks has no likelihood", remedy="give --judges, or --audio DIR")
        heard = judged(self._speaker(system), place, options) if speaks else {}
        return replace(table, figures={**table.figures, **heard})

    @torch.no_grad()
    def sample(self, system: System, options: Sampling) -> str:
        """Speak a text or a document of SSML; of a data directory make the frames of its recordings instead."""
        if options.given is not None:
            return self._retold(system, options)
        speaker = self._speaker(system, options.runtime)
        lacking = [name for name, value in (("-o FILE", options.out), ("--prompt TEXT", options.prompt)) if not value]
        if lacking or options.out is None:
            raise SeqgenError(f"nothing is spoken without {lacking[0]}", remedy=f"give {' and '.join(lacking)}")
        sound = np.concatenate(list(speaker.speak(options.prompt, options.temperature, options.seed)))
        io.write(options.out, sound, self.config.features.sample_rate)
        return f"{options.out}: {len(sound) / self.config.features.sample_rate:.2f} s"

    def _retold(self, system: System, options: Sampling) -> str:
        """Write the likeliest frames of recordings, of the times and the prosody that they have, with the pitch of the
        recordings themselves: what a vocoder is to learn the sound of."""
        generator, spec = self._frames(system), self.config.features
        if options.given is None or options.out is None:
            raise SeqgenError("frames need a folder to go to", remedy="give -o FOLDER")
        recordings = self._recordings(options.given)
        bands = spec.bands
        with replacing_folder(options.out, kind="a folder of frames", may_replace=_of_frames) as folder:
            for batch in recordings.whole():
                u = torch.full((*batch.x.shape[:2], generator.num_uniforms), 0.5)
                made = generator.sample(u, batch.cond, torch.zeros(())).unflatten(1, (-1, bands))
                own = batch.x[..., 0].unflatten(1, (-1, bands))
                made = torch.cat([made[..., : spec.n_mels], own[..., spec.n_mels :]], dim=2).clamp_min(spec.silence)
                for row, name, length in zip(made, batch.ids, batch.lengths // bands, strict=True):
                    save_features(folder / f"{name}.safetensors", row[: int(length)].numpy(), spec)
        return f"{options.out}: frames of {len(recordings.data)} recordings"

    def export(self, system: System, out: Path, options: Exporting) -> Bundle:
        """Write the bundle of a voice that speaks, with its vocoder's files."""
        generator = self._frames(system)
        lacking = [f"task.{name}" for name in ("prosody", "lexicon", "vocoder") if not getattr(self.config, name)]
        if lacking:
            raise SeqgenError(f"no voice speaks without {lacking[0]}", remedy=f"give {' and '.join(lacking)}")
        if options.precision == "bf16" or options.engine_only:
            raise SeqgenError(
                "a voice that speaks has its vocoder's weights, its own are of 32 or 8 bits",
                remedy="give --quantise int8, and what else there is where the vocoder is exported",
            )
        about = speaking.About(
            name=self.run.name,
            licence=self.run.licence,
            config=config.dump(self.run),
            provenance={"config_digest": config.digest(self.run), "checkpoint": system.label, **options.notes},
        )
        lexicon, own = lexicons(self.config)
        vocoder = vocoder_of(self.config.vocoder, self.config.features)
        given = prosody_of(self.config), generator, lexicon.with_first(own), vocoder, about, out
        with speller_of(self.config.g2p) as speller:
            return speaking.write(*given, speller=speller, small=options.precision == "int8")

    def open_bundle(self, bundle: Bundle, runtime: str) -> System:
        opened = open_runtime(bundle, runtime)
        label = f"{bundle.manifest.name} {bundle.manifest.digest[:12]} through {opened}"
        return System({}, label=label, runtime=opened)

    def _speaker(self, system: System, runtime: str = "") -> Speaker:
        if isinstance(system.runtime, Runtime):
            return Voice(system.runtime)
        return NetworkSpeaker(self.config, self._frames(system), runtime)

    def _frames(self, system: System) -> SpokenDensity:
        generator = system.networks.get("generator")
        if self.config.target != "frames" or not isinstance(generator, SpokenDensity):
            raise self._cannot("speaks by a generator of frames alone")
        return generator


def _of_frames(folder: Path) -> bool:
    return all(one.suffix == ".safetensors" for one in folder.iterdir())
