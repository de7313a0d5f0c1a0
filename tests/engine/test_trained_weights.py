"""The engine on the weights of a real trained sparse WaveRNN, against a dense computation in float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seqgen.runtime.native import Engine, Format
from tools import bench_wavernn_lyra
from tools.bench_wavernn_lyra import Array, Net

# Of the largest logit, and nats per byte. Rows whose largest weight is fifty times their mean lose much in 8 bits.
BOUNDS: dict[Format, tuple[float, float]] = {"float32": (1e-5, 1e-6), "bf16": (0.05, 0.02), "int8": (0.15, 0.2)}


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    found = shared_data / "lyra-wavernn"
    if not found.is_dir():
        pytest.skip(f"no published weights at {found}")
    return found


@pytest.fixture(scope="module")
def net(folder: Path) -> Net:
    return bench_wavernn_lyra.load(folder)


@pytest.fixture(scope="module")
def packed(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("lyra")
    bench_wavernn_lyra.write(net, where)
    return where


@pytest.fixture(scope="module")
def scored(net: Net, packed: Path) -> tuple[Array, Array]:
    """Bytes, and their logits of the published weights."""
    elements = bench_wavernn_lyra.drawn(packed)
    return elements, bench_wavernn_lyra.reference(net, elements[:, : 2 * bench_wavernn_lyra.CHECKED])


@pytest.mark.parametrize("form", BOUNDS)
def test_logits(form: Format, packed: Path, scored: tuple[Array, Array]) -> None:
    found = bench_wavernn_lyra.compare(packed, form, *scored)
    assert found["logits_error"] <= BOUNDS[form][0]
    assert found["divergence_nats"] <= BOUNDS[form][1]


def test_the_bytes_are_no_constant(scored: tuple[Array, Array]) -> None:
    assert len(np.unique(scored[0])) > 100


def test_blocks_of_four_rows_are_not_filled_up(net: Net, packed: Path) -> None:
    matrices = [net.recurrent, *(part for head in net.heads for part in (head.inner, head.outer))]
    held = sum(np.count_nonzero(matrix) for matrix in matrices) / 64
    assert held < Engine(packed, format="int8").info.weight_blocks < 1.1 * held


def test_the_tool_prints_one_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_wavernn_lyra.main(["--data", str(folder), "--json", "--seconds", "0.05"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["preset"] == "lyra-wavernn-1024-int8"
    assert found["samples_per_second"] > 0
    assert found["logits_error"] <= BOUNDS["int8"][0]


def test_the_tool_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_wavernn_lyra.main(["--data", str(tmp_path)]) == 1
    assert "QRhat_weights.raw.gz: cannot be read" in capsys.readouterr().err
