"""Where the server listens: Unix sockets, and no address of other machines without keys."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import stat
import threading
from pathlib import Path

import pytest

from seqgen.errors import SeqgenError
from serving.cli.__main__ import main
from serving.connections import listening
from tests.serving.fakes import audio_file, tone
from tests.serving.test_real_voice import start


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("127.0.0.1", False),
        ("127.8.9.1", False),
        ("localhost", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("::ffff:0.0.0.0", True),
    ],
)
def test_an_address_of_other_machines_wants_keys(host, refused):
    try:
        listener = listening.listen(host, 0)
    except SeqgenError:
        pytest.skip(f"this machine has no address {host!r}")
    with listener:
        listening.require_keys(listener, keys=True, open_to_all=False)
        listening.require_keys(listener, keys=False, open_to_all=True)
        with pytest.raises(SeqgenError, match="without keys") if refused else contextlib.nullcontext():
            listening.require_keys(listener, keys=False, open_to_all=False)


def test_the_command_refuses_it_in_one_line_with_the_ways_out(capsys, tmp_path):
    assert main(["serve", "--voices", str(tmp_path), "--host", "0.0.0.0", "--port", "0"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: 0.0.0.0 is reached by other machines")
    assert all(word in err for word in ("--keys", "--no-keys", "127.0.0.1"))
    assert err.count("\n") == 1


def test_a_socket_left_behind_is_replaced_and_has_the_mode(tmp_path):
    place = tmp_path / "s"
    listening.listen_unix(place, 0o600).close()  # as a killed server leaves it
    with listening.listen_unix(place, 0o640) as listener, listening.removed_at_end(place):
        found = place.stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o640
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place))
            assert listener.accept()
    assert os.listdir(tmp_path) == []


def test_a_server_does_not_take_away_the_socket_of_the_next(tmp_path):
    place = tmp_path / "s"
    with contextlib.ExitStack() as old:
        listener = old.enter_context(listening.listen_unix(place, 0o600))
        old.enter_context(listening.removed_at_end(place))
        listener.close()  # it drains
        after = listening.listen_unix(place, 0o600)
    with after, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda place: place.write_text("precious"), "no socket"),
        (lambda place: place.mkdir(), "no socket"),
        (lambda place: place.symlink_to("/dev/null"), "no socket"),
        (lambda place: place.symlink_to("nowhere"), "no socket"),
        (lambda place: os.mkfifo(place), "no socket"),
    ],
)
def test_what_is_no_socket_is_left_alone(tmp_path, make, problem):
    place = tmp_path / "s"
    make(place)
    before = place.lstat()
    with pytest.raises(SeqgenError, match=problem):
        listening.listen_unix(place, 0o600)
    assert place.lstat() == before
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.parametrize("name", ["missing/s", "x" * 200, "s/t"])
def test_a_place_that_cannot_be_is_told(tmp_path, name):
    (tmp_path / "s").write_text("")
    with pytest.raises(SeqgenError):
        listening.listen_unix(tmp_path / name, 0o600)


def test_a_socket_that_another_server_listens_on_is_refused(tmp_path):
    place = tmp_path / "s"
    with listening.listen_unix(place, 0o600), pytest.raises(SeqgenError, match="another server listens"):
        listening.listen_unix(place, 0o600)


def test_the_same_sound_through_a_unix_socket(repository: Path, tiny_bundle, tmp_path):
    place = tmp_path / "http.sock"
    process = start(repository, "serve", "--voice", tiny_bundle, "--uds", str(place), "--threads", "1")
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        assert process.stdout.readline().decode().rstrip().endswith(f" on unix:{place}")
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(place))
        connection.request("POST", "/v1/vocode?format=pcm", audio_file(tone(0.1)))
        answer = connection.getresponse()
        assert (answer.status, len(answer.read())) == (200, 1600)
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    finally:
        guard.cancel()
        process.kill()
        process.communicate()
    assert not place.exists()
