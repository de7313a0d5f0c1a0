"""The Python client against a real server."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from seqgen.audio.features import log_mel
from seqgen.audio.io import pcm16
from serving.app import App
from serving.client import Client, ServerError
from serving.streams.sound import SoundRequest
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live
from tests.serving.test_websocket import expected


@pytest.fixture
def served():
    vocoder = fake_vocoder(batch=16)
    with Live(App(vocoder, threads=1, slots=2)) as server:
        yield vocoder, server, Client(f"http://127.0.0.1:{server.port}", timeout=30)


def test_a_recording_is_vocoded(served):
    vocoder, _, client = served
    body = audio_file(tone(0.3))
    assert [row["id"] for row in client.voices()] == ["fake"]
    assert b"".join(client.vocode(body, form="pcm")) == b"".join(everything(vocoder, SoundRequest(form="pcm"), body))
    assert b"".join(client.vocode(body, seed=3))[:4] == b"RIFF"
    with pytest.raises(ServerError, match="seed -1 is out of range") as caught:
        list(client.vocode(body, seed=-1))
    assert caught.value.status == 422


def test_a_sound_that_breaks_off_is_no_end(served):
    vocoder, _, client = served
    vocoder.runtime.fail_after = 1000
    with pytest.raises(OSError, match="the connection broke"):
        list(client.vocode(audio_file(tone(0.3)), form="pcm"))


def test_utterances_are_streamed_one_after_the_other(served):
    vocoder, server, client = served
    frames = log_mel(tone(0.2), SPEC)
    with client.stream(voice="fake", signature=SPEC.signature, seed=2) as stream:
        for number in range(2):
            for start in range(0, len(frames), 9):
                stream.send(frames[start : start + 9])
            stream.finish()
            assert b"".join(stream) == expected(vocoder, frames, seed=2, stream=number)
        assert stream.ready["sample_rate"] == 8000
        stream.send(np.full((1, 10), np.nan, np.float32))
        with pytest.raises(ServerError, match="NaN") as caught:
            list(stream)
        assert caught.value.code == "invalid_input"
    held = [server.app.pool.admit(vocoder) for _ in range(2)]
    with pytest.raises(ServerError, match="try again in a second") as caught, client.stream(rate=8000):
        pass
    assert (caught.value.status, caught.value.retry_after) == (503, 1.0)
    for lease in held:
        lease and lease.close()


def test_the_same_can_be_awaited(served):
    vocoder, _, client = served
    audio = pcm16(tone(0.2))

    async def listen():
        async with client.astream(rate=8000) as stream:
            await stream.send(audio)
            await stream.finish()
            return b"".join([sound async for sound in stream])

    sound = asyncio.run(listen())
    frames = log_mel(audio.astype(np.float32) / 32768, SPEC)
    assert sound == expected(vocoder, frames)[: len(sound)]
    assert len(sound) == 2 * len(audio)
