"""One run: the configuration that a YAML file holds, and the objects that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from seqgen import config, registry
from seqgen.audio.codec import Codec
from seqgen.audio.prediction import LinearPrediction, prediction_for
from seqgen.config import Component
from seqgen.emissions.contract import Emission
from seqgen.errors import SeqgenError
from seqgen.flows.affine import AffineStream, Composed
from seqgen.generator import Generator, Parallel
from seqgen.models.levelled import Levelled, Louder
from seqgen.objectives.contract import Objective
from seqgen.sample import AutoRegressive, Vocoder
from seqgen.spec import FeatureSpec, StreamSpec
from seqgen.stream.contract import Streamable
from seqgen.subscale import Subscale, SubscaleConfig
from seqgen.train.settings import QuantiseConfig, SparsityConfig, TrainConfig
from seqgen.train.voice import Voice


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
        levelled: whether the model works on samples divided by a level that the features tell; for real-valued ones.
        subscale: whether samples are made several at a time, and how they depend on each other; not by default.
        sparsity: which weights are pruned while training, and how far; none by default.
        quantise: whether training meets the rounding of an int8 export; not by default.
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
    levelled: bool = field(default=False, metadata={"later": True})
    subscale: SubscaleConfig = field(default_factory=SubscaleConfig, metadata={"later": True})
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    quantise: QuantiseConfig = field(default_factory=QuantiseConfig, metadata={"later": True})
    licence: str = "not stated"

    def __post_init__(self) -> None:
        if self.subscale.lanes > 1 and self.data.prediction:
            raise SeqgenError(
                f"'data.prediction' is {self.data.prediction} with 'subscale.lanes' {self.subscale.lanes}",
                remedy="set one of them: lanes are made of the waveform itself",
            )
        if self.quantise.precision != "float32" and self.quantise.after >= self.train.steps:
            raise SeqgenError(
                f"'quantise.after' is {self.quantise.after} with 'train.steps' {self.train.steps}: nothing is rounded",
                remedy="begin before the last step, or remove `quantise:`",
            )
        if self.data.segment <= 0 or self.data.segment % self.features.hop:
            raise SeqgenError(
                f"'data.segment' is {self.data.segment}", remedy=f"give a multiple of the hop ({self.features.hop})"
            )


@dataclass(frozen=True)
class System:
    """The objects of one run: an objective with its networks, and what they are fed.

    Attributes:
        objective: what is trained. codec, prediction: from waveforms to elements.
        left, right: frames of context before and after each training segment, as all networks need them.
        made: the voice that comes of it, if one does.
    """

    objective: Objective
    codec: Codec
    prediction: LinearPrediction | None
    left: int
    right: int
    made: Voice | None

    @property
    def voice(self) -> Voice:
        """The voice.

        Raises:
            SeqgenError: where the run trains something else.
        """
        if self.made is None:
            raise SeqgenError("this run trains something that makes no audio", remedy="name the run of a voice")
        return self.made

    @property
    def vocoder(self) -> Vocoder:
        """The voice's generator with codec and filter."""
        return self.voice.vocoder

    @property
    def generator(self) -> Generator:
        """The voice's network."""
        return self.voice.generator


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


def _body(run: RunConfig, source: str) -> Streamable[Any]:
    body: Streamable[Any] = registry.MODELS.load(run.model.name)(
        config.options(run.model, registry.MODELS, source=source)
    )
    _require_codec(run, body.spec, source)
    return body


def _require_no_emission(run: RunConfig, reason: str, source: str) -> None:
    if run.emission != Component("categorical"):
        raise SeqgenError(f"{source}: {reason}; emission '{run.emission.name}' has no use", remedy="remove `emission:`")


def _conditioner(run: RunConfig, body: Streamable[Any], speakers: int, source: str) -> Streamable[Any] | None:
    if body.spec.cond_dim == 0:
        return None
    made: Streamable[Any] = registry.CONDITIONERS.load(run.conditioner.name)(
        config.options(run.conditioner, registry.CONDITIONERS, source=source),
        features=run.features,
        speakers=speakers,
        out_dim=body.spec.cond_dim,
    )
    return made


def _generator(run: RunConfig, speakers: int, codec: Codec, source: str) -> Generator:
    """The network of a run: element by element with an emission, or a flow that needs none."""
    body = _body(run, source)
    if isinstance(body, AffineStream):
        _require_no_emission(run, f"model {run.model.name} makes samples from noise", source)
        flow = Composed([body, Louder()]) if run.levelled else body
        return Parallel(flow, _conditioner(run, flow, speakers, source), speakers=speakers)
    options = config.options(run.emission, registry.EMISSIONS, source=source)
    emission: Emission = registry.EMISSIONS.load(run.emission.name)(options)
    body = Levelled(body, emission) if run.levelled else body
    return AutoRegressive(
        body,
        emission,
        _conditioner(run, body, speakers, source),
        start=codec.start,
        per_sample=codec.symbols_per_sample,
        speakers=speakers,
    )


def voice(run: RunConfig, speakers: tuple[str, ...], *, source: str = "config") -> Voice:
    """Construct what a run exports, with fresh weights; a single speaker needs no one-hot.

    Raises:
        SeqgenError: for unknown names or options, and for parts that do not fit each other.
    """
    if registry.OBJECTIVES.load(run.objective.name).trains is Streamable:
        raise SeqgenError(
            f"{source}: a run of objective {run.objective.name} makes no audio", remedy="name the run of a voice"
        )
    codec: Codec = registry.CODECS.load(run.data.codec)()
    plain = _generator(run, len(speakers) if len(speakers) > 1 else 0, codec, source)
    prediction = prediction_for(run.features, run.data.prediction, run.data.codec)
    left = (plain.conditioner.spec.context or 1) - 1 if plain.conditioner is not None else 0
    generator = Subscale(run.subscale, plain) if run.subscale.lanes > 1 else plain
    return Voice(generator, codec, prediction, left, -(-plain.look_ahead // run.features.hop))


def build(run: RunConfig, speakers: tuple[str, ...], *, source: str = "config") -> System:
    """Construct the objective of a run with its networks, the frozen ones of other runs included.

    Raises:
        SeqgenError: as :func:`voice`; and where the objective cannot train such a model, or lacks a network.
    """
    from seqgen.train import frozen  # which opens other runs, and so imports this file

    kind: Any = registry.OBJECTIVES.load(run.objective.name)
    options = config.options(run.objective, registry.OBJECTIVES, source=source)
    if kind.trains is Streamable:
        _require_no_emission(run, f"objective {run.objective.name} generates nothing", source)
        codec = registry.CODECS.load(run.data.codec)()
        return System(kind(options, _body(run, source)), codec, None, 0, 0, None)
    made = voice(run, speakers, source=source)
    if not isinstance(made.generator, kind.trains):
        fitting = [n for n in registry.OBJECTIVES if isinstance(made.generator, registry.OBJECTIVES.load(n).trains)]
        raise SeqgenError(
            f"{source}: objective {run.objective.name} does not train model {run.model.name}",
            remedy=f"set objective to {' or '.join(fitting)}",
        )
    others = frozen.networks(kind.others, options, run, speakers)
    left = max([made.left, *(other.left for other in others.values())])
    right = max([made.right, *(other.right for other in others.values())])
    networks = {name: other.network for name, other in others.items()}
    objective = kind(options, made.generator, left=left, **networks)
    return System(objective, made.codec, made.prediction, left, right, made)
