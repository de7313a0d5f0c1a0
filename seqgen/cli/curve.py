"""``seqgen curve``: latent-variable models in the plane of rate and distortion."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgen.analysis.rate_distortion import Point

_HELP = """\
Rate and distortion of latent-variable models, as `seqgen eval` found them, side by side and as a picture: what the
bound does not say is how much of it is rate. Their sum is the negative evidence lower bound and never below the entropy
of the data, which is drawn where it is known; else the line of the best sum stands for it.

  seqgen train vae.yaml --out exp/1.5 --set objective.rate='{name: weighted, beta: 1.5}'; seqgen eval exp/1.5
  seqgen curve exp/0.3 exp/1 exp/1.5 -o curve.png
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser("curve", help="rate against distortion", description=_HELP, formatter_class=raw)
    command.add_argument("experiments", nargs="+", type=Path, metavar="EXP", help="evaluated experiments")
    command.add_argument("-o", "--out", type=Path, metavar="PNG", help="where the picture goes")
    command.add_argument("--entropy", type=float, metavar="NATS", help="of the data, where it is known")
    command.add_argument("--json", action="store_true", help="print one object instead of the table")
    command.set_defaults(run=run_curve)


def run_curve(given: argparse.Namespace) -> int:
    """Print the table, and draw the picture."""
    from seqgen.analysis.rate_distortion import draw, frontier
    from seqgen.files.outputs import require_writable

    if given.out is not None:
        require_writable(given.out)
    points = sorted((_point(path) for path in given.experiments), key=lambda one: one.rate)
    best = {one.name for one in frontier(points)}
    if given.out is not None:
        draw(points, given.out, entropy=given.entropy)
    if given.json:
        rows = [{**one._asdict(), "total": one.total, "frontier": one.name in best} for one in points]
        found = [{name: _finite(value) for name, value in row.items()} for row in rows]
        sys.stdout.write(json.dumps({"entropy": given.entropy, "models": found}, allow_nan=False) + "\n")
    else:
        sys.stdout.write(_text(points, best))
    return 0


def _point(path: Path) -> Point:
    """A model's place in the plane.

    Raises:
        SeqgenError: for an experiment that was not evaluated, or that has no rate.
    """
    from seqgen.analysis.rate_distortion import Point
    from seqgen.errors import SeqgenError

    try:
        found = json.loads((path / "eval.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SeqgenError(f"{path}: not evaluated", remedy=f"run `seqgen eval {path}` first") from None
    except (OSError, ValueError) as error:
        raise SeqgenError(f"{path}/eval.json: {error}", remedy=f"run `seqgen eval {path}` again") from None
    if not isinstance(found, dict) or not {"rate", "distortion"} <= found.keys():
        raise SeqgenError(f"{path}: no rate and distortion", remedy="name runs of latent-variable models")
    halves = (found.get(f"{name}_95") for name in ("rate", "distortion"))
    return Point(str(path), found["rate"], found["distortion"], *(math.nan if one is None else one for one in halves))


def _text(points: list[Point], best: set[str]) -> str:
    wide = max(len(one.name) for one in points)
    lines = [f"{'':{wide}}  {'rate':>18}  {'distortion':>18}  {'rate + distortion':>18}"]
    for one in points:
        cells = (_cell(one.rate, one.rate_95), _cell(one.distortion, one.distortion_95), f"{one.total:.3f}")
        lines.append(f"{one.name:{wide}}  {'  '.join(f'{cell:>18}' for cell in cells)}{_mark(one, best)}")
    return "\n".join(lines) + "\nnats an example; * on the frontier\n"


def _mark(one: Point, best: set[str]) -> str:
    return "  *" if one.name in best else ""


def _cell(value: float, half: float) -> str:
    return f"{value:.3f} ± {half:.3f}" if math.isfinite(half) else f"{value:.3f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
