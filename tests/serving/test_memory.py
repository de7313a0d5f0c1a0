"""The memory that requests may hold together: reserved before it is taken, given back on every way out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import select
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.app import App
from serving.http.protocol import RequestLimits
from serving.scheduling.memory import STREAM_BYTES, MemoryBudget, OutOfMemoryBudget, available, default_budget
from serving.sound.body import BodyPieces
from serving.streams.sound import SoundRequest
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from tests.serving.fakes import audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live, wait_for
from tests.serving.test_worker_pool import FRAMES, SILENCE, pool_test
from tests.serving.text_fakes import fake_text

BODY = audio_file(tone(0.3))


@given(
    st.integers(0, 1000),
    st.lists(
        st.tuples(
            st.sampled_from(["share", "grow", "shrink", "close", "leave"]), st.integers(0, 4), st.integers(0, 400)
        ),
        max_size=60,
    ),
)
def test_never_more_is_held_than_there_is_and_all_of_it_comes_back(total, acts):
    budget, shares = MemoryBudget(total), []
    for act, which, size in acts:
        share = shares[which] if which < len(shares) else None
        try:
            if act == "share":
                shares.append(budget.share(size))
            elif share is not None and act == "grow":
                share.grow(size)
            elif share is not None and act == "shrink":
                share.shrink(size)
            elif share is not None and act == "close":
                share.close()
            elif share is not None:
                with share:
                    raise KeyError  # whatever a request ends with
        except (OutOfMemoryBudget, KeyError):
            pass
        assert 0 <= budget.held == sum(one.size for one in shares) <= total
    for share in shares:
        share.close()
        assert not share.try_grow(1)
    assert budget.held == 0


def test_a_budget_by_default_is_a_part_of_what_there_is(tmp_path):
    (tmp_path / "limit").write_text("1073741824\n")
    (tmp_path / "none").write_text("max\n")
    machine = available(())
    assert available((str(tmp_path / "none"), str(tmp_path / "missing"))) == machine
    assert available((str(tmp_path / "none"), str(tmp_path / "limit"))) == min(machine, 1 << 30)
    assert 128 << 20 <= default_budget() <= 4 << 30


def test_a_lease_reserves_what_a_stream_takes_and_gives_it_back_with_the_slot():
    vocoder = fake_vocoder()

    async def main(pool):
        leases = [pool.admit(vocoder), pool.admit(vocoder)]
        assert pool.memory.held == 2 * STREAM_BYTES
        assert pool.admit(vocoder) is None  # there are slots, but no memory
        assert pool.admission.refused == 1
        leases[0].close()
        assert pool.memory.held == STREAM_BYTES
        leases[1].start(FRAMES)
        leases[1].push(SILENCE)
        leases[1].memory.grow(100)
        leases[1].close()  # the worker still has the stream, and what it takes
        assert pool.memory.held == STREAM_BYTES + 100
        await listen_for(lambda: pool.busy == 0)
        assert pool.memory.held == 0

    async def listen_for(condition):
        while not condition():
            await asyncio.sleep(0.002)

    pool_test(main, memory=MemoryBudget(2 * STREAM_BYTES + 1000))


def served(budget, **options):
    vocoder = fake_vocoder(batch=16)
    limits = RequestLimits(body=64 << 20, sound=5.0, upload=20.0, stall=5.0, idle=5.0)
    store = FixedVoices(LoadedVoice(vocoder), LoadedVoice(fake_text()))
    return vocoder, App(store, threads=1, slots=64, request_memory=budget, limits=limits, **options)


def watched(pool, monkeypatch):
    """The most that was ever held of a budget."""
    most, inner = [0], type(pool.memory.share()).try_grow

    def noted(self, size):
        done = inner(self, size)
        most[0] = max(most[0], pool.memory.held)
        return done

    monkeypatch.setattr("serving.scheduling.memory.MemoryShare.try_grow", noted)
    return most


def head(length, target="/v1/vocode?format=pcm"):
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n\r\n".encode()


def request(rng):
    """Target and body of a request that is whole, cut, wrong or too large: of sound or of text."""
    if rng.random() < 0.5:
        wrong = [BODY[: rng.randrange(len(BODY))], rng.randbytes(3000), b"", bytes(2 << 20)]
        return "/v1/vocode?format=pcm", rng.choice([BODY, *wrong])
    asked = {"model": "lm", "prompt": rng.choice(["a", "a" * 60_000, ["a"] * 16, "a" * 300_000])}
    asked |= {"max_tokens": rng.choice([0, 10, 4000]), "stream": rng.random() < 0.5, "logprobs": rng.choice([None, 5])}
    whole = json.dumps(asked).encode()
    return "/v1/completions", rng.choice([whole, whole, whole[: rng.randrange(len(whole))]])


@pytest.mark.parametrize("declared", [True, False])
def test_many_uploads_at_once_never_hold_more_than_the_budget(monkeypatch, declared):
    size, budget = 1 << 20, 8 << 20
    _, app = served(budget)
    most = watched(app.pool, monkeypatch)
    junk = bytes(size - 1000)
    with Live(app) as server:
        socks = [server.connect() for _ in range(16)]
        for sock in socks:
            sock.sendall(head(size if declared else None) + (junk if declared else b"%x\r\n%s\r\n" % (len(junk), junk)))
        refused = []  # they are told at once; those inside wait for the rest of their bodies
        while len(refused) < 12:
            told, _, _ = select.select([sock for sock in socks if sock not in refused], [], [], 20)
            assert told, "nobody was refused"
            for sock in told:
                status, headers = sock.recv(4096).split(b"\r\n", 1)
                assert b" 503 " in status
                assert b"retry-after: 1" in headers.lower()
            refused += told
        held = 4 * (STREAM_BYTES + (size if declared else len(junk)))
        wait_for(lambda: app.pool.memory.held == held)
        assert budget - size < most[0] <= budget
        assert f"seqgen_request_memory_bytes {held}" in server.request("GET", "/metrics")[2].decode()
        assert len(refused) == 12
        for sock in socks:
            sock.close()
        wait_for(lambda: app.pool.memory.held == 0)
        assert server.post("format=pcm", BODY)[0] == 200


def test_a_body_that_no_budget_could_hold_is_too_large_at_once():
    _, app = served(4 << 20)
    with Live(app) as server, server.connect() as sock:
        sock.sendall(head(4 << 20))
        assert b" 413 " in sock.recv(4096).split(b"\r\n")[0]
        assert app.pool.memory.refused == 0


def fail_at_random(count):
    """Uploads and prompts that are cut, wrong, too many or whole, at random: the budget is as before."""
    rng = random.Random(count)
    vocoder, app = served(12 << 20)
    want = b"".join(everything(vocoder, SoundRequest(form="pcm"), BODY))
    with Live(app) as server:

        def client(seed):
            rng = random.Random(seed)
            target, body = request(rng)
            with server.connect() as sock:
                if rng.random() < 0.3:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.settimeout(0.2)
                with contextlib.suppress(OSError):
                    sock.sendall((head(len(body), target) + body)[: rng.choice([50, 200, 5000, None])])
                    if rng.random() < 0.5:
                        sock.recv(1000)

        for _ in range(count // 8):
            seeds = [rng.random() for _ in range(8)]
            threads = [threading.Thread(target=client, args=(seed,)) for seed in seeds]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        wait_for(lambda: app.pool.memory.held == 0)
        assert server.post("format=pcm", BODY)[2] == want
    assert app.pool.memory.held == 0


def test_whatever_becomes_of_requests_the_memory_comes_back():
    fail_at_random(64)


@pytest.mark.soak
def test_whatever_becomes_of_many_requests_the_memory_comes_back():
    fail_at_random(4000)


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 64))
def test_a_body_comes_out_of_its_pieces_as_it_went_in_and_once(parts, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.sound.body._PIECE", size)
        pieces = BodyPieces()
        for part in parts:
            pieces.add(part)
        taken = [bytes(piece) for piece in pieces]
        assert b"".join(taken) == b"".join(parts)
        assert all(len(piece) == size for piece in taken[:-1])
        assert list(pieces) == []
        pieces.add(b"again")
        assert b"".join(bytes(piece) for piece in pieces) == b"again"
