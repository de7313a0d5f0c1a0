"""Voices that do not open are quarantined by name, and the others are served; a failure is never taken for success."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading

import pytest

from seqgen.errors import SeqgenError
from serving.app import App
from serving.streams.capacity import Capacity
from serving.streams.vocoder import ModelFailure
from serving.voices.cache import FIRST_RETRY, LAST_RETRY, VoiceCache, VoiceQuarantined, VoiceRequired
from serving.voices.directory import VoiceDirectory
from serving.voices.store import FixedVoices, SingleVoice
from serving.voices.voice import LoadedVoice, open_voice
from serving.workers.process_worker import process_workers
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live, message, wait_for
from tests.serving.test_isolation import FAKES

BODY = audio_file(tone(0.1))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "a-flip": (lambda voice: flip(voice / "weights.safetensors"), "sha256"),
    "a-list": (lambda voice: (voice / "manifest.json").write_text("[]"), "bundle format"),
    "a-gap": (lambda voice: (voice / "golden.safetensors").unlink(), "missing"),
    "a-guest": (lambda voice: (voice / "more").touch(), "not listed"),
    "a-cut": (lambda voice: os.truncate(voice / "manifest.json", 99), "not valid JSON"),
    "a-bomb": (lambda voice: os.truncate(voice / "manifest.json", 1 << 33), "too many"),
    "a-fifo": (lambda voice: fifo(voice / "weights.safetensors"), "missing"),
}  # fmt: skip


def listing(server, query=""):
    return {row["id"]: row for row in json.loads(server.request("GET", f"/v1/audio/voices{query}")[2])["voices"]}


def ready(server):
    status, _, body = server.request("GET", "/readyz")
    return status, json.loads(body).get("reason", "")


def test_damaged_voices_are_named_and_the_others_are_served(tmp_path, tiny_bundle, caplog):
    store = VoiceDirectory(tmp_path / "voices")
    store.install(tiny_bundle, "zoe")
    for name, (damage, _) in DAMAGE.items():
        shutil.copytree(tiny_bundle, store.directory / name)
        damage(store.directory / name)
    (store.directory / "link").symlink_to(tiny_bundle)
    with Live(App(store, threads=1)) as server:
        assert ready(server) == (200, "")
        assert list(listing(server)) == ["zoe"]
        assert [row["id"] for row in json.loads(server.request("GET", "/v1/models")[2])["data"]] == ["zoe"]
        everything = listing(server, "?all")
        assert {name: row["state"] for name, row in everything.items()} == {
            **dict.fromkeys(DAMAGE, "quarantined"), "link": "ignored", "zoe": "good"}  # fmt: skip
        for name, (_, reason) in DAMAGE.items():
            assert reason in everything[name]["reason"]
            status, headers, answer = server.post(f"voice={name}", BODY)
            assert (status, json.loads(answer)["error"]["code"]) == (503, "voice_unavailable")
            assert str(tmp_path) not in message(answer)
            assert f"voice '{name}' does not open and is quarantined" in caplog.text
        status, headers, _ = server.post("voice=zoe", BODY)
        assert status == 200
        assert 'voice="zoe"' in headers["x-synthetic"]  # and not the manifest's "tiny"
        counts = server.request("GET", "/metrics")[2].decode()
        assert f"seqgen_voices_quarantined {len(DAMAGE)}" in counts
        assert 'seqgen_voice_state{voice="a-flip",state="quarantined"} 1' in counts
        assert 'seqgen_streams_total{voice="zoe"} 1' in counts
        assert server.post("", BODY)[0] == 422  # never the first by the alphabet


def test_a_server_without_a_voice_that_opens_stays_up_and_says_so(tmp_path, tiny_bundle):
    store = VoiceDirectory(tmp_path / "voices")
    store.directory.mkdir()
    with Live(App(store, threads=1)) as server:
        assert ready(server) == (503, "there is no voice")
        (store.directory / "link").symlink_to(tiny_bundle)
        assert "link: a link" in ready(server)[1]
        shutil.copytree(tiny_bundle, store.directory / "zoe")
        flip(store.directory / "zoe" / "weights.safetensors")
        wait_for(lambda: "sha256" in ready(server)[1])
        assert ready(server)[0] == 503
        assert server.request("GET", "/livez")[0] == 200
        assert server.post("", BODY)[0] == 503
        flip(store.directory / "zoe" / "weights.safetensors")  # mended, and asked to look again
        server.app.reload_voices()
        wait_for(lambda: ready(server) == (200, ""))
        assert server.post("", BODY)[0] == 200
        store.remove("zoe")
        wait_for(lambda: ready(server)[0] == 503)


def test_readiness_is_false_whenever_nobody_could_be_served():
    vocoder = fake_vocoder(batch=16)
    with Live(App(vocoder, threads=1, slots=2, make=FAKES)) as server:
        pool = server.app.pool
        assert ready(server) == (200, "")
        leases = [pool.admit(vocoder) for _ in range(2)]
        assert ready(server) == (503, "all slots are taken")
        assert 'seqgen_voice_workers{voice="fake"} 1' in server.request("GET", "/metrics")[2].decode()
        pool.resize(16)  # more than the only worker was made for
        assert ready(server) == (503, "all slots are taken")
        for lease in leases:
            lease.close()
        assert ready(server) == (200, "")
        pool._capacities[vocoder] = Capacity(alone=0.5, shared=0.5)
        with pool.admit(vocoder):
            assert pool.admit(vocoder) is None
            assert ready(server) == (503, "the workers can carry no more streams")
        assert ready(server) == (200, "")
        pool._capacities[vocoder] = Capacity()
        with pool.memory.share(pool.memory.total - 9):
            assert pool.admit(vocoder) is None
            assert ready(server) == (503, "requests hold all the memory that they may")
        assert ready(server) == (200, "")
        worker = pool.workers[0]
        os.kill(worker.pid, signal.SIGSTOP)
        worker._missed = 1
        assert ready(server) == (503, "no worker is up")
        os.kill(worker.pid, signal.SIGCONT)
        worker._missed = 0
        worker._missing[worker._voices[vocoder][0]] = worker._loop.call_later(99, lambda: None)
        assert ready(server) == (503, "no worker could open a voice again")
        assert server.post("", BODY)[0] == 503
        worker._forget_attempts(worker._voices[vocoder][0])
        assert ready(server) == (200, "")
        server.app.drain()
        assert ready(server) == (503, "the server is being stopped")


class Library:
    """Voices of which some do not open."""

    def __init__(self, *names, **errors):
        self.versions, self.errors, self.loads = dict.fromkeys([*names, *errors], "1"), errors, []

    def names(self):
        return sorted(self.versions)

    def version(self, name):
        return self.versions.get(name)

    def ignored(self):
        return {}

    def describe(self, name):
        return {"kind": "vocoder"}

    def check(self, name):
        if name in self.errors:
            raise self.errors[name]

    def load(self, name):
        self.loads.append(name)
        if name in self.errors:
            raise self.errors[name]
        return LoadedVoice(fake_vocoder(name=name), size=40)


ERRORS = [SeqgenError("bad", remedy="mend it"), ModelFailure("NaN"), OSError(24, "Too many open files"), MemoryError(),
          KeyError("x"), RecursionError(), RuntimeError("can't start new thread")]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_voice_raises_is_its_own_and_it_is_tried_again(error):
    library, now = Library("b", a=error), [0.0]
    cache = VoiceCache(library, clock=lambda: now[0])

    async def main():
        await cache.check()
        assert cache.names() == ["b"]
        assert cache.states()["a"][0] == "quarantined"
        assert str(error) in cache.states()["a"][1]
        for _ in range(3):
            with pytest.raises(VoiceQuarantined):
                await cache.find("a")
            await cache.check()
        assert library.loads == ["a", "b"]  # not at every request
        waits = []
        for _ in range(9):
            before = len(library.loads)
            while len(library.loads) == before:
                now[0] += FIRST_RETRY
                await cache.check()
            waits.append(now[0] - sum(waits))
        assert (waits[0], max(waits)) == (FIRST_RETRY, LAST_RETRY)
        await cache.check(at_once=True)
        assert len(library.loads) == 12
        library.errors.clear()
        now[0] += LAST_RETRY
        assert (await cache.find("a")).model.name == "a"
        assert cache.states()["a"] == ("good", "")

    asyncio.run(main())


def test_the_version_before_is_served_where_the_new_one_does_not_open():
    library = Library("a")
    cache = VoiceCache(library)

    async def main():
        old = await cache.find("a")
        library.versions["a"], library.errors["a"] = "2", SeqgenError("bad", remedy="mend it")
        assert await cache.find("a") is old
        await cache.check()
        assert cache.names() == ["a"]
        assert cache.states() == {"a": ("quarantined", "bad; mend it")}
        library.versions["a"] = "3"
        library.errors.clear()
        assert await cache.find("a") is not old
        assert cache.states() == {"a": ("good", "")}
        del library.versions["a"]
        await cache.check()
        assert (cache.names(), cache.open) == ([], {})

    asyncio.run(main())


@pytest.mark.parametrize("again", [False, True])
def test_a_voice_that_takes_long_does_not_keep_the_others_waiting(monkeypatch, again):
    monkeypatch.setattr("serving.voices.cache.PATIENCE", 0.01)
    library, gate, inner = Library("a", "b"), threading.Event(), Library.load
    cache = VoiceCache(library, default="a")
    library.load = lambda name: (again or name != "a" or gate.wait(60)) and inner(library, name)
    library.check = lambda name: name != "a" or gate.wait(60)

    async def main():
        if again:
            await cache.check()
            library.versions["b"] = "2"
        loads = len(library.loads)
        checking = asyncio.create_task(cache.check(at_once=again))
        async with asyncio.timeout(30):
            while library.loads[loads:] != ["b"]:
                await asyncio.sleep(0.001)
        assert not checking.done()
        gate.set()
        await checking
        assert {state for state, _ in cache.states().values()} == {"good"}

    try:
        asyncio.run(main())
    finally:
        gate.set()


def test_a_voice_that_hangs_holds_up_no_other(monkeypatch):
    monkeypatch.setattr("serving.voices.cache.LONGEST_LOAD", 0.3)
    library, gate, inner = Library("a", "b"), threading.Event(), Library.load
    cache, asked = VoiceCache(library), list[str]()

    def load(name):
        asked.append(name)
        assert name != "a" or gate.wait(60)
        return inner(library, name)

    library.load = load

    async def main():
        await cache.check()
        assert cache.states() == {"a": ("quarantined", "TimeoutError: it took longer than 0.3 s"), "b": ("good", "")}
        for _ in range(3):
            await cache.check(at_once=True)  # it hangs still, and no second thread does
        assert asked.count("a") == 1
        gate.set()
        while cache.states()["a"][0] != "good":
            await cache.check(at_once=True)
            await asyncio.sleep(0.01)

    asyncio.run(main())


def test_files_that_cannot_be_read_to_the_end_hold_up_no_other_voice(monkeypatch):
    monkeypatch.setattr("serving.voices.cache.LONGEST_LOAD", 0.05)
    library, gate = Library("a", "b"), threading.Event()
    cache = VoiceCache(library)
    library.check = lambda name: name != "a" or gate.wait(60)

    async def main():
        await cache.check()
        library.versions["c"] = "1"
        for _ in range(3):
            await asyncio.wait_for(cache.check(at_once=True), 30)  # of those who hang there is one
        assert cache.states() == {"a": ("quarantined", "TimeoutError: it took longer than 0.05 s"),
                                  "b": ("good", ""), "c": ("good", "")}  # fmt: skip
        assert sum(thread.name == "voice-a" for thread in threading.enumerate()) == 1
        assert (await cache.find("a")).model.name == "a"
        gate.set()
        while cache.states()["a"][0] != "good":
            await cache.check(at_once=True)
            await asyncio.sleep(0.01)

    try:
        asyncio.run(main())
    finally:
        gate.set()


def test_a_reload_looks_at_the_files_of_voices_that_are_good():
    library = Library("a", "b")
    cache = VoiceCache(library)

    async def main():
        held = await cache.find("a")
        await cache.check()
        library.errors["a"] = SeqgenError("damaged since", remedy="mend it")
        await cache.check()
        assert cache.states()["a"] == ("good", "")  # its files are read again when somebody asks for that
        await cache.check(at_once=True)
        assert cache.states()["a"] == ("quarantined", "damaged since; mend it")
        assert await cache.find("a") is held  # which is what was checked
        library.errors.clear()
        await cache.check(at_once=True)
        assert cache.states()["a"] == ("good", "")

    asyncio.run(main())


def test_voices_that_find_no_room_are_checked_all_the_same():
    library = Library("a", "b", "c")
    cache = VoiceCache(library, memory=100)
    asyncio.run(cache.check())
    assert cache.names() == ["a", "b", "c"]
    assert list(cache.open) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "default", "found"),
    [
        ((), None, SeqgenError),
        (("a",), None, "a"),
        (("a", "b"), None, VoiceRequired),
        (("a", "b"), "b", "b"),
        (("a", "b"), "c", SeqgenError),
        (("a",), "c", SeqgenError),
    ],
)
def test_who_names_no_voice_gets_the_default_and_never_a_guess(names, default, found):
    cache = VoiceCache(Library(*names), default=default)
    if isinstance(found, str):
        assert asyncio.run(cache.find()).model.name == found
    else:
        with pytest.raises(found) as caught:
            asyncio.run(cache.find())
        assert caught.type is found


def test_a_damaged_voice_does_not_make_the_other_one_the_default():
    cache = VoiceCache(Library("b", a=SeqgenError("bad", remedy="mend it")))

    async def main():
        await cache.check()
        with pytest.raises(VoiceRequired, match="name one of: b"):
            await cache.find()
        assert (await cache.find_any()).model.name == "b"

    asyncio.run(main())
    nothing = VoiceCache(Library(a=SeqgenError("bad", remedy="mend it"), b=MemoryError()))
    with pytest.raises(VoiceRequired):
        asyncio.run(nothing.find_any())


def test_the_default_voice_is_the_one_that_was_named():
    voices = FixedVoices(*(LoadedVoice(fake_vocoder(name=name, batch=16)) for name in ("a", "b")))
    with Live(App(voices, threads=1, default="b")) as server:
        assert 'voice="b"' in server.post("", BODY)[1]["x-synthetic"]
        assert 'voice="a"' in server.post("voice=a", BODY)[1]["x-synthetic"]


def test_a_voice_exported_again_is_taken_up_and_a_worker_never_plays_what_was_not_checked(
    tmp_path, tiny_bundle, caplog
):
    """Its files on disk are changed in each way, and the worker that would read them again is killed."""
    place = tmp_path / "exp" / "voice"
    shutil.copytree(tiny_bundle, place)
    with Live(App(SingleVoice(place), threads=1, make=process_workers())) as server:
        worker = server.app.pool.workers[0]
        want = server.post("format=pcm", BODY)[2]
        assert len(want) == 1600

        def replace_worker():
            restarts = worker.restarts
            os.kill(worker.pid, signal.SIGKILL)
            wait_for(lambda: worker.restarts > restarts and worker.up)

        flip(place / "weights.safetensors")  # damaged in place, with the same manifest
        assert server.post("format=pcm", BODY)[2] == want
        replace_worker()
        assert ready(server) == (503, "no worker could open a voice again")
        assert server.post("format=pcm", BODY)[0] == 503
        flip(place / "weights.safetensors")
        wait_for(lambda: ready(server)[0] == 200)
        assert server.post("format=pcm", BODY)[2] == want

        shutil.move(place, tmp_path / "old")  # taken away: as it was as long as it is held
        assert server.post("format=pcm", BODY)[2] == want
        shutil.copytree(tmp_path / "old", place)  # exported again: another file, so it is opened anew
        replace_worker()
        wait_for(lambda: ready(server)[0] == 200)
        assert server.post("format=pcm", BODY)[2] == want
    assert "worker 0 could not open a voice; the next attempt is in" in caplog.text


def test_a_single_voice_that_does_not_open_is_told_at_the_start(tmp_path):
    with pytest.raises(SeqgenError, match="no bundle here"):
        SingleVoice(tmp_path, opener=open_voice)
