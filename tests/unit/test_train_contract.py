"""The loop's side of its contracts: what it hands to objectives and sources, and what it does with their answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective
from seqgen.train.batch import rows
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.settings import PlayerConfig
from seqgen.train.source import Source
from tests.unit import train_toy as toy


def lines(out: Path, split: str) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in every if line["split"] == split]


class Sharing(toy.Rivals):
    """Free-running samples of the forger, made once for both players."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[str, Key, Tensor]] = []
        self.reached: list[tuple[str, bool, Tensor]] = []

    def begin(self, batch: toy.Batch, rng: Key) -> Tensor:
        assert not torch.is_grad_enabled()
        forged = self.forger(batch.x)
        assert not forged.requires_grad
        self.begun.append((batch.ids[0], rng, forged))
        return forged

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Tensor) -> Loss:
        self.reached.append((player, torch.is_grad_enabled(), shared))
        return super().loss(batch, player, rng, shared)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_begin_is_called_once_a_batch_and_reaches_every_player(tmp_path: Path, accumulate: int) -> None:
    """Once for each part of the global batch, with the key of its losses; once more for each batch of a validation."""
    sharing = Sharing()
    toy.run(tmp_path, sharing, steps=3, accumulate=accumulate, ema=0.0, validate_every=0)
    parts = 3 * accumulate
    first = [f"{step}-{part}" for step in range(3) for part in range(accumulate)]
    assert [name for name, _, _ in sharing.begun] == first + [batch.ids[0] for batch in toy.valid()]
    assert [key for _, key, _ in sharing.begun[:parts]] == [Key(0, stream) for stream in range(parts)]
    trained = sharing.reached[: 2 * parts]
    for step in range(3):
        mine = sharing.begun[step * accumulate : (step + 1) * accumulate]
        asked = trained[2 * step * accumulate : 2 * (step + 1) * accumulate]
        assert [player for player, _, _ in asked] == ["judge"] * accumulate + ["forger"] * accumulate
        assert all(shared is begun for (_, _, shared), (_, _, begun) in zip(asked, [*mine, *mine], strict=True))
        for part, (_, _, forged) in enumerate(mine):  # of its own rows
            assert len(forged) == len(rows(next(toy.batches(step, step + 1, 0, 1)), part, accumulate).x)
    assert all(grad for _, grad, _ in trained)
    validated = sharing.reached[2 * parts :]
    assert [player for player, _, _ in validated] == ["judge", "forger"] * 3
    assert not any(grad for _, grad, _ in validated)
    begun = [forged for _, _, forged in sharing.begun[parts:] for _ in range(2)]
    assert all(shared is one for (_, _, shared), one in zip(validated, begun, strict=True))


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_directions_stand_in_the_place_of_gradients(tmp_path: Path, accumulate: int) -> None:
    """A natural gradient is the gradient divided by the metric, which this toy knows; what gives none is as ever."""
    ours, theirs = toy.Natural(), toy.Natural()
    theirs.directed = False
    players = {"model": PlayerConfig(Component("sgd"), learning_rate=0.1, clip_norm=0.0)}
    toy.run(tmp_path, ours, players=players, steps=6, warmup=0, schedule="constant", accumulate=accumulate, log_every=1)
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for batch, record in zip(toy.batches(0, 6, 0, 1), lines(tmp_path, "train"), strict=True):
        optimiser.zero_grad()
        theirs.asked(batch, "model", Key(0, 0)).total.backward()
        assert theirs.place.grad is not None
        theirs.place.grad /= theirs.metric
        norm = torch.cat([parameter.grad.flatten() for parameter in theirs.parameters()]).norm()
        assert record["gradient_norm"] == pytest.approx(float(norm), rel=1e-5)
        optimiser.step()
    torch.testing.assert_close(ours.place, theirs.place)
    torch.testing.assert_close(ours.gain, theirs.gain)
    followed = toy.Natural()
    followed.directed = False
    toy.run(tmp_path / "followed", followed, players=players, steps=6, warmup=0, schedule="constant")
    assert (followed.place - ours.place).abs().max() > 1e-3


