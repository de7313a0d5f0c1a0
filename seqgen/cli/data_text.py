"""``seqgen data prepare text``: a text into documents, splits and symbols."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seqgen import completion
from seqgen.errors import SeqgenError
from seqgen.registry import TOKENIZERS
from seqgen.text.corpus import DOCUMENTS
from seqgen.text.prepare import Preparation, prepare

NAME = "text"
HELP = """\
  text      any text: --corpus with a file, or a folder of files, which may be packed (gz, bz2, xz); --tokenizer says
            what becomes a symbol. Written are OUT/tokenizer.json and for each split text, documents and symbols; by
            default the last 5 % of the bytes are the test, the 5 % before them are for validation
"""
_OWN = ("tokenizer", "vocabulary", "stop", "documents", "valid_share", "test_share")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a text, beside ``--corpus``, ``--out``, ``--valid`` and ``--test``."""
    own = parser.add_argument_group("only for `text`")
    kind = own.add_argument("--tokenizer", metavar="NAME", help=f"one of {', '.join(TOKENIZERS)} (default: bytes)")
    completion.offer(kind, TOKENIZERS)
    own.add_argument(
        "--vocabulary", type=int, metavar="N", help="symbols to have (default: the tokenizer's own number)"
    )
    own.add_argument("--stop", action="store_true", default=None, help="have a symbol that ends a sequence")
    own.add_argument(
        "--documents", choices=DOCUMENTS, help="what is one document, which nothing crosses (default: whole)"
    )
    own.add_argument("--valid-share", type=float, metavar="SHARE", help="of the bytes for validation (default: 0.05)")
    own.add_argument("--test-share", type=float, metavar="SHARE", help="of the bytes for the test (default: 0.05)")


def given(args: argparse.Namespace) -> list[str]:
    """The options of a text that are given, as they are spelled."""
    return [f"--{name.replace('_', '-')}" for name in _OWN if getattr(args, name) is not None]


def run(args: argparse.Namespace) -> int:
    """Prepare one text; returns the exit status."""
    foreign = [name for name in ("sample_rate", "columns", "hold_out") if getattr(args, name) is not None]
    foreign += ["max_seconds"] if args.max_seconds else []
    if foreign:
        raise SeqgenError(f"--{foreign[0].replace('_', '-')} does not apply to a text", remedy="leave it out")
    if args.corpus is None:
        raise SeqgenError("no text is given", remedy="give --corpus a file, or a folder of files")
    if args.valid is not None and (args.valid_share is not None or args.test_share is not None):
        raise SeqgenError("texts to hold out are given, and shares", remedy="give one or the other")
    wanted = {name: getattr(args, name) for name in _OWN if getattr(args, name) is not None}
    held = {name: Path(getattr(args, name)) for name in ("valid", "test") if getattr(args, name) is not None}
    counts = prepare(args.corpus, args.out, Preparation(**wanted, **held))
    for name, one in counts.items():
        told = ", ".join(f"{value:,} {key}" for key, value in one.items() if value or key != "unknown")
        sys.stdout.write(f"{args.out / name}: {told}\n")
    from seqgen.text.directory import TextData

    made = TextData.open(args.out).tokenizer
    sys.stdout.write(f"{args.out}: tokenizer {made.plain().name}, vocab_size {made.vocab_size}\n")
    return 0
