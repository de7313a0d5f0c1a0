"""``seqgen-serve``: stream a voice over HTTP, or vocode one file."""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from seqgen.audio.io import pcm16, replacing, wav_header, write_blocks
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from serving.protocol import Limits
from serving.shelf import Fixed, open_voice
from serving.source import from_path
from serving.vocoder import Settings, Vocoder, VoiceFailure

_SEND_BUFFER = 128 << 10  # bytes the kernel may hold for one slow reader; its default grows to megabytes
_MEBIBYTE = 1 << 20

_ABOUT = """\
Stream a seqgen voice from a CPU, without PyTorch.

A voice is a bundle made by `seqgen export`. `vocode` turns one recording (or a file of log-mel features) into the
voice's sound and back into audio; `serve` does the same for many listeners over HTTP."""

_VOCODE_EXAMPLES = """\
examples:
  seqgen-serve vocode in.wav -o out.wav --voice exp/voice
  seqgen-serve vocode in.flac -o - --voice exp/voice | aplay
  seqgen-serve vocode mel.safetensors -o - --raw --voice exp/voice | aplay -f S16_LE -r 16000"""

_SERVE_EXAMPLES = """\
examples:
  seqgen-serve serve --voice exp/voice
  curl --data-binary @in.wav 'http://127.0.0.1:8080/v1/vocode?seed=1' > out.wav
  curl -N --data-binary @in.wav 'http://127.0.0.1:8080/v1/vocode?format=pcm' | aplay -f S16_LE -r 16000

SIGTERM and Ctrl-C finish the streams under way (at most --drain seconds), then the server exits."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for an error told in one line, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (SeqgenError, VoiceFailure) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except BrokenPipeError:
        # Keeps the interpreter's own flush at exit from failing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.write("error: the reader of the output went away\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("seqgen-serve", description=_ABOUT, formatter_class=plain)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _serve_options(
        commands.add_parser("serve", help="stream a voice over HTTP", epilog=_SERVE_EXAMPLES, formatter_class=plain)
    )
    _vocode_options(
        commands.add_parser("vocode", help="vocode one file", epilog=_VOCODE_EXAMPLES, formatter_class=plain)
    )
    return parser


def _serve_options(serve: argparse.ArgumentParser) -> None:
    _voice(serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    serve.add_argument("--port", type=_port, default=8080, help="port; 0 picks a free one (default: %(default)s)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name, default, meaning in (
        ("--threads", min(2, cores), "workers"),
        ("--slots", 8, "streams at once; more get 503"),
        ("--max-seconds", 600, "longest recording taken"),
        ("--max-body", 32, "largest request body in MiB"),
        ("--drain", 30, "seconds to finish streams in when stopped"),
    ):
        serve.add_argument(name, type=_positive, default=default, help=f"{meaning} (default: %(default)s)")
    serve.set_defaults(command=_serve)


def _vocode_options(vocode: argparse.ArgumentParser) -> None:
    _voice(vocode)
    vocode.add_argument("input", help="WAV, FLAC or OGG of any rate, or log-mel features (.safetensors)")
    vocode.add_argument(
        "-o", "--output", required=True, help="file to write (.wav, .flac, .ogg), or - to stream to standard output"
    )
    vocode.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)")
    vocode.add_argument("--temperature", type=float, default=1.0, help="0 to 2; 1 is as trained (default: %(default)s)")
    vocode.add_argument("--speaker", help="one of the voice's speakers, where it has several")
    vocode.add_argument("--raw", action="store_true", help="16-bit little-endian samples without a WAV header")
    vocode.add_argument(
        "--json",
        action="store_true",
        help="give the times as one JSON object, on standard output unless the sound goes there",
    )
    vocode.set_defaults(command=_vocode)


def _voice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--voice", required=True, metavar="BUNDLE", help="directory made by `seqgen export`")


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; give 0 to 65535")
    return int(text)


def _open(voice: str) -> Vocoder:
    bundle = Bundle.open(Path(voice))
    return Vocoder(bundle, open_runtime(bundle, threads=1))


@dataclass
class _Clock:
    """Passes audio on and notes when it came."""

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


def _vocode(options: argparse.Namespace) -> int:
    began = time.perf_counter()
    vocoder = _open(options.voice)
    settings = Settings(options.seed, options.temperature, options.speaker)
    vocoder.check(settings)
    loaded = time.perf_counter() - began
    clock = _Clock(vocoder.sample_rate)
    audio = clock.watch(vocoder.run(from_path(options.input, vocoder.features), settings))
    if options.output == "-":
        _stream(sys.stdout.buffer, audio, b"" if options.raw else wav_header(vocoder.sample_rate, samples=None))
    elif options.raw:
        with replacing(options.output) as file:
            _stream(file, audio, b"")
    else:
        write_blocks(options.output, audio, vocoder.sample_rate)
    report = clock.report() | {"load_seconds": round(loaded, 4)}
    if options.json:
        (sys.stderr if options.output == "-" else sys.stdout).write(json.dumps(report) + "\n")
    else:
        sys.stderr.write(
            f"{report['audio_seconds']:.2f} s of audio in {report['wall_seconds']:.2f} s: real-time factor "
            f"{report['real_time_factor']:.3f}, first audio after {report['first_audio_ms']:.1f} ms "
            f"(voice loaded in {loaded:.2f} s)\n"
        )
    return 0


def _stream(out: BinaryIO | Any, audio: Iterator[npt.NDArray[np.float32]], prefix: bytes) -> None:
    """Write each chunk when it is made; the prefix goes with the first, so an early failure writes nothing."""
    for chunk in audio:
        out.write(prefix + pcm16(chunk).astype("<i2").tobytes())
        out.flush()
        prefix = b""


def _serve(options: argparse.Namespace) -> int:
    # The web server is not needed to vocode a file, so it is imported here.
    import uvicorn

    from serving.app import App

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    voice = open_voice(Path(options.voice))
    vocoder = voice.vocoder
    listener = _listen(options.host, options.port)
    limits = Limits(body=options.max_body * _MEBIBYTE, sound=float(options.max_seconds))
    app = App(Fixed(voice), threads=options.threads, slots=options.slots, limits=limits)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=options.drain,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            voice = f"voice '{vocoder.name}' at {vocoder.sample_rate} Hz through {vocoder.runtime}"
            sys.stdout.write(f"ready: {voice} on http://{shown}:{port}\n")
            sys.stdout.flush()

    Server(config).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; connections are accepted once the server starts.

    Raises:
        SeqgenError: for an address that cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SeqgenError(
            f"cannot listen on {host}:{port} ({reason})", remedy="choose another --host or --port"
        ) from None
    return listener


if __name__ == "__main__":
    sys.exit(main())
