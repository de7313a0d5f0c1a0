"""``seqgen-serve voices``: install, verify, list and remove voices."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError
from serving.voices.directory import VoiceDirectory

EXAMPLES = """\
examples:
  seqgen-serve voices install exp/voice --name zoe      # checked, then put in place at once
  seqgen-serve voices list
  seqgen-serve voices verify zoe                        # hashes and golden vectors; without a name: all of them
  seqgen-serve voices remove zoe

A running server takes up what was installed with the next request; streams under way keep the version that they began
with."""


def options(voices: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve voices``."""
    actions = voices.add_subparsers(required=True, metavar="ACTION")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--voices", default="voices", metavar="DIR", help="the store (default: %(default)s)")
    install = actions.add_parser("install", parents=[store], help="copy a bundle into the store")
    install.add_argument("bundle", metavar="BUNDLE", help="directory made by `seqgen export`")
    install.add_argument("--name", default="", help="name in the store (default: that of the directory)")
    install.set_defaults(command=_install)
    verify = actions.add_parser("verify", parents=[store], help="check hashes and golden vectors")
    verify.add_argument("names", nargs="*", help="voices (default: all)")
    verify.set_defaults(command=_verify)
    listing = actions.add_parser("list", parents=[store], help="list the voices")
    listing.add_argument("--json", action="store_true", help="as one JSON list")
    listing.set_defaults(command=_list)
    remove = actions.add_parser("remove", parents=[store], help="take a voice away")
    remove.add_argument("name")
    remove.set_defaults(command=_remove)


def _store(options: argparse.Namespace) -> VoiceDirectory:
    return VoiceDirectory(Path(options.voices))


def _existing(options: argparse.Namespace) -> VoiceDirectory:
    try:
        os.scandir(options.voices).close()
    except OSError as error:
        remedy = "name the store by --voices, or make it by `seqgen-serve voices install`"
        raise SeqgenError(f"{options.voices}: {error.strerror}", remedy=remedy) from None
    return _store(options)


def _install(options: argparse.Namespace) -> int:
    name = _store(options).install(Path(options.bundle), options.name)
    sys.stdout.write(f"installed '{name}' in {options.voices}\n")
    return 0


def _verify(options: argparse.Namespace) -> int:
    store, bad = _existing(options), 0
    for name in options.names or store.names():
        try:
            store.verify(name)
            sys.stdout.write(f"{name}: as it was exported\n")
        except SeqgenError as error:
            bad += 1
            sys.stderr.write(f"error: {name}: {error}\n")
    return 1 if bad else 0


def _list(options: argparse.Namespace) -> int:
    store = _existing(options)
    for name, why in store.ignored().items():
        sys.stderr.write(f"ignored: {name}: {why}\n")
    rows = [{"id": name} | store.describe(name) for name in store.names()]
    if options.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return 0
    for row in rows:
        if row["kind"] == "damaged":
            sys.stdout.write(f"{row['id']:24} damaged: its manifest cannot be read\n")
        else:
            sys.stdout.write(f"{row['id']:24} {summary(row)}, {row['licence'] or 'no licence named'}\n")
    return 0


def summary(about: dict[str, Any]) -> str:
    """Kind and measures of a bundle, by its description."""
    if "symbols" in about:
        return f"{about['kind']}, {about['symbols']} symbols"
    speakers = f"{len(about['speakers'])} speakers" if about["speakers"] else "one voice"
    return f"{about['kind']}, {about['sample_rate']} Hz, {speakers}"


def _remove(options: argparse.Namespace) -> int:
    _store(options).remove(options.name)
    sys.stdout.write(f"removed '{options.name}' from {options.voices}\n")
    return 0
