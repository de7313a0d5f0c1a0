"""``seqgen encode`` and ``seqgen decode``: recordings as the symbols of a speech codec, and back, streamed."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from seqgen import completion
from seqgen.registry import SPEECH_CODEC_RUNTIMES

if TYPE_CHECKING:  # what runs a bundle is imported when the command runs, so that help comes at once
    from typing import Any

    from seqgen.compression.code_file import CodeHeader, CodeReport
    from seqgen.compression.contract import Predictor
    from seqgen.manifest import SpeechCodecManifest
    from seqgen.runtime.contract import Floats
    from seqgen.runtime.speech_codec import SpeechCodec

_ENCODE = """\
A recording as a speech codec's symbols: the entries of a codebook that stand for its stretches, a few hundred to a few
thousand bits a second.

  seqgen encode codec/ in.wav -o codes.sgc
  seqgen decode codec/ codes.sgc -o out.wav --speaker theo
  seqgen encode codec/ in.wav -o codes.sgc --prior          # fewer bits, of a codec with a prior of its symbols

MODEL is the bundle of a codec, or the experiment that it would be exported of. Memory stays constant, and the symbols
are the same however a recording is cut. It has to have the codec's sample rate, or --resample; several channels are
averaged. What --prior writes can be decoded on the same kind of machine alone, with the same bundle, and is refused
elsewhere.
"""
_DECODE = """\
A recording of a speech codec's symbols, in the voice of a speaker whom the codec knows: that of the recording that was
encoded, or another one.

  seqgen decode codec/ codes.sgc -o out.wav --speaker theo
