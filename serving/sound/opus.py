"""Ogg/Opus encoder over the system's libopus: 20 ms packets, each in an Ogg page of its own."""

from __future__ import annotations

import ctypes
import ctypes.util
import zlib
from functools import cache

import numpy as np

from seqgen.errors import SeqgenError
from serving.sound.encoders import Audio, Encoder
from serving.sound.ogg import FIRST_PAGE, LAST_PAGE, OggPageWriter, opus_head, opus_tags

RATES = (8000, 12000, 16000, 24000, 48000)
"""Rates that the codec takes, in Hz."""
PACKET = 0.02
"""Seconds of a packet."""
BITRATE = 32_000
_AUDIO, _SET_BITRATE, _GET_LOOKAHEAD = 2049, 4002, 4027  # OPUS_APPLICATION_AUDIO and requests of opus_defines.h
_LONGEST = 1500  # bytes of a packet


@cache
def library() -> ctypes.CDLL | None:
    """libopus with the types of what is used of it, or ``None`` where it is not installed."""
    name = ctypes.util.find_library("opus")
    try:
        opus = ctypes.CDLL(name or "libopus.so.0")
        pointer, number = ctypes.c_void_p, ctypes.c_int
        opus.opus_encoder_create.argtypes = [ctypes.c_int32, number, number, ctypes.POINTER(number)]
        opus.opus_encoder_create.restype = pointer
        opus.opus_encoder_destroy.argtypes = [pointer]
        opus.opus_encode_float.argtypes = [pointer, pointer, number, pointer, ctypes.c_int32]
        opus.opus_encode_float.restype = ctypes.c_int32
        opus.opus_encoder_ctl.argtypes = [pointer, number]  # what follows is of the request's own type
    except (OSError, AttributeError):
        return None
    return opus


def require_opus() -> ctypes.CDLL:
    """The system's libopus.

    Raises:
        SeqgenError: where it is missing.
    """
    if (opus := library()) is None:
        raise SeqgenError("opus is not offered: there is no libopus here", remedy="install libopus0, or choose flac")
    return opus


class OpusEncoder(Encoder):
    """Encoder of mono Ogg/Opus.

    Args:
        rate: one of ``RATES``. mark: of synthetic sound, for the comment header.

    Raises:
        SeqgenError: where libopus is missing.
    """

    def __init__(self, rate: int, mark: str) -> None:
        opus = require_opus()
        self._opus, self._rate = opus, rate
        status = ctypes.c_int(0)
        self._encoder = opus.opus_encoder_create(rate, 1, _AUDIO, ctypes.byref(status))
        if status.value or not self._encoder:
            raise SeqgenError(f"libopus refuses {rate} Hz (status {status.value})", remedy="choose another rate")
        ahead = ctypes.c_int32(0)
        opus.opus_encoder_ctl(self._encoder, _SET_BITRATE, ctypes.c_int32(BITRATE))
        opus.opus_encoder_ctl(self._encoder, _GET_LOOKAHEAD, ctypes.byref(ahead))
        self._skip = ahead.value * 48000 // rate
        self._size = round(rate * PACKET)
        self._held = np.zeros(0, np.float32)
        self._taken = self._coded = 0  # samples in, samples in packets
        # The same request gives the same bytes, so the serial number hangs on what it says.
        self._pages = OggPageWriter(zlib.crc32(mark.encode()))
        head = self._pages.page(opus_head(rate, self._skip), position=0, flags=FIRST_PAGE)
        tags = opus_tags("seqgen", {"ENCODER": "seqgen", "SYNTHETIC": mark})
        self._prefix = head + self._pages.page(tags, position=0)
        self._last = b""

    def __del__(self) -> None:
        if getattr(self, "_encoder", None):
            self._opus.opus_encoder_destroy(self._encoder)

    def push(self, audio: Audio) -> bytes:
        self._taken += len(audio)
        self._held = np.concatenate([self._held, np.clip(audio, -1, 1)])
        made, self._prefix = self._prefix, b""
        while len(self._held) >= self._size:
            packet, self._held = self._held[: self._size], self._held[self._size :]
            made += self._page(packet)
        return made

    def finish(self) -> bytes:
        owed = self._skip + self._taken * 48000 // self._rate
        made, self._prefix = self._prefix, b""
        # Packets go on until the decoder, which lags behind, has given the last sample.
        while True:
            padded = np.pad(self._held, (0, max(0, self._size - len(self._held))))
            packet, self._held = padded[: self._size], padded[self._size :]
            if self._coded_at_48k + round(48000 * PACKET) >= owed:
                return made + self._page(packet, position=owed, flags=LAST_PAGE)
            made += self._page(packet)

    @property
    def _coded_at_48k(self) -> int:
        return self._coded * 48000 // self._rate

    def _page(self, samples: Audio, *, position: int | None = None, flags: int = 0) -> bytes:
        samples = np.ascontiguousarray(samples, np.float32)
        out = ctypes.create_string_buffer(_LONGEST)
        size = self._opus.opus_encode_float(self._encoder, samples.ctypes.data, self._size, out, _LONGEST)
        if size < 0:
            raise SeqgenError(f"libopus failed (status {size})", remedy="choose another format")
        self._coded += self._size
        return self._pages.page(out.raw[:size], position=position or self._coded_at_48k, flags=flags)
