"""Imports point down the house's list only, and the torch-free face stays free of torch."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# From bottom to top; a module may import its own row and the rows below. A new folder gets its row here.
LAYERS = (
    (
        "config",
        "completion",
        "spec",
        "manifest",
        "bundle",
        "noise",
        "errors",
        "registry",
        "presets",
        "files",
        "command",
    ),
    ("audio", "text", "data", "pictures", "runtime"),
    ("stream",),
    ("nets",),
    ("models", "flows", "distributions", "graphical"),
    ("generation",),
    ("latents",),
    ("variational",),
    ("objectives", "optim", "regularisers", "estimators", "analysis", "metrics", "compression"),
    ("train",),
    ("export",),
    ("tasks",),
    ("cli", "features", "serving", "egs", "tests", "tools"),
)
RANKS = {piece: rank for rank, row in enumerate(LAYERS) for piece in row}
SERVING_MAY_IMPORT = frozenset(
    {
        "completion",
        "files",
        "command",
        "runtime",
        "audio",
        "text",
        "bundle",
        "manifest",
        "spec",
        "noise",
        "errors",
        "presets",
    }
)
TORCHAUDIO_LIVES_IN = "seqgen/audio/torchaudio_bridge.py"
HEAVY = ("torch", "torchaudio", "librosa", "lightning_fabric")
OWN = ("seqgen", "serving", "tools", "tests", "egs")

Arrow = tuple[int, str]


def module_name(path: str) -> str:
    """Dotted name of a file: ``seqgen/nets/__init__.py`` is ``seqgen.nets``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def arrows(path: str, text: str) -> Iterator[Arrow]:
    """Line and full dotted name of everything a file imports, late and relative imports included."""
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def piece(name: str) -> str:
    """The row entry a dotted name belongs to: ``seqgen.nets.gru`` is in ``nets``, ``serving.app`` in ``serving``."""
    parts = name.split(".")
    return parts[1] if parts[0] == "seqgen" and len(parts) > 1 else parts[0]


def rank(name: str) -> int | None:
    """How high a module of this repository stands; None for a piece without a row."""
    return RANKS.get(piece(name))


def breaches(path: str, text: str) -> list[str]:
    """What a file imports against the rules, one line each."""
    source = module_name(path)
    here = rank(source)
    if source != "seqgen" and here is None:
        return [f"{path}:1: '{piece(source)}' stands in no row of LAYERS; give it one"]
    found = []
    for line, target in arrows(path, text):
        top = target.split(".")[0]
        there = rank(target) if top in OWN else None
        if top in OWN and target != "seqgen" and there is None:
            found.append(f"{path}:{line}: imports {target}, which stands in no row of LAYERS")
        elif there is not None and here is not None and there > here:
            found.append(f"{path}:{line}: {source} imports {target}, which stands above it")
        elif piece(source) == "serving" and top == "seqgen" and piece(target) not in SERVING_MAY_IMPORT:
            found.append(f"{path}:{line}: serving imports {target}; it may use {', '.join(sorted(SERVING_MAY_IMPORT))}")
        elif top == "torchaudio" and path != TORCHAUDIO_LIVES_IN:
            found.append(f"{path}:{line}: imports torchaudio; only {TORCHAUDIO_LIVES_IN} does")
    return found


def library_files(repository: Path) -> list[str]:
    found = [path for folder in ("seqgen", "serving") for path in (repository / folder).rglob("*.py")]
    return sorted(path.relative_to(repository).as_posix() for path in found)


def test_arrows_point_down(repository: Path) -> None:
    found = [line for path in library_files(repository) for line in breaches(path, (repository / path).read_text())]
    assert not found, "\n" + "\n".join(found)


