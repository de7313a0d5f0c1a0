"""Checkpoints that are either whole or not there, and that know which run they belong to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.train.identity import CheckpointIdentity

FORMAT = 1
STATE = "state.json"
Tensors = dict[str, Tensor]


class Best(NamedTuple):
    """The lowest validation value so far and the step it was reached at."""

    value: float
    step: int


@dataclass(frozen=True)
class Progress:
    """Progress of a run: finished updates, seconds spent, best validation, validations since then, scaler's state, and
    the threads it is computed with, on which last places may depend (0 where a former version did not tell)."""

    step: int = 0
    seconds: float = 0.0
    best: Best | None = None
    stale: int = 0
    scaler: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 0


class Snapshot(NamedTuple):
    """One checkpoint in memory: ``tensors`` maps "model", "optimiser", and "ema", "masks", "source" if any, to named
    tensors."""

    identity: CheckpointIdentity
    progress: Progress
    tensors: dict[str, Tensors]


class Damaged(SeqgenError):
    """A checkpoint whose files are missing, cut short or changed."""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(state: dict[str, Any]) -> str:
    """Digest of the state itself, so that a change in ``state.json`` is noticed as well."""
    body = {key: value for key, value in state.items() if key != "seal"}
    return _digest(json.dumps(body, sort_keys=True).encode())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, snapshot: Snapshot) -> None:
    """Write ``snapshot`` as the directory ``path``: under another name first, synced to the disk, then renamed.

    Raises:
        SeqgenError: if the disk is full or read-only; nothing is left behind.
    """
    making = path.with_name(f".making-{path.name}-{os.getpid()}")
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        files = {}
        for name, tensors in snapshot.tensors.items():
            data = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
            _write(making / f"{name}.safetensors", data)
            files[name] = {"bytes": len(data), "sha256": _digest(data)}
        _write(making / STATE, _state_text(snapshot, files).encode())
        _sync(making)
        making.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise SeqgenError(
            f"cannot write the checkpoint {path}: {error.strerror or error}",
            remedy="free some space or choose another output directory, then resume",
        ) from None
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _state_text(snapshot: Snapshot, files: dict[str, Any]) -> str:
    identity, progress = snapshot.identity, snapshot.progress
    state = {
        "format": FORMAT,
        "step": progress.step,
        "seconds": progress.seconds,
        "best": progress.best,
        "stale": progress.stale,
        "scaler": dict(progress.scaler),
        "threads": progress.threads,
        "digest": identity.digest,
        "signature": identity.signature,
        "facts": dict(identity.facts),
        "data": dict(identity.data),
        "config": identity.config_text,
        "files": files,
    }
    return json.dumps({**state, "seal": _seal(state)}, indent=1)


def read(path: Path, *, only: tuple[str, ...] | None = None) -> Snapshot:
    """Read a checkpoint directory (``only``: just these files), checking every byte that is read.

    Raises:
        Damaged: if anything in it is missing, cut short or changed.
    """
    remedy = "use another checkpoint"
    try:
        state = json.loads((path / STATE).read_bytes())
        if not isinstance(state, dict) or state.get("seal") != _seal(state):
            raise Damaged(f"{path / STATE} does not match its own digest", remedy=remedy)
        if state["format"] != FORMAT:
            raise SeqgenError(f"{path} has checkpoint format {state['format']}, expected {FORMAT}", remedy=remedy)
        tensors = {}
        for name, expected in state["files"].items():
            if only is None or name in only:
                data = (path / f"{name}.safetensors").read_bytes()
                if _digest(data) != expected["sha256"]:
                    raise Damaged(f"{path / name}.safetensors does not match its recorded sha256", remedy=remedy)
                tensors[name] = safetensors.torch.load(data)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise Damaged(f"{path} is not a whole checkpoint ({error})", remedy=remedy) from None
    best = None if state["best"] is None else Best(*state["best"])
    progress = Progress(state["step"], state["seconds"], best, state["stale"], state["scaler"], state.get("threads", 0))
    facts, data = state.get("facts", {}), state.get("data", {})  # former versions told none
    identity = CheckpointIdentity(state["config"], state["digest"], state["signature"], facts, data)
    return Snapshot(identity, progress, tensors)


class Checkpoints:
    """The checkpoints of one experiment: ``<out>/checkpoints/step-000123/``.

    Example:
        >>> Checkpoints(Path("exp/demo"), keep=2).best()  # doctest: +SKIP
        PosixPath('exp/demo/checkpoints/step-004000')
    """

    def __init__(self, out: Path, *, keep: int = 2) -> None:
        self.folder = out / "checkpoints"
        self.keep = keep

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first; whole or damaged."""
        names = (re.fullmatch(r"step-(\d{6,})", path.name) for path in self.folder.glob("step-*"))
        return sorted(int(name[1]) for name in names if name)

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint of ``snapshot.progress.step``, then delete the ones that are no longer kept."""
        path = self.path(snapshot.progress.step)
        write(path, snapshot)
        best = snapshot.progress.best
        kept = {*self.steps()[-self.keep :], *([best.step] if best else [])}
        for step in self.steps():
            if step not in kept:
                self._delete(self.path(step))
        return path

    def latest(self) -> tuple[Path | None, list[Damaged]]:
        """The newest whole checkpoint, and what was wrong with each newer one."""
        damaged: list[Damaged] = []
        for step in reversed(self.steps()):
            try:
                read(self.path(step))
                return self.path(step), damaged
            except Damaged as error:
                damaged.append(error)
        return None, damaged

    def threads(self) -> int | None:
        """With how many threads the newest whole checkpoint was computed, where that is known."""
        path, _ = self.latest()
        return None if path is None else read(path, only=()).progress.threads or None

    def best(self) -> Path:
        """The checkpoint of the best validation; the newest one where nothing was validated.

        Raises:
            SeqgenError: if there is none.
        """
        path, damaged = self.latest()
        if path is None:
            raise damaged[0] if damaged else SeqgenError(f"no checkpoint in {self.folder}", remedy="train first")
        best = read(path, only=()).progress.best
        return path if best is None else self.path(best.step)

    def tidy(self) -> None:
        """Before a run goes on: put damaged checkpoints aside and delete what a killed process left half-written."""
        for path in [*self.folder.glob(".making-*"), *self.folder.glob(".deleting-*")]:
            shutil.rmtree(path, ignore_errors=True)
        newest, _ = self.latest()
        for step in reversed(self.steps()):
            if self.path(step) == newest:
                break
            aside = self.path(step).with_name(f"damaged-{self.path(step).name}")
            shutil.rmtree(aside, ignore_errors=True)
            self.path(step).rename(aside)

    def _delete(self, path: Path) -> None:
        """Renamed first, so that a process killed half-way leaves no half checkpoint under a valid name."""
        doomed = path.with_name(f".deleting-{path.name}-{os.getpid()}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
