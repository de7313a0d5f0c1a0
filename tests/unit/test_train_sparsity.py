"""Pruning while training: the schedule, the blocks, the gates one by one, and masks that nothing wears off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.wavernn import WaveRNN
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.settings import SparsityConfig
from seqgen.train.sparsity import Pruner, block_mask, share
from tests.unit import train_toy as toy

CONFIG = SparsityConfig(matrices={"net.2.weight": 0.75}, block=(4, 4), start=4, ramp=20, every=4)


class Wide(toy.Regression):
    """The toy with a matrix that blocks tile."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(toy.WIDTH, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


def blocks(weight: Tensor, high: int, wide: int) -> Tensor:
    """Number of non-zeros in each block, by plain slicing."""
    rows, columns = weight.shape[0] // high, weight.shape[1] // wide
    counts = [
        [int((weight[r * high : (r + 1) * high, c * wide : (c + 1) * wide] != 0).sum()) for c in range(columns)]
        for r in range(rows)
    ]
    return torch.tensor(counts)


def test_the_schedule_is_cubic() -> None:
    config = SparsityConfig(start=1000, ramp=2000, every=500)
    expected = [(0, 0), (1000, 0), (1500, 0.9 * (1 - 0.75**3)), (2000, 0.9 * 0.875), (3000, 0.9), (9000, 0.9)]
    for step, zeros in expected:
        assert share(config, 0.9, step) == pytest.approx(zeros, abs=1e-12)


@pytest.mark.parametrize("block", [(16, 1), (4, 4), (16, 4)])
@pytest.mark.parametrize("zeros", [0.0, 0.3, 0.95])
def test_the_weakest_blocks_go_whole(block: tuple[int, int], zeros: float) -> None:
    weight = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    left = weight * block_mask(weight, zeros, block)
    counts = blocks(left, *block)
    size = block[0] * block[1]
    assert set(counts.flatten().tolist()) <= {0, size}
    assert int((counts == 0).sum()) == int(zeros * counts.numel() + 1e-9)
    strength = torch.stack(
        [part.abs().mean() for row in weight.split(block[0]) for part in row.split(block[1], dim=1)]
    ).reshape(counts.shape)
    if zeros > 0:
        assert strength[counts == 0].max() <= strength[counts > 0].min()


def test_each_gate_is_pruned_by_itself() -> None:
    """Even when one gate's weights are all larger than another's."""
    body = WaveRNN(WaveRNN.Config(hidden=32, conditioned=False))
    with torch.no_grad():
        gates = body.recurrent.view(2, 3, 16, 32)
        gates *= torch.tensor([1.0, 10.0, 100.0])[None, :, None, None]
    Pruner(body, SparsityConfig(matrices={"recurrent": 0.5}, start=0, ramp=1, every=1)).update(1)
    kept = (body.recurrent.view(2, 3, 16, 32) != 0).float().mean(dim=(0, 2, 3))
    assert kept.tolist() == [0.5, 0.5, 0.5]


def test_zeros_stay_zeros_in_weights_averages_and_checkpoints(tmp_path: Path) -> None:
    objective = Wide()
    assert toy.run(tmp_path, objective, sparsity=CONFIG).status == "finished"
    folder = Checkpoints(tmp_path).path(30)
    for name in ("model", "ema"):
        counts = blocks(load_file(folder / f"{name}.safetensors")["net.2.weight"], 4, 4)
        assert int((counts == 0).sum()) == 12
        assert set(counts.flatten().tolist()) == {0, 16}
    mask = load_file(folder / "masks.safetensors")["net.2.weight"]
    assert torch.equal(mask, objective.net[2].weight != 0)


@pytest.mark.parametrize("death", [7, 15, 27])
def test_a_resumed_run_prunes_the_same(tmp_path: Path, death: int) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    toy.run(whole, Wide(), sparsity=CONFIG)

    with pytest.raises(RuntimeError, match="gone"):
        toy.run(halves, Wide(), sparsity=CONFIG, batches=toy.failing_at(death))
    toy.run(halves, Wide(), sparsity=CONFIG, resume=True)
    for name in ("model", "ema", "masks", "optimiser"):
        one, other = (Checkpoints(out).path(30) / f"{name}.safetensors" for out in (whole, halves))
        assert one.read_bytes() == other.read_bytes()


def test_dense_training_keeps_no_masks(tmp_path: Path) -> None:
    toy.run(tmp_path, Wide(), sparsity=SparsityConfig())
    assert not (Checkpoints(tmp_path).path(30) / "masks.safetensors").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"matrices": {"net.7.weight": 0.5}}, "names no matrices; choose from"),
        ({"matrices": {"net.2.bias": 0.5}}, "names no matrices"),
        ({"matrices": {"weight": 0.5}}, "names 3 matrices"),
        ({"matrices": {"net.4.weight": 0.5}}, "1 x 16, which blocks of 16 x 1 do not tile"),
        ({"matrices": {"net.2.weight": 1.0}}, "share of zeros"),
        ({"block": (8, 8)}, "choose"),
        ({"ramp": 3, "every": 2}, "multiple of every"),
        ({"start": -1}, "start >= 0"),
    ],
)
def test_what_cannot_be_pruned_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SeqgenError, match=message):
        Pruner(Wide(), SparsityConfig(**given))
