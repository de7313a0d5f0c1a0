"""``seqgen eval``: likelihood and audio distances on held-out recordings, beside Griffin–Lim."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HELP = """\
Evaluate an experiment (its best checkpoint) on held-out recordings:
exact likelihood in bits per sample (of a student: what its teacher makes of it); then every utterance is vocoded from
its own features, by the voice and by Griffin–Lim, and both are compared with the recording (MCD, log-spectral distance,
log-F0 RMSE, V/UV error, STOI).

  seqgen eval exp/fsdd                                    # on the run's own test set
  seqgen eval exp/fsdd --data data/other/test --json
  seqgen eval exp/fsdd --utterances 10 --audio heard/     # the first ten, WAVs kept
  seqgen eval voice/ --data data/test                     # a bundle

The table goes to standard output, and as eval.json into the experiment (or where --report says).
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser("eval", help="evaluate on held-out data", description=_HELP, formatter_class=raw)
    command.add_argument("voice", type=Path, help="experiment or bundle")
    command.add_argument("--data", type=Path, help="data directory (default: the run's test set)")
    command.add_argument(
        "--utterances",
        type=int,
        default=0,
        metavar="N",
        help="score only the first N (default: what the run's data.test_utterances says)",
    )
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--audio", type=Path, metavar="DIR", help="keep reference, vocoded and Griffin–Lim WAVs")
    command.add_argument("--report", type=Path, metavar="FILE", help="where the JSON object goes")
    command.add_argument("--json", action="store_true", help="print one object instead of the table")
    command.set_defaults(run=run_eval)


def run_eval(given: argparse.Namespace) -> int:
    """Evaluate; the result is printed and kept."""
    from seqgen import config
    from seqgen.data.directory import DataDir
    from seqgen.metrics.table import summarise
    from seqgen.runtime import open_runtime

    _require_sensible(given)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        bundle, run, made, source = _open(given.voice, Path(scratch) / "voice")
        data = DataDir.load(given.data or Path(run.data.test))
        wanted = given.utterances or run.data.test_utterances
        if wanted:
            data = DataDir(data.path, data.utterances[:wanted])
        exact = _exact(given.voice, made, run, data, bundle.manifest.speakers, source)
        pairs = _pairs(open_runtime(bundle), data, given)
    if given.audio:
        _keep(pairs, given.audio, run.features.sample_rate)
    ours, baseline = summarise([p.scores for p in pairs]), summarise([p.baseline_scores for p in pairs])
    known = {
        "config_digest": config.digest(run),
        "checkpoint": source,
        "data": str(data.path),
        "utterances": len(pairs),
        "samples": sum(pair.utterance.samples for pair in pairs),
    }
    result = _result(given, known, exact, ours, baseline) | {"seconds": time.perf_counter() - began}
    _report(given, result)
    sys.stdout.write(
        json.dumps(result, allow_nan=False) + "\n" if given.json else _table(result, exact, ours, baseline)
    )
    return 0


def _exact(
    path: Path, made: Any, run: Any, data: Any, speakers: Sequence[str], source: str
) -> dict[str, tuple[float, float, str]]:
    """What the networks know without listening: name -> value, half of its 95 % interval, unit."""
    from seqgen.sample import AutoRegressive
    from seqgen.train import teaching
    from seqgen.train.evaluation import likelihood
    from seqgen.train.experiment import CONFIG, Experiment

    if isinstance(made.generator, AutoRegressive):
        sys.stderr.write(f"likelihood of {len(data)} utterances with {source}\n")
        exact = likelihood(made, run, data, speakers)
        return {"bits_per_sample": (exact.bits_per_sample, exact.half_width, "")}
    if not (path / CONFIG).is_file() or _is_bundle(path):
        return {}  # a student that left its experiment knows no teacher
    sys.stderr.write(f"what the teacher makes of {len(data)} utterances with {source}\n")
    judged = teaching.judged(Experiment.open(path).load()[0], run, data, speakers)
    return {name: (one.value, one.half_width, teaching.UNITS[name]) for name, one in judged.items()}


def _is_bundle(path: Path) -> bool:
    from seqgen.bundle import MANIFEST

    return (path / MANIFEST).is_file()


