"""A full disk: what was there stays whole, who asked is told, and who listens goes on listening."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.files import folders
from serving.app import App
from serving.cli.__main__ import main
from serving.http.keys import add_key, read_keys
from serving.streams.sound import SoundRequest
from serving.voices import installation
from serving.voices.directory import VoiceDirectory
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, features_file, tone
from tests.serving.live import Live, message, wait_for
from tests.serving.test_isolation import children
from tests.serving.test_real_voice import post, start


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half(source, target, **_):
    """Copies half a file, as a disk does that is full then."""
    with open(source, "rb") as given, open(target, "wb") as made:
        made.write(given.read(os.path.getsize(source) // 2))
    full()


def half_a_file(source, entry, target):
    half(source, target)


def at_call(number, inner, fails=full):
    """``inner``, which fails once so many calls have gone well."""
    calls = iter(range(1 << 30))
    return lambda *given, **named: (fails if next(calls) == number else inner)(*given, **named)


CALLS = [
    ("mkdtemp", 0),
    ("copyfile", 0),
    ("_copy_file", 0),
    ("_copy_file", 2),
    ("fsync", 0),
    ("fsync", 3),
    ("replace", 0),
    ("replace", 1),
]


@pytest.mark.parametrize(("where", "call"), CALLS)
def test_what_cannot_be_installed_leaves_the_old_voice_whole(tmp_path, tiny_bundle, monkeypatch, where, call):
    store = VoiceDirectory(tmp_path / "voices")
    store.install(tiny_bundle, "zoe")
    before = store.version("zoe")
    module = {"copyfile": shutil, "_copy_file": installation, "mkdtemp": tempfile}.get(where, os)
    if where == "replace":  # a system where directories cannot change places, so the old one is moved away first
        monkeypatch.setattr(folders, "exchanged", lambda *_: False)
    inner = getattr(module, where)
    with monkeypatch.context() as patch:
        patch.setattr(
            module, where, at_call(call, inner, {"copyfile": half, "_copy_file": half_a_file}.get(where, full))
        )
        with pytest.raises(SeqgenError, match=r"No space left on device; .*choose a writable store"):
            store.install(tiny_bundle, "zoe")
    assert os.listdir(store.directory) == ["zoe"]
    assert store.version("zoe") == before
    store.verify("zoe")
    store.install(tiny_bundle, "zoe")
    assert store.version("zoe") != before


def test_a_command_tells_it_in_one_line(tmp_path, tiny_bundle, monkeypatch, capsys):
    place = ["--voices", str(tmp_path / "voices")]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", half)
        assert main(["voices", "install", str(tiny_bundle), "--name", "zoe", *place]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["voices", "install", str(tiny_bundle), "--name", "zoe", *place]) == 0
    add_key(tmp_path / "keys", "me", 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SeqgenError, match="No space left on device"):
            add_key(tmp_path / "keys", "you", 1)
    assert [key.name for key in read_keys(tmp_path / "keys")] == ["me"]
    assert sorted(os.listdir(tmp_path)) == ["keys", "voices"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_an_upload_that_finds_no_room_is_a_507_and_others_play(tmp_path, monkeypatch):
    vocoder, frames = fake_vocoder(batch=16), np.zeros((40, SPEC.n_mels), np.float32)
    body, sound = features_file(tmp_path, frames), audio_file(tone(0.5))
    want = b"".join(everything(vocoder, SoundRequest(form="pcm"), sound))
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), 2
    vocoder.runtime.blocks.clear()
    with Live(App(vocoder, threads=2, slots=4)) as server:
        playing = server.begin(sound)
        wait_for(lambda: len(vocoder.runtime.blocks) >= 2)
        with monkeypatch.context() as patch:
            patch.setattr(os, "memfd_create", lambda *_: os.open("/dev/full", os.O_RDWR))
            status, headers, answer = server.post("", body)
        assert (status, headers["content-type"]) == (507, "application/json")
        assert message(answer) == "the server has no room for the request body; try again later"
        vocoder.runtime.gate.set()
        heard = b""
        while not heard.endswith(b"\r\n0\r\n\r\n"):
            heard += (more := playing.recv(1 << 16))
            assert more
        playing.close()
        assert server.post("format=pcm", sound)[2] == want
        assert server.post("", body)[0] == 200


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_log_that_finds_no_room_ends_nothing(repository, tiny_bundle):
    with open("/dev/full", "w") as nowhere:
        process = start(repository, "serve", "--voice", tiny_bundle, "--port", "0", stderr=nowhere)
    try:
        port = int(process.stdout.readline().decode().rsplit(":", 1)[1])
        os.kill(children(process.pid)[-1], signal.SIGKILL)  # which is worth a line
        wait_for(lambda: post(port, audio_file(tone(0.1)))[1].status == 200)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_sound_written_to_a_full_disk_is_told(repository, tiny_bundle, tmp_path):
    (tmp_path / "in.wav").write_bytes(audio_file(tone(0.3)))
    command = [
        sys.executable,
        "-m",
        "serving.cli",
        "vocode",
        str(tmp_path / "in.wav"),
        "-o",
        "-",
        "--voice",
        tiny_bundle,
    ]
    with open("/dev/full", "w") as nowhere:
        done = subprocess.run(command, stdout=nowhere, stderr=subprocess.PIPE, cwd=repository, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: standard output or another stream: No space left on device; ")
    assert done.stderr.count(b"\n") == 1