class Held(toy.Natural):
    """A toy whose directions may not be followed at all."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def limited(self, player: str, directions: Mapping[str, Tensor], rate: float) -> Mapping[str, Tensor]:
        self.rates.append(rate)
        return {name: torch.zeros_like(direction) for name, direction in directions.items()}


def test_directions_are_limited_once_a_global_batch(tmp_path: Path) -> None:
    held, fresh = Held(), Held()
    players = {"model": PlayerConfig(Component("sgd"), learning_rate=0.1, clip_norm=0.0)}
    toy.run(tmp_path, held, players=players, steps=3, warmup=0, schedule="constant", accumulate=2)
    assert held.rates == [0.1] * 3
    assert torch.equal(held.place, fresh.place)
    assert not torch.equal(held.gain, fresh.gain)


class Moving(toy.Rivals):
    """Adds up how far its parameters went, and what it was told beside."""

    tracks_motion = True

    def __init__(self) -> None:
        super().__init__()
        self.start = {name: parameter.detach().clone() for name, parameter in self.named_parameters()}
        self.went: dict[str, Tensor] = {}
        self.told: list[tuple[str, float, set[str]]] = []

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        assert not torch.is_grad_enabled()
        self.told.append((player, float(aux["seen"]), set(moved)))
        for name, motion in moved.items():
            self.went[name] = self.went.get(name, torch.zeros_like(motion)) + motion


def test_after_update_is_told_the_player_and_its_motion(tmp_path: Path) -> None:
    moving = Moving()
    players = {"judge": PlayerConfig(repeat=2), "forger": PlayerConfig(every=2)}
    toy.run(tmp_path, moving, players=players, steps=3, accumulate=2, valid=None)
    judge, forger = {"judge.weight", "judge.bias"}, {"forger.weight", "forger.bias"}
    frames = [float(batch.lengths.sum()) for batch in toy.batches(0, 6, 0, 1)]
    expected = [("judge", 0), ("judge", 1), ("forger", 0), ("judge", 2), ("judge", 3), ("judge", 4), ("judge", 5),
                ("forger", 4)]  # fmt: skip
    assert moving.told == [(player, frames[at], judge if player == "judge" else forger) for player, at in expected]
    for name, parameter in moving.named_parameters():
        assert (parameter - moving.start[name]).abs().max() > 1e-3
        torch.testing.assert_close(moving.went[name], parameter.detach() - moving.start[name], rtol=1e-5, atol=1e-6)


class Still(Moving):
    tracks_motion = False


def test_motion_is_not_measured_where_nobody_asks(tmp_path: Path) -> None:
    still = Still()
    toy.run(tmp_path, still, steps=2, valid=None)
    assert [moved for _, _, moved in still.told] == [set()] * 4


class Silent(toy.Natural):
    """Gives no sums, but wants to be told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Mapping[str, Tensor]] = []

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        self.told.append(aux)


def test_after_update_follows_each_update_without_sums_too(tmp_path: Path) -> None:
    silent = Silent()
    toy.run(tmp_path, silent, steps=3, valid=None)
    assert silent.told == [{}, {}, {}]


def test_rows_that_see_each_other_are_not_parted(tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match=r"'train.accumulate' is 2, but Contrast compares.*set train.accumulate to 1"):
        toy.run(tmp_path / "out", toy.Contrast(), accumulate=2)
    assert not (tmp_path / "out").exists()
    contrast = toy.Contrast()
    assert toy.run(tmp_path / "out", contrast, steps=4).status == "finished"
    assert float(contrast.seen) == 4 * toy.ROWS


class Monitored(toy.Toy):
    """Its batches say what its loss and its error are; the error ranks."""

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self.ranking, self.net = monitor, nn.Linear(1, 1)

    @property
    def monitor(self) -> str:
        return self.ranking

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss, error = batch.x[0, 0, 0], batch.x[0, 0, 1]
        return Loss(loss + 0 * self.net.weight.sum(), {"error": error}, torch.ones(()))


def told(*values: tuple[float, float]) -> Any:
    """Validations that say these losses and errors, one after the other."""
    remaining = iter(values)
    return lambda: [toy.Batch(torch.tensor([[next(remaining)]]), torch.ones(1), ("a",))]


