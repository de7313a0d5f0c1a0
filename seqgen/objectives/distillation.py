"""Probability density distillation: a flow learns what an autoregressive teacher finds likely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from seqgen import noise, registry
from seqgen.distributions.contract import LocationScale
from seqgen.errors import SeqgenError
from seqgen.flows.affine import Affine, logistic
from seqgen.generation.autoregressive import AutoRegressive, draw
from seqgen.generation.examples import networks as networks_of
from seqgen.generation.parallel import Parallel
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows, scored
from seqgen.objectives.levels import BANDS, band_levels, level
from seqgen.objectives.power import PowerConfig, power_loss
from seqgen.objectives.style import StyleConfig, style_loss
from seqgen.spec import Facts
from seqgen.stream.contract import Streamable

_OWN = 16  # recordings for which the teacher, sample by sample, draws too in an evaluation
_UNITS = {"kl": "nats/sample", "cross_entropy": "nats/sample", "entropy": "nats/sample"}


class Drawn(NamedTuple):
    """Pass of the student: its noise and where that led, ``z, x [B, T, 1]``, and the map between the two."""

    z: Tensor
    x: Tensor
    map: Affine


class Distillation(Objective):
    """Distillation loss ``L = KL(P_S ‖ P_T) - γ KL(P_S ‖ P_T(other)) + λ_pow L_pow + λ_sty L_sty``, nats a sample of
    the student's own.

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
    answer to this one. So the rows of a batch see each other; a row that is alone is judged under its own conditioning
    of another time.

    Terms: ``kl``, ``cross_entropy``, ``entropy`` (nats a sample), ``power``, ``style`` (see their files), ``other_kl``.

    Networks: ``generator`` is the student, ``teacher`` a trained density over real numbers, ``classifier`` a trained
    network to compare styles by. Batches have ``x``, ``lengths`` and ``cond``.

    Raises:
        SeqgenError: for a teacher whose distribution has no density, and for a style loss without classifier.

    Source: van den Oord et al., arXiv 1711.10433, section 3.1 (distillation), 4 (further losses).
    """

    @dataclass(frozen=True)
    class Config:
        """Options of distillation.

        Attributes:
            samples: M, draws of every sample that the teacher judges.
            divergence: weight of the divergence itself; 1 but in ablations.
            contrast: γ, weight of the divergence from the teacher under another row's conditioning.
            power, style: options of those losses, their weights included.
            longest: samples of a row that are looked at; of longer ones (whole recordings, in validation) the middle.
        """

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
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"generator": Parallel, "teacher": AutoRegressive})
    optional: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"classifier": Streamable})
    evaluation_rows: ClassVar[int] = 1
    evaluation_context: ClassVar[bool] = True  # of a long recording the middle is judged, which is no stream's start
    config: Config
    generator: Parallel
    teacher: AutoRegressive
    classifier: Streamable[Any]

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        classifiers = (one for one in networks_of(registry.MODELS) if one.observed_dims and one.spec.in_dim == 1)
        classifier = next(one for one in classifiers if not one.spec.cond_dim)
        power, style = PowerConfig(windows=(8, 16)), StyleConfig(weight=0.1)
        plain = cls.Config(samples=3, power=power)
        students = (one.density for one in Parallel.examples() if one.cond is not None)
        real = (one for one in AutoRegressive.examples() if one.cond is not None and one.x.dim() == 3)
        teachers = (one for one in real if not one.density.body.spec.periodic)  # of the frames that students take
        for student, (teacher, x, cond, _) in zip(students, teachers, strict=False):
            batch = Rows(x, torch.tensor([x.shape[1], 11]), cond)
            for options in (plain, replace(plain, contrast=0.5, style=style, longest=16)):
                given = {"generator": student, "teacher": teacher, "classifier": classifier}
                yield ObjectiveExample(cls(options, given, Facts()), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        if not isinstance(self.teacher.distribution, LocationScale):
            raise SeqgenError(
                f"the teacher is no generator over real numbers, but has {type(self.teacher.distribution).__name__}",
                remedy="train one with codec float and distribution logistic-mixture or gaussian",
            )
        if config.style.weight and self.classifier is None:
            raise SeqgenError(
                "a style loss without a classifier",
                remedy="add networks.classifier, or set objective.style.weight to 0",
            )
        self.couples_rows = config.contrast > 0
        for network in (self.teacher, self.classifier):
            if network is not None:
                network.requires_grad_(False)

    def train(self, mode: bool = True) -> Distillation:
        """Training mode for the student; what is frozen stays in evaluation mode."""
        super().train(mode)
        for network in (self.teacher, self.classifier):
            if network is not None:
                network.eval()
        return self

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        batch = self._middle(batch)
        real = scored(batch, batch.x[..., 0])
        weight = real.sum()
        drawn, epsilon = self.draw(batch, rng)
        kl, terms = self.divergence(drawn, epsilon, batch)
        total = self.config.divergence * kl
        if self.config.contrast:
            other, _ = self.divergence(drawn, epsilon, another(batch, rng))
            total, terms["other_kl"] = total - self.config.contrast * other, other
        rows = real.sum(dim=1) / weight.clamp_min(1)
        mean = (total * real).sum() / weight.clamp_min(1)
        named = {name: (value.detach() * real).sum() / weight.clamp_min(1) for name, value in terms.items()}
        for name, scale, value in self._likeness(drawn.x[..., 0] * real, batch.x[..., 0] * real):
            named[name] = (value.detach() * rows).sum()
            mean = mean + scale * (value * rows).sum()
        return Loss(mean, named, weight)

    def draw(self, batch: Any, rng: Key) -> tuple[Drawn, Tensor]:
        """The student's samples for the features of a batch, and noise ``[B, T, M]`` for the teacher's judgement."""
        rows, steps = batch.x.shape[:2]
        each = 1 + self.config.samples
        u = torch.from_numpy(noise.block(rng.seed, rng.stream, 0, rows * steps * each)).to(batch.x)
        fresh = logistic(u).reshape(rows, steps, each)
        cond = self.generator.condition(batch.cond, steps)
        z = fresh[..., :1]
        made, _ = self.generator.body.affine(z, self.generator.body.init_state(rows), cond)
        return Drawn(z, made.of(z), made), fresh[..., 1:]

    def divergence(self, drawn: Drawn, epsilon: Tensor, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """``KL(P_S ‖ P_T)`` of every sample, ``[B, T]`` in nats, the teacher under the features of ``batch``."""
        params = self.teacher.distributions(drawn.x, batch.cond)
        judged = self._density().log_density(params[:, :, None], drawn.map.of(epsilon))
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
                maps = self._features(made)
            found.append(("style", style.weight, style_loss(maps, self._features(recorded))))
        return found

    def _features(self, audio: Tensor) -> list[Tensor]:
        """Features inside the classifier of audio ``[B, T]``."""
        _, _, activations = self.classifier.observe(audio[..., None], self.classifier.init_state(len(audio)))
        return activations

    def _density(self) -> LocationScale:
        assert isinstance(self.teacher.distribution, LocationScale)
        return self.teacher.distribution

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """Figures of one recording (of a long one the middle): the loss's own terms; the teacher's negative log-density
        of the student's samples, of the recording, and of samples of its own for the first few; the power of the
        student's and of the teacher's samples over that of the recording: in all, as the mean distance in eight equal
        bands, and in each."""
        loss = self.loss(batch, "student", rng, None)
        found = {name: (float(value), _UNITS.get(name, "relative")) for name, value in loss.terms.items()}
        found.pop("other_kl", None)
        found |= self.heard(batch, rng) | (self.own(batch, rng) if index < _OWN else {})
        weight = loss.weight.double()[None]
        return {name: Measure(value * weight, weight, unit) for name, (value, unit) in found.items()}

    def heard(self, batch: Any, key: Key) -> dict[str, tuple[float, str]]:
        """Figures of the student's samples and of the recording, with their units."""
        batch = self._middle(batch)
        drawn, _ = self.draw(batch, key)
        heard = _heard(batch)
        x, y = drawn.x[:, heard], batch.x[:, heard]
        bands = band_levels(x, y)
        return {
            "teacher_nll": (self._surprise(drawn.x, batch), "nats/sample"),
            "teacher_nll_recordings": (self._surprise(batch.x, batch), "nats/sample"),
            "level": (level(x, y), "dB"),
            "bands": (float(bands.abs().mean()), "dB"),
            **{f"band_{number}": (float(bands[number - 1]), "dB") for number in range(1, BANDS + 1)},
        }

    def own(self, batch: Any, key: Key) -> dict[str, tuple[float, str]]:
        """Figures of what the teacher itself draws for these features, with their units."""
        batch = self._middle(batch)
        teacher, length = self.teacher, int(batch.lengths[0])
        cond = teacher.condition(batch.cond, length)
        u = torch.from_numpy(noise.block(key.seed, ~key.stream, 0, length * teacher.num_uniforms)).to(batch.x)
        start = teacher.init_state(1)
        x, params, _ = draw(
            teacher.body, teacher.distribution, u.view(1, length, -1), start.previous, start.body, cond, temperature=1.0
        )
        heard = _heard(batch)
        x, params, y = x[:, heard], params[:, heard], batch.x[:, heard]
        return {
            "teacher_nll_own": (-float(self._density().log_density(params, x).mean()), "nats/sample"),
            "level_own": (level(x[..., None], y), "dB"),
            "bands_own": (float(band_levels(x[..., None], y).abs().mean()), "dB"),
        }

    def _surprise(self, x: Tensor, batch: Any) -> float:
        params = self.teacher.distributions(x, batch.cond)
        return -float(self._density().log_density(params, x[..., 0])[:, _heard(batch)].mean())

    def _middle(self, batch: Any) -> Any:
        """Stretch of a batch that is looked at, behind as much of its past as student and teacher reach back."""
        reach = max((network.body.spec.context or 1) - 1 for network in (self.generator, self.teacher))
        return middle(batch, self.config.longest, hop=self.generator.hop, reach=reach)


