"""``seqgen features``: feature vectors of recordings, by a bundle's encoder, streamed and without torch."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from seqgen import completion
from seqgen.registry import ENCODER_RUNTIMES

if TYPE_CHECKING:  # what runs a bundle is imported when the command runs, so that help comes at once
    from seqgen.runtime.encoder import EncoderRuntime

_HELP = """\
Feature vectors of recordings, float32 [frames, channels] in numpy's .npy: an encoder's, from its bundle.

  seqgen features --model features/ in.wav -o out.npy
  seqgen features --model features/ *.flac -o vectors/           # several: vectors/NAME.npy each
  seqgen features --model features/ - -o - < in.wav | wc -c      # from standard input to standard output

Recordings of any length are read, made features of and written in blocks, so that memory stays constant; those of
another rate than the encoder's are resampled, several channels averaged. A frame is a whole hop; what is left at the
end makes none. The first frames see silence from before the start, as many as `seqgen info` calls its latency.
"""
_BLOCK = 1 << 16  # samples read at a time


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "features",
        help="vectors of recordings",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "recordings", nargs="+", metavar="FILE", help="wav, flac, ogg, mp3, …, or - for standard input"
    )
    command.add_argument("--model", type=Path, required=True, metavar="BUNDLE", help="of a feature extractor")
    command.add_argument(
        "-o", "--out", required=True, metavar="PATH", help="file to write, - for standard output; a folder for several"
    )
    command.add_argument("--layer", default="context", help="context (default) or latent")
    runtime = command.add_argument("--runtime", default="", help="native, onnx or torch (default: the fastest)")
    completion.offer(runtime, ENCODER_RUNTIMES)
    command.add_argument("--threads", type=int, default=1)
    command.set_defaults(run=run_features)


def run_features(given: argparse.Namespace) -> int:
    """Extract; how fast it went is told on standard error."""
    from seqgen.bundle import Bundle
    from seqgen.errors import SeqgenError
    from seqgen.runtime import open_encoder

    if given.threads < 1:
        raise SeqgenError(f"--threads {given.threads}", remedy="give 1 or more")
    targets = _targets(given.recordings, given.out)
    runtime = open_encoder(Bundle.open(given.model), given.runtime, threads=given.threads)
    runtime.manifest.require_layer(given.layer)
    for recording, target in zip(given.recordings, targets, strict=True):
        began = time.perf_counter()
        frames, seconds = _extract(runtime, recording, target, given.layer)
        taken = time.perf_counter() - began
        sys.stderr.write(
            f"{target}: {frames} frames of {runtime.manifest.layers[given.layer]} channels from {seconds:.2f} s in "
            f"{taken:.2f} s ({seconds / taken:.0f} times real time, {runtime})\n"
        )
    return 0


def _targets(recordings: list[str], out: str) -> list[str]:
    """Files that the features of each recording go to.

    Raises:
        SeqgenError: where several would go to one place.
    """
    from seqgen.errors import SeqgenError

    folder = Path(out)
    if len(recordings) == 1 and not (folder.is_dir() or out.endswith("/")):
        return [out]
    if out == "-" or (folder.exists() and not folder.is_dir()):
        raise SeqgenError(f"{len(recordings)} recordings for {out}", remedy="give a folder with -o")
    names = [f"{'standard-input' if one == '-' else Path(one).stem}.npy" for one in recordings]
    for name, count in Counter(names).items():
        if count > 1:
            raise SeqgenError(f"{count} recordings would become {folder / name}", remedy="rename them, or take turns")
    folder.mkdir(parents=True, exist_ok=True)
    return [str(folder / name) for name in names]


def _extract(runtime: EncoderRuntime, recording: str, target: str, layer: str) -> tuple[int, float]:
    """Write the features of one recording whole or not at all; returns frames and seconds."""
    from seqgen.errors import SeqgenError
    from seqgen.files import inputs
    from seqgen.files.outputs import replacing, require_writable

    if target != "-":
        require_writable(target)
    with inputs.regular(recording) as place:
        if target != "-":
            with replacing(target, streaming=True) as file:
                return _write(runtime, place, file, layer)
        if sys.stdout.isatty():
            raise SeqgenError("-o - would write numbers to a terminal", remedy="redirect it, or give a file")
        return _write(runtime, place, sys.stdout.buffer, layer)


def _write(runtime: EncoderRuntime, place: Path, file: BinaryIO | Any, layer: str) -> tuple[int, float]:
    """Header, then the vectors as they are made; the header's count follows from the recording's."""
    from numpy.lib import format as npy

    from seqgen.audio import io
    from seqgen.audio.resample import resample_blocks, resampled_length
    from seqgen.errors import SeqgenError

    about, blocks = io.recording(place, _BLOCK)
    rate, hop = runtime.manifest.sample_rate, runtime.manifest.hop
    samples = resampled_length(about.samples, about.sample_rate, rate)
    frames, made = samples // hop, 0
    if not frames:
        raise SeqgenError(
            f"{place}: {samples} samples at {rate} Hz are shorter than a frame of {hop}",
            remedy="leave it out, or give a longer recording",
        )
    if about.sample_rate != rate:
        blocks = resample_blocks(blocks, about.sample_rate, rate)
    for vectors in runtime.stream(blocks, layer):
        if not made:  # with the first vectors, so that an early failure writes nothing
            shape = (frames, vectors.shape[1])
            npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(vectors.astype("<f4").tobytes())
        made += len(vectors)
    assert made == frames, f"{made} of {frames} frames"
    return frames, about.samples / about.sample_rate
