"""Whatever is wrong comes back as a status and one sentence; nothing crashes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine
from seqgen.runtime.native_library import Call
from tests.engine import programs
from tests.engine.programs import Array, Shape

SHAPE = Shape(hidden=16, latency=3)
Document = dict[str, Any]
INVALID, IO, FORMAT, UNSUPPORTED, CLOSED, STATE = 1, 2, 3, 4, 5, 6


def op(document: Document, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(op for op in document["ops"] if op["op"] == name)
    return found


def refused(where: Path, *words: str, **options: Any) -> None:
    with pytest.raises(SeqgenError) as caught:
        Engine(where, **options)
    for word in words:
        assert word in str(caught.value)


DOCUMENTS: dict[str, tuple[Callable[[Document], Any], tuple[str, ...]]] = {
    "another format": (lambda d: d.update(format=2), ("program format 2", "known: 1")),
    "another byte order": (lambda d: d.update(byte_order="big"), ("byte order 'big'", "little")),
    "another precision": (lambda d: d.update(precision="int4"), ("'int4'", "float32, bf16, int8")),
    "an unknown op": (lambda d: op(d, "relu").update(op="swish"), ("unknown op 'swish'", "relu", "wavernn")),
    "an op in the wrong place": (lambda d: d["ops"].append(d["ops"][0]), ("unknown op 'normalise' here",)),
    "no codec": (lambda d: d["ops"].pop(), ("end before the codec",)),
    "two cells": (lambda d: d["ops"].insert(7, d["ops"][6]), ("once",)),
    "a value nobody makes": (lambda d: op(d, "dense").update({"in": "z"}), ("no op before it makes 'z'",)),
    "a value made twice": (lambda d: op(d, "relu").update(out="a"), ("made twice",)),
    "a missing option": (lambda d: op(d, "conv").pop("dilation"), ("'dilation' is missing",)),
    "an absurd dilation": (lambda d: op(d, "conv").update(dilation=2**31), ("between 1 and 65536",)),
    "a dilation without its history": (lambda d: op(d, "conv").update(dilation=1000), ("fresh.enter", "expected")),
    "an absurd hop": (lambda d: d.update(hop=10**12), ("hop",)),
    "a negative latency": (lambda d: d.update(latency=-1), ("latency",)),
    "half a sample": (lambda d: d.update(latency=1.5), ("a whole number",)),
    "a hop that is not the interpolation's": (lambda d: d.update(hop=5), ("not the hop",)),
    "absurd channels": (lambda d: d.update(channels=65537), ("between 1 and 65536",)),
    "channels outside the features": (lambda d: op(d, "normalise").update(stop=99), ("between",)),
    "a tensor that is not there": (lambda d: op(d, "dense").update(weight="w"), ("no tensor 'w'",)),
    "a tensor of another shape": (lambda d: op(d, "dense").update(weight="input"), ("'input' is F32", "expected")),
    "two classes": (lambda d: op(d, "categorical").update(classes=2), ("between 256 and 256",)),
    "inputs that see what is not drawn": (
        lambda d: op(d, "wavernn").update(inputs=[[0, 0, 1, 0]] * 3), ("'inputs'",)),
    "a file outside the bundle": (lambda d: d.update(tensors=["../weights.safetensors"]), ("no plain file name",)),
    "a shift beyond float32": (lambda d: op(d, "normalise").update(shift=1e300), ("do not fit into float32",)),
    "ops without end": (lambda d: d["ops"].extend([d["ops"][0]] * 5000), ("more than 4096 ops",)),
    "ops that are no list": (lambda d: d.update(ops={}), ("a list was expected",)),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_programs_that_are_wrong(name: str, tmp_path: Path) -> None:
    spoil, words = DOCUMENTS[name]
    document = programs.program(SHAPE)
    spoil(document)
    refused(programs.write(tmp_path, document, programs.tensors(SHAPE)), *words)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,", '{"a" 1}', '{"a": 01e}', "nul", '"\\x"', '{"a": 1} 2', "[" * 1000, "\x00", '{"format": 1e999}'],
)
def test_programs_that_are_no_json(text: str, tmp_path: Path) -> None:
    where = programs.write(tmp_path, programs.program(SHAPE), programs.tensors(SHAPE))
    (where / "program.json").write_text(text)
    refused(where, "program.json", "not valid JSON")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    refused(tmp_path, "program.json", "cannot be read")
    where = programs.write(tmp_path, programs.program(SHAPE), programs.tensors(SHAPE))
    (where / "weights.safetensors").unlink()
    refused(where, "weights.safetensors", "cannot be read")
    (where / "weights.safetensors").mkdir()
    refused(where, "not a file")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["recurrent", "enter.weight", "fine.outer.bias", "fresh.vector"])
def test_weights_that_are_no_numbers(name: str, value: float, tmp_path: Path) -> None:
    weights = programs.tensors(SHAPE)
    weights[name].flat[-1] = value
    refused(programs.write(tmp_path, programs.program(SHAPE), weights), f"'{name}'", "NaN or infinity")


def test_an_odd_state(tmp_path: Path) -> None:
    weights = programs.tensors(SHAPE)
    weights["recurrent"] = np.zeros((45, 15), np.float32)
    refused(programs.write(tmp_path, programs.program(SHAPE), weights), "45 x 15", "even")


def test_cut_weights_at_every_length(tmp_path: Path) -> None:
    where = programs.write(tmp_path, programs.program(SHAPE), programs.tensors(SHAPE))
    whole = (where / "weights.safetensors").read_bytes()
    for length in [*range(0, 400, 7), *range(400, len(whole), 997), len(whole) - 1]:
        (where / "weights.safetensors").write_bytes(whole[:length])
        refused(where, "weights.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        '{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 0]}}',
        '{"a": {"dtype": "F32", "shape": [65536, 65536, 65536, 65536], "data_offsets": [0, 0]}}',
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 99999]}}',
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}',
        '{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "Q7", "shape": [2], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}',
        '{"a": 1}',
        "[]",
    ],
)
def test_headers_that_lie(header: str, tmp_path: Path) -> None:
    where = programs.write(tmp_path, programs.program(SHAPE), programs.tensors(SHAPE))
    text = header.encode()
    (where / "weights.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    refused(where, "weights.safetensors")
    (where / "weights.safetensors").write_bytes((2**63).to_bytes(8, "little") + text)
    refused(where, "header claims")


def test_random_bytes_never_crash_the_loader(tmp_path: Path) -> None:
    """Each trial changes a few bytes of one file: it loads, or says why not."""
    where = programs.write(tmp_path, programs.program(SHAPE), programs.tensors(SHAPE))
    rng = np.random.default_rng(0)
    for name in ("program.json", "weights.safetensors"):
        whole = (where / name).read_bytes()
        for _ in range(300):
            spoilt = bytearray(whole)
            for at in rng.integers(0, min(len(whole), 2500), rng.integers(1, 4)):
                spoilt[at] = rng.integers(256)
            (where / name).write_bytes(spoilt)
            try:
                Engine(where)
            except SeqgenError as error:
                assert str(error)  # noqa: PT017
        (where / name).write_bytes(whole)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(programs.write(tmp_path_factory.mktemp("e"), programs.program(SHAPE), programs.tensors(SHAPE)))


class Arrays:
    """A correct call for two streams of three frames, to be spoilt field by field."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.states = engine.init(2)
        self.rows = (ctypes.c_void_p * 2)(*(self.states.ctypes.data + row * self.states.shape[1] for row in (0, 1)))
        self.features = np.zeros((2, 3, SHAPE.channels), np.float32)
        self.workspace = np.empty(engine.info.workspace_bytes, np.uint8)
        self.uniforms, self.audio = np.zeros((2, 18), np.float32), np.zeros((2, 9), np.float32)
        self.call = Call(
            struct_size=ctypes.sizeof(Call), states=self.rows, streams=2, workspace=self.workspace.ctypes.data,
            workspace_bytes=self.workspace.nbytes, features=self.features.ctypes.data, frames=3, samples=9,
            uniforms=self.uniforms.ctypes.data, temperature=1.0, audio=self.audio.ctypes.data,
        )  # fmt: skip

    def run(self, name: str = "seqgen_sample") -> tuple[int, str]:
        message = ctypes.create_string_buffer(200)
        run = getattr(self.engine._library, name)
        return run(self.engine._handle, ctypes.byref(self.call), message, 200), message.value.decode()


