"""Installation of voices: what cannot be a voice is refused before a byte of it is copied, and by name."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import replace

import pytest

from seqgen import bundle
from seqgen.errors import SeqgenError
from serving.cli.__main__ import main
from serving.voices import directory, installation
from serving.voices.directory import VoiceDirectory


@pytest.fixture
def store(tmp_path):
    return VoiceDirectory(tmp_path / "voices")


@pytest.fixture
def source(tmp_path, tiny_bundle):
    """A copy of a voice that may be spoilt."""
    return shutil.copytree(tiny_bundle, tmp_path / "source")


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)


def resigned(source, **changes):
    manifest = replace(bundle.read_manifest(source), **changes)
    (source / "manifest.json").write_bytes(bundle._canonical(bundle._sign(manifest)))


def renamed_entry(source, name):
    files = bundle.read_manifest(source).files
    resigned(source, files=(replace(files[0], name=name), *files[1:]))


def twice(source):
    files = bundle.read_manifest(source).files
    resigned(source, files=(*files, files[0]))


def in_its_place(make):
    def spoil(source):
        (source / "weights.safetensors").unlink()
        make(source / "weights.safetensors")

    return spoil


def bound(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def device(path):
    try:
        os.mknod(path, 0o644 | 0o020000, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError:
        pytest.skip("only root makes devices")


SPOILT = {
    "sparse files of 20 GiB": (lambda source: sparse(source / "weights.safetensors", 20 << 30), "too many"),
    "a manifest of 2 GiB": (lambda source: sparse(source / "manifest.json", 2 << 30), "too many"),
    "a manifest of 17 MiB": (lambda source: sparse(source / "manifest.json", 17 << 20), "too many"),
    "many files of 2 GiB": (lambda source: [sparse(source / f"{i}.bin", 2 << 30) for i in range(3)], "too many"),
    "very many files": (lambda source: [(source / f"{i}").touch() for i in range(300)], "more than 64 files"),
    "a link": (in_its_place(lambda path: path.symlink_to("/etc/passwd")), "not a plain file"),
    "a link to nothing": (in_its_place(lambda path: path.symlink_to("/none")), "not a plain file"),
    "a FIFO": (in_its_place(os.mkfifo), "not a plain file"),
    "a FIFO for a manifest": (lambda source: (os.rename(source / "manifest.json", source / "m"),
                                              os.mkfifo(source / "manifest.json")), "not a plain file"),
    "a device": (in_its_place(device), "not a plain file"),
    "a socket": (in_its_place(bound), "not a plain file"),
    "a directory": (in_its_place(os.mkdir), "not a plain file"),
    "a file that is not listed": (lambda source: (source / "notes.txt").touch(), "notes.txt: not listed"),
    "a file that is missing": (lambda source: (source / "golden.safetensors").unlink(), "missing"),
    "a file that is too short": (lambda source: sparse(source / "golden.safetensors", 7), "7 bytes, the manifest says"),
    "no manifest": (lambda source: (source / "manifest.json").unlink(), "no bundle here"),
    "a manifest that is none": (lambda source: (source / "manifest.json").write_text("[]"), "bundle format"),
    "a manifest of brackets": (lambda source: (source / "manifest.json").write_text("[" * 99999), "not valid JSON"),
    "a file listed twice": (twice, "is not allowed"),
    "a file listed above": (lambda source: renamed_entry(source, "../config.yaml"), "is not allowed"),
    "a file listed by its full path": (lambda source: renamed_entry(source, "/etc/passwd"), "is not allowed"),
    "the manifest listed": (lambda source: renamed_entry(source, "manifest.json"), "is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_what_cannot_be_a_voice_is_refused_before_a_byte_is_copied(store, source, monkeypatch, how):
    spoil, message = SPOILT[how]
    spoil(source)
    monkeypatch.setattr(directory, "copy_bundle", lambda *_: pytest.fail("it was copied"))
    with pytest.raises(SeqgenError, match=message):
        store.install(source, "zoe")
    assert os.listdir(store.directory) == []


def test_a_voice_that_finds_no_room_is_not_begun(store, source, monkeypatch):
    monkeypatch.setattr(directory, "copy_bundle", lambda *_: pytest.fail("it was copied"))
    monkeypatch.setattr(directory.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 1 << 40, 5000))
    with pytest.raises(SeqgenError, match="there is room for 5000"):
        store.install(source, "zoe")


def damaged(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


MEANWHILE = {
    "grows": (lambda path: path.write_bytes(path.read_bytes() + bytes(1 << 22)), "changed while it was copied"),
    "shrinks": (lambda path: path.write_bytes(b""), "changed while it was copied"),
    "changes": (damaged, "sha256"),
    "becomes a link": (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "cannot install"),
    "becomes a FIFO": (lambda path: (path.unlink(), os.mkfifo(path)), "not a plain file"),
    "goes away": (lambda path: path.unlink(), "cannot install"),
}


@pytest.mark.parametrize("how", MEANWHILE)
def test_a_source_that_changes_meanwhile_leaves_nothing(store, source, monkeypatch, how):
    change, message = MEANWHILE[how]
    inner = directory.copy_bundle

    def copy(*given):
        change(source / "weights.safetensors")
        inner(*given)

    monkeypatch.setattr(directory, "copy_bundle", copy)
    with pytest.raises(SeqgenError, match=message):
        store.install(source, "zoe")
    assert os.listdir(store.directory) == []


def test_what_is_read_of_a_source_that_never_ends_is_bounded(tmp_path):
    blocks = installation._blocks(tmp_path / "long", 3 << 20)
    sparse(tmp_path / "long", 1 << 40)
    assert sum(map(len, blocks)) == 3 << 20


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/none"), lambda path: path.touch()])
def test_nothing_but_a_voice_is_replaced(store, source, make):
    store.directory.mkdir()
    make(store.directory / "zoe")
    with pytest.raises(SeqgenError, match="is there and is no directory"):
        store.install(source, "zoe")
    assert os.listdir(store.directory) == ["zoe"]


def test_what_a_store_does_not_serve_is_named(store, source, tmp_path, capsys):
    store.install(source, "zoe")
    (store.directory / "linked").symlink_to(tmp_path / "source")
    (store.directory / "nowhere").symlink_to("/none")
    (store.directory / "README").touch()
    (store.directory / "Zoe").mkdir()
    (store.directory / "empty").mkdir()
    (store.directory / ".work-x").mkdir()
    odd = json.loads((store.directory / "zoe" / "manifest.json").read_text()) | {"speakers": 5}
    (store.directory / "odd").mkdir()
    (store.directory / "odd" / "manifest.json").write_text(json.dumps(odd))
    assert store.names() == ["odd", "zoe"]
    told = {name: why.split(";")[0] for name, why in store.ignored().items()}
    assert told == {"README": "not a directory", "Zoe": "its name is no voice's", "linked": "a link",
                    "empty": "no bundle (manifest.json is missing)", "nowhere": "a link"}  # fmt: skip
    assert main(["voices", "list", "--voices", str(store.directory)]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [["odd", "damaged:"], ["zoe", "vocoder,"]]
    assert [line.split(": ")[1] for line in err.splitlines()] == sorted(told)
    with pytest.raises(SeqgenError, match="is a link; links are not followed"):
        store.path("linked")


@pytest.mark.parametrize("action", ["list", "verify"])
def test_a_store_that_is_not_there_is_an_error(tmp_path, capsys, action):
    (tmp_path / "file").touch()
    for place, why in (("none", "No such file"), ("file", "Not a directory")):
        assert main(["voices", action, "--voices", str(tmp_path / place)]) == 1
        assert why in capsys.readouterr().err
