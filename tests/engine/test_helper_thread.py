"""A helper thread changes no sample, whoever shares the model with whom."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine, Format
from seqgen.runtime.native_library import LoadOptions
from tests.engine import lanes, programs
from tests.engine.calls import draw, score
from tests.engine.programs import Shape, inputs

LARGE: dict[Format, Shape] = {"float32": Shape(hidden=208), "bf16": Shape(hidden=300), "int8": Shape(hidden=400)}
SHAPES: list[tuple[Format, Shape]] = [*LARGE.items(), ("float32", Shape(hidden=704, density=0.12, block=(4, 4)))]
needs_two_cores = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="this process may use one core only"
)


def written(where: Path, shape: Shape) -> Path:
    return programs.write(where, programs.program(shape), programs.tensors(shape))


@needs_two_cores
@pytest.mark.parametrize(("form", "shape"), SHAPES)
@pytest.mark.parametrize("streams", [1, 3])
def test_a_helper_changes_no_bit(form: Format, shape: Shape, streams: int, tmp_path: Path) -> None:
    where = written(tmp_path, shape)
    features, uniforms, elements = inputs(shape, streams, 30)
    one, two = (Engine(where, format=form, threads=threads) for threads in (1, 2))
    assert (one.info.threads, two.info.threads) == (1, 2)
    for _ in range(2):  # the second time the helper may be asleep, or still about
        for make, given in ((score, elements), (draw, uniforms)):
            for expected, got in zip(make(one, features, given), make(two, features, given), strict=True):
                assert expected.tobytes() == got.tobytes()


@needs_two_cores
@pytest.mark.parametrize("form", LARGE)
def test_a_helper_changes_no_bit_of_lanes(form: Format, tmp_path: Path) -> None:
    sizes = lanes.Staggered(LARGE[form], lanes=4, horizon=2)
    where = lanes.write(tmp_path, sizes)
    features, uniforms, elements = lanes.inputs(sizes, 2, 30)
    one, two = (Engine(where, format=form, threads=threads) for threads in (1, 2))
    assert (one.info.threads, two.info.threads) == (1, 2)
    for make, given in ((score, elements), (draw, uniforms)):
        for expected, got in zip(make(one, features, given), make(two, features, given), strict=True):
            assert expected.tobytes() == got.tobytes()


@needs_two_cores
def test_calls_at_the_same_time(tmp_path: Path) -> None:
    """One of them has the helper, the others do without."""
    shape = LARGE["int8"]
    engine = Engine(written(tmp_path, shape), format="int8", threads=2)
    features, uniforms, _ = inputs(shape, 4, 30)
    expected = [draw(engine, features[r : r + 1], uniforms[r : r + 1]) for r in range(4)]
    got: dict[int, tuple[programs.Array, programs.Array]] = {}

    def work(row: int) -> None:
        for _ in range(3):
            got[row] = draw(engine, features[row : row + 1], uniforms[row : row + 1])

    threads = [threading.Thread(target=work, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row in range(4):
        assert np.array_equal(got[row][0], expected[row][0])
        assert np.array_equal(got[row][1], expected[row][1])


@needs_two_cores
def test_a_fork_goes_on_without_the_helper(tmp_path: Path) -> None:
    shape = LARGE["int8"]
    program = (
        "import os, sys, pathlib, numpy as np; from seqgen.runtime.native import Engine;"
        "from tests.engine.calls import draw; from tests.engine.programs import inputs;"
        "from tests.engine.test_helper_thread import LARGE;"
        "engine = Engine(pathlib.Path(sys.argv[1]), format='int8', threads=2);"
        "features, uniforms, _ = inputs(LARGE['int8'], 1, 10); expected = draw(engine, features, uniforms)[0];"
        "child = os.fork();"
        "same = np.array_equal(draw(engine, features, uniforms)[0], expected); engine.close();"
        "sys.exit(not same if child == 0 else not same or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    command = [sys.executable, "-c", program, str(written(tmp_path, shape))]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_a_small_model_does_without(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) >= 2:
        assert Engine(written(tmp_path, Shape()), threads=2).info.threads == 1


@pytest.mark.parametrize("threads", [-1, 3])
def test_other_numbers_are_refused(threads: int, tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match=f"{threads} threads; give 1 or 2"):
        Engine(written(tmp_path, Shape()), threads=threads)


@pytest.mark.skipif(sys.platform != "linux", reason="sets the cores that a process may use")
def test_more_threads_than_cores_are_refused(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from seqgen.runtime.native import Engine;"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); Engine(pathlib.Path(sys.argv[1]), threads=2)"
    )
    command = [sys.executable, "-c", program, str(written(tmp_path, Shape()))]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "2 threads on a machine that grants one core; give 1" in made.stderr


def test_options_of_an_older_caller(tmp_path: Path) -> None:
    """Without the field `threads`, whatever lies behind the structure."""
    engine = Engine(written(tmp_path, Shape()))
    options = LoadOptions(LoadOptions.threads.offset, 0, None, 77)
    handle = ctypes.c_uint64(0)
    engine.call("seqgen_load", os.fsencode(tmp_path), ctypes.byref(options), ctypes.byref(handle))
    engine.call("seqgen_close", handle)
