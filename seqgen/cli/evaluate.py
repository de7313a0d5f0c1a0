"""``seqgen eval``: likelihood and audio distances on held-out recordings, beside Griffin–Lim."""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_HELP = """\
Evaluate an experiment (its best checkpoint) on held-out recordings:
exact likelihood in bits per sample (of a student: what its teacher makes of it; of a student's bundle: how far rounded
weights lead it from itself); then every utterance is vocoded from its own features, by the voice and by Griffin–Lim,
and both are compared with the recording (MCD, log-spectral distance, log-F0 RMSE, V/UV error, STOI).

  seqgen eval exp/fsdd                                    # on the run's own test set
  seqgen eval exp/fsdd --data data/other/test --json
  seqgen eval exp/fsdd --utterances 10 --audio heard/     # the first ten, WAVs kept
  seqgen eval voice/ --data data/test                     # a bundle; all by its runtime, rounded weights included
  seqgen eval voice/ --data data/test --runtime onnx      # the same by another one
  seqgen eval exp/fsdd --likelihood-only                  # no audio

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
    command.add_argument("--runtime", default="", help="of a bundle: native, onnx or torch (default: the fastest)")
    command.add_argument("--likelihood-only", action="store_true", help="score the recordings, vocode none")
    command.add_argument("--audio", type=Path, metavar="DIR", help="keep reference, vocoded and Griffin–Lim WAVs")
    command.add_argument("--report", type=Path, metavar="FILE", help="where the JSON object goes")
    command.add_argument("--json", action="store_true", help="print one object instead of the table")
    command.set_defaults(run=run_eval)


def run_eval(given: argparse.Namespace) -> int:
    """Evaluate; the result is printed and kept."""
    from seqgen import config
    from seqgen.data.directory import DataDir
    from seqgen.metrics.table import summarise

    _require_sensible(given)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        opened = _open(given.voice, Path(scratch) / "voice", given)
        run = opened.run
        data = DataDir.load(given.data or Path(run.data.test))
        wanted = given.utterances or run.data.test_utterances
        if wanted:
            data = DataDir(data.path, data.utterances[:wanted])
        exact = _exact(opened, data)
        pairs = [] if given.likelihood_only else _pairs(opened.make, run.features, data)
    if given.audio:
        _keep(pairs, given.audio, run.features.sample_rate)
    ours, baseline = summarise([p.scores for p in pairs]), summarise([p.baseline_scores for p in pairs])
    known = {
        "config_digest": config.digest(run),
        "checkpoint": opened.source,
        "data": str(data.path),
        "utterances": len(data),
        "samples": sum(utterance.samples for utterance in data),
    }
    result = _result(given, known, exact, ours, baseline) | {"seconds": time.perf_counter() - began}
    _report(given, result)
    sys.stdout.write(
        json.dumps(result, allow_nan=False) + "\n" if given.json else _table(result, exact, ours, baseline)
    )
    return 0


class _Opened(NamedTuple):
    """What is evaluated: an experiment; or a bundle, whose runtime gives the likelihood too."""

    run: Any
    voice: Any
    speakers: Sequence[str]
    source: str
    make: Any
    runtime: Any = None
    experiment: Any = None


def _open(path: Path, scratch: Path, given: argparse.Namespace) -> _Opened:
    """An experiment or a bundle, ready to be scored and to vocode."""
    from seqgen.bundle import Bundle
    from seqgen.export import voice
    from seqgen.runtime import open_runtime
    from seqgen.runtime.torch import TorchRuntime
    from seqgen.train.evaluation import maker, vocode
    from seqgen.train.experiment import Experiment

    drawing = {"seed": given.seed, "temperature": given.temperature}
    if _is_bundle(path):
        bundle = Bundle.open(path)
        rebuilt, runtime = TorchRuntime(bundle), open_runtime(bundle, given.runtime)
        source = f"{bundle.manifest.name} {bundle.manifest.digest[:12]} through {runtime}"
        make = functools.partial(vocode, runtime, **drawing)
        return _Opened(rebuilt.run, rebuilt.voice, bundle.manifest.speakers, source, make, runtime)
    experiment = Experiment.open(path)
    trained, source = experiment.voice()
    if given.likelihood_only:
        make = maker(trained, experiment.run, experiment.speakers, **drawing)
    else:
        bundle = voice.write(trained, experiment, scratch, {})
        make = functools.partial(vocode, open_runtime(bundle), **drawing)
    return _Opened(experiment.run, trained, experiment.speakers, source.name, make, None, experiment)


class _Exact(NamedTuple):
    """What the networks know without listening: name -> value, half of its 95 % interval and unit; bits and samples
    of every recording, by id, where there is a likelihood."""

    means: dict[str, tuple[float, float, str]]
    utterances: dict[str, tuple[float, int]]


def _exact(opened: _Opened, data: Any) -> _Exact:
    from seqgen.generator import Parallel
    from seqgen.train import teaching
    from seqgen.train.evaluation import divergence, likelihood

    of = f"{len(data)} utterances with {opened.source}\n"
    if not isinstance(opened.voice.generator, Parallel):
        sys.stderr.write(f"likelihood of {of}")
        exact = likelihood(opened.voice, opened.run, data, opened.speakers, opened.runtime)
        return _Exact({"bits_per_sample": (exact.bits_per_sample, exact.half_width, "")}, exact.utterances)
    if opened.experiment is None:  # a student that left its experiment knows no teacher, but itself
        sys.stderr.write(f"divergence from its own float32 of {of}")
        apart = divergence(opened.runtime, opened.voice, opened.run, data, opened.speakers)
        return _Exact({"divergence_from_float32": (*apart, "nats/sample")}, {})
    sys.stderr.write(f"what the teacher makes of {of}")
    judged = teaching.judged(opened.experiment.load()[0], opened.run, data, opened.speakers)
    return _Exact({name: (one.value, one.half_width, teaching.UNITS[name]) for name, one in judged.items()}, {})


def _is_bundle(path: Path) -> bool:
    from seqgen.bundle import MANIFEST

    return (path / MANIFEST).is_file()


def _result(
    given: argparse.Namespace,
    known: dict[str, Any],
    exact: _Exact,
    ours: dict[str, Any],
    baseline: dict[str, Any],
) -> dict[str, Any]:
    """What is printed and kept: plain values, with null where something is not defined."""
    made = {
        "voice": str(given.voice),
        **known,
        **{name: value for name, (value, _, _) in exact.means.items()},
        **{f"{name}_95": spread for name, (_, spread, _) in exact.means.items()},
        **({"bits_and_samples": exact.utterances} if exact.utterances else {}),
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
    if given.runtime and not _is_bundle(given.voice):
        raise SeqgenError(
            f"--runtime {given.runtime} for an experiment, which torch scores", remedy="export it, and give the bundle"
        )
    if given.audio is not None:
        given.audio.mkdir(parents=True, exist_ok=True)


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not defined is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _report(given: argparse.Namespace, result: dict[str, Any]) -> None:
    from seqgen.audio.io import replacing

    target = given.report or (None if _is_bundle(given.voice) else given.voice / "eval.json")
    if target is not None:
        with replacing(target) as stream:
            stream.write((json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def _pairs(make: Any, features: Any, data: Sequence[Any]) -> list[Any]:
    from rich.console import Console
    from rich.progress import Progress

    from seqgen.train.evaluation import resynthesise

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("vocoding and scoring", total=len(data))
        return list(resynthesise(make, features, list(data), progress=lambda done: bar.advance(task, done)))


def _keep(pairs: Sequence[Any], folder: Path, rate: int) -> None:
    from seqgen.audio import io

    for pair in pairs:
        for kind, audio in (("reference", pair.reference), ("vocoded", pair.vocoded), ("griffin-lim", pair.baseline)):
            io.write(folder / f"{pair.utterance.id}.{kind}.wav", audio, rate)


def _table(
    result: dict[str, Any],
    exact: _Exact,
    ours: dict[str, Any],
    baseline: dict[str, Any],
) -> str:
    from seqgen.metrics.table import UNITS

    lines = [f"{result['utterances']} utterances, {result['samples']:,} samples, checkpoint {result['checkpoint']}"]
    for name, (value, spread, unit) in exact.means.items():
        interval = f" ± {spread:.3f}" if math.isfinite(spread) else ""
        lines.append(f"{name.replace('_', ' ')} {value:.3f}{interval}" + (f" {unit}" if unit else ""))
    lines += [f"{'':<34}{'voice':>18}{'Griffin–Lim':>18}"] if ours else []
    lines += [
        f"{f'{name} ({unit})':<34}{ours[name]!s:>18}{baseline[name]!s:>18}" for name, unit in UNITS.items() if ours
    ]
    return "\n".join(lines) + "\n"
