"""Preparation of a corpus: three Kaldi data directories, train, valid and test."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.audio import io
from seqgen.audio.resample import resample_blocks, resampled_length
from seqgen.data import directory
from seqgen.data.corpus import SPLITS, Corpus, RawUtterance
from seqgen.data.directory import Utterance
from seqgen.data.download import Progress
from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing

_MARKER = "corpus.json"
_SOURCES = "recordings.jsonl"
_AUDIO = "audio"
_BLOCK = 1 << 20
_SHORTEST = 0.1  # seconds of the pieces that recordings are cut into
_ABANDONED = 3600.0  # seconds after which a working directory that a killed run left behind is removed


@dataclass(frozen=True, slots=True)
class _Recording:
    """A recording and its header."""

    raw: RawUtterance
    rate: int
    samples: int


def prepare(
    corpus: Corpus,
    root: Path,
    out: Path,
    *,
    sample_rate: int | None = None,
    max_seconds: float = 0.0,
    progress: Progress | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, int]:
    """Write ``out/train``, ``out/valid`` and ``out/test`` (those that are not empty), ``out/corpus.json``, and
    ``out/recordings.jsonl``, which says what file each id is of and which split it is in.

    Recordings of another rate than ``sample_rate`` are resampled into ``out/audio/*.flac`` (16 bits, mono); the
    others stay where they are. Recordings longer than ``max_seconds`` are cut into equal segments (a ``segments`` file;
    their transcripts, which nobody has aligned, are left out). Everything is built in a hidden directory and
    moved into place at the end.

    Args:
        corpus: what the recordings are. root: where they lie. out: where the data directories go.
        sample_rate: Hz; ``None`` keeps the recordings' own, which must then be one.
        max_seconds: 0 cuts nothing. progress: told of every recording.
        tell: given a line for each kind of file that is left out, for each recording that cannot be used (which is left
            out where the corpus is the user's own), and for each float recording that is clamped.

    Returns: number of utterances of each split.
    Raises:
        SeqgenError: naming the recording, line or folder that is wrong; ``out`` is then as it was.

    Example:
        >>> prepare(FSDD(), Path("fsdd"), Path("data"))  # doctest: +SKIP
        {'train': 2520, 'valid': 180, 'test': 300}
    """
    _require_sensible(sample_rate, max_seconds)
    _refuse_overwriting(root, out)
    raws = list(corpus.utterances(root))
    for line in corpus.left_out(root, raws):
        tell(line)
    recordings = _headers(corpus, raws, progress, tell)
    rate = sample_rate or _only_rate(recordings)
    pieces, chosen = _parted(corpus, recordings, rate, max_seconds)
    _advise(corpus, pieces, tell)
    with _workshop(out) as stage:
        resampled, broken = _resample(recordings, rate, stage / _AUDIO, progress)
        if broken:
            recordings = [one for one in recordings if one.raw.id not in broken]
            _leave_out(list(broken.values()), recordings, corpus, tell)
            pieces, chosen = _parted(corpus, recordings, rate, max_seconds)
        utterances = [_placed(piece, resampled, out) for _, piece in pieces]
        made = _by_split(utterances, chosen, tell)
        counts = {split: len(members) for split, members in made.items()}
        about = {"sample_rate": rate, "max_seconds": max_seconds, "utterances": counts}
        names = {raw.id: raw.path for raw in raws}
        sources = [(one, names[one.recording or one.id], split) for split, members in made.items() for one in members]
        _publish(stage, out, made, {_SOURCES: _sources(root, sources), _MARKER: _marker(corpus, root, about)})
    return counts


def _advise(corpus: Corpus, pieces: Sequence[tuple[RawUtterance, Utterance]], tell: Callable[[str], object]) -> None:
    """Tell what a user should know of the pieces that were made."""
    for line in corpus.advice([raw for raw, _ in pieces]):
        tell(line)
    if mute := sum(bool(raw.text) and bool(piece.recording) for raw, piece in pieces):
        tell(
            f"left out: the transcripts of recordings that are cut into {mute} pieces, for nobody says where they part"
        )


def _marker(corpus: Corpus, root: Path, about: Mapping[str, object]) -> str:
    """Text of ``corpus.json``."""
    whole = {"corpus": corpus.name, "licence": corpus.licence, "source": str(root.resolve()), **about}
    return json.dumps(whole, indent=2) + "\n"


def _by_split(
    utterances: Sequence[Utterance], chosen: Sequence[str], tell: Callable[[str], object]
) -> dict[str, list[Utterance]]:
    """The utterances of each split; transcripts of one that has them in part are told of, for they are left out."""
    made = {split: [one for one, name in zip(utterances, chosen, strict=True) if name == split] for split in SPLITS}
    for split, members in made.items():
        told = sum(bool(one.text) for one in members)
        if 0 < told < len(members):
            tell(f"left out: {told} transcripts of {split}, for {len(members) - told} of its utterances have none")
    return made


def _sources(root: Path, sources: Sequence[tuple[Utterance, Path, str]]) -> str:
    """Lines of JSON: id, file (below the corpus where it lies there) and split of each utterance."""
    lines = []
    for one, path, split in sources:
        below = path.relative_to(root) if root in path.parents else path
        lines.append(json.dumps({"id": one.id, "file": below.as_posix(), "split": split}) + "\n")
    return "".join(lines)


def _require_sensible(sample_rate: int | None, max_seconds: float) -> None:
    if sample_rate is not None and sample_rate not in io.RATES:
        raise SeqgenError(
            f"--sample-rate {sample_rate}", remedy=f"choose a whole number from {io.RATES[0]} to {io.RATES[-1]} Hz"
        )
    if max_seconds != 0 and not _SHORTEST <= max_seconds < float("inf"):
        raise SeqgenError(f"--max-seconds {max_seconds}", remedy=f"give {_SHORTEST:g} or more, or 0 to cut nothing")


def _refuse_overwriting(root: Path, out: Path) -> None:
    """Never mix with, or replace, anything that an earlier ``prepare`` has not made."""
    inner, outer = out.resolve(), root.resolve()
    if inner == outer or outer in inner.parents:
        raise SeqgenError(f"--out {out} lies inside the corpus {root}", remedy="choose a folder outside it")
    if (out / _MARKER).is_file():
        return
    for name in (*SPLITS, _AUDIO):
        if (out / name).exists():
            raise SeqgenError(
                f"{out / name} exists and was not made by `seqgen data prepare`", remedy="choose another --out"
            )


def _headers(
    corpus: Corpus, raws: Sequence[RawUtterance], progress: Progress | None, tell: Callable[[str], object]
) -> list[_Recording]:
    """Rate and length of each recording; float ones are decoded too, for their samples may be beyond full scale.

    Raises:
        SeqgenError: as :func:`_leave_out`, and for a repeated id.
    """
    seen: dict[str, Path] = {}
    found: list[_Recording] = []
    errors: list[SeqgenError] = []
    for done, raw in enumerate(raws, 1):
        if raw.id in seen:
            raise SeqgenError(f"{seen[raw.id]} and {raw.path} would both be '{raw.id}'", remedy="rename or remove one")
        seen[raw.id] = raw.path
        try:
            header = io.info(raw.path)
            found.append(_Recording(raw, header.sample_rate, header.samples))
            if header.floating and (level := io.level(raw.path)).peak > 1:
                tell(f"{raw.path}: {level.described()}")
        except SeqgenError as error:
            errors.append(error)
        if progress:
            progress("reading headers", done, len(raws))
    _leave_out(errors, found, corpus, tell)
    return found


def _leave_out(
    errors: Sequence[SeqgenError], left: Sequence[_Recording], corpus: Corpus, tell: Callable[[str], object]
) -> None:
    """Tell of all recordings that cannot be used.

    Raises:
        SeqgenError: naming the first (and how many more there are), where no other is left or none may be missing.
    """
    refused = not (corpus.own and left)
    for one in errors if len(errors) > 1 or not refused else ():
        tell(f"unusable: {one}")
    if errors and refused:
        others = f" (and {len(errors) - 1} more unusable recordings)" if len(errors) > 1 else ""
        raise SeqgenError(f"{errors[0].problem}{others}", remedy=errors[0].remedy)
    if errors:
        tell(f"left out, {len(errors)}: recordings that cannot be used")


def _only_rate(recordings: Sequence[_Recording]) -> int:
    first = recordings[0]
    for other in recordings:
        if other.rate != first.rate:
            raise SeqgenError(
                f"{first.raw.path} has {first.rate} Hz and {other.raw.path} {other.rate} Hz",
                remedy=f"choose one rate, e.g. --sample-rate {min(first.rate, other.rate)}",
            )
    return first.rate


def _parted(
    corpus: Corpus, recordings: Sequence[_Recording], rate: int, max_seconds: float
) -> tuple[list[tuple[RawUtterance, Utterance]], list[str]]:
    """The pieces of all recordings, and the split of each."""
    pieces = [piece for recording in recordings for piece in _cut(recording, rate, max_seconds)]
    return pieces, corpus.splits([raw for raw, _ in pieces])


def _cut(recording: _Recording, rate: int, max_seconds: float) -> Iterator[tuple[RawUtterance, Utterance]]:
    """Equal pieces of at most ``max_seconds``; each as the corpus splits it and as it will be written."""
    raw = recording.raw
    samples = resampled_length(recording.samples, recording.rate, rate)
    pieces = -(-samples // round(max_seconds * rate)) if max_seconds > 0 else 1
    whole = Utterance(raw.id, raw.path, rate, 0, samples, raw.speaker, raw.text)
    if pieces == 1:
        yield raw, whole
        return
    edges = [index * samples // pieces for index in range(pieces + 1)]
    for index in range(pieces):
        key = f"{raw.id}-{index:05d}"
        start, stop = edges[index], edges[index + 1]
        piece = replace(whole, id=key, start=start, samples=stop - start, text="", recording=raw.id)
        yield replace(raw, id=key, key=f"{raw.key or raw.id}-{index:05d}"), piece


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """A hidden directory beside the results, removed whatever happens."""
    created = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for old in out.glob(".prepare-*"):
            newest = max((path.stat().st_mtime for path in (old, old / _AUDIO) if path.exists()), default=0.0)
            if time.time() - newest > _ABANDONED:
                shutil.rmtree(old, ignore_errors=True)
        stage = Path(tempfile.mkdtemp(prefix=".prepare-", dir=out))
        (stage / _AUDIO).mkdir()
    except OSError as error:
        raise SeqgenError(f"{out}: cannot be written ({error.strerror})", remedy="choose another --out") from None
    try:
        yield stage
    except OSError as error:
        raise SeqgenError(f"{out}: cannot be written ({error.strerror})", remedy="free space or choose --out") from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if created and not any(out.iterdir()):
            out.rmdir()


class _Broken(SeqgenError):
    """Error for a recording that cannot be decoded to its end."""


def _decoded(path: Path) -> Iterator[npt.NDArray[np.float32]]:
    try:
        yield from io.blocks(path, _BLOCK)
    except SeqgenError as error:
        raise _Broken(error.problem, remedy=error.remedy) from None


def _resample(
    recordings: Sequence[_Recording], rate: int, target: Path, progress: Progress | None
) -> tuple[dict[str, str], dict[str, SeqgenError]]:
    """Id to file name of the recordings that had to be resampled, and to what is wrong with those that cannot be."""
    todo = [recording for recording in recordings if recording.rate != rate]
    names: dict[str, str] = {}
    broken: dict[str, SeqgenError] = {}
    taken = set()
    for done, recording in enumerate(todo, 1):
        raw = recording.raw
        # Where file names know no case, ids that differ by it alone would be one file.
        mark = hashlib.sha256(raw.id.encode()).hexdigest()[:8] if raw.id.casefold() in taken else ""
        taken.add(raw.id.casefold())
        name = f"{raw.id}_{mark}.flac" if mark else f"{raw.id}.flac"
        try:
            io.write_blocks(target / name, resample_blocks(_decoded(raw.path), recording.rate, rate), rate)
            names[raw.id] = name
        except _Broken as error:
            broken[raw.id] = error
        if progress:
            progress(f"resampling to {rate} Hz", done, len(todo))
    return names, broken


def _placed(piece: Utterance, resampled: dict[str, str], out: Path) -> Utterance:
    name = resampled.get(piece.recording or piece.id)
    return replace(piece, path=out / _AUDIO / name) if name else piece


def _publish(stage: Path, out: Path, made: dict[str, list[Utterance]], about: dict[str, str]) -> None:
    """Move the old results away, then the new ones in: at no time do tables lie beside audio of another run. Where that
    fails the old ones are put back."""
    old = stage / "old"
    old.mkdir()
    with ExitStack() as undo:
        for name in (*about, *SPLITS, _AUDIO):
            there = os.path.lexists(out / name)
            undo.callback(_put_back, old / name, out / name, there)
            if there and name in about:
                shutil.copy2(out / name, old / name)
            elif there:
                os.rename(out / name, old / name)
        for name, text in about.items():
            with replacing(out / name) as sink:
                sink.write(text.encode())
        if any((stage / _AUDIO).iterdir()):
            os.rename(stage / _AUDIO, out / _AUDIO)
        for split, members in made.items():
            if members:
                directory.write(out / split, members)
        undo.pop_all()


def _put_back(old: Path, place: Path, there: bool) -> None:
    """Have in a place what was there before; ``old``: where that was kept, if it has been moved."""
    if there and not os.path.lexists(old):
        return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    if there:
        os.rename(old, place)
