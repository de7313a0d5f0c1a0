"""Many threads on one model, which is then closed under them, and on one sequence; `make sanitize` runs both under its
sanitizers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqgen.runtime.native_library import library_path
from tests.engine import programs, symbols
from tests.engine.programs import Shape


@pytest.fixture(scope="module", params=["threads"])
def program(request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program beside this file, compiled."""
    name = str(request.param)
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or sys.platform == "win32":
        pytest.skip("no C++ compiler")
    library, program = library_path().resolve(), tmp_path_factory.mktemp("programs") / name
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread"]
    command += [f"-I{repository / 'seqgen' / 'engine' / 'include'}"]
    command += [str(repository / "tests" / "engine" / f"{name}.cpp"), str(library), f"-Wl,-rpath,{library.parent}"]
    subprocess.run([*command, "-o", str(program)], check=True, timeout=240)
    return program


def voice(where: Path, precision: str) -> Path:
    shape = Shape(hidden=34, hop=4, latency=6)
    return programs.write(where, programs.program(shape) | {"precision": precision}, programs.tensors(shape))


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["voice", "recurrent", "rectified", "padded"])
def test_threads_share_a_model_that_is_then_closed(kind: str, precision: str, program: Path, tmp_path: Path) -> None:
    where = voice(tmp_path, precision) if kind == "voice" else symbols.write_kind(kind, tmp_path, precision)
    done = subprocess.run([program, where, "4"], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "threads: as one\n"


@pytest.mark.parametrize("program", ["training"], indirect=True)
def test_rows_of_training_are_shared_out(program: Path, sets: list[str]) -> None:
    done = subprocess.run([program, *sets], capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{252 * (1 + len(sets))} runs by several threads, the bits of one\n"