def test_no_two_pieces_import_each_other(repository: Path) -> None:
    uses: dict[str, dict[str, str]] = {}
    for path in library_files(repository):
        source = module_name(path)
        for line, target in arrows(path, (repository / path).read_text()):
            if target.split(".")[0] in ("seqgen", "serving"):
                uses.setdefault(piece(source), {}).setdefault(piece(target), f"{path}:{line}")
    mutual = [
        f"{place}: {one} imports {other}, and {uses[other][one]}: {other} imports {one}"
        for one, others in uses.items()
        for other, place in others.items()
        if one < other and one in uses.get(other, {})
    ]
    assert not mutual, "\n" + "\n".join(mutual)


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("seqgen/nets/gru.py", "from seqgen.models.wavernn import WaveRNN", "stands above"),
        ("seqgen/nets/gru.py", "from ..models import wavernn", "stands above"),
        ("seqgen/nets/gru.py", "def f():\n    import seqgen.train.loop", "stands above"),
        ("seqgen/stream/verify.py", "from seqgen import generation", "stands above"),
        ("seqgen/noise.py", "from seqgen.audio import io", "stands above"),
        ("seqgen/cli/main.py", "import seqgen.newcomer", "no row"),
        ("seqgen/newcomer/a.py", "", "no row"),
        ("seqgen/runtime/onnx.py", "from seqgen.generation.autoregressive import AutoRegressive", "stands above"),
        ("seqgen/runtime/onnx.py", "from seqgen.tasks.vocoder.runtime import TorchRuntime", "stands above"),
        ("seqgen/runtime/onnx.py", "from ..tasks.vocoder.runtime import TorchRuntime", "stands above"),
        ("seqgen/runtime/onnx.py", "from seqgen.stream.state import leaves", "stands above"),
        ("seqgen/generation/contract.py", "from seqgen.objectives.contract import Loss", "stands above"),
        ("seqgen/objectives/verify.py", "from seqgen.train.batch import rows", "stands above"),
        ("seqgen/train/loop.py", "from seqgen.tasks.contract import Task", "stands above"),
        ("seqgen/train/loop.py", "from seqgen.export import voice", "stands above"),
        ("seqgen/export/voice.py", "from seqgen.tasks.vocoder.runtime import TorchRuntime", "stands above"),
        ("seqgen/tasks/experiment.py", "from seqgen.cli.opened import opened", "stands above"),
        ("seqgen/export/onnx.py", "import serving.app", "stands above"),
        ("serving/app.py", "from seqgen.config import load", "serving imports"),
        ("serving/app.py", "from seqgen import config", "serving imports"),
        ("serving/app.py", "from seqgen.cli.main import main", "serving imports"),
        ("serving/app.py", "from seqgen.nets import gru", "serving imports"),
        ("seqgen/audio/io.py", "import torchaudio.functional", "only seqgen/audio/torchaudio_bridge.py"),
    ],
)
def test_a_wrong_arrow_is_seen(path: str, text: str, reason: str) -> None:
    found = breaches(path, text)
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("seqgen/models/wavernn.py", "from seqgen.nets import gru\nfrom seqgen.distributions import categorical"),
        ("seqgen/data/loader.py", "from seqgen.audio import io\nimport torch"),
        ("seqgen/objectives/likelihood.py", "from seqgen.generation.contract import Density"),
        ("seqgen/tasks/vocoder/runtime.py", "from seqgen.generation import vocoder\nimport seqgen.export.voice"),
        ("seqgen/cli/train.py", "from seqgen.tasks import experiment\nfrom seqgen.train.loop import train"),
        ("seqgen/audio/torchaudio_bridge.py", "import torchaudio"),
        ("serving/app.py", "from seqgen import runtime\nfrom seqgen.audio.io import pcm16\nimport serving.protocol"),
        ("seqgen/nets/gru.py", "from .mask import causal\nfrom seqgen.stream.contract import Streamable"),
    ],
)
def test_a_right_arrow_is_not_seen(path: str, text: str) -> None:
    assert breaches(path, text) == []


def torch_free(repository: Path) -> dict[str, list[str]]:
    """Each pattern of ``[tool.seqgen] torch-free`` in pyproject.toml with the modules it names."""
    table: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["seqgen"]
    without = set(table["torch-free-except"])
    return {
        pattern: [
            module_name(path)
            for path in sorted(found.relative_to(repository).as_posix() for found in repository.glob(pattern))
            if path not in without
        ]
        for pattern in table["torch-free"]
    }


def test_every_torch_free_pattern_names_a_module(repository: Path) -> None:
    """A renamed module must not drop out of the list unseen, nor must one that is excepted from it."""
    assert [pattern for pattern, names in torch_free(repository).items() if not names] == []
    table = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["seqgen"]
    assert [path for path in table["torch-free-except"] if not (repository / path).is_file()] == []


def test_torch_free_modules_load_nothing_heavy(repository: Path) -> None:
    """Each module alone in a process forked from an interpreter that knows none of ours, so that one import cannot hide
    another's; what many take from elsewhere is there before."""
    names = sorted({name for found in torch_free(repository).values() for name in found})
    program = textwrap.dedent(
        """
        import importlib, json, os, sys
        import numpy, soundfile, starlette.applications, uvicorn, websockets, yaml
        assert not set(sys.argv[2:]) & sys.modules.keys()
        for name in json.loads(sys.argv[1]):
            assert not any(module.split(".")[0] in ("seqgen", "serving") for module in sys.modules)
            if (child := os.fork()) == 0:
                importlib.import_module(name)
                print(json.dumps([name, [library for library in sys.argv[2:] if library in sys.modules]]), flush=True)
                os._exit(0)
            if os.waitpid(child, 0)[1] != 0:
                sys.exit(f"{name} cannot be imported alone")
        """
    )
    command = [sys.executable, "-c", program, json.dumps(names), *HEAVY]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert dict(map(json.loads, done.stdout.splitlines())) == {name: [] for name in names}
