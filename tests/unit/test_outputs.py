"""Outputs keep what their path names: its type, its links, its owner and rights; whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seqgen.errors import SeqgenError
from seqgen.files.folders import replacing_folder
from seqgen.files.outputs import is_stream, replacing, require_writable, write_text
from tests.unit.cli_workspace import seqgen

NEW = b"new content, longer than the old one"


def write(path: Path) -> None:
    with replacing(path) as file:
        file.write(NEW)


def clean(folder: Path) -> bool:
    return not list(folder.rglob(".*"))


def regular(path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0o640)


def link(path: Path) -> None:
    regular(path.with_name("behind"))
    path.symlink_to("behind")


def links(path: Path) -> None:
    regular(path.with_name("behind"))
    path.with_name("folder").mkdir()
    (path.with_name("folder") / "next").symlink_to("../behind")
    path.symlink_to("folder/next")


def dangling(path: Path) -> None:
    path.symlink_to("behind")


def hard(path: Path) -> None:
    regular(path.with_name("behind"))
    os.link(path.with_name("behind"), path)


def absent(path: Path) -> None:
    """Nothing is there."""


def seen(path: Path) -> tuple[bool, int, int, int]:
    there = path.stat()
    return path.is_symlink(), stat.S_IFMT(there.st_mode), there.st_nlink, stat.S_IMODE(there.st_mode)


FILES = (absent, regular, link, links, dangling, hard)


@pytest.mark.parametrize("made", FILES, ids=lambda made: made.__name__)
def test_files_keep_links_and_rights(tmp_path: Path, made: Callable[[Path], None]) -> None:
    path = tmp_path / "out"
    made(path)
    before = seen(path) if path.exists() else None
    require_writable(path)
    write(path)
    assert path.read_bytes() == NEW
    assert before is None or seen(path) == before
    assert path.is_symlink() == (made in (link, links, dangling))
    if path.with_name("behind").exists():
        assert path.with_name("behind").read_bytes() == NEW
    assert clean(tmp_path)


@pytest.mark.parametrize("made", FILES, ids=lambda made: made.__name__)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left"), ValueError()])
def test_what_fails_leaves_the_old(tmp_path: Path, made: Callable[[Path], None], error: BaseException) -> None:
    path = tmp_path / "out"
    made(path)
    before = path.read_bytes() if path.exists() else None

    def fail() -> None:
        with replacing(path) as file:
            file.write(NEW)
            raise error

    with pytest.raises(SeqgenError if isinstance(error, OSError) else type(error)):
        fail()
    assert (path.read_bytes() if path.exists() else None) == before
    assert clean(tmp_path)


def test_a_full_disk_leaves_what_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is taken before the first old byte goes."""

    def full(handle: int, start: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    hard(tmp_path / "out")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SeqgenError, match=r"out: cannot be written \(No space left on device\); free space"):
        write(tmp_path / "out")
    assert (tmp_path / "behind").read_bytes() == b"old"


