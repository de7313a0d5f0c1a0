"""Supervisors of workers survive whatever goes wrong; where one ends all the same, everybody can see it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import struct
import subprocess
import sys
import time

import pytest

from serving.app import App
from serving.streams.capacity import Capacity
from serving.streams.vocoder import ModelFailure
from serving.workers import process_worker
from serving.workers.connection import WorkerConnection
from serving.workers.fork_server import ForkServer
from serving.workers.pool import WorkerPool
from serving.workers.process_worker import ProcessWorker, process_workers
from serving.workers.ring import RingReader
from serving.workers.worker import ThreadWorker, WorkerLost
from tests.serving.fakes import everything, fake_opener, fake_reference, fake_vocoder
from tests.serving.live import Live, wait_for
from tests.serving.test_isolation import FAKES, FRAMES, SILENCE, begin, isolated
from tests.serving.test_worker_pool import listen, pool_test, settles

REAL_TIME = (signal.SIGRTMIN, signal.SIGRTMIN + 1, (signal.SIGRTMIN + signal.SIGRTMAX) // 2, signal.SIGRTMAX)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(process_worker, "restart_pause", lambda _: 0.01)


async def plays(pool, vocoder):
    """Wait until a worker takes streams, and hear one."""
    await settles(lambda: pool.open_somewhere(vocoder))
    with pool.admit(vocoder) as lease:
        begin(lease)
        assert await listen(lease) == b"".join(everything(fake_vocoder(batch=16), FRAMES, SILENCE))


def test_a_worker_that_any_signal_ends_is_started_again(caplog):
    vocoder = fake_vocoder(batch=16)
    deadly = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGUSR1, signal.SIGXCPU, *REAL_TIME)

    async def main(pool):
        (worker,) = pool.workers
        for count, number in enumerate(deadly, 1):
            os.kill(worker.pid, number)
            await settles(lambda count=count: worker.restarts == count)
            await settles(lambda: worker.up)
        await plays(pool, vocoder)
        assert worker.tended

    isolated(main, vocoder, workers=1)
    told = [record.getMessage() for record in caplog.records if "ended by signal" in record.getMessage()]
    assert [int(line.split("ended by signal ")[1].split()[0]) for line in told] == list(map(int, deadly))
    assert "(SIGRTMIN+1)" in told[-3]


class Fault:
    """A function that fails a few times and then does what it should."""

    def __init__(self, inner, error, times=3, when=lambda: True):
        self.inner, self.error, self.left, self.when = inner, error, times, when

    def __call__(self, *given, **named):
        if self.left and self.when():
            self.left -= 1
            raise type(self.error)(*self.error.args)
        return self.inner(*given, **named)

    def __get__(self, owner, _):
        return lambda *given, **named: self(owner, *given, **named)


FAULTS = [
    (ForkServer, "spawn", BlockingIOError(11, "Resource temporarily unavailable")),
    (ForkServer, "spawn", struct.error("unpack requires 4 bytes")),
    (ForkServer, "spawn", MemoryError()),
    (ForkServer, "_ask", RuntimeError("can't start new thread")),
    (ForkServer, "_open", OSError(24, "Too many open files")),
    (process_worker, "WorkerConnection", RuntimeError("can't start new thread")),
    (process_worker, "_reap", RuntimeError("can't start new thread")),
    (process_worker.asyncio, "to_thread", RuntimeError("can't start new thread")),
    (WorkerConnection, "attach", OSError(28, "No space left on device")),
    (WorkerConnection, "_receive", KeyError("failure")),
    (ProcessWorker, "_run", ValueError("a mistake")),
    (ProcessWorker, "_watch", RuntimeError("a mistake")),
    (ProcessWorker, "_send_voices", TypeError("a mistake")),
    (ProcessWorker, "_on_notice", TypeError("a mistake")),
    ("serving.workers.connection", "_memory", OSError(24, "Too many open files")),
    ("serving.workers.connection", "RingReader", MemoryError()),
]


def test_whatever_fails_the_supervisor_tries_again(monkeypatch):
    vocoder = fake_vocoder(batch=16)

    async def main(pool):
        (worker,) = pool.workers
        for where, what, error in FAULTS:
            with monkeypatch.context() as patch:
                place = sys.modules[where] if isinstance(where, str) else where
                patch.setattr(place, what, fault := Fault(getattr(place, what), error))
                if what == "_open":
                    worker._options.fork_server._close()
                before = worker.restarts
                while fault.left:
                    if worker.pid is not None:
                        with contextlib.suppress(ProcessLookupError):  # it has just ended
                            os.kill(worker.pid, signal.SIGKILL)
                    await asyncio.sleep(0.01)
                await plays(pool, vocoder)
            assert worker.tended, what
            assert worker.restarts > before
        assert not pool.failed

    isolated(main, vocoder, workers=1)


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), TypeError("x"), RecursionError(), struct.error("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "")],
)
def test_garbage_of_any_kind_ends_the_worker_that_wrote_it_and_its_streams(monkeypatch, error):
    vocoder = fake_vocoder(batch=16)

    async def main(pool):
        with pool.admit(vocoder) as lease, monkeypatch.context() as patch:
            patch.setattr(RingReader, "read", Fault(RingReader.read, error, 1))
            begin(lease)
            with pytest.raises(WorkerLost):
                await listen(lease)
        await plays(pool, vocoder)

    isolated(main, vocoder, workers=1)


def test_a_fork_that_fails_is_told_and_costs_nobody_his_worker(monkeypatch, tmp_path, caplog):
    program = """import errno, os, sys
