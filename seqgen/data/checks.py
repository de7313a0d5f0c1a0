"""Checks of a Kaldi data directory, whose problems are told by file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from seqgen.audio import io
from seqgen.data import tables
from seqgen.data.tables import Problem, Row, Table
from seqgen.errors import SeqgenError

_CANCELLED = 1e-3  # share of the channels' peak that is left of their mean when they cancel out
_FULL_SCALE_BY_CHANCE = 1  # samples: one is what normalisation to the peak leaves
_TIME_TOLERANCE = 0.011  # seconds: tools write durations with two decimals
_LONGEST = 1e9  # seconds, beyond every recording's


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one data directory as read; an absent one has ``present`` false."""

    directory: Path
    wav_scp: Table
    utt2spk: Table
    spk2utt: Table
    segments: Table
    text: Table
    utt2dur: Table
    utt2samples: Table

    @property
    def utterances(self) -> Table:
        """The table whose keys are the utterance ids: ``segments`` where there is one, else ``wav.scp``."""
        return self.segments if self.segments.present else self.wav_scp

    def required(self) -> tuple[Table, ...]:
        """Tables that every data directory has."""
        return self.wav_scp, self.utt2spk, self.spk2utt

    def optional(self) -> tuple[Table, ...]:
        """Tables that may be absent."""
        return self.segments, self.text, self.utt2dur, self.utt2samples


def read_tables(directory: Path) -> Tables:
    """Read every table of ``directory``.

    Raises:
        SeqgenError: when the directory or its ``wav.scp`` does not exist.
    """
    remedy = "make one with `seqgen data prepare`"
    if not directory.is_dir():
        raise SeqgenError(f"{directory}: no such data directory", remedy=remedy)
    if not (directory / "wav.scp").is_file():
        raise SeqgenError(f"{directory}: not a data directory, there is no wav.scp", remedy=remedy)
    names = ("wav.scp", "utt2spk", "spk2utt", "segments", "text", "utt2dur", "utt2samples")
    return Tables(directory, *(tables.read(directory / name) for name in names))


def audio_path(directory: Path, value: str) -> Path:
    """The file that a ``wav.scp`` value names: absolute, or relative to the data directory."""
    return directory / value  # an absolute right-hand side wins in pathlib


def is_there(path: Path) -> bool:
    """Existence of a file; not so where no file could have that name."""
    try:
        return path.is_file()
    except OSError:  # longer than a name may be, or in a folder that may not be looked into
        return False


def parse_segment(value: str) -> tuple[str, float, float]:
    """``recording start end`` (seconds) of one ``segments`` line.

    Raises:
        ValueError: with the reason, when the line does not hold these three fields in order.
    """
    fields = value.split()
    if len(fields) != 3:
        raise ValueError(f"expected `utterance recording start end`, got {len(fields) + 1} fields")
    try:
        start, end = float(fields[1]), float(fields[2])
    except ValueError:
        raise ValueError(f"start and end must be seconds, got '{fields[1]}' and '{fields[2]}'") from None
    if not 0 <= start < end < _LONGEST:
        raise ValueError(f"start {fields[1]} and end {fields[2]} leave no audio")
    return fields[0], start, end


def _malformed(value: str) -> str:
    """Why a ``segments`` line cannot be read; empty when it can."""
    try:
        parse_segment(value)
    except ValueError as error:
        return str(error)
    return ""


def _recordings(given: Tables) -> Iterator[Problem]:
    file = given.wav_scp.file
    for key, row in given.wav_scp.rows.items():
        if not row.value:
            yield Problem(file, row.line, f"no path after the id '{key}'")
        elif row.value.endswith("|") or row.value.startswith("|"):
            yield Problem(file, row.line, f"'{key}' is a command, not a file; run it once and list the file it makes")
        elif not is_there(path := audio_path(given.directory, row.value)):
            yield Problem(file, row.line, f"audio of '{key}' is absent: {path}")


def _segments(given: Tables) -> Iterator[Problem]:
    for key, row in given.segments.rows.items():
        recording = row.value.split()[0] if row.value else ""
        if reason := _malformed(row.value):
            yield Problem(given.segments.file, row.line, f"segment '{key}': {reason}")
        elif recording not in given.wav_scp.rows:
            yield Problem(given.segments.file, row.line, f"segment '{key}': recording '{recording}' is not in wav.scp")


