"""Ogg/Opus encoder over the system's libopus: 20 ms packets, each in an Ogg page of its own.

Source: RFC 3533 (Ogg), RFC 7845 (Opus in Ogg).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
import zlib
from collections.abc import Mapping
from functools import cache

import numpy as np

from seqgen.errors import SeqgenError
from serving.sound.encoders import Audio, Encoder

RATES = (8000, 12000, 16000, 24000, 48000)
"""Rates that the codec takes, in Hz."""
PACKET = 0.02
"""Seconds of a packet."""
BITRATE = 32_000
_AUDIO, _SET_BITRATE, _GET_LOOKAHEAD = 2049, 4002, 4027  # OPUS_APPLICATION_AUDIO and requests of opus_defines.h
_LONGEST = 1500  # bytes of a packet
FIRST_PAGE, LAST_PAGE = 2, 4
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


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


def checksum(data: bytes) -> int:
    """CRC-32 of Ogg: polynomial 0x04c11db7, most significant bit first, starting from 0.

    It is zlib's with every bit order turned round, and without zlib's inversions.
    """
    turned = zlib.crc32(data.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(turned.to_bytes(4, "little").translate(_MIRROR), "big")


class OggPageWriter:
    """Writer of the numbered Ogg pages of one logical stream.

    Example:
        >>> OggPageWriter(7).page(b"packet", position=0, flags=FIRST_PAGE)[:4]
        b'OggS'
    """

    def __init__(self, serial: int) -> None:
        self._serial, self._number = serial & 0xFFFFFFFF, 0

    def page(self, packet: bytes, *, position: int, flags: int = 0) -> bytes:
        """One packet as a page of its own; ``position``: samples at 48 kHz up to its end."""
        sizes = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
        if len(sizes) > 255:
            raise ValueError(f"a packet of {len(packet)} bytes does not fit a page")
        fields = (b"OggS", 0, flags, position, self._serial, self._number, 0, len(sizes))
        head = struct.pack("<4sBBqIIIB", *fields) + sizes
        self._number += 1
        return head[:22] + struct.pack("<I", checksum(head + packet)) + head[26:] + packet


def opus_head(rate: int, skip: int) -> bytes:
    """Identification header of an Opus stream: mono, the rate of the source, samples at 48 kHz to drop at the start."""
    return struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, skip, rate, 0, 0)


def opus_tags(vendor: str, tags: Mapping[str, str]) -> bytes:
    """Comment header of an Opus stream."""
    told = [f"{key}={value}".encode() for key, value in tags.items()]
    parts = [vendor.encode(), *told]
    packed = [struct.pack("<I", len(part)) + part for part in parts]
    return b"OpusTags" + packed[0] + struct.pack("<I", len(told)) + b"".join(packed[1:])
