"""The task of acoustic models: the prosody of phones, and what they sound like, learnt from aligned recordings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqgen import noise
from seqgen.audio import io
from seqgen.audio.periodicity import HIGHEST, LOWEST
from seqgen.bundle import Bundle
from seqgen.data import ctm
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.manifest import VocoderManifest
from seqgen.metrics.griffin_lim import griffin_lim
from seqgen.runtime import open_runtime
from seqgen.spec import Facts, FeatureSpec, require_same_signature
from seqgen.tasks.acoustic.aloud import ALPHABET, NUMBERS, Aloud, read_aloud
from seqgen.tasks.acoustic.batches import PROSODY, Floats, Target, TimedRecordings, phones_of
from seqgen.tasks.acoustic.examples import timed
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.features.batches import Frames
from seqgen.tasks.passes import Numbers
from seqgen.tasks.table import Table
from seqgen.tasks.vocoder.content import content_digest
from seqgen.tasks.vocoder.evaluation import measured, of_utterances, vocode
from seqgen.tasks.vocoder.examples import SIZES
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.markup import script_of
from seqgen.text.pronounced.pronouncer import Pronouncer
from seqgen.train.identity import NEUTRAL, PLACE, WEIGHTS

_DRAWN = {
    "frames": noise.name_to_stream("seqgen.acoustic.frames"),
    "prosody": noise.name_to_stream("seqgen.acoustic.prosody"),
}
_OCTAVES = math.log2(HIGHEST / LOWEST)  # from a pitch of 0 to one of 1
_LONGEST = 200  # frames of a phone that is drawn


@dataclass(frozen=True)
class AcousticConfig:
    """Options of the task of acoustic models.

    Attributes:
        train, valid, test: data directories; a relative path is taken from the working directory.
        times: folder of what ``seqgen align`` wrote, a folder for each of them under its name.
        features: definition of the frames. target: what is learnt, frames, or the prosody of phones.
        prosody: experiment of this task that learnt prosody, lexicon, own: pronunciations; what speaking a text takes.
        vocoder: bundle of a voice that makes sound of the frames (by default Griffin and Lim do).
    """

    train: str = field(metadata=PLACE)
    valid: str = field(metadata=PLACE)
    test: str = field(metadata=NEUTRAL)
    times: str = field(metadata=PLACE)
    features: FeatureSpec = field(metadata=WEIGHTS)
    target: Target = field(default="frames", metadata=WEIGHTS)
    prosody: str = field(default="", metadata=NEUTRAL)
    lexicon: str = field(default="", metadata=NEUTRAL)
    own: str = field(default="", metadata=NEUTRAL)
    vocoder: str = field(default="", metadata=NEUTRAL)


class Acoustic(Task):
    """Task of acoustic models: phones of recordings with their prosody, and the recordings' log-mel frames."""

    Config = AcousticConfig
    config: AcousticConfig
    evaluation_options = frozenset({"data"})
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
        """Figures of the method over held-out recordings."""
        assert system.objective is not None
        source = self._recordings(options.data or Path(self.config.test))
        found = measured(system.objective, source.whole(), self.run.train.seed)
        return of_utterances(self.run, system.label, source.data, found)

    @torch.no_grad()
    def sample(self, system: System, options: Sampling) -> str:
        """Speak a text or a document of SSML: phones by the lexicon, prosody by its own experiment, frames by this one,
        sound by a vocoder."""
        generator = system.networks.get("generator")
        wanted = {"-o FILE": options.out, "--prompt TEXT": options.prompt, "task.prosody": self.config.prosody,
                  "task.lexicon": self.config.lexicon}  # fmt: skip
        lacking = [name for name, value in wanted.items() if not value]
        if self.config.target != "frames" or not isinstance(generator, Density):
            raise self._cannot("speaks by a generator of frames alone")
        if lacking or options.out is None:
            raise SeqgenError(f"nothing is spoken without {lacking[0]}", remedy=f"give {', '.join(lacking)}")
        own = Lexicon.open(Path(self.config.own)) if self.config.own else Lexicon({})
        pronouncer = Pronouncer(Lexicon.open(Path(self.config.lexicon)), {word: own.find(word)[0] for word in own})
        told = read_aloud(script_of(options.prompt), pronouncer)
        durations, manner = self._prosody(told, options)
        spec, count = self.config.features, int(durations.sum())
        u = _uniforms(options.seed, "frames", count * spec.bands, generator.num_uniforms)
        made = generator.sample(u, phones_of([told.tokens], [durations], [manner]), options.temperature)
        louder = np.repeat(told.nats, durations)[:, None]
        frames = np.maximum(made.view(count, spec.bands).double().numpy(), spec.silence)
        frames[:, : spec.n_mels] = np.maximum(frames[:, : spec.n_mels] + louder, spec.silence)
        io.write(options.out, self._sound(frames.astype(np.float32), options), spec.sample_rate)
        return f"{options.out}: {len(told.tokens)} phones, {count * spec.hop / spec.sample_rate:.2f} s"

    def _prosody(self, told: Aloud, options: Sampling) -> tuple[Numbers, Floats]:
        """Frames of each phone, and its pitch and loudness, as another run draws them and the text says."""
        experiment = Experiment.open(Path(self.config.prosody))
        network, _ = experiment.network("generator")
        if not isinstance(network, Density):
            raise SeqgenError(f"{self.config.prosody} has no generator of prosody", remedy="check task.prosody")
        count = len(told.tokens)
        u = _uniforms(options.seed, "prosody", count * PROSODY, network.num_uniforms)
        given = phones_of([told.tokens], [np.ones_like(told.tokens)], [np.zeros((count, PROSODY - 1))])
        drawn = network.sample(u, given, options.temperature).view(count, PROSODY).double().numpy()
        usual = np.clip(np.exp(drawn[:, 0]), None, _LONGEST) / told.rate
        a_second = self.config.features.sample_rate / self.config.features.hop
        durations = np.where(np.isnan(told.pauses), usual, told.pauses * a_second)
        manner = drawn[:, 1:] + np.stack([told.octaves / _OCTAVES, np.zeros(count)], axis=1)
        return np.maximum(np.rint(durations), 1).astype(np.int64), manner

    def _sound(self, frames: Frames, options: Sampling) -> Frames:
        """Samples ``[F · hop]`` of frames, by the vocoder of the run's configuration, or by Griffin and Lim."""
        spec, place = self.config.features, self.config.vocoder
        if not place:
            return griffin_lim(frames, spec, len(frames) * spec.hop)
        bundle = Bundle.open(Path(place))
        if not isinstance(bundle.manifest, VocoderManifest):
            raise SeqgenError(f"{place} is no vocoder", remedy="give the bundle of one")
        require_same_signature(bundle.manifest.features, spec, where=place)
        if bundle.manifest.spec.in_dim > spec.bands:
            raise SeqgenError(f"{place} is a vocoder of several speakers", remedy="give that of one reader")
        runtime = open_runtime(bundle, options.runtime)
        (made,) = vocode(runtime, [frames], [""], [0], seed=options.seed)
        return made


def _uniforms(seed: int, what: str, elements: int, each: int) -> torch.Tensor:
    drawn = noise.block(seed, _DRAWN[what], 0, elements * each)
    return torch.from_numpy(drawn).view(1, elements, each)
