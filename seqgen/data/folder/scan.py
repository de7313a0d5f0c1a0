"""Search for the recordings of a folder: links are followed, and what is left out is named and counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from seqgen.errors import SeqgenError

METADATA = "metadata.csv"
_PLAIN = (".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".aif", ".aiff", ".aifc", ".au", ".snd")
SUFFIXES = (*_PLAIN, ".caf", ".sph", ".mp3", ".opus")
"""Endings of the recordings that are read."""
_FOREIGN = (".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp", ".mka", ".ape", ".wv", ".ac3", ".mp2")
_RAW = (".raw", ".pcm", ".voc", ".sd2", ".tta", ".dsf", ".spx", ".ra")
_SHOWN = 3


def readable() -> frozenset[str]:
    """Endings that this libsndfile can read: MP3 and Opus came late."""
    lacking = set()
    if "MP3" not in soundfile.available_formats():
        lacking.add(".mp3")
    if "OPUS" not in soundfile.available_subtypes("OGG"):
        lacking.add(".opus")
    return frozenset(SUFFIXES) - lacking


@dataclass
class Scan:
    """Scan of a folder: its recordings (relative paths in the order of their names), and what is left out by reason."""

    recordings: list[Path] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave(self, reason: str, path: Path) -> None:
        """Keep the name of a file that is not taken."""
        self.left_out.setdefault(reason, []).append(ascii(path.as_posix())[1:-1] if _odd(path) else path.as_posix())

    def lines(self) -> list[str]:
        """One line for each reason, with the number of files and the first names."""
        made = []
        for reason, names in sorted(self.left_out.items()):
            more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            made.append(f"left out, {len(names)}: {reason}: {', '.join(names[:_SHOWN])}{more}")
        return made


def _odd(path: Path) -> bool:
    """Test for a name that cannot stand in a table: bytes that are not UTF-8, or a line end."""
    text = str(path)
    return any("\ud800" <= character <= "\udfff" or character in "\n\r" for character in text)


def scan(root: Path) -> Scan:
    """Look through a folder, its sub-folders and the folders and files that links in it name.

    Raises:
        SeqgenError: where the folder is absent, one cannot be listed, or there is no recording.
    """
    if not root.is_dir():
        raise SeqgenError(f"{root}: no such folder", remedy="give the folder of your recordings with --corpus DIR")
    found, suffixes, home, seen = Scan(), readable(), root.resolve(), dict[Path, Path]()
    for path in _files(root, home, found):
        short, suffix = path.relative_to(root), path.suffix.lower()
        if path == root / METADATA:
            continue
        if suffix not in suffixes:
            found.leave(_reason(suffix), short)
        elif _odd(short):
            found.leave("recordings whose names are not UTF-8 or hold a line end (rename them)", short)
        elif (real := path.resolve()) != home / short and (home in real.parents or real in seen):
            found.leave("links to recordings that are in the folder already", short)
        else:
            seen[real] = short
            found.recordings.append(short)
    if not found.recordings:
        beside = "".join(f"; {line}" for line in found.lines())
        raise SeqgenError(
            f"{root}: no recording in it ({', '.join(sorted(suffixes))}){beside}",
            remedy="check the folder given by --corpus",
        )
    found.recordings.sort(key=lambda path: path.as_posix().encode())
    return found


def _reason(suffix: str) -> str:
    if suffix in SUFFIXES:
        return f"{suffix} files, which this version of libsndfile cannot read (convert them to WAV or FLAC)"
    if suffix in _FOREIGN or suffix in _RAW:
        return f"{suffix} files, which are not read (convert them to WAV or FLAC)"
    return f"{suffix} files, which are no recordings" if suffix else "files without an ending"


def _files(folder: Path, home: Path, found: Scan, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Visible files below a folder in the order of their names; a folder within itself is entered once."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))
    except OSError as error:
        raise SeqgenError(f"{folder}: cannot be listed ({error.strerror})", remedy="give yourself the right") from None
    root = folder if not above else folder.parents[len(above) - 1]
    for path in entries:
        short = path.relative_to(root)
        if path.name.startswith("."):
            found.leave("hidden files and folders", short)
        elif path.is_dir():
            real = path.resolve()
            if path.is_symlink() and (real == home or home in real.parents or real in above):
                found.leave("links to folders that are in the folder already", short)
            else:
                yield from _files(path, home, found, (*above, folder.resolve()))
        elif path.is_file():
            yield path
        else:
            found.leave("broken links" if path.is_symlink() else "devices and pipes", short)
