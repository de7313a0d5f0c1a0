"""Bodies that somebody might send to do harm: cut, flipped, lying about their sizes, or made to be long to read."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import soundfile

from seqgen.audio.features import log_mel
from seqgen.audio.io import pcm16
from tests.serving.fakes import SPEC, audio_file, features_file, tone

CONTAINERS = (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"),
              ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"),
              ("CAF", "PCM_16"), ("W64", "PCM_16"))  # fmt: skip


def recordings() -> dict[str, bytes]:
    """A short recording in every container that libsndfile writes here."""
    made = {}
    for form, subtype in CONTAINERS:
        if form in soundfile.available_formats() and subtype in soundfile.available_subtypes(form):
            rate = 48000 if subtype == "OPUS" else 16000
            made[f"{form} {subtype}"] = audio_file(tone(0.2, rate), rate, form, subtype)
    return made


def wav(
    *, rate: int = 8000, channels: int = 1, bits: int = 16, kind: int = 1, data: bytes = b"", **sizes: int
) -> bytes:
    """A WAV file whose header says what it is told; ``riff`` and ``size``: lengths that it claims."""
    block = max(1, channels * bits // 8)
    form = struct.pack("<HHIIHH", kind, channels & 0xFFFF, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    size = sizes.get("size", len(data))
    chunks = b"fmt " + struct.pack("<I", sizes.get("form", len(form))) + form + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", sizes.get("riff", 4 + len(chunks))) + b"WAVE" + chunks


def safetensors(shape: object = (4, 10), dtype: str = "F32", offsets: object = (0, 160), **metadata: str) -> bytes:
    """A features file with whatever header."""
    spec = features_spec()
    header = {
        "__metadata__": {**spec, **metadata},
        "features": {"dtype": dtype, "shape": shape, "data_offsets": offsets},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(160)


def features_spec() -> dict[str, str]:
    """Metadata of an honest features file."""
    from dataclasses import asdict

    return {"signature": SPEC.signature, "spec": json.dumps(asdict(SPEC), sort_keys=True)}


def ogg_page(number: int, body: bytes = b"", segments: bytes = b"\0", flags: int = 0) -> bytes:
    """An Ogg page of its own stream, with a right checksum."""
    from serving.sound.opus import checksum

    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, 7, number, 0, len(segments)) + segments
    return head[:22] + struct.pack("<I", checksum(head + body)) + head[26:] + body


def long_to_read(size: int) -> dict[str, bytes]:
    """Bodies of about ``size`` bytes that hold next to nothing, in as many parts as that can be."""
    sound = wav(data=bytes(1600))
    return {
        "empty chunks": sound[:12] + (b"junk" + bytes(4)) * (size // 8) + sound[12:],
        "chunks of a byte": sound[:12] + (b"junk\1\0\0\0" + bytes(2)) * (size // 10) + sound[12:],
        "empty pages": audio_file(tone(0.1), form="OGG") + ogg_page(0) * (size // 28),
        "pages of a byte": b"".join(ogg_page(0, b"x", b"\1") for _ in range(1)) * (size // 29),
        "a large features header": (size - 8).to_bytes(8, "little") + b"{" + b" " * (size - 10) + b"}",
        "many tensors": _many_tensors(size),
        "flac of empty metadata": b"fLaC" + bytes(4) * (size // 4),
        "flac of starts of frames": _flac_of_starts(size),
        "flac of noise": audio_file(tone(0.1), form="FLAC")[:86] + np.random.default_rng(0).bytes(size),
        "mp3 of noise": np.random.default_rng(1).bytes(size).replace(b"\0", b"\xff"),
        "id3 tags": b"ID3\4\0\0\0\0\0\0" * (size // 10),
    }


def _flac_of_starts(size: int) -> bytes:
    """FLAC of unknown length, full of what begins like the last frame."""
    sound = bytearray(audio_file(tone(0.1), form="FLAC"))
    sound[21:26] = bytes([sound[21] & 0xF0]) + bytes(4)
    sound[15:18] = b"\xff" * 3
    return bytes(sound[:86]) + bytes(sound[86:92]) * (size // 6)


def _many_tensors(size: int) -> bytes:
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps({f"t{number}": tensor for number in range(size // 60)}).encode()
    return len(text).to_bytes(8, "little") + text


def hostile(folder: object) -> dict[str, bytes]:
    """Bodies by name: small ones, each wrong in its own way."""
    rng = np.random.default_rng(0)
    bodies = {"empty": b"", "text": b"hello " * 100, "zeros": bytes(5000), "json": b'{"input": "x"}' * 9}
    whole = recordings()
    whole["features"] = features_file(folder, log_mel(tone(0.2), SPEC))
    for name, data in whole.items():
        for part in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
            bodies[f"{name} cut at {part}"] = data[: int(part * len(data))]
        bodies[f"{name} without an end"] = data[:-1]
        bodies[f"{name} with more behind"] = data + rng.bytes(1000)
        bodies[f"{name} twice"] = data + data
        for number in range(6):
            flipped = bytearray(data)
            for place in rng.integers(4, min(len(data), 400) if number % 2 else len(data), 3):
                flipped[place] ^= 1 << int(rng.integers(8))
            bodies[f"{name} flipped {number}"] = bytes(flipped)
    quiet = pcm16(tone(0.1)).tobytes()
    for size in (0, 1, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF):
        bodies[f"wav data of {size}"] = wav(data=quiet, size=size)
        bodies[f"wav riff of {size}"] = wav(data=quiet, riff=size)
        bodies[f"wav form of {size}"] = wav(data=quiet, form=size)
    for rate in (0, 1, 999, 2000, 384000, 10**9, 2**32 - 1):
        bodies[f"wav at {rate} Hz"] = wav(data=quiet, rate=rate)
    for channels in (0, 2, 255, 1024, 1025, 65535):
        bodies[f"wav of {channels} channels"] = wav(data=quiet * 20, channels=channels)
    for bits in (0, 1, 7, 12, 64, 65535):
        bodies[f"wav of {bits} bits"] = wav(data=quiet, bits=bits)
    for kind in (0, 2, 3, 6, 17, 49, 85, 0xFFFE, 0xFFFF):
        bodies[f"wav of kind {kind}"] = wav(data=quiet, kind=kind)
    for value in (np.nan, np.inf, -np.inf, 3e38):
        sound = tone(0.1)
        sound[-1] = value
        bodies[f"float wav with {value}"] = wav(data=sound.astype("<f4").tobytes(), kind=3, bits=32)
    bodies |= _features()
    bodies |= {f"{name}, short": body for name, body in long_to_read(20_000).items()}
    return bodies | {"hours of silence": _silence(3 * 3600)}


def _features() -> dict[str, bytes]:
    shapes = ([], [0, 10], [4], [10, 4], [-1, 10], [2**62, 10], [4, 10, 1], [4.0, 10], "x", None)
    bodies = {f"features of {shape}": safetensors(shape) for shape in shapes}
    bodies |= {f"features of {dtype}": safetensors(dtype=dtype) for dtype in ("BF16", "F64", "BOOL", "I64", "X", "")}
    for offsets in ([0, 2**63], [160, 0], [-160, 0], [0], [0, 161]):
        bodies[f"features at {offsets}"] = safetensors(offsets=offsets)
    deep = {"nested": "[" * 30_000, "long number": '{"hop": 1' + "0" * 5000 + "}", "nan": '{"hop": NaN}', "text": '"x"'}
    bodies |= {f"features spec {name}": safetensors(spec=spec) for name, spec in deep.items()}
    for size in (0, 1, 2**16, 2**31, 2**63, 2**64 - 1):
        bodies[f"features header of {size}"] = size.to_bytes(8, "little") + b'{"a": 1}' * 9
    return bodies


def _silence(seconds: int) -> bytes:
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", 8000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(seconds // 60):
            file.write(np.zeros(8000 * 60, np.int16))
    return out.getvalue()
