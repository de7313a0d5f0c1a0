"""Workers in processes of their own: the same sound, and what is left when one of them ends in the middle."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import StreamingVocoder, VoiceSettings
from serving.voices.reference import reference_to
from serving.workers import process_worker
from serving.workers.connection import WorkerConnection
from serving.workers.fork_server import ForkServer
from serving.workers.pool import WorkerPool
from serving.workers.process_worker import process_workers, restart_pause
from serving.workers.worker import WorkerLost
from tests.serving.fakes import SPEC, audio_file, everything, fake_reference, fake_vocoder, tone
from tests.serving.live import wait_for
from tests.serving.test_worker_pool import chunks, listen, settles

# Fakes may wait for their gates.
FAKES = process_workers("tests.serving.fakes:fake_opener", fake_reference, heartbeat=60.0)
FRAMES = SoundRequest(form="pcm", input=InputFormat("features"))
SILENCE = np.full((40, SPEC.n_mels), SPEC.silence, "<f4").tobytes()


def children(of=None):
    """Process numbers of a process's children that run, each with its own; of this one's where none is given."""
    running = [pid for pid, state in below(of or os.getpid()) if state != "Z"]
    return [one for pid in running for one in (pid, *children(pid))]


def below(parent):
    """Process numbers of a process's own children, each with its state."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                state, above = file.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(above) == parent:
            yield int(pid), state


