"""``seqgen likelihood``: what several models cost on the same data, side by side."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen import completion
from seqgen.registry import RUNTIMES

if TYPE_CHECKING:
    from seqgen.tasks.comparison import Judged, Row

_HELP = """\
One table of several models (experiments, bundles) on the same data: their figures with 95 % intervals, differences to
the first one (or to the best), total bits, parameters, and symbols a second of scoring here.

Differences are paired: both models are judged on the same examples, and what makes an example hard for both is no part
of the interval. Of a text the examples are blocks of a thousand bytes of the raw documents, whatever the symbols are,
so models over bytes, characters and subwords compare; the bytes of unknown symbols are counted at 8 bits. Of other data
they are those of `seqgen eval`, paired by their ids.

  seqgen likelihood exp/small exp/large --data data/test
  seqgen likelihood exp/bytes exp/subwords lm/ --data data/test --best
  seqgen likelihood exp/small exp/large --data data/test --json
  seqgen likelihood exp/vae exp/vq --data data/test --evidence-samples 5000 --figures evidence rate distortion
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser(
        "likelihood", help="compare models on the same data", description=_HELP, formatter_class=raw
    )
    command.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="experiments or bundles")
    command.add_argument("--data", type=Path, required=True, help="what all are judged on")
    command.add_argument("--figures", nargs="+", default=[], metavar="NAME", help="columns (default: what all have)")
    command.add_argument("--best", action="store_true", help="differences to the best model (default: to the first)")
    command.add_argument("--examples", type=int, default=0, metavar="N", help="only the first N (default: all)")
    command.add_argument(
        "--evidence-samples",
        type=int,
        default=0,
        metavar="K",
        help="codes that weigh an example (as the run says)",
    )
    runtime = command.add_argument("--runtime", default="", help="of bundles (default: the fastest)")
    completion.offer(runtime, RUNTIMES)
    command.add_argument("--report", type=Path, metavar="FILE", help="where the JSON object goes")
    command.add_argument("--json", action="store_true", help="print one object instead of the table")
    command.set_defaults(run=run_likelihood)


def run_likelihood(given: argparse.Namespace) -> int:
    """Judge every model and print one table."""
    from seqgen.files.outputs import require_writable, write_text
    from seqgen.tasks.comparison import compare

    if given.report is not None:
        require_writable(given.report)
    rows = compare([_judged(path, given) for path in given.models], best=given.best, figures=given.figures)
    reference = next(row.model.name for row in rows if not row.differences)
    result = json.dumps(
        {"data": str(given.data), "reference": reference, "models": [_finite(row.plain()) for row in rows]},
        indent=1,
        allow_nan=False,
    )
    sys.stdout.write(f"{result}\n" if given.json else _text(rows))
    if given.report is not None:
        write_text(given.report, f"{result}\n")
    return 0


def _judged(path: Path, given: argparse.Namespace) -> Judged:
    from seqgen.bundle import is_bundle
    from seqgen.cli.opened import opened
    from seqgen.tasks.comparison import Judged, parameters
    from seqgen.tasks.contract import Evaluation

    task, system = opened(path, given.runtime if is_bundle(path) else "")
    options = Evaluation(
        data=given.data, limit=given.examples, likelihood_only=True, evidence_samples=given.evidence_samples
    )
    task.require_heeded(options)
    began = time.perf_counter()
    table = task.evaluate(system, options)
    return Judged(str(path), table, parameters(system), time.perf_counter() - began)


def _text(rows: list[Row]) -> str:
    """The table for the eye."""
    names = list(rows[0].figures)
    head = ["", *(word for name in names for word in (name.replace("_", " "), "difference")), "total", "parameters",
            "symbols/s"]  # fmt: skip
    lines = [head]
    for row in rows:
        cells = [row.model.name]
        for name in names:
            apart = row.differences.get(name)
            cells += [str(row.figures[name]), "" if apart is None else f"{apart.value:+.3f} ± {apart.half_width:.3f}"]
        speed = row.symbols / row.model.seconds
        lines.append([*cells, f"{row.total:,.0f}", f"{row.model.parameters:,}", f"{speed:,.0f}"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    made = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    notes = [f"{row.model.name}: {line}" for row in rows for line in row.model.table.lines]
    return "\n".join([*made, *notes]) + "\n"


def _finite(value: Any) -> Any:
    """Plain values with null where something is not defined."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
