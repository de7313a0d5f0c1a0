"""Request for one stream: what a listener sends, and what it wants back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from serving.sound.features import require_rate
from serving.sound.formats import output_rate, require_encoder
from serving.voices.vocoder import StreamingVocoder, VoiceSettings

SAMPLE_ENCODINGS = {"s16le": "<i2", "f32le": "<f4"}
"""Encodings of audio samples that may be pushed, with their numpy types."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """Format of the input that is pushed into a stream.

    Attributes:
        kind: ``file`` (a whole recording or features file), ``audio`` or ``features``. rate: Hz of audio.
        encoding: of its samples, a key of ``SAMPLE_ENCODINGS``. content_type: what a file claims to be.
    """

    kind: str = "file"
    rate: int = 0
    encoding: str = "s16le"
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """Request for one stream, as a listener made it.

    Attributes:
        settings: of the voice. form: one of ``serving.sound.formats.FORMATS``. input: what will be pushed.
        longest: seconds of input taken. eager: work beyond the usual lead where nobody else waits (downloads).
        rate: Hz of the sound; 0: the voice's own. skip: bytes at its beginning that the listener has already.
    """

    settings: VoiceSettings = field(default_factory=VoiceSettings)
    form: str = "wav"
    input: InputFormat = field(default_factory=InputFormat)
    longest: float = 600.0
    eager: bool = False
    rate: int = 0
    skip: int = 0

    def check(self, vocoder: StreamingVocoder) -> None:
        """Refuse what a voice cannot follow, before any worker has a stream of it.

        Raises:
            SeqgenError: for settings, an input rate or a sound that are not offered.
        """
        output_rate(self.form, vocoder.sample_rate, self.rate or None)
        require_encoder(self.form)
        vocoder.check(self.settings)
        if self.input.kind == "audio":
            require_rate(self.input.rate)

    def seconds(self, vocoder: StreamingVocoder, size: int) -> float:
        """Duration of that many bytes of incremental input; 0 for a file, which does not say before it is opened."""
        spec = vocoder.features
        if self.input.kind == "audio":
            return size / (np.dtype(SAMPLE_ENCODINGS[self.input.encoding]).itemsize * self.input.rate)
        return size / (4 * spec.n_mels) * spec.hop / spec.sample_rate if self.input.kind == "features" else 0.0
