"""Manifests of bundles: what every one says of itself, and what each kind of bundle adds.

A kind is a row of :data:`KINDS`; a reader refuses any other by name.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from seqgen.config import set_apart
from seqgen.errors import SeqgenError
from seqgen.registry import ENCODER_RUNTIMES, RUNTIMES, SPEECH_CODEC_RUNTIMES, SYMBOL_RUNTIMES, Registry
from seqgen.spec import FeatureSpec, StateLeaf, StreamSpec

FORMAT = 1
MOST = 1 << 24
"""What any count of a manifest may be at most, far beyond every model's."""
PREVIOUS = StateLeaf("previous", (), "int64")
"""The first leaf of the state of what draws symbols: the last one, or the one before the first."""
TOKENIZER, SOURCE_TOKENIZER = "tokenizer.json", "source_tokenizer.json"
"""Files of tokenizers."""
PRIOR = "prior.onnx"
"""File of the prior of a speech codec's symbols."""
_EXPORT = "export the bundle again"
_DIGITS = 16
_UNFIT = "its rates, sizes and counts do not fit each other"


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle: plain name, lower-case hexadecimal sha256, size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Manifest(ABC):
    """Manifest of a bundle: what it says of itself, whatever its kind.

    Attributes:
        name, kind: a label, and what the bundle does; the row of :data:`KINDS`.
        spec: the whole as a stream.
        state: path, shape and dtype of every state leaf, in the graphs' order.
        licence, provenance: who may use it, and how it was made.
        files: every other file of the directory.
        digest: sha256 of the canonical manifest without this field.
        format: version of this layout.
        does: what a bundle of this kind does, in a few words. runtimes: what executes it.
    """

    name: str
    kind: str
    spec: StreamSpec
    state: tuple[StateLeaf, ...]
    licence: str
    provenance: Mapping[str, str]
    files: tuple[FileEntry, ...] = ()
    digest: str = ""
    format: int = FORMAT
    does: ClassVar[str]
    runtimes: ClassVar[Registry]

    @property
    def settings(self) -> str:
        """File of the run that the bundle is of."""
        return "config.yaml"

    @abstractmethod
    def require_sense(self) -> None:
        """Refuse a manifest that contradicts itself, or counts what no model can have.

        Raises:
            SeqgenError: saying what does not fit.
        """

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Values that its kind adds, as ``seqgen info`` shows them: named, for the eye and for programs."""

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """Metadata that its kind adds to a graph that is taken out of the bundle."""

    @property
    def feeds_back(self) -> bool:
        """Feedback of a model that reads what it drew, so that one rounding makes another stream from there on."""
        return any(leaf.name == "previous" for leaf in self.state)


@dataclass(frozen=True, kw_only=True)
class VocoderManifest(Manifest):
    """Manifest of a vocoder: features in, audio out.

    Its ``spec`` has ``in_dim`` channels a frame, ``up`` samples a frame, ``latency`` in samples.

    Attributes:
        sample_rate: Hz. features: the front end it was trained on; its signature must match what is fed.
        speakers: names behind the one-hot that follows the features; empty for one voice.
        codec: how elements make samples. symbols_per_sample: elements per sample.
        uniforms_per_sample: uniform numbers that one sample takes.
        ahead: samples beyond those of a call whose noise (or elements) it is given too, as the next call is again.
        lanes: samples that are made side by side, in lanes each of which is equally far behind the one before.
    """

    does = "features in, audio out"
    runtimes = RUNTIMES
    sample_rate: int
    features: FeatureSpec
    feature_signature: str
    speakers: tuple[str, ...]
    codec: str
    symbols_per_sample: int
    uniforms_per_sample: int
    ahead: int = field(default=0, metadata={"later": True})
    lanes: int = field(default=1, metadata={"later": True})

    def described(self) -> dict[str, Any]:
        return {
            "sample rate": f"{self.sample_rate} Hz",
            "features": f"{self.feature_signature} {set_apart(self.features)}",
            "speakers": list(self.speakers),
            "codec": self.codec,
            "latency": f"{1000 * self.spec.latency / self.sample_rate:.1f} ms of look-ahead",
        }

    def metadata(self) -> dict[str, str]:
        return {"features": json.dumps(set_apart(self.features)), "sample_rate": str(self.sample_rate)}

    def require_sense(self) -> None:
        if self.features.signature != self.feature_signature:
            raise SeqgenError(
                f"feature signature {self.feature_signature} is not that of its parameters ({self.features.signature})",
                remedy=_EXPORT,
            )
        counts = (self.symbols_per_sample, self.uniforms_per_sample, self.lanes, self.spec.up)
        bands = self.features.bands
        fits = (
            all(1 <= count <= MOST for count in counts)
            and all(0 <= reach <= MOST for reach in (self.ahead, self.spec.latency))
            and (self.sample_rate, self.spec.up) == (self.features.sample_rate, self.features.hop)
            and bands <= self.spec.in_dim <= bands + len(self.speakers)
        )
        if not fits:
            raise SeqgenError(_UNFIT, remedy=_EXPORT)


@dataclass(frozen=True, kw_only=True)
class VoiceManifest(VocoderManifest):
    """Manifest of a voice that speaks: a vocoder with the networks that make frames of text.

    Attributes:
        columns: channels of the vector of a phone. frames_ahead: frames that the network of frames waits for.
        prosody_uniforms, frame_uniforms: uniform numbers that one number of a phone's prosody takes, and one of a
            frame.
    """

    does = "text in, audio out"
    columns: int
    frames_ahead: int
    prosody_uniforms: int
    frame_uniforms: int

    @property
    def settings(self) -> str:
        return "speech.yaml"

    def require_sense(self) -> None:
        super().require_sense()
        counts = (self.columns, self.prosody_uniforms, self.frame_uniforms)
        alone = self.spec.in_dim == self.features.bands
        if not (all(1 <= count <= MOST for count in counts) and 0 <= self.frames_ahead <= MOST and alone):
            raise SeqgenError(_UNFIT, remedy=_EXPORT)


@dataclass(frozen=True, kw_only=True)
class SymbolManifest(Manifest):
    """Manifest of what reads and draws the symbols of an alphabet.

    Its ``spec`` has symbols in and a logit for each symbol out, one position at a time.

    Attributes:
        vocab_size: symbols of the alphabet. tokenizer_signature: of ``tokenizer.json``, which makes them of text.
    """

    runtimes = SYMBOL_RUNTIMES
    vocab_size: int
    tokenizer_signature: str

    def described(self) -> dict[str, Any]:
        return {"symbols": self.vocab_size, "tokenizer": self.tokenizer_signature}

    def metadata(self) -> dict[str, str]:
        return {"symbols": str(self.vocab_size), "tokenizer": self.tokenizer_signature}

    def require_sense(self) -> None:
        spec, size = self.spec, self.vocab_size
        one_to_one = (spec.up, spec.down, spec.latency, spec.block) == (1, 1, 0, 1)
        if not (1 <= size <= MOST and (spec.in_dim, spec.vocab_size, spec.out_dim) == (0, size, size) and one_to_one):
            raise SeqgenError(_UNFIT, remedy=_EXPORT)
        if not self.state or self.state[0] != PREVIOUS:
            raise SeqgenError("its state does not begin with the symbol before", remedy=_EXPORT)


@dataclass(frozen=True, kw_only=True)
class LanguageModelManifest(SymbolManifest):
    """Manifest of a language model: symbols in, distributions of the next symbol out."""

    does = "symbols in, distributions of the next symbol out"

    def require_sense(self) -> None:
        super().require_sense()
        if self.spec.cond_dim:
            raise SeqgenError(_UNFIT, remedy=_EXPORT)


@dataclass(frozen=True, kw_only=True)
class TranslatorManifest(SymbolManifest):
    """Manifest of a translator: a source's symbols in, and distributions of the next target symbol out.

    A source of S symbols is encoded into ``⌈a S + b⌉`` columns, one for each target position; beyond them are zeros.

    Attributes:
        source_vocab_size: symbols of the source's alphabet. source_tokenizer_signature: of ``source_tokenizer.json``.
        unfolding: ``(a, b)``, how long a target is unfolded to for its source.
        columns: channels of each column.
    """

    does = "a source's symbols in, distributions of the next target symbol out"
    source_vocab_size: int
    source_tokenizer_signature: str
    unfolding: tuple[float, float]
    columns: int

    def described(self) -> dict[str, Any]:
        source = {"source symbols": self.source_vocab_size, "source tokenizer": self.source_tokenizer_signature}
        scale, offset = self.unfolding
        return {**super().described(), **source, "columns": f"{scale:g} S + {offset:g} of {self.columns} channels"}

    def metadata(self) -> dict[str, str]:
        return {
            **super().metadata(),
            "source_symbols": str(self.source_vocab_size),
            "source_tokenizer": self.source_tokenizer_signature,
            "unfolding": " ".join(map(str, self.unfolding)),
            "columns": str(self.columns),
        }

    def require_sense(self) -> None:
        super().require_sense()
        counts = (self.source_vocab_size, self.columns)
        if not all(1 <= count <= MOST for count in counts) or self.spec.cond_dim != self.columns:
            raise SeqgenError(_UNFIT, remedy=_EXPORT)
        factor, offset = self.unfolding
        if not (0 < factor <= MOST and 0 <= offset <= MOST):
            raise SeqgenError(f"its unfolding is {self.unfolding}", remedy=_EXPORT)


@dataclass(frozen=True, kw_only=True)
class EncoderManifest(Manifest):
    """Manifest of a feature extractor: audio in, feature vectors out.

    Its ``spec`` has one channel in, ``down`` samples for each vector, and the channels of its outputs; the first
    ``latency`` vectors of a stream see zeros from before its start.

    Attributes:
        sample_rate: Hz. latent_dim: channels of the vectors that the outputs are made of, before any recurrence; 0
            where they are not given.
    """

    does = "audio in, feature vectors out"
    runtimes = ENCODER_RUNTIMES
    sample_rate: int
    latent_dim: int = 0

    @property
    def hop(self) -> int:
        """Samples of a vector."""
        return self.spec.down

    @property
    def layers(self) -> dict[str, int]:
        """Channels of each layer that can be asked for, the outputs first."""
        return {"context": self.spec.out_dim, **({"latent": self.latent_dim} if self.latent_dim else {})}

    def require_layer(self, layer: str) -> int:
        """Channels of a layer.

        Raises:
            SeqgenError: for one that there is not.
        """
        if layer not in self.layers:
            raise SeqgenError(f"no layer '{layer}' in {self.name}", remedy=f"choose {' or '.join(self.layers)}")
        return self.layers[layer]

    def described(self) -> dict[str, Any]:
        return {
            "sample rate": f"{self.sample_rate} Hz",
            "hop": f"{self.hop} samples ({1000 * self.hop / self.sample_rate:g} ms)",
            "channels": ", ".join(f"{name} {width}" for name, width in self.layers.items()),
        }

    def metadata(self) -> dict[str, str]:
        return {"sample_rate": str(self.sample_rate), "hop": str(self.hop)}

    def require_sense(self) -> None:
        spec = self.spec
        counts = (self.sample_rate, spec.down, spec.out_dim)
        plain = (spec.in_dim, spec.cond_dim, spec.up, spec.vocab_size) == (1, 0, 1, 0)
        others = (self.latent_dim, spec.latency)
        if not (all(1 <= count <= MOST for count in counts) and all(0 <= one <= MOST for one in others) and plain):
            raise SeqgenError(_UNFIT, remedy=_EXPORT)


@dataclass(frozen=True, kw_only=True)
class SpeechCodecManifest(Manifest):
    """Manifest of a speech codec: audio in, symbols of a codebook out, and audio of these in the voice of a speaker.

    Its ``spec`` is the decoder's: the vector of a position and the speaker's one-hot in, ``up`` samples out,
    ``latency`` samples later.

    Attributes:
        sample_rate: Hz. speakers: names behind the one-hot; empty for one voice. codec: how elements make samples.
        symbols_per_sample: elements per sample. uniforms_per_sample: uniform numbers that one sample takes.
        groups, classes: symbols of a position, and how many there are of each.
        positions_ahead: positions that the encoder waits for after a position's own samples.
        model: 16 hexadecimal digits of the weights, which files of symbols name.
    """

    does = "audio in, symbols out, and audio of symbols"
    runtimes = SPEECH_CODEC_RUNTIMES
    sample_rate: int
    speakers: tuple[str, ...]
    codec: str
    symbols_per_sample: int
    uniforms_per_sample: int
    groups: int
    classes: int
    positions_ahead: int
    model: str

    @property
    def hop(self) -> int:
        """Samples of a position."""
        return self.spec.up

    @property
    def prior(self) -> str:
        """The first 16 hexadecimal digits of the prior that symbols may be coded by; "" where there is none."""
        return next((file.sha256[:_DIGITS] for file in self.files if file.name == PRIOR), "")

    @property
    def bits(self) -> int:
        """Bits of a symbol in a file without a prior."""
        return (self.classes - 1).bit_length()

    @property
    def bit_rate(self) -> float:
        """Bits a second of the symbols in a file without a prior."""
        return self.groups * self.bits * self.sample_rate / self.hop

    @property
    def latencies(self) -> tuple[float, float]:
        """Seconds that encoder and decoder wait for, what a position stands for included."""
        return (
            self.hop * (1 + self.positions_ahead) / self.sample_rate,
            self.spec.latency / self.sample_rate,
        )

    def described(self) -> dict[str, Any]:
        encoder, decoder = self.latencies
        return {
            "sample rate": f"{self.sample_rate} Hz",
            "symbols": f"{self.groups} of {self.classes} every {self.hop} samples, {self.bit_rate:.0f} bits a second",
            "speakers": list(self.speakers),
            "codec": self.codec,
            "latency": f"{1000 * encoder:.1f} ms of the encoder, {1000 * decoder:.1f} ms of the decoder",
            "prior": self.prior or "none",
            "model": self.model,
        }

    def metadata(self) -> dict[str, str]:
        return {"sample_rate": str(self.sample_rate), "model": self.model}

    def require_sense(self) -> None:
        counts = (self.sample_rate, self.symbols_per_sample, self.uniforms_per_sample, self.spec.up, self.groups)
        fits = (
            all(1 <= count <= MOST for count in counts)
            and all(0 <= reach <= MOST for reach in (self.positions_ahead, self.spec.latency))
            and 2 <= self.classes <= MOST
            and len(self.model) == _DIGITS
            and set(self.model) <= set("0123456789abcdef")
            and self.spec.in_dim > len(self.speakers)
        )
        if not fits:
            raise SeqgenError(_UNFIT, remedy=_EXPORT)


KINDS: Mapping[str, type[Manifest]] = {
    "vocoder": VocoderManifest,
    "voice": VoiceManifest,
    "language-model": LanguageModelManifest,
    "translator": TranslatorManifest,
    "encoder": EncoderManifest,
    "speech-codec": SpeechCodecManifest,
}
"""Kinds of bundles, by the names that manifests have."""


def named(kind: type[Manifest]) -> str:
    """Names of the kinds of bundles whose manifests are of a class, for messages."""
    return " or ".join(name for name, one in KINDS.items() if issubclass(one, kind))
