"""The contract of a corpus: recordings with ids and speakers, a fixed split, and perhaps a public archive to fetch."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from seqgen.data import download
from seqgen.errors import SeqgenError

SPLITS = ("train", "valid", "test")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SILENT = re.compile(r"[^\w]+|_+")


@dataclass(frozen=True, slots=True)
class RawUtterance:
    """One recording of a corpus as it was published; ``id`` starts with ``speaker``, ``text`` may be empty."""

    id: str
    path: Path
    speaker: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """A public archive. ``sha256`` is empty where no digest is published; ``root`` is the folder that it unpacks to."""

    url: str
    root: str
    sha256: str = ""


def sentence(text: str) -> str:
    """A sentence as it is compared between splits: case, accents' encoding, punctuation and blanks do not count.

    Example:
        >>> sentence("Once  more, then—“Go!”") == sentence("once more then go")
        True
    """
    return " ".join(_SILENT.sub(" ", unicodedata.normalize("NFKC", text).casefold()).split())


def position(key: str) -> float:
    """A number in [0, 1) for a name, the same on every machine and in every subset of the corpus."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def kaldi_name(text: str, *, speaker: bool = False) -> str:
    """A name that can stand in a Kaldi table: ASCII letters, digits, ``.``, ``_`` and ``-``.

    A speaker's name loses its hyphens as well: ids are ``speaker-rest``, and only a separator that sorts before every
    character of a speaker's name makes utterances sort by speaker (``a-b-…`` would fall among those of ``a``).

    Example:
        >>> kaldi_name("Zoë Ann-Marie", speaker=True)
        'Zoe_Ann_Marie'
    """
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = _UNSAFE.sub("_", ascii_only).strip("_.") or "x"
    return name.replace("-", "_") if speaker else name


def kaldi_names(originals: Iterable[str], *, speaker: bool = False) -> dict[str, str]:
    """:func:`kaldi_name` of each, with a short digest of the original where two would fall together."""
    names = {original: kaldi_name(original, speaker=speaker) for original in originals}
    holders: dict[str, int] = {}
    for name in names.values():
        holders[name] = holders.get(name, 0) + 1
    return {
        original: name if holders[name] == 1 else f"{name}_{hashlib.sha256(original.encode()).hexdigest()[:8]}"
        for original, name in names.items()
    }


class Corpus(ABC):
    """Recordings with ids, speakers and transcripts, and which of them are held out.

    Attributes:
        name: as on the command line. licence: of the recordings. archive: where the public corpus comes from.
        valid, test: shares of the sentences that are held out, where the corpus has no official split.
        complete: the corpus will not grow.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    archive: ClassVar[Archive | None] = None
    valid: float = 0.05
    test: float = 0.05
    complete: ClassVar[bool] = False

    @abstractmethod
    def utterances(self, root: Path) -> Iterator[RawUtterance]:
        """Every recording under ``root``.

        Raises:
            SeqgenError: when ``root`` does not look like this corpus, naming what was expected where.
        """

    def group(self, utterance: RawUtterance) -> str:
        """Key of one split only: by default the sentence, or the utterance where nothing is transcribed."""
        return sentence(utterance.text) or utterance.id

    def splits(self, utterances: Sequence[RawUtterance]) -> list[str]:
        """The split of each utterance: groups in the order of their :func:`position`, tests first, then validation.

        A growing corpus is cut at fixed positions, so that a recording never moves when others are added; a
        ``complete`` one at exact counts. A wanted split is never left empty.

        Raises:
            SeqgenError: for fewer groups than wanted splits.
        """
        order = sorted({self.group(one) for one in utterances}, key=lambda key: (position(key), key))
        wanted = [name for name, share in (("test", self.test), ("valid", self.valid)) if share > 0]
        if len(order) <= len(wanted):
            raise SeqgenError(
                f"{len(order)} different recording(s) cannot be split into {', '.join(['train', *wanted])}",
                remedy="cut long ones with --max-seconds 10, or hold out nothing with --valid 0 --test 0",
            )
        places = [rank / len(order) if self.complete else position(key) for rank, key in enumerate(order)]
        tests = max(sum(place < self.test for place in places), int(self.test > 0))
        held = max(sum(place < self.test + self.valid for place in places), tests + int(self.valid > 0))
        held = min(held, len(order) - 1)
        tests = min(tests, held - int(self.valid > 0))
        names = ["test"] * tests + ["valid"] * (held - tests) + ["train"] * (len(order) - held)
        chosen = dict(zip(order, names, strict=True))
        return [chosen[self.group(one)] for one in utterances]

    def download(self, target: Path, progress: download.Progress | None = None) -> Path:
        """Fetch and unpack the public archive into ``target`` unless that was done before; returns the corpus's root.

        Raises:
            SeqgenError: when there is nothing to fetch, the network fails, or a digest does not match.
        """
        if self.archive is None:
            raise SeqgenError(f"corpus '{self.name}' has no public archive", remedy="give its folder with --corpus DIR")
        root = target / self.archive.root
        if not root.is_dir():
            file = target / f"{self.name}{''.join(Path(self.archive.url).suffixes[-2:])}"
            download.fetch(self.archive.url, file, sha256=self.archive.sha256, progress=progress)
            download.unpack(file, target, root=self.archive.root, progress=progress)
        return root
