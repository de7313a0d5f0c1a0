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

    def frames(self, text: str, temperature: float = 1.0, seed: int = 0, speed: float = 1.0) -> Iterator[Any]:
        """Frames ``[f, bands]`` of a text."""
        self.texts.append(text)
        for start in range(0, len(text), LATER):
            if "\N{BOMB}" in text[start : start + LATER]:
                raise SeqgenError("there is a bomb in the text", remedy="take it out")
            letters = np.array([ord(letter) for letter in text[start : start + LATER]], np.float32)
            yield np.repeat(letters[:, None] / 100 - 3, SPEC.bands, axis=1)


def fake_voice(name: str = "ann", **options: Any) -> StreamingVocoder:
    """Voice that reads by a :class:`FakeReader`; options as of :func:`fake_vocoder`."""
    voice = fake_vocoder(name=name, batch=16, **options)
    voice.manifest.kind = "voice"
    voice.reader = FakeReader()
    return voice
