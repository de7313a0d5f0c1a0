"""What loading a bundle may take: memory in proportion to its files, whatever their headers claim; mutated bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime import native_library
from seqgen.runtime.native import Engine
from seqgen.runtime.native_library import library_path, load_library
from tests.engine import programs
from tests.engine.fuzz import seeds
from tests.engine.programs import Array, Shape

# The address space that is left when the engine is loaded: sixteen files' worth of a bundle of some hundred kB.
ROOM = 96 << 20
LOAD = f"""
import resource, sys
from pathlib import Path
from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine
from seqgen.runtime.native_library import library_path, load_library
load_library(library_path())
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {ROOM},) * 2)
try:
    Engine(Path(sys.argv[1]))
except SeqgenError as error:
    print(error)
"""
Spoil = Callable[[dict[str, object], dict[str, Array]], object]


def test_an_engine_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_library, "_ABI", 0)
    with pytest.raises(SeqgenError, match=r"built of other sources: .* version [1-9]\d*, expected 0; pip install"):
        load_library(library_path())


def wide_values(document: dict[str, object], weights: dict[str, Array]) -> None:
    """4,000 sums of a value of 65,536 numbers: a gigabyte a stream."""
    document["channels"] = 65536
    ops = [{"op": "add", "in": "features", "and": "features", "out": f"v{k}"} for k in range(4000)]
    document["ops"] = ops


def one_tensor_for_all(document: dict[str, object], weights: dict[str, Array]) -> None:
    """2,000 layers that name one matrix of 256 kB."""
    document["channels"] = 256
    weights["square"] = np.zeros((256, 256), np.float32)
    names = ["features", *(f"v{k}" for k in range(2000))]
    document["ops"] = [{"op": "dense", "in": a, "out": b, "weight": "square"} for a, b in pairwise(names)]


def long_memory(document: dict[str, object], weights: dict[str, Array]) -> None:
    """A synthesis filter that keeps the coefficients of four million frames."""
    document["latency"] = document["hop"] = 1
    made, tensors = seeds.prediction()
    document.update(made, hop=1, latency=1 << 22)
    next(op for op in made["ops"] if op["op"] == "interpolate")["up"] = 1
    weights.clear()
    weights.update(tensors)


ABSURD: dict[str, tuple[Spoil, str]] = {
    "wide values": (wide_values, "more than 1048576 numbers a frame"),
    "one tensor for all": (one_tensor_for_all, "more than 16 times over"),
    "a long memory": (long_memory, "a stream's state is larger than 16 MiB"),
}


def load_in_little_memory(where: Path) -> str:
    done = subprocess.run([sys.executable, "-c", LOAD, str(where)], capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_take_no_memory(name: str, tmp_path: Path) -> None:
    shape = Shape(hidden=2, channels=2, width=1, taps=2, hop=2, latency=1)
    document, weights = programs.program(shape), programs.tensors(shape)
    spoil, words = ABSURD[name]
    spoil(document, weights)
    assert words in load_in_little_memory(programs.write(tmp_path, document, weights))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_absurd_headers_take_no_memory(tmp_path: Path) -> None:
    where = programs.write(tmp_path, programs.program(Shape()), programs.tensors(Shape()))
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}).encode()
    (where / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    assert "larger than the file" in load_in_little_memory(where)


@pytest.mark.parametrize("name", seeds.seeds())
def test_the_kept_seeds_load(name: str, repository: Path, tmp_path: Path) -> None:
    """A corpus of inputs that are refused at their first byte would find nothing."""
    kept = (repository / "tests" / "engine" / "fuzz" / "corpus" / name).read_bytes()
    assert kept == seeds.seeds()[name], "write the corpus again: see tests/engine/fuzz/seeds.py"
    cut = 3 + int.from_bytes(kept[1:3], "little")
    (tmp_path / "program.json").write_bytes(kept[3:cut])
    (tmp_path / "weights.safetensors").write_bytes(kept[cut:])
    assert Engine(tmp_path).info.hop >= 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_mutated_bundles_load_or_say_why_not(repository: Path, tmp_path: Path) -> None:
    """`make fuzz` in small: no sanitizer, the same 4,000 changes every time."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder, library = repository / "tests" / "engine" / "fuzz", library_path().resolve()
    include = repository / "seqgen" / "engine" / "include"
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", f"-I{include}", str(folder / "load.cpp")]
    command += [str(folder / "driver.cpp"), str(library), f"-Wl,-rpath,{library.parent}", "-o", str(tmp_path / "fuzz")]
    subprocess.run(command, check=True, timeout=240)
    done = subprocess.run([tmp_path / "fuzz", folder / "corpus", "4000", "7"], capture_output=True, text=True,
                          timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4000 changed ones" in done.stdout


def test_a_model_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "program.json").write_bytes(b"{}")
    with pytest.raises(SeqgenError, match="'format' is missing"):
        Engine(tmp_path)
