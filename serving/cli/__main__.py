"""``seqgen-serve``: stream voices over HTTP and WebSocket, or vocode one file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from seqgen import completion
from seqgen.errors import SeqgenError
from serving.cli import bench, doctor, keys, serve, vocode, voices
from serving.cli.options import FileParser
from serving.client import health
from serving.voices.vocoder import VoiceFailure

_ABOUT = """\
Stream seqgen voices from a CPU, without PyTorch.

A voice is a bundle made by `seqgen export`. `vocode` turns one recording (or a file of log-mel features) into the
voice's sound and back into audio; `serve` does the same for many listeners over HTTP and WebSocket."""
_COMMANDS = {
    "serve": ("stream voices to many listeners", serve),
    "vocode": ("vocode one file", vocode),
    "voices": ("install, verify, list and remove voices", voices),
    "keys": ("make and remove API keys", keys),
    "doctor": ("check this machine, the voices and the port", doctor),
    "health": ("ask a server whether it is well", health),
    "bench": ("measure a server by listeners in real time", bench),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for an error told in one line, 130 for Ctrl-C."""
    try:
        options = parser().parse_args(arguments)
        return int(options.command(options))
    except (SeqgenError, VoiceFailure) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        # Keeps the interpreter's own flush at exit from failing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        gone = isinstance(error, BrokenPipeError)
        sys.stderr.write(f"error: {'the reader of the output went away' if gone else error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def parser() -> argparse.ArgumentParser:
    """Parser of the whole command line."""
    plain = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("seqgen-serve", description=_ABOUT, formatter_class=plain)
    commands = made.add_subparsers(required=True, metavar="COMMAND", parser_class=FileParser)
    for name, (meaning, module) in _COMMANDS.items():
        module.options(commands.add_parser(name, help=meaning, epilog=module.EXAMPLES, formatter_class=plain))
    completion.add_parser(commands, "seqgen-serve", parser)
    return made


if __name__ == "__main__":
    sys.exit(main())
