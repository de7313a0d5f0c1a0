"""Compression through bundles: every runtime decodes what it encoded, in another process too, and no other's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqgen.bundle import Bundle
from seqgen.compression.compress import compress
from seqgen.compression.container import Container
from seqgen.compression.decompress import decompress
from seqgen.compression.symbols import Bundled
from seqgen.compression.units import TextUnits
from seqgen.errors import SeqgenError
from seqgen.runtime import open_symbols, runnable
from tests.runtime.text_bundles import BODIES, export

DATA = ("abcaadbbcé, éa?\n" * 40).encode() + b"\xff\xfe" + "größer".encode()
RUNTIMES = ("native", "onnx")
NATIVE = sorted(BODIES.keys() - {"long-short-term", "attending"})
"""Bodies that the engine runs."""


@pytest.fixture(scope="module", params=sorted(BODIES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(tmp_path_factory.mktemp("models") / request.param, BODIES[request.param])


@pytest.fixture
def original(tmp_path: Path) -> Path:
    (tmp_path / "original").write_bytes(DATA)
    return tmp_path / "original"


def test_the_engine_runs_what_it_has_a_body_for(made: Bundle) -> None:
    assert ("native" in runnable(made)) == (made.directory.name in NATIVE)
    assert "onnx" in runnable(made)


@pytest.mark.parametrize(
    ("made", "name"),
    [*((body, "native") for body in NATIVE), *((body, "onnx") for body in sorted(BODIES))],
    indirect=["made"],
)
@pytest.mark.parametrize("lanes", [1, 3, 20])
def test_files_come_back_at_the_models_bits(made: Bundle, name: str, lanes: int, original: Path) -> None:
    runtime = open_symbols(made, name)
    units, packed, copy = TextUnits(runtime.tokenizer), original.with_name("packed"), original.with_name("copy")
    report = compress(original, packed, Bundled(runtime), units, number=lanes)
    with Container(packed) as container:
        decompress(container, copy, Bundled(open_symbols(made, name)), units)
    assert copy.read_bytes() == DATA
    assert report.compressed <= report.promised * 1.005 + 64
    if lanes == 1:
        x = units.encode(DATA).symbols[None]
        torch = open_symbols(made, "torch")
        logits = torch.step(x, torch.init(1))[0].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        claimed = -np.take_along_axis(log_p, x[..., None], axis=-1).sum() / np.log(2)
        assert report.claimed == pytest.approx(claimed, rel=1e-4)


def test_another_process_decodes(made: Bundle, original: Path) -> None:
    packed, copy = original.with_name("packed"), original.with_name("copy")
    seqgen = [sys.executable, "-m", "seqgen.cli.main"]
    subprocess.run([*seqgen, "compress", made.directory, original, "-o", packed], check=True, timeout=60)
    subprocess.run([*seqgen, "decompress", made.directory, packed, "-o", copy], check=True, timeout=60)
    assert copy.read_bytes() == DATA


@pytest.mark.parametrize("made", NATIVE, indirect=True)
def test_one_runtimes_file_is_not_decoded_by_another(made: Bundle, original: Path) -> None:
    packed = original.with_name("packed")
    native, onnx = (open_symbols(made, name) for name in RUNTIMES)
    compress(original, packed, Bundled(onnx), TextUnits(onnx.tokenizer))
    with pytest.raises(SeqgenError, match=r"round otherwise.*runtime native instead of onnx"), Container(packed) as one:
        decompress(one, original.with_name("copy"), Bundled(native), TextUnits(native.tokenizer))


def test_a_runtime_that_does_not_tell_its_version_is_refused(made: Bundle) -> None:
    with pytest.raises(SeqgenError, match="does not say what its rounding depends on"):
        Bundled(open_symbols(made, "torch"))
