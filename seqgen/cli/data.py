"""``seqgen data``: prepare a corpus, check a data directory, describe one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from seqgen import completion
from seqgen.cli import data_lexicon, data_pairs, data_phones, data_pictures, data_text
from seqgen.data import checks, directory
from seqgen.data.corpora import Demo, Folder
from seqgen.data.corpus import Corpus
from seqgen.data.download import Progress
from seqgen.data.folder.metadata import parse_columns
from seqgen.data.mend import REJECTED, mend
from seqgen.data.prepare import prepare
from seqgen.errors import SeqgenError
from seqgen.pictures import checks as picture_checks
from seqgen.pictures.directory import is_pictures
from seqgen.registry import CORPORA
from seqgen.text import checks as text_checks
from seqgen.text import pair_checks
from seqgen.text.directory import is_text

_OVERVIEW = """\
From recordings to Kaldi data directories, from texts to symbols, from pictures to pixels, and back to what is wrong
with them.

  seqgen data prepare folder --corpus my-recordings --out data --sample-rate 16000
  seqgen data prepare text --corpus plays.txt --out data --tokenizer characters
  seqgen data prepare pictures --corpus mnist.npz --out data --binarise static
  seqgen data check data/train
  seqgen data stats data/train
  seqgen data phones data/test -o phones.ctm
"""
_PREPARE = (
    """\
Write OUT/train, OUT/valid and OUT/test from a corpus: Kaldi data directories with wav.scp, utt2spk, spk2utt, utt2dur,
utt2samples, text (where there are transcripts) and segments (where recordings are cut). The split is always the same,
and no sentence is in two of them (fsdd has an official split by take instead). Recordings stay where they are; only
those of another rate than --sample-rate are resampled, into OUT/audio. If it is interrupted, OUT is as it was.

Downloads continue where they stopped and are verified by SHA-256: for ljspeech the published digest; for fsdd and
yesno, which publish none, the digest of the first download is recorded beside the archive and checked from then on.

corpora:
  demo      the small corpus in this repository; needs nothing
  fsdd      Free Spoken Digit Dataset (downloaded, or --corpus with its recordings/)
  ljspeech  LJSpeech 1.1 (downloaded, 2.6 GB, or --corpus with its metadata.csv and wavs/)
  yesno     OpenSLR 1 (downloaded, or --corpus with its waves_yesno/)
  folder    your own: --corpus with wav, flac, ogg, opus, mp3, aiff, caf, au, w64 or sph files at any depth; the first
            sub-folder names the speaker; metadata.csv with lines `id|text` or `path|text`, or others that headings or
            --columns explain, gives transcripts and speakers
"""
    + data_text.HELP
    + data_pairs.HELP
    + data_pictures.HELP
    + """
Whatever is left out is named and counted, recordings of `folder` that cannot be read among it. What is held out of
`folder` follows from each recording's own path, or its sentence: adding recordings moves none. OUT/recordings.jsonl
says which file each id is of.
"""
)
_PREPARE_EXAMPLES = """\
examples:
  seqgen data prepare demo --out data/demo
  seqgen data prepare fsdd --corpus ~/corpora/fsdd --out data/fsdd
  seqgen data prepare folder --corpus my-recordings --out data/mine --sample-rate 22050 --max-seconds 15
  seqgen data prepare text --corpus wiki.xml.bz2 --out data/wiki --tokenizer sentencepiece --vocabulary 4000
  seqgen data prepare text --corpus train.txt --valid valid.txt --test test.txt --out data/lines --documents lines
"""
_CHECK = """\
Print every problem of a Kaldi data directory as `file:line: message` and exit with status 1 if there is any: absent or
unreadable audio, duplicate or unsorted ids, CRLF, bytes that are not UTF-8, tables that disagree, segments outside
their recording, wrong lengths, utterances too short for what evaluation measures; and, by decoding every recording,
truncation, NaN and silence. Recordings at full scale are noted, which is no problem. Of a text data directory: tables
and symbols that do not fit; bytes that are no UTF-8, NUL bytes, byte order marks, CR LF and very long lines are noted.
Of pairs of texts: lines that are no pair, sources that stand twice or in two splits; unknown symbols are noted.
Of pictures: arrays that do not fit the facts, pictures that lie in two splits; those that look alike are noted.
"""
_CHECK_EXAMPLES = """\
examples:
  seqgen data check data/train
  seqgen data check --quick --json data/train data/valid
  seqgen data check --fix data/train

