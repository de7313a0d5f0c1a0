"""Load test of a server: listeners in real time or readers over real sockets, what they get, and what it costs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.errors import SeqgenError
from serving.completions.load import ReaderReport, run_readers
from serving.scheduling.playback import PREBUFFER
from serving.speech.load import Readings

UTTERANCE = 5.0
"""Duration in seconds of one utterance; then the next begins, so that first sounds are counted often."""
AHEAD = 1.0
"""Seconds of features sent before their time, as an acoustic model faster than real time would."""
_PIECE = 0.1
_READY = re.compile(r"ready: .+ on (http://\S+)")


@dataclass
class ListenerReport:
    """Measurements of all listeners together."""

    first: list[float] = field(default_factory=list)  # seconds from the features to the first sound
    underruns: int = 0
    late: float = 0.0  # the longest silence in seconds
    refused: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def play(self, seconds: float, began: float, dry: float) -> float:
        """Count sound that has come, of an utterance that was asked for at ``began``; when there will be no more of it.

        ``dry`` is what this returned for the sound before, 0 where there was none. The first sound is held back for
        ``PREBUFFER`` seconds.
        """
        now = time.monotonic()
        if not dry:
            self.first.append(now - began)
            dry = now + PREBUFFER
        elif now > dry:
            self.underruns += 1
            self.late = max(self.late, now - dry)
            dry = now
        self.seconds += seconds
        return dry + seconds


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """Running server and the voice to listen to."""

    url: str
    voice: str
    sample_rate: int
    signature: str
    hop: int
    bands: int
    speaker: str | None
    reads: bool

    @staticmethod
    def of(url: str, voice: str | None = None) -> BenchTarget:
        """Ask a server for its voices; the first, where none is named.

        Raises:
            SeqgenError: where it does not answer or has no such voice.
        """
        rows = _listed(url, "/v1/audio/voices", "voices")
        row = next((row for row in rows if voice in (None, row["id"])), None)
        if row is None:
            raise SeqgenError(f"{url}: no voice '{voice}'", remedy=f"voices: {', '.join(row['id'] for row in rows)}")
        return BenchTarget(
            url,
            row["id"],
            row["sample_rate"],
            row["feature_signature"],
            row["hop"],
            row["bands"],
            row["speakers"][0] if row["speakers"] else None,
            row["reads"],
        )


def _listed(url: str, path: str, key: str) -> list[dict[str, Any]]:
    """Rows of a server's list.

    Raises:
        SeqgenError: where it does not answer.
    """
    try:
        with urllib.request.urlopen(url + path, timeout=10) as answer:
            rows: list[dict[str, Any]] = json.load(answer)[key]
            return rows
    except (OSError, ValueError, KeyError) as error:
        raise SeqgenError(f"{url}: no seqgen-serve answers there ({error})", remedy="start one first") from None


async def listen(target: BenchTarget, number: int, until: float, heard: ListenerReport) -> None:
    """Listen as one listener: utterance after utterance, until the time is over."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    url = target.url.replace("http", "ws", 1) + f"/v1/stream?voice={target.voice}"
    try:
        async with connect(url, compression=None, max_queue=None) as sock:
            init = {"type": "init", "input": "features", "signature": target.signature, "seed": number}
            await sock.send(json.dumps(init | ({"speaker": target.speaker} if target.speaker else {})))
            await sock.recv()
            while time.monotonic() < until:
                await _utterance(sock, target, until, heard)
    except InvalidStatus as error:
        if error.response.status_code == 503:
            heard.refused += 1
        else:
            heard.failed.append(f"HTTP {error.response.status_code}")
    except (ConnectionClosed, OSError) as error:
        heard.failed.append(str(error))


async def _utterance(sock: Any, target: BenchTarget, until: float, heard: ListenerReport) -> None:
    frame = target.hop / target.sample_rate
    piece = max(1, round(_PIECE / frame))
    features = np.random.default_rng(0).normal(-5, 2, (piece, target.bands)).astype("<f4").tobytes()
    began = time.monotonic()
    pieces = max(1, round(min(UTTERANCE, max(until - began, AHEAD)) / (piece * frame)))

    async def send() -> None:
        for i in range(pieces):
            await asyncio.sleep(began + i * piece * frame - AHEAD - time.monotonic())
            await sock.send(bytes(4) + features)
        await sock.send('{"type": "flush"}')

    sending = asyncio.create_task(send())
    dry = 0.0
    while isinstance(message := await sock.recv(), bytes):
        dry = heard.play((len(message) - 4) / 2 / target.sample_rate, began, dry)
    await sending
    if (fields := json.loads(message))["type"] != "flushed":
        heard.failed.append(fields.get("message", ""))
        raise OSError(fields.get("message", ""))
    await asyncio.sleep(dry - time.monotonic())  # it plays to its end


def run_listeners(target: BenchTarget, streams: int, seconds: float) -> ListenerReport:
    """Measurements of that many listeners for that long, who come within the first second."""

    async def everybody() -> ListenerReport:
        heard, until = ListenerReport(), time.monotonic() + seconds

        async def one(number: int) -> None:
            await asyncio.sleep(number / streams)
            await listen(target, number, until, heard)

        await asyncio.gather(*(one(number) for number in range(streams)))
        return heard

    return asyncio.run(everybody())