VALUES = ((5.0, 3.0), (4.0, 1.0), (3.0, 2.0), (2.0, 4.0))
EACH = {"validate_every": 1, "checkpoint_every": 0, "steps": 4}


@pytest.mark.parametrize(("monitor", "best"), [("error", (1.0, 2)), ("loss", (2.0, 4))])
def test_the_monitor_ranks_checkpoints(tmp_path: Path, monitor: str, best: tuple[float, int]) -> None:
    outcome = toy.run(tmp_path, Monitored(monitor), valid=told(*VALUES), **EACH)
    assert outcome.best == best
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.best() == checkpoints.path(best[1])


def test_the_monitor_decides_when_patience_ends(tmp_path: Path) -> None:
    options = {**EACH, "patience": 1}
    assert toy.run(tmp_path / "error", Monitored("error"), valid=told(*VALUES), **options)[:2] == ("stopped-early", 3)
    assert toy.run(tmp_path / "loss", Monitored("loss"), valid=told(*VALUES), **options)[:2] == ("finished", 4)


def test_an_unknown_monitor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match=r"Monitored monitors 'errors', which .* does not give; .*loss, error"):
        toy.run(tmp_path, Monitored("errors"), valid=told(*VALUES), **EACH)


def test_by_default_the_first_players_loss_ranks(tmp_path: Path) -> None:
    assert (toy.Regression().monitor, toy.Rivals().monitor) == ("loss", "judge/loss")
    outcome = toy.run(tmp_path, toy.Rivals(), steps=20)
    values = {line["step"]: line["judge/loss"] for line in lines(tmp_path, "valid")}
    assert set(values) == {10, 20}
    assert outcome.best is not None
    assert outcome.best.value == min(values.values())


class Learning(Source):
    """Batches that depend on what was learnt: an environment, with a place in a world and a count of its steps."""

    def __init__(self, fatal: int = -1) -> None:
        self.place, self.count, self.fatal = torch.zeros(toy.WIDTH), torch.zeros((), dtype=torch.int64), fatal
        self.observed: list[int] = []

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[toy.Batch]:
        for number, batch in enumerate(toy.batches(start, stop, rank, world), start):
            if number == self.fatal:
                raise RuntimeError("gone")
            yield toy.Batch(batch.x + self.place, batch.lengths, batch.ids)

    def whole(self) -> Iterable[toy.Batch]:
        return toy.valid()

    def observe(self, objective: Objective, step: int) -> None:
        self.observed.append(step)
        self.count += 1
        self.place = 0.9 * self.place + objective.net[0].weight.detach().mean(dim=0)

    def state(self) -> dict[str, Tensor]:
        return {"place": self.place, "count": self.count}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.place, self.count = tensors["place"].clone(), tensors["count"].clone()


def test_a_source_observes_after_every_step_and_is_saved(tmp_path: Path) -> None:
    source, objective = Learning(), toy.Regression()
    toy.run(tmp_path, objective, source=source, steps=6)
    assert source.observed == [1, 2, 3, 4, 5, 6]
    for step in (4, 6):  # what is saved has seen the step that it is saved after
        saved = load_file(Checkpoints(tmp_path).path(step) / "source.safetensors")
        assert int(saved["count"]) == step
    assert torch.equal(saved["place"], source.place)
    assert source.place.abs().max() > 0.1


@pytest.mark.parametrize("fatal", [6, 17, 29])
def test_a_source_with_state_goes_on_where_it_was(tmp_path: Path, fatal: int) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    toy.run(whole, source=Learning())
    with pytest.raises(RuntimeError, match="gone"):
        toy.run(halves, source=Learning(fatal))
    again = Learning()
    toy.run(halves, source=again, resume=True)
    assert again.observed == list(range(fatal // 4 * 4 + 1, 31))
    for name in ("model", "optimiser", "ema", "source"):
        one, other = (Checkpoints(out).path(30) / f"{name}.safetensors" for out in (whole, halves))
        assert one.read_bytes() == other.read_bytes()


def test_sources_without_state_leave_nothing_in_checkpoints(tmp_path: Path) -> None:
    toy.run(tmp_path, steps=2)
    assert not (Checkpoints(tmp_path).path(2) / "source.safetensors").exists()
