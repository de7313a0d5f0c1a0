"""Attacks on a server over plain sockets: what hostile, broken and careless clients do, each for a few seconds."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

Attack = Callable[["Hostile"], Awaitable[None]]
PATIENCE = 20.0
"""Seconds after which an attack gives up."""


@dataclass
class Hostile:
    """Client that means no good: where it goes, and its chance; voice and text model that it asks for."""

    host: str
    port: int
    rng: random.Random
    voice: str
    model: str
    hold: float = 3.0

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection from one of many addresses, for what one address may hold has a limit."""
        source = (f"127.0.0.{self.rng.randint(2, 250)}", 0)
        reader, writer = await asyncio.open_connection(self.host, self.port, local_addr=source)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def send(self, data: bytes, *, wait: float = PATIENCE) -> bytes:
        """Send bytes; what came back until the server closed, or the patience was over."""
        async with self.connected() as (reader, writer):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(wait):
                    writer.write(data)
                    await writer.drain()
                    return await reader.read()
        return b""

    async def post(self, body: bytes, query: str = "format=pcm", *extra: str, wait: float = PATIENCE) -> bytes:
        """A whole ``POST /v1/vocode``."""
        return await self.send(self.head("POST", f"/v1/vocode?{query}", len(body), *extra) + body, wait=wait)

    def head(self, method: str, target: str, length: int, *extra: str) -> bytes:
        """Head of a request whose connection closes after it."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}:{self.port}", f"Content-Length: {length}"]
        return "\r\n".join([*lines, "Connection: close", *extra, "", ""]).encode()

    @contextlib.asynccontextmanager
    async def websocket(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection after the upgrade, whatever the answer to it was."""
        async with self.connected() as (reader, writer):
            key = base64.b64encode(self.rng.randbytes(16)).decode()
            lines = [f"GET /v1/stream?voice={self.voice} HTTP/1.1", f"Host: {self.host}:{self.port}"]
            lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
            writer.write("\r\n".join([*lines, f"Sec-WebSocket-Key: {key}", "", ""]).encode())
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(PATIENCE):
                    await reader.readuntil(b"\r\n\r\n")
            yield reader, writer

    def frame(self, payload: bytes, opcode: int = 1) -> bytes:
        """A masked frame of a client."""
        mask, size = self.rng.randbytes(4), len(payload)
        extent = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        return bytes([0x80 | opcode]) + extent + mask + masked


def encoded(form: str, seconds: float = 1.0) -> bytes:
    """A recording of noise in a container."""
    buffer = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)
    soundfile.write(buffer, samples, 16_000, format=form)
    return buffer.getvalue()


async def cut_recording(one: Hostile) -> None:
    data = encoded(one.rng.choice(["FLAC", "OGG", "WAV", "AIFF"]))
    await one.post(data[: one.rng.randrange(len(data))])


async def flipped_recording(one: Hostile) -> None:
    data = bytearray(encoded(one.rng.choice(["FLAC", "OGG", "WAV"])))
    for _ in range(20):
        data[one.rng.randrange(len(data))] ^= 1 << one.rng.randrange(8)
    await one.post(bytes(data))


async def empty_chunks(one: Hostile) -> None:
    await one.post(b"RIFF\xff\xff\xff\xffWAVE" + b"junk\0\0\0\0" * (1 << 20))


async def empty_pages(one: Hostile) -> None:
    page = b"OggS" + bytes([0, 0]) + bytes(8) + b"\1\0\0\0" + bytes(8) + b"\1" + b"\0"
    await one.post(page * (1 << 18), "format=opus")


async def great_header(one: Hostile) -> None:
    kind = "Content-Type: application/x-safetensors"
    await one.post(struct.pack("<Q", 1 << 40) + b"{" * (1 << 20), "format=pcm", kind)


async def rubbish(one: Hostile) -> None:
    await one.post(one.rng.randbytes(one.rng.choice([0, 1, 100, 1 << 20])), one.rng.choice(["format=flac", "seed=1"]))


async def half_a_head(one: Hostile) -> None:
    async with one.connected() as (_, writer):
        writer.write(b"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nContent-Le")
        await asyncio.sleep(one.hold)


async def silence(one: Hostile) -> None:
    async with one.connected():
        await asyncio.sleep(one.hold)


async def drip(one: Hostile) -> None:
    async with one.connected() as (_, writer):
        writer.write(one.head("POST", "/v1/vocode?format=pcm", 1 << 20))
        for _ in range(int(10 * one.hold)):
            writer.write(b"x")
            await asyncio.sleep(0.1)


async def no_body(one: Hostile) -> None:
    await one.send(one.head("POST", "/v1/vocode?format=wav", 30 << 20), wait=one.hold)


async def great_body(one: Hostile) -> None:
    await one.post(bytes(8 << 20))


async def odd_path(one: Hostile) -> None:
    paths = ["/v1/vocode%0A", "//v1/vocode", "/v1/../v1/vocode", "/v1/vocode/", "/%00", "/v1/audio/..%2f..%2fetc"]
    await one.send(one.head("POST", one.rng.choice(paths), 0))


async def two_lengths(one: Hostile) -> None:
    await one.send(one.head("POST", "/v1/vocode", 5, "Transfer-Encoding: chunked") + b"0\r\n\r\n")


