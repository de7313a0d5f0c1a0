"""The tuned resonance task: samples of a known density, so that what a method reaches can be compared with what it
could reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import noise
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import Density, Generator
from seqgen.models.resonance import Resonance
from seqgen.noise import Key
from seqgen.objectives.contract import Measure, Objective
from seqgen.objectives.levels import band_levels, level
from seqgen.spec import Facts, FrameSpec
from seqgen.stream.combinators import Repeat
from seqgen.stream.conditioning import Frames
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.processes.batch import Batch, numbered
from seqgen.tasks.processes.tuned_resonance_quadrature import entropy_rate, least_divergence
from seqgen.tasks.table import Figure, Gathered, Table
from seqgen.train.batch import mapped
from seqgen.train.source import Source

_TUNINGS, _SAMPLES = 17, 18  # seeds of the recordings, which are the same for every run
_SPLITS: Mapping[str, int] = {"train": 0, "test": 1, "valid": 2}
_ROWS, _GENERATED = noise.name_to_stream("rows"), noise.name_to_stream("generated")
_PIECE = 64  # the rows of a batch are drawn from whole stretches of so many uniforms
_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step


@dataclass(frozen=True)
class TunedResonanceConfig:
    """Recordings of a resonance whose tuning glides, and how many of them there are.

    Attributes:
        process: the resonance. hop: samples of a frame. lowest, highest: range of the tunings θ/π.
        frames: of a row. pool: rows to learn from. held_out: rows to validate on, and as many to be judged by.
        passes: times that every row is judged, each with other draws.
    """

    process: Resonance.Config = field(default_factory=Resonance.Config)
    hop: int = 16
    lowest: float = 0.08
    highest: float = 0.4
    frames: int = 16
    pool: int = 256
    held_out: int = 128
    passes: int = 4

    def __post_init__(self) -> None:
        for name in ("hop", "frames", "pool", "held_out", "passes"):
            if getattr(self, name) < 1:
                raise SeqgenError(f"'{name}' is {getattr(self, name)}", remedy="give 1 or more")
        if not 0 <= self.lowest <= self.highest <= 1:
            raise SeqgenError(
                f"'lowest' is {self.lowest}, 'highest' {self.highest}", remedy="choose 0 <= lowest <= highest <= 1"
            )


def generator(config: TunedResonanceConfig) -> AutoRegressive:
    """The process as a generator like any other: frames ``[B, F, 1]`` hold θ/π."""
    distribution = LogisticMixture(LogisticMixture.Config(mixtures=2))
    body, conditioner = Resonance(config.process), Repeat(config.hop, dim=1)
    return AutoRegressive(body, distribution, conditioner, start=0.0, symbols_per_sample=1)


def tunings(config: TunedResonanceConfig, rows: int, frames: int, stream: int) -> Tensor:
    """Frames ``[rows, frames, 1]`` that glide from one random θ/π to another."""
    ends = torch.from_numpy(noise.block(_TUNINGS, stream, 0, 2 * rows)).view(rows, 2)
    way = torch.linspace(0, 1, frames)
    share = ends[:, :1] * (1 - way) + ends[:, 1:] * way
    return (config.lowest + (config.highest - config.lowest) * share)[..., None]


@torch.no_grad()
def recordings(config: TunedResonanceConfig, rows: int, frames: int, stream: int) -> Batch:
    """Recordings of the process for random tunings, by its own sampling loop: ``x [rows, frames·hop, 1]``."""
    process, tuned, samples = generator(config), tunings(config, rows, frames, stream), frames * config.hop
    u = torch.from_numpy(noise.block(_SAMPLES, stream, 0, rows * samples * 2)).view(rows, samples, 2)
    cond = Frames(tuned, torch.zeros(rows, dtype=torch.int64))
    x = process.sample(u, cond)[..., None]
    return Batch(x, torch.full((rows,), samples), numbered(range(rows)), cond)


@dataclass(frozen=True)
class Pool(Source):
    """Batches of rows taken at random from recordings; the batch of a number is a function of the number.

    Attributes:
        recordings: all rows. rows: of a training batch. whole_rows: of a batch that is judged. seed: of the run.
    """

    recordings: Batch
    rows: int
    whole_rows: int
    seed: int

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        stride = -(-self.rows // _PIECE) * _PIECE
        for number in range(start, stop):
            u = noise.block(self.seed, _ROWS, number * stride, self.rows)
            drawn = torch.from_numpy((u * len(self.recordings.x)).astype("int64"))
            yield self._taken(drawn[rank::world])

    def whole(self) -> Iterator[Batch]:
        return (self._taken(part) for part in torch.arange(len(self.recordings.x)).split(self.whole_rows))

    def _taken(self, rows: Tensor) -> Batch:
        def taken(every: Any) -> Any:
            return every[rows] if isinstance(every, Tensor) else tuple(every[row] for row in rows.tolist())

        made: Batch = mapped(self.recordings, taken)
        return made


class TunedResonance(Task):
    """Networks learn from recordings of a resonance, or from the resonance itself as their teacher; they are judged by
    their method's own figures, beside what is known of the process."""

    Config = TunedResonanceConfig
    config: TunedResonanceConfig
    evaluation_options = frozenset({"limit", "temperature", "seed"})
    sampling_options = frozenset({"out", "length", "temperature", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        options = {"hop": 4, "frames": 3, "pool": 6, "held_out": 5, "passes": 2}
        yield cls.example(options, {"valid": 5, "test": 5}, {"generator": generator(TunedResonanceConfig(hop=4))})

    def read_facts(self) -> Facts:
        return Facts(examples=self.config.pool, shape=(1,), frames=FrameSpec(channels=1, hop=self.config.hop))

    def describe(self) -> str:
        config = self.config
        return f"{config.pool} rows of {config.frames * config.hop} samples of a known resonance"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse a teacher that is another resonance than the recordings': what is known would not be of it."""
        for name, network in networks.items():
            body = network.body if isinstance(network, Generator) else network
            if isinstance(body, Resonance) and body.config != self.config.process:
                raise SeqgenError(
                    f"networks.{name} is a {body.config}, the recordings are of a {self.config.process}",
                    remedy="give task.process and the network the same numbers",
                )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> Pool:
        return self._pool(split, self.run.train.batch_size)

    def _pool(self, split: Split, whole_rows: int, limit: int = 0) -> Pool:
        rows = self.config.pool if split == "train" else self.config.held_out
        drawn = recordings(self.config, rows, self.config.frames, _SPLITS[split])
        if limit:
            drawn = mapped(drawn, lambda every: every[:limit])
        return Pool(drawn, self.run.train.batch_size, whole_rows, self.run.train.seed)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over held-out rows, each judged in several passes; the power of what the generator
        makes for them over that of the recordings, in all and in eight bands; and what is known of the process."""
        assert system.objective is not None
        pool = self._pool("test", system.objective.evaluation_rows, options.limit)
        rows = len(pool.recordings.x)
        found = Gathered()
        for index, batch in enumerate(pool.whole()):
            found.add(self._measured(system.objective, batch, index, rows), batch.ids)
        figures, process = found.figures, self.config.process
        known = {"process_entropy": Figure(entropy_rate(process), unit="nats/sample")}
        if "kl" in figures:
            least = least_divergence(process)
            known["least_kl"] = Figure(least, unit="nats/sample")
            known["excess_kl"] = Figure(figures["kl"].value - least, figures["kl"].half_width, "nats/sample")
        return Table(
            title=f"{rows} rows, {self.config.passes} times each, checkpoint {system.label}",
            figures={**figures, **self._overall(system, pool.recordings, options), **known},
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "rows": rows,
                "passes": self.config.passes,
            },
            examples=found.examples,
        )

    def _measured(self, objective: Objective, batch: Batch, index: int, rows: int) -> dict[str, Measure]:
        """Figures of a batch, summed over the passes."""
        found: dict[str, Measure] = {}
        for turn in range(index, index + self.config.passes * rows, rows):
            made = objective.measure(batch, Key(self.run.train.seed, _EVALUATION + turn), turn)
            for name, one in made.items():
                before = found.get(name, Measure(torch.zeros(()), torch.zeros(()), one.unit))
                found[name] = Measure(before.amounts + one.amounts, before.weights + one.weights, one.unit)
        return found

    def _overall(self, system: System, recorded: Batch, options: Evaluation) -> dict[str, Figure]:
        """Power of samples of all rows together over that of the recordings, in dB."""
        density = system.networks.get("generator")
        if options.likelihood_only or not isinstance(density, Density):
            return {}
        rows, samples = recorded.x.shape[:2]
        count = rows * samples * density.num_uniforms
        made = [
            density.sample(torch.from_numpy(u).view(rows, samples, -1), recorded.cond, options.temperature)
            for u in (noise.block(options.seed, _GENERATED, turn * count, count) for turn in range(self.config.passes))
        ]
        x, y = torch.cat(made)[..., None], recorded.x
        bands = enumerate(band_levels(x, y).tolist(), start=1)
        decibels = {"overall_level": level(x, y), **{f"overall_band_{number}": value for number, value in bands}}
        return {name: Figure(value, unit="dB") for name, value in decibels.items()}

    @torch.no_grad()
    def sample(self, system: System, options: Sampling) -> str:
        """Make one row for a random tuning: a line for each sample, its tuning (θ/π) and its value."""
        density = system.networks.get("generator")
        if not isinstance(density, Density):
            raise SeqgenError("this run trains no density", remedy="name the run of one, called generator")
        hop, length = self.config.hop, options.elements
        tuned = tunings(self.config, 1, -(-length // hop), _SPLITS["test"])
        u = noise.block(options.seed, 0, 0, tuned.shape[1] * hop * density.num_uniforms)
        cond = Frames(tuned, torch.zeros(1, dtype=torch.int64))
        made = density.sample(torch.from_numpy(u).view(1, -1, density.num_uniforms), cond, options.temperature)
        values = zip(tuned[0, :, 0].repeat_interleave(hop).tolist(), made[0].tolist(), strict=True)
        text = "".join(f"{tuning:.6f} {value:.6f}\n" for tuning, value in list(values)[:length])
        write_text(options.out, text)
        return f"{options.out or 'standard output'}: {length} samples"