def _result(
    given: argparse.Namespace,
    known: dict[str, Any],
    exact: dict[str, tuple[float, float, str]],
    ours: dict[str, Any],
    baseline: dict[str, Any],
) -> dict[str, Any]:
    """What is printed and kept: plain values, with null where something is not defined."""
    made = {
        "voice": str(given.voice),
        **known,
        **{name: value for name, (value, _, _) in exact.items()},
        **{f"{name}_95": spread for name, (_, spread, _) in exact.items()},
        "temperature": given.temperature,
        "seed": given.seed,
        "scores": {name: value._asdict() for name, value in ours.items()},
        "griffin_lim": {name: value._asdict() for name, value in baseline.items()},
    }
    finite: dict[str, Any] = _finite(made)
    return finite


def _require_sensible(given: argparse.Namespace) -> None:
    """Refuse now what would otherwise fail, or mean nothing, after minutes of vocoding."""
    from seqgen.errors import SeqgenError

    if not 0 <= given.temperature <= 2 or given.utterances < 0:
        raise SeqgenError(
            f"--temperature {given.temperature:g}, --utterances {given.utterances}",
            remedy="give a temperature from 0 to 2 and a number of utterances that is not negative",
        )
    if given.audio is not None:
        given.audio.mkdir(parents=True, exist_ok=True)


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not defined is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _open(path: Path, scratch: Path) -> tuple[Any, Any, Any, str]:
    """Bundle, configuration, voice and the name of what is evaluated, from an experiment or a bundle."""
    from seqgen.bundle import Bundle
    from seqgen.export import voice
    from seqgen.runtime.torch import TorchRuntime
    from seqgen.train.experiment import Experiment

    if _is_bundle(path):
        bundle = Bundle.open(path)
        rebuilt = TorchRuntime(bundle)
        return bundle, rebuilt.run, rebuilt.voice, f"{bundle.manifest.name} {bundle.manifest.digest[:12]}"
    experiment = Experiment.open(path)
    made, source = experiment.voice()
    return voice.write(made, experiment, scratch, {}), experiment.run, made, source.name


def _report(given: argparse.Namespace, result: dict[str, Any]) -> None:
    from seqgen.audio.io import replacing

    target = given.report or (None if _is_bundle(given.voice) else given.voice / "eval.json")
    if target is not None:
        with replacing(target) as stream:
            stream.write((json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def _pairs(runtime: Any, data: Sequence[Any], given: argparse.Namespace) -> list[Any]:
    from rich.console import Console
    from rich.progress import Progress

    from seqgen.train.evaluation import resynthesise

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("vocoding and scoring", total=len(data))
        return list(
            resynthesise(
                runtime,
                list(data),
                seed=given.seed,
                temperature=given.temperature,
                progress=lambda done: bar.advance(task, done),
            )
        )


def _keep(pairs: Sequence[Any], folder: Path, rate: int) -> None:
    from seqgen.audio import io

    for pair in pairs:
        for kind, audio in (("reference", pair.reference), ("vocoded", pair.vocoded), ("griffin-lim", pair.baseline)):
            io.write(folder / f"{pair.utterance.id}.{kind}.wav", audio, rate)


def _table(
    result: dict[str, Any],
    exact: dict[str, tuple[float, float, str]],
    ours: dict[str, Any],
    baseline: dict[str, Any],
) -> str:
    from seqgen.metrics.table import UNITS

    lines = [f"{result['utterances']} utterances, {result['samples']:,} samples, checkpoint {result['checkpoint']}"]
    for name, (value, spread, unit) in exact.items():
        interval = f" ± {spread:.3f}" if math.isfinite(spread) else ""
        lines.append(f"{name.replace('_', ' ')} {value:.3f}{interval}" + (f" {unit}" if unit else ""))
    lines.append(f"{'':<34}{'voice':>18}{'Griffin–Lim':>18}")
    lines += [f"{f'{name} ({unit})':<34}{ours[name]!s:>18}{baseline[name]!s:>18}" for name, unit in UNITS.items()]
    return "\n".join(lines) + "\n"
