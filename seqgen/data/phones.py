"""Phones of recordings by pocketsphinx: aligned to a transcript, or decoded without one.

It is a small recogniser of US English at 16 kHz, an optional extra. With a transcript the phones are those of its
dictionary and only their times are found; without one, or where that fails, they are what its phone loop hears, which
is wrong for some of them: labels to compare encoders by, no truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio import io
from seqgen.audio.resample import resample
from seqgen.data.ctm import Stretch
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError

RATE = 16000
_FRAME = 0.01  # seconds
_LOOP = {"allphone_ci": True, "lw": 2.0, "beam": 1e-20, "pbeam": 1e-20}


@dataclass(frozen=True)
class Labelled:
    """Phones of an utterance; ``aligned``: to its transcript."""

    utterance: str
    stretches: list[Stretch]
    aligned: bool


def phones(data: DataDir, words: Callable[[str], str]) -> Iterator[Labelled]:
    """Phones of every utterance, in the order of the ids; ``words`` of a transcript, as they are spoken.

    Raises:
        SeqgenError: where pocketsphinx is not installed.
    """
    decoders = _Decoders()
    for utterance in data:
        audio = _audio(utterance)
        found = decoders.aligned(audio, words(utterance.text)) if utterance.text else None
        yield Labelled(utterance.id, decoders.heard(audio) if found is None else found, found is not None)


class _Decoders:
    """Decoders of pocketsphinx, each made when it is first needed."""

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ImportError:
            raise SeqgenError(
                "phones are found by pocketsphinx, which is not installed", remedy="pip install 'seqgen[phones]'"
            ) from None
        self._library = pocketsphinx
        self._aligner: Any = None
        self._loop: Any = None

    def aligned(self, audio: bytes, words: str) -> list[Stretch] | None:
        """Phones of words; ``None`` where one is none of the dictionary's, or the sound does not fit."""
        if self._aligner is None:
            self._aligner = self._library.Decoder(loglevel="FATAL", lm=None)
        try:
            self._aligner.set_align_text(words)
            self._run(self._aligner, audio)
            self._aligner.set_alignment()
            self._run(self._aligner, audio)
            found = self._aligner.get_alignment()
        except RuntimeError:
            return None
        if found is None:
            return None
        return [_stretch(phone.name, phone.start, phone.duration) for word in found for phone in word]

    def heard(self, audio: bytes) -> list[Stretch]:
        """Phones of a loop over all of them."""
        if self._loop is None:
            model = self._library.get_model_path("en-us-phone.lm.bin")
            model = model if model.startswith("/") else self._library.get_model_path() + "/en-us/" + model
            self._loop = self._library.Decoder(loglevel="FATAL", lm=None, allphone=model, **_LOOP)
        self._run(self._loop, audio)
        return [
            _stretch(one.word, one.start_frame, one.end_frame - one.start_frame + 1) for one in self._loop.seg() or ()
        ]

    def _run(self, decoder: Any, audio: bytes) -> None:
        decoder.start_utt()
        decoder.process_raw(audio, full_utt=True)
        decoder.end_utt()


def _stretch(name: str, start: int, frames: int) -> Stretch:
    return Stretch(start * _FRAME, frames * _FRAME, name.partition("(")[0])


def _audio(utterance: Utterance) -> bytes:
    audio, rate = io.read(utterance.path, start=utterance.start, count=utterance.samples)
    made: npt.NDArray[np.float32] = resample(audio, rate, RATE)
    return io.pcm16(made).tobytes()
