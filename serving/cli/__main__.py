"""``seqgen-serve``: stream voices and texts over HTTP and WebSocket, or one of them without a server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from seqgen.command import entry
from seqgen.errors import SeqgenError

_ABOUT = """\
Stream seqgen voices and texts from a CPU, without PyTorch.

A voice or text model is a bundle made by `seqgen export`. `vocode` turns one recording (or a file of log-mel features)
into the voice's sound and back into audio, `say` speaks a text, `complete` goes on with a text by a language model or
translates it; `serve` vocodes and completes for many over HTTP and WebSocket."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see :func:`seqgen.command.entry.run` for the exit status."""
    return entry.run(parser, _run, arguments)


def _run(options: argparse.Namespace) -> int:
    try:
        return int(options.command(options))
    except RuntimeError as error:
        from serving.streams.contract import ModelFailure

        if not isinstance(error, ModelFailure):
            raise
        raise SeqgenError(str(error)) from None


def parser() -> argparse.ArgumentParser:
    """Parser of the whole command line."""
    from seqgen import completion  # imported here, where Ctrl-C is already looked after
    from serving.cli import bench, doctor, keys, serve, vocode, voices
    from serving.cli.options import FileParser
    from serving.client import health
    from serving.completions import command
    from serving.speech import command as speech
    from serving.speech import detection

    known = {
        "serve": ("stream voices to many listeners", serve),
        "vocode": ("vocode one file", vocode),
        "say": ("say a text", speech),
        "detect": ("say whether a recording bears the mark of synthetic speech", detection),
        "complete": ("go on with one text, or translate it", command),
        "voices": ("install, verify, list and remove voices", voices),
        "keys": ("make and remove API keys", keys),
        "doctor": ("check this machine, the voices and the port", doctor),
        "health": ("ask a server whether it is well", health),
        "bench": ("measure a server by listeners in real time", bench),
    }
    plain = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("seqgen-serve", description=_ABOUT, formatter_class=plain)
    made.add_argument("--version", action=entry.Version)
    commands = made.add_subparsers(required=True, metavar="COMMAND", parser_class=FileParser)
    for name, (meaning, module) in known.items():
        module.options(commands.add_parser(name, help=meaning, epilog=module.EXAMPLES, formatter_class=plain))
    completion.add_parser(commands, "seqgen-serve", parser)
    return made


if __name__ == "__main__":
    sys.exit(main())