def test_a_file_that_is_mounted_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(source: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    regular(tmp_path / "out")
    before = seen(tmp_path / "out")
    monkeypatch.setattr(os, "replace", busy)
    write(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == NEW
    assert seen(tmp_path / "out") == before
    assert clean(tmp_path)


SOMEBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user than root may look into."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        os.seteuid(0)


def test_root_keeps_the_owner(shared: Path) -> None:
    regular(shared / "out")
    os.chown(shared / "out", SOMEBODY, SOMEBODY)
    write(shared / "out")
    there = (shared / "out").stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (SOMEBODY, SOMEBODY, 0o640)


def test_files_of_others_and_closed_folders(shared: Path) -> None:
    """What may be written is written in place; what may not is refused, and nothing goes around the refusal."""
    open_folder, closed = shared / "open", shared / "closed"
    for folder, rights in ((open_folder, 0o777), (closed, 0o755)):
        folder.mkdir()
        for name, mode in (("shared", 0o666), ("theirs", 0o644)):
            (folder / name).write_bytes(b"old")
            (folder / name).chmod(mode)
        folder.chmod(rights)
    os.seteuid(SOMEBODY)
    for folder in (open_folder, closed):
        write(folder / "shared")
        assert (folder / "shared").read_bytes() == NEW
        assert (folder / "shared").stat().st_uid == 0
        for check in (write, require_writable):
            with pytest.raises(SeqgenError, match=r"theirs: cannot be written \(Permission denied\)"):
                check(folder / "theirs")
        assert (folder / "theirs").read_bytes() == b"old"
    with pytest.raises(SeqgenError, match="choose a writable place"):
        write(closed / "new")
    assert clean(shared)


@pytest.mark.parametrize("streaming", [False, True])
def test_pipes_are_written_through(tmp_path: Path, streaming: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    with replacing(path, streaming=streaming) as file:
        file.write(NEW)
    reader.join(20)
    assert got == [NEW]
    assert is_stream(path)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_device_nodes_stay_devices(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (tmp_path / "null").open("wb").close()
    except PermissionError:
        pytest.skip("no device nodes can be made or used here")
    (tmp_path / "link").symlink_to("null")
    for path in (tmp_path / "null", tmp_path / "link", Path("/dev/null")):
        write(path)
        assert is_stream(path)
        assert stat.S_ISCHR(path.stat().st_mode)
    assert clean(tmp_path)


@pytest.mark.parametrize("pattern", ["/dev/fd/{}", "/proc/self/fd/{}", "/proc/{pid}/fd/{}"])
def test_descriptors_are_written_where_they_stand(tmp_path: Path, pattern: str) -> None:
    with (tmp_path / "out").open("wb") as file:
        file.write(b"before ")
        file.flush()
        write(Path(pattern.format(file.fileno(), pid=os.getpid())))
        file.write(b" after")
    assert (tmp_path / "out").read_bytes() == b"before " + NEW + b" after"


def test_standard_output_by_name(tmp_path: Path) -> None:
    """What was printed before comes before; a file behind it is not replaced under the shell's feet."""
    program = (
        "import sys; sys.stdout.write('one '); from seqgen.files.outputs import write_text;"
        "write_text(sys.argv[1], 'two '); sys.stdout.write('three')"
    )
    for name in ("/dev/stdout", "/dev/fd/1"):
        with (tmp_path / "out").open("wb") as file:
            subprocess.run([sys.executable, "-c", program, name], stdout=file, check=True, timeout=60)
        assert (tmp_path / "out").read_bytes() == b"one two three"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "Is a directory"),
        ("missing/out", "No such file or directory"),
        ("file/out", "Not a directory"),
        ("circle", "Too many levels of symbolic links"),
        ("/dev/fd/999", "Bad file descriptor"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    for check in (write, require_writable):
        with pytest.raises(SeqgenError, match=rf"cannot be written \({reason}\)"):
            check(tmp_path / name)
    assert clean(tmp_path)


def test_a_full_device_is_said(tmp_path: Path) -> None:
    for streaming in (False, True):
        with pytest.raises(SeqgenError, match=r"/dev/full: cannot be written \(No space left on device\)"), \
                replacing("/dev/full", streaming=streaming) as file:  # fmt: skip
            file.write(NEW)


def test_odd_names(tmp_path: Path) -> None:
    for name in ("é" * 127, "x" * 255, os.fsdecode(b"caf\xe9"), "line\nbreak", "-"):
        write_text(tmp_path / name, f"{name}\n")
        assert (tmp_path / name).read_bytes() == os.fsencode(name) + b"\n"
    assert clean(tmp_path)


def bundle_like(path: Path) -> bool:
    return (path / "mark").is_file()


def make_folder(path: Path, text: str = "new") -> None:
    with replacing_folder(path, kind="a bundle", may_replace=bundle_like) as work:
        (work / "mark").write_text(text)


def test_folders_keep_links_owner_and_rights(tmp_path: Path) -> None:
    make_folder(tmp_path / "real", "old")
    (tmp_path / "real").chmod(0o750)
    (tmp_path / "link").symlink_to("real")
    make_folder(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/mark").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o750
    make_folder(tmp_path / "a/b/new")
    assert stat.S_IMODE((tmp_path / "a/b/new").stat().st_mode) == stat.S_IMODE((tmp_path / "a").stat().st_mode)
    assert clean(tmp_path)


@pytest.mark.parametrize("name", ["file", "full", "pipe"])
def test_folders_take_no_other_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SeqgenError, match=f"{name} exists and is not a bundle"):
        make_folder(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_fails_leaves_the_old_and_names_its_place(tmp_path: Path) -> None:
    make_folder(tmp_path / "out", "old")

    def fail() -> None:
        with replacing_folder(tmp_path / "out", kind="a bundle", may_replace=bundle_like) as work:
            raise SeqgenError(f"{work}/x is wrong", remedy="mend it")

    with pytest.raises(SeqgenError, match=f"^{tmp_path}/out/x is wrong"):
        fail()
    assert (tmp_path / "out/mark").read_text() == "old"
    assert clean(tmp_path)


def commands(work: Path, out: Path) -> dict[str, list[object]]:
    """Every command with an output file."""
    voice, recording = work / "voice", work / "in/anna/u0.wav"
    return {
        "sample": ["sample", voice, recording, "--speaker", "anna", "-o", out],
        "eval": ["eval", voice, "--data", work / "data/test", "--utterances", 1, "--likelihood-only", "--report", out],
    }


def served(work: Path, out: Path) -> dict[str, list[object]]:
    voice, recording = work / "voice", work / "in/anna/u0.wav"
    vocode = ["vocode", recording, "--voice", voice, "--speaker", "anna", "-o", out]
    return {"vocode": vocode, "vocode --raw": [*vocode, "--raw"], "keys": ["keys", "add", "one", "--keys", out]}


@pytest.mark.parametrize("command", ["sample", "eval", "vocode", "vocode --raw", "keys"])
def test_every_command_keeps_what_its_output_names(cli_work: Path, tmp_path: Path, command: str) -> None:
    from serving.cli.__main__ import main as serve

    out = tmp_path / "out.wav"
    known, theirs = commands(cli_work, out), served(cli_work, out)

    def status() -> int:
        if command in known:
            return seqgen(*known[command]).status
        return serve([str(word) for word in theirs[command]])

    (tmp_path / "behind").write_bytes(b"")
    (tmp_path / "behind").chmod(0o640)
    out.symlink_to("behind")
    assert status() == 0
    assert out.is_symlink()
    written = (tmp_path / "behind").read_bytes()
    assert written
    assert stat.S_IMODE((tmp_path / "behind").stat().st_mode) == 0o640
    out.unlink()
    if command != "keys":  # a list of keys is read before it is written
        os.mkfifo(out)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(out.read_bytes()), daemon=True)
        reader.start()
        assert status() == 0
        reader.join(20)
        assert stat.S_ISFIFO(out.lstat().st_mode)
        assert got[0]
        assert command == "eval" or got[0][-64:] == written[-64:]
        out.unlink()
    out.mkdir()
    (tmp_path / "behind").write_bytes(b"mine")
    assert status() == 1
    assert list(out.iterdir()) == []
    assert clean(tmp_path)
