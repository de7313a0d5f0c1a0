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
from serving import process_worker
from serving.crew import Crew
from serving.link import Link
from serving.nursery import Nursery
from serving.process_worker import in_processes, pause
from serving.reopen import recipe
from serving.vocoder import Settings, Vocoder, VoiceFailure
from serving.work import Input, Order
from serving.worker import WorkerLost
from tests.serving.fakes import SPEC, audio_file, everything, fake_recipe, fake_vocoder, tone
from tests.serving.live import wait_for
from tests.serving.test_crew import chunks, listen, settles

FAKES = in_processes("tests.serving.fakes:fake_opener", fake_recipe, beat=60.0)  # fakes may wait for their gates
FRAMES = Order(form="pcm", input=Input("features"))
SILENCE = np.full((40, SPEC.n_mels), SPEC.silence, "<f4").tobytes()


def children(of=None):
    """Process numbers of a process's children that run, each with its own; of this one's where none is given."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                state, parent = file.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == (of or os.getpid()) and state != "Z":
            found += [int(pid), *children(int(pid))]
    return found


def isolated(body, vocoder, *, make=FAKES, patience=60.0, **options):
    """Run a coroutine function with a crew of processes that know a voice; afterwards nothing of them may be left."""

    async def main():
        crew = Crew(**({"workers": 2, "slots": 4} | options), make=make)
        for worker in crew.workers:
            worker.prepare(vocoder, crew.capacity(vocoder))
        crew.start()
        try:
            async with asyncio.timeout(patience):
                await crew.ready()
                assert Link.live == len(crew.workers)
                await body(crew)
                await settles(lambda: crew.busy == 0)
        finally:
            await asyncio.to_thread(crew.stop)
        assert (crew.busy, crew.ledger.load) == (0, [0.0] * len(crew.workers))

    before, files = set(children()), len(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert Link.live == 0
    assert set(children()) <= before
    assert len(os.listdir("/proc/self/fd")) <= files


def begin(ticket, body=SILENCE, order=FRAMES):
    ticket.start(order)
    ticket.push(body)
    ticket.finish()


async def collect(ticket, heard):
    async for chunk in chunks(ticket):
        heard.append(chunk)


def test_the_sound_is_that_of_a_thread_and_mistakes_are_told_in_the_same_words():
    vocoder, body = fake_vocoder(batch=16, speakers=("a", "b")), audio_file(tone(0.4))
    orders = [Order(Settings(seed, speaker="b"), form) for seed, form in enumerate(("pcm", "wav", "f32", "pcm"))]

    async def main(crew):
        tickets = [crew.admit(vocoder) for _ in orders]
        for ticket, order in zip(tickets, orders, strict=True):
            begin(ticket, body, order)
        want = [b"".join(everything(vocoder, order, body)) for order in orders]
        assert await asyncio.gather(*map(listen, tickets)) == want
        begin(tickets[0], b"neither sound nor features", orders[0])
        with pytest.raises(SeqgenError, match="neither audio nor") as caught:
            await listen(tickets[0])
        assert caught.value.remedy
        for ticket in tickets:
            assert ticket.waiting == 0
            ticket.close()

    isolated(main, vocoder)


def test_a_real_voice_sounds_the_same_and_one_put_in_its_place_is_not_played(tiny_bundle, tmp_path):
    bundle = Bundle.open(tiny_bundle)
    vocoder = Vocoder(bundle, open_runtime(bundle))
    body = audio_file(tone(0.3, vocoder.sample_rate), vocoder.sample_rate)
    order = Order(form="pcm")

    async def main(crew):
        with crew.admit(vocoder) as ticket:
            begin(ticket, body, order)
            assert await listen(ticket) == b"".join(everything(vocoder, order, body))

    isolated(main, vocoder, make=in_processes(), workers=1)

    async def replaced(crew):
        with crew.admit(vocoder) as ticket:
            begin(ticket, body, order)
            with pytest.raises(VoiceFailure, match="has been replaced since"):
                await listen(ticket)

    other = in_processes(recipe=lambda vocoder: recipe(vocoder) | {"digest": "0" * 64})
    isolated(replaced, vocoder, make=other, workers=1)


def test_a_killed_worker_cuts_its_own_streams_only(tmp_path, caplog):
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.gate_file, vocoder.runtime.gate_from = str(tmp_path / "gate"), 3
    want = b"".join(everything(vocoder, FRAMES, SILENCE))

    async def main(crew):
        tickets = [crew.admit(vocoder) for _ in range(4)]
        assert [ticket.worker for ticket in tickets] == [0, 1, 0, 1]
        for ticket in tickets:
            begin(ticket)
        heard = [await ticket.take() for ticket in tickets]
        victim, killed = crew.workers[1], crew.workers[1].pid
        os.kill(killed, signal.SIGKILL)
        for number in (1, 3):
            rest = []
            with pytest.raises(WorkerLost, match="worker 1 ended in the middle"):
                await collect(tickets[number], rest)
            assert want.startswith(b"".join([heard[number], *rest]))
        assert not victim.up
        # The slots come back at once, and nobody is sent to a worker that is gone.
        tickets[1].close()
        tickets[3].close()
        assert crew.ledger.load[1] == 0
        assert crew.busy == 2
        begin(late := crew.admit(vocoder))
        assert late.worker == 0
        (tmp_path / "gate").touch()
        for number in (0, 2):
            assert heard[number] + await listen(tickets[number]) == want
        assert await listen(late) == want
        await victim.ready()
        assert victim.pid != killed
        assert (victim.restarts, crew.workers[0].restarts) == (1, 0)
        begin(anew := crew.admit(vocoder))
        assert anew.worker == 1
        assert await listen(anew) == want
        for ticket in (*tickets, late, anew):
            ticket.close()

    isolated(main, vocoder, slots=6)
    told = [record.getMessage() for record in caplog.records if "ended by" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("worker 1 (process ")
    assert told[0].endswith("ended by signal 9 (SIGKILL) and cut 2 streams; it is started again")


def test_a_stream_begun_while_its_worker_is_away_is_told_so(monkeypatch):
    vocoder = fake_vocoder()
    monkeypatch.setattr(process_worker, "pause", lambda _: 60.0)

    async def main(crew):
        with crew.admit(vocoder) as ticket:
            os.kill(crew.workers[0].pid, signal.SIGKILL)
            await settles(lambda: not crew.workers[0].up)
            begin(ticket)
            with pytest.raises(WorkerLost, match="is being started again"):
                await listen(ticket)
            assert crew.admit(vocoder) is None
            assert crew.ledger.refused == 1

    isolated(main, vocoder, workers=1)


def test_a_worker_that_ends_again_and_again_is_started_less_and_less_often(caplog):
    vocoder = fake_vocoder()
    vocoder.runtime.broken = True
    assert [pause(ends) for ends in (1, 2, 3, 9, 10, 10**6)] == [0, 0.25, 0.5, 30, 30, 30]

    async def main():
        crew = Crew(workers=1, make=FAKES)
        crew.learn(vocoder, crew.capacity(vocoder))
        crew.start()
        await settles(lambda: crew.workers[0].restarts == 3)
        assert not crew.workers[0].up
        await asyncio.to_thread(crew.stop)  # in the middle of a pause

    asyncio.run(main())
    assert Link.live == 0
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

    async def main(crew):
        with monkeypatch.context() as patch:
            patch.setattr(Nursery, "spawn", refuse)
            os.kill(crew.workers[0].pid, signal.SIGKILL)
            await settles(lambda: len(tries) == 2)
        await crew.workers[0].ready()
        with crew.admit(vocoder) as ticket:
            begin(ticket)
            assert await listen(ticket)

    isolated(main, vocoder, workers=1)
    told = [record.getMessage() for record in caplog.records]
    assert told[1].startswith("worker 0 could not be started ([Errno 11] Resource temporarily unavailable); 2 times in")


def test_a_worker_that_writes_nonsense_is_ended():
    vocoder = fake_vocoder()

    async def main(crew):
        with crew.admit(vocoder) as ticket:
            crew.workers[0]._link._reader._number = 77
            begin(ticket)
            with pytest.raises(WorkerLost):
                await listen(ticket)
        await settles(lambda: crew.workers[0].up)
        with crew.admit(vocoder) as ticket:
            begin(ticket)
            await listen(ticket)

    isolated(main, vocoder, workers=1)


def test_listeners_may_leave_at_any_time_and_no_slot_is_lost():
    vocoder, rng = fake_vocoder(batch=16), random.Random(4)
    vocoder.runtime.delay = 0.0002
    want = b"".join(everything(vocoder, FRAMES, SILENCE))

    async def visit(crew):
        while (ticket := crew.admit(vocoder)) is None:
            await asyncio.sleep(0.001)
        with ticket:
            stay = rng.choice((0, 0, 1, 2, 100))
            await asyncio.sleep(rng.choice((0, 0, 0.002)))
            if stay:
                begin(ticket)
            heard = b""
            async for chunk in chunks(ticket) if stay else nothing():
                heard += chunk
                stay -= 1
                if not stay:
                    break
            assert want.startswith(heard)

    async def main(crew):
        await asyncio.gather(*(visit(crew) for _ in range(60)))

    isolated(main, vocoder)


async def nothing():
    for chunk in ():
        yield chunk


def test_a_reader_that_stops_holds_two_seconds_and_no_more():
    vocoder = fake_vocoder(batch=16)
    long = np.full((4000, SPEC.n_mels), SPEC.silence, "<f4").tobytes()  # 20 s

    async def main(crew):
        with crew.admit(vocoder) as slow, crew.admit(vocoder) as quick:
            begin(slow, long, Order(form="pcm", input=Input("features"), eager=True))
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
        from serving.crew import Crew
        from serving.process_worker import in_processes

        async def main():
            crew = Crew(workers=2, make=in_processes())
            crew.start()
            await crew.ready()
            print(*(worker.pid for worker in crew.workers), flush=True)
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
