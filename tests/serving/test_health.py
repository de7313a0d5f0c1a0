"""The health command: an exit status for containers, whatever the server does."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import pytest

from serving.app import App
from serving.cli.__main__ import main
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live


def test_a_server_is_well_and_after_its_drain_no_longer_ready(capsys):
    with Live(App(fake_vocoder(), threads=1)) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert main(["health", url]) == 0
        assert json.loads(capsys.readouterr().out) == {"status": "alive"}
        assert main(["health", f"127.0.0.1:{server.port}", "--ready"]) == 0
        assert json.loads(capsys.readouterr().out)["status"] == "ready"
        server.app.drain()
        assert main(["health", url, "--ready"]) == 1
        assert main(["health", f"{url}/readyz"]) == 1
        assert main(["health", url]) == 0


@contextlib.contextmanager
def answering(words: bytes | None, family: int = socket.AF_INET, place=("127.0.0.1", 0)):
    """A listener that answers each request with these bytes, or never."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(place)
        listener.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    if words is None:
                        kept.append(connection)
                        continue
                    with connection:
                        connection.recv(4096)
                        connection.sendall(words)

        kept: list[socket.socket] = []
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in kept:
            connection.close()


@pytest.mark.parametrize(
    "words",
    [None, b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 503 Busy\r\n\r\n", b"HTTP/1.1 302 Moved\r\nLocation: /\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"],
)  # fmt: skip
def test_whatever_is_no_healthy_answer_is_status_one(words, capsys):
    with answering(words) as (host, port):
        assert main(["health", f"http://{host}:{port}", "--timeout", "0.2"]) == 1
    assert capsys.readouterr().err.count("\n") <= 1


def test_it_asks_through_a_unix_socket(tmp_path, capsys):
    with answering(b"HTTP/1.1 200 OK\r\n\r\nwell\n", socket.AF_UNIX, str(tmp_path / "s")):
        assert main(["health", "--uds", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out == "well\n"


@pytest.mark.parametrize(
    "words",
    [
        ["http://127.0.0.1:1"],
        ["ftp://x"],
        ["http://"],
        ["http://[::1"],
        ["http://a:b"],
        ["--uds", "none"],
        ["http://127.0.0.1:1", "--timeout", "inf"],
        ["http://127.0.0.1:1", "--timeout", "nan"],
    ],
)
def test_no_server_is_one_line(words, capsys):
    assert main(["health", *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "no answer" in err
    assert err.count("\n") == 1
