"""The loop itself: parts of a batch, players, arithmetic, validation, patience, memory, reports."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.report import Report
from tests.unit import train_toy as toy


def lines(out: Path, split: str = "train") -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in every if line["split"] == split]


def closely(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize("kind", [lambda: toy.Regression(dropout=0.0), toy.Rivals])
@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_accumulation_changes_no_gradient(tmp_path: Path, kind: Any, accumulate: int) -> None:
    whole, cut = kind(), kind()
    toy.run(tmp_path / "whole", whole, log_every=1, clip_norm=0.5)
    toy.run(tmp_path / "cut", cut, log_every=1, clip_norm=0.5, accumulate=accumulate)
    assert closely(whole, cut)
    for one, other in zip(lines(tmp_path / "whole"), lines(tmp_path / "cut"), strict=True):
        for name in one:
            if name.endswith(("loss", "gradient_norm")):
                assert one[name] == pytest.approx(other[name], rel=1e-5)


def test_the_loop_is_plain_adamw(tmp_path: Path) -> None:
    """Against the update written out by hand: rate, clipping, decay of matrices alone; and the moving average."""
    ours, theirs = toy.Regression(dropout=0.0), toy.Regression(dropout=0.0)
    toy.run(tmp_path, ours, steps=6, schedule="constant", weight_decay=0.1, clip_norm=0.5, valid=None)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim == 2], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser, average = torch.optim.AdamW(groups, lr=0.01), theirs.net[0].weight.detach().clone()
    for step, batch in enumerate(toy.batches(0, 6, 0, 1)):
        optimiser.param_groups[0]["lr"] = optimiser.param_groups[1]["lr"] = 0.01 * min(1, (step + 1) / 3)
        optimiser.zero_grad()
        theirs.asked(batch, "model", Key(0, step)).total.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimiser.step()
        average.lerp_(theirs.net[0].weight.detach(), 1 - min(0.9, (2 + step) / (11 + step)))
    averages = load_file(Checkpoints(tmp_path).path(6) / "ema.safetensors")
    torch.testing.assert_close(averages["net.0.weight"], average)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_players_are_updated_in_turn(tmp_path: Path) -> None:
    rivals = toy.Rivals()
    toy.run(tmp_path, rivals, steps=4, log_every=1)
    record = lines(tmp_path)[-1]
    assert {"judge/loss", "forger/loss", "judge/gradient_norm", "forger/gradient_norm"} <= set(record)
    frames = sum(int(batch.lengths.sum()) for batch in toy.batches(0, 4, 0, 1))
    assert float(rivals.seen) == 2 * frames  # after_update follows each player's update


@dataclass(frozen=True)
class Scripted:
    """A validation batch that says what its loss is, and how much it weighs."""

    value: Tensor
    weight: Tensor


class Obedient(toy.Toy):
    """Its loss is what the batch says."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)

    def loss(self, batch: Scripted, player: str, rng: Key, shared: Any) -> Loss:
        return Loss(batch.value.sum() + 0 * self.net.weight.sum(), {}, batch.weight.sum())


def scripted(value: float, weight: float = 1.0) -> Scripted:
    return Scripted(torch.full((2,), value / 2), torch.full((2,), weight / 2))


def endless(start: int, stop: int, rank: int, world: int) -> Iterator[Scripted]:
    for _ in range(start, stop):
        yield scripted(1.0)


def obey(out: Path, values: list[float], **options: Any) -> Any:
    remaining = iter(values)
    given = {"batches": endless, "valid": lambda: [scripted(next(remaining))], "validate_every": 1}
    return toy.run(out, Obedient(), **{**given, "checkpoint_every": 1, "steps": len(values), **options})


def test_best_and_newest_are_kept(tmp_path: Path) -> None:
    outcome = obey(tmp_path, [5, 4, 1, 3, 2, 6, 7], keep=2)
    assert outcome.best == (1.0, 3)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [3, 6, 7]
    assert checkpoints.best() == checkpoints.path(3)


def test_a_better_validation_is_saved_at_once(tmp_path: Path) -> None:
    obey(tmp_path, [5, 1, 3, 2], checkpoint_every=0)
    assert Checkpoints(tmp_path).steps() == [2, 4]


def test_patience(tmp_path: Path) -> None:
    outcome = obey(tmp_path, [5, 4, 4, 4.5, 1], patience=2)
    assert outcome == ("stopped-early", 4, (4.0, 2))
    again = obey(tmp_path, [5, 4, 4, 4.5, 1], patience=2, resume=True)
    assert again == outcome


def test_validation_is_a_weighted_mean_of_the_same_loss(tmp_path: Path) -> None:
    data = [scripted(1.0, 1.0), scripted(4.0, 3.0)]
    obey(tmp_path, [0], valid=lambda: data)
    assert lines(tmp_path, "valid")[0]["loss"] == pytest.approx((1.0 + 12.0) / 4.0)


def test_validation_sees_averaged_weights_and_no_dropout(tmp_path: Path) -> None:
    objective, seen = toy.Regression(), []

    def look(module: Objective, report: Report, step: int) -> None:
        assert not module.training
        assert not torch.is_grad_enabled()
        report.audio("sample", np.zeros(100, np.float32), 8000, step)
        report.spectrogram("mel", np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32), step)
        seen.append({name: value.clone() for name, value in module.named_parameters()})

    toy.run(tmp_path, objective, on_validate=look)
    averages = Checkpoints(tmp_path).path(30)
    saved = torch.cat([value.flatten() for value in seen[-1].values()])
    current = torch.cat([value.detach().flatten() for value in objective.parameters()])
    assert len(seen) == 3
    assert (saved - current).abs().max() > 1e-4
    for name, value in load_file(averages / "ema.safetensors").items():
        assert torch.equal(seen[-1][name], value)
    assert objective.training


