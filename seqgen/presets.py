"""Presets: networks of random weights in named shapes, ``wavernn-896-sparse95-int8`` for one, to measure speed with.

One table says what each name means: the network, how many of its weights are kept, how they are held, the frames that
it is conditioned on, and what ``seqgen bench`` and ``seqgen-serve bench`` can measure of it. All make audio of 24 kHz
from 80 bands; a random network makes noise, at the cost of a voice. Networks over symbols and feature extractors have
tables of their own.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.registry import unknown
from seqgen.spec import FeatureSpec

Format = Literal["float32", "bf16", "int8"]
FORMATS: dict[str, Format] = {"int8": "int8", "bf16": "bf16", "f32": "float32"}
"""Formats of the native engine's weights, by the ending of a preset's name."""
BLOCKS: dict[Format, tuple[int, int]] = {"int8": (16, 4), "bf16": (16, 2), "float32": (16, 1)}
"""Rows and columns of the blocks that are kept or left out, for each format."""
DEFAULT = "wavernn-896"
"""Preset that is measured where no voice is named."""


@dataclass(frozen=True)
class Preset:
    """A network of random weights in a named shape.

    Attributes:
        name: the preset's. model: the registered architecture and its options, as in a run's YAML file.
        density: the registered density that it is the body of. parts: further options of the density.
        measured: what ``seqgen bench`` can measure of it (rows of its table); the first where nothing is asked for.
        codec: how samples become the sequence that is modelled. hop: samples of a frame.
        format: how the native engine holds the weights, in which alone it is measured; ``None``: any way, anywhere.
        kept: share of the blocks of each matrix of the body that are not zero, at random places.
        dense: parameters of the body that stay whole all the same.
        bounded: whether each sample reads all weights, so that the speed of reading them is a bound.
        everywhere: the preset of a like shape that every runtime has.
        beside: presets that torch steps sample by sample beside this one where runtimes are compared.
        batch: rows and samples of a step that is measured in training.
        program: ``module:function`` that writes its bundle for the native engine without torch, where there is one.
    """

    name: str
    model: Mapping[str, Any]
    measured: tuple[str, ...]
    density: str = "autoregressive"
    codec: str = "bytes16"
    hop: int = 300
    parts: Mapping[str, Any] = field(default_factory=dict)
    format: Format | None = None
    kept: float = 1.0
    dense: tuple[str, ...] = ()
    bounded: bool = True
    batch: tuple[int, int] = (32, 960)
    everywhere: str = DEFAULT
    beside: tuple[str, ...] = ()
    program: str = ""

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a block that is kept or left out."""
        return BLOCKS[self.format or "float32"]

    @property
    def features(self) -> FeatureSpec:
        """Log-mel frames, of 12.5 ms where the hop is 300 samples."""
        return FeatureSpec(sample_rate=24000, n_fft=2048, window=1200, hop=self.hop, n_mels=80)

    @property
    def settings(self) -> dict[str, Any]:
        """A run of the network, of which nothing is trained, as its YAML file would say it."""
        sizes = ("sample_rate", "n_fft", "window", "hop", "n_mels")
        features = {size: getattr(self.features, size) for size in sizes}
        data = {"train": "", "valid": "", "test": "", "segment": 3 * self.hop, "codec": self.codec}
        inner = "flow" if self.density == "parallel" else "body"
        return {
            "name": self.name,
            "task": {"name": "vocoder", **data, "features": features},
            "networks": {"generator": {"name": self.density, inner: dict(self.model), **self.parts}},
            "train": {"steps": 1},
        }


@dataclass(frozen=True)
class SymbolPreset:
    """A network over symbols, of random weights in a named shape, measured in the native engine beside torch.

    Attributes:
        name: the preset's. model: the registered architecture and its options, as in a run's YAML file.
        format: how the engine holds the weights. encoder: of a translator, the same of what reads its sources.
        batch: rows and symbols of a step that is measured in training.
    """

    name: str
    model: Mapping[str, Any]
    format: Format
    encoder: Mapping[str, Any] | None = None
    batch: tuple[int, int] = (64, 256)


