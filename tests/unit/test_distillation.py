"""Distillation against what can be computed without it: quadrature, identities, and what must not move."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.gaussian import Gaussian
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.errors import SeqgenError
from seqgen.flows.affine import Affine, logistic
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.parallel import Parallel
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.models.wavenet import WaveNet
from seqgen.nets.layers import Dense
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Part
from seqgen.objectives.distillation import Distillation, Drawn, another, middle
from seqgen.objectives.power import PowerConfig
from seqgen.objectives.style import StyleConfig
from seqgen.objectives.verify import check_evaluation, check_players, check_pure
from seqgen.spec import Facts, StreamSpec
from seqgen.stream.combinators import Repeat, Serial
from seqgen.stream.conditioning import Frames
from seqgen.stream.contract import Streamable
from seqgen.tasks.vocoder.batches import Batch
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.loop import Recipe, train
from seqgen.train.settings import TrainConfig
from seqgen.train.source import Source
from tests.runtime.voices import lively

HOP = 4
KEY = Key(3, 5)


class Fixed(Streamable[tuple[()]]):
    """A teacher whose mean is ``slope`` times the element before and whose scale is given: one logistic."""

    def __init__(self, mean: float, log_scale: float, slope: float = 0.0) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=1, out_dim=3)
        self.params = nn.Parameter(torch.tensor([0.0, mean, log_scale], dtype=torch.float64))
        self.slope = slope

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Tensor | None = None) -> tuple[Tensor, tuple[()]]:
        moved = torch.cat([torch.zeros_like(x), self.slope * x, torch.zeros_like(x)], dim=-1)
        return self.params + moved, ()


def known(mean: float, log_scale: float, slope: float = 0.0) -> Distillation:
    """An objective with such a teacher; the student is what a test makes of it."""
    distribution = LogisticMixture(LogisticMixture.Config(mixtures=1))
    teacher = AutoRegressive(Fixed(mean, log_scale, slope), distribution, None, start=0.0, symbols_per_sample=1)
    student = ParallelWaveNet(
        ParallelWaveNet.Config(layers=(1,), residual_channels=2, gate_channels=2, head_channels=2, conditioned=False)
    )
    networks = {"generator": Parallel(student, None), "teacher": teacher}
    return Distillation(Distillation.Config(), networks, Facts()).double()


def judged(objective: Distillation, mean: Tensor, log_scale: Tensor, samples: int, stream: int = 0) -> Tensor:
    """Estimates of the divergence, ``[N, T]``, of students that are these logistics."""
    rows, steps = mean.shape[:2]
    u = torch.from_numpy(noise.block(7, stream, 0, rows * steps * (1 + samples))).double()
    fresh = logistic(u).view(rows, steps, -1)
    made = Affine(mean, log_scale)
    drawn = Drawn(fresh[..., :1], made.of(fresh[..., :1]), made)
    nothing = Frames(torch.zeros(rows, steps, 0, dtype=torch.float64), torch.zeros(rows, dtype=torch.int64))
    batch = Batch(drawn.x, torch.full((rows,), steps), nothing, ())
    return objective.divergence(drawn, fresh[..., 1:], batch)[0]


def density(x: Tensor, mean: Any, log_scale: Any) -> Tensor:
    """Of a logistic, written out anew."""
    e = torch.exp(-((x - mean) / math.exp(log_scale)).abs())
    return e / (math.exp(log_scale) * (1 + e) ** 2)


def quadrature(student: tuple[float, float], teacher: tuple[float, float]) -> float:
    """``KL`` between two logistics by the trapezium rule, in nats."""
    scale = math.exp(student[1])
    x = torch.linspace(student[0] - 45 * scale, student[0] + 45 * scale, 40_001, dtype=torch.float64)
    p, q = density(x, *student), density(x, *teacher)
    return float(torch.trapezoid(p * (p.log() - q.log()), x))


PAIRS = [((0.1, -1.0), (0.1, -1.0)), ((0.3, -1.5), (0.1, -1.0)), ((-0.4, 0.2), (0.5, -0.3)), ((0.0, -3.0), (0.0, -1.0))]


@torch.no_grad()
@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_the_divergence_is_that_of_quadrature(student: tuple[float, float], teacher: tuple[float, float]) -> None:
    mean = torch.full((20_000, 1, 1), student[0], dtype=torch.float64)
    found = judged(known(*teacher), mean, torch.full_like(mean, student[1]), samples=64)
    expected = quadrature(student, teacher)
    assert expected >= -1e-9
    error = 4 * float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - expected) <= max(0.01 * expected, error)
    assert error < 0.02 * max(expected, 0.3)


def slopes(student: tuple[float, float], teacher: tuple[float, float]) -> list[float]:
    """Central differences of the quadrature in mean and log-scale."""
    h = 1e-4
    moved = [[(student[0] + d, student[1]) for d in (h, -h)], [(student[0], student[1] + d) for d in (h, -h)]]
    return [(quadrature(up, teacher) - quadrature(down, teacher)) / (2 * h) for up, down in moved]


def gradients(student: tuple[float, float], teacher: tuple[float, float], draws: int, samples: int) -> list[Tensor]:
    """The estimator's gradient in mean and log-scale, one of each row."""
    leaves = [torch.full((draws, 1, 1), value, dtype=torch.float64, requires_grad=True) for value in student]
    kl = judged(known(*teacher), leaves[0], leaves[1], samples)
    return [made.flatten() for made in torch.autograd.grad(kl.sum(), leaves)]


