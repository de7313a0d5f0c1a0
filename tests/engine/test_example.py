"""The C program that a phone would run, against the same library from Python."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seqgen.runtime.native import Engine
from seqgen.runtime.native_library import library_path
from tests.engine import encoders, flows, lanes, programs, stacks, symbols
from tests.engine.flows import Flows
from tests.engine.programs import Shape
from tests.engine.stacks import Stack
from tests.engine.symbols import DECODER, KINDS, SOURCES


@pytest.fixture(scope="module")
def vocode(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``examples/vocode.c``, compiled."""
    return compiled(repository, tmp_path_factory.mktemp("example") / "vocode")


@pytest.fixture(scope="module")
def complete(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``examples/complete.c``, compiled."""
    return compiled(repository, tmp_path_factory.mktemp("example") / "complete")


@pytest.fixture(scope="module")
def encode(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``examples/encode.c``, compiled."""
    return compiled(repository, tmp_path_factory.mktemp("example") / "encode")


def compiled(repository: Path, program: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    library = library_path().resolve()
    command = [compiler, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"]
    command += [f"-I{repository / 'seqgen' / 'engine' / 'include'}"]
    command += [str(repository / "examples" / f"{program.name}.c"), str(library), f"-Wl,-rpath,{library.parent}", "-lm"]
    subprocess.run([*command, "-o", str(program)], check=True, timeout=60)
    return program


SHAPE = Shape(hidden=30, hop=20, latency=33)
VOICES: dict[str, Callable[[Path], Path]] = {
    "wavernn": lambda where: programs.write(where, programs.program(SHAPE), programs.tensors(SHAPE)),
    # Of the first ten frames these make nothing yet.
    "lanes": lambda where: lanes.write(where, lanes.Staggered(replace(SHAPE, hop=16, latency=7), lanes=8, horizon=2)),
    "stack": lambda where: stacks.write(Stack(base=SHAPE), where),
    "flows": lambda where: flows.write(Flows(base=SHAPE), where),
}


@pytest.mark.parametrize("kind", VOICES)
def test_the_example_writes_the_same_samples(kind: str, vocode: Path, tmp_path: Path) -> None:
    """Ten frames at a time; the whole at once makes the same."""
    where = VOICES[kind](tmp_path / "voice")
    features = np.random.default_rng(0).normal(0, 1, (1, 34, SHAPE.channels)).astype(np.float32)
    features.tofile(tmp_path / "features")
    command = [vocode, where, tmp_path / "features", tmp_path / "out.wav", "7"]
    told = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stderr
    engine = Engine(where)
    states = engine.init(1)
    expected = np.empty((1, engine.samples(states[0], 34)), np.int16)
    line = r"vocode: (\d+) samples, the first after [\d.]+ ms; [\d.]+ MB of memory; \w+ kernels\n"
    found = re.fullmatch(line, told)
    assert found is not None
    assert int(found[1]) == expected.shape[1] > 256
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        got = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    zero = np.zeros(1, np.uint64)
    engine.run(states, features, expected.shape[1], drawing=True, given={"stream_ids": zero, "positions": zero},
               made={"pcm": expected}, seed=7, temperature=1.0)  # fmt: skip
    assert np.array_equal(got, expected[0])
    assert len(np.unique(got)) > 100


@pytest.mark.parametrize("kind", ["one layer", "rectified", "multiplicative"])
def test_the_example_goes_on_with_a_text(kind: str, complete: Path, tmp_path: Path) -> None:
    """In blocks of 64; the whole at once makes the same symbols, and the prompt as many bits."""
    model = replace(KINDS[kind], classes=256)
    where = symbols.write(model, tmp_path)
    prompt = np.random.default_rng(0).integers(0, 256, 100).astype(np.int32)
    given = prompt.astype(np.uint8).tobytes()
    done = subprocess.run([complete, where, "150", "7"], input=given, check=True, timeout=60, capture_output=True)
    engine = Engine(where)
    scored, state = symbols.score(engine, np.empty((1, 100, 0), np.float32), prompt[None])
    uniforms = engine.uniforms(7, 0, 0, 150)[None]
    expected, _ = symbols.draw(engine, np.empty((1, 150, 0), np.float32), uniforms, state)
    assert np.array_equal(np.frombuffer(done.stdout, np.uint8), expected[0])
    told = scored[0].astype(float)
    nats = np.log(np.exp(told - told.max(-1, keepdims=True)).sum(-1)) + told.max(-1) - told[np.arange(100), prompt]
    found = re.fullmatch(rb"complete: 100 bytes read, ([\d.]+) bits a byte; \w+ kernels\n", done.stderr)
    assert found is not None
    assert float(found[1]) == pytest.approx(nats.mean() / np.log(2), abs=1e-3)


@pytest.mark.parametrize("length", [40, 90])
def test_the_example_reads_the_source_of_a_translator(length: int, complete: Path, tmp_path: Path) -> None:
    """More is drawn than the source has columns, and fewer."""
    decoder, source = replace(DECODER, classes=256), replace(SOURCES["padded"], blocks=replace(DECODER, classes=256))
    where = programs.write(tmp_path, *symbols.with_source(decoder, source))
    given = np.random.default_rng(0).integers(0, 256, length).astype(np.uint8)
    command = [complete, where, "100", "7"]
    done = subprocess.run(command, input=given.tobytes(), check=True, timeout=60, capture_output=True)
    engine = Engine(where)
    columns = np.zeros((1, 200, source.channels), np.float32)
    made = engine.columns(given[None].astype(np.int32), np.array([length]))[0]
    columns[0, : len(made)] = made
    assert (len(made) > 100) == (length == 90)
    expected, unread = (
        symbols.draw(engine, cond[:, :100], engine.uniforms(7, 0, 0, 100)[None])[0] for cond in (columns, 0 * columns)
    )
    assert np.array_equal(np.frombuffer(done.stdout, np.uint8), expected[0])
    assert not np.array_equal(expected, unread)


def test_the_example_refuses_a_voice(complete: Path, tmp_path: Path) -> None:
    where = VOICES["wavernn"](tmp_path)
    done = subprocess.run([complete, where, "5"], capture_output=True, text=True, check=False, input="", timeout=60)
    assert (done.returncode, done.stderr) == (1, "complete: this is no language model over bytes\n")


def test_the_example_encodes_a_recording(encode: Path, tmp_path: Path) -> None:
    """In blocks of 16 frames; the whole at once gives the same vectors. What is no whole frame is left."""
    model = encoders.KINDS["plain"]
    where, audio = encoders.write(model, tmp_path), encoders.sound(model, 1, 37)
    given = np.concatenate([audio[0], np.zeros(model.hop - 1, np.float32)]).tobytes()
    done = subprocess.run([encode, where], input=given, check=True, timeout=60, capture_output=True)
    expected, _ = encoders.encode(Engine(where), audio)
    assert done.stdout == expected.tobytes()
    told = rf"encode: 37 frames of {model.hop} samples, {expected.shape[2]} numbers each; \w+ kernels\n"
    assert re.fullmatch(told, done.stderr.decode())


def test_the_example_that_encodes_refuses_a_voice(encode: Path, tmp_path: Path) -> None:
    command = [encode, VOICES["wavernn"](tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "encode: this is no encoder of audio\n")


def test_the_example_says_what_is_wrong(vocode: Path, tmp_path: Path) -> None:
    done = subprocess.run([vocode, tmp_path, "in", "out"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "program.json: cannot be read" in done.stderr


def test_a_processor_without_vectors_runs_the_generic_kernels(vocode: Path, tmp_path: Path) -> None:
    """Under an emulator of a processor of 2008, which has no AVX2: they are chosen unasked, for the same samples."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip("no qemu-x86_64, or this is another kind of machine")
    shape = Shape(hidden=30, hop=20, latency=33)
    where = programs.write(tmp_path / "voice", programs.program(shape), programs.tensors(shape))
    np.random.default_rng(0).normal(0, 1, (12, shape.channels)).astype(np.float32).tofile(tmp_path / "features")
    alone = {name: value for name, value in os.environ.items() if name != "SEQGEN_ISA"}
    made = []
    for name, emulated in (("here.wav", []), ("old.wav", [emulator, "-cpu", "Nehalem"])):
        command = [*emulated, vocode, where, tmp_path / "features", tmp_path / name]
        done = subprocess.run(command, env=alone, capture_output=True, text=True, check=True, timeout=120)
        made.append((tmp_path / name).read_bytes())
    assert done.stderr.endswith("; generic kernels\n")
    assert made[0] == made[1]
