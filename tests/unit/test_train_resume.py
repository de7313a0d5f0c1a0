"""A run that was killed, interrupted or damaged goes on exactly as if nothing had happened."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from seqgen.errors import SeqgenError
from seqgen.train import checkpoint
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.interrupt import Interrupt
from tests.unit import train_toy as toy

REPOSITORY = Path(__file__).parents[2]
FILES = ("model.safetensors", "optimiser.safetensors", "ema.safetensors")


def contents(out: Path, step: int = 30) -> dict[str, bytes]:
    """Files of a checkpoint, and what its state says about the run (not about the time it took)."""
    folder = Checkpoints(out).path(step)
    state = json.loads((folder / "state.json").read_text())
    told = {key: state[key] for key in ("step", "best", "stale", "scaler")}
    return {**{name: (folder / name).read_bytes() for name in FILES}, "state": json.dumps(told).encode()}


def history(out: Path) -> list[dict[str, Any]]:
    timing = ("seconds", "elements_per_second")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 30 steps that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert toy.run(out).status == "finished"
    return out


@pytest.mark.parametrize("death", [("--die-at-step", "14"), ("--die-at-file", "11")])
def test_kill_and_resume_is_bit_equal(tmp_path: Path, whole: Path, death: tuple[str, str]) -> None:
    command = [sys.executable, "-m", "tests.unit.train_toy", str(tmp_path), *death]
    killed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert 0 < Checkpoints(tmp_path).steps()[-1] < 14
    outcome = toy.run(tmp_path, resume=True)
    assert outcome.status == "finished"
    assert contents(tmp_path) == contents(whole)
    assert history(tmp_path) == history(whole)
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_finishes_the_step_and_saves(tmp_path: Path, whole: Path, number: signal.Signals) -> None:
    def signalled(start: int, stop: int, rank: int, world: int) -> Iterator[toy.Batch]:
        for step, batch in enumerate(toy.batches(start, stop, rank, world), start):
            if step == 6:
                os.kill(os.getpid(), number)
            yield batch

    before = signal.getsignal(number)
    outcome = toy.run(tmp_path, batches=signalled)
    assert outcome.status == "interrupted"
    assert outcome.step == 7
    assert signal.getsignal(number) is before
    assert Checkpoints(tmp_path).steps()[-1] == 7
    toy.run(tmp_path, resume=True)
    assert signal.getsignal(number) is before
    assert contents(tmp_path) == contents(whole)


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not interrupt.requested
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "gone"), OSError(errno.EIO, "closed")])
def test_a_run_goes_on_when_nobody_watches(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stderr", Gone())
    assert toy.run(tmp_path).status == "finished"
    assert contents(tmp_path) == contents(whole)


@pytest.mark.parametrize("name", [*FILES, "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Path, name: str, damage: str
) -> None:
    toy.run(tmp_path, steps=10, checkpoint_every=4, schedule="constant", valid=None, log_every=50)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [8, 10]
    path = checkpoints.path(10) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage != "remove":
        path.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    found, damaged = checkpoints.latest()
    assert found == checkpoints.path(8)
    assert str(checkpoints.path(10)) in str(damaged[0])
    if damage == "flip":
        toy.run(tmp_path, steps=12, schedule="constant", valid=None, resume=True)
        assert "skipped a damaged checkpoint" in capsys.readouterr().err
        assert checkpoints.latest() == (checkpoints.path(12), [])
        assert (checkpoints.folder / "damaged-step-000010").is_dir()


def test_a_changed_number_in_the_state_is_noticed(tmp_path: Path) -> None:
    toy.run(tmp_path, steps=2, valid=None)
    state = Checkpoints(tmp_path).path(2) / "state.json"
    state.write_text(state.read_text().replace('"stale": 0', '"stale": 1'))
    with pytest.raises(checkpoint.Damaged, match="does not match its own digest"):
        checkpoint.read(state.parent)


def test_only_damaged_checkpoints_is_an_error(tmp_path: Path) -> None:
    toy.run(tmp_path, steps=2, keep=1, valid=None)
    (Checkpoints(tmp_path).path(2) / "model.safetensors").unlink()
    with pytest.raises(SeqgenError, match="no whole checkpoint"):
        toy.run(tmp_path, steps=2, resume=True)


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    toy.run(tmp_path, steps=2, valid=None)
    other = CheckpointIdentity("train:\n  steps: 30\n  learning_rate: 0.02\n", "ba9876543210", "features-1")
    with pytest.raises(SeqgenError, match=r"another run \(train.learning_rate: 0.01 there, 0.02 here\)"):
        toy.run(tmp_path, steps=2, resume=True, identity=other)
    features = CheckpointIdentity(toy.IDENTITY.config_text, toy.IDENTITY.digest, "features-2")
    with pytest.raises(SeqgenError, match=r"another run \(features: features-1 there, features-2 here\)"):
        toy.run(tmp_path, steps=2, resume=True, identity=features)


def test_a_finished_or_foreign_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy.run(tmp_path, steps=2, valid=None, resume=True).step == 2
    assert "starting at step 0" in capsys.readouterr().err
    before = contents(tmp_path, 2)
    with pytest.raises(SeqgenError, match="already holds checkpoints"):
        toy.run(tmp_path, steps=2, valid=None)
    assert toy.run(tmp_path, steps=2, valid=None, resume=True).status == "finished"
    assert contents(tmp_path, 2) == before


def test_init_from_takes_the_averaged_weights_alone(tmp_path: Path, whole: Path) -> None:
    objective = toy.Regression()
    options = {"init_from": whole, "steps": 1, "learning_rate": 1e-12, "ema": 0.0, "valid": None}
    outcome = toy.run(tmp_path, objective, **options)
    assert outcome.step == 1
    best = Checkpoints(whole).best()
    for name, value in load_file(best / "ema.safetensors").items():
        assert objective.get_parameter(name).sub(value).abs().max() < 1e-9
    with pytest.raises(SeqgenError, match="resume and --init-from"):
        toy.run(tmp_path, resume=True, init_from=whole)
    with pytest.raises(SeqgenError, match="no tensor"):
        toy.run(tmp_path / "other", toy.Rivals(), init_from=whole)


@pytest.mark.parametrize("fatal", [1, 2, 4])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int) -> None:
    original, written = checkpoint._write, []

    def write(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 4 + fatal:
            path.write_bytes(data[:3])
            raise OSError(28, "No space left on device")
        original(path, data)

    monkeypatch.setattr(checkpoint, "_write", write)
    with pytest.raises(SeqgenError, match=r"cannot write the checkpoint .*step-000008: No space left"):
        toy.run(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000004"]
    assert Checkpoints(tmp_path).latest() == (Checkpoints(tmp_path).path(4), [])


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SeqgenError, match="cannot write in"):
        toy.run(tmp_path / "file" / "out")
