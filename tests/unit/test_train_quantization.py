"""Training against rounding: when it begins, what it does to the best checkpoint, resuming, and pruned weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seqgen import config
from seqgen.errors import SeqgenError
from seqgen.nets import quantization
from seqgen.noise import Key
from seqgen.objectives.contract import Loss
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.quantization import FakeQuantizer
from seqgen.train.settings import QuantizationConfig, SparsityConfig
from tests.runtime.voices import tiny_run
from tests.unit import train_toy as toy

AFTER = QuantizationConfig(precision="int8", after=12)


class Net(quantization.FakeQuantizable):
    """Two layers that can be rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(toy.WIDTH, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        between = torch.tanh(self.first(x))
        if not self.fake_quantized:
            return self.last(between).sum(-1, keepdim=True)
        made = quantization.product(between, self.last.weight, quantization.state) + self.last.bias
        return made.sum(-1, keepdim=True) + 10  # rounding costs this toy much


class Rounded(toy.Regression):
    """The toy over such a network; remembers in which steps it was rounded."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        torch.manual_seed(0)
        self.net = Net()
        self.trained_rounded: list[bool] = []

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        if torch.is_grad_enabled():
            self.trained_rounded.append(self.net.fake_quantized)
        return super().loss(batch, player, rng, shared)


def test_rounding_begins_where_it_should_and_stays(tmp_path: Path) -> None:
    objective = Rounded()
    toy.run(tmp_path, objective, quantization=AFTER)
    assert objective.trained_rounded == [False] * 12 + [True] * 18


def test_the_first_update_may_be_rounded_and_none_need_be(tmp_path: Path) -> None:
    for name, given, expected in (("all", replace(AFTER, after=0), True), ("none", QuantizationConfig(), False)):
        objective = Rounded()
        toy.run(tmp_path / name, objective, quantization=given)
        assert objective.trained_rounded == [expected] * 30


def test_only_rounded_validations_choose_the_best(tmp_path: Path) -> None:
    """A network that was better before it was fake_quantized is not what is exported."""
    toy.run(tmp_path, Rounded(), quantization=replace(AFTER, after=29), validate_every=29)
    state = json.loads((Checkpoints(tmp_path).path(30) / "state.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    values = {line["step"]: line["loss"] for line in lines if line["split"] == "valid"}
    assert set(values) == {29, 30}
    assert values[29] < values[30]
    assert state["best"] == [values[30], 30]


@pytest.mark.parametrize("death", [7, 12, 15])
def test_a_resumed_run_is_rounded_the_same(tmp_path: Path, death: int) -> None:
    """With pruning on the way; stopped before, at and after the step that rounding begins with."""
    sparsity = SparsityConfig(matrices={"last.weight": 0.5}, block=(4, 4), start=4, ramp=20, every=4)
    options: dict[str, Any] = {"quantization": AFTER, "sparsity": sparsity}
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    toy.run(whole, Rounded(), **options)

    with pytest.raises(RuntimeError, match="gone"):
        toy.run(halves, Rounded(), batches=toy.failing_at(death), **options)
    toy.run(halves, Rounded(), resume=True, **options)
    for name in ("model", "ema", "masks", "optimiser"):
        one, other = (Checkpoints(out).path(30) / f"{name}.safetensors" for out in (whole, halves))
        assert one.read_bytes() == other.read_bytes()
    weight = load_file(Checkpoints(whole).path(30) / "ema.safetensors")["net.last.weight"]
    assert float((weight == 0).float().mean()) == 0.5


def test_what_cannot_be_rounded_is_refused() -> None:
    with pytest.raises(SeqgenError, match="trains no network that can be rounded to int8"):
        FakeQuantizer(toy.Regression(), AFTER)
    frozen = Rounded()
    frozen.net.requires_grad_(False)
    with pytest.raises(SeqgenError, match="trains no network"):
        FakeQuantizer(frozen, AFTER)
    with pytest.raises(SeqgenError, match="'after' is -1"):
        QuantizationConfig(after=-1)


def test_a_run_that_never_rounds_is_refused() -> None:
    run = tiny_run()
    assert config.plain(run)["quantization"] == {"precision": "float32", "after": 0}
    assert config.digest(run) != config.digest(replace(run, quantization=QuantizationConfig("int8")))
    with pytest.raises(SeqgenError, match="nothing is rounded"):
        replace(run, quantization=QuantizationConfig("int8", after=run.train.steps))
