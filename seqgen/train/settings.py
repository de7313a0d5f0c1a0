"""Settings of training: plain data, so that a process without torch can read a run's configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.train.identity import LENGTH, NEUTRAL


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop. Everything is counted in steps; one step is one update of every player.

    Attributes:
        steps: updates in all. A run that is resumed may be given more, unless its schedule depends on them.
        batch_size: rows of the global batch of one step, over all processes and micro-batches.
        learning_rate: peak rate, of every player that sets none of its own.
        schedule: shape of the rate after the warm-up; see ``seqgen.train.schedule``.
        warmup: steps of linear warm-up (0: none).
        weight_decay, betas: of AdamW, for every player that names no optimiser: decay of parameters of two or more
            dimensions (gains and biases do not decay), and decay rates of the two moments.
        clip_norm: largest L2 norm of one player's gradient (0: no clipping), where the player sets none.
        accumulate: micro-batches that the rows of one process are cut into; it bounds memory and changes no gradient.
        precision: Lightning Fabric's name of the arithmetic; 16-mixed needs a GPU.
        ema: decay of the moving average of the parameters (0: none).
        validate_every: steps between validations (0: only after the last step).
        checkpoint_every: steps between checkpoints (0: only after the last step).
        keep: how many of the newest checkpoints stay, beside the best.
        patience: validations without a better value after which training stops (0: never).
        workers: data-loading processes (0: read in the training process).
        log_every: steps between two lines of metrics.
        seed: key of everything that training draws.
    """

    steps: int = field(metadata=LENGTH)
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "inverse-sqrt"] = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 1.0
    accumulate: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    ema: float = 0.0
    validate_every: int = 1000
    checkpoint_every: int = field(default=1000, metadata=NEUTRAL)
    keep: int = field(default=2, metadata=NEUTRAL)
    patience: int = field(default=0, metadata=NEUTRAL)
    workers: int = field(default=0, metadata=NEUTRAL)
    log_every: int = field(default=50, metadata=NEUTRAL)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "keep", "log_every"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        counts = ("warmup", "validate_every", "checkpoint_every", "patience", "workers")
        for name in (*counts, "weight_decay", "clip_norm"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "above 0 and finite")
        self._require("betas", all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)")
        self._require("ema", 0 <= self.ema < 1, "in [0, 1)")
        self._require("accumulate", self.accumulate <= self.batch_size, f"at most batch_size ({self.batch_size})")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise SeqgenError(f"'{name}' is {getattr(self, name)!r}", remedy=f"give a value {expected}")


@dataclass(frozen=True)
class PlayerConfig:
    """Settings of one player, where they differ from what ``train`` says for all.

    Attributes:
        optimiser: registered optimiser and its options; by default AdamW with the betas and weight decay of ``train``.
        learning_rate: peak rate (null: that of ``train``); the schedule is that of ``train``.
        clip_norm: largest L2 norm of the gradient (0: no clipping; null: that of ``train``).
        after: steps before the player's first turn, in which only the others are trained.
        every: steps from one turn of the player to the next.
        repeat: updates of a turn, each on a batch of its own.
    """

    optimiser: Component | None = None
    learning_rate: float | None = None
    clip_norm: float | None = None
    after: int = 0
    every: int = 1
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.every < 1 or self.repeat < 1:
            raise SeqgenError(f"'every' is {self.every}, 'repeat' {self.repeat}", remedy="give 1 or more of each")
        if self.after < 0:
            raise SeqgenError(f"'after' is {self.after}", remedy="give a number of steps from 0")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise SeqgenError(f"'learning_rate' is {self.learning_rate}", remedy="give a rate above 0, or null")
        if self.clip_norm is not None and self.clip_norm < 0:
            raise SeqgenError(f"'clip_norm' is {self.clip_norm}", remedy="give 0 (no clipping) or more, or null")


@dataclass(frozen=True)
class SparsityConfig:
    """Settings of pruning: which weight matrices end up block-sparse, and when; see :mod:`seqgen.train.sparsity`.

    Attributes:
        matrices: names of weight matrices with the share of blocks that is zero in the end (none: dense training).
        block: rows and columns of a block: 16x1 (float32 kernels), 16x4 (int8 kernels) or 4x4.
        start: updates before the first weight goes. ramp: updates from there to the final sparsity.
        every: updates between two prunings.
    """

    matrices: Mapping[str, float] = field(default_factory=dict)
    block: tuple[int, int] = (16, 1)
    start: int = 1000
    ramp: int = 200_000
    every: int = 500

    def __post_init__(self) -> None:
        if self.block not in ((16, 1), (16, 4), (4, 4)):
            raise SeqgenError(f"'block' is {list(self.block)}", remedy="choose [16, 1], [16, 4] or [4, 4]")
        for name, zeros in self.matrices.items():
            if not 0 <= zeros < 1:
                raise SeqgenError(f"the sparsity of '{name}' is {zeros!r}", remedy="give a share of zeros in [0, 1)")
        if self.start < 0 or self.every < 1 or self.ramp < self.every or self.ramp % self.every:
            raise SeqgenError(
                f"'start' is {self.start}, 'ramp' {self.ramp}, 'every' {self.every}",
                remedy="give start >= 0, every >= 1 and a ramp that is a multiple of every",
            )


@dataclass(frozen=True)
class QuantizationConfig:
    """Settings of quantization-aware training, which meets the rounding that an export makes; see
    :mod:`seqgen.train.quantization`.

    Attributes:
        precision: what the weights are rounded to; float32 is no rounding.
        after: updates before the first rounded one (0: all are). Checkpoints before it do not count as the best.
    """

    precision: Literal["float32", "int8"] = "float32"
    after: int = 0

    def __post_init__(self) -> None:
        if self.after < 0:
            raise SeqgenError(f"'after' is {self.after}", remedy="give a number of updates from 0")
