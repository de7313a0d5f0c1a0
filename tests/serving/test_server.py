"""The server over real sockets, with a voice whose speed and failures the test decides."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from seqgen.audio.features import log_mel
from seqgen.audio.io import pcm16
from serving.app import App
from serving.http.protocol import RequestLimits
from serving.sound.encoders import wav_head
from serving.streams.vocoder import VoiceSettings
from tests.serving.fakes import SPEC, audio_file, fake_vocoder, features_file, opened_body, tone
from tests.serving.live import Live, message, wait_for


def expected(vocoder, body, **settings):
    """The PCM bytes of a request, made without a server."""
    source = opened_body(body)
    return b"".join(pcm16(chunk).astype("<i2").tobytes() for chunk in vocoder.run(source, VoiceSettings(**settings)))


def app_for(vocoder, **options):
    return App(vocoder, **({"threads": 2, "slots": 4} | options))


@pytest.fixture
def vocoder():
    return fake_vocoder()


def test_a_wav_stream_comes_back(vocoder):
    body = audio_file(tone(1.0))
    with Live(app_for(vocoder)) as server:
        status, headers, answer = server.post("seed=5&temperature=0.5", body, Content_Type="audio/wav")
        assert status == 200
        assert headers["content-type"] == "audio/wav"
        assert headers["transfer-encoding"] == "chunked"
        assert headers["x-synthetic"] == 'seqgen; kind=vocoder; voice="fake"; seed=5'
        assert len(headers["x-request-id"]) == 16
        head = wav_head(8000, headers["x-synthetic"])
        assert answer == head + expected(vocoder, body, seed=5, temperature=0.5)
        assert len(answer) == len(head) + 2 * 8000


def test_raw_samples_and_features_and_speakers(tmp_path):
    vocoder = fake_vocoder(speakers=("a", "b"))
    body = features_file(tmp_path, log_mel(tone(0.5), SPEC))
    with Live(app_for(vocoder)) as server:
        for speaker in "ab":
            status, headers, answer = server.post(f"format=pcm&speaker={speaker}", body, X_Request_Id="me-1")
            assert (status, headers["x-request-id"]) == (200, "me-1")
            assert headers["content-type"] == "audio/pcm;rate=8000;channels=1;encoding=s16le"
            assert answer == expected(vocoder, body, speaker=speaker)


def test_sound_starts_before_the_last_of_it_is_made(vocoder):
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), 2
    with Live(app_for(vocoder)) as server:
        sock = server.begin(audio_file(tone(1.0)))
        answer = http.client.HTTPResponse(sock)
        answer.begin()  # status and headers are there, and so is sound, while the third chunk cannot be made
        early = answer.read(200)
        assert len(early) == 200
        assert vocoder.runtime.blocks == [3, 2]
        vocoder.runtime.gate.set()
        assert len(early + answer.read()) == 16000
        sock.close()


def test_streams_side_by_side_get_their_own_sound(vocoder):
    vocoder.runtime.delay = 0.0005
    bodies = [audio_file(tone(0.5 + 0.1 * i)) for i in range(4)]
    with Live(app_for(vocoder)) as server, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: server.post(f"format=pcm&seed={i}", bodies[i]), range(4)))
    vocoder.runtime.delay = 0
    for i, (status, _, answer) in enumerate(answers):
        assert status == 200
        assert answer == expected(vocoder, bodies[i], seed=i)


def test_a_full_server_refuses_before_it_reads_the_body(vocoder):
    vocoder.runtime.gate = threading.Event()
    with Live(app_for(vocoder, slots=2)) as server:
        held = [server.begin(audio_file(tone(0.2))) for _ in range(2)]
        wait_for(lambda: server.app.pool.busy == 2)
        sock = server.connect()
        begin = time.monotonic()
        sock.sendall(b"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\nnot yet sent")
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "all 2 streams are taken" in message(answer.read())
        assert time.monotonic() - begin < 10
        sock.close()
        status, headers, body = server.post("", bytes(8 << 20))  # a sender that reads only when all is sent
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(body)["error"]["type"] == "overloaded_error"
        vocoder.runtime.gate.set()
        for sock in held:
            sock.close()
        wait_for(lambda: server.app.pool.busy == 0)
        assert server.post("", audio_file(tone(0.2)))[0] == 200


@pytest.mark.parametrize("read_first", [False, True])
def test_hanging_up_frees_the_slot_within_two_chunks(vocoder, read_first):
    vocoder.runtime.delay = 0.03  # a chunk of 8 frames takes 0.24 s
    with Live(app_for(vocoder)) as server:
        sock = server.begin(audio_file(tone(60.0)))
        if read_first:
            assert sock.recv(100)
        wait_for(lambda: len(vocoder.runtime.blocks) > 3)
        sock.close()
        seen = len(vocoder.runtime.blocks)
        wait_for(lambda: server.app.pool.busy == 0)
        assert len(vocoder.runtime.blocks) <= seen + 2
        time.sleep(0.3)
        assert len(vocoder.runtime.blocks) <= seen + 2


def test_hanging_up_before_the_first_sound_or_in_the_body_frees_the_slot(vocoder):
    vocoder.runtime.gate = threading.Event()
    with Live(app_for(vocoder, slots=2)) as server:
        waiting = server.begin(audio_file(tone(0.2)))
        sending = server.connect()
        sending.sendall(b"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nRIFF")
        wait_for(lambda: server.app.pool.busy == 2)
        sending.close()
        wait_for(lambda: server.app.pool.busy == 1)
        waiting.close()
        vocoder.runtime.gate.set()
        wait_for(lambda: server.app.pool.busy == 0)


def test_a_slow_reader_stops_the_work_and_then_gets_it_all(vocoder):
    body = audio_file(np.zeros(8000 * 30, np.int16), form="FLAC")
    with Live(app_for(vocoder, buffered=0.5), send_buffer=1 << 14) as server:
        sock = server.begin(body, receive_buffer=1 << 14)
        wait_for(lambda: server.app.pool.busy == 1)
        (slot,) = server.app.pool.leases
        made = -1
        while made != sum(vocoder.runtime.blocks) or slot.waiting < 8000:  # until the pipe is full to the last buffer
            made = sum(vocoder.runtime.blocks)
            time.sleep(0.2)
        assert made * SPEC.hop * 2 < 300_000 < 2 * 8000 * 30
        assert slot.waiting <= 8000 + 8 * SPEC.hop * 2
        assert server.post("format=pcm", audio_file(tone(1.0)))[0] == 200
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.read() == expected(vocoder, body)
        sock.close()


def test_a_reader_that_stops_for_good_is_cut_off(vocoder, caplog):
    with Live(app_for(vocoder, buffered=0.1, limits=RequestLimits(stall=0.3)), send_buffer=1 << 12) as server:
        sock = server.begin(audio_file(np.zeros(8000 * 60, np.int16), form="FLAC"), receive_buffer=1 << 12)
        wait_for(lambda: server.app.pool.busy == 1)
        wait_for(lambda: server.app.pool.busy == 0)
        sock.close()
    assert "an answer was cut: nothing was read for 0.3 s" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_sender_that_stops_for_good_is_cut_off(vocoder):
    with Live(app_for(vocoder, limits=RequestLimits(upload=0.2))) as server:
        sock = server.connect()
        sock.sendall(b"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nRIFF")
        answer = sock.recv(4096).decode()
        assert answer.startswith("HTTP/1.1 408")
        sock.close()


def test_a_failure_before_the_first_sound_is_an_http_error(vocoder, caplog):
    with Live(app_for(vocoder)) as server:
        vocoder.runtime.fail_after = 0
        status, headers, body = server.post("", audio_file(tone(0.5)))
        assert (status, headers["content-type"]) == (500, "application/json")
        assert message(body) == f"the voice failed; see the server's log for request {headers['x-request-id']}"
        assert "told to fail" in caplog.text
        vocoder.runtime.fail_after = 1 << 60
        assert server.post("", audio_file(tone(0.5)))[0] == 200


@pytest.mark.parametrize("option", ["fail_after", "nan_after"])
def test_a_failure_in_the_middle_is_no_clean_end(vocoder, caplog, option):
    with Live(app_for(vocoder)) as server:
        setattr(vocoder.runtime, option, 4000)
        with pytest.raises(http.client.IncompleteRead) as caught:
            server.post("format=pcm", audio_file(tone(1.0)))
        assert 0 < len(caught.value.partial) <= 8000
        assert "failed in the middle of the sound" in caplog.text
        setattr(vocoder.runtime, option, 1 << 60)
        assert server.post("", audio_file(tone(1.0)))[0] == 200


def test_refusals_are_json_with_one_clear_line(vocoder, tmp_path):
    limits = RequestLimits(body=100_000, sound=5.0)
    nan = np.zeros(100, np.float32)
    nan[7] = np.nan
    cases = [
        ("", b"", 422, "the request body is empty"),
        ("", b"junk" * 10, 422, "neither audio nor features"),
        ("", audio_file(tone(1.0))[:999], 422, "truncated"),
        ("", audio_file(nan, subtype="FLOAT"), 422, "NaN or infinity at sample 7"),
        ("", audio_file(np.zeros(8000 * 6, np.int16), form="FLAC"), 422, "holds 6.0 s, more than the 5 s"),
        ("", bytes(100_001), 413, "larger than 100000 bytes"),
        ("temperature=9", audio_file(tone(0.1)), 422, "temperature 9.0 is out of range"),
        ("speaker=x", audio_file(tone(0.1)), 422, "has no speaker 'x'"),
        ("seeed=1", audio_file(tone(0.1)), 422, "did you mean 'seed'?"),
    ]
    with Live(app_for(vocoder, limits=limits)) as server:
        for query, body, status, text in cases:
            got, headers, answer = server.post(query, body)
            assert (got, headers["content-type"]) == (status, "application/json"), answer
            assert "x-request-id" in headers
            assert text in message(answer)
            assert "\n" not in message(answer)
            assert json.loads(answer)["error"]["type"] == "invalid_request_error"
        assert server.post("", audio_file(tone(0.1)))[0] == 200


def test_a_body_that_declares_too_much_is_not_waited_for(vocoder):
    with Live(app_for(vocoder, limits=RequestLimits(body=10_000))) as server:
        sock = server.connect()
        sock.sendall(b"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n")
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 413
        answer.close()
        sock.close()


def test_a_body_without_a_length_is_capped_too(vocoder):
    with Live(app_for(vocoder, limits=RequestLimits(body=10_000))) as server:
        status, _, answer = server.request("POST", "/v1/vocode", iter([bytes(6000)] * 2))
        assert status == 413
        assert "larger than 10000 bytes" in message(answer)
        wait_for(lambda: server.app.pool.busy == 0)


def test_live_ready_and_models(vocoder):
    vocoder.runtime.gate = threading.Event()
    with Live(app_for(vocoder)) as server:
        assert server.request("GET", "/livez")[0] == 200
        status, _, body = server.request("GET", "/readyz")
        assert (status, json.loads(body)["status"]) == (200, "ready")
        sock = server.begin(audio_file(tone(0.2)))
        wait_for(lambda: json.loads(server.request("GET", "/readyz")[2])["busy"] == 1)
        voice = json.loads(server.request("GET", "/v1/models")[2])["data"][0]
        assert (voice["id"], voice["sample_rate"], voice["feature_signature"]) == ("fake", 8000, SPEC.signature)
        server.app.drain()
        assert server.request("GET", "/readyz")[0] == 503
        vocoder.runtime.gate.set()
        sock.close()


def test_other_methods_and_paths_are_refused_in_json(vocoder):
    with Live(app_for(vocoder)) as server:
        status, _, body = server.request("HEAD", "/livez")
        assert (status, body) == (200, b"")
        for method, path, expected_status in [
            ("OPTIONS", "/v1/vocode", 405),
            ("GET", "/v1/vocode", 405),
            ("POST", "/livez", 405),
            ("GET", "/v1/../etc/passwd", 404),
            ("GET", "/none", 404),
        ]:
            status, headers, body = server.request(method, path)
            assert (status, headers["content-type"]) == (expected_status, "application/json")
            assert path in message(body)
            assert status == 404 or headers["allow"]
        assert server.request("HEAD", "/v1/vocode")[0] == 405
        assert "access-control-allow-origin" not in server.request("OPTIONS", "/v1/vocode", Origin="http://evil")[1]


def test_stopping_lets_streams_finish(vocoder):
    vocoder.runtime.delay = 0.002
    body = audio_file(tone(1.0))
    with Live(app_for(vocoder)) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, "format=pcm", body)
        wait_for(lambda: len(vocoder.runtime.blocks) > 3)
        server.server.should_exit = True
        status, _, sound = answer.result(10)
    vocoder.runtime.delay = 0
    assert status == 200
    assert sound == expected(vocoder, body)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), 1)


def test_streams_that_outlast_the_drain_are_cut(vocoder):
    vocoder.runtime.delay = 0.01
    with Live(app_for(vocoder), drain=1) as server:
        sock = server.begin(audio_file(tone(60.0)))
        assert sock.recv(100)
        begin = time.monotonic()
    assert time.monotonic() - begin < 20
    data = b""
    while more := sock.recv(1 << 16):
        data += more
    assert not data.endswith(b"0\r\n\r\n")
    sock.close()


def test_the_event_loop_answers_while_the_workers_compute(vocoder):
    vocoder.runtime.delay = 0.1  # a chunk of 8 frames takes 0.8 s
    with Live(app_for(vocoder)) as server:
        plugs = [server.begin(audio_file(tone(30.0))) for _ in range(3)]
        wait_for(lambda: len(vocoder.runtime.blocks) > 3)
        begin = time.monotonic()
        for _ in range(20):
            assert server.request("GET", "/livez")[0] == 200
        assert time.monotonic() - begin < 8
        for sock in plugs:
            sock.close()