"""
_BLOCK = 1 << 16  # samples read at a time


def add_parsers(commands: Any) -> None:
    """Register both sub-commands."""
    raw = argparse.RawDescriptionHelpFormatter
    encode = commands.add_parser("encode", help="a recording as symbols", description=_ENCODE, formatter_class=raw)
    encode.add_argument("model", type=Path, metavar="MODEL", help="bundle of a speech codec, or its experiment")
    encode.add_argument("recording", metavar="FILE", help="wav, flac, ogg, mp3, …, or - for standard input")
    encode.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="file of symbols to write")
    encode.add_argument("--resample", action="store_true", help="a recording of another rate than the codec's")
    encode.add_argument("--prior", action="store_true", help="code the symbols by the codec's prior")
    encode.set_defaults(run=run_encode)
    decode = commands.add_parser("decode", help="symbols as a recording", description=_DECODE, formatter_class=raw)
    decode.add_argument("model", type=Path, metavar="MODEL", help="the codec that encoded it")
    decode.add_argument("codes", type=Path, metavar="FILE", help="what `seqgen encode` wrote")
    decode.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="wav, flac or ogg to write")
    decode.add_argument("--speaker", default="", help="whose voice (needed where there are several)")
    decode.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of what is drawn (1)")
    decode.add_argument("--seed", type=int, default=0, help="of the noise (0)")
    decode.set_defaults(run=run_decode)
    for one in (encode, decode):
        runtime = one.add_argument("--runtime", default="", help="that executes the bundle (default: the fastest)")
        completion.offer(runtime, SPEECH_CODEC_RUNTIMES)


@contextmanager
def _opened(path: Path, runtime: str) -> Iterator[SpeechCodec]:
    """The codec of a bundle, or of an experiment, which is exported for the occasion.

    Raises:
        SeqgenError: for a path that is neither, and for what is no codec.
    """
    from seqgen.bundle import Bundle, is_bundle
    from seqgen.runtime import open_speech_codec

    if is_bundle(path):
        yield open_speech_codec(Bundle.open(path), runtime)
        return
    from seqgen.cli.opened import opened
    from seqgen.tasks.contract import Exporting

    task, system = opened(path, objective=False)
    with tempfile.TemporaryDirectory() as scratch:
        yield open_speech_codec(task.export(system, Path(scratch) / "codec", Exporting()), runtime)


def _prior(codec: SpeechCodec) -> Predictor:
    """The prior of a codec's symbols.

    Raises:
        SeqgenError: where it has none.
    """
    from seqgen.compression.symbols import OfCodes

    return OfCodes(codec)


def run_encode(given: argparse.Namespace) -> int:
    """Encode once; bit rate, latency and speed are told on standard error."""
    from seqgen.audio import io
    from seqgen.audio.resample import resample_blocks, resampled_length
    from seqgen.compression import code_file
    from seqgen.errors import SeqgenError
    from seqgen.files import inputs
    from seqgen.files.outputs import replacing, require_writable

    require_writable(given.out)
    with inputs.regular(given.recording) as place, _opened(given.model, given.runtime) as codec:
        manifest, prior, began = codec.manifest, _prior(codec) if given.prior else None, time.perf_counter()
        about, blocks = io.recording(place, _BLOCK)
        if about.sample_rate != manifest.sample_rate:
            if not given.resample:
                raise SeqgenError(
                    f"{place}: {about.sample_rate} Hz, the codec has {manifest.sample_rate} Hz",
                    remedy="give --resample, or a recording of this rate",
                )
            blocks = resample_blocks(blocks, about.sample_rate, manifest.sample_rate)
        samples = resampled_length(about.samples, about.sample_rate, manifest.sample_rate)
        header = code_file.CodeHeader.of(manifest, samples, prior)
        with replacing(given.out) as file:
            report = code_file.write(file, header, codec.encode(blocks), prior)
    seconds, taken = samples / manifest.sample_rate, time.perf_counter() - began
    latency = " + ".join(f"{1000 * one:.1f}" for one in manifest.latencies)
    sys.stderr.write(
        f"{given.out}: {header.positions} positions of {seconds:.2f} s, {report.size} bytes; "
        f"{_rates(manifest, header, report)}; latency {latency} ms; {taken:.2f} s, "
        f"{seconds / taken:.0f} times real time\n"
    )
    return 0


def _rates(manifest: SpeechCodecManifest, header: CodeHeader, report: CodeReport) -> str:
    """Bits a second of a file's symbols, of what their prior claims, and of the whole file."""
    seconds = max(header.samples / header.sample_rate, 1e-9)
    whole = f"{8 * report.size / seconds:.0f} with all of the file"
    if header.coding is None:
        return f"{manifest.bit_rate:.0f} bits a second ({whole})"
    return (
        f"{8 * report.code / seconds:.0f} bits a second by the prior, which claims {report.claimed / seconds:.0f} "
        f"({whole}), and {manifest.bit_rate:.0f} without it"
    )


def run_decode(given: argparse.Namespace) -> int:
    """Decode once; how fast it went is told on standard error."""
    from seqgen.audio import io
    from seqgen.compression.code_file import CodeFile
    from seqgen.errors import SeqgenError
    from seqgen.files.outputs import require_writable

    require_writable(given.out)
    if not given.temperature >= 0:
        raise SeqgenError(f"--temperature {given.temperature}", remedy="give 0 or more")
    with CodeFile(given.codes) as codes, _opened(given.model, given.runtime) as codec:
        codes.header.require_made_by(codec.manifest, str(given.codes))
        codec.require_speaker(given.speaker)
        symbols = codes.symbols(None if codes.header.coding is None else _prior(codec))
        began = time.perf_counter()
        blocks = codec.decode(symbols, speaker=given.speaker, seed=given.seed, temperature=given.temperature)
        io.write_blocks(given.out, _first(blocks, codes.header.samples), codec.manifest.sample_rate)
        seconds, taken = codes.header.samples / codec.manifest.sample_rate, time.perf_counter() - began
    sys.stderr.write(
        f"{given.out}: {seconds:.2f} s of audio in {taken:.2f} s ({seconds / taken:.0f} times real time, {codec})\n"
    )
    return 0


def _first(blocks: Iterator[Floats], samples: int) -> Iterator[Floats]:
    """The first so many samples of blocks, whatever comes behind."""
    for block in blocks:
        yield block[:samples]
        samples = max(0, samples - len(block))
