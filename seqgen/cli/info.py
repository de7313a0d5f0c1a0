"""``seqgen info``: what this installation is, or what a path holds."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

_HELP = """\
Tell what is installed, or what an experiment, a bundle or a configuration is.

  seqgen info                                   # versions, processor, registered names
  seqgen info voice/                            # a bundle: rate, features, state, licence, provenance
  seqgen info exp/fsdd --json                   # an experiment: configuration, digest, checkpoints, last metrics
"""
_PACKAGES = (
    "seqgen",
    "torch",
    "torchaudio",
    "numpy",
    "librosa",
    "soundfile",
    "onnx",
    "onnxruntime",
    "lightning-fabric",
)


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "info", help="what is here", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("path", type=Path, nargs="?", help="experiment, bundle or YAML file")
    command.add_argument("--json", action="store_true", help="print one object")
    command.set_defaults(run=run_info)


def run_info(given: argparse.Namespace) -> int:
    """Print what was found."""
    found = _installation() if given.path is None else _path(given.path)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    for key, value in found.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        sys.stdout.write(f"{key:<14} {', '.join(map(str, shown)) if isinstance(shown, list) else shown}\n")
    return 0


def _installation() -> dict[str, Any]:
    from seqgen import registry

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    tables = (
        registry.TASKS,
        registry.OBJECTIVES,
        registry.ESTIMATORS,
        registry.DENSITIES,
        registry.MODELS,
        registry.FLOWS,
        registry.CONDITIONERS,
        registry.DISTRIBUTIONS,
        registry.OPTIMISERS,
        registry.CODECS,
        registry.CORPORA,
        registry.RUNTIMES,
        registry.SYMBOL_RUNTIMES,
        registry.ENCODER_RUNTIMES,
    )
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": versions,
        **{table.kind: list(table) for table in tables},
    }


def _path(path: Path) -> dict[str, Any]:
    from seqgen.bundle import is_bundle
    from seqgen.errors import SeqgenError
    from seqgen.tasks.experiment import CONFIG

    if is_bundle(path):
        return _bundle(path)
    if (path / CONFIG).is_file():
        return _experiment(path)
    if path.exists() and not path.is_dir():
        return _config(path)
    raise SeqgenError(f"{path}: neither a bundle nor an experiment nor a file", remedy="check the path")


def _bundle(path: Path) -> dict[str, Any]:
    from seqgen.bundle import Bundle

    manifest = Bundle.open(path).manifest
    return {
        "bundle": manifest.name,
        "kind": manifest.kind,
        **manifest.described(),
        "state": {leaf.name: list(leaf.shape) for leaf in manifest.state},
        "licence": manifest.licence,
        "provenance": dict(manifest.provenance),
        "bytes": sum(entry.size for entry in manifest.files),
        "digest": manifest.digest,
    }


def _experiment(path: Path) -> dict[str, Any]:
    from seqgen.tasks.experiment import CONFIG, Experiment
    from seqgen.train.checkpoint import Checkpoints
    from seqgen.train.report import METRICS

    experiment = Experiment.open(path)
    return {
        **_config(path / CONFIG),
        "experiment": str(path),
        "speakers": list(experiment.facts.speakers),
        "examples": experiment.facts.examples,
        "checkpoints": Checkpoints(path).steps(),
        "last metrics": _last(path / METRICS),
    }


def _last(metrics: Path) -> dict[str, Any]:
    """The last whole line: a run that was killed may have left half a one."""
    lines = metrics.read_text(encoding="utf-8", errors="replace").splitlines() if metrics.is_file() else []
    for line in reversed(lines):
        try:
            found: dict[str, Any] = json.loads(line)
            return found
        except ValueError:
            continue
    return {}


def _config(path: Path) -> dict[str, Any]:
    from seqgen import config
    from seqgen.tasks.run import load

    run = load(path)
    return {
        "run": run.name,
        "digest": config.digest(run),
        "task": config.plain(run.task),
        "networks": config.plain(run.networks),
        "objective": config.plain(run.objective),
        "steps": run.train.steps,
    }
