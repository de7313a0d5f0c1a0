"""The name of an architecture or a method stands where it lives: in its own file, the table of its row, the table of
presets, the file of its export; in tests and recipes; and nowhere else."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from seqgen import registry
from seqgen.registry import Registry

TABLES = (registry.MODELS, registry.FLOWS, registry.DENSITIES, registry.OBJECTIVES)
# Names that are words of the language too: they are looked for where code imports them, not in sentences.
WORDS = frozenset({"actual", "autoregressive", "classification", "completion", "encoder-decoder", "evidence",
                   "factorised", "flow", "independent", "information", "likelihood", "parallel", "perceptron",
                   "recurrent", "resonance", "transformer"})  # fmt: skip
# Densities that are no architecture but the mechanism that architectures are bodies of: methods are written for one.
MECHANISMS = frozenset({"autoregressive", "encoder-decoder", "parallel"})
# The tables of rows and of presets, and the bodies of the engine, which are built on each other.
EVERYWHERE = ("seqgen/registry.py", "seqgen/presets.py", "seqgen/engine/bodies/")
# A file in one of these folders that bears a name is the name's own: the class, what is built on it, its export.
HOMES = ("seqgen/models/", "seqgen/flows/", "seqgen/generation/", "seqgen/objectives/", "seqgen/export/",
         "seqgen/tasks/", "seqgen/runtime/random_", "tools/bench_")  # fmt: skip
FOLDERS = {"seqgen": ("*.py", "*.cpp", "*.hpp", "*.h"), "serving": ("*.py",), "tools": ("*.py",)}


class Name(NamedTuple):
    """A registered name and where its class lives."""

    name: str
    module: str
    kind: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """The name in any spelling: wavenet-context, WaveNet context, ``wavenet_context``."""
        return re.compile(r"[-_ ]?".join(map(re.escape, self.name.split("-"))), re.IGNORECASE)

    def may_stand_in(self, path: str) -> bool:
        """Whether a file is one of the name's own."""
        if path.startswith((*EVERYWHERE, self.folder)):
            return True
        bears = plain(self.name) in plain(path.rpartition("/")[2])
        return bears and path.startswith(HOMES)

    @property
    def folder(self) -> str:
        """The module's file, or the folder of a class that has one to itself."""
        path = self.module.replace(".", "/")
        above, _, _ = path.rpartition("/")
        return f"{above}/" if plain(self.name) == plain(above.rpartition("/")[2]) else f"{path}.py"


def plain(text: str) -> str:
    return re.sub(r"[-_ ]", "", text).lower()


@functools.cache
def names() -> list[Name]:
    return [Name(name, *place.split(":")) for table in TABLES for name, place in _rows(table).items()]


def _rows(table: Registry) -> dict[str, str]:
    """The rows of this repository; installed packages have names of their own."""
    return {name: place for name, place in table.items() if place.startswith("seqgen.")}


def imported(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of everything that a file imports from modules."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)


def offences(path: str, text: str) -> list[str]:
    """Names that a file has no business with, one line each."""
    found = []
    arrows = list(imported(text)) if path.endswith(".py") else []
    for one in names():
        if one.may_stand_in(path):
            continue
        if one.name not in WORDS:
            lines = (number for number, line in enumerate(text.splitlines(), 1) if one.pattern.search(line))
            found += [f"{path}:{number}: says {one.name}" for number in lines]
        elif one.name not in MECHANISMS:
            found += [
                f"{path}:{line}: imports {one.kind}"
                for line, module, name in arrows
                if module == one.module or f"{module}.{name}" == one.module
            ]
    return found


def test_names_stand_where_they_live(repository: Path) -> None:
    files = (path for folder, kinds in FOLDERS.items() for kind in kinds for path in (repository / folder).rglob(kind))
    found = [
        line
        for path in sorted(files)
        for line in offences(path.relative_to(repository).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)


def test_words_and_mechanisms_are_registered() -> None:
    """A row that is gone must not leave its exemption behind."""
    assert {one.name for one in names()} >= WORDS >= MECHANISMS


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("seqgen/train/loop.py", "from seqgen.models.wavenet import WaveNet", "says wavenet"),
        ("seqgen/export/program.py", '"""Runs WaveRNNs."""', "says wavernn"),
        ("seqgen/cli/train.py", "# of parallel WaveNets", "says wavenet"),
        ("serving/app.py", "kind = 'WaveRNN-896'", "says wavernn"),
        ("seqgen/generation/contract.py", "# in subscale order", "says subscale"),
        ("seqgen/tasks/text/task.py", "from seqgen.models.recurrent import Recurrent", "imports Recurrent"),
        ("seqgen/tasks/contract.py", "from seqgen.models import recurrent", "imports Recurrent"),
        ("seqgen/export/wavernn.py", "from seqgen.models.wavenet import WaveNet", "says wavenet"),
        ("tools/gate.py", "RUNS = ('distillation',)", "says distillation"),
        ("seqgen/engine/session/session.cpp", "// a WaveNet", "says wavenet"),
    ],
)
def test_a_name_elsewhere_is_seen(path: str, text: str, said: str) -> None:
    assert any(said in line for line in offences(path, text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("seqgen/models/wavenet.py", '"""WaveNet."""'),
        ("seqgen/models/parallel_wavenet.py", "from seqgen.models.wavenet import WaveNet"),
        ("seqgen/registry.py", 'ROWS = {"wavernn": "seqgen.models.wavernn:WaveRNN"}'),
        ("seqgen/export/wavernn.py", "from seqgen.models.wavernn import WaveRNN"),
        ("seqgen/generation/subscale/stagger.py", '"""Subscale."""'),
        ("seqgen/objectives/distillation_terms.py", '"""Distillation."""'),
        ("seqgen/noise.py", '"""Parallel random numbers, drawn in parallel for recurrent models."""'),
        ("seqgen/engine/bodies/wavenet_body.cpp", "// a WaveNet"),
    ],
)
def test_a_name_at_home_is_not_seen(path: str, text: str) -> None:
    assert offences(path, text) == []
