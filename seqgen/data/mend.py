"""Mending of Kaldi data directories: what can be mended is, and every line that is left out is kept with its reason."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from seqgen.audio import io
from seqgen.data import checks, directory, tables
from seqgen.data.checks import Tables
from seqgen.data.directory import Utterance
from seqgen.data.tables import Line, Row, Table
from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing

REJECTED = ".rejected"
"""File beside the tables with the lines that were left out, each with its reason; it only grows."""
_BACKUP = ".backup"
_TOLERANCE = 0.1  # seconds by which a segment may reach beyond its recording and be clipped
_COMMAND = re.compile(r"(?:cat|flac(?:\s+-\S+)*|sox)\s+(\S+)(?:\s+-t\s+wav\s+-)?\s*\|")  # that only decode a file


@dataclass
class Mended:
    """Mending of one directory: what was mended (``file:line: …``), and which lines were left out and why."""

    notes: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def note(self, table: Table, line: int, message: str) -> None:
        """Keep one thing that was mended."""
        self.notes.append(f"{table.file}:{line}: {message}")

    def reject(self, table: Table, line: Line, reason: str) -> None:
        """Keep one line that is left out."""
        self.rejected.append(f"{table.file.name}:{line.number}: {reason}\t{line.text}")


def mend(path: Path, *, decode: bool = False, shortest: Mapping[str, float] | None = None) -> Mended:
    """Mend what can be mended without guessing, and leave out the rest.

    Mended are: byte order marks, UTF-16, line ends, blanks, order, duplicates, decomposed characters; paths that are
    relative to another place or differ by slashes or accents, and commands that only decode a file; ids that lack
    their speaker; speakers that ``spk2utt`` alone knows; segments that reach beyond their recording by a tenth of a
    second, or to -1; ``spk2utt`` and the lengths.

    Left out are utterances without usable audio (with ``decode`` also what is silent or cannot be decoded to its end),
    shorter than ``shortest``, without a speaker or (where there is a ``text``) a transcript, and lines that contradict
    an earlier one. They are kept in ``.rejected``, and the tables as they were in ``.backup``. Nothing is written where
    nothing is wrong.

    Raises:
        SeqgenError: when nothing would be left, or a table is not UTF-8 (what it meant cannot be known).
    Source: Kaldi's ``utils/fix_data_dir.sh``.
    """
    path = Path(path)
    given = checks.read_tables(path)
    known = [table for table in (*given.required(), *given.optional()) if table.present]
    for table in known:
        for problem in table.problems:
            if "not UTF-8 (" in problem.message:
                raise SeqgenError(str(problem), remedy="save the file as UTF-8 first")
    problems = checks.examine(path, decode=decode, shortest=shortest).problems
    derived = (given.spk2utt, given.utt2dur, given.utt2samples)
    wrong = [
        table.file
        for table in derived
        if any(one.file == table.file or table.file.name in str(one) for one in problems)
    ]
    mending = _Mending(given, Mended())
    for table in known:
        mending.tidy(table)
    mending.find_audio()
    mending.find_speakers()
    mending.name_speakers()
    mending.order_speakers()
    kept = mending.usable(decode=decode, shortest=shortest or {})
    if not kept:
        raise SeqgenError(f"{path}: no utterance is usable", remedy=f"see why with `seqgen data check {path}`")
    contents = directory.contents(path, kept)
    mending.account(contents, kept)
    made = mending.made
    made.notes += [f"{file}: made anew" for file in wrong]
    if made.notes or made.rejected:
        _replace(path, [table.file for table in known], contents, made)
    return made


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


class _Mending:
    """State of a mending: the tables as they become, new ids, and why utterances are left out."""

    def __init__(self, given: Tables, made: Mended) -> None:
        self.given, self.made = given, made
        self.renamed: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.contradicting: set[tuple[Path, int]] = set()
        self.headers: dict[str, io.AudioInfo] = {}

    def tidy(self, table: Table) -> None:
        """Rows of the lines as they should be; of lines with one id the first counts."""
        path = table.file.name == "wav.scp"
        for problem in table.problems:
            if "duplicate id" not in problem.message:
                self.made.notes.append(f"{problem}: mended")
        rows: dict[str, Row] = {}
        decomposed = []
        for line in table.lines:
            key, value = _composed(line.key), line.value if path else _composed(line.value)
            if (key, value) != (line.key, line.value):
                decomposed.append(line.number)
            earlier = rows.get(key)
            if earlier is None:
                rows[key] = Row(line.number, value)
            elif earlier.value == value:
                self.made.note(table, line.number, f"'{key}' stands on line {earlier.line} already: once is enough")
            elif table is self.given.spk2utt:
                rows[key] = Row(earlier.line, f"{earlier.value} {value}")
            else:
                self._contradict(table, line, earlier, rows)
        if decomposed:
            self.made.note(table, decomposed[0], f"decomposed characters on {len(decomposed)} line(s): composed")
        table.rows = rows

    def _contradict(self, table: Table, line: Line, earlier: Row, rows: dict[str, Row]) -> None:
        """Choose one of two lines with one id: the earlier, unless the later one alone names a file that is there."""
        there = [checks.is_there(self._path(value)) for value in (earlier.value, line.value)]
        if table is self.given.wav_scp and there == [False, True]:
            rows[_composed(line.key)] = Row(line.number, line.value)
            line, earlier = next(one for one in table.lines if one.number == earlier.line), Row(line.number, "")
        self.contradicting.add((table.file, line.number))
        self.made.reject(table, line, f"contradicts line {earlier.line}")

    def find_audio(self) -> None:
        """Files where ``wav.scp`` does not name one that is there, but can only mean one."""
        table = self.given.wav_scp
        for key, row in table.rows.items():
            if not row.value or checks.is_there(self._path(row.value)):
                continue
            found = _found(self.given.directory, row.value)
            if found is not None:
                table.rows[key] = Row(row.line, str(found))
                self.made.note(table, row.line, f"'{key}': {row.value} is {found}")

    def find_speakers(self) -> None:
        """Speakers that ``spk2utt`` knows and ``utt2spk`` does not; of two words one name."""
        table, owners = self.given.utt2spk, dict[str, set[str]]()
        for speaker, row in self.given.spk2utt.rows.items():
            for utterance in row.value.split():
                owners.setdefault(utterance, set()).add(speaker)
        for key, row in self.given.utterances.rows.items():
            if key not in table.rows and len(owners.get(key, ())) == 1:
                (speaker,) = owners[key]
                table.rows[key] = Row(row.line, speaker)
                self.made.note(self.given.spk2utt, self.given.spk2utt.rows[speaker].line, f"says who speaks '{key}'")
        for key, row in table.rows.items():
            if len(words := row.value.split()) > 1:
                table.rows[key] = Row(row.line, "_".join(words))
                self.made.note(table, row.line, f"the speaker '{row.value}' becomes '{'_'.join(words)}'")

    def name_speakers(self) -> None:
        """Ids that begin with their speaker."""
        given = self.given
        rows = given.utterances.rows
        for key, row in given.utt2spk.rows.items():
            name = f"{row.value}-{key}"
            if row.value and not key.startswith(row.value) and key in rows and name not in rows:
                self.renamed[key] = name
                self.made.note(given.utt2spk, row.line, f"the id '{key}' becomes '{name}', for its speaker comes first")
        self._rename(self.renamed)

    def order_speakers(self) -> None:
        """Ids that sort as their speakers do: ``spk10_a`` is before ``spk1_a``, but ``spk10-a`` behind ``spk1-a``."""
        table = self.given.utt2spk
        owners = {key: row.value for key, row in table.rows.items() if row.value and key.startswith(row.value)}
        inorder = [owners[key].encode() for key in sorted(owners, key=str.encode)]
        speakers = {one: one.replace("-", "_") for one in owners.values()}
        names = {key: f"{speakers[one]}-{key[len(one) :].lstrip('-_') or key}" for key, one in owners.items()}
        if (
            inorder == sorted(inorder)
            or len({*names.values()}) < len(names)
            or len({*speakers.values()}) < len(speakers)
        ):
            return
        first, line = next((key, row.line) for key, row in table.rows.items() if names.get(key, key) != key)
        told = f"{len(names)} ids are made to sort as their speakers do, e.g. '{first}' becomes '{names[first]}'"
        self.made.note(table, line, told)
        table.rows = {key: replace(row, value=speakers.get(row.value, row.value)) for key, row in table.rows.items()}
        self._rename(names)
        self.renamed = names | {old: names.get(new, new) for old, new in self.renamed.items()}

    def _rename(self, names: Mapping[str, str]) -> None:
        for table in (self.given.utterances, self.given.utt2spk, self.given.text):
            table.rows = {names.get(key, key): row for key, row in table.rows.items()}

    def usable(self, *, decode: bool, shortest: Mapping[str, float]) -> list[Utterance]:
        """Utterances that can be used; of the others the reason is kept."""
        given = self.given
        self.headers, unreadable = checks.read_headers(given)
        headers, broken = self.headers, {problem.line: problem.message for problem in unreadable}
        kept, levels = [], dict[str, str]()
        for key, row in given.utterances.rows.items():
            try:
                recording, start, samples = self._span(key, row, headers)
                audio, header = (
                    checks.audio_path(given.directory, given.wav_scp.rows[recording].value),
                    headers[recording],
                )
                if lacks := checks.too_short(samples, header.sample_rate, shortest):
                    raise ValueError(lacks)
                if decode and recording not in levels:
                    levels[recording] = checks.level_of(audio, header)[0].removeprefix(":").strip()
                if wrong := levels.get(recording):
                    raise ValueError(wrong)
                speaker, text = self._speaker(key), self._text(key)
            except KeyError as error:
                absent = given.wav_scp.rows.get(error.args[0])
                message = f"there is no recording '{error.args[0]}'"
                self.reasons[key] = broken.get(absent.line, "its audio is absent") if absent is not None else message
                continue
            except ValueError as error:
                self.reasons[key] = str(error)
                continue
            whole = "" if given.utterances is given.wav_scp else recording
            kept.append(Utterance(key, audio, header.sample_rate, start, samples, speaker, text, whole))
        self.made.dropped += list(self.reasons)
        return kept

    def _path(self, value: str) -> Path:
        return checks.audio_path(self.given.directory, value)

    def _span(self, key: str, row: Row, headers: Mapping[str, io.AudioInfo]) -> tuple[str, int, int]:
        """Span of a segment as :func:`checks.span` reads it, after it was clipped to its recording."""
        given = self.given
        if given.segments.present:
            fields = row.value.split()
            header = headers[fields[0]] if len(fields) == 3 else None
            if header is not None and (clipped := _clipped(fields, header.samples / header.sample_rate)):
                given.segments.rows[key] = Row(row.line, " ".join((fields[0], *clipped)))
                told = f"'{key}' from {fields[1]} to {fields[2]} s is clipped to {' to '.join(clipped)} s"
                self.made.note(given.segments, row.line, told)
        return checks.span(given, key, headers)

    def _speaker(self, key: str) -> str:
        row = self.given.utt2spk.rows.get(key)
        if row is None or not row.value:
            raise ValueError("has no speaker")
        if not key.startswith(row.value):
            raise ValueError(f"the speaker '{row.value}' is not a prefix")
        return row.value

    def _text(self, key: str) -> str:
        row = self.given.text.rows.get(key)
        if self.given.text.present and (row is None or not row.value):
            raise ValueError("has no transcript")
        return row.value if row is not None else ""

    def account(self, contents: dict[str, str], kept: list[Utterance]) -> None:
        """Keep every line whose id is in no table any more; recordings without a segment stay."""
        given, ids = self.given, {one.id for one in kept}
        used = {one.recording or one.id for one in kept}
        if given.utterances is given.segments:
            rows = dict(line.split(" ", 1) for line in contents["wav.scp"].splitlines())
            for key, row in given.wav_scp.rows.items():
                if key not in used and key in self.headers:
                    rows[key] = row.value
                    used.add(key)
            contents["wav.scp"] = tables.render(rows)
        else:
            used = ids
        for table in (given.wav_scp, given.segments, given.utt2spk, given.text):
            of_recordings = table is given.wav_scp and given.utterances is given.segments
            for line in table.lines if table.present else ():
                key = _composed(line.key)
                key = key if of_recordings else self.renamed.get(key, key)
                if key not in (used if of_recordings else ids) and (table.file, line.number) not in self.contradicting:
                    lost = "its audio cannot be read" if of_recordings else f"there is no utterance '{key}'"
                    self.made.reject(table, line, self.reasons.get(key, lost))


def _found(home: Path, value: str) -> Path | None:
    """The file that a path means which is written as from elsewhere, quoted, with the other slashes or accents."""
    command = _COMMAND.fullmatch(value)
    plain = (command[1] if command else value).strip("'\"").removeprefix("file://")
    for name in dict.fromkeys((plain, plain.replace("\\", "/"))):
        for base in (home, Path(), *home.resolve().parents):
            for spelling in (name, _composed(name), unicodedata.normalize("NFD", name)):
                path = base / os.path.expanduser(spelling)  # which leaves a user that is none as it is
                if checks.is_there(path):
                    return path.absolute()
    return None


def _clipped(fields: list[str], length: float) -> tuple[str, str] | None:
    """Start and end of a segment inside its recording, where they are outside by little or the end is -1."""
    try:
        start, end = float(fields[1]), float(fields[2])
    except ValueError:
        return None
    first, last = (
        (0.0 if -_TOLERANCE <= start < 0 else start),
        length if end == -1 or length < end <= length + _TOLERANCE else end,
    )
    return (f"{first:.12g}", f"{last:.12g}") if (first, last) != (start, end) else None


def _replace(path: Path, present: list[Path], contents: dict[str, str], made: Mended) -> None:
    """Keep the old tables and the lines left out, then put the new ones in their places."""
    try:
        backup = next(place for place in _backups(path) if not place.exists())
        backup.mkdir()
        for file in present:
            shutil.copy2(file, backup)
        if made.rejected:
            with (path / REJECTED).open("a", encoding="utf-8") as sink:
                sink.writelines(f"{line}\n" for line in made.rejected)
    except OSError as error:
        raise SeqgenError(f"{path}: cannot be written ({error.strerror})", remedy="give yourself the right") from None
    for name, text in contents.items():
        with replacing(path / name) as sink:
            sink.write(text.encode())


def _backups(path: Path) -> Iterator[Path]:
    yield path / _BACKUP
    for number in range(2, 10_000):
        yield path / f"{_BACKUP}-{number}"
