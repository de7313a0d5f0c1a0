"""As the first process of a container the server passes signals on, reaps orphans and ends as its child does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.serving.live import wait_for
from tests.serving.test_isolation import below, children

# Takes itself for process 1, and gets orphans as it would.
PROGRAM = """
import ctypes, os, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
real, os.getpid = os.getpid, lambda: 1
from serving.first_process import leave_first_process
leave_first_process()
os.getpid = real
{body}
"""


def start(body, repository, **options):
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(7)", 7),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 1)", 128 + signal.SIGRTMIN + 1),
        ("os.abort()", 134),
        ("raise ValueError", 1),
    ],
)
def test_it_ends_as_its_child_does(repository, body, status):
    with start(body, repository, stderr=subprocess.DEVNULL) as process:
        assert process.wait(30) == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN])
def test_signals_are_passed_on_once(repository, number):
    body = """
heard = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN):
    signal.signal(number, lambda number, _: heard.append(int(number)))
print("ready", flush=True)
while not heard: time.sleep(0.01)
time.sleep(0.1)
print(heard, os.getpgid(0) == os.getpid(), flush=True)
"""
    with start(body, repository) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"[{int(number)}] True\n"
        assert process.wait(30) == 0


def zombies(of):
    return [pid for pid, state in below(of) if state == "Z"]


def test_orphans_are_reaped_and_processes_of_its_own_are_left_to_the_server(repository):
    body = """
for _ in range(20):  # a child that leaves an orphan, and tells its own status
    assert subprocess.run(["sh", "-c", "sleep 0.2 & exit 3"]).returncode == 3
print("ready", flush=True)
time.sleep(60)
"""
    with start(body, repository) as process:
        assert process.stdout.readline() == "ready\n"
        wait_for(lambda: len(children(process.pid)) == 1)  # the server alone: orphans have ended
        wait_for(lambda: zombies(process.pid) == [])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


def test_nobody_else_gets_an_init(monkeypatch):
    from serving.first_process import leave_first_process

    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it forked"))
    leave_first_process()


def test_the_server_is_the_child_of_process_1(repository, tiny_bundle):
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--fork", "--pid", "true"], check=False).returncode
    ):
        pytest.skip("no process may have numbers of its own here")
    alone = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]
    server = [
        sys.executable,
        "-m",
        "serving.cli",
        "serve",
        "--voice",
        str(tiny_bundle),
        "--port",
        "0",
        "--threads",
        "1",
    ]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen([*alone, *server], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout.readline().startswith(b"ready: ")
        (first, *rest) = children(process.pid)
        assert len(rest) == 3  # the server, its fork server and a worker
        os.kill(rest[2], signal.SIGKILL)  # the fork server or a worker; whoever is left over is reaped
        time.sleep(0.1)
        wait_for(lambda: zombies(first) == [])
        os.kill(first, signal.SIGTERM)
        assert process.wait(30) in (0, 143)
    finally:
        process.kill()
        process.communicate()
