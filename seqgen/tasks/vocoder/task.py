"""The vocoder task: recordings in, a voice out that makes audio of log-mel frames."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from rich.progress import Progress
from torch import nn

from seqgen import config, registry
from seqgen.audio import io
from seqgen.audio.codec import Codec
from seqgen.audio.features import log_mel, mel_filters
from seqgen.audio.filter_bank import bank_for
from seqgen.audio.prediction import prediction_for
from seqgen.audio.resample import resample
from seqgen.bundle import Bundle
from seqgen.command.console import Watched
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.export import speech_codec, voice
from seqgen.files.inputs import regular
from seqgen.files.outputs import require_writable
from seqgen.generation.contract import Generator
from seqgen.generation.vocoder import Vocoder
from seqgen.latents import examples
from seqgen.latents.variable import LatentVariable
from seqgen.metrics.judges import Judge
from seqgen.runtime import open_runtime, runnable
from seqgen.runtime.contract import Runtime
from seqgen.runtime.extractor import Extractor, Floats
from seqgen.spec import Facts, StreamSpec, require_same_signature
from seqgen.tasks.contract import Evaluation, Exporting, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.extraction import CodeFeatures, NetworkFeatures
from seqgen.tasks.networks import shortened
from seqgen.tasks.run import RunConfig
from seqgen.tasks.table import Table
from seqgen.tasks.vocoder import lengths
from seqgen.tasks.vocoder.batches import Batch, Recordings, SegmentBatches, UtteranceBatches, recording
from seqgen.tasks.vocoder.comparison import Compared, Comparison, compare
from seqgen.tasks.vocoder.config import VocoderConfig, facts_of
from seqgen.tasks.vocoder.content import content_digest
from seqgen.tasks.vocoder.evaluation import measured, measured_by, vocode
from seqgen.tasks.vocoder.examples import SIZES, record
from seqgen.tasks.vocoder.given_frames import GivenFrames, frames_digest
from seqgen.tasks.vocoder.previews import preview
from seqgen.tasks.vocoder.runtime import TorchRuntime
from seqgen.train.report import Report

_GENERATOR = "generator"  # the network that is exported, streamed and listened to


class Vocoding(Task):
    """Task of a vocoder: networks learn from recordings; a network called ``generator`` is a voice, which is judged by
    what it makes.

    A run without one trains a network that makes no audio (a classifier, say); it is judged by its method's own
    figures.
    """

    Config = VocoderConfig
    bundle_kind: ClassVar[str] = "vocoder"
    evaluation_options = frozenset({"data", "limit", "temperature", "seed", "keep", "judges"})
    sampling_options = frozenset({"given", "out", "speaker", "temperature", "seed", "runtime"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        features = {"sample_rate": 8000, "n_fft": 256, "window": 160, "hop": 40, "n_mels": 10}
        options = {**record(directory), "segment": 160, "features": features}
        kinds = (({}, 256), ({"codec": "mulaw8"}, 256), ({"codec": "float"}, 0),
                 ({"prediction": 4, "features": features | {"pitch": True}}, 256))  # fmt: skip
        for kind, vocab_size in kinds:
            models = examples.readers(LatentVariable, vocab_size=vocab_size, down=80)
            yield cls.example(options | kind, SIZES, extracting=models)
        yield cls.example(options | {"valid_utterances": 2, "test_utterances": 3}, {"valid": 2, "test": 3})

    def __init__(self, run: RunConfig, config: VocoderConfig, facts: Facts | None = None) -> None:
        self.options = config
        mel_filters(config.features)  # bands that no frequency falls into are found before anything is written
        self.codec: Codec = registry.CODECS.load(config.codec)()
        self.prediction = prediction_for(config.features, config.prediction, config.codec)
        self.bank = bank_for(config.bands, config.codec)
        super().__init__(run, config, facts)

    def read_facts(self) -> Facts:
        data = self._data(Path(self.options.train), quiet=True)
        return facts_of(self.options.codec, self.options.features, tuple(data.speakers), len(data))

    def _data(self, path: Path, *, quiet: bool = False) -> DataDir:
        """Recordings of a data directory that fill a frame; of the others it is said on standard error that they are
        left out."""
        data, features = DataDir.load(path), self.options.features
        kept = lengths.filling_a_frame(data, features)
        if len(kept) < len(data) and not quiet:
            sys.stderr.write(f"{path}: {lengths.told(data, features)}\n")
        return kept

    def digest(self, name: str) -> str:
        """Of the utterances: ids, speakers and sounds, wherever they lie; of frames their files."""
        if name == "frames":
            return frames_digest(Path(self.options.frames))
        return content_digest(DataDir.load(Path(getattr(self.options, name))))

    def require_sensible(self) -> None:
        """Refuse segments that are longer than any recording."""
        data = self._data(Path(self.options.train), quiet=True)
        longest = max(utterance.samples for utterance in data)
        if self.options.segment > max(longest, self.options.features.hop):
            raise SeqgenError(
                f"'task.segment' is {self.options.segment} samples, the longest utterance of {data.path} has {longest}",
                remedy="train on shorter segments",
            )

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse a codec whose elements are not what the networks read, and a filter that lanes cannot be led
        through."""
        for name, network in networks.items():
            body = network.body if isinstance(network, Generator) else network
            spec = getattr(body, "spec", None)
            if spec is not None:
                self._require_codec(name, spec)
            if isinstance(network, Generator) and network.ahead and self.prediction is not None:
                raise SeqgenError(
                    f"'task.prediction' is {self.options.prediction} with {network.lanes} lanes",
                    remedy="set one of them: lanes are made of the waveform itself",
                )

    def _require_codec(self, name: str, spec: StreamSpec) -> None:
        """The same alphabet, as many to a sample, of as many bands."""
        bands = spec.cond_every if spec.cond_every > 1 and not spec.vocab_size else 0
        if bands != self.options.bands:
            read = f"{bands} bands" if bands else "no bands"
            raise SeqgenError(
                f"networks.{name} reads {read}, task.bands is {self.options.bands}",
                remedy=f"set task.bands to {bands}, or choose a model of {self.options.bands or 'no'} bands",
            )
        reads = spec.vocab_size, 1 if bands else spec.cond_every
        kinds = {codec: registry.CODECS.load(codec) for codec in registry.CODECS}
        gives = {codec: (kind.alphabet, kind.symbols_per_sample) for codec, kind in kinds.items()}
        if gives[self.options.codec] == reads:
            return
        fitting = [codec for codec, given in gives.items() if given == reads]
        what = f"{reads[0]} symbols" if reads[0] else "real numbers"
        raise SeqgenError(
            f"networks.{name} reads {what}, {reads[1]} to a sample; task.codec '{self.options.codec}' gives others",
            remedy=f"set task.codec to {' or '.join(fitting)}"
            if fitting
            else "choose a model that reads what it gives",
        )

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks trained at another rate, and voices of other features or speakers."""
        if facts.features is None:
            raise SeqgenError(f"{where} was not trained on recordings", remedy="name a run of the task 'vocoder'")
        there, here = facts.features.sample_rate, self.options.features.sample_rate
        if there != here:
            raise SeqgenError(
                f"{where} has a sample rate of {there} Hz, this run {here} Hz", remedy="give both the same features"
            )
        if not isinstance(network, Generator):
            return
        require_same_signature(self.options.features, facts.features, where=where)
        if facts.speakers != self.facts.speakers:
            raise SeqgenError(
                f"{where} was trained on the speakers {', '.join(facts.speakers)}; this run has "
                f"{', '.join(self.facts.speakers)}",
                remedy="train both on the same data directory",
            )

    def warnings(self, networks: Mapping[str, nn.Module]) -> list[str]:
        hop, rows = self.options.features.hop, {"segment": self.options.segment, "context": self.options.context}
        return shortened(networks, **rows, remedy=f"set task.context to that, in whole hops of {hop}")

    def describe(self) -> str:
        data = self._data(Path(self.options.train), quiet=True)
        return f"{len(data)} utterances ({data.seconds / 60:.1f} min, {len(self.facts.speakers)} speakers)"

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> Recordings:
        place = Path(getattr(self.options, split))
        data = self._data(place)
        limit = {"valid": self.options.valid_utterances, "test": self.options.test_utterances}.get(split, 0)
        given = None
        if self.options.frames and split != "test":
            given = GivenFrames(Path(self.options.frames) / place.name, self.options.features)
        return self._recordings(_first(data, limit), networks, training=split == "train", frames=given)

    def _recordings(
        self,
        data: DataDir,
        networks: Mapping[str, nn.Module],
        *,
        training: bool = False,
        rows: int = 8,
        context: bool = True,
        frames: GivenFrames | None = None,
    ) -> Recordings:
        generators = [network for network in networks.values() if isinstance(network, Generator)]
        given: dict[str, Any] = {
            "features": self.options.features,
            "codec": self.codec,
            "prediction": self.prediction,
            "bank": self.bank,
            "given": frames,
            "left": max((network.left for network in generators), default=0) if context else 0,
            "right": max((network.right for network in generators), default=0),
            "speakers": self.facts.speakers,
        }
        if not training:
            return Recordings(None, UtteranceBatches(data, batch_size=rows, **given))
        settings, options = self.run.train, self.options
        given |= {"segment": options.segment, "context": options.context}
        segments = SegmentBatches(data, batch_size=settings.batch_size, seed=settings.seed, **given)
        return Recordings(segments, None, settings.workers)

    def extractor(self, network: nn.Module, layer: str = "") -> Extractor:
        """Codes of the samples that a model with latent variables reads, or what a stream makes of raw audio."""
        features, codec = self.options.features, self.codec
        if not isinstance(network, LatentVariable):
            return NetworkFeatures(network, layer, features.sample_rate)

        def batches(audio: Floats) -> list[Batch]:
            return [recording(audio, features, codec, self.prediction, self.bank)]

        hop = network.encoder.down // codec.symbols_per_sample
        return CodeFeatures(network, layer, sample_rate=features.sample_rate, hop=hop, batches=batches)

    def vocoder(self, networks: Mapping[str, nn.Module]) -> Vocoder:
        """The generator with codec and filter.

        Raises:
            SeqgenError: where the run trains something else.
        """
        generator = networks.get(_GENERATOR)
        if not isinstance(generator, Generator):
            raise SeqgenError("this run trains something that makes no audio", remedy="name the run of a voice")
        return Vocoder(generator, self.codec, self.prediction, self.bank)

    def previews(self, system: System, report: Report, step: int) -> None:
        if _GENERATOR not in system.networks:
            return
        utterance = self._data(Path(self.options.valid), quiet=True).utterances[0]
        preview(self.vocoder(system.networks), utterance, self.facts, report, step=step, seed=self.run.train.seed)

    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method, then distances of what the voice makes of each utterance's own features, beside
        Griffin–Lim and WORLD."""
        if system.runtime is not None:
            system = replace(system, networks={_GENERATOR: self._rebuilt(system.runtime.bundle)})
        data = _first(
            self._data(options.data or Path(self.options.test)), options.limit or self.options.test_utterances
        )
        sys.stderr.write(f"{self.run.objective.name} of {len(data)} utterances with {system.label}\n")
        if system.objective is not None:
            rows, context = system.objective.evaluation_rows, system.objective.evaluation_context
            batches = self._recordings(data, system.networks, rows=rows, context=context).whole()
            exact = measured(system.objective, batches, self.run.train.seed)
        else:
            assert isinstance(system.runtime, Runtime)
            batches = self._recordings(data, system.networks, context=False).whole()
            exact = measured_by(system.runtime, self.vocoder(system.networks), batches)
        silent = options.likelihood_only or _GENERATOR not in system.networks
        judges = {} if silent else _judges(options.judges, data)
        found = [] if silent else self._compared(system, options, data, judges)
        if options.keep is not None:
            for one in found:
                one.write(options.keep, self.options.features.sample_rate)
        compared = Compared.of(found, judges)
        samples = sum(utterance.samples for utterance in data)
        return Table(
            title=f"{len(data)} utterances, {samples:,} samples, checkpoint {system.label}",
            figures=exact.figures,
            record={
                "config_digest": config.digest(self.run),
                "checkpoint": system.label,
                "data": str(data.path),
                "utterances": len(data),
                "samples": samples,
            },
            examples=exact.examples,
            further={
                "temperature": options.temperature,
                "seed": options.seed,
                **compared.plain(),
            },
            lines=(*compared.lines(), *(lengths.told_of_metrics(data) if found else ())),
        )

    def _compared(
        self, system: System, options: Evaluation, data: DataDir, judges: Mapping[str, Judge]
    ) -> list[Comparison]:
        with tempfile.TemporaryDirectory() as scratch, Progress(console=Watched()) as bar:
            runtime = self._runtime(system, Path(scratch) / "voice")
            make = functools.partial(vocode, runtime, seed=options.seed, temperature=options.temperature)
            task = bar.add_task("vocoding and scoring", total=len(data))
            made: Iterable[Comparison] = compare(
                make,
                self.options.features,
                list(data),
                judges=judges,
                progress=lambda done: bar.advance(task, done),
            )
            return list(made)

    def _runtime(self, system: System, scratch: Path, name: str = "") -> Runtime:
        """Runtime that executes the voice: that of its bundle, for which an experiment is exported."""
        if isinstance(system.runtime, Runtime):
            return system.runtime
        return open_runtime(self.export(system, scratch, Exporting()), name)

    def open_bundle(self, bundle: Bundle, runtime: str) -> System:
        opened = open_runtime(bundle, runtime)
        label = f"{bundle.manifest.name} {bundle.manifest.digest[:12]} through {opened}"
        return System({}, label=label, runtime=opened)

    @staticmethod
    def _rebuilt(bundle: Bundle) -> Generator:
        """The voice of a bundle in float32, which its runtimes are judged by."""
        if "torch" not in runnable(bundle):
            raise SeqgenError(
                f"{bundle.directory} is for the native engine only: it lacks the float32 weights that it would be "
                "judged by",
                remedy="export the experiment without --engine-only, and evaluate that bundle",
            )
        return TorchRuntime(bundle).generator

    def sample(self, system: System, options: Sampling) -> str:
        """Vocode one recording."""
        if options.given is None or options.out is None:
            raise SeqgenError("a vocoder needs a recording", remedy="give IN.wav -o OUT.wav")
        require_writable(options.out)
        speakers = self.facts.speakers
        speaker = options.speaker or (speakers[0] if len(speakers) == 1 else "")
        if speaker not in speakers:
            got = f"no speaker '{speaker}'" if speaker else "several speakers"
            raise SeqgenError(got, remedy=f"give --speaker, one of {', '.join(speakers)}")
        with regular(options.given) as given:
            audio, rate = io.read(given)
        features = log_mel(resample(audio, rate, self.options.features.sample_rate), self.options.features)
        with tempfile.TemporaryDirectory() as scratch:
            runtime = self._runtime(system, Path(scratch) / "voice", options.runtime)
            noise = {"seed": options.seed, "temperature": options.temperature}
            (made,) = vocode(runtime, [features], [speaker], [0], **noise)  # type: ignore[arg-type]
        io.write(options.out, made, self.options.features.sample_rate)
        return f"{options.out}: {len(made) / self.options.features.sample_rate:.2f} s of audio through {runtime}"

    def export(self, system: System, out: Path, options: Exporting) -> Bundle:
        """Write the bundle of the run's voice, or of a speech codec where it trains a model with latent variables."""
        model = next((one for one in system.networks.values() if isinstance(one, LatentVariable)), None)
        if model is not None:
            return self._export_codec(model, system, out, options)
        run = replace(self.run, networks={**self.run.networks, **system.definitions})
        about = voice.About(
            name=self.run.name,
            kind=self.bundle_kind,
            codec=self.options.codec,
            features=self.options.features,
            speakers=self.facts.speakers,
            licence=self.run.licence,
            config=config.dump(run),
            provenance={"config_digest": config.digest(self.run), "checkpoint": system.label, **options.notes},
        )
        return voice.write(
            self.vocoder(system.networks), about, out, options.precision, engine_only=options.engine_only
        )

    def _export_codec(self, model: LatentVariable, system: System, out: Path, options: Exporting) -> Bundle:
        if options.precision != "float32" or options.engine_only:
            raise SeqgenError("a speech codec has float32 weights", remedy="leave out --quantise and --engine-only")
        about = speech_codec.About(
            name=self.run.name,
            codec=self.options.codec,
            sample_rate=self.options.features.sample_rate,
            speakers=self.facts.speakers if self.facts.num_speakers else (),
            licence=self.run.licence,
            config=config.dump(replace(self.run, networks={**self.run.networks, **system.definitions})),
            provenance={"config_digest": config.digest(self.run), "checkpoint": system.label, **options.notes},
        )
        return speech_codec.write(model, about, out)


def _first(data: DataDir, limit: int) -> DataDir:
    return DataDir(data.path, data.utterances[:limit]) if limit else data


def _judges(names: Iterable[str], data: DataDir) -> dict[str, Judge]:
    """The judges of these names.

    Raises:
        SeqgenError: for one that is not installed, or that reads transcripts where there is none.
    """
    made: dict[str, Judge] = {}
    for name in names:
        kind: type[Judge] = registry.JUDGES.load(name)
        if kind.reads and not any(utterance.text for utterance in data):
            raise SeqgenError(f"{data.path} has no transcripts for '{name}'", remedy="add its file 'text'")
        made[name] = kind()
    return made
