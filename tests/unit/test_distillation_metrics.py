"""What is said of a student beside its teacher, where the teacher's own density is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqgen import noise
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.parallel import Parallel
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.models.resonance import Resonance
from seqgen.nets.layers import Dense
from seqgen.noise import Key
from seqgen.objectives.contract import Part
from seqgen.objectives.distillation import Distillation
from seqgen.objectives.levels import BANDS, band_levels, level
from seqgen.spec import Facts
from seqgen.stream.combinators import Repeat, Serial
from seqgen.stream.conditioning import Frames
from seqgen.tasks.vocoder.batches import Batch

HOP, KEY = 16, Key(0, 1)


def resonance() -> AutoRegressive:
    """A teacher whose density is known: a resonance that its frames tune, driven by noise of two peaks."""
    distribution = LogisticMixture(LogisticMixture.Config(mixtures=2))
    return AutoRegressive(
        Resonance(Resonance.Config()), distribution, Repeat(HOP, dim=1), start=0.0, symbols_per_sample=1
    )


def entropy_rate(teacher: AutoRegressive) -> float:
    """Nats a sample of its noise, by quadrature: what the teacher's own samples cost it."""
    assert isinstance(teacher.distribution, LogisticMixture)
    params = teacher.body(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)).double()[0, 0]
    x = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    log_density = teacher.distribution.log_density(params.expand(len(x), -1), x)
    return float(-torch.trapezoid(log_density.exp() * log_density, x))


def student_of(teacher: AutoRegressive, **options: Any) -> Distillation:
    """A fresh student of one flow."""
    torch.manual_seed(0)
    sizes = {"dilation_cycle": 2, "residual_channels": 4, "gate_channels": 4, "head_channels": 4}
    body = ParallelWaveNet(ParallelWaveNet.Config(layers=(2,), **sizes))
    conditioner = Serial(Dense(1, body.spec.cond_dim), Repeat(HOP, dim=body.spec.cond_dim))
    networks = {"generator": Parallel(body, conditioner), "teacher": teacher}
    return Distillation(Distillation.Config(**({"samples": 1, "longest": 4000} | options)), networks, Facts())


def recorded(teacher: AutoRegressive) -> Batch:
    """One recording that the teacher made, of a tuning that glides."""
    cond = Frames(torch.linspace(0.35, 0.15, 100).view(1, -1, 1), torch.zeros(1, dtype=torch.int64))
    u = torch.from_numpy(noise.block(18, 0, 0, 2 * 100 * HOP)).view(1, -1, 2)
    x = teacher.sample(u, cond)[..., None]
    return Batch(x, torch.tensor([x.shape[1]]), cond, ("a",))


@torch.no_grad()
def test_a_teacher_is_as_sure_of_its_own_samples_as_its_entropy_says() -> None:
    teacher = resonance()
    objective, batch = student_of(teacher), recorded(teacher)
    own, heard = objective.own(batch, KEY), objective.heard(batch, KEY)
    entropy = entropy_rate(teacher)
    assert own["teacher_nll_own"][0] == pytest.approx(entropy, abs=0.1)
    assert heard["teacher_nll_recordings"][0] == pytest.approx(entropy, abs=0.1)
    assert own["level_own"][0] == pytest.approx(0, abs=1.5)
    assert own["bands_own"][0] < 1.5 < heard["bands"][0]
    assert heard["bands"][0] > abs(sum(heard[f"band_{band}"][0] for band in range(1, 9)) / 8) - 1e-4
    assert own != objective.own(batch, Key(0, 2))
    units = {name: unit for name, (_, unit) in (own | heard).items()}
    assert {name for name, unit in units.items() if unit == "nats/sample"} == {
        "teacher_nll", "teacher_nll_own", "teacher_nll_recordings",
    }  # fmt: skip
    assert {unit for name, unit in units.items() if "nll" not in name} == {"dB"}


@torch.no_grad()
def test_what_is_measured_is_the_loss_and_what_is_heard() -> None:
    """Of one recording; the teacher, sample by sample, draws for the first sixteen only."""
    teacher = resonance()
    objective, batch = student_of(teacher, contrast=0.5), recorded(teacher)
    loss = objective(Part(batch, KEY), "student")
    found, later = (objective.measure(batch, KEY, index) for index in (15, 16))
    own = objective.own(batch, KEY)
    assert set(found) - set(later) == set(own)
    for name, (value, unit) in (objective.heard(batch, KEY) | own).items():
        assert found[name].unit == unit
        assert float(found[name].amounts / found[name].weights) == pytest.approx(value)
    for name in ("kl", "cross_entropy", "entropy", "power"):
        assert float(later[name].amounts / later[name].weights) == pytest.approx(float(loss.terms[name]))
        assert later[name].unit == ("relative" if name == "power" else "nats/sample")
    assert "other_kl" in loss.terms
    assert "other_kl" not in found
    assert {float(one.weights) for one in found.values()} == {float(batch.lengths[0])}


def test_levels_are_powers_in_decibels_and_bands_are_eighths_of_the_spectrum() -> None:
    t = torch.arange(4000, dtype=torch.float64)
    low, high = (torch.sin(frequency * torch.pi * t).view(1, -1, 1) for frequency in (1 / 16, 15 / 16))
    noise = torch.randn(1, 4000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert level(2 * noise, noise) == pytest.approx(20 * torch.tensor(2.0).log10().item(), abs=1e-6)
    torch.testing.assert_close(band_levels(noise / 10, noise), torch.full((BANDS,), -20.0, dtype=t.dtype))
    for tone, band in ((low, 0), (high, BANDS - 1)):
        change = band_levels(noise + 3 * tone, noise)
        assert int(change.argmax()) == band
        assert change[band] > 10
        assert change[torch.arange(BANDS) != band].abs().max() < 0.5


def test_a_fresh_student_is_no_louder_than_its_scales_say() -> None:
    torch.manual_seed(0)
    sizes = {"residual_channels": 32, "gate_channels": 32, "head_channels": 32, "conditioned": False}
    body = ParallelWaveNet(ParallelWaveNet.Config(layers=(8, 8, 10), **sizes))
    with torch.no_grad():
        affine, _ = body.affine(torch.randn(4, 400, 1), body.init_state(4))
    assert affine.log_scale.exp().mean().item() == pytest.approx(0.5**3, rel=0.2)
    assert affine.mean.std().item() < 2 * 0.5**3
