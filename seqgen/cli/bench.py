"""``seqgen bench``: how fast a voice is generated and how fast it trains, measured here and now."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from seqgen import completion, presets
from seqgen.bundle import is_bundle, read_manifest
from seqgen.errors import SeqgenError
from seqgen.manifest import EncoderManifest, Manifest, SymbolManifest
from seqgen.presets import Preset, SymbolPreset
from seqgen.registry import RUNTIMES, Registry
from seqgen.runtime.native import FORMATS

_HELP = """\
Measure speed on this machine. Compare only figures of one run on one machine.

  seqgen bench voice/                                    # a bundle through the fastest runtime there is
  seqgen bench voice/ --runtime native --format int8     # of a voice that speaks also words that become phones
  seqgen bench voice/ --compare                          # native, onnxruntime and torch side by side
  seqgen bench --preset NAME --streams 8 --json          # random weights, no training needed
  seqgen bench --preset NAME --train                     # training: samples a second, share of a recurrence
  seqgen bench --preset NAME --train --compare           # the same beside torch, taking turns, with share of the peak

Presets, of 24 kHz; in any runtime where no other is said:
"""
_SYMBOLS = """
Language models and translators are measured in symbols and words; presets of these:
"""
_ENCODERS = """
Feature extractors are measured in frames; presets of these, of 16 kHz, for any runtime:
"""
MEASUREMENTS = Registry(
    "measurement",
    "measurements",
    {
        "generation": "seqgen.cli.bench_generation:measure",
        "engine": "seqgen.cli.bench_engine:measure",
        "recordings": "seqgen.cli.bench_torch:measure",
        "training": "seqgen.cli.bench_training:measure",
        "symbols": "seqgen.cli.bench_symbols:measure",
        "encoders": "seqgen.cli.bench_encoders:measure",
    },
)
"""Measurements: a preset names those that it has. Each is given the command line and the preset, and makes rows."""
ALONE = {"engine": ("native", "the native engine"), "recordings": ("torch", "torch")}
"""The one runtime that some measurements are of, and what a message calls it."""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "bench",
        help="measure speed",
        description=_HELP
        + presets.listing()
        + _SYMBOLS
        + presets.listing(presets.SYMBOL_TABLE)
        + _ENCODERS
        + presets.listing(presets.ENCODER_TABLE),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("bundle", type=Path, nargs="?")
    preset = command.add_argument("--preset", metavar="NAME", help="a network of random weights, see above")
    completion.offer(preset, [*presets.examples(), *presets.symbol_examples(), *presets.encoder_examples()])
    runtime = command.add_argument(
        "--runtime", default="", help="native, onnx or torch (default: the fastest there is)"
    )
    completion.offer(runtime, RUNTIMES)
    command.add_argument(
        "--format", default="", choices=FORMATS, help="weights of the native engine (default: the voice's)"
    )
    command.add_argument("--streams", type=int, default=1, help="streams stepped together")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--seconds", type=float, default=2.0, help="how long to measure")
    command.add_argument(
        "--compare",
        action="store_true",
        help="every runtime and weight format on the same voice; with --train kernels of engine and torch",
    )
    command.add_argument("--train", action="store_true", help="measure training instead of generation")
    command.add_argument("--compiled", action="store_true", help="with --train --compare: torch.compile too, a minute")
    command.add_argument("--batch", metavar="ROWSxSAMPLES", help="with --train: of a step, e.g. 8x1920")
    command.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"], help="with --train")
    command.add_argument("--json", action="store_true", help="print one object")
    command.set_defaults(run=run_bench)


def _batch(text: str) -> tuple[int, int]:
    """Rows and samples of a step."""
    rows, _, samples = text.partition("x")
    if not (rows.isdecimal() and samples.isdecimal() and int(rows) and int(samples)):
        raise SeqgenError(f"--batch {text} is none", remedy="give rows and samples, e.g. 8x1920")
    return int(rows), int(samples)


def run_bench(given: argparse.Namespace) -> int:
    """Measure and print."""
    rows = _encoders(given)
    if rows is None:
        rows = _symbols(given)
    if rows is None:
        preset = _preset(given)
        rows = MEASUREMENTS.load(_measurement(given, preset))(given, preset)
    if given.json:
        sys.stdout.write(json.dumps(rows if given.compare else rows[0]) + "\n")
    elif given.compare:
        _print_comparison(rows)
    else:
        sys.stdout.write("".join(f"{key:<20} {value}\n" for key, value in rows[0].items()))
    return 0


def _encoders(given: argparse.Namespace) -> list[dict[str, Any]] | None:
    """Rows of a feature extractor, a preset or a bundle; None for anything else."""
    preset = None if given.preset is None else presets.find_encoder(given.preset)
    if not _meant(given, preset, EncoderManifest):
        return None
    _require_sense(given)
    if given.train:
        raise SeqgenError("--train is not measured of a feature extractor", remedy="leave it out")
    made: list[dict[str, Any]] = MEASUREMENTS.load("encoders")(given, preset)
    return made


def _symbols(given: argparse.Namespace) -> list[dict[str, Any]] | None:
    """Rows of what makes symbols, a preset or a bundle; None where audio is made."""
    preset = None if given.preset is None else presets.find_symbols(given.preset)
    if not _meant(given, preset, SymbolManifest):
        return None
    _require_sense(given)
    if given.train:
        return _symbol_training(given, preset)
    if preset is not None and (given.runtime not in ("", "native") or given.format not in ("", preset.format)):
        raise SeqgenError(
            f"{preset.name} says how weights are held, in the native engine",
            remedy="leave --runtime and --format out; torch is measured beside it",
        )
    made: list[dict[str, Any]] = MEASUREMENTS.load("symbols")(given, preset)
    return made


def _symbol_training(given: argparse.Namespace, preset: SymbolPreset | None) -> list[dict[str, Any]]:
    """Rows of the training of what makes symbols."""
    if preset is None:
        raise SeqgenError("--train measures a preset", remedy="give --preset")
    if preset.encoder is not None:
        raise SeqgenError(
            f"--train is not measured of --preset {preset.name}, which reads a source",
            remedy="give a preset without one",
        )
    made: list[dict[str, Any]] = MEASUREMENTS.load("training")(given, preset)
    return made


def _meant(given: argparse.Namespace, preset: object, kind: type[Manifest]) -> bool:
    """Test of what is asked for: a preset that was found, or else a bundle of a kind."""
    if preset is not None or given.preset is not None or given.bundle is None:
        return preset is not None
    return is_bundle(given.bundle) and isinstance(read_manifest(given.bundle), kind)


def _require_sense(given: argparse.Namespace) -> None:
    """Refuse options that make no sense, whatever is measured."""
    if given.streams < 1 or given.threads < 1 or given.seconds <= 0:
        raise SeqgenError("--streams, --threads and --seconds must be positive", remedy="give at least 1")
    if given.format and given.runtime not in ("", "native"):
        raise SeqgenError(f"--format is for the native runtime, got --runtime {given.runtime}", remedy="leave one out")
    _require_training(given)


def _require_training(given: argparse.Namespace) -> None:
    """Refuse options of generation where training is measured, and the other way round."""
    for option in ("streams", "runtime", "format"):
        if given.train and getattr(given, option) not in ("", 1):
            raise SeqgenError(f"--{option} measures generation, got --train", remedy="leave one of them out")
    if given.precision != "32-true" and not given.train:
        raise SeqgenError(f"--precision {given.precision} is of training", remedy="give --train, or see --format")
    if given.compiled and not (given.train and given.compare):
        raise SeqgenError("--compiled is of a comparison of training", remedy="give --train --compare")
    if given.batch is not None:
        if not given.train:
            raise SeqgenError("--batch is of training", remedy="give --train, or see --streams")
        given.batch = _batch(given.batch)


def _preset(given: argparse.Namespace) -> Preset | None:
    """The preset asked for, that of a comparison of nothing named, or ``None`` for a bundle."""
    if (given.bundle is None) == (given.preset is None) and not (given.compare and given.bundle is None):
        remedy = f"e.g. seqgen bench --preset {presets.DEFAULT}"
        raise SeqgenError("bench needs either a bundle or --preset", remedy=remedy)
    _require_sense(given)
    return presets.find(given.preset or presets.DEFAULT) if given.bundle is None else None


def _measurement(given: argparse.Namespace, preset: Preset | None) -> str:
    """The row of the table that is asked for.

    Raises:
        SeqgenError: where the voice has none of that kind, or an option has no use in it.
    """
    if not given.train:
        chosen = preset.measured[0] if preset is not None else "generation"
    elif preset is None:
        raise SeqgenError("--train measures a preset", remedy="give --preset")
    elif "training" in preset.measured:
        chosen = "training"
    else:
        known = ", ".join(name for name in presets.examples() if "training" in presets.find(name).measured)
        raise SeqgenError(f"--train is not measured of --preset {preset.name}", remedy=f"known: {known}")
    if given.compare and (chosen not in ("generation", "training") or given.runtime or given.format):
        raise SeqgenError(
            "--compare chooses runtimes and formats itself", remedy="give a bundle, or a preset of every runtime, alone"
        )
    if preset is not None and chosen in ALONE:
        _require_alone(given, preset, *ALONE[chosen])
    return chosen


def _require_alone(given: argparse.Namespace, preset: Preset, runtime: str, called: str) -> None:
    """Refuse another runtime or format than the one that a preset has."""
    if given.runtime not in ("", runtime):
        raise SeqgenError(
            f"{preset.name} is a preset of {called} alone, got --runtime {given.runtime}",
            remedy=f"--preset {preset.everywhere} is for every runtime",
        )
    if given.format not in ("", preset.format):
        raise SeqgenError(
            f"{preset.name} says how weights are held, got --format {given.format}", remedy="leave --format out"
        )


def _print_training(rows: list[dict[str, Any]]) -> None:
    """Table of a training's speed by kernels of engine and torch, with its products a second against torch's of large
    matrices."""
    names = ("samples_per_second", "gflops", "share_of_peak")
    slowest, wide = min(row[names[0]] for row in rows), max(len(row["preset"]) for row in rows) + 2
    sys.stdout.write(
        f"{'voice':<{wide}}{'kernels':<9}{'precision':<12}{'threads':>7}{'samples/s':>11}{'times':>7}"
        f"{'outside recurrence':>20}{'GFLOP/s':>9}{'of peak':>9}\n"
    )
    for row in rows:
        rate, work, share = (row[name] for name in names)
        beside = f"{row['outside_recurrence']:.0%}" if "outside_recurrence" in row else "–"
        sys.stdout.write(
            f"{row['preset']:<{wide}}{row['runtime']:<9}{row['precision']:<12}{row['threads']:>7}{rate:>11,}"
            f"{rate / slowest:>7.2f}{beside:>20}{work:>9.1f}{share:>9.0%}\n"
        )


def _print_comparison(rows: list[dict[str, Any]]) -> None:
    """A table with the fastest row's speed as the measure of the others."""
    if "step_seconds" in rows[0]:
        _print_training(rows)
        return
    unit = next(one for one in ("symbols", "frames", "samples") if f"{one}_per_second" in rows[0])
    rate, beside = f"{unit}_per_second", "step_us_p50" if unit == "symbols" else "x_real_time"
    best = max(row[rate] for row in rows)
    wide = max(len(row["preset"]) for row in rows) + 2
    sys.stdout.write(
        f"{'model' if unit == 'symbols' else 'voice':<{wide}}{'runtime':<9}{'weights':<9}{'kernels':<9}"
        f"{f'{unit}/s':>11}{'µs a step' if unit == 'symbols' else 'x real time':>13}{'slower by':>11}\n"
    )
    for row in rows:
        shares = f"{row[rate]:>11,}{row[beside]:>13.2f}{best / row[rate]:>11.1f}"
        sys.stdout.write(f"{row['preset']:<{wide}}{row['runtime']:<9}{row['format']:<9}{row['isa']:<9}{shares}\n")
