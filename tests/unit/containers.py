"""Containers of recordings made by hand: every format, with any declared length."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

RATE = 8000


def pcm(samples: int, order: str = "<") -> bytes:
    """16-bit noise."""
    return np.random.default_rng(samples).integers(-9000, 9000, samples).astype(f"{order}i2").tobytes()


def wav(audio: bytes, declared: int | None = None, *, order: str = "<", form: bytes = b"", tail: bytes = b"") -> bytes:
    """RIFF (``<``) or RIFX (``>``) of 16-bit mono; ``form`` is another format, ``tail`` follows the audio."""
    size = len(audio) if declared is None else declared
    form = form or struct.pack(f"{order}HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVEfmt " + struct.pack(f"{order}I", len(form)) + form + b"data" + struct.pack(f"{order}I", size)
    whole = len(body) + len(audio) + len(tail) if declared is None else min(size + len(body), 0xFFFFFFFF)
    return (b"RIFF" if order == "<" else b"RIFX") + struct.pack(f"{order}I", whole) + body + audio + tail


def broadcast(audio: bytes, declared: int | None = None) -> bytes:
    """BWF: a ``bext`` chunk stands before the format."""
    plain = wav(audio, declared)
    return plain[:12] + b"bext" + struct.pack("<I", 602) + bytes(602) + plain[12:]


def rf64(audio: bytes, declared: int | None = None) -> bytes:
    size = len(audio) if declared is None else declared
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    sizes = struct.pack("<QQQI", (len(audio) + 72) & 0xFFFFFFFFFFFFFFFF, size, len(audio) // 2, 0)
    body = b"WAVEds64" + struct.pack("<I", len(sizes)) + sizes + b"fmt " + struct.pack("<I", 16) + form
    return b"RF64" + b"\xff" * 4 + body + b"data" + b"\xff" * 4 + audio


def w64(audio: bytes, declared: int | None = None) -> bytes:
    size = len(audio) if declared is None else declared
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    chunks = b"fmt " + tail + struct.pack("<Q", 24 + 16) + form
    chunks += b"data" + tail + struct.pack("<Q", (24 + size) & 0xFFFFFFFFFFFFFFFF)
    riff = bytes.fromhex("726966662e91cf11a5d628db04c10000")
    return riff + struct.pack("<Q", 40 + len(chunks) + len(audio)) + b"wave" + tail + chunks + audio


def extended(value: int) -> bytes:
    """An 80-bit float, big-endian."""
    exponent = math.frexp(value)[1] - 1
    return struct.pack(">HQ", 16383 + exponent, value << (63 - exponent))


def aiff(audio: bytes, declared: int | None = None, *, kind: bytes = b"AIFF", frames: int | None = None) -> bytes:
    size = len(audio) if declared is None else declared
    common = struct.pack(">hIh", 1, len(audio) // 2 if frames is None else frames, 16) + extended(RATE)
    if kind == b"AIFC":
        common += b"NONE" + b"\x00\x00"
    body = kind + b"COMM" + struct.pack(">I", len(common)) + common
    body += b"SSND" + struct.pack(">III", min(size + 8, 0xFFFFFFFF), 0, 0)
    return b"FORM" + struct.pack(">I", len(body) + len(audio)) + body + audio


def au(audio: bytes, declared: int | None = None, *, order: str = ">") -> bytes:
    size = len(audio) if declared is None else declared
    return (b".snd" if order == ">" else b"dns.") + struct.pack(f"{order}IIIII", 24, size, 3, RATE, 1) + audio


def caf(audio: bytes, declared: int | None = None) -> bytes:
    size = len(audio) + 4 if declared is None else declared
    about = struct.pack(">d4sIIIII", RATE, b"lpcm", 0, 2, 1, 1, 16)
    made = b"caff" + struct.pack(">HH", 1, 0) + b"desc" + struct.pack(">q", len(about)) + about
    return made + b"data" + struct.pack(">Q", size) + bytes(4) + audio


def sphere(audio: bytes, declared: int | None = None) -> bytes:
    count = len(audio) // 2 if declared is None else declared
    lines = ["NIST_1A", "   1024", "channel_count -i 1", f"sample_count -i {count}", f"sample_rate -i {RATE}"]
    lines += ["sample_n_bytes -i 2", "sample_byte_format -s2 01", "sample_coding -s3 pcm", "end_head", ""]
    return "\n".join(lines).encode().ljust(1024, b" ") + audio


Maker = Callable[..., bytes]
MADE: dict[str, tuple[Maker, str]] = {
    "wav": (wav, "<"),
    "rifx": (lambda audio, declared=None: wav(audio, declared, order=">"), ">"),
    "bwf": (broadcast, "<"),
    "rf64": (rf64, "<"),
    "w64": (w64, "<"),
    "aiff": (aiff, ">"),
    "aifc": (lambda audio, declared=None: aiff(audio, declared, kind=b"AIFC"), ">"),
    "au": (au, ">"),
    "snd": (lambda audio, declared=None: au(audio, declared, order="<"), "<"),
    "caf": (caf, ">"),
    "sph": (sphere, "<"),
}
"""Maker and byte order of each container of plain samples."""
