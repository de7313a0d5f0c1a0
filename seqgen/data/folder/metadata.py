"""Tables of transcripts and speakers beside recordings: ``metadata.csv`` with fields between bars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgen.data.corpus import sentence
from seqgen.errors import SeqgenError

COLUMNS = ("id", "text", "normalised", "speaker", "-")
"""Names that a column may have; ``-`` is one that nobody reads."""
_HEADINGS = dict.fromkeys(("id", "path", "file", "filename", "wav", "audio"), "id")
_HEADINGS |= dict.fromkeys(("text", "transcript", "transcription", "sentence"), "text")
_HEADINGS |= dict.fromkeys(("normalised", "normalized", "normalised_text", "normalized_text"), "normalised")
_HEADINGS |= dict.fromkeys(("speaker", "speaker_id", "spk", "speaker_name"), "speaker")
_ENDS = re.compile(r"\r\n|\r|\n")  # of lines; other blanks may stand in a text
_ALIKE = 0.5  # share of the lines on which two columns must say the same words to be a text and its spoken form


@dataclass(frozen=True, slots=True)
class Entry:
    """Entry of a table: what it says of one recording, and on which line."""

    line: int
    name: str
    text: str
    speaker: str


def parse_columns(words: str) -> tuple[str, ...]:
    """The columns that ``id,speaker,text`` names.

    Raises:
        SeqgenError: for names that are none, twice the same, or no ``id``.
    """
    columns = tuple(word.strip() for word in words.split(","))
    named = [column for column in columns if column != "-"]
    if any(column not in COLUMNS for column in columns) or len(set(named)) < len(named) or "id" not in named:
        raise SeqgenError(
            f"--columns {words}", remedy=f"name each column once, 'id' among them: {', '.join(COLUMNS)} (not read)"
        )
    return columns


def entries(file: Path, columns: Sequence[str] = ()) -> list[Entry]:
    """Every line of a table.

    What the columns are is said by ``columns``, or by a first line of headings, or is plain: of two, ``id|text``; of
    three of which the last two say the same words on most lines, ``id|text|normalised``.

    Raises:
        SeqgenError: where what the columns are cannot be told, and for a line that lacks some or has no transcript.
    """
    rows = _rows(file)
    if not rows:
        return []
    if not columns and rows[0][1][0].casefold() in _HEADINGS:
        columns = tuple(_HEADINGS.get(field.casefold(), "-") for field in rows[0][1])
        if "id" not in columns:
            raise SeqgenError(f"{file}:{rows[0][0]}: no heading of recordings", remedy="call their column id, or path")
        rows = rows[1:]
    columns = columns or _told(file, rows)
    made = []
    for line, fields in rows:
        if len(fields) != len(columns):
            lacks = f"no transcript for '{fields[0]}', " if len(fields) == 1 else ""
            raise SeqgenError(
                f"{file}:{line}: {lacks}{len(fields)} field(s) where the columns are {'|'.join(columns)}",
                remedy=f"write `{'|'.join(columns)}` on each line",
            )
        given = dict(zip(columns, fields, strict=True))
        text = " ".join((given.get("normalised") or given.get("text", "")).split())
        for name, value in (("transcript", text if {"text", "normalised"} & set(columns) else "-"), *given.items()):
            if not value and name in ("transcript", "speaker", "id"):
                raise SeqgenError(f"{file}:{line}: no {name} for '{given['id']}'", remedy="fill it in on each line")
        made.append(Entry(line, given["id"], text, given.get("speaker", "")))
    return made


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """Line number and fields of each line that is not blank."""
    try:
        lines = _ENDS.split(file.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        bad = error.object[: error.start].count(b"\n") + 1
        raise SeqgenError(f"{file}:{bad}: not UTF-8", remedy="save the file as UTF-8") from None
    except OSError as error:
        raise SeqgenError(f"{file}: cannot be read ({error.strerror})", remedy="give yourself the right") from None
    return [(number, [one.strip() for one in line.split("|")]) for number, line in enumerate(lines, 1) if line.strip()]


def _told(file: Path, rows: Sequence[tuple[int, list[str]]]) -> tuple[str, ...]:
    """The columns of a table that has no headings."""
    width = max(len(fields) for _, fields in rows)
    if width <= 2:
        return "id", "text"
    whole = [fields for _, fields in rows if len(fields) == width]
    alike = sum(sentence(fields[1]) == sentence(fields[2]) for fields in whole) if width == 3 else 0
    if width == 3 and alike >= _ALIKE * len(whole):
        return "id", "text", "normalised"
    line = next(line for line, fields in rows if len(fields) == width)
    choice = "id,speaker,text or id,text,normalised" if width == 3 else "e.g. id,speaker,text,-"
    raise SeqgenError(
        f"{file}:{line}: {width} columns, of which nothing says what they are", remedy=f"give --columns {choice}"
    )
