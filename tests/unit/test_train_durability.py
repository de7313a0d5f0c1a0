"""What a training leaves behind and goes on from: writes that outlive a power cut, a scale that outlives a resumption,
noise that never comes twice."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from seqgen.noise import Key
from seqgen.objectives.contract import Loss
from seqgen.train import checkpoint, processes
from seqgen.train.checkpoint import Checkpoints, Progress, Snapshot
from tests.unit import train_toy as toy


def snapshot(step: int) -> Snapshot:
    tensors = {name: {"w": torch.arange(4.0) + step} for name in ("model", "optimiser", "ema")}
    return Snapshot(toy.IDENTITY, Progress(step=step), tensors)


class Disk:
    """What a checkpoint's writer asks of the disk, in order: ``("sync", name)`` and ``("rename", from, to)``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, ...]] = []
        sync, rename = os.fsync, os.rename

        def synced(handle: int) -> None:
            self.asked.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
            sync(handle)

        def renamed(old: Any, new: Any, **options: Any) -> None:
            self.asked.append(("rename", os.fspath(old), os.fspath(new)))
            rename(old, new, **options)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "rename", renamed)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file, then their folder, are synced under another name; one rename; then the folder that holds the name."""
    disk, path = Disk(monkeypatch), tmp_path / "checkpoints" / "step-000007"
    checkpoint.write(path, snapshot(7))
    (move,) = (one for one in disk.asked if one[0] == "rename")
    assert move[2] == str(path)
    making, at = Path(move[1]), disk.asked.index(move)
    before, after = disk.asked[:at], disk.asked[at + 1 :]
    files = {("sync", str(making / one.name)) for one in path.iterdir()}
    assert len(files) == 4  # three sets of tensors and what they are
    assert set(before) == files | {("sync", str(making))}
    assert before[-1] == ("sync", str(making))
    assert after == [("sync", str(path.parent))]
    assert making.parent == path.parent
    assert not making.exists()


def test_no_copy_stands_under_a_checkpoint_s_name_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of the disk is asked: where the name is there, the checkpoint is whole."""
    path, seen = tmp_path / "step-000007", []

    def looked(function: Any) -> Any:
        def asked(*given: Any, **options: Any) -> Any:
            for _ in range(2):
                if path.exists():
                    checkpoint.read(path)
                seen.append(function)
            return function(*given, **options)

        return asked

    for module, name in ((os, "fsync"), (os, "open"), (os, "rename"), (os, "mkdir"), (shutil, "copyfile")):
        monkeypatch.setattr(module, name, looked(getattr(module, name)))
    checkpoint.write(path, snapshot(7))
    assert len(seen) > 10
    assert checkpoint.read(path).progress.step == 7


def test_what_is_no_longer_kept_loses_its_name_before_it_loses_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(snapshot(1))
    removed = []
    rmtree = shutil.rmtree

    def watched(path: Any, **options: Any) -> None:
        removed.append(Path(path).name)
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    kept.save(snapshot(2))
    assert kept.steps() == [2]
    assert not any(name.startswith("step-") for name in removed)
    assert any(name.startswith(".deleting-step-000001") for name in removed)


def test_the_scale_of_half_precision_is_saved_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a resumed run begins at a scale that overflows, and skips updates that the first did not."""
    start, loaded = processes.start, []
    scaler = {
        "scale": 512.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 3,
    }

    def started(*given: Any, **options: Any) -> Any:
        fabric = start(*given, **options)
        precision = fabric.strategy.precision
        monkeypatch.setattr(precision, "state_dict", lambda: dict(scaler), raising=False)
        monkeypatch.setattr(precision, "load_state_dict", loaded.append, raising=False)
        return fabric

    monkeypatch.setattr(processes, "start", started)
    toy.run(tmp_path / "x", steps=4, source=toy.Toys(toy.batches), validate_every=0)
    assert loaded == []
    saved = Checkpoints(tmp_path / "x").latest()[0]
    assert saved is not None
    assert checkpoint.read(saved).progress.scaler == scaler
    toy.run(tmp_path / "x", steps=4, resume=True)
    assert loaded == [scaler]


class Listening(toy.Regression):
    """Notes the key of every loss in training."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.keys: list[Key] = []

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        if self.training:
            self.keys.append(rng)
        return super().loss(batch, player, rng, shared)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_no_step_and_no_part_of_one_is_given_noise_that_another_had(tmp_path: Path, accumulate: int) -> None:
    """Nor is a resumed run, nor one of another seed; validation draws its own, the same at each."""
    first, resumed, other = Listening(), Listening(), Listening()
    toy.run(tmp_path / "x", first, steps=9, accumulate=accumulate)
    assert len(first.keys) == 9 * accumulate
    assert max(Counter(first.keys).values()) == 1
    shutil.rmtree(tmp_path / "x" / "checkpoints" / "step-000009")
    toy.run(tmp_path / "x", resumed, steps=9, accumulate=accumulate, resume=True)
    assert resumed.keys == first.keys[-accumulate:]
    toy.run(tmp_path / "y", other, steps=9, accumulate=accumulate, seed=1)
    assert not set(other.keys) & set(first.keys)


def test_validations_draw_the_same_noise_each_time_and_none_of_training(tmp_path: Path) -> None:
    class Judged(Listening):
        def __init__(self) -> None:
            super().__init__()
            self.judged: list[Key] = []

        def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
            if not self.training:
                self.judged.append(rng)
            return super().loss(batch, player, rng, shared)

    judged = Judged()
    toy.run(tmp_path / "x", judged, steps=4, validate_every=2)
    batches = len(toy.valid())
    assert judged.judged[:batches] == judged.judged[batches:]
    assert len(set(judged.judged)) == batches
    assert not set(judged.judged) & set(judged.keys)
