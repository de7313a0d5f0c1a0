"""Two processes under torchrun train as one does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seqgen.train import loop, processes
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.players import Players
from tests.unit import train_toy as toy

REPOSITORY = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("name", "accumulate"), [("standing", 2), ("contrast", 1), ("natural", 2), ("codes", 2)])
def test_two_processes_equal_one(tmp_path: Path, name: str, accumulate: int) -> None:
    """Two players, one of whom stands still at times, rows of unequal weight, micro-batches in each process, any number
    of validation batches; rows that see each other, dropout and buffers included; directions in the place of
    gradients; codebooks, whose sums are those of all processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    command += [f"--master-port={free_port()}", "-m", "tests.unit.train_toy", str(tmp_path / "two")]
    command += [f"--objective={name}", f"--accumulate={accumulate}"]
    two = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert two.returncode == 0, two.stderr
    toy.run(tmp_path / "one", toy.TOYS[name](), valid=toy.growing_valid())
    expected, got = records(tmp_path / "one"), records(tmp_path / "two")
    assert [(line["step"], line["split"]) for line in got] == [(line["step"], line["split"]) for line in expected]
    for here, there in zip(got, expected, strict=True):
        for value in here:
            if value.endswith(("loss", "gradient_norm", "still")):
                assert here[value] == pytest.approx(there[value], rel=1e-5), (here["step"], value)
    if name == "standing":
        still = [line["judge/still"] for line in got if line["split"] == "train"]
        assert 0 < sum(still) < len(still)
    if name == "codes":
        counts = load_file(Checkpoints(tmp_path / "one").path(30) / "model.safetensors")
        assert all(bool(value) for key, value in counts.items() if key.endswith("started"))
    for kind in ("model", "ema"):
        first, second = (
            load_file(Checkpoints(tmp_path / which).path(30) / f"{kind}.safetensors") for which in ("one", "two")
        )
        assert first.keys() == second.keys()
        for key, value in first.items():
            torch.testing.assert_close(second[key], value, rtol=1e-5, atol=1e-6)


def test_players_and_targets_stay_in_step(tmp_path: Path) -> None:
    """Of actor, critic and discriminator, whose processes draw sequences of their own, each holds the same in the end:
    networks, target networks that began apart, and running means."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    command += [f"--master-port={free_port()}", "-m", "tests.unit.actual_processes", str(tmp_path)]
    two = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert two.returncode == 0, two.stderr
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert {name.split(".")[0] for name in first} == {
        "generator", "critic", "discriminator", "target_generator", "target_critic", "mean_reward", "mean_accuracy"
    }  # fmt: skip
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert float(first["mean_accuracy.batches"]) == 16
    assert float(first["mean_reward.batches"]) == 6


def test_processes_part_after_all_that_waits_for_others_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What DDP leaves behind waits for the other processes when it goes; once they have parted, for ever."""
    made: list[weakref.ref[Players]] = []
    alive: list[bool] = []

    class Followed(Players):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(weakref.ref(self))

    monkeypatch.setattr(loop, "Players", Followed)
    monkeypatch.setattr(processes, "stop", lambda: alive.append(made[0]() is not None))
    toy.run(tmp_path, steps=2, valid=None)
    assert alive == [False]
