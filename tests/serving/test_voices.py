"""The store: whole or not at all, and nothing outside of it; the cache: versions, memory, reloading."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.parse

import pytest

from seqgen.errors import SeqgenError
from serving.app import App
from serving.cli.__main__ import main
from serving.voices.cache import VoiceCache
from serving.voices.directory import VoiceDirectory
from serving.voices.voice import LoadedVoice
from serving.workers.pool import WorkerPool
from serving.workers.process_worker import process_workers
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live, message


@pytest.fixture
def store(tmp_path):
    return VoiceDirectory(tmp_path / "voices")


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_voice_is_installed_listed_verified_and_removed(store, tiny_bundle, capsys):
    place = ["--voices", str(store.directory)]
    assert main(["voices", "install", str(tiny_bundle), "--name", "zoe", *place]) == 0
    assert main(["voices", "verify", *place]) == 0
    assert main(["voices", "list", *place]) == 0
    assert main(["voices", "list", "--json", *place]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"installed 'zoe' in {store.directory}", "zoe: as it was exported"]
    assert lines[2].split() == ["zoe", "vocoder,", "8000", "Hz,", "one", "voice,", "CC0"]
    (row,) = json.loads(lines[3])
    assert row == {"id": "zoe"} | store.describe("zoe")
    assert row == {"id": "zoe"} | store.verify("zoe")  # the manifest read in full tells the same
    assert contents(store.directory / "zoe") == contents(tiny_bundle)
    assert main(["voices", "remove", "zoe", *place]) == 0
    assert os.listdir(store.directory) == []
    assert main(["voices", "remove", "zoe", *place]) == 1


def test_a_damaged_bundle_changes_nothing(store, tiny_bundle, tmp_path, capsys):
    store.install(tiny_bundle, "zoe")
    before = store.version("zoe")
    bad = tmp_path / "bad"
    shutil.copytree(tiny_bundle, bad)
    weights = bytearray((bad / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (bad / "weights.safetensors").write_bytes(weights)
    with pytest.raises(SeqgenError, match="sha256"):
        store.install(bad, "zoe")
    (bad / "more").mkdir()
    with pytest.raises(SeqgenError, match="not a plain file"):
        store.install(bad, "zoe")
    shutil.rmtree(bad / "more")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeqgenError, match="no bundle here"):
        store.install(tmp_path / "empty", "zoe")
    assert store.version("zoe") == before
    assert os.listdir(store.directory) == ["zoe"]
    shutil.copyfile(bad / "weights.safetensors", store.directory / "zoe" / "weights.safetensors")
    assert main(["voices", "verify", "--voices", str(store.directory)]) == 1
    assert "sha256" in capsys.readouterr().err
    (store.directory / "zoe" / "manifest.json").write_text("[]")
    assert store.describe("zoe") == {"kind": "damaged"}
    assert main(["voices", "list", "--voices", str(store.directory)]) == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from serving.voices import directory
moment = int(sys.argv[3])
# Dies at the given moment: in the copying, the checking, the syncing, before the exchange and after it.
places = [
    (directory.shutil, "copyfile"),
    (directory.Bundle, "open"),
    (directory, "_sync"),
    (directory.folders, "exchanged"),
    None,
]
if places[moment]:
    setattr(*places[moment], lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
else:
    directory.VoiceDirectory._sweep = lambda self: None
    inner = directory.folders.exchanged
    directory.folders.exchanged = lambda *a: inner(*a) and os.kill(os.getpid(), signal.SIGKILL)
directory.VoiceDirectory(Path(sys.argv[1])).install(Path(sys.argv[2]), "zoe")
"""


@pytest.mark.parametrize("moment", range(5))
def test_a_kill_in_the_middle_leaves_the_old_voice_or_the_new_one(store, tiny_bundle, repository, moment):
    store.install(tiny_bundle, "zoe")
    before = store.version("zoe")
    command = [sys.executable, "-c", KILLED, str(store.directory), str(tiny_bundle), str(moment)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(repository)}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.names() == ["zoe"]
    store.verify("zoe")
    assert (store.version("zoe") == before) == (moment < 4)
    for left in store.directory.glob(".work-*"):
        os.utime(left, (0, 0))
    store.install(tiny_bundle, "zoe")
    assert os.listdir(store.directory) == ["zoe"]


def traversal_names():
    """200 ways to leave a directory."""
    up = ["..", ".", "...", "%2e%2e", "..%00", "\u2024\u2024", "．．", ".. ", "..;", "..\\", "~", "~root", "-", "$HOME"]
    down = ["", "/", "/etc/passwd", "\\windows", "%2fetc%2fpasswd", "//x", "/./x", "\0", "\n", "/zoe", "%5c", "\u2215x"]
    names = [a + b for a in up for b in down]
    names += [prefix + "etc/passwd" for prefix in ("/", "//", "file://", "C:\\", "C:/", "\\\\host\\", "../" * 20, "./")]
    names += [
        "",
        " ",
        "zoe ",
        " zoe",
        "ZOE",
        "zoe/",
        "/zoe",
        "zoe/../zoe",
        "zoe/manifest.json",
        "zoe\0",
        "zoe\n",
        "a" * 65,
    ]
    names += [".work-x", ".zoe", "_zoe", "zo:e", "zo*e", "zo?e", "zo|e", "con\\aux", "zoë", "\u202ezoe", "zoe\ud800"]
    return (names + [f"..{chr(code)}x" for code in range(1, 32)])[:200]


