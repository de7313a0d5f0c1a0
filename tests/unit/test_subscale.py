"""Subscale generation: who may depend on whom, and that lanes side by side make what lanes one by one make."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.subscale.generator import Subscale, SubscaleConfig
from seqgen.models.wavernn import WaveRNN
from seqgen.stream.conditioning import Frames
from seqgen.tasks import experiment
from tests.runtime.voices import density, run_of, task_of, tiny_system

HOP, MELS = 60, 10
SHAPES = [(2, 0), (2, 1), (4, 2), (5, 1), (3, 4)]


def lanes_of(lanes: int = 1, **options: Any) -> dict[str, Any]:
    """The density of a run: a tiny WaveRNN along each of so many lanes."""
    return density({"name": "wavernn", "hidden": 16}, lanes=lanes, **options) | {"name": "subscale"}


def subscale(lanes: int, horizon: int, speakers: int = 1, hop: int = HOP) -> Subscale:
    """A tiny generator in float64, in which rounding decides nothing."""
    run = run_of(lanes_of(lanes, horizon=horizon, channels=6, blocks=1), hop=hop)
    vocoder, _ = tiny_system(run, tuple(f"speaker-{i}" for i in range(speakers)), seed=1)
    assert isinstance(vocoder.generator, Subscale)
    return vocoder.generator.double().eval()


def given(rows: int, samples: int, speakers: int = 1) -> Frames:
    """Features for that many samples and what the conditioning network looks ahead."""
    draw = torch.Generator().manual_seed(rows)
    frames = -(-samples // HOP) + 3
    mel = torch.randn(rows, frames, MELS, generator=draw).double() * 2 - 5
    return Frames(mel, torch.arange(rows) % speakers)


def repeated(cond: Frames, rows: int) -> Frames:
    """The frames of one row for many."""
    return Frames(cond.features.expand(rows, -1, -1), cond.speaker.expand(rows))


def uniforms(rows: int, samples: int) -> Tensor:
    return torch.rand(rows, 2 * samples, 1, generator=torch.Generator().manual_seed(5)).double()


def waveform(rows: int, samples: int) -> Tensor:
    """Bytes of a quiet recording: a loud one drives the gates of random weights to exactly 0 and 1."""
    fine = torch.randint(256, (rows, samples, 2), generator=torch.Generator().manual_seed(7))
    return torch.stack([126 + fine[..., 0] % 4, fine[..., 1]], dim=-1).flatten(1)


@pytest.mark.parametrize(("lanes", "horizon"), SHAPES)
def test_a_sample_depends_on_its_lane_and_on_earlier_lanes_up_to_the_horizon(lanes: int, horizon: int) -> None:
    model, samples = subscale(lanes, horizon), 6 * lanes
    cond = given(1, samples)
    x = waveform(1, samples)
    for changed in range(0, samples, 3):
        other = x.clone()
        other[0, 2 * changed : 2 * changed + 2] ^= 1
        # In two calls: what lies in another row of one product may be rounded otherwise.
        scores = [model.log_prob(each, cond)[0] for each in (x, other)]
        differs = (scores[0] != scores[1]).unflatten(0, (-1, 2)).any(dim=1)
        k, z = divmod(changed, lanes)
        for n in set(range(samples)) - {changed}:
            i, s = divmod(n, lanes)
            assert bool(differs[n]) == ((s == z and k < i) or (z < s and k <= i + horizon)), (changed, n)


@torch.no_grad()
def test_probabilities_of_all_recordings_sum_to_one() -> None:
    lanes, horizon, samples = 2, 1, 6
    model = subscale(lanes, horizon)
    cond = given(1, samples)
    possible = torch.tensor([100, 140])
    # Only two bytes can be drawn, so 4^6 recordings are all there are.
    for head in (model.body.o2, model.body.o4):
        with torch.no_grad():
            head.bias.sub_(1e4)
            head.bias[possible] += 1e4
    x = possible[torch.tensor(list(itertools.product((0, 1), repeat=2 * samples)))]
    total = sum(float(model.log_prob(part, repeated(cond, len(part))).sum(dim=1).exp().sum()) for part in x.split(512))
    assert total == pytest.approx(1, abs=1e-9)
    assert len(torch.unique(model.log_prob(x[:512], repeated(cond, 512)).sum(dim=1))) > 500


def test_scoring_in_stretches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, samples = subscale(4, 2), 93
    cond = given(2, samples)
    x = waveform(2, samples)
    whole = model.log_prob(x, cond)
    monkeypatch.setattr("seqgen.generation.subscale.generator.Subscale.block", 20)
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(x, cond), whole)


def test_frames_before_a_segment_are_its_context() -> None:
    model, samples = subscale(4, 2), 4 * HOP
    cond = given(1, 2 * samples)
    x = waveform(1, samples)
    assert not torch.equal(model.log_prob(x, cond), model.log_prob(x, replace(cond, left=4)))
    torch.testing.assert_close(
        model.condition(replace(cond, left=4), samples),
        model.condition(cond, 2 * samples)[:, samples:],
    )


def test_gradients_reach_every_parameter() -> None:
    model, samples = subscale(4, 2), 40
    model.log_prob(waveform(2, samples), given(2, samples)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_silence_is_zero_and_a_unit_is_256_steps() -> None:
    model = subscale(2, 0)
    got = model._units(torch.tensor([[128, 0], [129, 0], [127, 255]]))
    assert got.tolist() == [0.0, 1.0, -1 / 256]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lanes": 0}, "lanes"),
        ({"lanes": 2, "horizon": -1}, "horizon"),
        ({"lanes": 2, "unit": 0.0}, "unit"),
        ({"lanes": 2, "channels": 0}, "channels"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SeqgenError, match=message):
        SubscaleConfig(**options)


def test_a_body_that_reads_no_bytes_is_refused() -> None:
    body = WaveRNN(WaveRNN.Config(hidden=8, conditioned=False))
    unconditioned = AutoRegressive(body, Categorical(Categorical.Config()), None, start=0, symbols_per_sample=2)
    with pytest.raises(SeqgenError, match="conditioned samples as two bytes"):
        Subscale(SubscaleConfig(lanes=2), unconditioned)


def test_lanes_of_an_excitation_are_refused() -> None:
    with pytest.raises(SeqgenError, match=r"'task.prediction' is 4 with 2 lanes; set one of them"):
        tiny_system(run_of(lanes_of(2), hop=HOP, prediction=4))
    assert tiny_system(run_of(lanes_of(1), hop=HOP, prediction=4))[0].prediction is not None


def test_a_system_makes_audio_of_lanes_as_of_samples_one_by_one() -> None:
    for lanes, kind in ((1, AutoRegressive), (4, Subscale)):
        task = task_of(run_of(lanes_of(lanes, horizon=1), hop=HOP), ("one",))
        vocoder = task.vocoder(experiment.build(task, source="config").networks)
        assert type(vocoder.generator) is kind
        cond = given(2, 30)
        cond = replace(cond, features=cond.features.float())
        audio = vocoder.make(uniforms(2, 30 + vocoder.generator.ahead).float(), cond)
        assert audio.shape == (2, 30)
        assert audio.dtype == torch.float32
        assert audio.abs().max() <= 1
