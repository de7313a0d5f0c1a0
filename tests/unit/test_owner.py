"""One process owns a run's directory: others are refused by name, what a killed one left is told from what lives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from seqgen.errors import SeqgenError
from seqgen.files import owner
from seqgen.files.owner import LOCK, Owner, owned
from tests.unit import train_toy as toy

HOLD = """
import os, sys, time
from pathlib import Path
from seqgen.files.owner import owned
with owned(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(2)
        os._exit(0)
    print("mine", flush=True)
    time.sleep(60)
"""


def hold(repository: Path, folder: Path, how: str = "") -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HOLD, str(folder), how]
    process = subprocess.Popen(words, cwd=repository, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_folder_is_given_back(tmp_path: Path) -> None:
    with owned(tmp_path / "a/b") as note:
        assert note == ""
        found = Owner(**json.loads((tmp_path / "a/b" / LOCK).read_text()))
        assert (found.pid, found.host, found.alive) == (os.getpid(), socket.gethostname(), True)
    assert list(tmp_path.iterdir()) == []  # nothing was put into it
    with owned(tmp_path / "a"):
        (tmp_path / "a/file").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_another_process_is_refused_by_name(repository: Path, left: Path) -> None:
    process = hold(repository, left)
    try:
        with pytest.raises(SeqgenError, match=rf"run is owned by process {process.pid} on .* since .*; wait for it"), \
                owned(left):  # fmt: skip
            pass
    finally:
        process.kill()
        process.wait()
    with owned(left) as note:
        assert f"from process {process.pid} on" in note
        assert "which has ended" in note


def test_the_children_of_a_killed_owner_are_waited_for(repository: Path, left: Path) -> None:
    """Processes that load data outlive it for a moment, and hold its lock."""
    process = hold(repository, left, "fork")
    process.kill()
    process.wait()
    with owned(left) as note:
        assert str(process.pid) in note


def test_the_same_process_owns_once(left: Path) -> None:
    with owned(left):
        with pytest.raises(SeqgenError, match=f"owned by process {os.getpid()}"), owned(left):
            pass
        assert (left / LOCK).is_file()


def test_of_many_threads_one_owns(left: Path) -> None:
    begin, end, got = threading.Barrier(8), threading.Barrier(8), []

    def compete() -> None:
        begin.wait(20)
        try:
            with owned(left):
                got.append(True)
                end.wait(20)
        except SeqgenError:
            got.append(False)
            end.wait(20)

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"pid": 2**22 + 1}, False),  # no such process
        ({"began": "another-start 5"}, False),  # the number was given to another process
        ({"host": "elsewhere"}, True),
        ({"host": "elsewhere", "pid": 2**22 + 1}, True),
        ({}, True),  # a file system without locks
    ],
)
def test_locks_that_were_left_behind(tmp_path: Path, change: dict[str, object], refused: bool) -> None:
    lock = tmp_path / LOCK
    lock.write_text(json.dumps(asdict(replace(Owner.here(), **change))))
    if not refused:
        with owned(tmp_path) as note:
            assert note.startswith("taking over")
        assert not lock.exists()
        return
    before = lock.read_text()
    with pytest.raises(SeqgenError) as caught, owned(tmp_path):
        pass
    assert lock.read_text() == before
    if "host" in change:
        assert "another host, whose processes cannot be seen from here" in str(caught.value)
        assert str(caught.value).endswith(f"if it has ended, remove {lock}")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\x00"])
def test_locks_that_were_never_written_whole(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    with owned(tmp_path) as note:
        assert note == ""


def test_zombies_have_ended(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    found = replace(Owner.here(), pid=pid, began=owner._began(os.getpid()))
    assert not found.alive
    os.waitpid(pid, 0)


def test_two_trainings_into_one_directory(repository: Path, tmp_path: Path) -> None:
    """The second is refused before it writes; the first one's directory is as if it had been alone."""
    command = [sys.executable, "-m", "tests.unit.train_toy", str(tmp_path), "--die-at-step", "14"]
    before = hold(repository, tmp_path)
    try:
        for resume in (False, True):
            with pytest.raises(SeqgenError, match=f"{tmp_path} is owned by process {before.pid}"):
                toy.run(tmp_path, resume=resume)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    finally:
        before.kill()
        before.wait()
    killed = subprocess.run(command, cwd=repository, capture_output=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / LOCK).is_file()
    with pytest.raises(SeqgenError, match="already holds checkpoints"):
        toy.run(tmp_path)
    assert toy.run(tmp_path, resume=True).status == "finished"
    assert not (tmp_path / LOCK).exists()
