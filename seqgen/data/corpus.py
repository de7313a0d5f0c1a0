"""The contract of a corpus: recordings with ids and speakers, a fixed split, and perhaps a public archive to fetch."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from seqgen.data import download
from seqgen.errors import SeqgenError

SPLITS = ("train", "valid", "test")
_SILENT = re.compile(r"[^\w]+|_+")


@dataclass(frozen=True, slots=True)
class RawUtterance:
    """One recording of a corpus as it was published; ``id`` starts with ``speaker``, ``text`` may be empty.

    ``key`` decides its split where there is no text; empty: the id does.
    """

    id: str
    path: Path
    speaker: str
    text: str = ""
    key: str = ""


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


class Corpus(ABC):
    """Recordings with ids, speakers and transcripts, and which of them are held out.

    Attributes:
        name: as on the command line. licence: of the recordings. archive: where the public corpus comes from.
        valid, test: shares of the sentences that are held out, where the corpus has no official split.
        complete: the corpus will not grow.
        own: the recordings are the user's own: those that cannot be used are left out, while of a published corpus
            none may be missing.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    archive: ClassVar[Archive | None] = None
    valid: float = 0.05
    test: float = 0.05
    complete: ClassVar[bool] = False
    own: ClassVar[bool] = False

    @abstractmethod
    def utterances(self, root: Path) -> Iterator[RawUtterance]:
        """Every recording under ``root``.

        Raises:
            SeqgenError: when ``root`` does not look like this corpus, naming what was expected where.
        """

    def group(self, utterance: RawUtterance) -> str:
        """Key of one split only: by default the sentence, or the utterance where nothing is transcribed."""
        return sentence(utterance.text) or utterance.key or utterance.id

    def left_out(self, root: Path, utterances: Sequence[RawUtterance]) -> list[str]:
        """A line for each kind of file under ``root`` that is no recording of the corpus though it lies among them."""
        used = {one.path for one in utterances}
        beside = {path for folder in {path.parent for path in used} for path in folder.iterdir()} - used
        others = sorted(path.name for path in beside if path.is_file() and path.name != "metadata.csv")
        more = f", … {len(others) - 3} more" if len(others) > 3 else ""
        names = ", ".join(others[:3])
        return [f"left out, {len(others)}: files that are not of the corpus: {names}{more}"] if others else []

    def advice(self, utterances: Sequence[RawUtterance]) -> list[str]:
        """Lines that tell how to split the corpus better."""
        return []

    def splits(self, utterances: Sequence[RawUtterance]) -> list[str]:
        """The split of each utterance: groups in the order of their :func:`position`, tests first, then validation.

        A corpus that is unpacked in part is cut at fixed positions; a ``complete`` one at exact counts. A wanted split
        is never left empty.

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
