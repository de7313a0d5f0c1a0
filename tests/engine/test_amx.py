"""The kernels for AMX, of which this machine need have nothing: their tiles are emulated."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine
from tests.engine import programs
from tests.engine.programs import Shape

AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mfma"]


def test_products_by_tiles_have_the_bits_of_the_plain_loops(repository: Path, tmp_path: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("no C++ compiler, or this is another kind of machine")
    engine, tests = repository / "seqgen" / "engine", repository / "tests" / "engine"
    command = [compiler, "-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c"]
    command += [f"-I{engine}", f"-I{engine / 'include'}", f"-I{tests}"]
    tiles = ['-DSEQGEN_TILES="tiles_emulated.hpp"']
    kernels = engine / "kernels"
    for source, options in {
        tests / "amx.cpp": [], kernels / "pack.cpp": [], kernels / "generic.cpp": [],
        kernels / "avx512.cpp": [*AVX512, "-w"], kernels / "avx512_bf16.cpp": [], kernels / "amx.cpp": tiles,
    }.items():  # fmt: skip
        made = tmp_path / f"{source.parent.name}-{source.stem}.o"
        subprocess.run([*command, *options, str(source), "-o", str(made)], check=True, timeout=240)
    subprocess.run([compiler, *map(str, tmp_path.glob("*.o")), "-o", str(tmp_path / "amx")], check=True, timeout=60)
    done = subprocess.run([tmp_path / "amx"], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    if done.stdout == "needs AVX-512\n":
        pytest.skip("the other kernels of this set are those of AVX-512")
    found = re.fullmatch(r"amx: 960 products, (\d+) of them by tiles, the same bits\n", done.stdout)
    assert found is not None
    assert int(found[1]) > 400


def test_a_processor_without_tiles_does_without(tmp_path: Path) -> None:
    shape = Shape()
    where = programs.write(tmp_path, programs.program(shape), programs.tensors(shape))
    if "amx_int8" in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has tiles")
    assert Engine(where).info.isa.decode() != "amx"
    with pytest.raises(SeqgenError, match=r"instruction set 'amx' cannot be used; known: amx \(not here\)"):
        Engine(where, isa="amx")
