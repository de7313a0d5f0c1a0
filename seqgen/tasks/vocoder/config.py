"""The vocoder task's part of a run: recordings, and how they become sequences and frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from seqgen import registry
from seqgen.audio.codec import Codec
from seqgen.errors import SeqgenError
from seqgen.spec import Facts, FeatureSpec
from seqgen.train.identity import NEUTRAL, PLACE, WEIGHTS


@dataclass(frozen=True)
class VocoderConfig:
    """Options of the vocoder task: recordings that a run learns from.

    Attributes:
        train, valid, test: data directories; a relative path is taken from the working directory.
        features: definition of the frames.
        codec: how a waveform becomes the sequence to model (``bytes16``, ``mulaw8``, ``float``).
        prediction: order of the linear prediction that the features give (0: none). The model then learns its
            excitation, and the waveform is filtered back from what it makes; for ``bytes16`` and ``float``.
        bands: of a filter bank that cuts the waveform, or its excitation, into bands, 2 or 4 (0: none); for ``float``.
        frames: folder of frames that training and validation are conditioned on in place of the recordings' own; in it
            a folder for each, of the name of its data directory ("": none).
        segment: samples that a training row is learnt from, a multiple of the hop.
        context: samples before them that are heard only, a multiple of the hop (0: a row begins as a stream does). As
            far as networks reach back, so that they meet in training what they meet in use.
        valid_utterances: how many validation utterances (the first by id) are scored during training; 0 means all.
        test_utterances: the same for the test set of ``seqgen eval``.
    """

    train: str = field(metadata=PLACE)
    valid: str = field(metadata=PLACE)
    test: str = field(metadata=NEUTRAL)
    features: FeatureSpec = field(metadata=WEIGHTS)
    codec: str = field(default="bytes16", metadata=WEIGHTS)
    prediction: int = field(default=0, metadata=WEIGHTS)
    bands: int = field(default=0, metadata=WEIGHTS | {"later": True})
    frames: str = field(default="", metadata=PLACE | {"later": True})
    segment: int = 960
    context: int = 0
    valid_utterances: int = 0
    test_utterances: int = field(default=0, metadata=NEUTRAL)

    def __post_init__(self) -> None:
        for name in ("valid_utterances", "test_utterances"):
            if getattr(self, name) < 0:
                raise SeqgenError(f"'{name}' is {getattr(self, name)}", remedy="give 0 (all) or more")
        if self.segment <= 0 or self.segment % self.features.hop:
            raise SeqgenError(
                f"'segment' is {self.segment}", remedy=f"give a multiple of the hop ({self.features.hop})"
            )
        if self.context < 0 or self.context % self.features.hop:
            raise SeqgenError(
                f"'context' is {self.context}", remedy=f"give 0 or a multiple of the hop ({self.features.hop})"
            )


def number_of(speaker: str, speakers: Sequence[str]) -> int | None:
    """Number of a speaker among those that a voice was trained on, ``None`` for a stranger to it; a voice of one tells
    nobody apart, and takes everybody as that one."""
    if len(speakers) == 1:
        return 0
    return speakers.index(speaker) if speaker in speakers else None


def facts_of(codec: str, features: FeatureSpec, speakers: tuple[str, ...], examples: int = 0) -> Facts:
    """The facts of recordings that a codec turns into sequences."""
    kind: type[Codec] = registry.CODECS.load(codec)
    return Facts(
        examples=examples,
        vocab_size=kind.alphabet,
        shape=() if kind.alphabet else (1,),
        symbols_per_sample=kind.symbols_per_sample,
        start=float(kind.start),
        speakers=speakers,
        features=features,
    )
