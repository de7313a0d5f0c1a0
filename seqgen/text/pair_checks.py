"""Checks of data directories of pairs, whose problems are told by file and line, and numbers that describe them."""

from __future__ import annotations

from pathlib import Path

from seqgen.data.tables import Problem
from seqgen.errors import SeqgenError
from seqgen.text import tokenizer
from seqgen.text.checks import Examined
from seqgen.text.pairs import SOURCE, SPLITS, TABLE, TARGET, Pair, parsed, read, require_stop, table_lines
from seqgen.text.tokenizer import Tokenizer


def is_pairs(path: Path) -> bool:
    """Test for a data directory of pairs or a split of one."""
    return (path / SOURCE).is_file() or (path / TABLE).is_file()


def examine(path: Path) -> Examined:
    """Every problem of a data directory of pairs, or of one split: lines that are no pair, sources that come twice or
    lie in two splits, tokenizers that cannot be read; and what is noted: symbols that the tokenizers do not have.
    """
    found = Examined()
    whole = (path / SOURCE).is_file()
    seen: dict[str, str] = {}
    tables = [path / name / TABLE for name in SPLITS] if whole else [path / TABLE]
    parts = {file: _pairs(file, seen, found) for file in tables}
    if whole:
        try:
            source, target = _tokenizers(path)
        except SeqgenError as error:
            found.problems.append(Problem(path, 0, str(error)))
            return found
        for file, pairs in parts.items():
            _unknown(file, "sources", source, [pair.source for pair in pairs], found)
            _unknown(file, "targets", target, [one for pair in pairs for one in pair.targets], found)
    return found


def statistics(path: Path) -> dict[str, object]:
    """Plain numbers that describe a data directory of pairs, or one split of it, ready for JSON.

    Raises:
        SeqgenError: where it cannot be read.
    """
    if not (path / SOURCE).is_file():
        return {"path": str(path), **_counts(read(path / TABLE))}
    made: dict[str, object] = {"path": str(path)}
    for side, one in zip(("source", "target"), _tokenizers(path), strict=True):
        made[side] = f"{one.plain().name}, vocabulary {one.vocab_size}, signature {one.signature}"
    for name in SPLITS:
        counts = _counts(read(path / name / TABLE))
        made[name] = ", ".join(f"{value:,} {key}" for key, value in counts.items())
    return made


def _tokenizers(path: Path) -> tuple[Tokenizer, Tokenizer]:
    source, target = tokenizer.read(path / SOURCE), tokenizer.read(path / TARGET)
    require_stop(target, str(path / TARGET))
    return source, target


def _pairs(file: Path, seen: dict[str, str], found: Examined) -> list[Pair]:
    """The pairs of a table; ``seen`` says where each source stands, of the tables before too."""
    pairs = []
    try:
        for number, line in enumerate(table_lines(file), 1):
            problem, pair = parsed(line)
            if pair is None:
                found.problems.append(Problem(file, number, problem))
            elif pair.source in seen:
                message = f"the source {pair.source!r} stands in {seen[pair.source]} already"
                found.problems.append(Problem(file, number, message))
            else:
                seen[pair.source] = f"{file.parent.name}/{file.name}:{number}"
                pairs.append(pair)
        if not pairs:
            found.problems.append(Problem(file, 0, "there is no pair"))
    except SeqgenError as error:
        found.problems.append(Problem(file, 0, str(error)))
    return pairs


def _unknown(file: Path, side: str, known: Tokenizer, texts: list[str], found: Examined) -> None:
    encoded = [known.encode(text.encode()) for text in texts]
    symbols, unknown = sum(len(one.symbols) for one in encoded), sum(len(one.literals) for one in encoded)
    if unknown:
        message = f"{unknown:,} symbols of {side} ({unknown / symbols:.2%}) are unknown to the tokenizer"
        found.notes.append(Problem(file, 0, message))


def _counts(pairs: list[Pair]) -> dict[str, int]:
    targets = [one for pair in pairs for one in pair.targets]
    return {
        "sources": len(pairs),
        "targets": len(targets),
        "longest source": max(len(pair.source) for pair in pairs),
        "longest target": max(len(one) for one in targets),
    }
