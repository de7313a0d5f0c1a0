"""``seqgen data prepare pairs``: sources and targets, a line for each, into a data directory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seqgen import completion
from seqgen.errors import SeqgenError
from seqgen.registry import TOKENIZERS

NAME = "pairs"
HELP = """\
  pairs     sources and targets: --corpus with a table of lines source<TAB>target[<TAB>further targets] in UTF-8 (may be
            gzipped), or with a line for each source and --targets with one for each target; lines of one source are put
            together and lie in one split, which follows from the source's text; OUT/train, OUT/valid and OUT/test get a
            pairs.tsv each; source.json and target.json are learnt from OUT/train alone
"""
_OPTIONS = ("targets", "source_tokenizer", "target_tokenizer", "source_vocabulary", "target_vocabulary", "longest")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that only pairs have."""
    own = parser.add_argument_group("only for `pairs`")
    own.add_argument("--targets", type=Path, metavar="FILE", help="a line for each line of --corpus")
    for side in ("source", "target"):
        name: Any = own.add_argument(
            f"--{side}-tokenizer", metavar="NAME", help=f"of the {side}: {', '.join(TOKENIZERS)} (default: characters)"
        )
        completion.offer(name, TOKENIZERS)
        own.add_argument(f"--{side}-vocabulary", type=int, metavar="N", help="symbols, where one can choose")
    own.add_argument("--longest", type=int, metavar="N", help="leave out what has more symbols on either side")


def given(args: argparse.Namespace) -> list[str]:
    """Options of pairs that were given, as the command line spells them."""
    return [f"--{name.replace('_', '-')}" for name in _OPTIONS if getattr(args, name) is not None]


def run(args: argparse.Namespace) -> int:
    """Prepare pairs; returns the exit status."""
    from seqgen.text.pairs import Preparation, prepare

    if args.corpus is None:
        raise SeqgenError("no pairs", remedy="give --corpus FILE, lines of source<TAB>target")
    how = Preparation(
        source=args.source_tokenizer or "characters",
        target=args.target_tokenizer or "characters",
        source_vocabulary=args.source_vocabulary or 0,
        target_vocabulary=args.target_vocabulary or 0,
        valid=_share(args.valid),
        test=_share(args.test),
        longest=args.longest or 0,
    )
    counts = prepare(args.corpus, args.out, how, args.targets)
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count or name != "too long")
    sys.stdout.write(f"{args.out}: {told} sources\n")
    return 0


def _share(value: float | str | None) -> float:
    """A share that is held out, by default a twentieth."""
    if value is None:
        return 0.05
    try:
        return float(value)
    except ValueError:
        raise SeqgenError(f"'{value}' is no share", remedy="give a number from 0, below 1") from None
