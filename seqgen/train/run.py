"""One run: the configuration that a YAML file holds, and the objects that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from seqgen import config, registry
from seqgen.audio.codec import Codec
from seqgen.audio.prediction import LinearPrediction, prediction_for
from seqgen.config import Component
from seqgen.emissions.contract import Emission
from seqgen.errors import SeqgenError
from seqgen.objectives.contract import Objective
from seqgen.sample import AutoRegressive, Vocoder
from seqgen.spec import FeatureSpec, StreamSpec
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
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    licence: str = "not stated"

    def __post_init__(self) -> None:
        if self.data.segment <= 0 or self.data.segment % self.features.hop:
            raise SeqgenError(
                f"'data.segment' is {self.data.segment}", remedy=f"give a multiple of the hop ({self.features.hop})"
            )


@dataclass(frozen=True)
class System:
    """The objects of one run. ``left`` and ``right``: frames of context before and after each training segment."""

    vocoder: Vocoder
    objective: Objective
    left: int
    right: int

    @property
    def generator(self) -> AutoRegressive:
        """What is trained."""
        return self.vocoder.generator

    @property
    def codec(self) -> Codec:
        """Between waveforms (or their excitation) and the generator's elements."""
        return self.vocoder.codec

    @property
    def prediction(self) -> LinearPrediction | None:
        """What leaves the excitation, if anything."""
        return self.vocoder.prediction


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
    generator = AutoRegressive(
        body, emission, conditioner, start=codec.start, per_sample=codec.symbols_per_sample, speakers=count
    )
    left = (conditioner.spec.context or 1) - 1 if conditioner is not None else 0
    right = -(-generator.latency // run.features.hop)
    objective_config = config.options(run.objective, registry.OBJECTIVES, source=source)
    objective: Objective = registry.OBJECTIVES.load(run.objective.name)(objective_config, generator, left=left)
    prediction = prediction_for(run.features, run.data.prediction, run.data.codec)
    return System(Vocoder(generator, codec, prediction), objective, left, right)
