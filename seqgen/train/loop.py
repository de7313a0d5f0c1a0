"""The training loop: one for every objective, on a CPU, a GPU or many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from lightning_fabric import Fabric

from seqgen.errors import SeqgenError
from seqgen.files.owner import owned
from seqgen.noise import Key
from seqgen.objectives.contract import Objective, Part
from seqgen.train import checkpoint, processes, weights
from seqgen.train.batch import rows
from seqgen.train.checkpoint import Best, Checkpoints, Progress, Snapshot
from seqgen.train.ema import Ema
from seqgen.train.identity import CheckpointIdentity, require_same_run, require_same_weights
from seqgen.train.interrupt import Interrupt
from seqgen.train.meter import Meter, Reading
from seqgen.train.players import Players, Update
from seqgen.train.quantization import FakeQuantizer
from seqgen.train.report import Report
from seqgen.train.settings import PlayerConfig, QuantizationConfig, SparsityConfig, TrainConfig
from seqgen.train.source import Source
from seqgen.train.sparsity import Pruner

OnValidate = Callable[[Objective, Report, int], None]
Status = Literal["finished", "stopped-early", "interrupted"]
_VALIDATION = 1 << 63  # streams of validation lie beyond those of any step


class _NotFinite(SeqgenError):
    """Error of a network that is spoiled, and never saved."""


class Outcome(NamedTuple):
    """Outcome of a training: how it ended, after how many steps, and the best validation."""

    status: Status
    step: int
    best: Best | None


@dataclass(frozen=True)
class Recipe:
    """Recipe of a training: how an objective is trained, beside the loop's own settings.

    Attributes:
        settings: of the loop. players: of single players, where they differ.
        sparsity: what is pruned on the way, if anything. quantization: what is rounded on the way, if anything.
    """

    settings: TrainConfig
    players: Mapping[str, PlayerConfig] = field(default_factory=dict)
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)


@dataclass(frozen=True)
class _Sources:
    """Sources of a training, and who is called after each validation."""

    training: Source
    validation: Source | None
    on_validate: OnValidate | None


def train(
    objective: Objective,
    recipe: Recipe,
    *,
    out: Path,
    source: Source,
    validation: Source | None = None,
    identity: CheckpointIdentity,
    resume: bool = False,
    init_from: Path | None = None,
    on_validate: OnValidate | None = None,
    prepare: Callable[[], None] | None = None,
    device: str = "auto",
) -> Outcome:
    """Train ``objective`` for ``settings.steps`` steps; in each, the players have their turns in the order they stand
    in.

    The global batches of step i and everything drawn in it are functions of (seed, i), and a checkpoint holds the rest
    (weights, averages, moments, the state of the source), so a resumed run goes through the same numbers as one that
    was never stopped.

    Args:
        objective: the method with its networks; trained in place.
        recipe: see :class:`Recipe`.
        out: experiment directory: ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/``; owned while this runs.
        source: training batches. validation: held-out ones, of which every process takes its share.
        identity: the run that checkpoints belong to.
        resume: go on from the newest whole checkpoint in ``out``; from the start where there is none.
        init_from: take weights alone from this experiment or checkpoint (fine-tuning).
        on_validate: called in the first process with (objective, report, step), with the averaged weights in place.
        prepare: called once everything that can be refused has been looked at, before anything is written.
        device: "auto", "cpu" or "cuda".

    Raises:
        SeqgenError: if ``out`` cannot be written, is owned by another process or holds another run, a loss is not
            finite, or data run out.
    """
    if resume and init_from is not None:
        raise SeqgenError(
            "--resume and --init-from are both given", remedy="the one continues a run, the other starts one"
        )
    if not resume:
        _require_fresh(out)
    _require_whole_batches(objective, recipe.settings)
    fabric = processes.start(recipe.settings, device=device, players=len(objective.players))
    first = fabric.global_rank == 0
    with owned(out) if first else nullcontext("") as note:
        if first and not resume:
            _require_fresh(out)  # again, as another run may have ended since
        if init_from is not None:
            weights.load(init_from, objective, accept=partial(require_same_weights, expected=identity))
        run = _Run(fabric, objective, recipe, out, identity)
        outcome = run.go(_Sources(source, validation, on_validate), resume, prepare if first else None, note)
        del run  # what waits for other processes must be gone before they part
    processes.stop()
    return outcome


def _require_fresh(out: Path) -> None:
    if Checkpoints(out).steps():
        raise SeqgenError(f"{out} already holds checkpoints", remedy="give --resume or another output directory")


def _require_whole_batches(objective: Objective, settings: TrainConfig) -> None:
    if objective.couples_rows and settings.accumulate > 1:
        raise SeqgenError(
            f"'train.accumulate' is {settings.accumulate}, but {type(objective).__name__} compares the rows of a batch "
            "with each other",
            remedy="set train.accumulate to 1, and lower train.batch_size if memory is short",
        )


class _Run:
    """The state of one training run: networks, optimisers, averages, and how far it is."""

    def __init__(
        self, fabric: Fabric, objective: Objective, recipe: Recipe, out: Path, identity: CheckpointIdentity
    ) -> None:
        self.fabric, self.objective, self.settings = fabric, objective, recipe.settings
        self.out, self.identity = out, identity
        self.pruner = Pruner(objective, recipe.sparsity) if recipe.sparsity.matrices else None
        rounds = recipe.quantization.precision != "float32"
        self.quantizer = FakeQuantizer(objective, recipe.quantization) if rounds else None
        self.checkpoints = Checkpoints(out, keep=self.settings.keep)
        self.players = Players(fabric, objective, self.settings, recipe.players)
        self.ema = Ema(objective, self.settings.ema) if self.settings.ema else None
        self.meter = Meter(fabric.device)
        self.progress = Progress()
        self.saved = -1

    def go(self, sources: _Sources, resume: bool, prepare: Callable[[], None] | None, note: str) -> Outcome:
        notes = [*filter(None, [note]), *(self._resume(sources.training) if resume else [])]
        if prepare is not None:
            prepare()
        first = self.fabric.global_rank == 0
        report = Report(self.out, steps=self.settings.steps, start=self.progress.step, active=first)
        now = time.perf_counter()
        self.began, self.logged = now - self.progress.seconds, now
        with report, Interrupt() as interrupt:
            for note in notes:
                report.note(note)
            status = self._steps(sources, report, interrupt)
        return Outcome(status, self.progress.step, self.progress.best)

    def _resume(self, source: Source) -> list[str]:
        path, damaged = self.checkpoints.latest()
        notes = [f"skipped a damaged checkpoint: {error.problem}" for error in damaged]
        if path is None:
            if damaged:
                raise SeqgenError(f"no whole checkpoint: {damaged[0].problem}", remedy="start in another directory")
            return [f"no checkpoint in {self.checkpoints.folder}: starting at step 0"]
        found = checkpoint.read(path)
        require_same_run(found.identity, path, expected=self.identity)
        if found.progress.step > self.settings.steps:
            raise SeqgenError(
                f"{path} is at step {found.progress.step}, 'train.steps' is {self.settings.steps}",
                remedy=f"give {found.progress.step} steps or more",
            )
        weights.assign(self.objective, found.tensors["model"], source=str(path))
        self.players.load_optimiser_state(found.tensors["optimiser"])
        if self.ema is not None:
            self.ema.load(found.tensors["ema"])
        if self.pruner is not None:
            self.pruner.load(found.tensors["masks"])
        source.load(found.tensors.get("source", {}))
        self.fabric.strategy.precision.load_state_dict(dict(found.progress.scaler))
        self.progress, self.saved = found.progress, found.progress.step
        self.fabric.barrier()
        if self.fabric.global_rank == 0:
            self.checkpoints.tidy()
        return [*notes, f"resuming from {path}"]

    def _steps(self, sources: _Sources, report: Report, interrupt: Interrupt) -> Status:
        if self._out_of_patience():
            return "stopped-early"
        steps, start, each = self.settings.steps, self.progress.step, self.players.batches_per_step
        stream = sources.training.batches(start * each, steps * each, *self._share())
        self.objective.train()
        try:
            for step in range(start, steps):
                self._step(step, [_next(stream, step) for _ in range(each)])
                sources.training.observe(self.objective, step + 1)
                stopping = processes.any_of(self.fabric, interrupt.requested)
                self._after(sources, report, stopping)
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

    def _share(self) -> tuple[int, int]:
        """Rows of a global batch that are this process's: of coupled rows all are, in every process."""
        return (0, 1) if self.objective.couples_rows else (self.fabric.global_rank, self.fabric.world_size)

    def _step(self, step: int, batches: Sequence[Any]) -> None:
        """Give every player its turn on this process's rows of the global batches of ``step``."""
        settings = self.settings
        if self.quantizer is not None and self.quantizer.begin(step):
            self.progress = replace(self.progress, best=None, stale=0)  # what was validated is another network
        processes.reseed(self.fabric, settings.seed, step, self._share()[0])
        parts = [self._parts(step * len(batches) + index, batch) for index, batch in enumerate(batches)]
        for player in self.objective.players:
            for turn in range(self.players.turns(player, step)):
                self._note(step, player, self.players.update(player, parts[turn], step))
        if self.pruner is not None:
            self.pruner.update(step + 1)
        if self.ema is not None:
            self.ema.update(self.objective, step + 1)
            if self.pruner is not None:
                self.pruner.hold(self.ema.averages)
        self.progress = replace(self.progress, step=step + 1)

    def _parts(self, number: int, batch: Any) -> list[Part]:
        """The micro-batches of a global batch, each with its key and what the players share of it."""
        count, (rank, world) = self.settings.accumulate, self._share()
        keys = [Key(self.settings.seed, (number * count + part) * world + rank) for part in range(count)]
        return [self.players.begin(rows(batch, part, count), key) for part, key in enumerate(keys)]

    def _note(self, step: int, player: str, update: Update) -> None:
        for loss in update.losses:
            self.meter.add(step, loss, self._prefix(player))
        # The loss scaler of half precision finds its scale by overflowing: such an update is skipped, not wrong
        half = self.settings.precision == "16-mixed"
        counts = update.norm.isfinite() if half else torch.ones_like(update.norm)
        self.meter.add_value(step, f"{self._prefix(player)}gradient_norm", update.norm, counts)

    def _after(self, sources: _Sources, report: Report, stopping: bool) -> None:
        """Log, validate and save where they are due. Values are looked at first: a spoiled network is never saved."""
        settings, step = self.settings, self.progress.step
        report.progress(step)
        last = step == settings.steps
        validate = sources.validation is not None and (last or _due(step, settings.validate_every))
        save = last or stopping or _due(step, settings.checkpoint_every)
        if validate or save or _due(step, settings.log_every):
            self._log(report)
        if validate:
            try:
                better = self._validate(sources, report)
            except _NotFinite:
                raise
            except Exception:
                self._write(sources.training)  # what was learnt is not lost with a recording that cannot be judged
                raise
            save = save or better or self._out_of_patience()
        if save:
            self._save(sources.training)

    def _log(self, report: Report) -> None:
        reading, now = self.meter.read(), time.perf_counter()
        if reading.bad_step is not None:
            raise self._not_finite(f"a loss or gradient is not finite at step {reading.bad_step + 1}")
        self.progress = replace(self.progress, seconds=now - self.began, threads=torch.get_num_threads())
        values = {
            **reading.means,
            **{
                f"{self._prefix(player)}learning_rate": self.players.learning_rate(player, self.progress.step - 1)
                for player in self.objective.players
            },
            "elements_per_second": reading.elements / max(now - self.logged, 1e-9),
            "seconds": self.progress.seconds,
        }
        if self.pruner is not None:
            values["zeros"] = self.pruner.zeros()
        self.logged = now
        report.scalars("train", self.progress.step, values)
        for remark in self.objective.remarks(reading.means):
            report.note(f"step {self.progress.step}: {remark}")

    def _not_finite(self, problem: str) -> _NotFinite:
        last = f"the last good checkpoint is {self.checkpoints.path(self.saved)}"
        return _NotFinite(
            f"{problem}; {last if self.saved >= 0 else 'nothing was saved before'}",
            remedy="lower train.learning_rate or train.clip_norm, or use 32-true",
        )

    def _validate(self, sources: _Sources, report: Report) -> bool:
        """Means over the validation data with the averaged weights; whether they are the best that count so far."""
        assert sources.validation is not None
        step, rank = self.progress.step, self.fabric.global_rank
        averaged = self.ema.applied(self.objective) if self.ema is not None else nullcontext()
        self.objective.eval()
        with torch.no_grad(), averaged:
            reading = self._means(sources.validation.whole())
            if reading.bad_step is not None:
                raise self._not_finite(f"the validation loss is not finite after step {step}")
            report.scalars("valid", step, {**reading.means, "seconds": time.perf_counter() - self.began})
            if sources.on_validate is not None and rank == 0:
                sources.on_validate(self.objective, report, step)
        self.objective.train()
        self.fabric.barrier()
        value = self._monitored(reading.means)
        if not self.objective.settled:
            return False
        better = self.progress.best is None or value < self.progress.best.value
        best, stale = (Best(value, step), 0) if better else (self.progress.best, self.progress.stale + 1)
        self.progress = replace(self.progress, best=best, stale=stale)
        self.logged = time.perf_counter()
        return better

    def _monitored(self, means: dict[str, float]) -> float:
        name = self.objective.monitor
        if name not in means:
            raise SeqgenError(
                f"{type(self.objective).__name__} monitors '{name}', which its validation does not give",
                remedy=f"choose one of {', '.join(means)}",
            )
        return means[name]

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
        part = self.players.begin(batch, Key(self.settings.seed, _VALIDATION + index))
        for player in self.objective.players:
            loss = self.players.ask(part, player)
            meter.add(index, loss._replace(weight=loss.weight * share), self._prefix(player))

    def _save(self, source: Source) -> None:
        """Write the checkpoint of the present step (first process; the others wait)."""
        self._write(source)
        self.saved = self.progress.step
        self.fabric.barrier()
        self.logged = time.perf_counter()  # writing is no part of the speed of training

    def _write(self, source: Source) -> None:
        if self.fabric.global_rank == 0:
            tensors = {"model": weights.of(self.objective), "optimiser": self.players.optimiser_state()}
            if self.ema is not None:
                tensors["ema"] = self.ema.averages
            if self.pruner is not None:
                tensors["masks"] = dict(self.pruner.masks)
            if state := source.state():
                tensors["source"] = state
            scaler = self.fabric.strategy.precision.state_dict()
            progress = replace(self.progress, seconds=time.perf_counter() - self.began, scaler=scaler)
            self.checkpoints.save(Snapshot(self.identity, progress, tensors))

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