class Spoiled(toy.Regression):
    """Its loss, or only its gradient, is not a number from one batch on."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        if not batch.ids[0].startswith("6-"):
            return loss
        if self.where == "loss":
            return loss._replace(total=loss.total * float("nan"))
        return loss._replace(total=loss.total + (self.net[0].weight.sum() * 0).abs().sqrt())  # 0, of infinite slope


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_not_finite_stops_and_is_never_saved(tmp_path: Path, where: str) -> None:
    with pytest.raises(SeqgenError, match=r"not finite at step 7; the last good checkpoint is .*step-000004"):
        toy.run(tmp_path, Spoiled(where), log_every=50)
    assert Checkpoints(tmp_path).steps() == [4]
    with pytest.raises(SeqgenError, match="validation loss is not finite after step 2"):
        obey(tmp_path / "valid", [1.0, float("inf")])


def test_what_was_learnt_is_kept_when_a_validation_fails(tmp_path: Path) -> None:
    def look(module: Objective, report: Report, step: int) -> None:
        raise ValueError("zero-size array")

    with pytest.raises(ValueError, match="zero-size"):
        toy.run(tmp_path, on_validate=look, validate_every=2, checkpoint_every=0)
    assert Checkpoints(tmp_path).steps() == [2]
    assert toy.run(tmp_path, validate_every=2, checkpoint_every=0, resume=True).status == "finished"


def test_data_that_end(tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match="data ended before step 4"):
        toy.run(tmp_path, batches=lambda start, stop, rank, world: toy.batches(start, 3, rank, world))
    with pytest.raises(SeqgenError, match="no validation data"):
        toy.run(tmp_path, valid=list)


class Curious(toy.Regression):
    """Notes the types that reach the loss."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        self.types = (batch.x.dtype, self.net[0].weight.dtype, self.net(batch.x).dtype)
        self.first = batch.x[0, 0, 0].item()
        return super().loss(batch, player, rng, shared)


@pytest.mark.parametrize(
    ("precision", "types"),
    [
        ("32-true", (torch.float32, torch.float32, torch.float32)),
        ("bf16-mixed", (torch.float32, torch.float32, torch.bfloat16)),
        ("64-true", (torch.float64, torch.float64, torch.float64)),
    ],
)
def test_precision(
    tmp_path: Path, precision: str, types: tuple[torch.dtype, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqgen.train.processes.bfloat16_products", lambda: True)
    objective = Curious()
    toy.run(tmp_path, objective, precision=precision, steps=3)
    assert objective.types == types
    assert objective.first == toy.valid()[-1].x[0, 0, 0].item()  # batches are not rounded on the way in
    toy.run(tmp_path, Curious(), precision=precision, steps=4, resume=True)


def test_without_products_of_bfloat16_float32_takes_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated they would be slower; a warning says so."""
    monkeypatch.setattr("seqgen.train.processes.bfloat16_products", lambda: False)
    objective = Curious()
    with pytest.warns(UserWarning, match="no products of bfloat16; training computes in float32"):
        toy.run(tmp_path, objective, precision="bf16-mixed", steps=3)
    assert objective.types == (torch.float32,) * 3


def test_what_cannot_be_done_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match="16-mixed needs a GPU"):
        toy.run(tmp_path, precision="16-mixed")
    if not torch.cuda.is_available():
        with pytest.raises(SeqgenError, match="no CUDA device"):
            toy.run(tmp_path, device="cuda")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_gpu(tmp_path: Path, precision: str) -> None:
    outcome = toy.run(tmp_path, precision=precision, device="cuda")
    assert outcome.best is not None
    assert outcome.best.value < 5.0
    toy.run(tmp_path, precision=precision, device="cuda", steps=33, resume=True)


def test_memory_is_constant(tmp_path: Path) -> None:
    """Live tensors and Python's memory at step 70 and at step 290 of one run."""
    seen: list[tuple[int, int]] = []

    def watched(start: int, stop: int, rank: int, world: int) -> Iterator[toy.Batch]:
        for step, batch in enumerate(toy.batches(start, stop, rank, world), start):
            if step in (70, 290):
                gc.collect()
                tensors = sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())
                seen.append((tensors, tracemalloc.get_traced_memory()[0]))
            yield batch

    tracemalloc.start()
    try:
        toy.run(tmp_path, steps=300, log_every=20, validate_every=20, checkpoint_every=20, batches=watched)
    finally:
        tracemalloc.stop()
    (tensors, memory), (later_tensors, later_memory) = seen
    assert later_tensors == tensors
    assert later_memory - memory < 30_000


def test_metrics_and_tensorboard(tmp_path: Path) -> None:
    toy.run(tmp_path, steps=10)
    record = lines(tmp_path)[-1]
    assert set(record) == {
        *("step", "split", "loss", "distance", "gradient_norm", "learning_rate", "elements_per_second", "seconds")
    }
    assert [line["step"] for line in lines(tmp_path)] == [4, 5, 8, 10]
    assert lines(tmp_path, "valid")[0]["step"] == 10
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [4, 5, 8, 10]
    assert board.Scalars("train/loss")[-1].value == pytest.approx(record["loss"])
