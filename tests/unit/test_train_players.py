"""Players with optimisers, rates, clipping and turns of their own, and how a run of them is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.contract import Loss
from seqgen.optim.torch_optimisers import decay_groups
from seqgen.tasks import run
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.settings import PlayerConfig
from tests.unit import train_toy as toy
from tests.unit.cli_workspace import CONFIG

# Every registered optimiser, and those whose state depends on an option with it.
OPTIMISERS = [
    *(Component(name) for name in registry.OPTIMISERS),
    Component("sgd", {"momentum": 0.9, "form": "nesterov", "weight_decay": 0.1}),
    Component("rmsprop", {"momentum": 0.5}),
    Component("adam", {"betas": [0.5, 0.9], "weight_decay": 0.1}),
]


class Watched(toy.Rivals):
    """Notes the batches and keys that each player is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[tuple[str, str, int]] = []

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        if torch.is_grad_enabled():
            self.turns.append((player, batch.ids[0], rng.stream))
        return super().loss(batch, player, rng, shared)


def until(fatal: int) -> Any:
    """Batches of a process that is gone when batch ``fatal`` is asked for."""

    def made(start: int, stop: int, rank: int, world: int) -> Iterator[toy.Batch]:
        for number, batch in enumerate(toy.batches(start, stop, rank, world), start):
            if number == fatal:
                raise RuntimeError("gone")
            yield batch

    return made


def files(out: Path, step: int = 30) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Checkpoints(out).path(step).glob("*.safetensors")}


def test_a_repeated_turn_takes_batches_of_its_own(tmp_path: Path) -> None:
    """Batch ``step · R + r`` is that of the r-th repetition; every player begins with the first; ``every`` skips."""
    watched = Watched()
    players = {"judge": PlayerConfig(repeat=3), "forger": PlayerConfig(every=2)}
    toy.run(tmp_path, watched, players=players, steps=3, valid=None)
    expected = [("judge", 0), ("judge", 1), ("judge", 2), ("forger", 0), ("judge", 3), ("judge", 4), ("judge", 5),
                ("judge", 6), ("judge", 7), ("judge", 8), ("forger", 6)]  # fmt: skip
    assert watched.turns == [(player, f"{number}-0", number) for player, number in expected]
    frames = [int(batch.lengths.sum()) for batch in toy.batches(0, 9, 0, 1)]
    assert float(watched.seen) == sum(frames[number] for _, number in expected)


def test_a_player_may_begin_later(tmp_path: Path) -> None:
    """Its turns are counted from its first one."""
    watched = Watched()
    players = {"forger": PlayerConfig(after=3, every=2)}
    toy.run(tmp_path, watched, players=players, steps=7, valid=None)
    assert [ids for player, ids, _ in watched.turns if player == "forger"] == ["3-0", "5-0"]
    assert [ids for player, ids, _ in watched.turns if player == "judge"] == [f"{step}-0" for step in range(7)]


def test_parts_of_repeated_turns_draw_from_streams_of_their_own(tmp_path: Path) -> None:
    watched = Watched()
    players = {"judge": PlayerConfig(repeat=2)}
    toy.run(tmp_path, watched, players=players, steps=2, valid=None, accumulate=2)
    streams = [stream for player, _, stream in watched.turns if player == "judge"]
    assert streams == list(range(8))


def test_each_player_is_trained_as_it_is_configured(tmp_path: Path) -> None:
    """Against the updates written out by hand: optimiser, rate and clipping of each, on the batches of its turns."""
    ours, theirs = toy.Rivals(), toy.Rivals()
    players = {
        "judge": PlayerConfig(Component("adam", {"betas": [0.5, 0.9]}), learning_rate=0.05, clip_norm=0.0, repeat=2),
        "forger": PlayerConfig(Component("sgd", {"momentum": 0.9}), clip_norm=0.01, every=2),
    }
    toy.run(tmp_path, ours, players=players, steps=5, schedule="cosine", warmup=2, valid=None, weight_decay=0.5)
    judge = torch.optim.Adam(theirs.judge.parameters(), betas=(0.5, 0.9))
    forger = torch.optim.SGD(theirs.forger.parameters(), momentum=0.9)
    data = list(toy.batches(0, 10, 0, 1))
    for step in range(5):
        rate = (step + 1) / 2 if step < 2 else 0.5 * (1 + torch.cos(torch.tensor((step - 2) / 3 * torch.pi)).item())
        for turn in range(2):
            judge.param_groups[0]["lr"] = 0.05 * rate
            judge.zero_grad()
            theirs.asked(data[2 * step + turn], "judge", Key(0, 0)).total.backward()
            judge.step()
        if step % 2 == 0:
            forger.param_groups[0]["lr"] = 0.01 * rate
            forger.zero_grad()
            theirs.asked(data[2 * step], "forger", Key(0, 0)).total.backward()
            assert nn.utils.clip_grad_norm_(theirs.forger.parameters(), 0.01) > 0.01
            forger.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda one: "-".join([one.name, *one.options]))
