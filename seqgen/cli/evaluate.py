"""``seqgen eval``: what a trained experiment or a bundle is worth on held-out data."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen import completion
from seqgen.registry import JUDGES, RUNTIMES

if TYPE_CHECKING:  # torch is imported when a command runs, so that help and refusals come at once
    from seqgen.tasks.contract import Evaluation

REPORT = "eval.json"
"""File of an experiment that its evaluation is kept in."""

_HELP = """\
Evaluate an experiment (its best checkpoint) on held-out data: first what its method says exactly (bits per sample of a
likelihood, divergences, accuracies, estimates), each with its 95 % interval; then what its task measures. Of a voice
every utterance is vocoded from its own features, by the voice and by Griffin–Lim, and taken apart and put together by
WORLD; all are compared with the recording (MCD, log-spectral distance, STOI, and log-F0 RMSE and V/UV error by two
trackers).

  seqgen eval exp/fsdd                                    # on the run's own test set
  seqgen eval exp/fsdd --data data/other/test --json
  seqgen eval exp/fsdd --utterances 10 --audio heard/     # the first ten, WAVs kept
  seqgen eval voice/ --data data/test                     # a bundle; all by its runtime, rounded weights included
  seqgen eval voice/ --data data/test --runtime onnx      # the same by another one
  seqgen eval voice/ --data data/test --judges wer mos    # a recogniser's word errors, an estimate of opinions
  seqgen eval exp/frames --texts lines.txt --judges wer mos --audio heard/     # the same of what it speaks
  seqgen eval exp/fsdd --likelihood-only                  # nothing is sampled
  seqgen eval exp/digits --keep drawn/                    # contact sheets of pictures
  seqgen eval exp/plays --samples 1000 --oracle exp/other # a language model's samples: what another says, what repeats

The table goes to standard output, and as eval.json into the experiment (or where --report says).
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser("eval", help="evaluate on held-out data", description=_HELP, formatter_class=raw)
    command.add_argument("path", type=Path, help="experiment or bundle")
    command.add_argument("--data", type=Path, help="data to evaluate on (default: the run's test set)")
    command.add_argument(
        "--examples",
        "--utterances",
        type=int,
        default=0,
        metavar="N",
        help="only the first N (default: as the run's task says)",
    )
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--beam", type=int, default=0, help="of a translation's search (default: as the run says)")
    runtime = command.add_argument(
        "--runtime", default="", help="of a bundle: native, onnx or torch (default: the fastest)"
    )
    completion.offer(runtime, RUNTIMES)
    command.add_argument("--likelihood-only", action="store_true", help="only what needs no samples")
    command.add_argument(
        "--texts", type=Path, metavar="FILE", help="lines that a speaker is judged by (default: the data's transcripts)"
    )
    command.add_argument("--keep", "--audio", type=Path, metavar="DIR", help="keep what was sampled, beside references")
    command.add_argument(
        "--judges", nargs="+", choices=list(JUDGES), default=[], help="who else listens (extras `judges` and `pesq`)"
    )
    command.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="N",
        help="of a language model: draw and judge N; of pictures: draw N for --keep",
    )
    command.add_argument("--length", type=int, default=0, help="symbols of a sample (default: as in training)")
    command.add_argument("--oracle", type=Path, metavar="EXP", help="another language model, which scores the samples")
    command.add_argument(
        "--evidence-samples",
        type=int,
        default=0,
        metavar="K",
        help="codes that weigh an example (default: as the run says)",
    )
    command.add_argument("--report", type=Path, metavar="FILE", help="where the JSON object goes")
    command.add_argument("--json", action="store_true", help="print one object instead of the table")
    command.set_defaults(run=run_eval)


def run_eval(given: argparse.Namespace) -> int:
    """Evaluate; the result is printed and kept."""
    from seqgen.bundle import is_bundle
    from seqgen.tasks.contract import Evaluation

    _require_sensible(given)
    options = Evaluation(
        data=given.data,
        limit=given.examples,
        temperature=given.temperature,
        seed=given.seed,
        likelihood_only=given.likelihood_only,
        texts=given.texts,
        keep=given.keep,
        judges=tuple(given.judges),
        beam=given.beam,
        samples=given.samples,
        length=given.length,
        oracle=given.oracle,
        evidence_samples=given.evidence_samples,
    )
    target = given.report or (None if is_bundle(given.path) else given.path / REPORT)
    text, result = evaluated(given.path, options, target, runtime=given.runtime)
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n" if given.json else text)
    return 0


def evaluated(path: Path, options: Evaluation, target: Path | None, *, runtime: str = "") -> tuple[str, dict[str, Any]]:
    """Evaluation of an experiment or a bundle, as text and for programs; kept in ``target`` where that is a file."""
    from seqgen.cli.opened import opened
    from seqgen.files.outputs import require_writable, write_text

    began = time.perf_counter()
    task, system = opened(path, runtime)
    task.require_heeded(options)
    if target is not None:
        require_writable(target)
    table = task.evaluate(system, options)
    if system.objective is not None:
        found = {name: figure.value for name, figure in table.figures.items()}
        table = replace(table, remarks=tuple(system.objective.remarks(found)))
    result = {"path": str(path), **table.plain(), "seconds": time.perf_counter() - began}
    if target is not None:
        write_text(target, json.dumps(result, indent=1, allow_nan=False) + "\n")
    return table.text(), result


def _require_sensible(given: argparse.Namespace) -> None:
    """Refuse now what would otherwise fail, or mean nothing, after minutes of sampling."""
    from seqgen.errors import SeqgenError

    counts = {name: getattr(given, name) for name in ("examples", "beam", "samples", "length")}
    counts["evidence-samples"] = given.evidence_samples
    if not 0 <= given.temperature <= 2 or min(counts.values()) < 0:
        raise SeqgenError(
            ", ".join(f"--{name} {value:g}" for name, value in {"temperature": given.temperature, **counts}.items()),
            remedy="give a temperature from 0 to 2, and numbers that are not negative",
        )
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
