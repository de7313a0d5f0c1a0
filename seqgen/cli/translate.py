"""``seqgen translate``: lines of text in, their translations out."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

_HELP = """\
Translate: every line of standard input becomes one line of standard output, by a trained experiment or a bundle. An
empty line stays empty; so does one that is too long, which is an error at the end. Without a beam characters come as
they are made.

  seqgen translate exp/g2p < words.txt > phonemes.txt
  seqgen translate exp/g2p --beam 8 < words.txt
  echo "one five six" | seqgen translate exp/numbers --temperature 1 --seed 3
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "translate", help="lines of text", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("path", type=Path, help="experiment or bundle")
    command.add_argument("--beam", type=int, default=0, help="sequences followed side by side (default: the run's)")
    command.add_argument(
        "--normalization", type=float, metavar="ALPHA", help="how far length is allowed for (default: the run's)"
    )
    command.add_argument("--longest", type=int, default=0, metavar="N", help="symbols of the longest translation")
    command.add_argument("--temperature", type=float, default=0.0, help="above 0: drawn by chance, without a beam")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--runtime", default="", help="of a bundle (default: the fastest)")
    command.set_defaults(run=run_translate)


def run_translate(given: argparse.Namespace) -> int:
    """Translate all of standard input."""
    from seqgen.cli.opened import opened
    from seqgen.errors import SeqgenError
    from seqgen.tasks.contract import Translating

    if min(given.beam, given.longest) < 0:
        raise SeqgenError(f"--beam {given.beam}, --longest {given.longest}", remedy="give 1 or more")
    options = Translating(given.beam, given.normalization, given.longest, given.temperature, given.seed)
    task, system = opened(given.path, given.runtime, objective=False)
    began = time.perf_counter()

    def say(piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    said = task.translate(system, sys.stdin.buffer, say, options)
    sys.stderr.write(f"{said} in {time.perf_counter() - began:.2f} s\n")
    return 0
