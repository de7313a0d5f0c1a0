"""From samples to the bytes that a listener asked for, chunk by chunk."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio.io import pcm16, wav_header

Audio = npt.NDArray[np.float32]
FORMATS = ("wav", "pcm", "f32", "ulaw")
"""Names of the formats: 16-bit WAV, bare 16-bit, bare float32 and G.711 µ-law, all little-endian and mono."""


class Encoder(ABC):
    """Turns the chunks of one stream into bytes; used by one worker at a time."""

    @abstractmethod
    def push(self, audio: Audio) -> bytes:
        """What these samples, ``[N]`` in [-1, 1), become; may be held back until more has come."""

    def finish(self) -> bytes:
        """What is still owed at the end."""
        return b""


class Pcm(Encoder):
    """16-bit samples, after ``prefix``."""

    def __init__(self, prefix: bytes = b"") -> None:
        self._prefix = prefix

    def push(self, audio: Audio) -> bytes:
        prefix, self._prefix = self._prefix, b""
        return prefix + pcm16(audio).astype("<i2").tobytes()


class Float(Encoder):
    """32-bit floats as they are."""

    def push(self, audio: Audio) -> bytes:
        return audio.astype("<f4").tobytes()


class MuLaw(Encoder):
    """G.711 µ-law: sign, three bits of exponent, four of mantissa, all inverted.

    Source: ITU-T G.711 (1988), table 2a.
    """

    def push(self, audio: Audio) -> bytes:
        return g711(pcm16(audio)).tobytes()


def g711(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """16-bit samples to µ-law bytes of the same shape.

    Example:
        >>> g711(np.array([0, 32767, -32768], np.int16))
        array([255, 128,   0], dtype=uint8)
    """
    wide: npt.NDArray[Any] = samples.astype(np.int32)
    magnitude = np.minimum(np.abs(wide), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    sign = np.where(wide < 0, 0x80, 0)
    codes: npt.NDArray[np.uint8] = (~(sign | exponent << 4 | mantissa) & 0xFF).astype(np.uint8)
    return codes


def encoder(form: str, rate: int) -> Encoder:
    """The encoder of a format named in ``FORMATS``, for sound at ``rate`` Hz."""
    if form == "wav":
        return Pcm(wav_header(rate, samples=None))
    kinds: dict[str, type[Encoder]] = {"pcm": Pcm, "f32": Float, "ulaw": MuLaw}
    return kinds[form]()


def content_type(form: str, rate: int) -> str:
    """The media type of a format.

    Example:
        >>> content_type("pcm", 16000)
        'audio/pcm;rate=16000;channels=1;encoding=s16le'
    """
    # audio/L16 would promise network byte order; this is little-endian, as inside a WAV file.
    return {
        "wav": "audio/wav",
        "pcm": f"audio/pcm;rate={rate};channels=1;encoding=s16le",
        "f32": f"audio/pcm;rate={rate};channels=1;encoding=f32le",
        "ulaw": f"audio/basic;rate={rate};channels=1" if rate == 8000 else f"audio/PCMU;rate={rate};channels=1",
    }[form]


def byte_rate(form: str, rate: int) -> int:
    """Bytes of a second of sound, by which what waits for a listener is bounded."""
    return rate * {"f32": struct.calcsize("f"), "ulaw": 1}.get(form, 2)