def test_its_gradient_is_unbiased_and_more_draws_make_it_quieter() -> None:
    student, teacher = (0.3, -1.5), (0.1, -1.0)
    one, many = gradients(student, teacher, 100_000, 1), gradients(student, teacher, 20_000, 16)
    for single, several, expected in zip(one, many, slopes(student, teacher), strict=True):
        for found in (single, several):
            assert abs(float(found.mean()) - expected) < 3 * float(found.std()) / math.sqrt(len(found))
        assert float(single.var() / several.var()) == pytest.approx(16, rel=0.15)
        assert abs(expected) > 0.1


def test_its_gradient_through_what_the_teacher_reads_is_unbiased() -> None:
    """Two steps: x_1 moves the teacher's mean at x_2, so the second divergence pulls at the first mean."""
    (m1, s1), (m2, s2), slope, teacher = (0.4, -1.0), (0.1, -1.2), 0.8, (0.0, -1.0)
    draws = 40_000
    first = torch.full((draws, 1, 1), m1, dtype=torch.float64, requires_grad=True)
    mean = torch.cat([first, torch.full_like(first, m2)], dim=1)
    log_scale = torch.tensor([s1, s2], dtype=torch.float64).view(1, 2, 1).expand(draws, -1, -1)
    kl = judged(known(*teacher, slope), mean, log_scale, samples=4)
    (found,) = torch.autograd.grad(kl[:, 1].sum(), first)

    x = m1 + math.exp(s1) * torch.linspace(-30, 30, 601, dtype=torch.float64)

    def second(shift: float) -> float:
        inner = torch.tensor([quadrature((m2, s2), (slope * float(one + shift), teacher[1])) for one in x])
        return float(torch.trapezoid(density(x, m1, s1) * inner, x))

    expected = (second(1e-3) - second(-1e-3)) / 2e-3
    assert abs(float(found.mean()) - expected) < 3 * float(found.std()) / math.sqrt(draws)
    assert abs(expected) > 0.2


# The whole objective


