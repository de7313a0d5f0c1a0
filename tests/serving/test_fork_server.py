"""Workers are forked from a process that has loaded everything: what is told of them, and what becomes without it."""

from __future__ import annotations

import os
import signal
import socket
import tempfile

import numpy as np
import pytest

from serving.workers import process_worker
from serving.workers.fork_server import ForkServer
from serving.workers.ring import RING_BYTES
from serving.workers.worker import WorkerLost
from tests.serving.fakes import SPEC, everything, fake_vocoder
from tests.serving.live import wait_for
from tests.serving.test_isolation import FRAMES, SILENCE, begin, children, isolated
from tests.serving.test_worker_pool import listen, settles


def test_workers_outlive_it_and_the_next_one_comes_from_another(monkeypatch, caplog):
    monkeypatch.setattr(process_worker, "restart_pause", lambda _: 0.0)
    vocoder, others = fake_vocoder(batch=16), set(children())
    vocoder.runtime.delay = 0.001
    body = np.full((400, SPEC.n_mels), SPEC.silence, "<f4").tobytes()
    want = b"".join(everything(fake_vocoder(batch=16), FRAMES, body))

    async def main(pool):
        workers = {worker.pid for worker in pool.workers}
        (fork_server,) = set(children()) - others - workers
        leases = [pool.admit(vocoder) for _ in range(2)]
        begin(leases[0], body)
        begin(leases[1], 10 * body)  # 20 s, which nobody reads: it is under way as long as its worker is
        first = await leases[0].take()
        os.kill(fork_server, signal.SIGKILL)
        assert first + await listen(leases[0]) == want
        os.kill(pool.workers[1].pid, signal.SIGKILL)
        with pytest.raises(WorkerLost):
            await listen(leases[1])
        await settles(lambda: pool.workers[1].up)
        assert pool.workers[1].pid not in workers
        begin(leases[1], body)
        assert await listen(leases[1]) == want
        for lease in leases:
            lease.close()

    isolated(main, vocoder)
    assert "ended by signal 9" in caplog.text


@pytest.mark.parametrize(
    ("opener", "status"), [("serving.voices.reference:open_reference", 0), ("serving.voices.reference:none", 1)]
)
def test_the_status_of_a_worker_is_told(opener, status):
    fork_server = ForkServer()
    fork_server.acquire()
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as memory:
        os.ftruncate(memory.fileno(), RING_BYTES)
        options = {"slots": 1, "buffered": 2.0, "opener": opener, "log": "text"}
        process = fork_server.spawn(options, theirs.fileno(), memory.fileno())
        if not status:
            with pytest.raises(TimeoutError):
                process.wait(0.05)
        ours.close()
        assert (process.wait(30), process.wait(30)) == (status, status)
    process.kill()  # of nobody
    fork_server.release()
    wait_for(lambda: not children())


def test_a_fork_server_that_hangs_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(process_worker, "_PATIENCE", 0.2)
    monkeypatch.setattr("serving.workers.fork_server._PATIENCE", 3.0)
    vocoder, others = fake_vocoder(batch=16), set(children())

    async def main(pool):
        (fork_server,) = set(children()) - others - {worker.pid for worker in pool.workers}
        os.kill(fork_server, signal.SIGSTOP)
        os.kill(pool.workers[0].pid, signal.SIGKILL)
        await settles(lambda: not pool.workers[0].up)
        await pool.workers[0].ready()
        with pool.admit(vocoder) as lease:
            begin(lease)
            assert await listen(lease) == b"".join(everything(fake_vocoder(batch=16), FRAMES, SILENCE))

    isolated(main, vocoder, workers=1)


def test_a_machine_that_starts_no_process_says_so(monkeypatch):
    fork_server = ForkServer()
    fork_server.acquire()
    monkeypatch.setattr("serving.workers.fork_server.sys.executable", "/bin/false")
    with pytest.raises(OSError, match="has ended twice"):
        fork_server.spawn({}, 0, 0)
    fork_server.release()