from serving.workers import fork_server
inner, calls = os.fork, []
def fork():
    calls.append(1)
    if 1 < len(calls) < 4:
        raise BlockingIOError(errno.EAGAIN, "no process to be had")
    return inner()
os.fork = fork
fork_server.main(int(sys.argv[-1]))
"""
    (tmp_path / "program.py").write_text(program)
    starter = tmp_path / "python"
    starter.write_text(f'#!/bin/sh\nfor last; do :; done\nexec {sys.executable} {tmp_path}/program.py "$last"\n')
    starter.chmod(starter.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("serving.workers.fork_server.sys.executable", str(starter))
    vocoder = fake_vocoder(batch=16)

    async def main(pool):
        fork_server = pool.workers[0]._options.fork_server._process
        os.kill(pool.workers[0].pid, signal.SIGKILL)
        await settles(lambda: pool.workers[0].restarts == 3)
        await plays(pool, vocoder)
        assert pool.workers[0]._options.fork_server._process is fork_server

    isolated(main, vocoder, workers=1)
    assert caplog.text.count("could not be started ([Errno 11] Resource temporarily unavailable)") == 2


def test_a_supervisor_that_ends_is_seen_by_everybody():
    vocoder = fake_vocoder(batch=16)

    async def main(pool):
        with pool.admit(vocoder) as lease:
            lease.start(FRAMES)
            pool.workers[0]._supervisor.cancel()
            with pytest.raises(WorkerLost):
                await listen(lease)
        await settles(lambda: pool.failed)
        assert [worker.tended for worker in pool.workers] == [False, True]
        assert not pool.workers[0].up

    isolated(main, vocoder)


@pytest.mark.parametrize("error", [ValueError("a mistake"), MemoryError(), RecursionError()])
def test_a_thread_goes_on_after_a_mistake_and_its_streams_are_told(monkeypatch, error):
    vocoder = fake_vocoder(batch=16)

    async def main(pool):
        batcher = pool.workers[0]._batcher
        for where, when in (
            ("plan", lambda: len(batcher)),
            *((name, lambda: True) for name in ("open", "push", "commit")),
        ):
            with pool.admit(vocoder) as lease, monkeypatch.context() as patch:
                patch.setattr(batcher, where, Fault(getattr(batcher, where), error, 1, when))
                begin(lease)
                with pytest.raises((WorkerLost, ModelFailure)):
                    await listen(lease)
            await settles(lambda: pool.busy == 0)
            await plays(pool, vocoder)
        assert pool.workers[0].up

    pool_test(main, workers=1)


def test_a_thread_that_ends_is_seen_by_everybody(monkeypatch):
    async def main():
        pool = WorkerPool(workers=2, slots=4)
        pool.start()
        monkeypatch.setattr(pool.workers[0]._batcher, "plan", Fault(None, SystemExit(), 1))
        with pool.workers[0]._wake:
            pool.workers[0]._wake.notify()
        await settles(lambda: pool.failed)
        await settles(lambda: not pool.workers[0].tended)
        assert [worker.up for worker in pool.workers] == [False, True]
        await asyncio.to_thread(pool.stop)

    asyncio.run(main())


async def used(lease, error):
    with lease:
        begin(lease)
        await lease.take()
        raise error


@pytest.mark.parametrize("where", ["open", "push", "finish", "take"])
@pytest.mark.parametrize(
    ("make", "error"),
    [
        *((None, error) for error in (ValueError("x"), OverflowError(), OSError(5, "x"), asyncio.CancelledError())),
        (FAKES, ValueError("x")),
    ],
)
def test_a_lease_comes_back_whatever_raises(monkeypatch, where, error, make):
    vocoder = fake_vocoder(batch=16)

    async def main(pool):
        kind = ThreadWorker if make is None else ProcessWorker
        for _ in range(2 * pool.slots):
            with monkeypatch.context() as patch:
                if where != "take":
                    patch.setattr(kind, where, Fault(None, error, 1))
                with pytest.raises(type(error)):
                    await used(pool.admit(vocoder), error)
            await settles(lambda: pool.busy == 0)
        await plays(pool, vocoder)

    (pool_test if make is None else lambda body: isolated(body, vocoder, workers=1))(main)


def test_an_event_that_cannot_be_counted_costs_no_slot(caplog):
    vocoder = fake_vocoder(batch=16)

    async def main(pool):
        pool.observer = Fault(None, KeyError("x"), 1 << 30)
        await plays(pool, vocoder)

    pool_test(main)
    assert "an event was not counted" in caplog.text


def opener_that_fails(reference):
    """The fake of a reference, while a file is not there."""
    if os.path.exists(reference["failing"]):
        raise MemoryError
    return fake_opener(reference["fake"])


def test_a_voice_that_a_worker_cannot_open_again_is_served_by_the_others_until_it_can(tmp_path, caplog):
    vocoder = fake_vocoder(batch=16)
    failing = tmp_path / "failing"
    make = process_workers(
        "tests.serving.test_supervisor:opener_that_fails",
        lambda voice: {"failing": str(failing), "fake": fake_reference(voice)},
        heartbeat=60.0,
    )

    async def main(pool):
        pool.set_capacity(vocoder, Capacity())
        failing.touch()
        victim = pool.workers[0]
        with pool.admit(vocoder) as lease:
            assert lease.worker == 0
            begin(lease)
            os.kill(victim.pid, signal.SIGKILL)
            with pytest.raises(WorkerLost):
                await listen(lease)
        await settles(lambda: victim.up and not victim.holds(vocoder))
        other = fake_vocoder(batch=16, name="other")  # which it may open, as far as anybody knows
        leases = [pool.admit(vocoder) for _ in range(2)]
        assert [lease.worker for lease in leases] == [1, 1]  # busy, and yet the only one that has it
        for lease in leases:
            begin(lease)
            await listen(lease)
            lease.close()
        with pool.admit(other) as lease:
            assert lease.worker == 0
            begin(lease)
            with pytest.raises(WorkerLost, match="does not open again"):  # as for a worker that ended: try again
                await listen(lease)
        failing.unlink()
        await settles(lambda: victim.holds(vocoder))
        with pool.admit(vocoder) as lease:
            assert lease.worker == 0
            begin(lease)
            await listen(lease)

    isolated(main, vocoder, make=make)
    assert "could not open a voice; the next attempt is in" in caplog.text


def opener_that_waits(reference):
    """The fake of a reference, once a file is gone."""
    while reference["waiting"] and os.path.exists(reference["waiting"]):
        time.sleep(0.01)
    return fake_opener(reference["fake"])


def test_a_voice_that_hangs_keeps_a_fresh_worker_from_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(process_worker, "LATE", 0.05)
    slow, quick, waiting = fake_vocoder(batch=16), fake_vocoder(batch=16, name="quick"), tmp_path / "waiting"
    make = process_workers(
        "tests.serving.test_supervisor:opener_that_waits",
        lambda voice: {"waiting": str(waiting) if voice is slow else "", "fake": fake_reference(voice)},
        heartbeat=60.0,
    )

    async def main(pool):
        (worker,) = pool.workers
        waiting.touch()
        pool.set_capacity(quick, Capacity())
        os.kill(worker.pid, signal.SIGKILL)
        await settles(lambda: worker.restarts == 1 and worker.up and worker.holds(quick))
        assert not worker.holds(slow)
        assert pool.admit(slow) is None
        await plays(pool, quick)
        waiting.unlink()
        await plays(pool, slow)

    isolated(main, slow, make=make, workers=1)


BEREFT = """
import asyncio, sys
from serving.cli.__main__ import main
from serving.workers.process_worker import ProcessWorker
inner = ProcessWorker._run
async def run(self, connection):
    asyncio.get_running_loop().call_later(1.0, self._supervisor.cancel)
    await inner(self, connection)
ProcessWorker._run = run
sys.exit(main(sys.argv[1:]))
"""


def test_a_server_whose_supervisor_has_ended_ends_and_says_so(repository, tiny_bundle):
    command = [sys.executable, "-c", BEREFT, "serve", "--voice", str(tiny_bundle), "--port", "0", "--threads", "1"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"the supervisor of worker 0 has ended" in done.stderr


def test_a_server_whose_supervisor_has_ended_is_not_alive():
    with Live(App(fake_vocoder(), threads=1, make=FAKES)) as server:
        assert server.request("GET", "/livez")[0] == 200
        supervisor = server.app.pool.workers[0]._supervisor
        supervisor.get_loop().call_soon_threadsafe(supervisor.cancel)
        wait_for(lambda: server.app.pool.failed)
        assert server.request("GET", "/livez")[0] == 503
        assert server.request("GET", "/readyz")[0] == 503