def batch_of(rows: int = 3, frames: int = 10, *, left: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(2)
    x = 0.3 * torch.randn(rows, frames * HOP, 1, generator=draw)
    features = torch.randn(rows, left + frames, 2, generator=draw)
    lengths = torch.tensor([frames * HOP, frames * HOP - 5, 3 * HOP, 11][:rows])
    cond = Frames(features, torch.zeros(rows, dtype=torch.int64), left)
    return Batch(x, lengths, cond, tuple("abcd"[:rows]), ("yes", "no", "yes", "no")[:rows])


def conditioner(channels: int) -> Streamable[Any]:
    return Serial(Dense(2, channels), Repeat(HOP, dim=channels))


def objective(*, teacher: AutoRegressive | None = None, **options: Any) -> Distillation:
    """A student of two flows and a WaveNet teacher, random and lively."""
    options = {"samples": 3, "power": PowerConfig(windows=(16,)), "longest": 100} | options
    sizes: dict[str, Any] = {
        "layers": 3,
        "dilation_cycle": 3,
        "residual_channels": 6,
        "gate_channels": 5,
        "skip_channels": 7,
        "head_channels": 8,
        "vocab_size": 0,
    }
    body = WaveNet(WaveNet.Config(**sizes, outputs=6))
    distribution = LogisticMixture(LogisticMixture.Config(mixtures=2, origin=-2))
    made = teacher or AutoRegressive(
        body, distribution, conditioner(body.spec.cond_dim), start=0.0, symbols_per_sample=1
    )
    student = ParallelWaveNet(
        ParallelWaveNet.Config(layers=(2, 3), residual_channels=6, gate_channels=5, head_channels=7)
    )
    networks: dict[str, nn.Module] = {"generator": Parallel(student, conditioner(student.spec.cond_dim))}
    networks["teacher"] = made
    if "style" in options:
        networks["classifier"] = WaveNet(WaveNet.Config(**{**sizes, "conditioned": False}, outputs=2))
    built = Distillation(Distillation.Config(**options), networks, Facts())
    lively(built, seed=6)
    return built


def asked(built: Distillation, batch: Batch, key: Key = KEY) -> Loss:
    return built(Part(batch, key), "student")


def test_it_keeps_the_laws_of_objectives() -> None:
    for options in ({"contrast": 0.3, "style": StyleConfig(weight=1.0)}, {"contrast": 0.0}):
        check_players(objective(**options), batch_of())
        check_pure(objective(**options), batch_of())
        check_evaluation(objective(**options), batch_of())


def test_the_terms_make_up_the_loss() -> None:
    built = objective(contrast=0.3, power=PowerConfig(weight=2.0, windows=(16,)), style=StyleConfig(weight=0.5))
    loss = asked(built, batch_of())
    terms = loss.terms
    total = terms["kl"] - 0.3 * terms["other_kl"] + 2.0 * terms["power"] + 0.5 * terms["style"]
    torch.testing.assert_close(loss.total, total)
    torch.testing.assert_close(terms["kl"], terms["cross_entropy"] - terms["entropy"])
    assert float(loss.weight) == 40 + 35 + 12
    assert all(float(value) != 0 for value in terms.values())


def test_without_contrast_it_is_the_divergence_and_against_itself_it_is_nothing() -> None:
    quiet = PowerConfig(weight=0.0, windows=(16,))
    plain = asked(objective(contrast=0.0, power=quiet), batch_of())
    assert torch.equal(plain.total, plain.terms["kl"])
    assert "other_kl" not in plain.terms
    same = batch_of()
    same = replace(same, cond=replace(same.cond, features=same.cond.features[:1].expand(3, -1, -1)))
    assert asked(objective(contrast=1.0, power=quiet), same).total.tolist() == 0.0
    different = asked(objective(contrast=1.0, power=quiet), batch_of())
    assert different.total.tolist() != 0.0


def test_a_row_that_is_alone_is_judged_under_its_own_features_of_another_time() -> None:
    quiet, alone = PowerConfig(weight=0.0, windows=(16,)), batch_of(1)
    built = objective(contrast=0.7, power=quiet)
    loss = asked(built, alone)
    assert {"kl", "other_kl"} <= set(loss.terms)
    assert float(loss.terms["other_kl"]) != float(loss.terms["kl"])
    torch.testing.assert_close(loss.total, loss.terms["kl"] - 0.7 * loss.terms["other_kl"])
    features = torch.cat([alone.cond.features[:, 5:], alone.cond.features[:, :5]], dim=1)
    drawn, epsilon = built.draw(alone, KEY)
    rotated = replace(alone, cond=replace(alone.cond, features=features))
    torch.testing.assert_close(loss.terms["other_kl"], built.divergence(drawn, epsilon, rotated)[0].mean())
    still = replace(alone, cond=replace(alone.cond, features=alone.cond.features[:, :1].expand(-1, 10, -1)))
    assert asked(objective(contrast=1.0, power=quiet), still).total.tolist() == 0.0


class Same(Source):
    """One batch, over and over."""

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        return (batch_of(4) for _ in range(start, stop))

    def whole(self) -> list[Batch]:
        return [batch_of(4)]


@pytest.mark.parametrize("contrast", [0.0, 0.3])
def test_rows_that_are_compared_are_not_parted(contrast: float, tmp_path: Path) -> None:
    built = objective(contrast=contrast)
    assert built.couples_rows == (contrast > 0)
    identity, recipe = CheckpointIdentity("", "", ""), Recipe(TrainConfig(steps=1, batch_size=4, accumulate=2))
    out = tmp_path / "parts"
    if contrast:
        with pytest.raises(SeqgenError, match=r"'train.accumulate' is 2, but Distillation compares the rows .* to 1"):
            train(built, recipe, out=out, source=Same(), identity=identity, device="cpu")
        assert not out.exists()
        recipe = Recipe(TrainConfig(steps=1, batch_size=4))
    assert train(built, recipe, out=out, source=Same(), identity=identity, device="cpu").step == 1


def test_another_row_is_never_the_same_row() -> None:
    batch = batch_of(4)
    batch = replace(batch, cond=replace(batch.cond, speaker=torch.arange(4)))
    turns = {tuple(another(batch, Key(1, stream)).cond.speaker.tolist()) for stream in range(40)}
    assert turns == {(3, 0, 1, 2), (2, 3, 0, 1), (1, 2, 3, 0)}
    moved = another(batch, KEY)
    given, after = batch.cond.features, moved.cond.features
    assert all(torch.equal(after[i], given[int(moved.cond.speaker[i])]) for i in range(4))
    assert torch.equal(moved.x, batch.x)


def test_the_teacher_is_read_but_never_moved() -> None:
    built = objective(contrast=0.3)
    before = {name: value.clone() for name, value in built.teacher.state_dict().items()}
    student = {name: value.clone() for name, value in built.generator.state_dict().items()}
    optimiser = torch.optim.AdamW([p for p in built.parameters() if p.requires_grad], lr=1e-2)
    for step in range(3):
        asked(built, batch_of(), Key(1, step)).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in built.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in built.teacher.state_dict().items())
    assert not all(torch.equal(value, student[name]) for name, value in built.generator.state_dict().items())
    drawn, epsilon = built.draw(batch_of(), KEY)
    x = drawn.x.detach().requires_grad_()
    kl, _ = built.divergence(
        drawn._replace(x=x, map=Affine(*(part.detach() for part in drawn.map))), epsilon, batch_of()
    )
    (gradient,) = torch.autograd.grad(kl.sum(), x)
    assert (gradient[:, :-1] != 0).all()
    assert (gradient[:, -1] == 0).all()  # the last sample is read by nobody


