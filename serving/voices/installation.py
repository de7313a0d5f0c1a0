"""Copying of a bundle into a store: nothing is written before names, kinds and sizes of its files are right.

What is copied is what the manifest lists, hashed on its way, so a source that changes meanwhile cannot leave anything
else behind.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from seqgen.bundle import LARGEST, LARGEST_MANIFEST, MANIFEST, read_manifest
from seqgen.errors import SeqgenError
from seqgen.manifest import FileEntry, Manifest

MOST_FILES = 64
"""Files of a bundle at most."""
MOST_BYTES = 4 << 30
"""Bytes of a bundle's files at most, all together."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BLOCK = 1 << 20


def require_modest(source: Path, room: int) -> Manifest:
    """Manifest of a bundle that may be copied, found by looking at nothing but the manifest, names and sizes.

    Args:
        source: directory of the bundle. room: bytes that there is room for.

    Raises:
        SeqgenError: where it has too many files or bytes, one that is no plain file, or others than its manifest lists.
    """
    try:
        with os.scandir(source) as entries:
            sizes = {entry.name: _plain_size(source / entry.name) for entry in islice(entries, MOST_FILES + 1)}
    except FileNotFoundError:
        sizes = {}
    except OSError as error:
        raise SeqgenError(f"{source}: {error.strerror}", remedy="give an exported bundle") from None
    if len(sizes) > MOST_FILES:
        raise SeqgenError(
            f"{source}: more than {MOST_FILES} files are no bundle", remedy="give the bundle's own directory"
        )
    if MANIFEST not in sizes:
        raise SeqgenError(f"{source}: no bundle here ({MANIFEST} is missing)", remedy="give an exported bundle")
    for name, size in sizes.items():
        most = LARGEST_MANIFEST if name == MANIFEST else LARGEST
        if size > most:
            raise SeqgenError(f"{source / name}: {size} bytes are too many", remedy="export the voice again")
    total = sum(sizes.values())
    if total > MOST_BYTES:
        raise SeqgenError(f"{source}: {total} bytes are too many", remedy=f"a voice has {MOST_BYTES >> 30} GiB at most")
    manifest = read_manifest(source)
    _require_listed(source, manifest, sizes)
    if total > room:
        raise SeqgenError(f"{source}: {total} bytes, there is room for {room}", remedy="free some space")
    return manifest


def _plain_size(path: Path) -> int:
    """Size of a plain file, by its entry in the directory alone: it is not opened, nor a link followed."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise SeqgenError(f"{path}: not a plain file", remedy="give a bundle as it was exported")
    return status.st_size


def _require_listed(source: Path, manifest: Manifest, sizes: dict[str, int]) -> None:
    """Refuse a bundle whose files are not those of its manifest, by name and size."""
    listed = [entry.name for entry in manifest.files]
    for entry in manifest.files:
        if not _NAME.fullmatch(entry.name) or entry.name == MANIFEST or listed.count(entry.name) > 1:
            raise SeqgenError(f"{source}: file name {entry.name!r} is not allowed", remedy="export the bundle again")
        if entry.name not in sizes:
            raise SeqgenError(f"{source / entry.name}: missing", remedy="copy or export the bundle again")
        if sizes[entry.name] != entry.size:
            message = f"{source / entry.name}: {sizes[entry.name]} bytes, the manifest says {entry.size}"
            raise SeqgenError(message, remedy="copy the bundle again")
    for name in sorted(sizes.keys() - {MANIFEST, *listed}):
        raise SeqgenError(
            f"{source / name}: not listed in the manifest", remedy="remove it, or export the bundle again"
        )


def copy_bundle(source: Path, manifest: Manifest, target: Path) -> None:
    """Copy a bundle's manifest and the files that it lists into a new directory.

    Raises:
        SeqgenError: for a file that is not, or no longer, what the manifest says.
        OSError: where it cannot be read or written.
    """
    target.mkdir()
    for entry in sorted(manifest.files, key=lambda entry: entry.size):
        _copy_file(source / entry.name, entry, target / entry.name)
    shutil.copyfile(source / MANIFEST, target / MANIFEST, follow_symlinks=False)
    if read_manifest(target) != manifest:
        raise SeqgenError(f"{source / MANIFEST}: changed while it was copied", remedy="install it again")


def _copy_file(source: Path, entry: FileEntry, target: Path) -> None:
    hashed, copied = hashlib.sha256(), 0
    with target.open("xb") as out:
        for block in _blocks(source, entry.size + 1):
            hashed.update(block)
            copied += len(block)
            out.write(block)
    if copied != entry.size:
        raise SeqgenError(f"{source}: changed while it was copied", remedy="install it again")
    if hashed.hexdigest() != entry.sha256:
        raise SeqgenError(
            f"{source}: sha256 {hashed.hexdigest()[:12]}… does not match the manifest's {entry.sha256[:12]}…",
            remedy="the file was damaged or changed; copy or export the bundle again",
        )


def _blocks(path: Path, most: int) -> Iterator[bytes]:
    """Content of a plain file up to so many bytes; what has taken its place since it was looked at is refused."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SeqgenError(f"{path}: not a plain file", remedy="give a bundle as it was exported")
        while most and (block := file.read(min(_BLOCK, most))):
            most -= len(block)
            yield block
