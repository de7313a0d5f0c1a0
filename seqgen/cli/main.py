"""The ``seqgen`` command: one sub-command a stage of a recipe."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from seqgen.command import entry

_HELP = """\
Train, export and stream neural sequence generators.

A voice in five lines:
  seqgen data prepare folder --corpus my-recordings/ --out data/mine --sample-rate 16000
  seqgen train egs/demo/conf/voice.yaml --out exp/mine \\
    --set task.train=data/mine/train task.valid=data/mine/valid task.test=data/mine/test
  seqgen eval exp/mine
  seqgen export exp/mine --out voice/
  seqgen-serve vocode in.wav -o out.wav --voice voice/
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from seqgen import completion  # imported here, where Ctrl-C is already looked after
    from seqgen.cli import (
        align,
        bench,
        codec,
        compress,
        curve,
        data,
        evaluate,
        export,
        features,
        gaps,
        info,
        information,
        likelihood,
        probe,
        pronounce,
        sample,
        train,
        translate,
    )

    top = argparse.ArgumentParser(
        prog="seqgen", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action=entry.Version)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    judging = [evaluate, likelihood, probe, curve, gaps, information]
    making = [sample, translate, align, pronounce, compress, codec, export, features]
    for module in [data, train, *judging, *making, bench, info]:
        module.add_parsers(commands)
    completion.add_parser(commands, "seqgen", parser)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see :func:`seqgen.command.entry.run` for the exit status.

    Threads of OpenMP that have nothing to do sleep: by default they spin, and where another process has a core, each
    waits for the other (a training of two threads was two to four times slower by it beside two busy processes).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported, which commands do
    return entry.run(parser, lambda given: int(given.run(given)), arguments)


if __name__ == "__main__":
    sys.exit(main())
