"""Addresses that the server listens on: TCP or a Unix socket, and which of them want API keys."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from seqgen.errors import SeqgenError

_SEND_BUFFER = 128 << 10  # bytes the kernel may hold for one slow reader; its default grows to megabytes
_LONGEST_PATH = 107  # bytes of a Unix socket's path, of Linux's sun_path
_TAKEN = "choose another --host or --port"


def listen(host: str, port: int) -> socket.socket:
    """Bound socket; connections are accepted once the server starts.

    Raises:
        SeqgenError: for an address that cannot be used.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        listener.bind(address)
    except (OSError, UnicodeError) as error:  # a host name that no encoding takes is one
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SeqgenError(f"cannot listen on {host}:{port} ({reason})", remedy=_TAKEN) from None
    return listener


def listen_unix(path: Path, mode: int) -> socket.socket:
    """Unix socket at a path, bound; one that a server left behind there is replaced in one step.

    Raises:
        SeqgenError: where another server listens, what is there is no socket, or the path cannot be used.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH - 8:
        raise SeqgenError(
            f"{path}: longer than a Unix socket's path may be", remedy=f"use at most {_LONGEST_PATH - 8} bytes"
        )
    _require_free(path)
    # Bound under another name and moved, so that nobody ever meets a socket with the wrong mode.
    fresh = path.with_name(f"{path.name}.{os.getpid() % 1_000_000}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(mode)
        listener.listen()
        fresh.replace(path)
    except OSError as error:
        listener.close()
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise SeqgenError(
            f"cannot listen on {path} ({error.strerror or error})", remedy="choose a --uds in a folder you may write"
        ) from None
    return listener


@contextlib.contextmanager
def removed_at_end(path: Path) -> Iterator[None]:
    """Context of a server on a Unix socket, which is removed in the end unless another server has taken its place."""
    inode = path.stat().st_ino
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.stat().st_ino == inode:
                path.unlink()


def _require_free(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SeqgenError(f"cannot listen on {path} ({error.strerror})", remedy="choose another --uds") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise SeqgenError(f"{path}: there is something that is no socket", remedy="remove it, or choose another --uds")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # left behind
        except OSError as error:
            reason = error.strerror or str(error)
            raise SeqgenError(f"{path}: a socket that cannot be tried ({reason})", remedy="remove it") from None
    raise SeqgenError(f"another server listens on {path}", remedy="stop it, or choose another --uds")


def require_keys(listener: socket.socket, *, keys: bool, open_to_all: bool) -> None:
    """Refuse an address that other machines reach where nobody has to show a key.

    Raises:
        SeqgenError: unless there are keys, the address is this machine's own, or it is said to be meant.
    """
    if keys or open_to_all or listener.family == socket.AF_UNIX:
        return
    host = listener.getsockname()[0]
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise SeqgenError(
            f"{host} is reached by other machines, and without keys whoever reaches it uses the voices",
            remedy="give --keys FILE (`seqgen-serve keys add NAME` makes one), listen on 127.0.0.1 behind a proxy, "
            "or say --no-keys where the network is closed",
        )


def written(listener: socket.socket, *, tls: bool) -> str:
    """Address of a TCP listener as its clients write it."""
    return f"{'https' if tls else 'http'}://{address(listener)}"


def address(listener: socket.socket) -> str:
    """Host and port of a TCP listener."""
    host, port = listener.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"
