"""Output of commands that make sound: their options, where it goes, and how fast it came."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from seqgen.audio.io import pcm16, wav_header, write_blocks
from seqgen.audio.watermark import Watermark
from seqgen.files.outputs import is_stream, replacing


def sound_options(command: argparse.ArgumentParser) -> None:
    """Options of commands that make a file of sound."""
    command.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="file to write (.wav, .flac, .ogg), or - to stream to standard output",
    )
    command.add_argument("--raw", action="store_true", help="16-bit little-endian samples without a WAV header")
    command.add_argument(
        "--mark",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether the sound bears a watermark, see `seqgen-serve detect` (default: a voice's that reads)",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="give the times as one JSON object, on standard output unless the sound goes there",
    )


def as_wished(
    audio: Iterator[npt.NDArray[np.float32]], rate: int, options: argparse.Namespace, *, reads: bool
) -> Iterator[npt.NDArray[np.float32]]:
    """Sound with its watermark, where the options or else the kind of voice want one; ``reads``: it reads texts."""
    if not (reads if options.mark is None else options.mark):
        return audio
    return map(Watermark(rate).push, audio)


@dataclass
class Stopwatch:
    """Stopwatch that passes audio on and notes when it came."""

    rate: int
    started: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    last: float = 0.0
    samples: int = 0

    def watch(self, audio: Iterator[npt.NDArray[np.float32]]) -> Iterator[npt.NDArray[np.float32]]:
        for chunk in audio:
            self.last = time.perf_counter() - self.started
            self.first = self.first or self.last
            self.samples += len(chunk)
            yield chunk

    def report(self) -> dict[str, Any]:
        seconds = self.samples / self.rate
        return {
            "audio_seconds": round(seconds, 4),
            "wall_seconds": round(self.last, 4),
            "real_time_factor": round(self.last / seconds, 4) if seconds else None,
            "first_audio_ms": round(1000 * self.first, 2),
            "samples": self.samples,
            "sample_rate": self.rate,
        }


def tell(clock: Stopwatch, loaded: float, options: argparse.Namespace) -> None:
    """Say how fast a voice was, for the eye or as one JSON object."""
    report = clock.report() | {"load_seconds": round(loaded, 4)}
    if options.json:
        (sys.stderr if options.output == "-" else sys.stdout).write(json.dumps(report) + "\n")
    else:
        sys.stderr.write(
            f"{report['audio_seconds']:.2f} s of audio in {report['wall_seconds']:.2f} s: real-time factor "
            f"{report['real_time_factor']:.3f}, first audio after {report['first_audio_ms']:.1f} ms "
            f"(voice loaded in {loaded:.2f} s)\n"
        )


def write(output: str, raw: bool, audio: Iterator[npt.NDArray[np.float32]], rate: int) -> None:
    """Write a file whole, or pass the sound on while it is made where nothing can be sought in."""
    prefix = b"" if raw else wav_header(rate, samples=None)
    if output == "-":
        stream(sys.stdout.buffer, audio, prefix)
    elif raw or is_stream(output):
        with replacing(output, streaming=True) as file:
            stream(file, audio, prefix)
    else:
        write_blocks(output, audio, rate)


def stream(out: BinaryIO | Any, audio: Iterator[npt.NDArray[np.float32]], prefix: bytes) -> None:
    """Write each chunk when it is made; the prefix goes with the first, so an early failure writes nothing."""
    for chunk in audio:
        out.write(prefix + pcm16(chunk).astype("<i2").tobytes())
        out.flush()
        prefix = b""