def run_readings(target: BenchTarget, texts: Sequence[str], streams: int, seconds: float) -> ListenerReport:
    """Measurements of that many listeners for that long, to whom texts are read."""
    heard = ListenerReport()
    Readings(target.url, target.voice, target.sample_rate, texts, heard).run(streams, seconds)
    return heard


@contextmanager
def server(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Server in a process of its own, with such options; gives it and its address.

    Raises:
        SeqgenError: with what it said, where it does not start.
    """
    command = [sys.executable, "-m", "serving.cli", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = _READY.match(process.stdout.readline())
        if found is None:
            raise SeqgenError("the server did not start", remedy="its own message is above")
        yield process, found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Processor time and memory that processes have used.

    Attributes:
        seconds: of processor time, all together. resident: bytes in memory, what they share counted for each of them.
        proportional: bytes of each, the first of them first, where of what several share each has its part.
    """

    seconds: float
    resident: int
    proportional: tuple[int, ...]

    @staticmethod
    def of(process: int) -> ProcessUsage:
        """Read from /proc, with its child processes and theirs."""
        total, resident, proportional = 0.0, 0, []
        for pid in [process, *_children(process)]:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            resident += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            shared = re.search(r"^Pss: +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            assert shared is not None
            proportional.append(int(shared[1]) << 10)
        return ProcessUsage(total, resident, tuple(proportional))


def _children(process: int) -> list[int]:
    # Of every thread: a child belongs to the one that started it.
    lists = Path(f"/proc/{process}/task").glob("*/children")
    own = [int(pid) for children in lists for pid in children.read_text().split()]
    return [pid for child in own for pid in (child, *_children(child))]


def run(arguments: tuple[str, ...], *, streams: int, seconds: float, texts: Sequence[str] = ()) -> dict[str, Any]:
    """Figures of a server with such options under load: it is started, listened to and stopped.

    Raises:
        SeqgenError: where it does not start, or is to read texts and cannot.
    """
    with server(*arguments) as (process, url):
        name, load = _load(url, texts)
        load(1, 1.0)  # what is set up lazily is not the listeners' business
        before, began = ProcessUsage.of(process.pid), time.monotonic()
        got, wall, after = _watched(partial(load, streams, seconds), seconds, process.pid, began)
        spent = ProcessUsage.of(process.pid).seconds - before.seconds
        sound = got.seconds if isinstance(got, ListenerReport) else 0.0
    grown = sum(after.proportional) - sum(before.proportional)
    return (
        {"voice": name, "streams": streams, "seconds": seconds}
        | (got.figures() if isinstance(got, ReaderReport) else report(got))
        | ({"real_time_factor": round(spent / sound, 4)} if sound else {})
        | {
            "cpu_percent": round(100 * (after.seconds - before.seconds) / wall, 1),
            "rss_mb": round(after.resident / 2**20, 1),
            "pss_mb": round(sum(after.proportional) / 2**20, 1),
            "pss_mb_each": [round(size / 2**20, 1) for size in after.proportional],
            "pss_mb_before": round(sum(before.proportional) / 2**20, 1),
            "per_stream_mb": round(grown / 2**20 / max(1, streams - got.refused), 3),
        }
    )


def _load(url: str, texts: Sequence[str]) -> tuple[str, Callable[[int, float], ListenerReport | ReaderReport]]:
    """Name of the first voice of a server, and its listeners; or where it has none, of its first text model."""
    if _listed(url, "/v1/audio/voices", "voices"):
        target = BenchTarget.of(url)
        if texts and not target.reads:
            raise SeqgenError(f"voice '{target.voice}' does not read", remedy="give one that does, or no --text")
        return target.voice, partial(run_readings, target, texts) if texts else partial(run_listeners, target)
    rows = _listed(url, "/v1/models", "data")
    if not rows:
        raise SeqgenError(f"{url}: there is nothing to measure", remedy="give a voice or a text model")
    return rows[0]["id"], partial(run_readers, url, rows[0]["id"])


def _watched(
    load: Callable[[], ListenerReport | ReaderReport], seconds: float, pid: int, began: float
) -> tuple[ListenerReport | ReaderReport, float, ProcessUsage]:
    """Measurements of the load, with the server looked at shortly before it ends, while everybody still listens."""

    async def both() -> tuple[ListenerReport | ReaderReport, float, ProcessUsage]:
        listening = asyncio.create_task(asyncio.to_thread(load))
        await asyncio.sleep(max(0.5, seconds - 0.5))
        wall, usage = time.monotonic() - began, ProcessUsage.of(pid)
        return await listening, wall, usage

    return asyncio.run(both())


def report(heard: ListenerReport) -> dict[str, Any]:
    """Figures of the listeners, as they are printed."""
    first = np.array(heard.first or [float("nan")]) * 1000
    return {
        "underruns": heard.underruns,
        "longest_silence_ms": round(1000 * heard.late, 1),
        "first_audio_ms_p50": round(float(np.quantile(first, 0.5)), 2),
        "first_audio_ms_p99": round(float(np.quantile(first, 0.99)), 2),
        "first_audio_count": len(heard.first),
        "refused": heard.refused,
        "failed": len(heard.failed),
        "audio_seconds": round(heard.seconds, 2),
    }