@dataclass(frozen=True)
class EncoderPreset:
    """A feature extractor of random weights in a named shape, which every runtime has.

    Attributes:
        name: the preset's. model: the registered architecture and its options, as in a run's YAML file.
        sample_rate: Hz of what it reads.
    """

    name: str
    model: Mapping[str, Any]
    sample_rate: int = 16000

    @property
    def settings(self) -> dict[str, Any]:
        """A run of the network, of which nothing is trained, as its YAML file would say it."""
        data = {"train": "", "valid": "", "test": "", "sample_rate": self.sample_rate}
        return {
            "name": self.name,
            "task": {"name": "speech", **data},
            "networks": {"encoder": dict(self.model)},
            "train": {"steps": 1},
        }


Found = re.Match[str]


def _wavernn(found: Found) -> Preset:
    """WaveRNN, dense, in any runtime; its training too."""
    model = {"name": "wavernn", "hidden": int(found["hidden"])}
    return Preset(found[0], model, ("generation", "training"))


def _wavernn_in_blocks(found: Found) -> Preset:
    """WaveRNN in the native engine: all its blocks or, in each matrix but the input columns, some of them."""
    return Preset(
        found[0],
        {"name": "wavernn", "hidden": int(found["hidden"])},
        ("engine",),
        format=FORMATS[found["form"]],
        kept=1 - int(found["percent"] or 0) / 100,
        dense=("input",),
        program="seqgen.runtime.random_wavernn:write",
    )


def _lanes(found: Found) -> dict[str, Any]:
    """A dense WaveRNN that makes samples side by side; its frames of 10 ms are whole steps of its lanes."""
    model, parts = {"name": "wavernn", "hidden": int(found["hidden"])}, {"lanes": int(found["lanes"])}
    return {"model": model, "density": "subscale", "hop": 240, "parts": parts}


def _subscale_in_engine(found: Found) -> Preset:
    return Preset(found[0], **_lanes(found), measured=("engine",), format=FORMATS[found["form"]])


def _subscale(found: Found) -> Preset:
    if int(found["lanes"]) < 2:
        raise SeqgenError(f"unknown preset '{found[0][:60]}'", remedy="give two lanes or more")
    return Preset(found[0], **_lanes(found), measured=("recordings",), everywhere=f"wavernn-{found['hidden']}")


def _wavenet(found: Found) -> Preset:
    """WaveNet of four times as many skip channels, over µ-law or, gain-normalized, over ten logistics."""
    layers, residual = int(found["layers"]), int(found["residual"])
    model = {"name": "wavenet", "layers": layers, "dilation_cycle": 10, "residual_channels": residual}
    model |= {"gate_channels": residual, "skip_channels": 4 * residual, "head_channels": 4 * residual}
    codec, parts = "mulaw8", {}
    if found["mixture"]:
        model |= {"vocab_size": 0, "outputs": 30}
        codec = "float"
        parts = {"distribution": {"name": "logistic-mixture", "origin": -2.0}, "gain_normalized": True}
    form = found.groupdict().get("form")
    return Preset(
        found[0],
        model,
        ("engine",) if form else ("generation", "training"),
        codec=codec,
        batch=(8, 1920),
        parts=parts,
        format=FORMATS[form] if form else None,
        bounded=False,  # some weights are read for several samples at a time
        everywhere=f"wavenet-{layers}x{residual}{found['mixture'] or ''}",
    )


def _student(found: Found) -> Preset:
    """Parallel WaveNet's four flows."""
    model = {"name": "parallel-wavenet"}
    measured, beside = ("generation",), ("pwn-teacher",)
    return Preset(found[0], model, measured, density="parallel", codec="float", bounded=False, beside=beside)


