"""``seqgen-serve health``: whether a server answers, for what cannot ask over HTTP itself, such as containers."""

from __future__ import annotations

import argparse
import http.client
import socket
import ssl
import sys
from urllib.parse import urlsplit

from seqgen.errors import SeqgenError

EXAMPLES = """\
examples:
  seqgen-serve health                                   # http://127.0.0.1:8080/livez
  seqgen-serve health --ready https://voices.example    # would it take a stream now?
  seqgen-serve health --uds /run/seqgen-serve/http.sock

The server's answer goes to standard output; the exit status is 0 where it is well, else 1."""
_PORTS = {"http": 80, "https": 443}


def options(health: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve health``."""
    health.add_argument("url", nargs="?", default="http://127.0.0.1:8080", help="of the server (default: %(default)s)")
    health.add_argument("--uds", metavar="PATH", help="ask through this Unix socket")
    health.add_argument("--ready", action="store_true", help="ask /readyz (would it take a stream?) instead of /livez")
    health.add_argument("--tls-ca", metavar="FILE", help="certificate (PEM) to trust, where it is the server's own")
    health.add_argument("--timeout", type=float, default=5.0, help="seconds to wait (default: %(default)s)")
    health.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Ask and tell."""
    status, answer = ask(
        options.url,
        "/readyz" if options.ready else "/livez",
        uds=options.uds,
        authority=options.tls_ca,
        timeout=options.timeout,
    )
    sys.stdout.write(answer + "\n")
    return 0 if status == 200 else 1


def ask(
    url: str, path: str, *, uds: str | None = None, authority: str | None = None, timeout: float = 5.0
) -> tuple[int, str]:
    """Status and body of ``GET path``.

    Raises:
        SeqgenError: where there is no answer.
    """
    try:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("not an address of a server")
        port = parts.port or _PORTS[parts.scheme]
        connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)
        if uds:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(timeout)
            connection.sock.connect(uds)
        elif parts.scheme == "https":
            trust = ssl.create_default_context(cafile=authority)
            connection = http.client.HTTPSConnection(parts.hostname, port, timeout=timeout, context=trust)
        try:
            connection.request("GET", parts.path.rstrip("/") or path, headers={"Host": parts.netloc})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace").strip()
        finally:
            connection.close()
    except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
        where = uds or url
        reason = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
        raise SeqgenError(
            f"{where}: no answer ({reason})",
            remedy="start it with `seqgen-serve serve`, or name its address",
        ) from None
