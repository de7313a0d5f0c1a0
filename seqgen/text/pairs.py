"""Pairs of texts: sources with the targets that each may have, from tables of text lines to data directories.

A table has a line for each pair, ``source<TAB>target[<TAB>further targets]``, in UTF-8. A data directory of pairs is
``train/``, ``valid/`` and ``test/``, each with such a table as ``pairs.tsv``, and the tokenizers ``source.json`` and
``target.json``, which are learnt from the training pairs alone.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from seqgen import registry
from seqgen.errors import SeqgenError
from seqgen.files.folders import replacing_folder
from seqgen.files.outputs import write_text
from seqgen.text import tokenizer
from seqgen.text.tokenizer import Tokenizer

TABLE, SOURCE, TARGET = "pairs.tsv", "source.json", "target.json"
SPLITS = ("train", "valid", "test")
_MOST = 6  # lines that a refusal names
_LONGEST = 1_000_000  # bytes of a line; a longer one is no line of a table
_GZIP = b"\x1f\x8b"


class Pair(NamedTuple):
    """A source with its targets, of which each is right; text without tabs and line ends."""

    source: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Preparation:
    """Options of making pairs a data directory.

    Attributes:
        source, target: names of the tokenizers. source_vocabulary, target_vocabulary: symbols of each, where one can
            choose (0: the tokenizer's own choice).
        valid, test: shares of the sources that are held out. A source's split follows from its text alone: all of its
            targets lie in one split, and further pairs move none.
        longest: symbols of the longest source or target that is kept (0: all are).

    Raises:
        SeqgenError: for shares that leave nothing to learn from.
    """

    source: str = "characters"
    target: str = "characters"
    source_vocabulary: int = 0
    target_vocabulary: int = 0
    valid: float = 0.05
    test: float = 0.05
    longest: int = 0

    def __post_init__(self) -> None:
        if min(self.valid, self.test) < 0 or self.valid + self.test >= 1:
            raise SeqgenError(
                f"shares of {self.valid:g} and {self.test:g} held out", remedy="give two whose sum is below 1"
            )
        if min(self.longest, self.source_vocabulary, self.target_vocabulary) < 0:
            raise SeqgenError("a number of symbols is negative", remedy="give 0 or more")


def read(path: Path, targets: Path | None = None) -> list[Pair]:
    """Pairs of a table, plain or gzipped, in its order; or of two files, whose lines of one number are a pair.

    Raises:
        SeqgenError: where a file cannot be read or is empty; for lines that are no pair, ``file:line: what is wrong``
            of the first one, and the numbers of some others; for two files of different length.
    """
    pairs: list[Pair] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(table_lines(path) if targets is None else _beside(path, targets), 1):
        problem, pair = parsed(line)
        if pair is not None:
            pairs.append(pair)
        else:
            problems.append((number, problem))
    if problems:
        number, problem = problems[0]
        others = ", ".join(str(other) for other, _ in problems[1:_MOST]) + (", …" if len(problems) > _MOST else "")
        more = f" (and {len(problems) - 1:,} more, in lines {others})" if len(problems) > 1 else ""
        raise SeqgenError(f"{path}:{number}: {problem}{more}", remedy="write source<TAB>target lines in UTF-8")
    if not pairs:
        raise SeqgenError(f"{path} has no pairs", remedy="give a table of source<TAB>target lines")
    return pairs


def parsed(line: bytes) -> tuple[str, Pair | None]:
    """Problem of a line, or the pair that it is."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}", None
    columns = text.split("\t")
    if len(columns) < 2:
        return f"{len(columns)} column, expected a source, a tab and a target", None
    if any(character in text for character in "\r\0"):
        return "a carriage return or NUL inside", None
    for index, column in enumerate(columns):
        if not column.strip():
            return f"{'the source' if not index else f'target {index}'} is empty", None
    return "", Pair(columns[0], tuple(columns[1:]))


def table_lines(path: Path) -> Iterator[bytes]:
    """Lines of a file, plain or gzipped, without their ends, which may be CRLF, and without a byte order mark.

    Raises:
        SeqgenError: where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP
        with gzip.open(path, "rb") if zipped else path.open("rb") as lines:
            mark = codecs.BOM_UTF8  # only before the first line
            while line := lines.readline(_LONGEST):
                yield line.removeprefix(mark).removesuffix(b"\n").removesuffix(b"\r")
                mark = b""
    except OSError as error:
        raise SeqgenError(f"cannot read {path}: {error.strerror or error}", remedy="give a readable table") from None
    except (EOFError, zlib.error) as error:
        raise SeqgenError(f"{path}: a damaged gzip file ({error})", remedy="get it again") from None


def _beside(sources: Path, targets: Path) -> Iterator[bytes]:
    """Lines of a table from two files."""
    for number, (source, target) in enumerate(zip_longest(table_lines(sources), table_lines(targets)), 1):
        if source is None or target is None:
            short, long = (sources, targets) if source is None else (targets, sources)
            raise SeqgenError(
                f"{long}:{number}: {short} has no such line", remedy="give two files of as many lines, a pair in each"
            )
        if b"\t" in source:
            raise SeqgenError(f"{sources}:{number}: a tab in a source", remedy="give one source a line")
        yield source + b"\t" + target


def grouped(pairs: Iterable[Pair]) -> list[Pair]:
    """Each source once, in the order of its first line, with all of its targets, each once."""
    found: dict[str, dict[str, None]] = {}
    for pair in pairs:
        found.setdefault(pair.source, {}).update(dict.fromkeys(pair.targets))
    return [Pair(source, tuple(targets)) for source, targets in found.items()]


def split(pairs: Iterable[Pair], how: Preparation) -> dict[str, list[Pair]]:
    """Pairs by split, each source by its own text."""
    made: dict[str, list[Pair]] = {name: [] for name in SPLITS}
    for pair in pairs:
        lot = int.from_bytes(hashlib.sha256(pair.source.encode()).digest()[:8], "big") / 2**64
        held = "test" if lot < how.test else "valid" if lot < how.test + how.valid else "train"
        made[held].append(pair)
    return made


def prepare(corpus: Path, out: Path, how: Preparation, targets: Path | None = None) -> dict[str, int]:
    """Write a data directory of pairs; returns the sources of each split, and those left out as ``too long``.

    Args:
        corpus: table of pairs; with ``targets`` a file of sources beside one of their targets.

    Raises:
        SeqgenError: as :func:`read`; for a target's tokenizer without a symbol that ends a sequence; where a split is
            left with nothing; where ``out`` holds something else.
    """
    parts = split(grouped(read(corpus, targets)), how)
    if not parts["train"]:
        raise SeqgenError(f"{corpus}: nothing is left to learn from", remedy="give more pairs, or hold out fewer")
    source = _learn(how.source, [pair.source for pair in parts["train"]], how.source_vocabulary, stop=False)
    texts = [target for pair in parts["train"] for target in pair.targets]
    target = _learn(how.target, texts, how.target_vocabulary, stop=True)
    require_stop(target, how.target)
    counts, left_out = {}, 0
    with replacing_folder(out, kind="a data directory of pairs", may_replace=_is_ours) as work:
        for name, pairs in parts.items():
            kept = [pair for one in pairs if (pair := _short(one, source, target, how.longest)) is not None]
            left_out += len(pairs) - len(kept)
            if not kept:
                raise SeqgenError(
                    f"{corpus}: no pair is left for {name}", remedy="give more pairs, another share, or --longest"
                )
            (work / name).mkdir()
            write_text(work / name / TABLE, "".join("\t".join((one.source, *one.targets)) + "\n" for one in kept))
            counts[name] = len(kept)
        write_text(work / SOURCE, tokenizer.written(source))
        write_text(work / TARGET, tokenizer.written(target))
    return {**counts, "too long": left_out}


def require_stop(made: Tokenizer, where: str) -> int:
    """The symbol that ends a target.

    Raises:
        SeqgenError: for a tokenizer that has none.
    """
    if made.stop is None:
        raise SeqgenError(f"{where}: a tokenizer without a symbol that ends a target", remedy="prepare the pairs again")
    return made.stop


def _learn(name: str, texts: list[str], vocabulary: int, *, stop: bool) -> Tokenizer:
    kind: type[Tokenizer] = registry.TOKENIZERS.load(name)
    end = b"" if kind.unit == "character" else b"\n"  # which would be one of the characters

    def lines() -> Iterator[bytes]:
        return (text.encode() + end for text in texts)

    return kind.learn(lines, vocabulary=vocabulary, stop=stop)


def _short(pair: Pair, source: Tokenizer, target: Tokenizer, longest: int) -> Pair | None:
    """The pair without targets that are too long; ``None`` where nothing is left of it."""
    if not longest:
        return pair
    if len(source.encode(pair.source.encode()).symbols) > longest:
        return None
    targets = tuple(one for one in pair.targets if len(target.encode(one.encode()).symbols) <= longest)
    return pair._replace(targets=targets) if targets else None


def _is_ours(path: Path) -> bool:
    """Test for a folder that is such a data directory."""
    names = {one.name for one in path.iterdir()}
    return {SOURCE, TARGET} <= names <= {SOURCE, TARGET, *SPLITS}