def _teacher(found: Found) -> Preset:
    """The WaveNet that Parallel WaveNet's flows are distilled from."""
    model = {"name": "wavenet", "layers": 30, "vocab_size": 0, "outputs": 30}
    parts = {"distribution": {"name": "logistic-mixture", "origin": -4.0}}
    return Preset(found[0], model, ("generation",), codec="float", parts=parts, bounded=False)


_BYTES = {"vocab_size": 256, "outputs": 256}


def _recurrent(found: Found) -> SymbolPreset:
    """Gated recurrent layers over bytes."""
    sizes = {"layers": int(found["layers"]), "hidden": int(found["hidden"])}
    return SymbolPreset(found[0], {"name": "recurrent", **_BYTES, **sizes}, FORMATS[found["form"]])


def _bytenet(found: Found) -> SymbolPreset:
    """ByteNet over bytes: sets of five blocks with dilations from 1 to 16."""
    sizes = {"channels": int(found["channels"]), "cycles": max(1, int(found["blocks"]) // 5)}
    model = {"name": "bytenet", **_BYTES, **sizes, "block": "multiplicative" if found["gated"] else "relu"}
    return SymbolPreset(found[0], model, FORMATS[found["form"]])


def _spelling(found: Found) -> SymbolPreset:
    """Spelling to phonemes by ByteNets, of the shape of the recipe's."""
    width = int(found["channels"])
    sizes = {"channels": width, "cycles": 2, "dilations": [1, 2, 4]}
    model = {"name": "bytenet", "vocab_size": 71, "outputs": 71, "cond_dim": 2 * width, **sizes}
    encoder = {"name": "bytenet-encoder", "vocab_size": 30, **sizes}
    return SymbolPreset(found[0], model, FORMATS[found["form"]], encoder)


def _waveform_encoder(found: Found) -> EncoderPreset:
    """Strided convolutions over samples and a gated recurrence, of a vector every 10 ms."""
    sizes = {"channels": int(found["channels"]), "hidden": int(found["hidden"])}
    normalization = "layer" if found["normalized"] else "none"
    return EncoderPreset(found[0], {"name": "waveform-encoder", **sizes, "normalization": normalization})


@dataclass(frozen=True)
class Row:
    """Row of a table: presets whose names are alike.

    Attributes:
        pattern: of their whole names. make: what a name means. examples: some of them, or all there are.
        meaning: what they are, in a listing.
    """

    pattern: str
    make: Callable[[Found], Any]
    examples: tuple[str, ...]
    meaning: str


_FORM = "(?P<form>" + "|".join(FORMATS) + ")"
_SIZES = r"wavernn-(?P<hidden>896|512|256)"
_STACK = r"wavenet-(?P<layers>\d+)x(?P<residual>\d+)(?P<mixture>-mol)?"
TABLE = (
    Row(_SIZES, _wavernn, ("wavernn-896", "wavernn-512", "wavernn-256"), "WaveRNN; its training too, by --train"),
    Row("pwn-student", _student, ("pwn-student",), "Parallel WaveNet"),
    Row("pwn-teacher", _teacher, ("pwn-teacher",), "the WaveNet that it is distilled from"),
    Row(_STACK, _wavenet, ("wavenet-20x64", "wavenet-20x64-mol"),
        "WaveNet of 20 layers and 64 residual channels, over µ-law or ten logistics"),
    Row(rf"{_STACK}-{_FORM}", _wavenet, ("wavenet-30x64-int8", "wavenet-20x64-mol-int8"), "the same in the engine"),
    Row(rf"wavernn-(?P<hidden>\d+)-(?:dense|sparse(?P<percent>\d\d?|100))-{_FORM}", _wavernn_in_blocks,
        ("wavernn-896-sparse95-int8", "wavernn-512-dense-f32"), "WaveRNN in the engine; int8, bf16 or f32"),
    Row(rf"wavernn-(?P<hidden>\d+)-subscale(?P<lanes>\d+)-{_FORM}", _subscale_in_engine,
        ("wavernn-896-subscale16-int8",), "WaveRNN in the engine, 16 samples of a stream side by side"),
    Row(rf"{_SIZES}-subscale(?P<lanes>\d+)", _subscale, ("wavernn-896-subscale16",), "the same in torch"),
)  # fmt: skip
SYMBOL_TABLE = (
    Row(rf"recurrent-(?P<layers>\d+)x(?P<hidden>\d+)-{_FORM}", _recurrent, ("recurrent-1x512-int8",),
        "gated recurrent layers over bytes, in the engine and in torch"),
    Row(rf"bytenet-(?P<blocks>\d+)x(?P<channels>\d+)(?P<gated>-gated)?-{_FORM}", _bytenet,
        ("bytenet-20x256-int8", "bytenet-15x192-gated-int8"), "ByteNets over bytes, of 9.8 and 9.2 million weights"),
    Row(rf"spelling-(?P<channels>\d+)-{_FORM}", _spelling, ("spelling-96-int8",),
        "spelling to phonemes, a word at a time"),
)  # fmt: skip
ENCODER_TABLE = (
    Row(r"waveform-encoder-(?P<channels>\d+)x(?P<hidden>\d+)(?P<normalized>-normalized)?", _waveform_encoder,
        ("waveform-encoder-512x256", "waveform-encoder-256x256-normalized"),
        "512 channels and a context of 256, in any runtime"),
)  # fmt: skip


def examples() -> Iterator[str]:
    """Names of presets that make audio, some of each row."""
    return (name for row in TABLE for name in row.examples)


def symbol_examples() -> Iterator[str]:
    """Names of presets that make symbols, some of each row."""
    return (name for row in SYMBOL_TABLE for name in row.examples)


def encoder_examples() -> Iterator[str]:
    """Names of presets that make feature vectors, some of each row."""
    return (name for row in ENCODER_TABLE for name in row.examples)


def without_torch() -> list[str]:
    """Names of presets, some of those that :func:`write` makes."""
    return [name for name in examples() if find(name).program]


def listing(table: tuple[Row, ...] = TABLE) -> str:
    """A table's rows, one a line."""
    return "".join(f"  {', '.join(row.examples):<52} {row.meaning}\n" for row in table)


def find(name: str) -> Preset:
    """The preset of a name.

    Raises:
        SeqgenError: for an unknown name.

    Example:
        >>> find("wavernn-896-sparse95-int8").model
        {'name': 'wavernn', 'hidden': 896}
    """
    preset: Preset | None = _named(name, TABLE)
    if preset is None:
        raise _unknown(name, "", list(examples()))
    return preset


def find_symbols(name: str) -> SymbolPreset | None:
    """The preset of a name that makes symbols; None where it is none of those."""
    made: SymbolPreset | None = _named(name, SYMBOL_TABLE)
    return made


def find_encoder(name: str) -> EncoderPreset | None:
    """The preset of a name that makes feature vectors; None where it is none of those."""
    made: EncoderPreset | None = _named(name, ENCODER_TABLE)
    return made


def write(name: str, directory: Path) -> Bundle:
    """Write the bundle of a preset that needs no torch, for the native engine.

    Raises:
        SeqgenError: for an unknown name, or a preset that only torch can make.
    """
    preset: Preset | None = _named(name, TABLE)
    if preset is None or not preset.program:
        raise _unknown(name, " of those made without torch", without_torch())
    module, _, function = preset.program.partition(":")
    made: Bundle = getattr(importlib.import_module(module), function)(preset, directory)
    return made


def _named(name: str, table: tuple[Row, ...]) -> Any:
    for row in table:
        if found := re.fullmatch(row.pattern, name):
            return row.make(found)
    return None


def _unknown(name: str, kind: str, known: list[str]) -> SeqgenError:
    error = unknown("preset", name[:60], known)
    return SeqgenError(f"{error.problem}{kind}", remedy=f"{error.remedy}, and others alike")