def set_feature(arrays: Arrays, value: float) -> None:
    arrays.features[1, 2, 0] = value


CALLS: dict[str, tuple[Callable[[Arrays], Any], int, str]] = {
    "no size": (lambda a: setattr(a.call, "struct_size", 0), INVALID, "struct_size is 0"),
    "no streams": (lambda a: setattr(a.call, "streams", 0), INVALID, "0 streams"),
    "too many streams": (lambda a: setattr(a.call, "streams", 17), INVALID, "17 streams"),
    "negative streams": (lambda a: setattr(a.call, "streams", -1), INVALID, "-1 streams"),
    "negative frames": (lambda a: setattr(a.call, "frames", -3), INVALID, "negative"),
    "negative samples": (lambda a: setattr(a.call, "samples", -9), INVALID, "negative"),
    "absurd frames": (lambda a: setattr(a.call, "frames", 2**62), INVALID, "give fewer"),
    "too few samples": (lambda a: setattr(a.call, "samples", 8), INVALID, "ask for 12, or 9"),
    "too many samples": (lambda a: setattr(a.call, "samples", 13), INVALID, "ask for 12, or 9"),
    "no workspace": (lambda a: setattr(a.call, "workspace", None), INVALID, "workspace"),
    "a small workspace": (lambda a: setattr(a.call, "workspace_bytes", 100), INVALID, "100 bytes, expected"),
    "no states": (lambda a: setattr(a.call, "states", None), INVALID, "states is null"),
    "a state that is null": (lambda a: a.rows.__setitem__(1, None), INVALID, "stream 1 is null"),
    "one state twice": (lambda a: a.rows.__setitem__(1, a.rows[0]), INVALID, "share a state"),
    "an empty state": (lambda a: a.states.fill(0), STATE, "no state"),
    "a foreign state": (lambda a: a.states.__setitem__((1, 9), 255 - a.states[1, 9]), STATE, "another bundle"),
    "a damaged state": (lambda a: a.states.__setitem__((1, 17), 1), STATE, "damaged"),
    "no features": (lambda a: setattr(a.call, "features", None), INVALID, "features is null"),
    "features that are NaN": (lambda a: set_feature(a, np.nan), INVALID, "NaN"),
    "features that are infinite": (lambda a: set_feature(a, -np.inf), INVALID, "infinity"),
    "no randomness": (lambda a: setattr(a.call, "uniforms", None), INVALID, "give uniforms"),
    "a temperature that is NaN": (lambda a: setattr(a.call, "temperature", np.nan), INVALID, "temperature"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_are_wrong(name: str, engine: Engine) -> None:
    spoil, status, words = CALLS[name]
    arrays = Arrays(engine)
    assert arrays.run() == (0, "")
    spoil(arrays)
    got, message = arrays.run()
    assert got == status
    assert words in message


def test_scoring_takes_elements(engine: Engine) -> None:
    assert Arrays(engine).run("seqgen_step") == (INVALID, "elements is null")


def test_extreme_numbers_stay_bytes(engine: Engine) -> None:
    """Uniforms and features outside all bounds, and a state of noise, still make samples."""
    arrays = Arrays(engine)
    arrays.uniforms[:] = np.tile([np.nan, np.inf, -np.inf, -1, 2, 1], 6).reshape(2, 18)
    arrays.features[:] = 3e38
    arrays.states[:, 32:] = np.random.default_rng(0).integers(0, 256, arrays.states[:, 32:].shape)
    assert arrays.run() == (0, "")
    assert (np.abs(arrays.audio) <= 1).all()


def test_closed_handles(tmp_path: Path) -> None:
    where = programs.write(tmp_path, programs.program(SHAPE), programs.tensors(SHAPE))
    first = Engine(where)
    arrays = Arrays(first)
    first.close()
    second = Engine(where)  # takes the slot that became free
    assert arrays.run() == (CLOSED, "the handle is no open model")
    with pytest.raises(SeqgenError, match="no open model"):
        first.close()
    assert len(second.init(1)) == 1
    for handle in (0, 257, 2**64 - 1):
        first._handle = ctypes.c_uint64(handle)
        assert arrays.run()[0] == CLOSED


def test_messages_fit_their_buffer(engine: Engine) -> None:
    arrays = Arrays(engine)
    arrays.call.streams = 99
    sample = engine._library.seqgen_sample
    for size in (0, 1, 5):
        buffer = ctypes.create_string_buffer(b"#" * 8, 8)
        assert sample(engine._handle, ctypes.byref(arrays.call), buffer, size) == INVALID
        assert buffer.raw == (b"99 s"[: max(0, size - 1)] + b"\0" if size else b"").ljust(8, b"#")
    assert sample(engine._handle, ctypes.byref(arrays.call), None, 100) == INVALID


def test_two_threads_on_one_model(engine: Engine) -> None:
    expected = Arrays(engine)
    expected.run()
    wrong: list[Array] = []

    def work() -> None:
        for _ in range(50):
            arrays = Arrays(engine)
            arrays.run()
            if not np.array_equal(arrays.audio, expected.audio):
                wrong.append(arrays.audio)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_header_is_c99(repository: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "use.c"
    source.write_text(
        '#include "seqgen_engine.h"\nint main(void) { seqgen_call c; c.streams = 1; return c.streams; }\n'
    )
    include = repository / "seqgen" / "engine" / "include"
    command = [compiler, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{include}", "-c", str(source)]
    subprocess.run([*command, "-o", str(tmp_path / "use.o")], check=True, timeout=60)