def isolated(body, vocoder, *, make=FAKES, patience=60.0, **options):
    """Run a coroutine function with a pool of processes that know a voice; afterwards nothing of them may be left."""

    async def main():
        pool = WorkerPool(**({"workers": 2, "slots": 4} | options), make=make)
        for worker in pool.workers:
            worker.prepare(vocoder, pool.capacity(vocoder))
        pool.start()
        try:
            async with asyncio.timeout(patience):
                await pool.ready()
                assert WorkerConnection.live == len(pool.workers)
                await body(pool)
                await settles(lambda: pool.busy == 0)
        finally:
            await asyncio.to_thread(pool.stop)
        assert (pool.busy, pool.admission.load) == (0, [0.0] * len(pool.workers))

    before, files = set(children()), len(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert WorkerConnection.live == 0
    assert set(children()) <= before
    assert len(os.listdir("/proc/self/fd")) <= files


def begin(lease, body=SILENCE, request=FRAMES):
    lease.start(request)
    lease.push(body)
    lease.finish()


async def collect(lease, heard):
    async for chunk in chunks(lease):
        heard.append(chunk)


def test_the_sound_is_that_of_a_thread_and_mistakes_are_told_in_the_same_words():
    vocoder, body = fake_vocoder(batch=16, speakers=("a", "b")), audio_file(tone(0.4))
    requests = [
        SoundRequest(VoiceSettings(seed, speaker="b"), form) for seed, form in enumerate(("pcm", "wav", "f32", "pcm"))
    ]

    async def main(pool):
        leases = [pool.admit(vocoder) for _ in requests]
        for lease, request in zip(leases, requests, strict=True):
            begin(lease, body, request)
        want = [b"".join(everything(vocoder, request, body)) for request in requests]
        assert await asyncio.gather(*map(listen, leases)) == want
        begin(leases[0], b"neither sound nor features", requests[0])
        with pytest.raises(SeqgenError, match="neither audio nor") as caught:
            await listen(leases[0])
        assert caught.value.remedy
        for lease in leases:
            assert lease.waiting == 0
            lease.close()

    isolated(main, vocoder)


def test_a_real_voice_sounds_the_same_and_one_put_in_its_place_is_not_played(tiny_bundle, tmp_path):
    bundle = Bundle.open(tiny_bundle)
    vocoder = StreamingVocoder(bundle, open_runtime(bundle))
    body = audio_file(tone(0.3, vocoder.sample_rate), vocoder.sample_rate)
    request = SoundRequest(form="pcm")

    async def main(pool):
        with pool.admit(vocoder) as lease:
            begin(lease, body, request)
            assert await listen(lease) == b"".join(everything(vocoder, request, body))

    isolated(main, vocoder, make=process_workers(), workers=1)

    async def replaced(pool):
        await settles(lambda: not pool.open_somewhere(vocoder))
        assert pool.workers[0].up
        assert pool.admit(vocoder) is None

    other = process_workers(refer=lambda vocoder: reference_to(vocoder) | {"digest": "0" * 64})
    isolated(replaced, vocoder, make=other, workers=1)


def test_a_killed_worker_cuts_its_own_streams_only(tmp_path, caplog):
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.gate_file, vocoder.runtime.gate_from = str(tmp_path / "gate"), 3
    want = b"".join(everything(vocoder, FRAMES, SILENCE))

    async def main(pool):
        leases = [pool.admit(vocoder) for _ in range(4)]
        assert [lease.worker for lease in leases] == [0, 1, 0, 1]
        for lease in leases:
            begin(lease)
        heard = [await lease.take() for lease in leases]
        victim, killed = pool.workers[1], pool.workers[1].pid
        os.kill(killed, signal.SIGKILL)
        for number in (1, 3):
            rest = []
            with pytest.raises(WorkerLost, match="worker 1 ended in the middle"):
                await collect(leases[number], rest)
            assert want.startswith(b"".join([heard[number], *rest]))
        assert not victim.up
        # The slots come back at once, and nobody is sent to a worker that is gone.
        leases[1].close()
        leases[3].close()
        assert pool.admission.load[1] == 0
        assert pool.busy == 2
        begin(late := pool.admit(vocoder))
        assert late.worker == 0
        (tmp_path / "gate").touch()
        for number in (0, 2):
            assert heard[number] + await listen(leases[number]) == want
        assert await listen(late) == want
        await victim.ready()
        assert victim.pid != killed
        assert (victim.restarts, pool.workers[0].restarts) == (1, 0)
        begin(anew := pool.admit(vocoder))
        assert anew.worker == 1
        assert await listen(anew) == want
        for lease in (*leases, late, anew):
            lease.close()

    isolated(main, vocoder, slots=6)
    told = [record.getMessage() for record in caplog.records if "ended by" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("worker 1 (process ")
    assert told[0].endswith("ended by signal 9 (SIGKILL) and cut 2 streams; it is started again")


def test_a_stream_begun_while_its_worker_is_away_is_told_so(monkeypatch):
    vocoder = fake_vocoder()
    monkeypatch.setattr(process_worker, "restart_pause", lambda _: 60.0)

    async def main(pool):
        with pool.admit(vocoder) as lease:
            os.kill(pool.workers[0].pid, signal.SIGKILL)
            await settles(lambda: not pool.workers[0].up)
            begin(lease)
            with pytest.raises(WorkerLost, match="is being started again"):
                await listen(lease)
            assert pool.admit(vocoder) is None
            assert pool.admission.refused == 1

    isolated(main, vocoder, workers=1)


def test_a_worker_that_ends_again_and_again_is_started_less_and_less_often(caplog):
    vocoder = fake_vocoder()
    vocoder.runtime.broken = True
    assert [restart_pause(ends) for ends in (1, 2, 3, 9, 10, 10**6)] == [0, 0.25, 0.5, 30, 30, 30]

    async def main():
        pool = WorkerPool(workers=1, make=FAKES)
        pool.set_capacity(vocoder, pool.capacity(vocoder))
        pool.start()
        await settles(lambda: pool.workers[0].restarts == 3)
        assert not pool.workers[0].up
        await asyncio.to_thread(pool.stop)  # in the middle of a pause

    asyncio.run(main())
    assert WorkerConnection.live == 0
    told = [record.getMessage().split(" ended by ")[1] for record in caplog.records]
    assert told == [
        "exit status 3 and cut 0 streams; it is started again",
        "exit status 3 and cut 0 streams; 2 times in a row, the next start is in 0.25 s",
        "exit status 3 and cut 0 streams; 3 times in a row, the next start is in 0.5 s",
    ]


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch, caplog):
    vocoder, tries = fake_vocoder(), []

    def refuse(*_, **__):
        tries.append(1)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    async def main(pool):
        with monkeypatch.context() as patch:
            patch.setattr(ForkServer, "spawn", refuse)
            os.kill(pool.workers[0].pid, signal.SIGKILL)
            await settles(lambda: len(tries) == 2)
        await pool.workers[0].ready()
        with pool.admit(vocoder) as lease:
            begin(lease)
            assert await listen(lease)

    isolated(main, vocoder, workers=1)
    told = [record.getMessage() for record in caplog.records]
    assert told[1].startswith("worker 0 could not be started ([Errno 11] Resource temporarily unavailable); 2 times in")


def test_a_worker_that_writes_nonsense_is_ended():
    vocoder = fake_vocoder()

    async def main(pool):
        with pool.admit(vocoder) as lease:
            pool.workers[0]._connection._reader._number = 77
            begin(lease)
            with pytest.raises(WorkerLost):
                await listen(lease)
        await settles(lambda: pool.workers[0].up)
        with pool.admit(vocoder) as lease:
            begin(lease)
            await listen(lease)

    isolated(main, vocoder, workers=1)


def test_listeners_may_leave_at_any_time_and_no_slot_is_lost():
    vocoder, rng = fake_vocoder(batch=16), random.Random(4)
    vocoder.runtime.delay = 0.0002
    want = b"".join(everything(vocoder, FRAMES, SILENCE))

    async def visit(pool):
        while (lease := pool.admit(vocoder)) is None:
            await asyncio.sleep(0.001)
        with lease:
            stay = rng.choice((0, 0, 1, 2, 100))
            await asyncio.sleep(rng.choice((0, 0, 0.002)))
            if stay:
                begin(lease)
            heard = b""
            async for chunk in chunks(lease) if stay else nothing():
                heard += chunk
                stay -= 1
                if not stay:
                    break
            assert want.startswith(heard)

    async def main(pool):
        await asyncio.gather(*(visit(pool) for _ in range(60)))

    isolated(main, vocoder)


async def nothing():
    for chunk in ():
        yield chunk


def test_a_reader_that_stops_holds_two_seconds_and_no_more():
    vocoder = fake_vocoder(batch=16)
    long = np.full((4000, SPEC.n_mels), SPEC.silence, "<f4").tobytes()  # 20 s

    async def main(pool):
        with pool.admit(vocoder) as slow, pool.admit(vocoder) as quick:
            begin(slow, long, SoundRequest(form="pcm", input=InputFormat("features"), eager=True))
            for _ in range(3):  # the neighbour's streams pass by meanwhile
                begin(quick)
                await listen(quick)
            await settles(lambda: slow.waiting >= 2 * 16000)
            assert slow.waiting <= 2 * 16000 + 8 * 80
            assert len(await listen(slow)) == 20 * 16000

    isolated(main, vocoder, workers=1)


def test_no_worker_outlives_its_server(repository):
    program = """
        import asyncio, sys
        from serving.workers.pool import WorkerPool
        from serving.workers.process_worker import process_workers

        async def main():
            pool = WorkerPool(workers=2, make=process_workers())
            pool.start()
            await pool.ready()
            print(*(worker.pid for worker in pool.workers), flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        workers = process.stdout.readline().split()
        assert len(workers) == 2
        for pid in workers:
            # What stops a whole group must leave it to the server to end its streams.
            with open(f"/proc/{int(pid)}/status") as file:
                ignored = next(int(line.split()[1], 16) for line in file if line.startswith("SigIgn:"))
            assert all(ignored >> number - 1 & 1 for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        process.kill()
    wait_for(lambda: not any(os.path.exists(f"/proc/{int(pid)}") for pid in workers))
