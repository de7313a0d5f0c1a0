"""``seqgen export``, ``seqgen check`` and ``seqgen onnx``: make a bundle, prove one, take a graph out of one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

_EXPORT = """\
Export the best checkpoint of an experiment as a bundle: weights, graphs, configuration, golden vectors, hashes.

  seqgen export exp/fsdd --out voice/
  seqgen export exp/fsdd --out voice/ --quantise int8     # the native engine runs it with int8 weights
  seqgen export exp/fsdd --out voice/ --quantise int8 --engine-only     # nothing else can: a fraction of the size
  seqgen export exp/shakespeare --out lm/                 # a language model, or a translator, likewise
  seqgen-serve serve --voice voice/                       # the bundle is all that the server needs

The bundle is checked right away: its golden vectors are replayed through every runtime.
"""
_CHECK = """\
Verify every hash of a bundle and replay its golden vectors through each runtime.

  seqgen check voice/
  seqgen check voice/ --json
"""
_ONNX = """\
Write the graph of a bundle as one file with its weights inside, for onnxruntime without seqgen.

  seqgen onnx voice/ --out voice.onnx
  seqgen onnx voice/ --out voice.int8.onnx --int8      # 8-bit products inside the loops along time
  seqgen onnx voice/ --out voice.ort                   # for small builds of onnxruntime, on phones for example
  seqgen onnx g2p/ --out source.onnx --graph encoder   # of a translator

docs/onnx.md tells what goes in and what comes out. A bundle's own loop.onnx needs no conversion: it reads its weights
from the files beside it.
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-commands."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser("export", help="make a bundle", description=_EXPORT, formatter_class=raw)
    command.add_argument("experiment", type=Path)
    command.add_argument("--out", type=Path, required=True, help="bundle directory; an older bundle there is replaced")
    command.add_argument(
        "--quantise",
        choices=["bf16", "int8"],
        default="float32",
        help="weights of the native engine (default: float32)",
    )
    command.add_argument(
        "--engine-only",
        action="store_true",
        help="no graphs for onnxruntime and no float32 weights: a small bundle that the native engine alone runs",
    )
    command.add_argument(
        "--note", nargs="+", default=[], metavar="KEY=VALUE", action="extend", help="add to the bundle's provenance"
    )
    command.set_defaults(run=run_export)
    command = commands.add_parser("check", help="prove a bundle", description=_CHECK, formatter_class=raw)
    command.add_argument("bundle", type=Path)
    command.add_argument("--json", action="store_true", help="print one object")
    command.set_defaults(run=run_check)
    command = commands.add_parser("onnx", help="one graph as one file", description=_ONNX, formatter_class=raw)
    command.add_argument("bundle", type=Path)
    command.add_argument("--out", type=Path, required=True, help="file, ending in .onnx or .ort")
    command.add_argument(
        "--graph",
        choices=["loop", "step", "encoder"],
        default="loop",
        help="audio or symbols (default), distributions, or a translator's columns",
    )
    command.add_argument("--int8", action="store_true", help="8-bit weights where a loop multiplies matrices")
    command.set_defaults(run=run_onnx)


def run_export(given: argparse.Namespace) -> int:
    """Export and check."""
    from seqgen.bundle import is_bundle
    from seqgen.errors import SeqgenError
    from seqgen.files.folders import replacing_folder
    from seqgen.tasks.contract import Exporting
    from seqgen.tasks.experiment import Experiment

    notes = dict(note.partition("=")[::2] for note in given.note)
    if "" in notes or any("=" not in note for note in given.note):
        raise SeqgenError(f"--note {' '.join(given.note)}", remedy="give KEY=VALUE")
    experiment = Experiment.open(given.experiment)
    options = Exporting(given.quantise, given.engine_only, notes)
    with replacing_folder(given.out, kind="a bundle", may_replace=is_bundle) as work:
        opened = experiment.task().export(experiment.exported(), work, options)
        proved = _verdicts(work, given.out)  # a voice that does not reproduce itself takes nobody's place
    size = sum(entry.size for entry in opened.manifest.files)
    sys.stderr.write(f"{given.out}: {size / 1e6:.2f} MB\n")
    sys.stdout.write(proved)
    return 0


def run_check(given: argparse.Namespace) -> int:
    """Check; a bundle that is not as it should be is a problem that ends the command with status 1."""
    sys.stdout.write(_verdicts(given.bundle, given.bundle, as_json=given.json))
    return 0


def run_onnx(given: argparse.Namespace) -> int:
    """Write one graph; what it takes is told on standard error."""
    from seqgen.bundle import Bundle
    from seqgen.export import single

    made = single.write(Bundle.open(given.bundle), given.graph, given.out, int8=given.int8)
    share = f", {made.rounded / made.weights:.0%} of its {made.weights:,} numbers in 8 bits" if given.int8 else ""
    sys.stderr.write(f"{given.out}: {made.size / 1e6:.2f} MB{share}\n")
    return 0


def _verdicts(bundle: Path, named: Path, *, as_json: bool = False) -> str:
    from seqgen.runtime.replay import check

    verdicts = check(bundle)
    if as_json:
        rows = [dataclasses.asdict(verdict) for verdict in verdicts]
        return json.dumps({"bundle": str(named), "ok": True, "runtimes": rows}) + "\n"
    return "".join(f"{named}: {one.runtime} reproduces the golden vectors ({one})\n" for one in verdicts)
