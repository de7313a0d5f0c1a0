"""Kaldi data directories: loading, writing and mending them (``wav.scp``, ``text``, ``utt2spk``, ``segments``, …)."""

from __future__ import annotations

import os
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from seqgen.audio.io import AudioInfo
from seqgen.data import checks, tables
from seqgen.data.checks import Tables, check
from seqgen.data.tables import Problem
from seqgen.errors import SeqgenError

__all__ = ["DataDir", "Problem", "Utterance", "check", "statistics", "swap", "write"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance: where its samples lie, who speaks and what is said.

    Attributes:
        id: unique in its data directory; the speaker is its prefix. path: the audio file.
        rate: Hz. start, samples: its stretch ``[start, start + samples)`` of the file, in samples.
        speaker: never empty. text: empty where there is no transcript.
        recording: id of the recording that it is a segment of; empty when it is the whole file.
    """

    id: str
    path: Path
    rate: int
    start: int
    samples: int
    speaker: str
    text: str = ""
    recording: str = ""

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples / self.rate


@dataclass(frozen=True)
class DataDir(Sequence[Utterance]):
    """A loaded data directory: a sequence of utterances in the order of their ids. No audio is held."""

    path: Path
    utterances: tuple[Utterance, ...]

    @classmethod
    def load(cls, path: Path) -> DataDir:
        """Read the tables and the headers of the recordings.

        Raises:
            SeqgenError: naming the first problem (file, line) and how many there are, if there is any.

        Example:
            >>> len(DataDir.load(Path("data/train")))  # doctest: +SKIP
            2100
        """
        path = Path(path)
        given = checks.read_tables(path)
        found = checks.structure(given)
        headers, unreadable = checks.read_headers(given)
        found += unreadable
        if not found:
            utterances, found = _utterances(given, headers)
            if not found:
                return cls(path, tuple(utterances))
        others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise SeqgenError(f"{found[0]}{others}", remedy=f"see all with `seqgen data check {path}`")

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # int and slice, as a tuple does
        return self.utterances[index]

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speakers, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances}, key=str.encode))

    @property
    def seconds(self) -> float:
        """Total duration."""
        return sum(utterance.seconds for utterance in self.utterances)

    @property
    def sample_rate(self) -> int:
        """The one rate of all recordings in Hz.

        Raises:
            SeqgenError: when the recordings have several rates.
        """
        return self.require_rate(self.utterances[0].rate)

    def require_rate(self, rate: int) -> int:
        """``rate``, if every recording has it.

        Raises:
            SeqgenError: naming the first recording of another rate and both rates.
        """
        for utterance in self.utterances:
            if utterance.rate != rate:
                raise SeqgenError(
                    f"{self.path}: '{utterance.id}' has {utterance.rate} Hz, but {rate} Hz is configured",
                    remedy=f"prepare the corpus with `seqgen data prepare --sample-rate {rate}`",
                )
        return rate


def _utterances(given: Tables, headers: Mapping[str, AudioInfo]) -> tuple[list[Utterance], list[Problem]]:
    """Utterances of tables without structural problems."""
    made: list[Utterance] = []
    problems: list[Problem] = []
    for key, row in given.utterances.rows.items():
        try:
            recording, start, samples = checks.span(given, key, headers)
        except ValueError as error:
            problems.append(Problem(given.segments.file, row.line, f"segment '{key}' {error}"))
            continue
        text = given.text.rows[key].value if given.text.present else ""
        path = checks.audio_path(given.directory, given.wav_scp.rows[recording].value)
        made.append(
            Utterance(
                id=key,
                path=path,
                rate=headers[recording].sample_rate,
                start=start,
                samples=samples,
                speaker=given.utt2spk.rows[key].value,
                text=text,
                recording=recording if given.segments.present else "",
            )
        )
    return made, problems


def _location(path: Path, directory: Path) -> str:
    """Name of a file in ``wav.scp``: relative inside the parent of the data directory, else absolute.

    Audio that was made together with the directory can then be moved with it, and a corpus elsewhere stays put.
    """
    home, target = directory.parent.resolve(), path.resolve()
    return Path(os.path.relpath(target, home / directory.name)).as_posix() if home in target.parents else str(target)


def contents(directory: Path, utterances: Sequence[Utterance]) -> dict[str, str]:
    """File name to text of each table."""
    by_speaker: dict[str, list[str]] = {}
    for utterance in sorted(utterances, key=lambda one: one.id.encode()):
        by_speaker.setdefault(utterance.speaker, []).append(utterance.id)
    segmented = any(utterance.recording for utterance in utterances)
    values: dict[str, dict[str, str]] = {
        "wav.scp": {
            (one.recording or one.id) if segmented else one.id: _location(one.path, directory) for one in utterances
        },
        "utt2spk": {one.id: one.speaker for one in utterances},
        "spk2utt": {speaker: " ".join(ids) for speaker, ids in by_speaker.items()},
        "utt2dur": {one.id: f"{one.seconds:.12g}" for one in utterances},
        "utt2samples": {one.id: str(one.samples) for one in utterances},
    }
    if all(utterance.text for utterance in utterances):
        values["text"] = {one.id: unicodedata.normalize("NFC", " ".join(one.text.split())) for one in utterances}
    if segmented:
        values["segments"] = {
            one.id: f"{one.recording or one.id} {one.start / one.rate:.12g} {(one.start + one.samples) / one.rate:.12g}"
            for one in utterances
        }
    return {name: tables.render(table) for name, table in values.items()}


def swap(made: Path, target: Path) -> None:
    """Put the finished directory ``made`` in the place of ``target``, which it never mixes with.

    A kill between the two renames leaves the old directory whole under a dotted name; nothing is ever half-written.
    """
    if not target.exists():
        os.rename(made, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
    os.rename(target, old / target.name)
    os.rename(made, target)
    shutil.rmtree(old)


def write(path: Path, utterances: Sequence[Utterance]) -> None:
    """Write a data directory in one step: all of it appears, or nothing does.

    ``text`` is written when every utterance has a transcript, ``segments`` when any is a part of a recording.

    Raises:
        SeqgenError: for no utterances, duplicate ids, blanks in ids, or a place that cannot be written or holds
            something else than a data directory.

    Example:
        >>> write(Path("data/copy"), DataDir.load(Path("data/train")))  # doctest: +SKIP
    """
    path = Path(path)
    if not utterances:
        raise SeqgenError(f"{path}: no utterances to write", remedy="give at least one recording")
    if path.exists() and not (path / "wav.scp").is_file():
        raise SeqgenError(f"{path} exists and is no data directory", remedy="remove it or choose another place")
    for key, count in Counter(utterance.id for utterance in utterances).items():
        if count > 1:
            raise SeqgenError(f"{path}: the utterance id '{key}' occurs {count} times", remedy="make ids unique")
    for one in utterances:
        if any(not name or name.split() != [name] for name in (one.id, one.speaker)) or "\n" in str(one.path):
            raise SeqgenError(
                f"{path}: '{one.id}' of '{one.speaker}' ({one.path}) cannot stand in a Kaldi table",
                remedy="use ids without blanks and paths without line ends",
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.new-", dir=path.parent) as temporary:
            made = Path(temporary) / path.name
            made.mkdir()
            for name, text in contents(path, utterances).items():
                (made / name).write_bytes(text.encode())
            swap(made, path)
    except OSError as error:
        raise SeqgenError(
            f"{path}: cannot be written ({error.strerror})", remedy="free space or choose another place"
        ) from None


def statistics(data: DataDir) -> dict[str, object]:
    """Plain numbers that describe a data directory (durations in seconds), ready for JSON."""
    seconds = sorted(utterance.seconds for utterance in data)
    per_speaker = Counter[str]()
    for utterance in data:
        per_speaker[utterance.speaker] += 1
    return {
        "path": str(data.path),
        "utterances": len(data),
        "recordings": len({utterance.path for utterance in data}),
        "speakers": dict(sorted(per_speaker.items())),
        "sample_rates": sorted({utterance.rate for utterance in data}),
        "seconds": round(data.seconds, 3),
        "shortest": round(seconds[0], 3),
        "median": round(median(seconds), 3),
        "longest": round(seconds[-1], 3),
        "samples": sum(utterance.samples for utterance in data),
        "words": sum(len(utterance.text.split()) for utterance in data),
    }
