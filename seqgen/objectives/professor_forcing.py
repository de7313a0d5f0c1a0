"""Professor forcing: a generator behaves alike on data and on what it draws itself, a discriminator being the judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.behaviour import Stretch, behaviour, channels, free_running, stretch, uniforms
from seqgen.models.discriminator import SequenceDiscriminator
from seqgen.models.encoder import inside
from seqgen.noise import Key
from seqgen.objectives.bits import bits, per_unit
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows, scored
from seqgen.spec import Facts


class FreeRun(NamedTuple):
    """Free-running pass: its noise ``[B, T, num_uniforms]``, and what was drawn, shaped as ``batch.x``."""

    u: Tensor
    y: Tensor


class ProfessorForcing(Objective):
    """Adversarial loss over behaviour sequences B, of states and outputs: B(x) while the generator reads data, B(y)
    while it reads what it draws itself, from the same state and for as long.

        discriminator  C_d = E_data softplus(-D(B(x))) + E_p softplus(D(B(y)))                    means over rows
        generator      L   = NLL(x) + λ_f C_f + λ_t C_t                     sums over rows, divided by their elements
                       C_f = E_p softplus(-D(B(y)))       free running is to look teacher forced
                       C_t = E_data softplus(D(B(x)))     and the reverse, λ_t = 0 unless asked for

    D is the logit of "teacher forced". NLL is that of whole sequences: a row has its C_f once, however long it is, so
    that beside nats an element it counts 1/T. Drawn elements are made once for both players and are constants: a
    gradient comes by states and outputs alone. With ``differentiate``, for real numbers, also by what is drawn.

    Gates, on a running average of D's accuracy (both kinds weigh alike): above ``follow_above`` the generator minimises
    L, otherwise NLL alone; from ``freeze_above`` on the discriminator stands still. One that has stood still for
    ``patience`` updates in a row has won: the generator goes on with NLL until it is told less well again, and the log
    says so.

    Terms: ``accuracy`` of the batch, ``average``; ``frozen``, ``won`` and the generator's ``adversarial``, whose means
    are shares of steps; ``c_f``, ``c_t``; NLL as nats and bits.

    Batches have ``x``, ``lengths`` and ``cond``; what rows only hear (``skip``) is given in both modes and judged in
    neither.

    Raises:
        SeqgenError: for a body that shows nothing of its inside, a discriminator of another width, and
            ``differentiate`` for symbols or levels.

    Source: Lamb et al., "Professor forcing", arXiv 1610.09038, whose full text was not at hand: gates at 75 % and 99 %
    and the discriminator are known from notes on it, the losses from memory; the running average is ours.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            c_f, c_t: weights λ_f and λ_t.
            follow_above: accuracy above which the generator follows the discriminator. freeze_above: that from which
                the discriminator is not updated.
            average_rate: share of a batch in the running average of the accuracy.
            patience: updates in a row at ``freeze_above`` or more, after which the generator follows no longer.
            warm_up: elements at the start of a row that both modes are given, where rows have no more of them.
            differentiate: whether gradients pass through drawn real numbers.
        """

        c_f: float = 1.0
        c_t: float = 0.0
        follow_above: float = 0.75
        freeze_above: float = 0.99
        average_rate: float = 0.1
        patience: int = 1000
        warm_up: int = 0
        differentiate: bool = False

        def __post_init__(self) -> None:
            shares = 0 <= self.follow_above <= 1 and 0 < self.average_rate <= 1
            if not shares or min(self.c_f, self.c_t, self.warm_up, self.freeze_above) < 0 or self.patience < 1:
                raise SeqgenError(
                    f"professor forcing: {self}",
                    remedy="give weights, warm_up and gates from 0, rates up to 1 and a patience of 1 or more",
                )

    players: Mapping[str, tuple[str, ...]] = MappingProxyType(
        {"discriminator": ("discriminator",), "generator": ("generator",)}
    )
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType(
        {"generator": AutoRegressive, "discriminator": SequenceDiscriminator}
    )
    evaluation_rows: ClassVar[int] = 64
    config: Config
    generator: AutoRegressive
    discriminator: SequenceDiscriminator
    average: Tensor
    wins: Tensor

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        both = cls.Config(c_t=0.5, warm_up=2)
        for density, x, cond, values in AutoRegressive.examples():
            assert isinstance(density, AutoRegressive)
            if not channels(density):
                continue
            options = both if values is not None else replace(both, differentiate=True)
            networks = {"generator": density, "discriminator": _Mean(in_dim=channels(density))}
            made = cls(options, networks, Facts())
            made.average.fill_(0.9)
            lengths = x.shape[1] - torch.arange(len(x)) * density.symbols_per_sample
            yield ObjectiveExample(made, Rows(x, lengths, cond))

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        wanted = channels(self.generator)
        if not wanted:
            raise SeqgenError(
                f"professor forcing: {type(self.generator.body).__name__} shows no inner activations",
                remedy="give a body that does, such as a recurrent network",
            )
        if self.discriminator.in_dim != wanted:
            raise SeqgenError(
                f"professor forcing: the discriminator reads {self.discriminator.in_dim} channels, a behaviour has "
                f"{wanted}, of states and outputs",
                remedy=f"set networks.discriminator.in_dim to {wanted}",
            )
        if config.differentiate and (self.generator.vocab_size or self.generator.distribution.num_values):
            raise SeqgenError(
                "professor forcing: 'differentiate' is set for a generator of symbols or levels",
                remedy="leave it out, or give a distribution over real numbers, e.g. gaussian",
            )
        self.register_buffer("average", torch.tensor(0.5))
        self.register_buffer("wins", torch.tensor(0))

    @property
    def monitor(self) -> str:
        return f"generator/nats_per_{self.facts.unit}"

    @property
    def won(self) -> bool:
        """Victory of a discriminator that has told the modes apart for so long that it is no longer followed."""
        return int(self.wins) >= self.config.patience

    @property
    def adversarial(self) -> bool:
        """State of a generator that follows the discriminator now."""
        return float(self.average) > self.config.follow_above and not self.won

    def frozen(self, player: str) -> bool:
        return player == "discriminator" and float(self.average) >= self.config.freeze_above

    def begin(self, batch: Any, rng: Key) -> FreeRun:
        u = uniforms(batch, self.generator, rng)
        return FreeRun(u, free_running(self.generator, batch, stretch(batch, self.config.warm_up).start, u))

    def loss(self, batch: Any, player: str, rng: Key, shared: FreeRun) -> Loss:
        where = stretch(batch, self.config.warm_up)
        if player == "discriminator":
            return self._discriminate(batch, shared, where)
        return self._generate(batch, shared, where)

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        if player != "discriminator":
            return
        rows = aux["rows"].clamp_min(1)
        accuracy = (aux["forced"] + aux["drawn"]) / (2 * rows)
        self.average.lerp_(accuracy.to(self.average), self.config.average_rate)
        self.wins.copy_(torch.where(self.average >= self.config.freeze_above, self.wins + 1, 0))

    def remarks(self, means: Mapping[str, float]) -> list[str]:
        if (share := means.get("discriminator/won", 0.0)) == 0:
            return []
        said = (
            f"the discriminator has told both modes apart for {self.config.patience} updates in a row: for "
            f"{share:.0%} of its updates training goes on with likelihood alone; lower its learning rate, or raise "
            "objective.c_f, if this does not end"
        )
        return [said]

    def _discriminate(self, batch: Any, run: FreeRun, where: Stretch) -> Loss:
        forced, drawn = self._judged(batch, run, where)
        counts = (where.lengths > 0).to(forced.dtype)  # [B]
        rows = counts.sum()
        error = (F.softplus(-forced) + F.softplus(drawn)) * counts
        right = {"forced": ((forced > 0) * counts).sum(), "drawn": ((drawn <= 0) * counts).sum(), "rows": rows}
        terms = {
            "accuracy": (right["forced"] + right["drawn"]) / (2 * rows.clamp_min(1)),
            "average": self.average.to(error.dtype),
            "frozen": error.new_tensor(self.frozen("discriminator")),
            "won": error.new_tensor(self.won),
        }
        return Loss(error.sum() / rows.clamp_min(1), terms, rows, right)

    def _judged(self, batch: Any, run: FreeRun, where: Stretch) -> tuple[Tensor, Tensor]:
        """Logits of both modes, ``[B]`` each, with gradients by the discriminator alone."""
        with torch.no_grad():
            both = [where.of(behaviour(self.generator, x, batch.cond).sequence) for x in (batch.x, run.y)]
        forced, drawn = self.discriminator(torch.cat(both), where.lengths.repeat(2)).chunk(2)
        return forced, drawn

    def _generate(self, batch: Any, run: FreeRun, where: Stretch) -> Loss:
        params, forced = behaviour(self.generator, batch.x, batch.cond)
        log_prob = self.generator.distribution.log_prob(params, _elements(batch.x))  # [B, T]
        real = scored(batch, log_prob)
        weight = real.sum()
        nll = -(log_prob * real).sum() / weight.clamp_min(1)
        judged = (where.lengths > 0).to(nll.dtype)  # [B]
        rows = judged.sum()
        following, costs = self.adversarial, {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and following):
            y = run.y
            if self.config.differentiate and torch.is_grad_enabled():
                y = free_running(self.generator, batch, where.start, run.u)
            drawn = behaviour(self.generator, y, batch.cond).sequence
            costs["c_f"] = (F.softplus(-self._logits(drawn, where)) * judged).sum() / rows.clamp_min(1)
            if self.config.c_t:
                costs["c_t"] = (F.softplus(self._logits(forced, where)) * judged).sum() / rows.clamp_min(1)
        total = nll
        if following:
            added = sum(getattr(self.config, name) * cost for name, cost in costs.items())
            total = nll + added * rows / weight.clamp_min(1)
        terms = {name: cost.detach() for name, cost in costs.items()}
        terms |= {"adversarial": nll.new_tensor(following), **per_unit(self.generator, nll.detach(), self.facts.unit)}
        return Loss(total, terms, weight)

    def _logits(self, sequence: Tensor, where: Stretch) -> Tensor:
        logits: Tensor = self.discriminator(where.of(sequence), where.lengths)
        return logits

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """Bits of held-out data, and ``discriminator_accuracy``, that of the run's own discriminator on both modes."""
        with torch.no_grad():
            forced, drawn = self._judged(batch, self.begin(batch, rng), where := stretch(batch, self.config.warm_up))
        counts = (where.lengths > 0).to(forced.dtype)
        right = ((forced > 0).to(counts) + (drawn <= 0).to(counts)) / 2
        found = {"discriminator_accuracy": Measure(right * counts, counts)}
        return bits(self.generator, batch, self.facts.unit) | found


class _Mean(SequenceDiscriminator):
    """A small discriminator for the laws of what needs one: a linear function of the mean, bent at every element."""

    def __init__(self, *, in_dim: int) -> None:
        super().__init__(in_dim=in_dim)
        self.inner, self.outer = nn.Linear(in_dim, 3), nn.Linear(3, 1)

    def logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = torch.tanh(self.inner(x)) * inside(lengths, x.shape[1])[..., None]
        made: Tensor = self.outer(h.sum(dim=1) / lengths.clamp_min(1)[:, None])
        return made[:, 0]


def _elements(x: Tensor) -> Tensor:
    return x if x.dim() == 2 else x[..., 0]
