"""What a server notices of its worker processes: how fast they are, and that one hangs."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from serving.streams.capacity import Capacity
from serving.workers.process_worker import process_workers
from serving.workers.worker import WorkerLost
from tests.serving.fakes import SPEC, everything, fake_reference, fake_vocoder
from tests.serving.test_isolation import FRAMES, SILENCE, begin, collect, isolated
from tests.serving.test_worker_pool import listen, settles

WATCHED = process_workers("tests.serving.fakes:fake_opener", fake_reference, heartbeat=0.2)


def test_a_worker_tells_how_long_its_calls_take():
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.delay = 0.002  # for 5 ms of sound

    async def main(pool):
        pool.set_capacity(vocoder, Capacity(0.001, 0.001, 16))
        with pool.admit(vocoder) as lease:
            begin(lease, np.full((200, SPEC.n_mels), SPEC.silence, "<f4").tobytes())
            await listen(lease)
            assert pool.workers[0].pace > 2

    isolated(main, vocoder, workers=1)


@pytest.mark.parametrize("how", ["stopped", "stuck in a call"])
def test_a_worker_that_hangs_is_killed_and_others_play(how, tmp_path, caplog):
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.delay = 0.002
    stuck = fake_vocoder(batch=16, name="stuck")
    stuck.runtime.gate_file, stuck.runtime.gate_from = str(tmp_path / "gate"), 1
    body = np.full((1000, SPEC.n_mels), SPEC.silence, "<f4").tobytes()
    want = b"".join(everything(fake_vocoder(batch=16), FRAMES, body))

    async def main(pool):
        pool.set_capacity(stuck, Capacity())
        await settles(lambda: all(worker.up for worker in pool.workers))
        held = [pool.admit(voice) for voice in (vocoder, stuck)]
        for lease in held:
            begin(lease, body)
        playing, hanging = held
        heard, victim, hung = await hanging.take(), pool.workers[1], pool.workers[1].pid
        if how == "stopped":
            os.kill(hung, signal.SIGSTOP)
        with pytest.raises(WorkerLost, match="worker 1 ended in the middle"):
            await collect(hanging, [heard])
        (tmp_path / "gate").touch()
        assert not victim.up
        assert await listen(playing) == want
        assert pool.workers[0].restarts == 0
        await victim.ready()
        assert victim.pid != hung
        begin(hanging)
        assert await listen(hanging) == b"".join(everything(fake_vocoder(batch=16), FRAMES, SILENCE))
        for lease in held:
            lease.close()

    isolated(main, vocoder, make=WATCHED)
    assert "gives no sign of life and is killed" in caplog.text
