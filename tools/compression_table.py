#!/usr/bin/env python3
"""Compare the size of a file under trained models with that under common compressors, as a Markdown table.

Every row is compressed and decompressed, and the copy is compared. A model is no part of what it compresses: its size
stands apart, and in the last column both together.

Example:
    $ tools/compression_table.py text data/test.txt exp/text lm/ lm/=onnx
    $ tools/compression_table.py image digits.raw exp/digits --size 28x28
    $ tools/compression_table.py audio speech.wav exp/speech
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import brotli
import numpy as np
import soundfile
import zstandard
from PIL import Image

from seqgen.bundle import Bundle, is_bundle
from seqgen.cli.compress import opened
from seqgen.compression.compress import compress
from seqgen.compression.container import Container
from seqgen.compression.decompress import decompress

HEAD = "| method | bytes | bits per byte | model | with the model | compress (s) | decompress (s) |\n|" + " --- |" * 7
PROOF = "golden.safetensors"  # of a bundle, which running it does not take
LOOPS = ("loop.onnx",)
Pair = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


class Row(NamedTuple):
    """Row of the table: sizes in bytes, times in seconds."""

    method: str
    size: int
    model: int
    compressing: float
    decompressing: float

    def written(self, original: int) -> str:
        model, both = (f"{self.model:,}", f"{self.size + self.model:,}") if self.model else ("–", f"{self.size:,}")
        bits = 8 * self.size / max(1, original)
        return (
            f"| {self.method} | {self.size:,} | {bits:.3f} | {model} | {both} | {self.compressing:.2f} | "
            f"{self.decompressing:.2f} |"
        )


COMMON: dict[str, Pair] = {
    "gzip -9": (lambda data: gzip.compress(data, 9), gzip.decompress),
    "bzip2 -9": (lambda data: bz2.compress(data, 9), bz2.decompress),
    "xz -9": (lambda data: lzma.compress(data, preset=9), lzma.decompress),
    "zstd -19": (zstandard.ZstdCompressor(level=19).compress, zstandard.ZstdDecompressor().decompress),
}
TEXT: dict[str, Pair] = {"brotli -q 11": (lambda data: brotli.compress(data, quality=11), brotli.decompress)}


def png(data: bytes, width: int, height: int) -> bytes:
    """Grey pixels of a picture as an optimised PNG."""
    file = io.BytesIO()
    Image.fromarray(np.frombuffer(data, np.uint8).reshape(height, width)).save(file, "PNG", optimize=True)
    return file.getvalue()


def pixels(data: bytes) -> bytes:
    """The inverse of :func:`png`."""
    return np.asarray(Image.open(io.BytesIO(data))).tobytes()


def images(width: int, height: int) -> dict[str, Pair]:
    """PNG: of all pictures below each other; a picture a file is what :func:`each` counts."""
    return {"PNG, one sheet": (lambda data: png(data, width, len(data) // width), pixels)}


def flac(data: bytes) -> bytes:
    """A WAV file's samples as FLAC of level 8."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16", compression_level=1.0)
    return file.getvalue()


def wav(data: bytes) -> bytes:
    """The inverse of :func:`flac`."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def timed(method: str, pair: Pair, data: bytes) -> Row:
    """The row of a compressor that works in memory."""
    began = time.perf_counter()
    made = pair[0](data)
    between = time.perf_counter()
    copy = pair[1](made)
    if copy != data:
        raise SystemExit(f"{method} does not give the file back")
    return Row(method, len(made), 0, between - began, time.perf_counter() - between)


def each(data: bytes, width: int, height: int) -> Row:
    """The row of PNG with a file for every picture."""
    size, began, total = width * height, time.perf_counter(), 0
    for start in range(0, len(data), size):
        total += len(png(data[start : start + size], width, height))
    return Row("PNG, each alone", total, 0, time.perf_counter() - began, float("nan"))


def model_size(path: Path, runtime: str) -> int:
    """Bytes of a model: of a bundle those files that the runtime reads, of an experiment its weights as float32."""
    if is_bundle(path):
        entries = Bundle.open(path).manifest.files
        native = {"program.json", "engine.safetensors", "tokenizer.json", "weights.safetensors"}
        ours = [one for one in entries if one.name not in (PROOF, *LOOPS)]
        return sum(one.size for one in ours if runtime != "native" or one.name in native)
    from seqgen.tasks.experiment import Experiment

    found = Experiment.open(path)
    return sum(4 * one.numel() for name in found.trained for one in found.network(name)[0].parameters())


def by_model(argument: str, file: Path, record: int) -> Row:
    """The row of a trained model."""
    place, _, runtime = argument.partition("=")
    with tempfile.TemporaryDirectory() as folder:
        packed, copy = Path(folder) / "packed.sg", Path(folder) / "copy"
        predictor, units = opened(Path(place), runtime)
        began = time.perf_counter()
        report = compress(file, packed, predictor, units, record=record)
        between = time.perf_counter()
        with Container(packed) as container:
            decompress(container, copy, predictor, units)
        ended = time.perf_counter()
        if copy.read_bytes() != file.read_bytes():
            raise SystemExit(f"{argument} does not give the file back")
    over = 100 * (report.compressed / report.promised - 1) if report.promised else 0.0
    name = f"{Path(place).name} by {predictor.identity.runtime} ({over:+.2f} % over its claim)"
    model = model_size(Path(place), predictor.identity.runtime)
    return Row(name, report.compressed, model, between - began, ended - between)


def rows(given: argparse.Namespace) -> Iterator[Row]:
    """The rows, in the order of the table."""
    data = given.file.read_bytes()
    width, height = map(int, given.size.split("x"))
    kinds = {"text": TEXT, "image": images(width, height), "audio": {"FLAC -8": (flac, wav)}}
    for method, pair in {**COMMON, **kinds[given.kind]}.items():
        yield timed(method, pair, data)
    if given.kind == "image":
        yield each(data, width, height)
    for model in given.models:
        yield by_model(model, given.file, width * height if given.kind == "image" else 0)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["text", "image", "audio"])
    parser.add_argument("file", type=Path, help="text, grey pixels of 8 bits, or a WAV file of 16 bits")
    parser.add_argument("models", nargs="*", metavar="MODEL[=RUNTIME]", help="experiments and bundles")
    parser.add_argument("--size", default="28x28", metavar="WxH", help="of a picture")
    given = parser.parse_args()
    original = given.file.stat().st_size
    print(HEAD)
    for row in rows(given):
        print(row.written(original), flush=True)
    print(f"\n{given.file.name}: {original:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
