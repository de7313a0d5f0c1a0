"""Matrices of a graph in 8 bits: what onnxruntime makes of them is what the rounded network makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from seqgen.export.graph import trace
from seqgen.export.levels import in_levels, rounded
from seqgen.export.symbol_graphs import save


class Small(nn.Module):
    """Embedded symbols, a convolution, a layer, and a small one that stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.convolution = nn.Embedding(300, 20), nn.Conv1d(20, 80, 3)
        self.layer, self.little = nn.Linear(80, 64), nn.Linear(64, 3)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.convolution(self.table(symbols).transpose(1, 2)).transpose(1, 2)
        return self.little(torch.relu(self.layer(made)))


@pytest.fixture
def network() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def graph_of(network: Small) -> onnx.GraphProto:
    piece = trace(network, {"symbols": torch.arange(9)[None]}, ["made"], {"symbols": {1: "n"}, "made": {1: "m"}})
    info = onnx.helper.make_tensor_value_info
    inputs = [info("symbols", TensorProto.INT64, [1, "n"])]
    outputs = [info("made", TensorProto.FLOAT, [1, "m", 3])]
    return onnx.helper.make_graph(piece.nodes, "small", inputs, outputs, initializer=piece.weights)


def test_matrices_are_bytes_and_the_rest_stays(network: Small) -> None:
    kinds = {one.name: one.data_type for one in in_levels(graph_of(network)).initializer}
    whole = [name for name, kind in kinds.items() if kind == TensorProto.INT8]
    assert sorted(whole) == ["convolution.weight.levels", "layer.weight.levels", "table.weight.levels"]
    assert kinds["little.weight"] == kinds["layer.bias"] == TensorProto.FLOAT


def test_the_runtime_makes_what_the_rounded_network_makes(network: Small, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    save(in_levels(graph_of(network)), tmp_path, "small.onnx")
    symbols = torch.arange(40)[None] * 7 % 300
    (made,) = onnxruntime.InferenceSession(str(tmp_path / "small.onnx")).run(["made"], {"symbols": symbols.numpy()})
    with torch.no_grad():
        expected, before = rounded(network)(symbols).numpy(), network(symbols).numpy()
    assert made == pytest.approx(expected, abs=1e-5)
    assert 1e-4 < np.abs(expected - before).max() < 0.05 * np.abs(before).max()


def test_what_is_rounded_stays(network: Small) -> None:
    once = rounded(network)
    twice = rounded(once)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))
    for name, weight in network.named_parameters():
        kept = dict(once.named_parameters())[name]
        step = weight.detach().abs().reshape(len(weight), -1).amax(dim=1) / 127
        away = (kept - weight).detach().abs().reshape(len(weight), -1).amax(dim=1)
        assert bool((away <= 0.5001 * step).all())


def test_an_empty_row_stays_one(network: Small) -> None:
    with torch.no_grad():
        network.layer.weight[5] = 0
    stored = {one.name: numpy_helper.to_array(one) for one in in_levels(graph_of(network)).initializer}
    assert not stored["layer.weight.levels"][5].any()
    assert np.isfinite(stored["layer.weight.scale"]).all()
