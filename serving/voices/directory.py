"""Directory of voices: installed whole or not at all, checked before they are served, found by name and nothing else.

voices/<name>/            the present version, a bundle as `seqgen export` writes it
voices/.<anything>        work in progress; swept away when it is an hour old

Nothing else is served. A link is not followed, as what it points to may be outside the store and change unseen.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqgen.bundle import LARGEST_MANIFEST, MANIFEST, Bundle
from seqgen.errors import SeqgenError
from seqgen.files import folders
from seqgen.runtime.replay import require_golden
from seqgen.spec import FeatureSpec
from serving.voices.installation import copy_bundle, require_modest
from serving.voices.store import VoiceVersion, version_of
from serving.voices.voice import LoadedVoice, description, kind_of, open_voice, served

VOICE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Pattern of voice names: no separators, no leading dot, one case, so that a name is the same on every file system."""
_STALE = 3600.0  # seconds after which work in progress was left by a crash
_NO_LINKS = "links are not followed: install the voice with `seqgen-serve voices install`"


def require_name(name: str) -> str:
    """Voice's name that may stand in a path.

    Raises:
        SeqgenError: for any other text.
    """
    if not VOICE_NAME.fullmatch(name):
        raise SeqgenError(
            f"{name[:60]!r} cannot be a voice's name",
            remedy="use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
        )
    return name


class VoiceDirectory:
    """Store of voices in a directory.

    Example:
        >>> store = VoiceDirectory(Path("voices"))
        >>> store.install(Path("egs/demo/voice"), "demo")                  # doctest: +SKIP
        >>> store.names()                                                  # doctest: +SKIP
        ['demo']
    """

    def __init__(self, directory: Path, *, opener: Callable[[Path], LoadedVoice] = open_voice) -> None:
        self.directory = directory
        self._opener = opener

    def names(self) -> list[str]:
        """Names of the voices that are there."""
        try:
            with os.scandir(self.directory) as entries:
                return sorted(entry.name for entry in entries if VOICE_NAME.fullmatch(entry.name) and _whole(entry))
        except OSError:
            return []

    def ignored(self) -> dict[str, str]:
        """Entries of the directory that are not served, with the reason; of its work in progress nothing is told."""
        try:
            with os.scandir(self.directory) as entries:
                found = {entry.name: _why_ignored(entry) for entry in entries if not entry.name.startswith(".")}
        except OSError:
            return {}
        return {name: why for name, why in sorted(found.items()) if why}

    def path(self, name: str) -> Path:
        """Path of a voice.

        Raises:
            SeqgenError: for a name that is none, or a voice that is not there.
        """
        path = self.directory / require_name(name)
        if path.is_symlink():
            raise SeqgenError(f"'{name}' in {self.directory} is a link", remedy=_NO_LINKS)
        if not (path / MANIFEST).is_file():
            known = ", ".join(self.names()) or "none"
            raise SeqgenError(f"there is no voice '{name}' in {self.directory}", remedy=f"voices there: {known}")
        return path

    def version(self, name: str) -> VoiceVersion | None:
        """Version of a voice, which changes with every installation; ``None`` where there is none."""
        if not VOICE_NAME.fullmatch(name):
            return None
        path = self.directory / name
        return None if path.is_symlink() else version_of(path)

    def load(self, name: str) -> LoadedVoice:
        """Open a voice for serving; see :func:`serving.voices.voice.open_voice`."""
        voice = self._opener(self.path(name))
        voice.model.name = name  # whatever its manifest says
        return voice

    def check(self, name: str) -> None:
        """Check the files of a voice by their hashes."""
        Bundle.open(self.path(name))

    def describe(self, name: str) -> dict[str, Any]:
        """Public description of a voice, by its manifest alone; its files are checked when it is opened."""
        try:
            with (self.path(name) / MANIFEST).open("rb") as file:
                manifest = json.loads(file.read(LARGEST_MANIFEST))
            told = kind_of(manifest["kind"], manifest["licence"])
            if "vocab_size" in manifest:
                return {**told, "symbols": manifest["vocab_size"]}
            features = manifest["features"]
            return {
                **told,
                "sample_rate": manifest["sample_rate"],
                "feature_signature": manifest["feature_signature"],
                "hop": features["hop"],
                "bands": FeatureSpec(**features).bands,
                "speakers": list(manifest["speakers"]),
            }
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {"kind": "damaged"}

    def install(self, source: Path, name: str = "") -> str:
        """Copy a bundle into the store, check the copy, and put it in place of what had its name; gives the name.

        Nothing is copied of a bundle that has more or larger files than its manifest says, or than there is room for.

        A crash at any moment leaves the old version or the new one; only where the system cannot let directories
        change places (Linux can) there is an instant with neither.

        Raises:
            SeqgenError: where the bundle is damaged, sounds otherwise than it did, or does not fit on the disk.
        """
        name = require_name(name or source.resolve().name.lower())
        target = self.directory / name
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise SeqgenError(f"{target} is there and is no directory", remedy="remove it, or choose another name")
        with self._working() as work:
            copy = work / "voice"
            try:
                manifest = require_modest(source, shutil.disk_usage(work).free)
                copy_bundle(source, manifest, copy)
                self._check(copy)
                _sync(copy)
                self._swap(copy, target, work)
            except OSError as error:
                raise SeqgenError(
                    f"cannot install {source} in {self.directory}: {error.strerror}",
                    remedy="free some space, or choose a writable store; no voice was left half-written",
                ) from None
        return name

    def verify(self, name: str) -> dict[str, Any]:
        """Check hashes and golden vectors of a voice; tells what it is.

        Raises:
            SeqgenError: naming what is wrong with it.
        """
        return description(self._check(self.path(name)).manifest)

    def remove(self, name: str) -> None:
        """Take a voice away; streams that have it go on to their end.

        Raises:
            SeqgenError: where there is none.
        """
        path = self.path(name)
        with self._working() as work:
            os.replace(path, work / "gone")
        _sync(self.directory)

    def _check(self, directory: Path) -> Bundle:
        bundle = Bundle.open(directory)
        require_golden(served(bundle).runtime)
        return bundle

    def _swap(self, copy: Path, target: Path, work: Path) -> None:
        """Put a complete copy in place, in one step where the system has one."""
        folders.take_place(copy, target, aside=work / "old")
        _sync(self.directory)

    @contextmanager
    def _working(self) -> Iterator[Path]:
        """Folder of our own in the store, which goes away whatever happens."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=".work-", dir=self.directory))
        except OSError as error:
            raise SeqgenError(
                f"cannot write {self.directory}: {error.strerror}", remedy="choose a writable store"
            ) from None
        try:
            self._sweep()
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a crash left behind."""
        for left in self.directory.glob(".work-*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _STALE:
                    shutil.rmtree(left, ignore_errors=True)


def _why_ignored(entry: os.DirEntry[str]) -> str:
    """Reason why an entry of a store is no voice; nothing where it is one."""
    if entry.is_symlink():
        return f"a link; {_NO_LINKS}"
    if not entry.is_dir():
        return "not a directory"
    if not VOICE_NAME.fullmatch(entry.name):
        return "its name is no voice's; use a-z, 0-9, '.', '_' and '-'"
    return "" if _whole(entry) else f"no bundle ({MANIFEST} is missing)"


def _whole(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and os.path.isfile(os.path.join(entry.path, MANIFEST))


def _sync(directory: Path) -> None:
    """Bring a directory and its files to the disk."""
    for path in [*(path for path in directory.iterdir() if path.is_file()), directory]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