def test_no_name_leads_out_of_the_store(store, tiny_bundle, tmp_path, monkeypatch):
    store.install(tiny_bundle, "zoe")
    shutil.copytree(tiny_bundle, tmp_path / "outside")
    (store.directory / "link").symlink_to(tmp_path / "outside")
    opened = []
    names = [*traversal_names(), "link", "../outside", str(tmp_path / "outside")]
    assert len(names) > 200
    sys.addaudithook(lambda event, given: opened.append(given[0]) if event == "open" and watching else None)
    watching = True
    for name in names:
        assert store.version(name) is None, name
        for action in (store.path, store.load, store.verify, store.remove):
            with pytest.raises(SeqgenError):
                action(name)
        if name:
            with pytest.raises((SeqgenError, OSError)):
                store.install(tiny_bundle, name) if name != "link" else store.path(name)
    watching = False
    assert {str(path) for path in opened if "outside" in str(path) or "etc" in str(path)} == set()
    assert store.names() == ["zoe"]
    assert sorted(os.listdir(tmp_path)) == ["outside", "voices"]


def test_no_name_in_a_request_leads_out_of_the_store(tmp_path, store):
    (store.directory / "zoe").mkdir(parents=True)
    (store.directory / "zoe" / "manifest.json").write_text("{}")
    loaded = []
    place = VoiceDirectory(
        store.directory, opener=lambda path: loaded.append(path) or LoadedVoice(fake_vocoder(name="zoe"))
    )
    body = audio_file(tone(0.05))
    with Live(App(place, threads=1)) as server:
        for name in traversal_names():
            quoted = urllib.parse.quote(name.encode("utf-8", "surrogatepass"))
            status, _, answer = server.post(f"voice={quoted}", body)
            assert status in (400, 404), name
            assert "\n" not in message(answer)
            assert server.request("GET", f"/v1/models/{quoted}")[0] == 404
    assert set(loaded) == {store.directory / "zoe"}


class Library:
    """Voices whose versions and sizes a test decides."""

    def __init__(self, **sizes):
        self.sizes, self.versions, self.loads = sizes, dict.fromkeys(sizes, "1"), []

    def names(self):
        return list(self.versions)

    def version(self, name):
        return self.versions.get(name)

    def load(self, name):
        self.loads.append(name)
        return LoadedVoice(fake_vocoder(name=name), size=self.sizes[name])


def test_voices_are_loaded_once_and_the_oldest_unused_give_way():
    library, used, now = Library(a=40, b=40, c=40), set(), [0.0]
    cache = VoiceCache(library, memory=100, in_use=lambda: used, clock=lambda: now[0])

    async def find(name):
        now[0] += 1
        return (await cache.find(name)).model

    async def main():
        first = await asyncio.gather(*(cache.find("a") for _ in range(5)))
        assert library.loads == ["a"]
        assert len({id(voice) for voice in first}) == 1
        await find("b")
        await find("a")
        await find("c")
        assert sorted(cache.open) == ["a", "c"]  # b was not asked for longest
        used.update([await find("a"), await find("c")])
        await find("b")
        assert sorted(cache.open) == ["a", "b", "c"]  # those in use stay, whatever they take
        used.clear()
        await find("c")
        library.versions["d"], library.sizes["d"] = "1", 100
        await find("d")
        assert sorted(cache.open) == ["d"]

    asyncio.run(main())


def test_a_voice_is_counted_as_often_as_it_is_held():
    library = Library(a=40, b=40, c=40)
    cache = VoiceCache(library, memory=250, copies=3)

    async def main():
        await cache.find("a")
        await cache.find("b")
        assert (sorted(cache.open), cache.size) == (["a", "b"], 240)
        await cache.find("c")
        assert (sorted(cache.open), cache.size) == (["b", "c"], 240)

    asyncio.run(main())
    assert [WorkerPool(workers=2, make=make).copies for make in (None, process_workers())] == [1, 3]
    app = App(library, threads=2, memory=250, make=process_workers())
    assert app.cache._copies == 3


def test_a_changed_voice_is_opened_anew_and_a_removed_one_is_gone():
    library = Library(a=1)
    cache = VoiceCache(library)

    async def main():
        old = await cache.find("a")
        assert await cache.find() is old
        library.versions["a"] = "2"
        new = await cache.find("a")
        assert new is not old
        assert await cache.find("a") is new
        del library.versions["a"]
        with pytest.raises(SeqgenError, match="there is no voice 'a'; voices here: none"):
            await cache.find("a")
        assert cache.open == {}

    asyncio.run(main())


def test_a_running_server_takes_up_a_new_version(store, tiny_bundle):
    body = audio_file(tone(0.1))
    with Live(App(store, threads=1)) as server:
        assert server.post("", body)[0] == 404
        store.install(tiny_bundle, "zoe")
        sound = server.post("format=pcm", body)[2]
        (before,) = server.app.cache.open.values()
        store.install(tiny_bundle, "zoe")
        assert server.post("format=pcm", body)[2] == sound
        (after,) = server.app.cache.open.values()
        assert before is not after
        store.remove("zoe")
        assert server.post("voice=zoe", body)[0] == 404
