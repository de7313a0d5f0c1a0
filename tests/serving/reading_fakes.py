"""A voice without a network that reads: each letter of a text is a frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from seqgen.errors import SeqgenError
from serving.streams.vocoder import StreamingVocoder
from tests.serving.fakes import SPEC, fake_vocoder

LATER = 50  # letters of a block


class FakeReader:
    """Reader of texts, which keeps those that it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def speech(self, temperature: float = 1.0, seed: int = 0, speed: float = 1.0) -> FakeSpeech:
        """Speech of a text that comes."""
        return FakeSpeech(self)

    def frames(self, text: str) -> Iterator[Any]:
        """Frames ``[f, bands]`` of a text."""
        self.texts.append(text)
        for start in range(0, len(text), LATER):
            if "\N{BOMB}" in text[start : start + LATER]:
                raise SeqgenError("there is a bomb in the text", remedy="take it out")
            letters = np.array([ord(letter) for letter in text[start : start + LATER]], np.float32)
            yield np.repeat(letters[:, None] / 100 - 3, SPEC.bands, axis=1)


class FakeSpeech:
    """Speech of a text that is read when all of it is there."""

    def __init__(self, reader: FakeReader) -> None:
        self._reader, self._text = reader, b""
        self._frames: Iterator[Any] | None = None
        self.waiting, self.finished = 0, False

    def push(self, piece: bytes) -> None:
        self._text += piece

    def finish(self) -> None:
        self._frames = self._reader.frames(self._text.decode())

    def take(self) -> Any:
        made = None if self._frames is None else next(self._frames, None)
        self.finished = self._frames is not None and made is None
        return made

    def moments(self) -> list[Any]:
        return []


def fake_voice(name: str = "ann", **options: Any) -> StreamingVocoder:
    """Voice that reads by a :class:`FakeReader`; options as of :func:`fake_vocoder`."""
    voice = fake_vocoder(name=name, batch=16, **options)
    voice.manifest.kind = "voice"
    voice.reader = FakeReader()
    return voice
