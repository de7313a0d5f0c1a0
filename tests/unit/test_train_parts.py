"""Settings, learning rates, moving averages and meters, each against its formula."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.objectives.contract import Loss
from seqgen.train import batch, weights
from seqgen.train.ema import Ema
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.meter import Meter
from seqgen.train.schedule import learning_rate
from seqgen.train.settings import TrainConfig
from tests.unit import train_toy as toy


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 0.25),
        ("constant", 3, 1.0),
        ("constant", 99, 1.0),
        ("cosine", 1, 0.5),
        ("cosine", 4, 1.0),
        ("cosine", 52, 0.5),
        ("cosine", 76, 0.5 * (1 + math.cos(0.75 * math.pi))),
        ("cosine", 99, 0.5 * (1 + math.cos(95 / 96 * math.pi))),
        ("inverse-sqrt", 2, 0.75),
        ("inverse-sqrt", 3, 1.0),
        ("inverse-sqrt", 15, 0.5),
        ("inverse-sqrt", 63, 0.25),
    ],
)
def test_learning_rate(schedule: Any, step: int, expected: float) -> None:
    settings = TrainConfig(steps=100, learning_rate=2.0, warmup=4, schedule=schedule)
    assert learning_rate(settings, step) == pytest.approx(2.0 * expected)
    assert learning_rate(settings, step, 0.5) == pytest.approx(0.5 * expected)  # the peak of a player's own


@pytest.mark.parametrize("schedule", ["constant", "cosine", "inverse-sqrt"])
def test_learning_rate_without_warmup(schedule: Any) -> None:
    rates = [learning_rate(TrainConfig(steps=10, learning_rate=2.0, schedule=schedule), step) for step in range(10)]
    assert rates[0] == 2.0
    assert all(rate > 0 for rate in rates)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("steps", 0), ("batch_size", 0), ("accumulate", 0), ("accumulate", 33), ("keep", 0), ("log_every", 0)],
        *[("warmup", -1), ("clip_norm", -1.0), ("learning_rate", 0.0), ("betas", (0.9, 1.0)), ("ema", 1.0)],
        *[("workers", -1), ("patience", -1), ("validate_every", -1), ("checkpoint_every", -1), ("weight_decay", -1.0)],
    ],
)
def test_settings_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(SeqgenError, match=f"'{name}' is"):
        dataclasses.replace(TrainConfig(steps=10), **{name: value})


def test_ema_formula() -> None:
    module = nn.Linear(2, 1, bias=False).double()
    ema, expected = Ema(module, 0.5), module.weight.detach().float().clone()
    for update in range(1, 12):
        with torch.no_grad():
            module.weight += update
        ema.update(module, update)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * module.weight.detach().float()
        torch.testing.assert_close(ema.averages["weight"], expected, rtol=1e-6, atol=0)
    assert ema.averages["weight"].dtype == torch.float32


def test_ema_is_applied_and_taken_back() -> None:
    module = nn.Linear(2, 1)
    before = module.weight.detach().clone()
    ema = Ema(module, 0.9)
    with torch.no_grad():
        module.weight += 1
    with ema.applied(module):
        assert torch.equal(module.weight, before)
    assert torch.equal(module.weight, before + 1)


def test_meter_weighs_and_empties() -> None:
    meter = Meter(torch.device("cpu"))
    for value, weight in ((1.0, 1.0), (5.0, 3.0), (float("nan"), 0.0)):
        meter.add(0, Loss(torch.tensor(value), {"term": torch.tensor(2 * value)}, torch.tensor(weight)))
    assert meter.read() == ({"loss": 4.0, "term": 8.0}, 4.0, None)
    assert meter.read() == ({}, 0.0, None)


def test_meter_names_the_first_bad_step() -> None:
    meter = Meter(torch.device("cpu"))
    for step, value in enumerate([1.0, 2.0, float("inf"), 3.0, float("nan")]):
        meter.add(step, Loss(torch.tensor(value), {}, torch.tensor(1.0)))
    assert meter.read().bad_step == 2


@dataclasses.dataclass(frozen=True)
class Around:
    """What rows are conditioned on: a batch inside a batch."""

    features: Tensor
    left: int = 0
    memory: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Rows:
    """Every kind of field that a batch may have."""

    x: Tensor
    symbols: Tensor
    ids: tuple[str, ...]
    cond: Around | None = None
    rate: int = 8000
    scale: float = 0.5
    name: str = "rows"
    texts: tuple[str, ...] = ()


def rows_of(number: int, cond: Around | None) -> Rows:
    ids = tuple(f"r{row}" for row in range(number))
    return Rows(torch.randn(number, 3, 2), torch.arange(number), ids, cond)


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_rows_of_nested_batches(number: int, parts: int, nested: bool, memory: bool) -> None:
    """Every row lands in one part, with all that belongs to it; what is not by row is in each."""
    inner = Around(torch.randn(number, 4), 2, torch.randn(number, 1) if memory else None)
    whole = rows_of(number, inner if nested else None)
    for part in range(parts):
        cut = batch.rows(whole, part, parts)
        mine = list(range(number))[part::parts]
        assert torch.equal(cut.x, whole.x[mine])
        assert cut.symbols.tolist() == mine
        assert cut.ids == tuple(f"r{row}" for row in mine)
        assert (cut.rate, cut.scale, cut.name, cut.texts) == (8000, 0.5, "rows", ())
        if nested:
            assert torch.equal(cut.cond.features, inner.features[mine])
            assert cut.cond.left == 2
            assert cut.cond.memory is None if not memory else torch.equal(cut.cond.memory, inner.memory[mine])
        else:
            assert cut.cond is None
    assert batch.rows(whole, 0, 1) is whole


def test_batches_of_nested_fields_are_moved() -> None:
    """Floating-point tensors take the type, however deep they lie; symbols, texts and numbers stay."""
    whole = rows_of(3, Around(torch.randn(3, 4), 2, torch.arange(3)))
    moved = batch.to_device(whole, torch.device("meta"), torch.float64)
    assert [one.device.type for one in (moved.x, moved.symbols, moved.cond.features, moved.cond.memory)] == ["meta"] * 4
    types = (moved.x.dtype, moved.symbols.dtype, moved.cond.features.dtype, moved.cond.memory.dtype)
    assert types == (torch.float64, torch.int64, torch.float64, torch.int64)
    assert (moved.ids, moved.rate, moved.cond.left) == (("r0", "r1", "r2"), 8000, 2)
    assert whole.x.dtype == torch.float32
    alone = batch.to_device(rows_of(2, None), torch.device("cpu"), torch.float32)
    assert alone.cond is None


class Tied(nn.Module):
    """Two names for one tensor, and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2, bias=False)
        self.other = nn.Linear(2, 2, bias=False)
        self.other.weight = self.one.weight
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("scratch", torch.zeros(()), persistent=False)


