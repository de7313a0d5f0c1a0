"""Workers that are killed at random moments under load, and a server that is asked to stop under load."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.streams.vocoder import StreamingVocoder
from serving.workers import process_worker
from serving.workers.worker import WorkerLost
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, tone
from tests.serving.live import wait_for
from tests.serving.test_isolation import FRAMES, begin, children, isolated
from tests.serving.test_real_voice import post, start
from tests.serving.test_worker_pool import chunks, settles

BODY = np.full((100, SPEC.n_mels), SPEC.silence, "<f4").tobytes()


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def visit(pool, vocoder: StreamingVocoder, want: bytes, outcomes: list[str]):
    while (lease := pool.admit(vocoder)) is None:
        await asyncio.sleep(0.002)
    heard = bytearray()
    with lease:
        begin(lease, BODY)
        try:
            async for chunk in chunks(lease):
                heard += chunk
                await asyncio.sleep(0)
            assert heard == want
            outcomes.append("whole")
        except WorkerLost:
            assert want.startswith(heard)
            assert len(heard) < len(want)
            outcomes.append("cut")


def kill_under_load(listeners: int, kills: int) -> int:
    """Every listener hears all, or the beginning and a word of why; gives how much memory the server gained."""
    vocoder, rng, outcomes = fake_vocoder(batch=16), random.Random(7), []
    vocoder.runtime.delay = 0.0005
    want = b"".join(everything(fake_vocoder(batch=16), FRAMES, BODY))
    gained = []

    async def kill(pool):
        for number in range(kills):
            # The next one falls when so many have been served since the last.
            due = (number + 1) * listeners // (kills + 1)
            await settles(lambda due=due: len(outcomes) >= due)
            worker = rng.choice(pool.workers)
            await worker.ready()
            os.kill(worker.pid, signal.SIGKILL)
            if number == kills // 4:
                gained.append(resident())

    async def main(pool):
        at_once = asyncio.Semaphore(8)

        async def one():
            async with at_once:
                await visit(pool, vocoder, want, outcomes)

        killer = asyncio.create_task(kill(pool))
        await asyncio.gather(*(one() for _ in range(listeners)))
        await killer
        assert sum(worker.restarts for worker in pool.workers) == kills

    isolated(main, vocoder, slots=6, patience=60.0 + 4 * kills)
    assert len(outcomes) == listeners
    # A kill cuts what the worker was doing, which is at most all of its slots.
    assert outcomes.count("cut") <= 3 * kills
    assert outcomes.count("whole") >= listeners - 3 * kills
    return resident() - gained[0]


def test_kills_at_random_moments_cut_no_more_than_they_must(monkeypatch):
    monkeypatch.setattr(process_worker, "restart_pause", lambda _: 0.0)
    kill_under_load(40, 3)


@pytest.mark.soak
def test_three_hundred_kills_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr(process_worker, "restart_pause", lambda _: 0.0)
    assert kill_under_load(6000, 300) < 4 << 20


def test_a_whole_group_asked_to_stop_ends_its_streams_first(repository, tiny_bundle, tmp_path):
    """As a service manager or Ctrl-C does it: the signal reaches the workers too, which leave it to the server."""
    body = audio_file(tone(3.0))
    process = start(repository, "serve", "--voice", tiny_bundle, "--port", "0", "--slots", "6", start_new_session=True)
    try:
        port = int(process.stdout.readline().decode().rsplit(":", 1)[1])
        with ThreadPoolExecutor(6) as pool:
            answers = [answer for _, answer in pool.map(lambda _: post(port, body), range(6))]
            assert {answer.status for answer in answers} == {200}
            workers = children(process.pid)
            assert workers
            os.killpg(process.pid, signal.SIGTERM)
            sounds = list(pool.map(lambda answer: answer.read(), answers))
        assert [len(sound) for sound in sounds] == [48000] * 6
        assert len(set(sounds)) == 1
        process.wait(60)
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
    finally:
        process.kill()
        process.communicate()
