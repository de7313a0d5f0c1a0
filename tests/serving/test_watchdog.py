"""What a server notices of its worker processes: how fast they are, and that one hangs."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from serving.capacity import Capacity
from serving.process_worker import in_processes
from serving.worker import WorkerLost
from tests.serving.fakes import SPEC, everything, fake_recipe, fake_vocoder
from tests.serving.test_crew import listen, settles
from tests.serving.test_isolation import FRAMES, SILENCE, begin, collect, isolated

WATCHED = in_processes("tests.serving.fakes:fake_opener", fake_recipe, beat=0.2)


def test_a_worker_tells_how_long_its_calls_take():
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.delay = 0.002  # for 5 ms of sound

    async def main(crew):
        crew.learn(vocoder, Capacity(0.001, 0.001, 16))
        with crew.admit(vocoder) as ticket:
            begin(ticket, np.full((200, SPEC.n_mels), SPEC.silence, "<f4").tobytes())
            await listen(ticket)
            assert crew.workers[0].pace > 2

    isolated(main, vocoder, workers=1)


@pytest.mark.parametrize("how", ["stopped", "stuck in a call"])
def test_a_worker_that_hangs_is_killed_and_others_play(how, tmp_path, caplog):
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.delay = 0.002
    stuck = fake_vocoder(batch=16, name="stuck")
    stuck.runtime.gate_file, stuck.runtime.gate_from = str(tmp_path / "gate"), 1
    body = np.full((1000, SPEC.n_mels), SPEC.silence, "<f4").tobytes()
    want = b"".join(everything(fake_vocoder(batch=16), FRAMES, body))

    async def main(crew):
        crew.learn(stuck, Capacity())
        await settles(lambda: all(worker.up for worker in crew.workers))
        held = [crew.admit(voice) for voice in (vocoder, stuck)]
        for ticket in held:
            begin(ticket, body)
        playing, hanging = held
        heard, victim, hung = await hanging.take(), crew.workers[1], crew.workers[1].pid
        if how == "stopped":
            os.kill(hung, signal.SIGSTOP)
        with pytest.raises(WorkerLost, match="worker 1 ended in the middle"):
            await collect(hanging, [heard])
        (tmp_path / "gate").touch()
        assert not victim.up
        assert await listen(playing) == want
        assert crew.workers[0].restarts == 0
        await victim.ready()
        assert victim.pid != hung
        begin(hanging)
        assert await listen(hanging) == b"".join(everything(fake_vocoder(batch=16), FRAMES, SILENCE))
        for ticket in held:
            ticket.close()

    isolated(main, vocoder, make=WATCHED)
    assert "gives no sign of life and is killed" in caplog.text
