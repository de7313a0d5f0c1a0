"""What clients see when a worker process ends in the middle."""

from __future__ import annotations

import http.client
import os
import signal

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from serving.app import App
from serving.client import Client, ServerError
from serving.streams.sound import SoundRequest
from serving.streams.vocoder import VoiceSettings
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live, message, wait_for
from tests.serving.test_isolation import FAKES
from tests.serving.test_websocket import INIT, dial, hear, push, say


@pytest.fixture
def gated(tmp_path):
    """An app of one worker process whose voice stops after three calls until the test opens its gate."""
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.gate_file, vocoder.runtime.gate_from = str(tmp_path / "gate"), 3
    return App(vocoder, threads=1, slots=4, make=FAKES)


def kill(server):
    os.kill(server.app.pool.workers[0].pid, signal.SIGKILL)


def test_over_http_a_lost_worker_is_a_503_or_a_body_without_its_end(gated):
    with Live(gated) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/v1/vocode?format=pcm", audio_file(tone(1.0)))
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read(80)
        kill(server)
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
        assert len(caught.value.partial) < 16000
        connection.close()
        wait_for(lambda: server.request("GET", "/readyz")[0] == 200)
        assert "seqgen_worker_restarts_total 1" in server.request("GET", "/metrics")[2].decode()


def test_before_the_first_sound_a_lost_worker_is_a_503(tmp_path):
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.gate_file = str(tmp_path / "gate")
    with Live(App(vocoder, threads=1, slots=4, make=FAKES)) as server:
        sock = server.begin(audio_file(tone(1.0)))
        wait_for(lambda: server.app.pool.workers[0]._live)
        kill(server)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert (answer.status, answer.getheader("retry-after")) == (503, "1")
        assert message(answer.read()) == "worker 0 ended in the middle of the stream; try again in a second"
        sock.close()
        wait_for(lambda: server.app.pool.busy == 0)


def test_over_a_websocket_a_lost_worker_is_an_error_and_then_the_end(gated):
    with Live(gated) as server, dial(server) as sock:
        for context in (0, 1):
            say(sock, **INIT, context=context)
            hear(sock, "ready")
        push(sock, np.full((40, SPEC.n_mels), SPEC.silence))
        assert sock.recv(timeout=30)[:4] == bytes(4)
        kill(server)
        _, told = hear(sock, "error")
        assert (told["context"], told["code"]) == (0, "worker_lost")
        assert told["message"] == "worker 0 ended in the middle of the stream; connect again"
        # The other context had no stream in the worker, so it lives, and plays once the worker is back.
        wait_for(lambda: server.app.pool.workers[0].up)
        push(sock, np.full((1, SPEC.n_mels), SPEC.silence), context=1)
        wait_for(lambda: server.app.pool.workers[0]._live)
        kill(server)
        _, told = hear(sock, "error", context=1)
        assert told["code"] == "worker_lost"
        with pytest.raises(ConnectionClosed) as caught:
            sock.recv(timeout=30)
        assert caught.value.rcvd.code == 1011


def test_the_client_goes_on_with_the_sound_that_a_lost_worker_began(tmp_path):
    vocoder, body = fake_vocoder(batch=16), audio_file(tone(1.0))
    vocoder.runtime.gate_file, vocoder.runtime.gate_from = str(tmp_path / "gate"), 3
    whole = b"".join(everything(fake_vocoder(batch=16), SoundRequest(VoiceSettings(4)), body))
    with Live(App(vocoder, threads=2, slots=4, make=FAKES)) as server:
        client = Client(f"http://127.0.0.1:{server.port}", timeout=30)
        for resumes, events in ((0, False), (1, False), (0, True), (1, True)):
            (tmp_path / "gate").unlink(missing_ok=True)
            wait_for(lambda: all(worker.up for worker in server.app.pool.workers))
            sound = client.vocode(body, seed=4, resumes=resumes, events=events)
            heard = [next(sound)]
            (busy,) = [worker for worker in server.app.pool.workers if worker._live]
            os.kill(busy.pid, signal.SIGKILL)
            wait_for(lambda busy=busy: not busy.up)
            (tmp_path / "gate").touch()
            if resumes:
                assert b"".join([*heard, *sound]) == whole
            else:
                with pytest.raises((OSError, ServerError), match=r"the connection broke|worker . ended"):
                    list(sound)
