"""Settings, learning rates, moving averages and meters, each against its formula."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn

from seqgen.errors import SeqgenError
from seqgen.objectives.contract import Loss
from seqgen.train import weights
from seqgen.train.ema import Ema
from seqgen.train.meter import Meter
from seqgen.train.schedule import learning_rate
from seqgen.train.settings import TrainConfig


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
