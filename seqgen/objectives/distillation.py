"""Probability density distillation: a flow learns what an autoregressive teacher finds likely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.data.batches import Batch
from seqgen.errors import SeqgenError
from seqgen.flows.affine import Affine, logistic
from seqgen.generator import Parallel
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective
from seqgen.objectives.power import PowerConfig, power_loss
from seqgen.objectives.style import StyleConfig, style_loss
from seqgen.sample import AutoRegressive


class Drawn(NamedTuple):
    """One pass of the student: its noise and where that led, ``z, x [B, T, 1]``, and the map between the two."""

    z: Tensor
    x: Tensor
    map: Affine


class Distillation(Objective):
    """``L = KL(P_S ‖ P_T) - γ KL(P_S ‖ P_T(other)) + λ_pow L_pow + λ_sty L_sty``, nats a sample of the student's own.

    The student draws x from noise z in one pass; x_t given the past is Logistic(μ_t, s_t). The teacher reads x in one
    pass and gives ``p_T(x_t | x_<t)`` for every t. Then

        H(P_S)      = E Σ_t (ln s_t + 2)                                    exact, given z
        H(P_S, P_T) = E Σ_t -1/M Σ_m ln p_T(μ_t + s_t ε_tm | x_<t),         ε ~ Logistic, all M by one pass
        KL          = H(P_S, P_T) - H(P_S)

    with densities on both sides (a teacher's probabilities of levels hold the width of a bin: they would add the
    logarithm of the number of levels, 10.4 nats for 16 bits). Gradients reach the student through x̃ = μ + s ε,
    through what the teacher reads, and through μ and s; the teacher's weights have none. A divergence in this direction
    seeks modes: what is likely is often quiet, hence the other terms. The contrastive one is the divergence from the
    teacher under the conditioning of another row of the batch: what is as likely under any conditioning is no
    answer to this one. A batch of one row has no other, and no such term.

    Terms: ``kl``, ``cross_entropy``, ``entropy`` (nats a sample), ``power``, ``style`` (see their files), ``other_kl``.

    Args:
        generator: the student. left: frames of context in front of each segment.
        teacher: a trained generator over real numbers. classifier: a trained network to compare styles by.

    Raises:
        SeqgenError: without a teacher, for one whose emission has no density, and for a style loss without classifier.

    Source: van den Oord et al., arXiv 1711.10433, section 3.1 (distillation), 4 (further losses).
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            teacher: experiment of the trained teacher, a path from the working directory.
            classifier: experiment of a trained classifier, for the style loss; none by default.
            samples: M, draws of every sample that the teacher judges.
            divergence: weight of the divergence itself; 1 but in ablations.
            contrast: γ, weight of the divergence from the teacher under another row's conditioning.
            power, style: options of those losses, their weights included.
            longest: samples of a row that are looked at; of longer ones (whole recordings, in validation) the middle.
        """

        teacher: str = ""
        classifier: str = ""
        samples: int = 16
        divergence: float = 1.0
        contrast: float = 0.0
        power: PowerConfig = field(default_factory=PowerConfig)
        style: StyleConfig = field(default_factory=StyleConfig)
        longest: int = 8000

        def __post_init__(self) -> None:
            if self.samples < 1 or self.divergence < 0 or self.contrast < 0 or self.longest < 1:
                raise SeqgenError(
                    f"distillation: samples {self.samples}, divergence {self.divergence}, contrast {self.contrast}, "
                    f"longest {self.longest}",
                    remedy="give samples, longest >= 1 and weights of at least 0",
                )

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"student": ("generator",)})
    trains = Parallel
    others = MappingProxyType({"teacher": "voice", "classifier": "classifier"})

    def __init__(
        self,
        config: Config,
        generator: Parallel,
        *,
        left: int,
        teacher: AutoRegressive | None = None,
        classifier: Any = None,
    ) -> None:
        super().__init__()
        if teacher is None:
            raise SeqgenError("a student without a teacher", remedy="set objective.teacher to a trained experiment")
        _require_density(teacher)
        if config.style.weight and classifier is None:
            raise SeqgenError(
                "a style loss without a classifier", remedy="set objective.classifier, or objective.style.weight to 0"
            )
        self.config, self.left = config, left
        self.generator = generator
        self.teacher = teacher.requires_grad_(False)
        self.classifier = None if classifier is None else classifier.requires_grad_(False)

    def train(self, mode: bool = True) -> Distillation:
        """Training mode for the student; what is frozen stays in evaluation mode."""
        super().train(mode)
        for network in (self.teacher, self.classifier):
            if network is not None:
                network.eval()
        return self

    def loss(self, batch: Batch, player: str, rng: Key) -> Loss:
        batch = middle(batch, self.config.longest, hop=self.hop, left=self.left)
        length = torch.arange(batch.x.shape[1], device=batch.x.device)
        real = (length[None] < batch.lengths[:, None]).to(batch.x.dtype)
        weight = real.sum()
        drawn, epsilon = self.draw(batch, rng)
        kl, terms = self.divergence(drawn, epsilon, batch)
        total = self.config.divergence * kl
        if self.config.contrast and len(batch.x) > 1:
            other, _ = self.divergence(drawn, epsilon, another(batch, rng))
            total, terms["other_kl"] = total - self.config.contrast * other, other
        rows = real.sum(dim=1) / weight.clamp_min(1)
        mean = (total * real).sum() / weight.clamp_min(1)
        named = {name: (value.detach() * real).sum() / weight.clamp_min(1) for name, value in terms.items()}
        for name, scale, value in self._likeness(drawn.x[..., 0] * real, batch.x[..., 0] * real):
            named[name] = (value.detach() * rows).sum()
            mean = mean + scale * (value * rows).sum()
        return Loss(mean, named, weight)

    def draw(self, batch: Batch, rng: Key) -> tuple[Drawn, Tensor]:
        """The student's samples for the features of a batch, and noise ``[B, T, M]`` for the teacher's judgement."""
        rows, steps = batch.x.shape[:2]
        each = 1 + self.config.samples
        u = torch.from_numpy(noise.block(rng.seed, rng.stream, 0, rows * steps * each)).to(batch.x)
        fresh = logistic(u).reshape(rows, steps, each)
        cond = self.generator.condition(batch.cond, batch.speaker, left=self.left, vectors=steps)
        z = fresh[..., :1]
        made, _ = self.generator.body.affine(z, self.generator.body.init_state(rows), cond)
        return Drawn(z, made.of(z), made), fresh[..., 1:]

    def divergence(self, drawn: Drawn, epsilon: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """``KL(P_S ‖ P_T)`` of every sample, ``[B, T]`` in nats, the teacher under the features of ``batch``."""
        params = self.teacher.distributions(drawn.x, batch.cond, batch.speaker, left=self.left)
        judged = self.teacher.emission.log_density(params[:, :, None], drawn.map.of(epsilon))
        cross_entropy = -judged.mean(dim=2)
        entropy = drawn.map.log_scale[..., 0] + 2
        kl = cross_entropy - entropy
        return kl, {"kl": kl, "cross_entropy": cross_entropy, "entropy": entropy}

    def _likeness(self, made: Tensor, recorded: Tensor) -> list[tuple[str, float, Tensor]]:
        """The losses that compare with the recording: name, weight, value of each row."""
        power, style = self.config.power, self.config.style
        # What is not minimised is still worth a line in the record.
        found = [("power", power.weight, power_loss(made if power.weight else made.detach(), recorded, power))]
        if self.classifier is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and style.weight > 0):
                maps = self.classifier.activations(made[..., None])
            found.append(("style", style.weight, style_loss(maps, self.classifier.activations(recorded[..., None]))))
        return found

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        net = self.generator.conditioner
        return net.spec.up if net is not None else 1


def middle(batch: Batch, longest: int, *, hop: int, left: int) -> Batch:
    """The batch with rows of at most ``longest`` samples, rounded up to whole hops: the middle of what they were.

    Frames of context stay as they are on both sides.
    """
    frames, kept = batch.x.shape[1] // hop, -(-longest // hop)
    if frames <= kept:
        return batch
    first = (frames - kept) // 2
    right = batch.cond.shape[1] - left - frames
    x = batch.x[:, first * hop : (first + kept) * hop]
    cond = batch.cond[:, first : first + left + kept + right]
    return replace(batch, x=x, target=x, cond=cond, lengths=(batch.lengths - first * hop).clamp(0, kept * hop))


def another(batch: Batch, rng: Key) -> Batch:
    """The batch with the features and the speaker of another row each: all are rotated by a random number of rows."""
    rows = len(batch.x)
    turn = 1 + int(noise.words(rng.seed, ~rng.stream, torch.zeros(1, dtype=torch.int64))[0]) % (rows - 1)
    return replace(batch, cond=batch.cond.roll(turn, dims=0), speaker=batch.speaker.roll(turn, dims=0))


def _require_density(teacher: nn.Module) -> None:
    if not isinstance(teacher, AutoRegressive) or teacher.emission.symbols:
        kind = type(teacher.emission).__name__ if isinstance(teacher, AutoRegressive) else type(teacher).__name__
        raise SeqgenError(
            f"the teacher is no generator over real numbers, but has {kind}",
            remedy="train one with codec float and emission logistic-mixture or gaussian",
        )