def test_weights_of_tied_modules() -> None:
    module, other = Tied(), Tied()
    saved = weights.of(module)
    assert sorted(saved) == ["count", "one.weight"]
    weights.assign(other, saved, source="there")
    assert torch.equal(other.other.weight, module.one.weight)
    with pytest.raises(SeqgenError, match=r"there: 'count' has shape \[1\], the model has \[\]"):
        weights.assign(other, {**saved, "count": torch.zeros(1)}, source="there")
    with pytest.raises(SeqgenError, match="there has no tensor 'count'"):
        weights.assign(other, {"one.weight": saved["one.weight"]}, source="there")
    with pytest.raises(SeqgenError, match="the model has no tensor 'extra'"):
        weights.assign(other, {**saved, "extra": torch.zeros(1)}, source="there")


def test_weights_of_one_network_of_many(tmp_path: Path) -> None:
    """By the prefix of its name in a checkpoint of more; the averaged ones where there are any."""
    toy.run(tmp_path, toy.Rivals(), steps=4, valid=None)
    judge, seen = nn.Linear(toy.WIDTH, 1), []

    def accept(identity: CheckpointIdentity, path: Path) -> None:
        seen.append((identity.digest, path))

    found = weights.load(tmp_path, judge, accept=accept, prefix="judge.")
    assert seen == [(toy.IDENTITY.digest, found)]
    assert found == tmp_path / "checkpoints" / "step-000004"
    averages = load_file(found / "ema.safetensors")
    assert torch.equal(judge.weight, averages["judge.weight"])
    assert not torch.equal(judge.weight, load_file(found / "model.safetensors")["judge.weight"])
    with pytest.raises(SeqgenError, match=r"has no tensor 'weight' \(loading .*step-000004"):
        weights.load(tmp_path, judge, accept=accept, prefix="jud")
    with pytest.raises(SeqgenError, match="no checkpoint"):
        weights.load(tmp_path / "nowhere", judge, accept=accept)
    with pytest.raises(SeqgenError, match=r"is a file, which does not tell .*; give an experiment"):
        weights.load(found / "model.safetensors", judge, accept=accept)
