"""The corpus that any folder of recordings is."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from seqgen.data.corpus import Corpus, RawUtterance, kaldi_name, kaldi_names
from seqgen.errors import SeqgenError

SUFFIXES = (".wav", ".flac", ".ogg")
_HEADINGS = {"id", "path", "file", "filename", "wav"}


def _recordings(root: Path) -> list[Path]:
    """Audio files under ``root`` relative to it, in the order of their names; hidden files and folders are left out."""
    if not root.is_dir():
        raise SeqgenError(f"{root}: no such folder", remedy="give the folder of your recordings with --corpus DIR")
    found = [path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    visible = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    if not visible:
        raise SeqgenError(f"{root}: no {', '.join(SUFFIXES)} file in it", remedy="check the folder given by --corpus")
    return sorted(visible, key=lambda path: path.as_posix().encode())


def _rows(file: Path) -> Iterator[tuple[int, str, str]]:
    """Line, name and transcript of each line of ``metadata.csv``; of three columns the last is the spoken form."""
    try:
        lines = file.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        bad = error.object[: error.start].count(b"\n") + 1
        raise SeqgenError(f"{file}:{bad}: not UTF-8", remedy="save the file as UTF-8") from None
    for number, line in enumerate(lines, 1):
        name, separator, text = line.strip().partition("|")
        if not name and not separator:
            continue
        if number == 1 and name.casefold() in _HEADINGS:
            continue
        text = " ".join(text.rpartition("|")[2].split())
        if not separator or not text:
            raise SeqgenError(f"{file}:{number}: no transcript for '{name}'", remedy="write `id|text` on each line")
        yield number, name.strip(), text


def _transcripts(file: Path, recordings: list[Path]) -> dict[Path, str]:
    """The transcript of each recording.

    Raises:
        SeqgenError: for a line that names no recording, several, or one that has a line already, and for a recording
            without a line.
    """
    named: dict[str, list[Path]] = {}
    for path in recordings:
        for name in {path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem}:
            named.setdefault(name, []).append(path)
    texts: dict[Path, str] = {}
    for number, name, text in _rows(file):
        paths = named.get(name.replace("\\", "/").removeprefix("./"), [])
        if len(paths) != 1:
            problem = "names no recording" if not paths else f"fits {paths[0]} and {paths[1]}"
            raise SeqgenError(f"{file}:{number}: '{name}' {problem}", remedy="write the path below the folder")
        if paths[0] in texts:
            raise SeqgenError(f"{file}:{number}: a second line for {paths[0]}", remedy="remove one of them")
        texts[paths[0]] = text
    for path in recordings:
        if path not in texts:
            raise SeqgenError(f"{file}: no line for {path}", remedy="add its transcript or remove metadata.csv")
    return texts


@final
@dataclass(frozen=True)
class Folder(Corpus):
    """A tree of wav, flac and ogg files at any rate.

    The speaker of a recording is the first sub-folder on its path, or the folder's own name for files that lie
    directly in it. ``metadata.csv`` (optional) has lines ``id|text`` or ``path|text``.

    Attributes:
        valid, test: shares held out.
        hold_out: ``sentence`` keeps each sentence (or, without transcripts, each recording) in one split;
            ``speaker`` keeps each speaker in one, for models that must serve voices never heard in training.

    Example:
        >>> [one.id for one in Folder().utterances(Path("my-recordings"))]  # doctest: +SKIP
        ['anna-greeting_1', 'anna-greeting_2', 'ben-greeting_1']
    """

    name = "folder"
    licence = "the owner's"
    valid: float = 0.05
    test: float = 0.05
    hold_out: Literal["sentence", "speaker"] = "sentence"

    def __post_init__(self) -> None:
        if min(self.valid, self.test) < 0 or self.valid + self.test >= 1:
            raise SeqgenError(
                f"held-out shares valid {self.valid:g} and test {self.test:g} leave nothing to train on",
                remedy="choose shares of at least 0 that add up to less than 1",
            )

    def utterances(self, root: Path) -> Iterator[RawUtterance]:
        """Every recording, with ids made safe for Kaldi: ``speaker-rest_of_the_path``."""
        recordings = _recordings(root)
        metadata = root / "metadata.csv"
        texts = _transcripts(metadata, recordings) if metadata.is_file() else {}
        owners = {path: path.parts[0] if len(path.parts) > 1 else root.resolve().name for path in recordings}
        speakers = kaldi_names(sorted(set(owners.values())), speaker=True)
        wanted: dict[Path, str] = {}
        for path in recordings:
            rest = path.relative_to(path.parts[0]) if len(path.parts) > 1 else path
            wanted[path] = f"{speakers[owners[path]]}-{kaldi_name('_'.join(rest.with_suffix('').parts))}"
        holders = Counter(wanted.values())
        for path, name in wanted.items():
            # Two files may want one id ("a b.wav" and "a_b.flac"): each then carries a digest of its path.
            mark = f"_{hashlib.sha256(path.as_posix().encode()).hexdigest()[:8]}" if holders[name] > 1 else ""
            yield RawUtterance(name + mark, root / path, speakers[owners[path]], texts.get(path, ""))

    def group(self, utterance: RawUtterance) -> str:
        """The speaker, or the sentence."""
        return utterance.speaker if self.hold_out == "speaker" else super().group(utterance)
