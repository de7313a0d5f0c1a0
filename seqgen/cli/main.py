"""The ``seqgen`` command: one sub-command a stage of a recipe."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from seqgen import completion
from seqgen.cli import bench, data, evaluate, export, info, sample, train
from seqgen.errors import SeqgenError

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
    top = argparse.ArgumentParser(
        prog="seqgen", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in (data, train, evaluate, sample, export, bench, info):
        module.add_parsers(commands)
    completion.add_parser(commands, "seqgen", parser)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 on a problem the user can mend (one line on stderr), 130 on Ctrl-C."""
    given = parser().parse_args(arguments)
    try:
        status: int = given.run(given)
        sys.stdout.flush()
    except SeqgenError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except BrokenPipeError:
        # The reader (head, less) has seen enough; writing to it again at exit would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(
            f"error: {error.filename or 'system'}: {error.strerror or error}; check the path and the disk\n"
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
