"""The downloader against a server on this machine: resuming, verifying, unpacking without escape."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seqgen.data import download
from seqgen.data.corpora import Demo, YesNo
from seqgen.data.corpus import Archive
from seqgen.errors import SeqgenError

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server offers and what it was asked."""

    content: bytes = CONTENT
    etag: str = '"one"'
    cut_after: list[int] = field(default_factory=list)  # bytes sent by the first, second … answer before it is cut
    ranges: bool = True
    length: bool = True
    status: int = 200
    asked: list[str] = field(default_factory=list)
    url: str = ""


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range") or ""
            site.asked.append(asked)
            if site.status != 200:
                self.send_error(site.status)
                return
            fresh = self.headers.get("If-Range") in (None, site.etag)
            start = int(asked[6:-1]) if asked and site.ranges and fresh else 0
            if start >= len(site.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(site.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
            if site.etag:
                self.send_header("ETag", site.etag)
            if site.length:
                self.send_header("Content-Length", str(len(site.content) - start))
            self.end_headers()
            count = site.cut_after.pop(0) if site.cut_after else len(site.content)
            self.wfile.write(site.content[start : start + count])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
    made.url = f"http://127.0.0.1:{server.server_port}/set.tar.gz"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_download_and_progress(site: Site, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    file = download.fetch(site.url, tmp_path / "a/set.tar.gz", sha256=DIGEST, progress=lambda *now: told.append(now))
    assert file.read_bytes() == CONTENT
    assert names(tmp_path / "a") == ["set.tar.gz"]
    assert ("downloading set.tar.gz", len(CONTENT), len(CONTENT)) in told
    download.fetch(site.url, file, sha256=DIGEST)
    assert site.asked == [""]  # a verified archive is not fetched again


def test_a_cut_connection_is_continued(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 0, 200_000, 0, 0, 0]
    download.fetch(site.url, tmp_path / "set", sha256=DIGEST, pause=0)
    assert (tmp_path / "set").read_bytes() == CONTENT
    assert site.asked == ["", "bytes=300000-", "bytes=300000-"] + ["bytes=500000-"] * 4


def test_a_later_run_continues(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(SeqgenError, match="the connection was cut; run again to continue after 300000 bytes"):
        download.fetch(site.url, tmp_path / "set", sha256=DIGEST, pause=0)
    assert names(tmp_path) == ["set.part", "set.part.etag"]
    site.cut_after, site.asked = [], []
    download.fetch(site.url, tmp_path / "set", sha256=DIGEST)
    assert site.asked == ["bytes=300000-"]
    assert names(tmp_path) == ["set"]
    assert (tmp_path / "set").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_taken(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.part").write_bytes(CONTENT)
    assert download.fetch(site.url, tmp_path / "set", sha256=DIGEST).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.part").write_bytes(CONTENT + b"x")
    assert download.fetch(site.url, tmp_path / "set", sha256=DIGEST, pause=0).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    (tmp_path / "set.part").write_bytes(CONTENT[:1000])
    assert download.fetch(site.url, tmp_path / "set", sha256=DIGEST).read_bytes() == CONTENT


def test_a_server_that_does_not_tell_the_length(site: Site, tmp_path: Path) -> None:
    site.length = False
    assert download.fetch(site.url, tmp_path / "set", sha256=DIGEST).read_bytes() == CONTENT


def test_a_changed_file_is_not_spliced(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(SeqgenError):
        download.fetch(site.url, tmp_path / "set", pause=0)
    site.cut_after, site.content, site.etag = [], CONTENT[::-1], '"two"'
    assert download.fetch(site.url, tmp_path / "set").read_bytes() == CONTENT[::-1]


def test_a_wrong_digest_is_refused_and_removed(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match=f"sha256 is {DIGEST}, expected {'0' * 64}; the file was removed"):
        download.fetch(site.url, tmp_path / "set", sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_damaged_archive_is_noticed_later(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(CONTENT[:-1])
    with pytest.raises(SeqgenError, match="sha256"):
        download.fetch(site.url, tmp_path / "set", sha256=DIGEST)
    assert names(tmp_path) == []


def test_without_a_published_digest_the_first_is_recorded(site: Site, tmp_path: Path) -> None:
    file = download.fetch(site.url, tmp_path / "set")
    assert (tmp_path / "set.sha256").read_text() == f"{DIGEST}  set\n"
    download.fetch(site.url, file)
    (tmp_path / "set.sha256").write_text("")  # a run was killed while it wrote
    download.fetch(site.url, file)
    assert (tmp_path / "set.sha256").read_text() == f"{DIGEST}  set\n"
    file.write_bytes(b"damaged")
    with pytest.raises(SeqgenError, match=f"expected {DIGEST}"):
        download.fetch(site.url, file)
    site.content = CONTENT[::-1]
    with pytest.raises(SeqgenError, match=f"expected {DIGEST}.*remove the recorded .sha256"):
        download.fetch(site.url, file)
    assert names(tmp_path) == ["set.sha256"]


def test_refusals(site: Site, tmp_path: Path) -> None:
    site.status = 404
    with pytest.raises(SeqgenError, match="the server answers 404"):
        download.fetch(site.url, tmp_path / "set", pause=0)
    assert len(site.asked) == 1
    site.status = 503
    with pytest.raises(SeqgenError, match="the server answers 503"):
        download.fetch(site.url, tmp_path / "set", pause=0)
    assert len(site.asked) == 6
    with pytest.raises(SeqgenError, match="only http and https"):
        download.fetch("file:///etc/passwd", tmp_path / "set")
    with pytest.raises(SeqgenError, match=r"Connection refused.*--corpus DIR"):
        download.fetch("http://127.0.0.1:9/set", tmp_path / "set", pause=0)
    assert names(tmp_path) == []


def tar(path: Path, *members: tuple[str, bytes | None, bytes]) -> Path:
    """An archive of (name, contents, type)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, contents, kind in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.size = len(contents or b"")
            member.linkname = "/etc/passwd"
            archive.addfile(member, io.BytesIO(contents or b""))
    return path


def test_unpack(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tgz", ("set", None, tarfile.DIRTYPE), ("set/b/c.txt", b"hello", tarfile.REGTYPE))
    assert download.unpack(archive, tmp_path, root="set") == tmp_path / "set"
    assert (tmp_path / "set/b/c.txt").read_bytes() == b"hello"
    assert names(tmp_path) == ["a.tgz", "set"]


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", b"x", tarfile.REGTYPE),
        ("set/../../evil", b"x", tarfile.REGTYPE),
        ("/tmp/evil", b"x", tarfile.REGTYPE),
        ("other/evil", b"x", tarfile.REGTYPE),
        ("set/C:evil", b"x", tarfile.REGTYPE),
        ("set/link", None, tarfile.SYMTYPE),
        ("set/link", None, tarfile.LNKTYPE),
        ("set/device", None, tarfile.CHRTYPE),
    ],
)
def test_nothing_leaves_the_folder(tmp_path: Path, member: tuple[str, bytes | None, bytes]) -> None:
    (tmp_path / "in").mkdir()
    archive = tar(tmp_path / "in/a.tgz", ("set/good.txt", b"hello", tarfile.REGTYPE), member)
    with pytest.raises(SeqgenError, match="refuses to unpack"):
        download.unpack(archive, tmp_path / "in", root="set")
    assert names(tmp_path / "in") == ["a.tgz"]
    assert names(tmp_path) == ["in"]


def test_a_damaged_archive_unpacks_to_nothing(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tgz", *((f"set/{k}.txt", bytes(9000), tarfile.REGTYPE) for k in range(9)))
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(SeqgenError, match=r"a\.tgz: "):
        download.unpack(archive, tmp_path, root="set")
    archive.write_bytes(b"no archive")
    with pytest.raises(SeqgenError, match="damaged archive"):
        download.unpack(archive, tmp_path, root="set")
    assert names(tmp_path) == ["a.tgz"]


def test_a_corpus_is_fetched_once(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tar(tmp_path / "x.tgz", ("waves_yesno/0_0_0_0_1_1_1_1.wav", b"...", tarfile.REGTYPE))
    site.content = packed.read_bytes()
    monkeypatch.setattr(YesNo, "archive", Archive(site.url, root="waves_yesno"))
    for _ in range(2):
        root = YesNo().download(tmp_path / "cache")
        assert names(root) == ["0_0_0_0_1_1_1_1.wav"]
    assert len(site.asked) == 1
    assert names(tmp_path / "cache") == ["waves_yesno", "yesno.tar.gz", "yesno.tar.gz.sha256"]
    with pytest.raises(SeqgenError, match="has no public archive; give its folder with --corpus DIR"):
        Demo().download(tmp_path)