async def strangers_page(one: Hostile) -> None:
    head = one.head("GET", "/v1/audio/voices", 0, "Origin: http://evil.example")
    await one.send(head.replace(f"{one.host}:{one.port}".encode(), b"evil.example"))


async def leaves_while_it_sounds(one: Hostile) -> None:
    async with one.connected() as (reader, writer):
        body = encoded("WAV", 3.0)
        writer.write(one.head("POST", "/v1/vocode?format=pcm", len(body)) + body)
        with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError, OSError):
            async with asyncio.timeout(one.rng.uniform(0, 1)):
                await reader.readexactly(1 << 20)


async def reads_slowly(one: Hostile) -> None:
    async with one.connected() as (reader, writer):
        body = encoded("WAV", 3.0)
        writer.write(one.head("POST", "/v1/vocode?format=wav", len(body)) + body)
        for _ in range(int(5 * one.hold)):
            await reader.read(1)
            await asyncio.sleep(0.2)


async def old_client(one: Hostile) -> None:
    body = encoded("FLAC", 0.2)
    head = one.head("POST", "/v1/vocode?format=wav", len(body)).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with one.connected() as (reader, writer):
        writer.write(head + body)
        writer.write_eof()
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(PATIENCE):
                await reader.read()


HOSTILE_INITS = (
    '{"type": "init", "input": "audio", "temperature": ' + "9" * 401 + "}",
    '{"type": "init", "input": "audio", "temperature": NaN}',
    '{"type": "init", "input": "audio", "rate": 1e400}',
    '{"type": "init", "input": "audio", "rate": -1, "seed": ' + "9" * 50 + "}",
    '{"type": "init", "input": "features", "signature": "' + "x" * 5000 + '"}',
    '{"type": "init", "input": ' + "[" * 5000 + "}",
    '{"type": "init", "context": 1e9, "input": "audio"}',
    '{"type": "init", "input": "audio", "speaker": {"a": []}, "format": null}',
    '{"type": "init", "resume": "AAAA", "utterance": 99999999999999999999, "offset": -1}',
    '{"type": "\\ud800"}',
    "null",
)


async def hostile_init(one: Hostile) -> None:
    async with one.websocket() as (reader, writer):
        writer.write(one.frame(one.rng.choice(HOSTILE_INITS).encode()))
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(1.0):
                await reader.read(1 << 16)


async def one_frame_and_no_more(one: Hostile) -> None:
    async with one.websocket() as (_, writer):
        writer.write(one.frame(json.dumps({"type": "init", "input": "audio", "encoding": "s16le"}).encode()))
        writer.write(one.frame(bytes(4 + 320), 2))
        await asyncio.sleep(one.hold)


async def pings_without_reading(one: Hostile) -> None:
    async with one.websocket() as (_, writer):
        ping = one.frame(os.urandom(125), 9)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(one.hold):
                for _ in range(2000):
                    writer.write(ping * 16)
                    await writer.drain()


async def flushes_and_cancels(one: Hostile) -> None:
    async with one.websocket() as (_, writer):
        writer.write(one.frame(json.dumps({"type": "init", "input": "audio", "encoding": "s16le"}).encode()))
        for _ in range(100):
            writer.write(one.frame(bytes(4 + 640), 2))
            writer.write(one.frame(json.dumps({"type": one.rng.choice(["flush", "cancel", "close"])}).encode()))
        await asyncio.sleep(0.2)


async def broken_frames(one: Hostile) -> None:
    async with one.websocket() as (_, writer):
        writer.write(one.rng.choice([b"\xff\xff" * 50, b"\x82\xff" + b"\x7f" * 8, one.rng.randbytes(500)]))
        await asyncio.sleep(0.2)


async def many_contexts(one: Hostile) -> None:
    async with one.websocket() as (_, writer):
        for context in range(100):
            init = {"type": "init", "context": context, "input": "audio", "rate": 384_000}
            writer.write(one.frame(json.dumps(init).encode()))
        await asyncio.sleep(one.hold)


ATTACKS: tuple[Attack, ...] = (
    cut_recording, flipped_recording, empty_chunks, empty_pages, great_header, rubbish, half_a_head, silence, drip,
    no_body, great_body, odd_path, two_lengths, strangers_page, leaves_while_it_sounds, reads_slowly, old_client,
    hostile_init, one_frame_and_no_more, pings_without_reading, flushes_and_cancels, broken_frames, many_contexts,
)  # fmt: skip


async def besiege(one: Hostile, attacks: Sequence[Attack], attackers: int, until: Callable[[], bool]) -> dict[str, int]:
    """So many attackers at once, attack after attack in random order; how often each attack was made.

    Every attack is made once at least, however soon it is over.
    """
    made: dict[str, int] = {attack.__name__: 0 for attack in attacks}
    waiting = list(attacks)
    one.rng.shuffle(waiting)

    async def attacker() -> None:
        while waiting or not until():
            attack = waiting.pop() if waiting else one.rng.choice(attacks)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await attack(one)
            made[attack.__name__] += 1

    await asyncio.gather(*(attacker() for _ in range(attackers)))
    return made
