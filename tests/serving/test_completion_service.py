"""Completions under load, limits, keys and failures: a text is a stream like any other."""

from __future__ import annotations

import contextlib
import json
import threading
import time

import openai
import pytest

from serving.app import App
from serving.http.keys import ApiKeys, add_key, read_keys
from serving.http.protocol import RequestLimits
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from tests.serving.live import Live, wait_for
from tests.serving.test_completions import client, post, serve
from tests.serving.text_fakes import fake_text


@contextlib.contextmanager
def held(server, model):
    """A stream that is under way until it is let go."""
    model.runtime.gate = threading.Event()
    sock = server.connect()
    body = json.dumps({"model": model.name, "prompt": "a", "max_tokens": 4000, "stream": True}).encode()
    sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    wait_for(lambda: server.app.pool.busy == 1)
    try:
        yield sock
    finally:
        model.runtime.gate.set()
        sock.close()


def test_who_comes_when_all_slots_are_taken_is_told_before_the_body():
    model = fake_text()
    with serve(model, slots=1) as server:
        with held(server, model):
            status, headers, body = post(server, {"model": "lm", "prompt": "a"})
            assert (status, headers["retry-after"]) == (503, "1")
            assert json.loads(body)["error"]["type"] == "overloaded_error"
            sock = server.connect()
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
            assert b"503" in sock.recv(100)  # without any of it
            sock.close()
        wait_for(lambda: server.app.pool.busy == 0)
        assert post(server, {"model": "lm", "prompt": "a"})[0] == 200


def test_a_reader_who_leaves_frees_the_slot_soon():
    model = fake_text()
    model.runtime.delay = 0.002
    with serve(model, limits=RequestLimits(tokens=1 << 20)) as server:
        for _ in range(10):
            sock = server.connect()
            body = b'{"model": "lm", "prompt": "a", "max_tokens": 1000000, "stream": true}'
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            sock.recv(1000)
            assert server.app.pool.busy == 1
            sock.close()
            assert wait_for(lambda: server.app.pool.busy == 0) < 0.5


def test_a_reader_who_does_not_read_holds_up_nobody():
    model = fake_text()
    with serve(model, limits=RequestLimits(tokens=1 << 20)) as server:
        sock = server.connect(receive_buffer=4096)
        body = b'{"model": "lm", "prompt": "a", "max_tokens": 1000000, "stream": true}'
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        lease = None

        def stands():
            nonlocal lease
            lease = next(iter(server.app.pool.leases), lease)
            before = server.app.metrics._counts(model).counters["tokens"]
            time.sleep(0.1)
            return before and before == server.app.metrics._counts(model).counters["tokens"]

        wait_for(stands)
        assert lease.waiting < 200_000
        assert post(server, {"model": "lm", "prompt": "a"})[0] == 200
        sock.close()


def test_keys_and_their_quotas_hold(tmp_path):
    secret = add_key(tmp_path / "keys.jsonl", "me", 1, 3)
    model = fake_text()
    with serve(model, keys=ApiKeys(read_keys(tmp_path / "keys.jsonl"))) as server:
        with client(server, "sk-wrong") as api, pytest.raises(openai.AuthenticationError):
            api.completions.create(model="lm", prompt="a")
        with client(server, secret) as api:
            assert api.completions.create(model="lm", prompt="a").choices
            for _ in api.completions.create(model="lm", prompt="a", stream=True, max_tokens=4000):
                with pytest.raises(openai.RateLimitError, match="all 1 streams"):
                    api.completions.create(model="lm", prompt="a")
                break
            with pytest.raises(openai.RateLimitError, match="a minute"):
                api.completions.create(model="lm", prompt="a")


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_fails_before_its_first_text_is_an_error(stream):
    model = fake_text()
    with serve(model) as server:
        model.runtime.nan = True
        status, _, body = post(server, {"model": "lm", "prompt": "abc", "stream": stream})
        assert (status, json.loads(body)["error"]["type"]) == (500, "server_error")
        assert "abc" not in body.decode()
        model.runtime.nan = False
        assert post(server, {"model": "lm", "prompt": "abc", "stream": stream})[0] == 200


def test_a_model_that_fails_in_the_middle_ends_the_stream_by_an_error():
    model = fake_text(script=b"abcdefghijklmnop!")
    model.runtime.fail_at = ord("!")
    with serve(model) as server, client(server) as api:
        events = api.completions.create(model="lm", prompt="", max_tokens=40, stream=True)
        texts: list[str] = []
        with pytest.raises(openai.APIError, match="the model failed"):
            texts.extend(event.choices[0].text for event in events)
        assert texts
        assert "abcdefghijklmnop".startswith("".join(texts))


def test_draining_finishes_texts_under_way():
    model = fake_text()
    model.runtime.delay = 0.002
    with Live(App(model, threads=1), drain=60) as server, client(server) as api:
        events = api.completions.create(model="lm", prompt="a", max_tokens=600, seed=1, stream=True)
        first = next(iter(events)).choices[0].text
        server.server.should_exit = True
        text = first + "".join(event.choices[0].text for event in events)
    with serve(fake_text()) as server, client(server) as api:
        assert api.completions.create(model="lm", prompt="a", max_tokens=600, seed=1).choices[0].text == text


def test_another_model_under_the_name_leaves_texts_under_way_as_they_are(tmp_path):
    class Store(FixedVoices):
        count = 1

        def version(self, name):
            return str(self.count)

        def load(self, name):
            return LoadedVoice(fake_text(script=b"old" if self.count == 1 else b"new"))

    store = Store(LoadedVoice(fake_text()))
    with Live(App(store, threads=1)) as server, client(server) as api:
        server.app.cache.open["lm"].model.runtime.delay = 0.005
        events = api.completions.create(model="lm", prompt="", max_tokens=300, stream=True)
        first = next(iter(events)).choices[0].text
        store.count = 2
        server.app.reload_voices()
        assert api.completions.create(model="lm", prompt="", max_tokens=6).choices[0].text == "newnew"
        assert first + "".join(event.choices[0].text for event in events) == "old" * 100


def test_limits_are_reloaded_and_texts_under_way_keep_theirs():
    model = fake_text()
    model.runtime.delay = 0.002
    with serve(model) as server, client(server) as api:
        events = api.completions.create(model="lm", prompt="a", max_tokens=600, seed=1, stream=True)
        text = next(iter(events)).choices[0].text
        limits, changed = RequestLimits(prompt=10, tokens=5), threading.Event()

        def change():
            server.app.replace_limits(limits, request_memory=1 << 30, memory=1 << 30)
            changed.set()

        server.app._loop.call_soon_threadsafe(change)
        assert changed.wait(10)
        for more in ({"max_tokens": 6}, {"prompt": "a" * 11}):
            assert post(server, {"model": "lm", "prompt": "a", "max_tokens": 5} | more)[0] == 400
        assert post(server, {"model": "lm", "prompt": "a" * 10, "max_tokens": 5})[0] == 200
        assert len(text + "".join(event.choices[0].text for event in events)) > 500