@pytest.mark.parametrize("fatal", [11, 37])
def test_resume_is_exact(tmp_path: Path, optimiser: Component, fatal: int) -> None:
    """Whatever state an optimiser has, and wherever in the order of turns the run was cut."""
    options: dict[str, Any] = {
        "players": {"judge": PlayerConfig(optimiser, after=1, every=3), "forger": PlayerConfig(repeat=2)},
        "learning_rate": 1e-3,
    }
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    toy.run(whole, toy.Rivals(), **options)
    with pytest.raises(RuntimeError, match="gone"):
        toy.run(halves, toy.Rivals(), batches=until(fatal), **options)
    assert Checkpoints(halves).steps()[-1] == fatal // 2 // 4 * 4
    toy.run(halves, toy.Rivals(), resume=True, **options)
    assert files(halves).keys() == {f"{name}.safetensors" for name in ("model", "optimiser", "ema")}
    assert files(halves) == files(whole)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda one: "-".join([one.name, *one.options]))
def test_every_optimiser_descends_and_only_matrices_decay(optimiser: Component) -> None:
    module = nn.Linear(3, 2)
    made = config.construct(optimiser, registry.OPTIMISERS, source="test").make(list(module.parameters()))
    assert isinstance(made, torch.optim.Optimizer)
    for group in made.param_groups:
        group["lr"] = 1e-3
        decays = {parameter.ndim for parameter in group["params"]} == {2}
        assert group["weight_decay"] == (optimiser.options.get("weight_decay", 0.0) if decays else 0.0)
    x = torch.eye(3)
    before = float(module(x).detach().square().mean())
    for _ in range(20):
        made.zero_grad()
        module(x).square().mean().backward()
        made.step()
    assert float(module(x).detach().square().mean()) < before


def test_groups_without_parameters_are_left_out() -> None:
    bias = nn.Parameter(torch.zeros(2))
    assert decay_groups([bias], 0.1) == [{"params": [bias], "weight_decay": 0.0}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"players": {"referee": PlayerConfig()}}, "Rivals has no player 'referee'; configure judge, forger"),
        ({"players": {"judge": PlayerConfig(Component("adamm"))}}, "players.judge: unknown optimiser 'adamm'; did you"),
        ({"players": {"judge": PlayerConfig(Component("sgd", {"betas": [0, 0]}))}}, "unknown key 'betas'"),
        ({"players": {"judge": PlayerConfig(Component("adam", {"betas": [0, 1]}))}}, "'betas' is"),
    ],
)
def test_what_no_player_can_do_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SeqgenError, match=message):
        toy.run(tmp_path / "out", toy.Rivals(), **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("after", -1),
        ("every", 0),
        ("repeat", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("clip_norm", -1.0),
    ],
)
def test_settings_of_a_player_out_of_range(name: str, value: float) -> None:
    with pytest.raises(SeqgenError, match=f"'{name}'.* {value}"):
        PlayerConfig(**{name: value})


def test_players_are_part_of_the_yaml(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.format(root="data") + "players:\n  generator: {optimiser: {name: sgd, momentum: 0.5}}\n")
    loaded = run.load(path, ["players.generator.repeat=2"])
    assert loaded.players == {"generator": PlayerConfig(Component("sgd", {"momentum": 0.5}), repeat=2)}
    path.write_text(config.dump(loaded))
    assert run.load(path) == loaded
    with pytest.raises(SeqgenError, match=r"unknown key 'repaet' in 'players\.generator'; did you mean 'repeat'"):
        run.load(path, ["players.generator.repaet=2"])


def test_half_precision_leaves_directions_and_gradients_alone() -> None:
    """Gradients are scaled up on the way and down again; a direction must come out as it was given."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

    from seqgen.train.players import Players

    moved = {}
    for name, plugin in (("whole", None), ("half", MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu")))):
        natural, one = toy.Natural(), PlayerConfig(Component("sgd"), learning_rate=0.1, clip_norm=0.0)
        fabric = Fabric(accelerator="cpu", plugins=plugin)
        players = Players(fabric, natural, toy.settings(warmup=0, schedule="constant"), {"model": one})
        batch = next(toy.batches(0, 1, 0, 1))
        players.update("model", [players.begin(batch, Key(0, 0))], 0)
        moved[name] = [parameter.detach().clone() for parameter in natural.parameters()]
    for whole, half in zip(moved["whole"], moved["half"], strict=True):
        torch.testing.assert_close(half, whole, rtol=1e-3, atol=1e-5)


def test_metrics_are_those_of_each_player(tmp_path: Path) -> None:
    players = {"judge": PlayerConfig(repeat=2)}
    toy.run(tmp_path, toy.Rivals(), players=players, steps=4, log_every=1, checkpoint_every=0, valid=None)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(
        {"judge/loss", "forger/loss", "judge/gradient_norm", "forger/gradient_norm"} <= set(line) for line in lines
    )
