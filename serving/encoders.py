"""From samples to the bytes that a listener asked for, chunk by chunk."""

from __future__ import annotations

import io
import struct
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from seqgen.audio.io import pcm16, wav_header
from seqgen.errors import SeqgenError
from serving.resampling import RATES, Resampler

Audio = npt.NDArray[np.float32]
FORMATS = ("wav", "pcm", "f32", "ulaw", "flac", "opus")
"""Names of the formats: 16-bit WAV, bare 16-bit, bare float32, G.711 µ-law, FLAC, Ogg/Opus; all mono."""


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


class Flac(Encoder):
    """FLAC of 16 bits, by libsndfile, in its blocks of 4,096 samples."""

    def __init__(self, rate: int, mark: str) -> None:
        self._sink = _Sink()
        self._file = soundfile.SoundFile(self._sink, "w", rate, 1, "PCM_16", format="FLAC")
        self._file.software = "seqgen"
        self._file.comment = mark

    def push(self, audio: Audio) -> bytes:
        self._file.write(pcm16(audio))
        return self._sink.take()

    def finish(self) -> bytes:
        self._file.close()
        return self._sink.take()


class _Sink(io.RawIOBase):
    """A file that only grows: what libsndfile would write again in the head, once it knows the length, is dropped."""

    def __init__(self) -> None:
        self._made, self._place, self._end = bytearray(), 0, 0

    def take(self) -> bytes:
        """What is new."""
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


class Resampled(Encoder):
    """Another encoder behind a change of rate."""

    def __init__(self, inner: Encoder, source: int, target: int) -> None:
        self._inner, self._resampler = inner, Resampler(source, target)

    def push(self, audio: Audio) -> bytes:
        changed = self._resampler.push(audio)
        return self._inner.push(changed) if len(changed) else b""

    def finish(self) -> bytes:
        rest = self._resampler.finish()
        return (self._inner.push(rest) if len(rest) else b"") + self._inner.finish()


def wav_head(rate: int, mark: str) -> bytes:
    """What stands before 16-bit samples in a WAV stream of unknown length: sizes of 0xFFFFFFFF, and the mark."""
    plain = wav_header(rate, samples=None)
    notes = b""
    for key, text in ((b"ISFT", "seqgen"), (b"ICMT", mark)):
        value = text.encode() + b"\0"
        notes += key + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
    # The form, the notes, then the samples: 36 bytes of the plain head are before them, 8 behind.
    return plain[:36] + b"LIST" + struct.pack("<I", 4 + len(notes)) + b"INFO" + notes + plain[36:]


def output_rate(form: str, voice_rate: int, wanted: int | None = None) -> int:
    """The rate in Hz of the sound: as wanted, else the voice's own, or the next that the format takes.

    Raises:
        SeqgenError: for a rate that is not offered, or not in this format.
    """
    from serving.opus import RATES as OPUS_RATES

    if wanted is not None and wanted not in RATES:
        raise SeqgenError(f"rate {wanted} Hz is not offered", remedy=f"choose one of: {', '.join(map(str, RATES))}")
    if form != "opus":
        return wanted or voice_rate
    if wanted and wanted not in OPUS_RATES:
        raise SeqgenError(
            f"opus is not made at {wanted} Hz", remedy=f"choose one of: {', '.join(map(str, OPUS_RATES))}"
        )
    return wanted or (voice_rate if voice_rate in OPUS_RATES else 48000)


def encoder(form: str, voice_rate: int, rate: int, mark: str = "") -> Encoder:
    """The encoder of a format named in ``FORMATS``.

    Args:
        voice_rate: Hz of what is pushed. rate: Hz of the sound. mark: of synthetic sound, for formats that hold one.

    Raises:
        SeqgenError: where the format's library is missing.
    """
    from serving.opus import Opus

    made: Encoder
    if form == "wav":
        made = Pcm(wav_head(rate, mark))
    elif form == "opus":
        made = Opus(rate, mark)
    elif form == "flac":
        made = Flac(rate, mark)
    else:
        kinds: dict[str, type[Encoder]] = {"pcm": Pcm, "f32": Float, "ulaw": MuLaw}
        made = kinds[form]()
    return made if rate == voice_rate else Resampled(made, voice_rate, rate)


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
        "flac": "audio/flac",
        "opus": "audio/ogg;codecs=opus",
        "ulaw": f"audio/basic;rate={rate};channels=1" if rate == 8000 else f"audio/PCMU;rate={rate};channels=1",
    }[form]


def byte_rate(form: str, rate: int) -> int:
    """Bytes of a second of sound at most, by which what waits for a listener is bounded."""
    return {"f32": 4 * rate, "ulaw": rate, "opus": 8000}.get(form, 2 * rate)
