"""Fixtures of the engine's tests; all are skipped where the engine is not built."""

from __future__ import annotations

import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine
from seqgen.runtime.native_library import library_path, load_library
from tests.engine import programs


@pytest.fixture(scope="session", autouse=True)
def library() -> object:
    """The engine's functions."""
    try:
        return load_library(library_path())
    except SeqgenError as error:
        pytest.skip(f"the native engine is not built ({error})")


@pytest.fixture(scope="session")
def sets(library: object, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the kernels that this machine can run; ``generic`` is the first."""
    shape = programs.Shape()
    where = programs.write(tmp_path_factory.mktemp("sets"), programs.program(shape), programs.tensors(shape))
    found = []
    for name in ("generic", "avx2", "avx512", "avx512bf16", "amx", "neon"):
        try:
            found.append(Engine(where, isa=name).info.isa.decode())
        except SeqgenError as error:
            assert "not here" in str(error)  # noqa: PT017
    assert found[0] == "generic"
    return found
