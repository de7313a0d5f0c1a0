"""Command-line options that several commands share."""

from __future__ import annotations

import argparse

from seqgen import presets


def voice_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose which voices are served."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--voices", metavar="DIR", help="all voices of a store; see `seqgen-serve voices`")
    which.add_argument("--voice", metavar="BUNDLE", help="one voice: a directory made by `seqgen export`")
    which.add_argument("--preset", help=f"random weights, to measure with: e.g. {presets.without_torch()[0]}")


def isolation_option(parser: argparse.ArgumentParser) -> None:
    """Option that chooses whether workers are processes or threads."""
    parser.add_argument(
        "--isolation",
        choices=("process", "thread"),
        default="process",
        help="a process for each worker, whose end cuts no other's streams, or a thread (default: %(default)s)",
    )


def positive(text: str) -> int:
    """Whole number above 0, as an option's value."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def port(text: str) -> int:
    """Port number, 0 included, as an option's value."""
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; give 0 to 65535")
    return int(text)
