"""A pronouncing lexicon: words and their pronunciations, small in a file and quickly there."""

from __future__ import annotations

import functools
import gzip
import lzma
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from seqgen.errors import SeqgenError
from seqgen.text.pronounced.phones import PHONES, Phones, phones

_MAGIC = b"SGLX1"
_FURTHER = re.compile(r"\(\d+\)$")
_FIRST = 33  # phones are printable bytes, so that lines can be told apart
_BYTES = {phone: _FIRST + number for number, phone in enumerate(PHONES)}
_SEPARATOR = b"\x20"


class Lexicon:
    """Lexicon of English words in lower case, each with one pronunciation or more, the usual one first.

    In a file all words stand one behind the other, then all pronunciations with a byte for each phone, compressed:
    617 kB of a dictionary of 126,000 words, which are there within a tenth of a second.

    Args:
        words: and their pronunciations, as bytes.

    Example:
        >>> lexicon = Lexicon.of_lines(["read R EH1 D", "read(2) R IY1 D  # now"])
        >>> lexicon.find("read")
        [('R', 'EH1', 'D'), ('R', 'IY1', 'D')]
        >>> Lexicon.read(lexicon.packed()).find("read") == lexicon.find("read")
        True
    """

    def __init__(self, words: dict[str, bytes]) -> None:
        self._words = words

    @classmethod
    def of_lines(cls, lines: Iterable[str], source: str = "lexicon") -> Lexicon:
        """The lexicon of lines ``word PH ON EMES``, in ARPAbet or between slashes in the International Phonetic
        Alphabet; of a further pronunciation the word may have a number, ``word(2)``. Comments begin with ``#`` or
        ``;;;``.

        Raises:
            SeqgenError: naming the line.
        """
        words: dict[str, bytes] = {}
        for number, line in enumerate(lines, 1):
            if line.startswith(";;;"):
                continue
            word, _, told = line.split("#")[0].strip().partition("\t" if "\t" in line else " ")
            if not word:
                continue
            name = _FURTHER.sub("", word).lower()
            try:
                made = bytes(_BYTES[one] for one in phones(told.strip().strip("/")))
            except SeqgenError as error:
                raise SeqgenError(f"{source}:{number}: {error.problem}", remedy=error.remedy) from None
            before = words.get(name)
            if before is None or made not in before.split(_SEPARATOR):
                words[name] = made if before is None else before + _SEPARATOR + made
        return cls(words)

    @classmethod
    def read(cls, data: bytes) -> Lexicon:
        """The lexicon of a file's bytes.

        Raises:
            SeqgenError: for other bytes.
        """
        if not data.startswith(_MAGIC):
            raise SeqgenError("not a packed lexicon", remedy="make one with `seqgen data lexicon`")
        try:
            words, _, told = lzma.decompress(data[len(_MAGIC) :]).partition(b"\n\n")
            return cls(dict(zip(words.decode().split("\n"), told.split(b"\n"), strict=True)) if words else {})
        except (lzma.LZMAError, ValueError) as error:
            remedy = "make it again with `seqgen data lexicon`"
            raise SeqgenError(f"a damaged lexicon ({error})", remedy=remedy) from None

    @classmethod
    def open(cls, path: Path) -> Lexicon:
        """The lexicon of a file: packed, or lines that may be gzipped.

        Raises:
            SeqgenError: where it cannot be read.
        """
        try:
            data = path.read_bytes()
            if data.startswith(_MAGIC):
                return cls.read(data)
            text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise SeqgenError(f"{path}: {error}", remedy="give a lexicon, lines or packed") from None
        return cls.of_lines(text.splitlines(), str(path))

    def packed(self) -> bytes:
        """The bytes of a file."""
        words = sorted(self._words)
        body = "\n".join(words).encode() + b"\n\n" + b"\n".join(self._words[word] for word in words)
        return _MAGIC + lzma.compress(body, preset=9 | lzma.PRESET_EXTREME)

    def with_first(self, other: Lexicon) -> Lexicon:
        """This lexicon, where the other's pronunciations of a word take the place of its own."""
        return Lexicon({**self._words, **other._words})

    def find(self, word: str) -> list[Phones]:
        """Pronunciations of a word; empty where it is not known."""
        found = self._words.get(word)
        return [] if found is None else [_named(one) for one in found.split(_SEPARATOR)]

    @functools.cached_property
    def longest(self) -> int:
        """Letters of the longest word; 0 where there is none."""
        return max(map(len, self._words), default=0)

    def __contains__(self, word: object) -> bool:
        return word in self._words

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)


def _named(found: bytes) -> Phones:
    return tuple(PHONES[byte - _FIRST] for byte in found)
