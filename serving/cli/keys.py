"""``seqgen-serve keys``: make, list and remove API keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from serving.cli.options import positive

EXAMPLES = """\
examples:
  seqgen-serve keys add radio --streams 4        # prints the key, once
  seqgen-serve keys list
  seqgen-serve keys remove radio
  seqgen-serve serve --voices voices/ --keys keys.jsonl

The file holds hashes only. A server reads it at its start and on SIGHUP."""


def options(keys: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve keys``."""
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--keys", default="keys.jsonl", metavar="FILE", help="where their hashes are (default: %(default)s)"
    )
    add = actions.add_parser("add", parents=[store], help="make a key and print it")
    add.add_argument("name", help="whose it is")
    add.add_argument("--streams", type=positive, default=4, help="streams at once (default: %(default)s)")
    add.add_argument("--per-minute", type=positive, default=0, help="requests a minute (default: any number)")
    add.set_defaults(command=_add)
    actions.add_parser("list", parents=[store], help="list whose keys there are").set_defaults(command=_list)
    remove = actions.add_parser("remove", parents=[store], help="take a key away")
    remove.add_argument("name")
    remove.set_defaults(command=_remove)


# The hashing library and the web server's types are not needed to parse a command line.
def _add(options: argparse.Namespace) -> int:
    from serving.http.keys import add_key

    sys.stdout.write(add_key(Path(options.keys), options.name, options.streams, options.per_minute) + "\n")
    return 0


def _list(options: argparse.Namespace) -> int:
    from serving.http.keys import read_keys

    for key in read_keys(Path(options.keys)):
        pace = f", {key.per_minute} requests a minute" if key.per_minute else ""
        sys.stdout.write(f"{key.name:24} {key.streams} streams{pace}\n")
    return 0


def _remove(options: argparse.Namespace) -> int:
    from serving.http.keys import remove_key

    remove_key(Path(options.keys), options.name)
    sys.stdout.write(f"removed '{options.name}' from {options.keys}\n")
    return 0