def _heard(batch: Any) -> slice:
    """Part that counts of the one row of a batch."""
    return slice(0 if batch.skip is None else int(batch.skip[0]), int(batch.lengths[0]))


def middle(batch: Any, longest: int, *, hop: int, reach: int = 0) -> Any:
    """The batch with at most ``longest`` samples of a row that count, rounded up to whole hops: the middle of what did.

    Before them stay ``reach`` samples, rounded up as well, or as many as there are, to be heard only. Frames of context
    stay as they are on both sides.
    """
    frames, kept = batch.x.shape[1] // hop, -(-longest // hop)
    skipped = 0 if batch.skip is None else int(batch.skip.max()) // hop
    if frames - skipped <= kept:
        return batch
    first, left = (frames - kept) // 2, batch.cond.left
    start = max(0, first - -(-reach // hop))
    right, stop = batch.cond.features.shape[1] - left - frames, first + kept
    features = batch.cond.features[:, start : stop + left + right]
    return replace(
        batch,
        x=batch.x[:, start * hop : stop * hop],
        cond=replace(batch.cond, features=features),
        lengths=(batch.lengths - start * hop).clamp(0, (stop - start) * hop),
        skip=torch.full_like(batch.lengths, (first - start) * hop),
    )


def another(batch: Any, rng: Key) -> Any:
    """The batch with the conditioning of another row each: all are rotated by a random number of rows.

    A row that is alone has its own features of another time: they are rotated by half their length.
    """
    rows, cond = len(batch.x), batch.cond
    if rows == 1:
        features = cond.features.roll(cond.features.shape[1] // 2, dims=1)
        return replace(batch, cond=replace(cond, features=features))
    turn = 1 + int(noise.words(rng.seed, ~rng.stream, torch.zeros(1, dtype=torch.int64))[0]) % (rows - 1)
    turned = replace(cond, features=cond.features.roll(turn, dims=0), speaker=cond.speaker.roll(turn, dims=0))
    return replace(batch, cond=turned)