--fix mends what can be mended (encodings, line ends, order, duplicates, paths, ids without their speaker, segments that
end a little late) and says so line by line; what is unusable is left out and kept in DIR/.rejected with its reason, and
the tables as they were in DIR/.backup.
"""
_MOST_LINES = 20
_KINDS = (data_text, data_pairs, data_pictures)  # beside recordings
_NAMES = (*CORPORA, *(kind.NAME for kind in _KINDS))
_STATS = "Describe data directories: utterances, speakers, rates, durations."
_STATS_EXAMPLES = """\
examples:
  seqgen data stats data/train data/test
  seqgen data stats --json data/train | jq .[0].seconds
"""


def add_parsers(subparsers: Any) -> None:
    """Add ``data`` and its sub-commands to the sub-parsers of ``seqgen``; each sets ``run``, a function of the args."""
    raw = argparse.RawDescriptionHelpFormatter
    data = subparsers.add_parser(
        "data", help="prepare, check and describe corpora", description=_OVERVIEW, formatter_class=raw
    )
    commands = data.add_subparsers(dest="data_command", required=True, metavar="prepare|check|stats|phones|lexicon")
    _add_prepare(
        commands.add_parser(
            "prepare",
            help="a corpus into train, valid and test",
            description=_PREPARE,
            epilog=_PREPARE_EXAMPLES,
            formatter_class=raw,
        )
    )
    data_phones.add_parser(commands)
    data_lexicon.add_parser(commands)
    check = commands.add_parser(
        "check",
        help="every problem by file and line",
        description=_CHECK,
        epilog=_CHECK_EXAMPLES,
        formatter_class=raw,
    )
    check.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="data directories")
    check.add_argument("--quick", action="store_true", help="read the headers of the recordings, do not decode them")
    check.add_argument("--fix", action="store_true", help="first mend what can be mended without guessing")
    check.add_argument("--json", action="store_true", help="a list of {file, line, message} on standard output")
    check.set_defaults(run=run_check)
    stats = commands.add_parser(
        "stats", help="sizes and durations", description=_STATS, epilog=_STATS_EXAMPLES, formatter_class=raw
    )
    stats.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="data directories")
    stats.add_argument("--json", action="store_true", help="a list of objects on standard output")
    stats.set_defaults(run=run_stats)


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    name = parser.add_argument("name", metavar="CORPUS", help=f"one of {', '.join(_NAMES)}")
    completion.offer(name, _NAMES)
    parser.add_argument("--out", type=_place, required=True, metavar="DIR", help="where train, valid and test go")
    parser.add_argument("--corpus", type=_place, metavar="DIR", help="where the recordings lie (default: download)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("exp/corpora"),
        metavar="DIR",
        help="where downloads are kept (default: %(default)s)",
    )
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="resample to this rate (default: the corpus's)")
    parser.add_argument(
        "--max-seconds", type=float, default=0.0, metavar="S", help="cut longer recordings into equal segments"
    )
    own = parser.add_argument_group("for `folder`")
    for split, what in (("valid", "validation"), ("test", "the test")):
        told = f"held out for {what}: a share (default: 0.05); of `text` a file or folder, of `pictures` a number"
        own.add_argument(f"--{split}", metavar="SHARE|FILE|N", help=told)
    own.add_argument(
        "--columns",
        metavar="NAMES",
        help="columns of metadata.csv, e.g. id,speaker,text (there are id, text, normalised, speaker, and - unread)",
    )
    own.add_argument(
        "--hold-out", choices=("sentence", "speaker"), help="what is never in two splits (default: sentence)"
    )
    for kind in _KINDS:
        kind.add_options(parser)
    parser.set_defaults(run=run_prepare)


def _place(word: str) -> Path:
    """A path that was given; an empty word, as of a variable that is not set, would else be the working directory."""
    if not word:
        raise SeqgenError("an empty path", remedy="give one, or leave the option out")
    return Path(word)


def _corpus(args: argparse.Namespace) -> Corpus:
    cls = CORPORA.load(args.name)
    names = ("valid", "test", "hold_out", "columns")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if cls is Folder:
        if "columns" in given:
            given["columns"] = parse_columns(args.columns)
        return Folder(**given | {name: _share(name, given[name]) for name in ("valid", "test") if name in given})
    if given:
        raise SeqgenError(
            f"--{next(iter(given)).replace('_', '-')} does not apply to {args.name}, whose split and tables are fixed",
            remedy="leave it out, or use the corpus `folder`",
        )
    made = cls()
    assert isinstance(made, Corpus)
    return made


def _share(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SeqgenError(f"--{name} {text} is no number", remedy="give a share from 0 to 1") from None


@contextmanager
def _bars() -> Iterator[Progress]:
    """Progress bars on standard error, one per kind of work."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from seqgen.command.console import Watched

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Watched()) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show