def _same_ids(base: Table, other: Table) -> Iterator[Problem]:
    """Ids that one of two tables has and the other has not."""
    for key, row in base.rows.items():
        if key not in other.rows:
            yield Problem(base.file, row.line, f"'{key}' has no line in {other.file.name}")
    for key, row in other.rows.items():
        if key not in base.rows:
            yield Problem(other.file, row.line, f"'{key}' is not in {base.file.name}")


def _speakers(given: Tables) -> Iterator[Problem]:
    file, last = given.utt2spk.file, b""
    for key, row in given.utt2spk.rows.items():
        speaker = row.value.encode()
        if len(row.value.split()) != 1:
            yield Problem(file, row.line, f"expected one speaker for '{key}', got '{row.value}'")
        elif not key.startswith(row.value):
            yield Problem(file, row.line, f"the speaker '{row.value}' is not a prefix of the utterance id '{key}'")
        elif speaker < last:
            yield Problem(file, row.line, f"sorted by utterance, speaker '{row.value}' comes after '{last.decode()}'")
        last = max(last, speaker)
    listed: dict[str, str] = {}
    for speaker_id, row in given.spk2utt.rows.items():
        if not row.value:
            yield Problem(given.spk2utt.file, row.line, f"speaker '{speaker_id}' has no utterances")
        for utterance in row.value.split():
            listed[utterance] = speaker_id
            owner = given.utt2spk.rows.get(utterance)
            if owner is None or owner.value != speaker_id:
                said = "does not know it" if owner is None else f"gives it to '{owner.value}'"
                yield Problem(given.spk2utt.file, row.line, f"'{speaker_id}' lists '{utterance}', but utt2spk {said}")
    for key, row in given.utt2spk.rows.items():
        if key not in listed:
            yield Problem(file, row.line, f"'{key}' is not listed in spk2utt")


def _positive(table: Table) -> Iterator[Problem]:
    for key, row in table.rows.items():
        try:
            value = float(row.value)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            yield Problem(table.file, row.line, f"'{key}' has '{row.value}', expected a positive number")


def structure(given: Tables) -> list[Problem]:
    """Everything that can be seen without opening an audio file."""
    found: list[Problem] = []
    for table in given.required():
        found += table.problems
    for table in given.optional():
        found += table.problems if table.present or table.file.exists() else []
    found += _recordings(given)
    base = given.utterances
    if given.segments.present:
        found += _segments(given)
    for table in (given.utt2spk, given.text, given.utt2dur, given.utt2samples):
        if table.present:
            found += _same_ids(base, table)
    if given.utt2spk.present and given.spk2utt.present:
        found += _speakers(given)
    for table in (given.utt2dur, given.utt2samples):
        found += _positive(table)
    found += [
        Problem(given.text.file, row.line, f"'{key}' has an empty transcript")
        for key, row in given.text.rows.items()
        if not row.value
    ]
    return found


def read_headers(given: Tables) -> tuple[dict[str, io.AudioInfo], list[Problem]]:
    """Rate and length of every recording that can be opened, and the problems of those that cannot."""
    headers: dict[str, io.AudioInfo] = {}
    problems: list[Problem] = []
    for key, row in given.wav_scp.rows.items():
        path = audio_path(given.directory, row.value)
        if not row.value or "|" in (row.value[0], row.value[-1]) or not is_there(path):
            continue  # `structure` has said so
        try:
            header = io.info(path)
        except SeqgenError as error:
            problems.append(Problem(given.wav_scp.file, row.line, f"'{key}': {error}"))
            continue
        headers[key] = header
    return headers, problems


def span(given: Tables, key: str, headers: Mapping[str, io.AudioInfo]) -> tuple[str, int, int]:
    """Recording, first sample and number of samples of one utterance.

    Raises:
        KeyError: when the recording could not be opened. ValueError: for a malformed or outlying segment.
    """
    if not given.segments.present:
        return key, 0, headers[key].samples
    recording, start, end = parse_segment(given.segments.rows[key].value)
    header = headers[recording]
    first, last = round(start * header.sample_rate), round(end * header.sample_rate)
    if last > header.samples:
        length = header.samples / header.sample_rate
        raise ValueError(f"ends at {end:g} s, outside recording '{recording}' of {length:g} s")
    if last <= first:
        raise ValueError(f"is shorter than one sample at {header.sample_rate} Hz")
    return recording, first, last - first


