"""Fetching public archives: resumed after a cut, verified by digest, unpacked without leaving the folder."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import ssl
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from seqgen.errors import SeqgenError

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; ``total`` is 0 while it is unknown."""

_BLOCK = 1 << 18
_ATTEMPTS = 5
_TIMEOUT = 30.0  # seconds without a byte


def sha256_of(file: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, read block by block."""
    digest, done, total = hashlib.sha256(), 0, file.stat().st_size
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if progress:
                progress(f"verifying {file.name}", done, total)
    return digest.hexdigest()


def fetch(url: str, file: Path, *, sha256: str = "", progress: Progress | None = None, pause: float = 1.0) -> Path:
    """Download ``url`` to ``file`` and verify it; what an earlier run left in ``file.part`` is continued.

    Where no digest is published (``sha256`` empty), the digest of the first download is written to ``file.sha256`` in
    the form of ``sha256sum`` and every later run is held to it: this notices damage and a changed archive, but
    cannot prove the first copy.

    Args:
        url: http or https. file: where the archive goes. sha256: published digest, 64 hexadecimal digits.
        progress: told of every block. pause: seconds before the second attempt, doubled for each further one.

    Raises:
        SeqgenError: when the server refuses, the connection fails five times without progress, or the digest
            differs (the file is then removed).
    """
    if not url.startswith(("https://", "http://")):
        raise SeqgenError(f"{url}: only http and https are fetched", remedy="download it yourself and give --corpus")
    record = file.with_name(f"{file.name}.sha256")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        recorded = record.read_text().split() if record.is_file() else []  # nothing, where a run was killed in between
        expected = sha256 or (recorded[0] if recorded else "")
        if file.is_file():
            got = _verify(file, expected, url, progress)
        else:
            part = file.with_name(f"{file.name}.part")
            _complete(url, part, progress, pause)
            got = _verify(part, expected, url, progress)
            os.replace(part, file)
            _validator_file(part).unlink(missing_ok=True)
        if not expected:
            record.write_text(f"{got}  {file.name}\n")
    except OSError as error:
        raise SeqgenError(
            f"{file}: cannot be written ({error.strerror})", remedy="free space or choose another --cache"
        ) from None
    return file


def _verify(file: Path, expected: str, url: str, progress: Progress | None) -> str:
    got = sha256_of(file, progress)
    if expected and got != expected:
        file.unlink()
        _validator_file(file).unlink(missing_ok=True)
        raise SeqgenError(
            f"{file}: sha256 is {got}, expected {expected}; the file was removed",
            remedy=f"run again to fetch {url} anew (if its publisher changed it, remove the recorded .sha256)",
        )
    return got


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _complete(url: str, part: Path, progress: Progress | None, pause: float) -> None:
    """Continue ``part`` until it is whole; only attempts that bring no byte count against the limit."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _continue(url, part, progress):
                return
            reason = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise SeqgenError(f"{url}: the server answers {error.code} {error.reason}", remedy=_BY_HAND) from None
            reason = f"the server answers {error.code}"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        failures = 1 if after > before else failures + 1
        if failures >= _ATTEMPTS:
            raise SeqgenError(f"{url}: {reason}", remedy=f"run again to continue after {after} bytes, or {_BY_HAND}")
        time.sleep(pause * 2 ** (failures - 1))


_BY_HAND = "download it yourself and give its folder with --corpus DIR"


def _continue(url: str, part: Path, progress: Progress | None) -> bool:
    """One request for the rest of ``part``; true when the file is whole."""
    have = part.stat().st_size if part.exists() else 0
    etag = _validator_file(part)
    request = urllib.request.Request(url, headers={"User-Agent": "seqgen", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if etag.is_file():  # a file that has changed meanwhile comes whole instead of being spliced
            request.add_header("If-Range", etag.read_text())
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if (error.headers.get("Content-Range") or "").rpartition("/")[2] == str(have):
            return True  # cut exactly at the end
        part.unlink()
        return False
    with response:
        partial = response.status == 206
        if partial and not (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            raise http.client.HTTPException(f"asked for bytes from {have}, got {response.headers.get('Content-Range')}")
        length = int(response.length or 0)
        done = have if partial else 0
        total = done + length if length else 0
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if validator and not validator.startswith("W/"):
            etag.write_text(validator)
        else:
            etag.unlink(missing_ok=True)
        with part.open("ab" if partial else "wb") as sink:
            while block := response.read(_BLOCK):
                sink.write(block)
                done += len(block)
                if progress:
                    progress(f"downloading {url.rpartition('/')[2]}", done, total)
    return not total or done == total


def _safe_member(member: tarfile.TarInfo, root: str, archive: Path) -> PurePosixPath:
    """The relative path of one member.

    Raises:
        SeqgenError: for links, devices, absolute paths, ``..``, or a path outside ``root``.
    """
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name
    if outside or not (member.isfile() or member.isdir()) or (path.parts and path.parts[0] != root):
        raise SeqgenError(
            f"{archive}: refuses to unpack '{member.name}', which is not a plain file under '{root}'",
            remedy="fetch the archive from its publisher",
        )
    return path


def unpack(archive: Path, target: Path, *, root: str, progress: Progress | None = None) -> Path:
    """Unpack a tar archive whose files all lie in the folder ``root``, into ``target/root``, whole or not at all.

    Raises:
        SeqgenError: for a damaged archive, or a member that is not a plain file inside ``root``.
    """
    size = archive.stat().st_size
    try:
        with tempfile.TemporaryDirectory(prefix=f".{root}.new-", dir=target) as temporary:
            with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:
                for member in tar:
                    place = Path(temporary) / _safe_member(member, root, archive)
                    if member.isdir():
                        place.mkdir(parents=True, exist_ok=True)
                        continue
                    place.parent.mkdir(parents=True, exist_ok=True)
                    source = tar.extractfile(member)
                    assert source is not None  # plain files always have contents
                    with source, place.open("wb") as sink:
                        shutil.copyfileobj(source, sink, _BLOCK)
                    if progress:
                        progress(f"unpacking {archive.name}", raw.tell(), size)
            if not (Path(temporary) / root).is_dir():
                raise SeqgenError(f"{archive}: holds no folder '{root}'", remedy="fetch it from its publisher")
            os.rename(Path(temporary) / root, target / root)
    except (tarfile.TarError, EOFError) as error:
        raise SeqgenError(f"{archive}: damaged archive ({error})", remedy="remove it and run again") from None
    except OSError as error:
        raise SeqgenError(
            f"{archive}: cannot be unpacked ({error.strerror or error})",
            remedy="free space, or remove it and run again",
        ) from None
    return target / root
