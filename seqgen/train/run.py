"""One run: the configuration that a YAML file holds, and the objects that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqgen import config, registry
from seqgen.audio.codec import Codec
from seqgen.audio.prediction import LinearPrediction, prediction_for
from seqgen.config import Component
from seqgen.emissions.contract import Emission
from seqgen.errors import SeqgenError
from seqgen.models.frames import with_speaker
from seqgen.objectives.contract import Objective
from seqgen.sample import AutoRegressive, Vocoder
from seqgen.spec import FeatureSpec, StreamSpec
from seqgen.subscale import Subscale, SubscaleConfig
from seqgen.train.settings import SparsityConfig, TrainConfig


@dataclass(frozen=True)
class DataConfig:
    """What a run learns from.

    Attributes:
        train, valid, test: data directories; a relative path is taken from the working directory.
        codec: how a waveform becomes the sequence to model (``bytes16``, ``mulaw8``, ``float``).
        prediction: order of the linear prediction that the features give (0: none). The model then learns its
            excitation, and the waveform is filtered back from what it makes; for ``bytes16``.
        segment: samples per training row, a multiple of the hop.
        valid_utterances: how many validation utterances (the first by id) are scored during training; 0 means all.
        test_utterances: the same for the test set of ``seqgen eval``.
    """

    train: str
    valid: str
    test: str
    codec: str = "bytes16"
    prediction: int = 0
    segment: int = 960
    valid_utterances: int = 0
    test_utterances: int = 0

    def __post_init__(self) -> None:
        for name in ("valid_utterances", "test_utterances"):
            if getattr(self, name) < 0:
                raise SeqgenError(f"'{name}' is {getattr(self, name)}", remedy="give 0 (all) or more")


@dataclass(frozen=True)
class RunConfig:
    """One YAML file: everything that decides a run.

    Attributes:
        name: label in reports and of the exported voice. data, features, train: see their classes.
        model, conditioner, emission, objective: registered classes and their options.
        subscale: whether samples are made several at a time, and how they depend on each other; not by default.
        sparsity: which weights are pruned while training, and how far; none by default.
        licence: what an exported voice says of its use.
    """

    name: str
    data: DataConfig
    features: FeatureSpec
    model: Component
    train: TrainConfig
    conditioner: Component = field(default_factory=lambda: Component("frames"))
    emission: Component = field(default_factory=lambda: Component("categorical"))
    objective: Component = field(default_factory=lambda: Component("likelihood"))
    subscale: SubscaleConfig = field(default_factory=SubscaleConfig, metadata={"later": True})
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    licence: str = "not stated"

    def __post_init__(self) -> None:
        if self.subscale.lanes > 1 and self.data.prediction:
            raise SeqgenError(
                f"'data.prediction' is {self.data.prediction} with 'subscale.lanes' {self.subscale.lanes}",
                remedy="set one of them: lanes are made of the waveform itself",
            )
        if self.data.segment <= 0 or self.data.segment % self.features.hop:
            raise SeqgenError(
                f"'data.segment' is {self.data.segment}", remedy=f"give a multiple of the hop ({self.features.hop})"
            )


@dataclass(frozen=True)
class System:
    """The objects of one run.

    Attributes:
        generator: what is trained. codec: between waveforms (or their excitation) and its elements.
        prediction: what leaves the excitation, if anything. objective: the method.
        left, right: frames of context before and after each training segment.
    """

    generator: AutoRegressive | Subscale
    codec: Codec
    prediction: LinearPrediction | None
    objective: Objective
    left: int
    right: int

    @property
    def plain(self) -> AutoRegressive:
        """Body, emission and conditioning network of the generator."""
        return self.generator.plain if isinstance(self.generator, Subscale) else self.generator

    @property
    def vocoder(self) -> Vocoder:
        """The generator as something that streams.

        Raises:
            SeqgenError: for lanes, which are made from whole recordings.
        """
        if isinstance(self.generator, Subscale):
            raise SeqgenError(
                "subscale generation makes whole recordings; it cannot be streamed or exported",
                remedy="use seqgen eval or seqgen bench on the experiment, or train with subscale.lanes 1",
            )
        return Vocoder(self.generator, self.codec, self.prediction)

    @torch.no_grad()
    def make(self, u: Tensor, features: Tensor, speaker: Tensor, temperature: float = 1.0) -> Tensor:
        """Whole recordings from their features.

        Shapes: ``u [B, elements, draws]``, ``features [B, frames + right, M]``, int64 ``speaker [B]`` → audio
        ``[B, N]`` in [-1, 1), on the CPU; as many samples as u is for.
        """
        if isinstance(self.generator, Subscale):
            values = self.generator.sample(u, features, speaker, temperature)
            return torch.from_numpy(self.codec.decode(values.cpu().numpy()))
        frames = with_speaker(features, speaker, self.plain.speakers)
        spare = frames.shape[1] * self.plain.hop - self.plain.latency - u.shape[1] // self.plain.per_sample
        padded = torch.nn.functional.pad(u, (0, 0, 0, max(0, spare) * self.plain.per_sample))
        vocoder = self.vocoder
        audio = vocoder.sample(padded, vocoder.init_state(len(u)), frames, temperature).audio
        return audio[:, : u.shape[1] // self.plain.per_sample]


def _require_codec(run: RunConfig, spec: StreamSpec, source: str) -> None:
    """Refuse a codec whose elements are not what the model reads: the same alphabet, as many to a sample."""
    kinds = {name: registry.CODECS.load(name) for name in registry.CODECS}
    reads = {name: (kind.alphabet, kind.symbols_per_sample) for name, kind in kinds.items()}
    if reads[run.data.codec] == (spec.symbols, spec.cond_every):
        return
    fitting = [name for name, read in reads.items() if read == (spec.symbols, spec.cond_every)]
    what = f"{spec.symbols} symbols" if spec.symbols else "real numbers"
    raise SeqgenError(
        f"{source}: model {run.model.name} reads {what}, {spec.cond_every} to a sample; data.codec '{run.data.codec}' "
        "gives others",
        remedy=f"set data.codec to {' or '.join(fitting)}" if fitting else "choose a model that reads what it gives",
    )


def build(run: RunConfig, speakers: tuple[str, ...], *, source: str = "config") -> System:
    """Construct generator and objective; a single speaker needs no one-hot.

    Raises:
        SeqgenError: for unknown names or options, and for parts that do not fit each other.
    """
    codec: Codec = registry.CODECS.load(run.data.codec)()
    body = registry.MODELS.load(run.model.name)(config.options(run.model, registry.MODELS, source=source))
    _require_codec(run, body.spec, source)
    emission_config = config.options(run.emission, registry.EMISSIONS, source=source)
    emission: Emission = registry.EMISSIONS.load(run.emission.name)(emission_config)
    count = len(speakers) if len(speakers) > 1 else 0
    conditioner = None
    if body.spec.cond_dim:
        conditioner = registry.CONDITIONERS.load(run.conditioner.name)(
            config.options(run.conditioner, registry.CONDITIONERS, source=source),
            features=run.features,
            speakers=count,
            out_dim=body.spec.cond_dim,
        )
    plain = AutoRegressive(
        body, emission, conditioner, start=codec.start, per_sample=codec.symbols_per_sample, speakers=count
    )
    generator = Subscale(run.subscale, plain) if run.subscale.lanes > 1 else plain
    left = (conditioner.spec.context or 1) - 1 if conditioner is not None else 0
    right = -(-plain.latency // run.features.hop)
    objective_config = config.options(run.objective, registry.OBJECTIVES, source=source)
    objective: Objective = registry.OBJECTIVES.load(run.objective.name)(objective_config, generator, left=left)
    prediction = prediction_for(run.features, run.data.prediction, run.data.codec)
    return System(generator, codec, prediction, objective, left, right)
