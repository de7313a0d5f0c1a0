"""The server's folders: few, small, in one order; no circle among its modules, and no training library in reach."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.test_imports import HEAVY, arrows, module_name

# From bottom to top; a module may import its own place and those below. A new folder gets its place here.
ORDER = (
    "logs",
    "first_process",
    "sound",
    "streams",
    "voices",
    "scheduling",
    "workers",
    "http",
    "completions",
    "speech",
    "websocket",
    "edge",
    "connections",
    "app",
    "reload",
    "ray_app",
    "client",
    "cli",
)
# Modules in no folder: how every process logs and what the first one of a container does, which are below all else, and
# what puts the folders together.
OUTSIDE = ("logs", "first_process", "app", "reload", "ray_app")
FOLDERS = tuple(name for name in ORDER if name not in OUTSIDE)
MOST_FOLDERS, MOST_FILES = 13, 9


def python_files(repository: Path) -> list[str]:
    return sorted(path.relative_to(repository).as_posix() for path in (repository / "serving").rglob("*.py"))


def place(name: str) -> str:
    """Folder or top-level module of a dotted name: ``sound`` of ``serving.sound.ogg.checksum``."""
    return name.split(".")[1] if name.startswith("serving.") else ""


def upward(path: str, text: str) -> list[str]:
    """What a file imports from above its own folder, one line each."""
    here = place(module_name(path))
    if here and here not in ORDER:
        return [f"{path}:1: '{here}' stands in no order; give it its place in ORDER"]
    found = []
    for line, target in arrows(path, text):
        there = place(target)
        if there and there not in ORDER:
            found.append(f"{path}:{line}: imports {target}, which stands in no order")
        elif there and ORDER.index(there) > ORDER.index(here):
            found.append(f"{path}:{line}: {here} imports {target}, which stands above it")
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, the first again at the end; none where there is no ring."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if found := visit(other, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def modules(repository: Path) -> dict[str, set[str]]:
    """Each module of the server with those it imports, late and for types included."""
    files = python_files(repository)
    names = {module_name(path) for path in files}
    graph = {}
    for path in files:
        targets = [target for _, target in arrows(path, (repository / path).read_text())]
        near = {name for target in targets for name in (target, target.rpartition(".")[0]) if name in names}
        graph[module_name(path)] = near - {module_name(path)}
    return graph


def test_there_are_few_folders_with_few_files(repository: Path) -> None:
    sizes: dict[str, int] = {}
    for path in python_files(repository):
        folder = "/".join(path.split("/")[1:-1])
        sizes[folder] = sizes.get(folder, 0) + 1
    assert set(sizes) == {"", *FOLDERS}, "a folder in serving/ has no place in ORDER, or the other way round"
    assert len(FOLDERS) <= MOST_FOLDERS
    assert {folder: size for folder, size in sizes.items() if size > MOST_FILES} == {}


def test_only_what_belongs_in_no_folder_stands_outside(repository: Path) -> None:
    outside = {path.stem for path in (repository / "serving").glob("*.py")}
    assert outside == {"__init__", *OUTSIDE}


def test_arrows_between_folders_point_down(repository: Path) -> None:
    found = [line for path in python_files(repository) for line in upward(path, (repository / path).read_text())]
    assert not found, "\n" + "\n".join(found)


def test_no_modules_import_each_other_in_a_ring(repository: Path) -> None:
    assert " -> ".join(circle(modules(repository))) == ""


def test_importing_all_of_it_loads_no_training_library(repository: Path) -> None:
    names = [module_name(path) for path in python_files(repository)]
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps([name for name in json.loads(sys.argv[2]) if name in sys.modules]))"
    )
    command = [sys.executable, "-c", program, json.dumps(names), json.dumps(HEAVY)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("serving/sound/opus.py", "from serving.streams.vocoder import StreamingVocoder", "stands above"),
        ("serving/sound/opus.py", "def f():\n    from serving import app", "stands above"),
        ("serving/http/vocode.py", "from ..websocket import protocol", "stands above"),
        ("serving/workers/pool.py", "if TYPE_CHECKING:\n    import serving.http.metrics", "stands above"),
        ("serving/logs.py", "from serving.sound import ogg", "stands above"),
        ("serving/app.py", "from serving.cli.options import port", "stands above"),
        ("serving/cli/serve.py", "from serving.newcomer import a", "no order"),
        ("serving/newcomer/a.py", "", "no order"),
    ],
)
def test_a_wrong_arrow_is_seen(path: str, text: str, reason: str) -> None:
    found = upward(path, text)
    assert len(found) == 1
    assert reason in found[0]


def test_a_right_arrow_is_not_seen() -> None:
    text = "from serving.sound import ogg\nfrom serving.http.protocol import HttpError\nimport serving.app\nimport json"
    assert upward("serving/cli/serve.py", text) == []
    assert upward("serving/sound/opus.py", "from serving.sound.encoders import Encoder\nfrom serving import logs") == []


def test_a_ring_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