def test_training_mode_never_reaches_what_is_frozen() -> None:
    built = objective(style=StyleConfig(weight=1.0)).train()
    assert built.generator.training
    assert not any(module.training for module in [*built.teacher.modules(), *built.classifier.modules()])
    assert not built.eval().generator.training


def test_samples_beyond_the_end_of_a_recording_do_not_count() -> None:
    batch = batch_of()
    changed = batch.x.clone()
    changed[2, 12:] = 5.0
    built = objective(style=StyleConfig(weight=1.0))
    assert torch.equal(asked(built, batch).total, asked(built, replace(batch, x=changed)).total)


def test_long_rows_are_cut_to_their_middle() -> None:
    batch = batch_of(2, 10)
    frames = torch.arange(15.0).view(1, 15, 1).expand(2, -1, 2)  # 3 before, 2 after
    framed = replace(batch, cond=replace(batch.cond, features=frames, left=3))
    cut = middle(framed, 4 * HOP - 1, hop=HOP)
    assert torch.equal(cut.x, batch.x[:, 3 * HOP : 7 * HOP])
    assert cut.cond.left == 3
    assert cut.cond.features[0, :, 0].tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert cut.lengths.tolist() == [16, 16]
    assert middle(framed, 10 * HOP, hop=HOP) is framed
    ended = middle(replace(framed, lengths=torch.tensor([40, 13])), 16, hop=HOP)
    assert ended.lengths.tolist() == [16, 1]


