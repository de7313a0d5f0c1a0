"""The corpora that recipes are written for, one class each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from seqgen.data.corpus import Archive, Corpus, RawUtterance
from seqgen.data.folder.corpus import Folder
from seqgen.errors import SeqgenError

__all__ = ["FSDD", "Demo", "Folder", "LJSpeech", "YesNo"]

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _inside(root: Path, *candidates: str) -> Path:
    """The first of ``root/candidate`` that exists, else ``root`` itself: users point at either."""
    return next((root / name for name in candidates if (root / name).exists()), root)


def _matching(root: Path, pattern: re.Pattern[str], example: str) -> list[tuple[Path, re.Match[str]]]:
    """Files directly in ``root`` whose whole name matches, in the order of their names.

    Raises:
        SeqgenError: when there are none.
    """
    found = []
    if root.is_dir():
        for path in sorted(root.iterdir()):
            match = pattern.fullmatch(path.name)
            if match:
                found.append((path, match))
    if not found:
        raise SeqgenError(f"{root}: no recordings named like {example}", remedy="check the folder given by --corpus")
    return found


def _table(file: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line of a ``|``-separated table.

    Raises:
        SeqgenError: when it is absent, not UTF-8, or has a line with too few fields.
    """
    try:
        lines = file.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise SeqgenError(f"{file}: cannot be read ({error.strerror})", remedy="check --corpus") from None
    except UnicodeDecodeError as error:
        bad = error.object[: error.start].count(b"\n") + 1
        raise SeqgenError(f"{file}:{bad}: not UTF-8", remedy="save the file as UTF-8") from None
    for number, line in enumerate((text.rstrip("\r") for text in lines), 1):
        fields = line.split("|")
        if line and len(fields) < columns:
            raise SeqgenError(f"{file}:{number}: expected {columns} fields separated by '|', got {len(fields)}")
        if line:
            yield number, fields


def _listed(file: Path, audio: Path, suffix: str, *, columns: int) -> Iterator[tuple[str, Path, list[str]]]:
    """Id, recording and fields of each line of a corpus's own ``metadata.csv``.

    Raises:
        SeqgenError: naming the line whose recording is absent or whose id has come before.
    """
    seen: dict[str, int] = {}
    for number, fields in _table(file, columns):
        key, path = fields[0], audio / f"{fields[0]}{suffix}"
        if key in seen:
            raise SeqgenError(f"{file}:{number}: duplicate id '{key}', first on line {seen[key]}")
        if not path.is_file():
            raise SeqgenError(f"{file}:{number}: recording {path} is absent", remedy="unpack the whole corpus")
        seen[key] = number
        yield key, path, fields
    if not seen:
        raise SeqgenError(f"{file}: the file is empty", remedy="unpack the whole corpus")


@final
class Demo(Corpus):
    """The corpus in ``egs/demo/corpus``: one synthetic reader of public-domain sentences, 16 kHz.

    One sentence in seven is a test sentence, one in twelve a validation sentence.
    """

    name = "demo"
    licence = "see egs/demo/corpus/README.md"
    valid = 1 / 12
    test = 1 / 7
    complete = True

    @staticmethod
    def embedded() -> Path:
        """Folder in which a checkout keeps the corpus.

        Raises:
            SeqgenError: when seqgen runs from an installed package without the checkout.
        """
        root = Path(__file__).resolve().parents[2] / "egs" / "demo" / "corpus"
        if not root.is_dir():
            raise SeqgenError(f"{root}: the demo corpus is not there", remedy="give its folder with --corpus DIR")
        return root

    def utterances(self, root: Path) -> Iterator[RawUtterance]:
        """``metadata.csv`` (``id|text``) and ``flac/<id>.flac``."""
        for key, path, fields in _listed(root / "metadata.csv", root / "flac", ".flac", columns=2):
            yield RawUtterance(f"demo-{key}", path, "demo", fields[1])


@final
class FSDD(Corpus):
    """Free Spoken Digit Dataset: 6 speakers × 10 digits × 50 takes at 8 kHz.

    The official test set is takes 0 to 4; takes 5 to 7 are for validation. Speakers and digits are the same in all
    splits by the corpus's design: what is held out is recordings.

    Source: https://github.com/Jakobovski/free-spoken-digit-dataset (README, "Usage").
    """

    name = "fsdd"
    licence = "CC BY-SA 4.0"
    archive = Archive(
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
        root="free-spoken-digit-dataset-1.0.10",
    )
    _FILE = re.compile(r"(\d)_([A-Za-z]+)_(\d+)\.wav")

    def utterances(self, root: Path) -> Iterator[RawUtterance]:
        """``recordings/<digit>_<speaker>_<take>.wav``."""
        for path, match in _matching(_inside(root, "recordings"), self._FILE, "recordings/7_jackson_32.wav"):
            digit, speaker, take = match.groups()
            yield RawUtterance(f"{speaker}-{digit}-{int(take):02d}", path, speaker, _DIGITS[int(digit)])

    def splits(self, utterances: Sequence[RawUtterance]) -> list[str]:
        """By the number of the take."""
        takes = [int(utterance.id.split("-")[2]) for utterance in utterances]
        return ["test" if take < 5 else "valid" if take < 8 else "train" for take in takes]


@final
class LJSpeech(Corpus):
    """LJSpeech 1.1: 13,100 sentences of one reader, 24 hours at 22.05 kHz. A sentence is never in two splits.

    Source: https://keithito.com/LJ-Speech-Dataset/
    """

    name = "ljspeech"
    licence = "public domain"
    valid = 0.02
    test = 0.02
    archive = Archive(
        "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
        root="LJSpeech-1.1",
        sha256="be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
    )

    def utterances(self, root: Path) -> Iterator[RawUtterance]:
        """``metadata.csv`` (``id|text|normalised text``) and ``wavs/<id>.wav``."""
        root = _inside(root, "LJSpeech-1.1")
        for key, path, fields in _listed(root / "metadata.csv", root / "wavs", ".wav", columns=2):
            yield RawUtterance(key, path, "LJ", fields[-1] or fields[1])


@final
class YesNo(Corpus):
    """OpenSLR 1, the corpus of Kaldi's first recipe: 60 recordings of eight Hebrew words, yes or no, 8 kHz.

    The word sequences are all different, so holding out recordings holds out sentences.

    Source: https://www.openslr.org/1/
    """

    name = "yesno"
    licence = "CC BY 3.0"
    valid = 0.1
    test = 0.15
    complete = True
    archive = Archive("https://www.openslr.org/resources/1/waves_yesno.tar.gz", root="waves_yesno")
    _FILE = re.compile(r"([01](?:_[01]){7})\.wav")

    def utterances(self, root: Path) -> Iterator[RawUtterance]:
        """``waves_yesno/1_0_….wav``: 1 is yes, 0 is no."""
        for path, match in _matching(_inside(root, "waves_yesno"), self._FILE, "waves_yesno/0_0_1_0_1_1_0_1.wav"):
            words = " ".join("YES" if word == "1" else "NO" for word in match[1].split("_"))
            yield RawUtterance(f"yesno-{match[1]}", path, "yesno", words)