def _lengths(given: Tables, headers: Mapping[str, io.AudioInfo]) -> Iterator[Problem]:
    """Segments outside their file, and ``utt2dur`` / ``utt2samples`` that the audio contradicts."""
    for key, row in given.utterances.rows.items():
        if given.segments.present and _malformed(row.value):
            continue  # `structure` has said so
        try:
            recording, _, samples = span(given, key, headers)
        except KeyError:
            continue  # neither could its recording be opened
        except ValueError as error:
            yield Problem(given.segments.file, row.line, f"segment '{key}' {error}")
            continue
        yield from _contradictions(given, key, samples, headers[recording].sample_rate)


def _contradictions(given: Tables, key: str, samples: int, rate: int) -> Iterator[Problem]:
    claims: Iterable[tuple[Table, float, float, str]] = (
        (given.utt2samples, samples, 0.0, f"{samples} samples"),
        (given.utt2dur, samples / rate, _TIME_TOLERANCE, f"{samples / rate:.3f} s"),
    )
    for table, actual, tolerance, words in claims:
        row: Row | None = table.rows.get(key)
        try:
            wrong = row is not None and abs(float(row.value) - actual) > tolerance
        except ValueError:
            continue
        if row is not None and wrong:
            yield Problem(table.file, row.line, f"'{key}' has {row.value}, but its audio has {words}")


def too_short(samples: int, rate: int, shortest: Mapping[str, float]) -> str:
    """Statistics that a stretch is too short for; "" where it is long enough. ``shortest``: statistic to seconds."""
    lacking = [f"{name} ({1000 * seconds:.1f} ms)" for name, seconds in shortest.items() if samples < seconds * rate]
    return f"lasts {1000 * samples / rate:.3g} ms, too short for {', '.join(lacking)}" if lacking else ""


def _short(given: Tables, headers: Mapping[str, io.AudioInfo], shortest: Mapping[str, float]) -> Iterator[Problem]:
    table = given.utterances
    for key, row in table.rows.items():
        try:
            recording, _, samples = span(given, key, headers)
        except (KeyError, ValueError):
            continue  # said already
        if lacks := too_short(samples, headers[recording].sample_rate, shortest):
            yield Problem(table.file, row.line, f"'{key}' {lacks}")


def level_of(path: Path, header: io.AudioInfo) -> tuple[str, str]:
    """Fault of a recording that shows when it is decoded, and the remark on a usable one: words after its id."""
    try:
        level = io.level(path)
    except SeqgenError as error:
        return f": {error}", ""
    if level.samples != header.samples:
        return f": its header promises {header.samples} samples and {level.samples} can be decoded", ""
    if level.peak == 0.0:
        return " is digital silence from end to end", ""
    if level.mono < level.peak * _CANCELLED:
        return " is silence when its channels are averaged, for they cancel out", ""
    return "", f" {level.described()}" if level.full > _FULL_SCALE_BY_CHANCE else ""


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings of a check: what has to be mended, and notes on what is usable all the same."""

    problems: list[Problem]
    notes: list[Problem]


def examine(directory: Path, *, decode: bool = False, shortest: Mapping[str, float] | None = None) -> Findings:
    """Every problem of a Kaldi data directory, in the order of the tables.

    Looks for: absent or unreadable audio, empty recordings, commands in ``wav.scp``, ids that are duplicate, unsorted
    (C locale) or not the same in all tables, line ends and encodings of other systems, ``utt2spk`` and ``spk2utt`` that
    disagree, speakers that are not a prefix of their utterances, segments outside their file, lengths that the audio
    contradicts, utterances shorter than ``shortest`` (seconds by statistic). With ``decode`` every recording is decoded
    (block by block) to find truncation, NaN and silence, and full scale is counted.

    Raises:
        SeqgenError: when ``directory`` is no data directory at all.
    Source: Kaldi's ``utils/validate_data_dir.sh``.
    """
    given = read_tables(directory)
    found, notes = structure(given), list[Problem]()
    headers, unreadable = read_headers(given)
    found += unreadable
    found += _lengths(given, headers)
    found += _short(given, headers, shortest or {})
    for key, header in headers.items() if decode else ():
        row = given.wav_scp.rows[key]
        wrong, note = level_of(audio_path(directory, row.value), header)
        if wrong or note:
            told = f"'{key}'{wrong or note}"
            (found if wrong else notes).append(Problem(given.wav_scp.file, row.line, told))
    return Findings(found, notes)


def check(directory: Path, *, decode: bool = False) -> list[Problem]:
    """The problems that :func:`examine` finds.

    Example:
        >>> for problem in check(Path("data/train")):  # doctest: +SKIP
        ...     print(problem)
    """
    return examine(directory, decode=decode).problems
