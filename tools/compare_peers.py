"""The same voice and listeners on seqgen-serve and on a plain FastAPI and onnxruntime server, one after the other.

    python tools/compare_peers.py --voice egs/demo/voice --listeners 1 4 8 16 --seconds 30

A listener asks for 5 s of sound over HTTP, all features in the body, plays it from 40 ms after its first bytes on, and
asks for the next when it has been played. An under-run is sound that comes to a player that has run dry. The client is
the same for both; each server is started anew for each number of listeners. Prints a table for serving/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqgen.audio.features import save_features
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import VocoderManifest
from serving.client import bench

PEER = Path(__file__).with_name("peer_fastapi.py")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its process, where it listens, what to ask and with which body."""

    pid: int
    port: int
    target: str
    body: bytes


async def utterance(server: Server, rate: int, heard: bench.ListenerReport) -> None:
    """One request, played to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        length = f"Content-Length: {len(server.body)}\r\nConnection: close\r\n\r\n"
        began, dry = time.monotonic(), 0.0
        writer.write(f"POST {server.target} HTTP/1.1\r\nHost: localhost\r\n{length}".encode() + server.body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            heard.refused += 1
            return
        while size := int(await reader.readline(), 16):  # chunked, both of them
            sound = await reader.readexactly(size + 2)
            dry = heard.play((len(sound) - 2) / 2 / rate, began, dry)
    except (OSError, EOFError, ValueError) as error:
        heard.failed.append(str(error))
        return
    finally:
        writer.close()
    await asyncio.sleep(dry - time.monotonic())


async def listen(server: Server, rate: int, listeners: int, seconds: float) -> tuple[bench.ListenerReport, float]:
    """So many listeners for so long; also the server's processor time in percent of a core."""
    heard, until = bench.ListenerReport(), time.monotonic() + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(number / listeners)
        while time.monotonic() < until:
            lost = heard.refused + len(heard.failed)
            await utterance(server, rate, heard)
            if heard.refused + len(heard.failed) > lost:
                await asyncio.sleep(1.0)  # before asking again

    before, began = bench.ProcessUsage.of(server.pid).seconds, time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds + 2 * bench.UTTERANCE):  # a server that is far behind is not waited for
            await asyncio.gather(*(one(number) for number in range(listeners)))
    used, wall = bench.ProcessUsage.of(server.pid).seconds - before, time.monotonic() - began
    return heard, 100 * used / wall


@contextmanager
def ours(voice: Path, frames: np.ndarray, threads: int) -> Iterator[Server]:
    """seqgen-serve."""
    with tempfile.TemporaryDirectory() as folder, bench.server("--voice", str(voice), "--threads", str(threads)) as run:
        process, url = run
        path = Path(folder) / "features.safetensors"
        save_features(path, frames, Bundle.open(voice).require(VocoderManifest).features)
        yield Server(process.pid, int(url.rsplit(":", 1)[1]), "/v1/vocode?format=pcm", path.read_bytes())


@contextmanager
def plain(voice: Path, frames: np.ndarray, threads: int) -> Iterator[Server]:
    """FastAPI and onnxruntime, which choose their threads themselves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(PEER), str(voice), str(port)])
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield Server(process.pid, port, "/vocode", frames.astype("<f4").tobytes())
    finally:
        process.terminate()
        process.wait(30)


SERVERS = {"seqgen-serve": ours, "FastAPI and onnxruntime": plain}


def main(arguments: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--voice", type=Path, default=Path("egs/demo/voice"))
    parser.add_argument("--listeners", type=int, nargs="+", default=[1, 4, 8, 16])
    for name, default in (("--seconds", 30), ("--threads", 2)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args(arguments)
    features = Bundle.open(given.voice).require(VocoderManifest).features
    count = round(bench.UTTERANCE * features.sample_rate / features.hop)
    frames = np.random.default_rng(0).normal(-5, 2, (count, features.n_mels)).astype(np.float32)
    out = sys.stdout
    out.write("| listeners | server | first audio p50, p99 (ms) | under-runs (longest, ms) | sound (s) | processor |\n")
    out.write("|---|---|---|---|---|---|\n")
    for listeners in given.listeners:
        for name, start in SERVERS.items():
            with start(given.voice, frames, given.threads) as server:
                asyncio.run(
                    utterance(server, features.sample_rate, once := bench.ListenerReport())
                )  # what is set up lazily
                if not once.first:
                    raise SeqgenError(f"{name} makes no sound ({once.failed or 'refused'})", remedy="see its log")
                heard, used = asyncio.run(listen(server, features.sample_rate, listeners, given.seconds))
            told = bench.report(heard)
            extra = "".join(f", {told[key]} {key}" for key in ("refused", "failed") if told[key])
            first = f"{told['first_audio_ms_p50']}, {told['first_audio_ms_p99']}"
            gaps = f"{told['underruns']} ({told['longest_silence_ms']}){extra}"
            out.write(f"| {listeners} | {name} | {first} | {gaps} | {told['audio_seconds']} | {used:.0f} % |\n")
            out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