def _prepared(corpus: Corpus, args: argparse.Namespace, tell: Callable[[str], object]) -> dict[str, int]:
    with _bars() as progress:
        if args.corpus is not None:
            root = args.corpus
        elif isinstance(corpus, Demo):
            root = Demo.embedded()
        else:
            root = corpus.download(args.cache, progress)
        rate, longest = args.sample_rate, args.max_seconds
        return prepare(corpus, root, args.out, sample_rate=rate, max_seconds=longest, progress=progress, tell=tell)


def run_prepare(args: argparse.Namespace) -> int:
    """Prepare one corpus; returns the exit status."""
    for kind in _KINDS if args.name in _NAMES else ():
        if args.name != kind.NAME and (foreign := kind.given(args)):
            raise SeqgenError(
                f"{foreign[0]} does not apply to {args.name}", remedy=f"it is for the corpus `{kind.NAME}`"
            )
    for kind in _KINDS:
        if args.name == kind.NAME:
            return kind.run(args)
    corpus = _corpus(args)
    lines: list[str] = []
    try:
        counts = _prepared(corpus, args, lines.append)
    finally:
        sys.stderr.write("".join(f"{line}\n" for line in lines))
    summary = ", ".join(f"{split} {count}" for split, count in counts.items())
    sys.stdout.write(f"{args.out}: {summary} utterances\n")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Check data directories; returns 1 if there is any problem."""
    from seqgen.metrics.table import SHORTEST

    found, notes = [], []
    for path in args.directories:
        if args.fix:
            _mend(path, decode=not args.quick)
        if (own := _other_kind(path)) is not None:
            told: checks.Findings | text_checks.Examined = own.examine(path)
        else:
            told = checks.examine(path, decode=not args.quick, shortest=SHORTEST)
        found += told.problems
        notes += told.notes
    if args.json:
        rows = [
            {"file": str(one.file), "line": one.line, "message": one.message, **({"note": True} if kind else {})}
            for kind, all_of_them in enumerate((found, notes))
            for one in all_of_them
        ]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")  # in ASCII: a file's name may not be UTF-8
    else:
        sys.stderr.write(_shown([f"note: {one}" for one in notes]))
        sys.stdout.write("".join(f"{one}\n" for one in found) or f"{len(args.directories)} directories, no problem\n")
    return 1 if found else 0


def _other_kind(path: Path) -> ModuleType | None:
    """Module that checks and describes a directory of texts, pairs or pictures; ``None`` for one of recordings."""
    tests = ((is_text, text_checks), (pair_checks.is_pairs, pair_checks), (is_pictures, picture_checks))
    return next((module for is_one, module in tests if is_one(path)), None)


def _mend(path: Path, *, decode: bool) -> None:
    from seqgen.metrics.table import SHORTEST

    if _other_kind(path) is not None:
        raise SeqgenError(
            f"--fix does not apply to {path}, which is not of recordings", remedy="mend the corpus and prepare it again"
        )
    made = mend(path, decode=decode, shortest=SHORTEST)
    sys.stderr.write(_shown(made.notes))
    lines = [f"{path}: left out {line.replace(chr(9), ': ', 1)}" for line in made.rejected]
    sys.stderr.write(_shown(lines, f"all are in {path / REJECTED}"))
    dropped = f"dropped {len(made.dropped)} utterance(s) {' '.join(made.dropped)}".rstrip()
    sys.stderr.write(f"{path}: mended {len(made.notes)} thing(s); left out {len(lines)} line(s); {dropped}\n")


def _shown(lines: Sequence[str], where: str = "all with --json") -> str:
    """The first lines of many."""
    more = [f"… and {len(lines) - _MOST_LINES} more ({where})"] if len(lines) > _MOST_LINES else []
    return "".join(f"{line}\n" for line in (*lines[:_MOST_LINES], *more))


def run_stats(args: argparse.Namespace) -> int:
    """Describe data directories; returns the exit status."""
    rows = [
        own.statistics(path) if (own := _other_kind(path)) else directory.statistics(directory.DataDir.load(path))
        for path in args.directories
    ]
    if args.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return 0
    for row in rows:
        for key, value in row.items():
            if isinstance(value, dict):
                value = f"{len(value)}: " + ", ".join(f"{name} {count}" for name, count in value.items())
            sys.stdout.write(f"{key:>14}  {value}\n")
    return 0
