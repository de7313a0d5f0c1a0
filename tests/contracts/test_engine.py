"""The engine's house: folders in one order, and kinds of body that nobody but ``bodies/`` knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDERS = ("program", "kernels", "layers", "call", "training", "bodies", "session")
"""From the lowest to the highest: a file includes those of its own folder and of folders before it."""
FACE = {"bodies/body.hpp", "bodies/table.hpp"}
"""All that others may include of the bodies."""
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
ROW = re.compile(r'\{"([\w-]+)", "[\w-]+", (?:true|false), make_(\w+)\}')
OF_THE_INTERFACE = {"lanes"}
"""An op's name that seqgen_engine.h uses for a property of every model."""


@pytest.fixture(scope="module")
def sources(repository: Path) -> dict[str, str]:
    """Every C++ file of the engine by its path below the engine's folder."""
    engine = repository / "seqgen" / "engine"
    found = {path.relative_to(engine).as_posix(): path for path in sorted(engine.rglob("*.?pp"))}
    assert len(found) > 40
    return {name: path.read_text(encoding="utf-8") for name, path in found.items()}


@pytest.fixture(scope="module")
def kinds(sources: dict[str, str]) -> dict[str, str]:
    """Ops of the table of bodies and the functions that make them."""
    rows = dict(ROW.findall(sources["bodies/table.cpp"]))
    assert {"wavernn", "wavenet"} <= rows.keys()
    return rows


def folder(name: str) -> str:
    return name.split("/", maxsplit=1)[0]


def test_includes_point_down(sources: dict[str, str]) -> None:
    assert {folder(name) for name in sources} == set(FOLDERS)
    upward = [
        f"{name}: {other}"
        for name, text in sources.items()
        for other in INCLUDE.findall(text)
        if "/" in other and FOLDERS.index(folder(other)) > FOLDERS.index(folder(name))
    ]
    assert upward == []


def test_others_include_no_kind_of_body(sources: dict[str, str]) -> None:
    known = {
        f"{name}: {other}"
        for name, text in sources.items()
        if folder(name) != "bodies"
        for other in INCLUDE.findall(text)
        if folder(other) == "bodies" and other not in FACE
    }
    assert known == set()


def mentions(words: set[str], text: str) -> set[str]:
    """Words that a text has, however they are written: ``parallel-wavenet`` is ``ParallelWaveNet`` too."""
    plain = re.sub(r"[-_ ]", "", text).lower()
    return {word for word in words if re.sub(r"[-_ ]", "", word).lower() in plain}


def test_no_other_file_names_a_kind_of_body(sources: dict[str, str], kinds: dict[str, str]) -> None:
    """Neither in code nor in comments: so no branch on the kind, and nothing to change for one more."""
    words = (set(kinds) | set(kinds.values())) - OF_THE_INTERFACE
    assert "subscale" in words
    assert mentions(words, "if (model.stack) ParallelWaveNet") == {"parallel-wavenet", "parallel_wavenet", "wavenet"}
    named = {name: found for name, text in sources.items()
             if folder(name) != "bodies" and (found := mentions(words, text))}  # fmt: skip
    assert named == {}


def test_each_row_is_made_by_one_file(sources: dict[str, str], kinds: dict[str, str]) -> None:
    """That file has the whole contract, and the build knows it."""
    for op, made in kinds.items():
        head = re.compile(rf"^std::unique_ptr<Body> make_{made}\([^)]*\) \{{", re.MULTILINE)
        places = [name for name, text in sources.items() if head.search(text)]
        assert places == [f"bodies/{made}_body.cpp"], op
        for method in ("load", "save", "enter", "advance", "draw"):
            assert re.search(rf"\b{method}\(BodyCall& \w+[^)]*\) const", sources[places[0]]), f"{op}: {method}"


def test_the_build_has_every_file(repository: Path, sources: dict[str, str]) -> None:
    listed = re.findall(r"[\w/]+\.cpp", (repository / "seqgen/engine/CMakeLists.txt").read_text(encoding="utf-8"))
    assert set(listed) == {name for name in sources if name.endswith(".cpp")}
