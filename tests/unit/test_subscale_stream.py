"""Lanes side by side in a stream: what lanes one by one make, in any chunks, with the delay that is declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen import presets
from seqgen.cli import bench_torch
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import draw
from seqgen.generation.subscale.generator import Subscale, SubscaleConfig
from seqgen.models.frames import with_speaker
from seqgen.spec import FeatureSpec
from seqgen.stream.state import leaves
from tests.runtime.voices import tiny_run
from tests.unit.test_subscale import HOP, MELS, SHAPES, given, subscale, uniforms, waveform


def one_by_one(model: Subscale, u: Tensor, mel: Tensor, speaker: Tensor, samples: int) -> Tensor:
    """The definition: one lane to its end before the next begins, each a WaveRNN of its own: ``[B, 2·samples]``."""
    lanes, horizon, rows = model.config.lanes, model.config.horizon, len(u)
    count = samples // lanes
    cond = model.condition(mel, speaker, left=0, vectors=samples).unflatten(1, (count, lanes))
    noise = u[:, : 2 * samples].unflatten(1, (count, lanes, 2))
    values, made = torch.zeros(rows, count + horizon, lanes).double(), torch.zeros(rows, count, lanes, 2).long()
    for lane in range(lanes):
        told = model.context(model.context.inputs(values, torch.full((rows,), lane)))[:, horizon:]
        before = torch.zeros(rows, dtype=torch.int64)
        body = model.body.init_state(rows)
        drawn = draw(
            model.body,
            model.distribution,
            noise[:, :, lane].flatten(1, 2),
            before,
            body,
            told + cond[:, :, lane],
            temperature=1.0,
        )
        made[:, :, lane] = drawn[0].unflatten(1, (count, 2))
        values[:, :count, lane] = model._units(made[:, :, lane])
    return made.flatten(1)


def framed(model: Subscale, rows: int, samples: int) -> tuple[Tensor, Tensor]:
    """Frames that a fresh stream needs for that many samples, with speakers; and speakers."""
    frames = (samples + model.latency) // HOP
    assert frames * HOP == samples + model.latency
    mel, speaker = given(rows, frames * HOP, model.speakers or 1)
    return mel, speaker


def whole_frames(model: Subscale, least: int) -> int:
    """Samples, as many as wanted or more, that a stream makes of whole frames."""
    return -(-(least + model.latency) // HOP) * HOP - model.latency


@torch.no_grad()
@pytest.mark.parametrize(("lanes", "horizon"), SHAPES)
@pytest.mark.parametrize("samples", [7, 100])
def test_lanes_side_by_side_make_what_lanes_one_by_one_make(lanes: int, horizon: int, samples: int) -> None:
    model = subscale(lanes, horizon, speakers=2)
    samples = whole_frames(model, samples)
    mel, speaker = framed(model, 3, samples)
    u = uniforms(3, samples + model.ahead)
    features = with_speaker(mel, speaker, 2)[:, : (samples + model.latency) // HOP]
    made, _ = model.sample(u, model.init_state(3), features)
    assert made.shape == (3, 2 * samples)
    assert torch.equal(made, one_by_one(model, u, mel, speaker, samples + model.ahead)[:, : 2 * samples])
    # Every row is what it is alone.
    assert torch.equal(made[1:2], model.sample(u[1:2], model.init_state(1), features[1:2])[0])


def streamed(model: Subscale, run: Any, x: Tensor, features: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Any]:
    """``run`` (sample or step) in chunks of so many frames, over and over; each is given the noise that lies ahead."""
    state, parts, first = model.init_state(len(x)), [], 0
    while first < features.shape[1]:
        last = min(first + sizes[len(parts) % len(sizes)], features.shape[1])
        start, stop = (max(0, frame * HOP - model.latency) for frame in (first, last))
        made, state = run(x[:, 2 * start : 2 * (stop + model.ahead)], state, features[:, first:last])
        parts.append(made)
        first = last
    return torch.cat(parts, dim=1), state


@torch.no_grad()
@pytest.mark.parametrize(("lanes", "horizon"), SHAPES)
@pytest.mark.parametrize("sizes", [(1,), (3, 1), (2, 5, 0)])
def test_any_chunks_make_the_same_stream(lanes: int, horizon: int, sizes: tuple[int, ...]) -> None:
    """Bytes, their distributions and the state after them; also where the first chunks make nothing."""
    model = subscale(lanes, horizon, speakers=2)
    samples = whole_frames(model, 200)
    mel, speaker = framed(model, 2, samples)
    features = with_speaker(mel, speaker, 2)[:, : (samples + model.latency) // HOP]
    u = uniforms(2, samples + model.ahead)
    whole, state = model.sample(u, model.init_state(2), features)
    assert len(whole.unique()) > 50
    made, after = streamed(model, model.sample, u, features, sizes)
    assert torch.equal(made, whole)
    for (name, one), (_, other) in zip(leaves(after), leaves(state), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10, msg=name)
    x = waveform(2, samples + model.ahead)
    told, _ = model.step(x, model.init_state(2), features)
    assert told.shape == (2, 2 * samples, 256)
    torch.testing.assert_close(streamed(model, model.step, x, features, sizes)[0], told, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize(("lanes", "horizon"), SHAPES)
def test_distributions_of_a_stream_are_those_of_training(lanes: int, horizon: int) -> None:
    """Beyond the end of a recording the lanes before are silent, in a stream that is given silence there too."""
    model = subscale(lanes, horizon, speakers=2)
    samples = whole_frames(model, 100)
    mel, speaker = framed(model, 2, samples)
    x = waveform(2, samples)
    features = with_speaker(mel, speaker, 2)[:, : (samples + model.latency) // HOP]
    silence = torch.tensor([128, 0]).repeat(2, model.ahead)
    params, _ = model.step(torch.cat([x, silence], dim=1), model.init_state(2), features)
    torch.testing.assert_close(model.distribution.log_prob(params, x), model.log_prob(x, mel, speaker), rtol=0, atol=1e-10)


@torch.no_grad()
def test_what_is_drawn_goes_on_from_what_was_given() -> None:
    """A prompt: distributions of given elements first, then drawing from the state after them."""
    model = subscale(4, 2)
    samples = whole_frames(model, 180)
    mel, _ = framed(model, 1, samples)
    features = mel[:, : (samples + model.latency) // HOP]
    u = uniforms(1, samples + model.ahead)
    whole, _ = model.sample(u, model.init_state(1), features)
    cut = features.shape[1] - 2
    prompt = cut * HOP - model.latency
    x = torch.cat([whole, waveform(1, model.ahead)], dim=1)  # what lies ahead at the cut has been drawn: 120 >= 36
    _, state = model.step(x[:, : 2 * (prompt + model.ahead)], model.init_state(1), features[:, :cut])
    rest, _ = model.sample(u[:, 2 * prompt :], state, features[:, cut:])
    assert torch.equal(rest, whole[:, 2 * prompt :])


@torch.no_grad()
def test_latency_is_the_least_that_whole_lane_steps_allow() -> None:
    model = subscale(4, 2)
    assert model.ahead == 4 * 3 * 3
    assert 0 <= model.latency - model.look_ahead - model.ahead < 4
    assert model.latency % 4 == 0
    # The last lane's sample is complete in the very step that its byte is drawn in: later noise changes nothing.
    samples = whole_frames(model, 60)
    mel, _ = framed(model, 1, samples)
    features, u = mel[:, : (samples + model.latency) // HOP], uniforms(1, samples + model.ahead)
    other = u.clone()
    other[:, 2 * samples :] = 1 - other[:, 2 * samples :]
    made, again = (model.sample(each, model.init_state(1), features)[0] for each in (u, other))
    differs = (made != again)[0].unflatten(0, (-1, 2)).any(dim=1)
    assert not differs[: samples - model.config.lanes * model.config.lanes * model.config.horizon].any()
    assert differs.any()


@pytest.mark.parametrize("elements", [0, 2 * 35, 2 * 37, 2 * 36 + 1])
def test_noise_that_does_not_reach_ahead_is_refused(elements: int) -> None:
    model = subscale(4, 2)
    with pytest.raises(SeqgenError, match=r"of 36 more that lie ahead|multiple of 2"):
        model.sample(uniforms(1, 40)[:, :elements], model.init_state(1), torch.zeros(1, 1, MELS).double())


def test_rows_at_different_steps_of_their_start_are_refused() -> None:
    model = subscale(4, 2)
    samples = whole_frames(model, 60)
    mel, _ = framed(model, 2, samples)
    state = model.init_state(2)
    state = state._replace(body=state.body._replace(tape=torch.tensor([-2, 9])))
    with pytest.raises(SeqgenError, match="different steps"):
        model.sample(uniforms(2, samples + model.ahead), state, mel[:, : (samples + model.latency) // HOP])


@pytest.mark.parametrize(("lanes", "horizon"), SHAPES)
def test_likelihood_is_that_of_what_is_drawn(lanes: int, horizon: int) -> None:
    """At temperature 0 the byte drawn is the most likely one under teacher forcing on what was drawn."""
    model = subscale(lanes, horizon)
    samples = whole_frames(model, 24)
    mel, speaker = framed(model, 1, samples)
    features = mel[:, : (samples + model.latency) // HOP]
    ahead = model.sample(uniforms(1, samples + model.ahead), model.init_state(1), features, 1e-9)[0]
    # A stream does not end where a recording does: only what hears nothing of its end is compared.
    samples -= lanes * lanes * (horizon + 1)
    made = ahead
    own = model.log_prob(made, mel, speaker).detach()
    for place in range(0, max(4, 2 * samples), 5):
        every = made.repeat(256, 1)
        every[:, place] = torch.arange(256)
        scores = model.log_prob(every, mel.expand(256, -1, -1), speaker.expand(256))[:, place].detach()
        assert float(scores.exp().sum()) == pytest.approx(1, abs=1e-9)
        assert float(own[0, place]) == pytest.approx(float(scores.max()), abs=1e-9)


@pytest.mark.parametrize(
    ("lanes", "horizon", "samples", "steps"),
    [(8, 3, 128, 44), (16, 64, 24000, 2475), (4, 2, 44, 20), (3, 0, 7, 5), (2, 5, 0, 0)],
)
def test_number_of_steps(lanes: int, horizon: int, samples: int, steps: int) -> None:
    """``L/B + (B - 1)·(F + 1)``; 44 and 2475 are the paper's worked example and the card's second at 24 kHz."""
    assert subscale(lanes, horizon, hop=48).steps(samples) == steps


@torch.no_grad()
def test_as_many_steps_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside those in which the first lane looks ahead; and none twice when a stream goes on."""
    model = subscale(4, 2)
    samples = whole_frames(model, 40)
    mel, _ = framed(model, 1, samples)
    calls, advance = [], model.advance
    monkeypatch.setattr(model, "advance", lambda *given, **more: calls.append(1) or advance(*given, **more))
    u = uniforms(1, samples + model.ahead)
    streamed(model, model.sample, u, mel[:, : (samples + model.latency) // HOP], (1,))
    assert len(calls) == model.steps(samples) + model.config.horizon


def test_lanes_that_do_not_divide_the_hop_are_refused() -> None:
    with pytest.raises(SeqgenError, match="7 lanes do not divide the hop of 60 samples"):
        subscale(7, 1)


def test_bench_makes_whole_recordings() -> None:
    slow = FeatureSpec(sample_rate=400, n_fft=512, window=300, hop=20, n_mels=10)
    run = replace(tiny_run(hop=20), features=slow, subscale=SubscaleConfig(lanes=4, horizon=8))
    row = bench_torch.recordings(run, streams=2, threads=1, seconds=1e-9)
    assert row["samples_per_second"] > 0
    assert row["steps_per_second_of_audio"] == 100 + 3 * (8 + 1)
    with pytest.raises(SeqgenError, match="two lanes or more"):
        presets.find("wavernn-256-subscale1")
