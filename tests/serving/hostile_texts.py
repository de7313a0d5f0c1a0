"""Attacks on a server's completions: texts that are left, not read, not JSON, without end or without sense."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from tests.serving.hostile import PATIENCE, Attack, Hostile

LONGEST = 4096
"""Symbols of the longest completion that the server makes."""
PROMPT = 1 << 16
"""Bytes of the longest prompt that it reads."""


def asking(one: Hostile, body: bytes | None = None, **more: Any) -> bytes:
    """A whole ``POST /v1/completions``."""
    asked = {"model": one.model, "prompt": "abc", "max_tokens": LONGEST, "stream": True, **more}
    body = json.dumps(asked).encode() if body is None else body
    return one.head("POST", "/v1/completions", len(body)) + body


async def leaves_a_text(one: Hostile) -> None:
    """Before its first event, between two, or in the middle of one."""
    async with one.connected() as (reader, writer):
        writer.write(asking(one))
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(one.rng.uniform(0, one.hold)):
                await reader.readexactly(one.rng.choice([0, 1, 300, 701, 20_000]))


async def leaves_a_whole_text(one: Hostile) -> None:
    await one.send(asking(one, stream=False, prompt=["a"] * 16), wait=one.rng.uniform(0, one.hold))


async def reads_a_text_slowly(one: Hostile) -> None:
    async with one.connected() as (reader, writer):
        writer.write(asking(one, logprobs=5))
        for _ in range(int(5 * one.hold)):
            await reader.read(1)
            await asyncio.sleep(0.2)


async def never_reads_a_text(one: Hostile) -> None:
    async with one.connected() as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(asking(one, logprobs=5, prompt=["a" * 999] * 16, echo=True))
        await asyncio.sleep(one.hold)


async def long_prompt(one: Hostile) -> None:
    """As long as is taken; its reading is cut short, or its text is."""
    await one.send(asking(one, prompt="ab" * (PROMPT // 2)), wait=one.rng.uniform(0, one.hold))


async def giant_prompt(one: Hostile) -> None:
    await one.send(asking(one, prompt="a" * one.rng.choice([PROMPT + 1, 1 << 20, 8 << 20])))


async def prompt_that_never_comes(one: Hostile) -> None:
    whole = asking(one, prompt="a" * PROMPT)
    async with one.connected() as (_, writer):
        writer.write(whole[: one.rng.randrange(len(whole))])
        await asyncio.sleep(one.hold)


BROKEN = (
    b"", b"{", b"null", b"[]", b'"a"', b"5", b"\xff\xfe\x00", b'{"model": "\xff\xfe", "prompt": "\xc3("}',
    b"[" * 100_000, b'{"a":' * 50_000, b"1" * 300_000, b'{"prompt": 1' + b"0" * 100_000 + b"}",
    b'{"model": "%s", "prompt": "\\ud800"}', b'{"model": "%s", "prompt": "a", "\\udfff": 1}',
    b'{"model": "%s", "prompt": "a", "stream": true, "stream_options": {"\\ud800": 1}}',
    b'{"model": "%s", "prompt": "a", "temperature": NaN}', b'{"model": "%s", "prompt": "a", "top_p": -Infinity}',
    b'{"model": "\\ud800\\r\\nX-Evil: 1", "prompt": "a"}', b'{"model": "../../etc/passwd", "prompt": "a"}',
    b'{"model": "%s", "model": 5, "prompt": "a"}', b'\xef\xbb\xbf{"model": "%s", "prompt": "a"}',
    '{"model": "%s", "prompt": "a"}'.encode("utf-16"), b'{"model": "%s", "prompt": "a"} and more',
)  # fmt: skip


async def broken_json(one: Hostile) -> None:
    body = one.rng.choice(BROKEN).replace(b"%s", one.model.encode())
    await one.send(asking(one, body if one.rng.random() < 0.8 else body[: one.rng.randrange(len(body) + 1)]))


OUTSIDE = (
    {"n": 2}, {"n": -1}, {"n": 10**30}, {"n": 1.5}, {"best_of": 1000}, {"max_tokens": LONGEST + 1}, {"max_tokens": -1},
    {"max_tokens": 10**400}, {"max_tokens": 0}, {"temperature": -1e-9}, {"temperature": 1e308},
    {"temperature": 10**400},
    {"top_p": 0, "temperature": 2}, {"top_p": 1e-300}, {"logprobs": 10**6}, {"seed": 2**64}, {"seed": -(2**63)},
    {"stop": ["a"] * 1000}, {"stop": "a" * 100_000}, {"stop": ["\0", "\n", "€", "a"]}, {"prompt": ["a"] * 10_000},
    {"prompt": [[1, 2, 3]]}, {"prompt": ""}, {"prompt": [""] * 16}, {"prompt": "\0\u2028\U0010ffff" * 3000},
    {"model": "x" * 50_000}, {"user": "\r\n" * 1000}, {"logit_bias": {str(number): 100 for number in range(10_000)}},
)  # fmt: skip


async def numbers_out_of_range(one: Hostile) -> None:
    await one.send(asking(one, stream=one.rng.random() < 0.5, **{"max_tokens": 5, **one.rng.choice(OUTSIDE)}))


async def sound_of_a_text_model(one: Hostile) -> None:
    body = json.dumps({"model": one.model, "voice": one.model, "input": "a" * 5000}).encode()
    await one.send(one.rng.choice([
        asking(one, model=one.voice), one.head("POST", "/v1/audio/speech", len(body)) + body,
        one.head("POST", f"/v1/vocode?voice={one.model}", 5000) + bytes(5000),
    ]))  # fmt: skip


async def texts_behind_each_other(one: Hostile) -> None:
    """Many requests at once over one connection, whose answers nobody waits for."""
    whole = asking(one, max_tokens=50).replace(b"Connection: close", b"Connection: keep-alive")
    async with one.connected() as (reader, writer):
        writer.write(whole * 50)
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(min(PATIENCE, one.hold)):
                await reader.read(5000)


TEXT_ATTACKS: tuple[Attack, ...] = (
    leaves_a_text, leaves_a_whole_text, reads_a_text_slowly, never_reads_a_text, long_prompt, giant_prompt,
    prompt_that_never_comes, broken_json, numbers_out_of_range, sound_of_a_text_model, texts_behind_each_other,
)  # fmt: skip
