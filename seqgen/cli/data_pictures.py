"""``seqgen data prepare pictures``: pictures of one size into splits, with their classes."""

from __future__ import annotations

import argparse
import sys

from seqgen.errors import SeqgenError
from seqgen.pictures.prepare import BINARISATIONS, Preparation, prepare

NAME = "pictures"
HELP = """\
  pictures  pictures of one size: --corpus with a numpy archive like mnist.npz (uint8 x_train and x_test, or x; y_train
            and y_test are classes), a folder or zip file of PNG files whose folders are their classes, or the word
            digits (scikit-learn's, 8x8 pixels; of a folder of that name give the whole path). Written are
            OUT/pictures.yaml and for each split a pictures.npz; --train, --valid and --test are numbers of pictures
"""
_OPTIONS = ("train", "side", "binarise", "levels", "invert", "factors", "stratify")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of pictures, beside ``--corpus``, ``--out``, ``--valid`` and ``--test``."""
    own = parser.add_argument_group("only for `pictures`")
    own.add_argument("--train", type=int, metavar="N", help="pictures to learn from (default: all that are left)")
    own.add_argument("--side", type=int, metavar="N", help="average square pictures down to NxN pixels")
    own.add_argument(
        "--binarise",
        choices=BINARISATIONS,
        help="pixels of 0 or 1: by threshold, from one half on, or static, drawn once with the value's probability",
    )
    own.add_argument("--levels", type=int, metavar="N", help="values of a pixel (default: the corpus's)")
    own.add_argument("--invert", action="store_true", default=None, help="make dark bright, as for ink on paper")
    own.add_argument("--stratify", action="store_true", default=None, help="give each split its share of every class")
    own.add_argument("--factors", metavar="NAMES", help="of the columns of the archive's `factors`, with commas")


def given(args: argparse.Namespace) -> list[str]:
    """The options of pictures that are given, as they are spelled."""
    return [f"--{name}" for name in _OPTIONS if getattr(args, name) is not None]


def run(args: argparse.Namespace) -> int:
    """Prepare pictures; returns the exit status."""
    foreign = [name for name in ("sample_rate", "columns", "hold_out") if getattr(args, name) is not None]
    foreign += ["max_seconds"] if args.max_seconds else []
    if foreign:
        raise SeqgenError(f"--{foreign[0].replace('_', '-')} does not apply to pictures", remedy="leave it out")
    if args.corpus is None:
        raise SeqgenError("no pictures", remedy="give --corpus an .npz file, PNG files, or the word digits")
    wanted = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    wanted |= {name: _count(name, getattr(args, name)) for name in ("valid", "test") if getattr(args, name) is not None}
    if args.factors is not None:
        wanted["factors"] = tuple(args.factors.split(","))
    facts = prepare(args.corpus, args.out, Preparation(**wanted))
    from seqgen.pictures.directory import SPLITS, PictureData

    made = PictureData(args.out, facts)
    counts = ", ".join(f"{name} {len(made.split(name)):,}" for name in SPLITS)
    channels, height, width = facts.shape
    size = f"{height}x{width}" + (f"x{channels}" if channels > 1 else "")
    classes = f", {len(facts.classes)} classes" if facts.classes else ""
    sys.stdout.write(f"{args.out}: {counts} pictures of {size}, {facts.levels} levels{classes}\n")
    return 0


def _count(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SeqgenError(f"--{name} {text} is no number of pictures", remedy="give a whole number") from None
