"""Workers are forked from a process that has loaded everything: what is told of them, and what becomes without it."""

from __future__ import annotations

import os
import signal
import socket
import tempfile

import numpy as np
import pytest

from serving import process_worker
from serving.nursery import Nursery
from serving.ring import SIZE
from serving.worker import WorkerLost
from tests.serving.fakes import SPEC, everything, fake_vocoder
from tests.serving.live import wait_for
from tests.serving.test_crew import listen, settles
from tests.serving.test_isolation import FRAMES, SILENCE, begin, children, isolated


def test_workers_outlive_it_and_the_next_one_comes_from_another(monkeypatch, caplog):
    monkeypatch.setattr(process_worker, "pause", lambda _: 0.0)
    vocoder, others = fake_vocoder(batch=16), set(children())
    vocoder.runtime.delay = 0.001
    body = np.full((400, SPEC.n_mels), SPEC.silence, "<f4").tobytes()
    want = b"".join(everything(fake_vocoder(batch=16), FRAMES, body))

    async def main(crew):
        workers = {worker.pid for worker in crew.workers}
        (nursery,) = set(children()) - others - workers
        tickets = [crew.admit(vocoder) for _ in range(2)]
        begin(tickets[0], body)
        begin(tickets[1], 10 * body)  # 20 s, which nobody reads: it is under way as long as its worker is
        first = await tickets[0].take()
        os.kill(nursery, signal.SIGKILL)
        assert first + await listen(tickets[0]) == want
        os.kill(crew.workers[1].pid, signal.SIGKILL)
        with pytest.raises(WorkerLost):
            await listen(tickets[1])
        await settles(lambda: crew.workers[1].up)
        assert crew.workers[1].pid not in workers
        begin(tickets[1], body)
        assert await listen(tickets[1]) == want
        for ticket in tickets:
            ticket.close()

    isolated(main, vocoder)
    assert "ended by signal 9" in caplog.text


@pytest.mark.parametrize(("opener", "status"), [("serving.reopen:reopen", 0), ("serving.reopen:none", 1)])
def test_the_status_of_a_worker_is_told(opener, status):
    nursery = Nursery()
    nursery.join()
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as memory:
        os.ftruncate(memory.fileno(), SIZE)
        order = {"slots": 1, "ring": 2.0, "opener": opener, "log": "text"}
        process = nursery.spawn(order, theirs.fileno(), memory.fileno())
        if not status:
            with pytest.raises(TimeoutError):
                process.wait(0.05)
        ours.close()
        assert (process.wait(30), process.wait(30)) == (status, status)
    process.kill()  # of nobody
    nursery.leave()
    wait_for(lambda: not children())


def test_a_nursery_that_hangs_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(process_worker, "_PATIENCE", 0.2)
    monkeypatch.setattr("serving.nursery._PATIENCE", 3.0)
    vocoder, others = fake_vocoder(batch=16), set(children())

    async def main(crew):
        (nursery,) = set(children()) - others - {worker.pid for worker in crew.workers}
        os.kill(nursery, signal.SIGSTOP)
        os.kill(crew.workers[0].pid, signal.SIGKILL)
        await settles(lambda: not crew.workers[0].up)
        await crew.workers[0].ready()
        with crew.admit(vocoder) as ticket:
            begin(ticket)
            assert await listen(ticket) == b"".join(everything(fake_vocoder(batch=16), FRAMES, SILENCE))

    isolated(main, vocoder, workers=1)


def test_a_machine_that_starts_no_process_says_so(monkeypatch):
    nursery = Nursery()
    nursery.join()
    monkeypatch.setattr("serving.nursery.sys.executable", "/bin/false")
    with pytest.raises(OSError, match="has ended twice"):
        nursery.spawn({}, 0, 0)
    nursery.leave()
