"""What compares made audio with a recording: power, style, and the classifier that hears the style."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.models.wavenet import WaveNet
from seqgen.noise import Key
from seqgen.objectives.classification import Classification
from seqgen.objectives.contract import Loss, Part
from seqgen.objectives.power import PowerConfig, power_loss, spectrum
from seqgen.objectives.style import StyleConfig, gram, style_loss
from seqgen.objectives.verify import check_accumulation, check_evaluation, check_players, check_pure
from seqgen.spec import Facts
from seqgen.tasks.vocoder.batches import Batch
from seqgen.train.batch import rows
from tests.unit.test_distillation import batch_of


def tones(rows: int = 2, length: int = 400) -> Tensor:
    t = torch.arange(length, dtype=torch.float64)
    return torch.stack([0.3 * torch.sin(0.2 * (k + 1) * t) + 0.1 * torch.sin(1.1 * t + k) for k in range(rows)])


@pytest.mark.parametrize("kind", ["power", "magnitude"])
@pytest.mark.parametrize("pooled", [False, True])
def test_the_power_loss_knows_neither_sign_nor_loudness(kind: Any, pooled: bool) -> None:
    options, y = PowerConfig(windows=(32, 64), spectrum=kind, pooled=pooled, floor=1e-4), tones()
    assert power_loss(y, y, options).tolist() == [0, 0]
    assert power_loss(-y, y, options).tolist() == [0, 0]
    torch.testing.assert_close(
        power_loss(torch.zeros_like(y), y, options), torch.ones(2, dtype=y.dtype), atol=1e-3, rtol=0
    )
    half = {"power": (1 - 0.25) ** 2, "magnitude": 0.25}[kind]
    torch.testing.assert_close(power_loss(y / 2, y, options), torch.full((2,), half, dtype=y.dtype), atol=1e-3, rtol=0)
    moved = torch.roll(y, 100, dims=1)
    assert (power_loss(moved, y, options) < 0.2 * power_loss(torch.roll(y, 1, dims=0), y, options)).all()


@pytest.mark.parametrize("kind", ["power", "magnitude"])
def test_silence_counts_as_noise_at_the_floor(kind: Any) -> None:
    noise = torch.randn(200, 400, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    options, silence = PowerConfig(windows=(32,), spectrum=kind, floor=0.02), torch.zeros_like(noise)
    expected = {"power": 2.0, "magnitude": 1.0}[kind]  # the square of a power is twice the squared mean
    assert float(power_loss(0.02 * noise, silence, options).mean()) == pytest.approx(expected, rel=0.1)
    assert float(power_loss(0.01 * noise, silence, options).mean()) < 0.3


def test_a_full_scale_sine_has_a_quarter_of_power_in_its_band() -> None:
    sine = torch.sin(2 * math.pi * 8 / 64 * torch.arange(256, dtype=torch.float64))[None]
    power = spectrum(sine, 64, "power")[0]
    assert power[8].tolist() == pytest.approx([0.25] * power.shape[1])
    assert float(power[:5].max()) < 1e-12
    assert spectrum(sine[:, :20], 64, "magnitude").shape == (1, 33, 1)  # shorter than a window


def test_the_power_loss_has_gradients_at_silence() -> None:
    for options in (PowerConfig(windows=(16,), spectrum="power"), PowerConfig(windows=(16,))):
        x = torch.zeros(1, 64, requires_grad=True)
        (gradient,) = torch.autograd.grad(power_loss(x, torch.zeros(1, 64), options).sum(), x)
        assert gradient.isfinite().all()


def test_the_style_loss_compares_what_sounds_together() -> None:
    a = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(style_loss([a, a], [a, a]), torch.zeros(2, dtype=a.dtype))
    shuffled = a[:, torch.randperm(50, generator=torch.Generator().manual_seed(2))]
    assert style_loss([shuffled], [a]).max() < 1e-20  # when is no matter
    torch.testing.assert_close(style_loss([2 * a], [a]), torch.full((2,), 9.0, dtype=a.dtype), rtol=1e-4, atol=0)
    expected = torch.stack([sum(torch.outer(v, v) for v in row) / 50 for row in a])  # type: ignore[misc]
    torch.testing.assert_close(gram(a), expected)


@pytest.mark.parametrize(
    "make",
    [lambda: PowerConfig(weight=-1), lambda: PowerConfig(windows=()), lambda: PowerConfig(windows=(4,)),
     lambda: PowerConfig(floor=0.0),
     lambda: StyleConfig(weight=-1)],
)  # fmt: skip
def test_impossible_losses_are_refused(make: Any) -> None:
    with pytest.raises(SeqgenError, match="weight"):
        make()


def classifier(*labels: str) -> Classification:
    """A small WaveNet of two outputs that is to learn these labels."""
    torch.manual_seed(0)
    sizes = {"layers": 4, "residual_channels": 8, "gate_channels": 8, "skip_channels": 8, "head_channels": 8}
    net = WaveNet(WaveNet.Config(**sizes, vocab_size=0, conditioned=False, outputs=2))
    return Classification(Classification.Config(labels=labels), {"classifier": net}, Facts())


def high_and_low() -> Batch:
    """Two tones that say "yes" and "no" in turn, of which the third ends early."""
    t = torch.arange(40.0)
    high, low = torch.sin(2.5 * t), torch.sin(0.5 * t)
    x = torch.stack([high, low, high, low])[..., None]
    return replace(batch_of(4), x=x, lengths=torch.tensor([40, 30, 20, 40]))


def asked(built: Classification, batch: Batch, step: int = 0) -> Loss:
    return built(Part(batch, Key(0, step)), "classifier")


def test_a_classifier_learns_what_is_said() -> None:
    built, batch = classifier("no", "yes"), high_and_low()
    optimiser = torch.optim.AdamW(built.parameters(), lr=1e-2)
    for step in range(40):
        optimiser.zero_grad()
        loss = asked(built, batch, step)
        loss.total.backward()
        optimiser.step()
    assert float(loss.terms["accuracy"]) == 1.0
    assert float(loss.total.detach()) < 0.3
    found = built.measure(batch, Key(3, 5), 0)["accuracy"]
    assert found.amounts.tolist() == found.weights.tolist() == [1.0] * 4


def test_a_classifier_keeps_the_laws_of_objectives_and_hears_no_padding() -> None:
    built, batch = classifier("no", "yes"), high_and_low()
    check_players(built, batch)
    check_pure(built, batch)
    check_evaluation(built, batch)
    check_accumulation(built, batch, [rows(batch, part, 2) for part in range(2)])
    junk = batch.x.clone()
    junk[2, 20:] = 9.0
    assert torch.equal(asked(built, replace(batch, x=junk)).total, asked(built, batch).total)
    assert len(built.classifier.observe(batch.x, built.classifier.init_state(4))[2]) == 4


def test_labels_that_do_not_fit_are_refused() -> None:
    batch = replace(high_and_low(), texts=("maybe",) * 4)
    with pytest.raises(SeqgenError, match="the transcript 'maybe' is no label; known: no, yes"):
        asked(classifier("no", "yes"), batch)
    with pytest.raises(SeqgenError, match="2 outputs for 3 labels"):
        classifier("a", "b", "c")
