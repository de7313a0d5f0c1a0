"""The training loop: one for every objective, on a CPU, a GPU or many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from lightning_fabric import Fabric

from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.contract import Objective
from seqgen.train import checkpoint, processes, weights
from seqgen.train.checkpoint import Best, CheckpointIdentity, Checkpoints, Progress, Snapshot
from seqgen.train.ema import Ema
from seqgen.train.interrupt import Interrupt
from seqgen.train.meter import Meter, Reading
from seqgen.train.players import Players, rows
from seqgen.train.quantise import Quantiser
from seqgen.train.report import Report
from seqgen.train.schedule import learning_rate
from seqgen.train.settings import QuantiseConfig, SparsityConfig, TrainConfig
from seqgen.train.sparsity import Pruner

# (start, stop, rank, world) -> rows rank::world of the global batch of each step in start .. stop - 1, in order
Batches = Callable[[int, int, int, int], Iterator[Any]]
Valid = Callable[[], Iterable[Any]]
OnValidate = Callable[[Objective, Report, int], None]
Status = Literal["finished", "stopped-early", "interrupted"]
_VALIDATION = 1 << 63  # streams of validation lie beyond those of any step


class Outcome(NamedTuple):
    """How training ended, after how many steps, and the best validation."""

    status: Status
    step: int
    best: Best | None


@dataclass(frozen=True)
class _Source:
    """Where batches come from, and who is called after each validation."""

    batches: Batches
    valid: Valid | None
    on_validate: OnValidate | None


def train(
    objective: Objective,
    settings: TrainConfig,
    *,
    out: Path,
    batches: Batches,
    valid: Valid | None = None,
    identity: CheckpointIdentity,
    sparsity: SparsityConfig | None = None,
    quantise: QuantiseConfig | None = None,
    resume: bool = False,
    init_from: Path | None = None,
    on_validate: OnValidate | None = None,
    prepare: Callable[[], None] | None = None,
    device: str = "auto",
) -> Outcome:
    """Train ``objective`` for ``settings.steps`` steps; in each, every player is updated once, in turn.

    The global batch of step i and everything drawn in it are functions of (seed, i), and a checkpoint holds the rest
    (weights, averages, moments), so a resumed run goes through the same numbers as one that was never stopped.

    Args:
        objective: the method with its networks; trained in place.
        settings: see :class:`TrainConfig`.
        out: experiment directory: ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/``.
        batches: ``(start, stop, rank, world)`` -> this process's rows of each global batch.
        valid: gives the validation batches anew each time, the same in every process (each takes its share).
        identity: the run that checkpoints belong to.
        sparsity: what is pruned on the way, if anything. quantise: what is rounded on the way, if anything.
        resume: go on from the newest whole checkpoint in ``out``; from the start where there is none.
        init_from: take weights alone from this experiment, checkpoint or file (fine-tuning).
        on_validate: called in the first process with (objective, report, step), with the averaged weights in place.
        prepare: called once everything that can be refused has been looked at, before anything is written.
        device: "auto", "cpu" or "cuda".

    Raises:
        SeqgenError: if ``out`` cannot be written or holds another run, a loss is not finite, or data run out.
    """
    if resume and init_from is not None:
        raise SeqgenError(
            "--resume and --init-from are both given", remedy="the one continues a run, the other starts one"
        )
    if not resume and Checkpoints(out).steps():
        raise SeqgenError(f"{out} already holds checkpoints", remedy="give --resume or another output directory")
    fabric = processes.start(settings, device=device, players=len(objective.players))
    if init_from is not None:
        weights.load(init_from, objective)
    if prepare is not None and fabric.global_rank == 0:
        prepare()
    source = _Source(batches, valid, on_validate)
    pruner = Pruner(objective, sparsity) if sparsity is not None and sparsity.matrices else None
    rounds = quantise is not None and quantise.precision != "float32"
    quantiser = Quantiser(objective, quantise) if quantise is not None and rounds else None
    outcome = _Run(fabric, objective, settings, out, identity, pruner=pruner, quantiser=quantiser).go(source, resume)
    processes.stop()
    return outcome


class _Run:
    """The state of one training run: networks, optimisers, averages, and how far it is."""

    def __init__(
        self,
        fabric: Fabric,
        objective: Objective,
        settings: TrainConfig,
        out: Path,
        identity: CheckpointIdentity,
        *,
        pruner: Pruner | None,
        quantiser: Quantiser | None,
    ) -> None:
        self.fabric, self.objective, self.settings = fabric, objective, settings
        self.out, self.identity = out, identity
        self.checkpoints = Checkpoints(out, keep=settings.keep)
        self.players = Players(fabric, objective, settings)
        self.ema = Ema(objective, settings.ema) if settings.ema else None
        self.pruner, self.quantiser = pruner, quantiser
        self.meter = Meter(fabric.device)
        self.progress = Progress()
        self.saved = -1

    def go(self, source: _Source, resume: bool) -> Outcome:
        notes = self._resume() if resume else []
        first = self.fabric.global_rank == 0
        report = Report(self.out, steps=self.settings.steps, start=self.progress.step, active=first)
        now = time.perf_counter()
        self.began, self.logged = now - self.progress.seconds, now
        with report, Interrupt() as interrupt:
            for note in notes:
                report.note(note)
            status = self._steps(source, report, interrupt)
        return Outcome(status, self.progress.step, self.progress.best)

    def _resume(self) -> list[str]:
        path, damaged = self.checkpoints.latest()
        notes = [f"skipped a damaged checkpoint: {error.problem}" for error in damaged]
        if path is None:
            if damaged:
                raise SeqgenError(f"no whole checkpoint: {damaged[0].problem}", remedy="start in another directory")
            return [f"no checkpoint in {self.checkpoints.folder}: starting at step 0"]
        found = checkpoint.read(path)
        checkpoint.require_same_run(found.identity, self.identity, path)
        weights.assign(self.objective, found.tensors["model"], source=str(path))
        self.players.load_optimiser_state(found.tensors["optimiser"])
        if self.ema is not None:
            self.ema.load(found.tensors["ema"])
        if self.pruner is not None:
            self.pruner.load(found.tensors["masks"])
        self.fabric.strategy.precision.load_state_dict(dict(found.progress.scaler))
        self.progress, self.saved = found.progress, found.progress.step
        self.fabric.barrier()
        if self.fabric.global_rank == 0:
            self.checkpoints.tidy()
        return [*notes, f"resuming from {path}"]

    def _steps(self, source: _Source, report: Report, interrupt: Interrupt) -> Status:
        if self._out_of_patience():
            return "stopped-early"
        steps, start = self.settings.steps, self.progress.step
        stream = source.batches(start, steps, self.fabric.global_rank, self.fabric.world_size)
        self.objective.train()
        try:
            for step in range(start, steps):
                self._step(step, _next(stream, step))
                stopping = processes.any_of(self.fabric, interrupt.requested)
                self._after(source, report, stopping)
                if stopping and step + 1 < steps:
                    report.note(f"interrupted after step {step + 1}: {self.checkpoints.path(step + 1)}")
                    return "interrupted"
                if self._out_of_patience():
                    return "stopped-early"
        finally:
            close = getattr(stream, "close", None)
            if close is not None:  # a generator stops its loading processes now, not when it is collected
                close()
        return "finished"

    def _step(self, step: int, batch: Any) -> None:
        """Update every player once on this process's rows of the global batch of ``step``."""
        settings, rank, world = self.settings, self.fabric.global_rank, self.fabric.world_size
        count = settings.accumulate
        if self.quantiser is not None and self.quantiser.begin(step):
            self.progress = replace(self.progress, best=None, stale=0)  # what was validated is another network
        processes.reseed(self.fabric, settings.seed, step)
        parts = [rows(batch, part, count) for part in range(count)]
        keys = [Key(settings.seed, (step * count + part) * world + rank) for part in range(count)]
        for player in self.objective.players:
            update = self.players.update(player, parts, keys, rate=learning_rate(settings, step))
            for loss in update.losses:
                self.meter.add(step, loss, self._prefix(player))
            # The loss scaler of half precision finds its scale by overflowing: such an update is skipped, not wrong
            counts = update.norm.isfinite() if settings.precision == "16-mixed" else torch.ones_like(update.norm)
            self.meter.add_value(step, f"{self._prefix(player)}gradient_norm", update.norm, counts)
        if self.pruner is not None:
            self.pruner.update(step + 1)
        if self.ema is not None:
            self.ema.update(self.objective, step + 1)
            if self.pruner is not None:
                self.pruner.hold(self.ema.averages)
        self.progress = replace(self.progress, step=step + 1)

    def _after(self, source: _Source, report: Report, stopping: bool) -> None:
        """Log, validate and save where they are due. Values are looked at first: a spoiled network is never saved."""
        settings, step = self.settings, self.progress.step
        report.progress(step)
        last = step == settings.steps
        validate = source.valid is not None and (last or _due(step, settings.validate_every))
        save = last or stopping or _due(step, settings.checkpoint_every)
        if validate or save or _due(step, settings.log_every):
            self._log(report)
        if validate:
            better = self._validate(source, report)
            save = save or better or self._out_of_patience()
        if save:
            self._save()

    def _log(self, report: Report) -> None:
        reading, now = self.meter.read(), time.perf_counter()
        if reading.bad_step is not None:
            raise self._not_finite(f"a loss or gradient is not finite at step {reading.bad_step + 1}")
        self.progress = replace(self.progress, seconds=now - self.began)
        values = {
            **reading.means,
            "learning_rate": learning_rate(self.settings, self.progress.step - 1),
            "elements_per_second": reading.elements / max(now - self.logged, 1e-9),
            "seconds": self.progress.seconds,
        }
        if self.pruner is not None:
            values["zeros"] = self.pruner.zeros()
        self.logged = now
        report.scalars("train", self.progress.step, values)

    def _not_finite(self, problem: str) -> SeqgenError:
        last = f"the last good checkpoint is {self.checkpoints.path(self.saved)}"
        return SeqgenError(
            f"{problem}; {last if self.saved >= 0 else 'nothing was saved before'}",
            remedy="lower train.learning_rate or train.clip_norm, or use 32-true",
        )

    def _validate(self, source: _Source, report: Report) -> bool:
        """Means over the validation data with the averaged weights; whether they are the best so far."""
        assert source.valid is not None
        step, rank = self.progress.step, self.fabric.global_rank
        averaged = self.ema.applied(self.objective) if self.ema is not None else nullcontext()
        self.objective.eval()
        with torch.no_grad(), averaged:
            reading = self._means(source.valid())
            if reading.bad_step is not None:
                raise self._not_finite(f"the validation loss is not finite after step {step}")
            report.scalars("valid", step, {**reading.means, "seconds": time.perf_counter() - self.began})
            if source.on_validate is not None and rank == 0:
                source.on_validate(self.objective, report, step)
        self.objective.train()
        self.fabric.barrier()
        value = reading.means[f"{self._prefix(next(iter(self.objective.players)))}loss"]
        better = self.progress.best is None or value < self.progress.best.value
        best, stale = (Best(value, step), 0) if better else (self.progress.best, self.progress.stale + 1)
        self.progress = replace(self.progress, best=best, stale=stale)
        self.logged = time.perf_counter()
        return better

    def _means(self, data: Iterable[Any]) -> Reading:
        """Every process takes its share; one without a share weighs a batch with nothing, to name the same values."""
        rank, world, meter = self.fabric.global_rank, self.fabric.world_size, Meter(self.fabric.device)
        spare, mine = None, 0
        for index, batch in enumerate(data):
            spare = batch if spare is None else spare
            if index % world == rank:
                mine += 1
                self._measure(meter, batch, index, 1)
        if spare is None:
            raise SeqgenError("there are no validation data", remedy="check the validation data directory")
        if not mine:
            self._measure(meter, spare, 0, 0)
        return meter.read()

    def _measure(self, meter: Meter, batch: Any, index: int, share: int) -> None:
        for player in self.objective.players:
            loss = self.players.ask(batch, player, Key(self.settings.seed, _VALIDATION + index))
            meter.add(index, loss._replace(weight=loss.weight * share), self._prefix(player))

    def _save(self) -> None:
        """Write the checkpoint of the present step (first process; the others wait)."""
        if self.fabric.global_rank == 0:
            tensors = {"model": weights.of(self.objective), "optimiser": self.players.optimiser_state()}
            if self.ema is not None:
                tensors["ema"] = self.ema.averages
            if self.pruner is not None:
                tensors["masks"] = dict(self.pruner.masks)
            scaler = self.fabric.strategy.precision.state_dict()
            progress = replace(self.progress, seconds=time.perf_counter() - self.began, scaler=scaler)
            self.checkpoints.save(Snapshot(self.identity, progress, tensors))
        self.saved = self.progress.step
        self.fabric.barrier()
        self.logged = time.perf_counter()  # writing is no part of the speed of training

    def _out_of_patience(self) -> bool:
        waited = 0 < self.settings.patience <= self.progress.stale
        return waited and self.progress.step < self.settings.steps

    def _prefix(self, player: str) -> str:
        return f"{player}/" if len(self.objective.players) > 1 else ""


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _next(stream: Iterator[Any], step: int) -> Any:
    try:
        return next(stream)
    except StopIteration:
        raise SeqgenError(f"the data ended before step {step + 1}", remedy="check the training data") from None