def teacher_over(distribution: Any, **options: Any) -> AutoRegressive:
    sizes: dict[str, Any] = {
        "layers": 1,
        "residual_channels": 2,
        "gate_channels": 2,
        "skip_channels": 2,
        "head_channels": 2,
        "conditioned": False,
    }
    return AutoRegressive(
        WaveNet(WaveNet.Config(**(sizes | options), outputs=distribution.num_params)),
        distribution,
        None,
        start=0,
        symbols_per_sample=1,
    )


def test_a_teacher_with_a_density_is_needed() -> None:
    student = Parallel(ParallelWaveNet(ParallelWaveNet.Config(layers=(1,), conditioned=False)), None)
    with pytest.raises(SeqgenError, match=r"Distillation has no network 'teacher'; add networks\.teacher"):
        Distillation(Distillation.Config(), {"generator": student}, Facts())
    symbols = teacher_over(Categorical(Categorical.Config(classes=9)), vocab_size=9)
    with pytest.raises(SeqgenError, match="no generator over real numbers, but has Categorical; train one with codec"):
        Distillation(Distillation.Config(), {"generator": student, "teacher": symbols}, Facts())
    normal = teacher_over(Gaussian(Gaussian.Config()), vocab_size=0)
    networks = {"generator": student, "teacher": normal}
    with pytest.raises(SeqgenError, match=r"a style loss without a classifier; add networks\.classifier"):
        Distillation(Distillation.Config(style=StyleConfig(weight=1.0)), networks, Facts())
    with pytest.raises(SeqgenError, match=r"network 'teacher' is a Parallel; give an? AutoRegressive"):
        Distillation(Distillation.Config(), {"generator": student, "teacher": student}, Facts())
    with pytest.raises(SeqgenError, match="no network 'critic'; it takes generator, teacher, classifier"):
        Distillation(Distillation.Config(), networks | {"critic": student}, Facts())


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"divergence": -1.0}, {"contrast": -0.1}, {"longest": 0}], ids=lambda o: next(iter(o))
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SeqgenError, match="give samples, longest >= 1 and weights of at least 0"):
        Distillation.Config(**options)


def test_the_density_of_a_mixture_is_its_probability_over_the_width_of_a_bin() -> None:
    distribution = LogisticMixture(LogisticMixture.Config(mixtures=3, origin=-1))
    params = torch.tensor([0.1, -0.4, 0.9, -0.35, 0.2, 0.3, -2.0, -1.0, -1.5], dtype=torch.float64)
    levels = 2 * torch.arange(1, 65535, 500, dtype=torch.float64) / 65535 - 1
    each = params.expand(len(levels), 9)
    expected = distribution.log_prob(each, levels) + math.log(65535 / 2)
    torch.testing.assert_close(distribution.log_density(each, levels), expected, rtol=0, atol=1e-6)
    x = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    whole = distribution.log_density(params.expand(len(x), 9), x).exp()
    assert float(torch.trapezoid(whole, x)) == pytest.approx(1, abs=1e-6)
