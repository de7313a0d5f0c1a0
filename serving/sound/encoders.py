"""Streaming audio encoders: chunks of samples in, bytes of one audio format out."""

from __future__ import annotations

import io
import struct
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from seqgen.audio.io import pcm16, wav_header
from seqgen.audio.watermark import Watermark
from serving.sound.resampling import Resampler

Audio = npt.NDArray[np.float32]


class Encoder(ABC):
    """Streaming audio encoder of one stream: samples in, bytes out."""

    @abstractmethod
    def push(self, audio: Audio) -> bytes:
        """Bytes that these samples, ``[N]`` in [-1, 1), become; some may be held back until more has come."""

    def finish(self) -> bytes:
        """Bytes that are still owed at the end of the stream."""
        return b""


class PcmEncoder(Encoder):
    """Encoder of 16-bit little-endian samples, after the bytes of ``prefix``."""

    def __init__(self, prefix: bytes = b"") -> None:
        self._prefix = prefix

    def push(self, audio: Audio) -> bytes:
        prefix, self._prefix = self._prefix, b""
        return prefix + pcm16(audio).astype("<i2").tobytes()


class FloatEncoder(Encoder):
    """Encoder of 32-bit little-endian float samples."""

    def push(self, audio: Audio) -> bytes:
        return audio.astype("<f4").tobytes()


class MuLawEncoder(Encoder):
    """Encoder of G.711 µ-law bytes: sign, three bits of exponent, four of mantissa, all inverted.

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


class FlacEncoder(Encoder):
    """Encoder of 16-bit FLAC, by libsndfile, in its blocks of 4,096 samples."""

    def __init__(self, rate: int, mark: str) -> None:
        self._sink = _GrowingFile()
        self._file = soundfile.SoundFile(self._sink, "w", rate, 1, "PCM_16", format="FLAC")
        self._file.software = "seqgen"
        self._file.comment = mark

    def push(self, audio: Audio) -> bytes:
        self._file.write(pcm16(audio))
        return self._sink.take()

    def finish(self) -> bytes:
        self._file.close()
        return self._sink.take()


class _GrowingFile(io.RawIOBase):
    """File object that only grows: what libsndfile writes again in the head, once it knows the length, is dropped."""

    def __init__(self) -> None:
        self._made, self._place, self._end = bytearray(), 0, 0

    def take(self) -> bytes:
        """Bytes written since the last call."""
        new = bytes(self._made)
        self._made.clear()
        return new

    def write(self, data: Any) -> int:
        view = bytes(data)
        if self._place == self._end:
            self._made += view
            self._end += len(view)
        self._place += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, self._end)[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        return 0


class ResamplingEncoder(Encoder):
    """Encoder that changes the sample rate before another encoder."""

    def __init__(self, inner: Encoder, source: int, target: int) -> None:
        self._inner, self._resampler = inner, Resampler(source, target)

    def push(self, audio: Audio) -> bytes:
        changed = self._resampler.push(audio)
        return self._inner.push(changed) if len(changed) else b""

    def finish(self) -> bytes:
        rest = self._resampler.finish()
        return (self._inner.push(rest) if len(rest) else b"") + self._inner.finish()


class WatermarkingEncoder(Encoder):
    """Encoder that marks the samples before another encoder, and holds none of them back."""

    def __init__(self, inner: Encoder, rate: int) -> None:
        self._inner, self._watermark = inner, Watermark(rate)

    def push(self, audio: Audio) -> bytes:
        return self._inner.push(self._watermark.push(audio))

    def finish(self) -> bytes:
        return self._inner.finish()


def wav_head(rate: int, mark: str) -> bytes:
    """WAV header of a stream of unknown length, 16-bit mono: sizes of 0xFFFFFFFF, and the mark."""
    plain = wav_header(rate, samples=None)
    notes = b""
    for key, text in ((b"ISFT", "seqgen"), (b"ICMT", mark)):
        value = text.encode() + b"\0"
        notes += key + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
    # The form, the notes, then the samples: 36 bytes of the plain head are before them, 8 behind.
    return plain[:36] + b"LIST" + struct.pack("<I", 4 + len(notes)) + b"INFO" + notes + plain[36:]
