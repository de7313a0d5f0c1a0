"""Lanes side by side in a stream: what lanes one by one make, in any chunks, with the delay that is declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen import presets
from seqgen.cli import bench_torch, random_voices
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import draw
from seqgen.generation.subscale.generator import Subscale
from seqgen.models.frames import with_speaker
from seqgen.spec import FeatureSpec
from seqgen.stream.conditioning import Frames
from seqgen.stream.state import leaves
from tests.unit.test_subscale import HOP, MELS, SHAPES, given, repeated, subscale, uniforms, waveform


def one_by_one(model: Subscale, u: Tensor, frames: Frames, samples: int) -> Tensor:
    """The definition: one lane to its end before the next begins, each a WaveRNN of its own: ``[B, 2·samples]``."""
    lanes, horizon, rows = model.config.lanes, model.config.horizon, len(u)
    count = samples // lanes
    vectors = model.condition(frames, samples)
    assert isinstance(vectors, Tensor)
    cond = vectors.unflatten(1, (count, lanes))
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


def framed(model: Subscale, rows: int, samples: int) -> Frames:
    """Frames that a fresh stream needs for that many samples, and what the conditioning network looks ahead."""
    frames = (samples + model.latency) // HOP
    assert frames * HOP == samples + model.latency
    return given(rows, frames * HOP, model.speakers or 1)


def streams(model: Subscale, cond: Frames, samples: int) -> Tensor:
    """Those frames as a stream takes them, with the speaker behind each."""
    return with_speaker(cond.features, cond.speaker, model.speakers)[:, : (samples + model.latency) // HOP]


def whole_frames(model: Subscale, least: int) -> int:
    """Samples, as many as wanted or more, that a stream makes of whole frames."""
    return -(-(least + model.latency) // HOP) * HOP - model.latency


@torch.no_grad()
@pytest.mark.parametrize(("lanes", "horizon"), SHAPES)
@pytest.mark.parametrize("samples", [7, 100])
def test_lanes_side_by_side_make_what_lanes_one_by_one_make(lanes: int, horizon: int, samples: int) -> None:
    model = subscale(lanes, horizon, speakers=2)
    samples = whole_frames(model, samples)
    cond = framed(model, 3, samples)
    u = uniforms(3, samples + model.ahead)
    features = streams(model, cond, samples)
    made, _ = model.generate(u, model.init_state(3), features)
    assert made.shape == (3, 2 * samples)
    assert torch.equal(made, one_by_one(model, u, cond, samples + model.ahead)[:, : 2 * samples])
    # Every row is what it is alone.
    assert torch.equal(made[1:2], model.generate(u[1:2], model.init_state(1), features[1:2])[0])


def streamed(model: Subscale, run: Any, x: Tensor, features: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Any]:
    """``run`` (generate or step) in chunks of so many frames, over and over; each is given the noise ahead of it."""
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
    cond = framed(model, 2, samples)
    features = streams(model, cond, samples)
    u = uniforms(2, samples + model.ahead)
    whole, state = model.generate(u, model.init_state(2), features)
    assert len(whole.unique()) > 50
    made, after = streamed(model, model.generate, u, features, sizes)
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
    cond = framed(model, 2, samples)
    x = waveform(2, samples)
    features = streams(model, cond, samples)
    silence = torch.tensor([128, 0]).repeat(2, model.ahead)
    params, _ = model.step(torch.cat([x, silence], dim=1), model.init_state(2), features)
    torch.testing.assert_close(model.distribution.log_prob(params, x), model.log_prob(x, cond), rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("samples", [1, 101])
def test_whole_recordings_of_any_length_are_lanes_one_by_one(samples: int) -> None:
    """Noise for what lies ahead of the end comes with the rest; the last frame holds for it."""
    model = subscale(4, 2)
    cond, u = given(2, samples), uniforms(2, samples + model.ahead)
    made = model.sample(u, cond)
    assert made.shape == (2, 2 * samples)
    padded, features, meant = model.aligned(u, cond)
    assert meant == samples
    assert features is not None
    expected = one_by_one(model, padded, Frames(features, cond.speaker), padded.shape[1] // 2)
    assert torch.equal(made, expected[:, : 2 * samples])


@torch.no_grad()
def test_what_is_drawn_goes_on_from_what_was_given() -> None:
    """A prompt: distributions of given elements first, then drawing from the state after them."""
    model = subscale(4, 2)
    samples = whole_frames(model, 180)
    cond = framed(model, 1, samples)
    features = streams(model, cond, samples)
    u = uniforms(1, samples + model.ahead)
    whole, _ = model.generate(u, model.init_state(1), features)
    cut = features.shape[1] - 2
    prompt = cut * HOP - model.latency
    x = torch.cat([whole, waveform(1, model.ahead)], dim=1)  # what lies ahead at the cut has been drawn: 120 >= 36
    _, state = model.step(x[:, : 2 * (prompt + model.ahead)], model.init_state(1), features[:, :cut])
    rest, _ = model.generate(u[:, 2 * prompt :], state, features[:, cut:])
    assert torch.equal(rest, whole[:, 2 * prompt :])


@torch.no_grad()
def test_latency_is_the_least_that_whole_lane_steps_allow() -> None:
    model = subscale(4, 2)
    assert model.ahead == 4 * 3 * 3
    assert 0 <= model.latency - model.look_ahead - model.ahead < 4
    assert model.latency % 4 == 0
    # The last lane's sample is complete in the very step that its byte is drawn in: later noise changes nothing.
    samples = whole_frames(model, 60)
    cond = framed(model, 1, samples)
    features, u = streams(model, cond, samples), uniforms(1, samples + model.ahead)
    other = u.clone()
    other[:, 2 * samples :] = 1 - other[:, 2 * samples :]
    made, again = (model.generate(each, model.init_state(1), features)[0] for each in (u, other))
    differs = (made != again)[0].unflatten(0, (-1, 2)).any(dim=1)
    assert not differs[: samples - model.config.lanes * model.config.lanes * model.config.horizon].any()
    assert differs.any()


@pytest.mark.parametrize("elements", [0, 2 * 35, 2 * 37, 2 * 36 + 1])
def test_noise_that_does_not_reach_ahead_is_refused(elements: int) -> None:
    model = subscale(4, 2)
    with pytest.raises(SeqgenError, match=r"of 36 more that lie ahead|multiple of 2"):
        model.generate(uniforms(1, 40)[:, :elements], model.init_state(1), torch.zeros(1, 1, MELS).double())


def test_rows_at_different_steps_of_their_start_are_refused() -> None:
    model = subscale(4, 2)
    samples = whole_frames(model, 60)
    cond = framed(model, 2, samples)
    state = model.init_state(2)
    state = state._replace(body=state.body._replace(tape=torch.tensor([-2, 9])))
    with pytest.raises(SeqgenError, match="different steps"):
        model.generate(uniforms(2, samples + model.ahead), state, streams(model, cond, samples))


@pytest.mark.parametrize(("lanes", "horizon"), SHAPES)
def test_likelihood_is_that_of_what_is_drawn(lanes: int, horizon: int) -> None:
    """At temperature 0 the byte drawn is the most likely one under teacher forcing on what was drawn."""
    model = subscale(lanes, horizon)
    samples = whole_frames(model, 24)
    cond = framed(model, 1, samples)
    features = streams(model, cond, samples)
    ahead = model.generate(uniforms(1, samples + model.ahead), model.init_state(1), features, 1e-9)[0]
    # A stream does not end where a recording does: only what hears nothing of its end is compared.
    samples -= lanes * lanes * (horizon + 1)
    made = ahead
    own = model.log_prob(made, cond).detach()
    for place in range(0, max(4, 2 * samples), 5):
        every = made.repeat(256, 1)
        every[:, place] = torch.arange(256)
        scores = model.log_prob(every, repeated(cond, 256))[:, place].detach()
        assert float(scores.exp().sum()) == pytest.approx(1, abs=1e-9)
        assert float(own[0, place]) == pytest.approx(float(scores.max()), abs=1e-9)


@pytest.mark.parametrize(
    ("lanes", "horizon", "samples", "steps"),
    [(8, 3, 128, 44), (16, 64, 24000, 2475), (4, 2, 44, 20), (3, 0, 7, 5), (2, 5, 0, 0)],
)
def test_number_of_steps(lanes: int, horizon: int, samples: int, steps: int) -> None:
    """``L/B + (B - 1)·(F + 1)``; 44 and 2475 are the paper's worked example and one computed by hand at 24 kHz."""
    assert subscale(lanes, horizon, hop=48).steps(samples) == steps


@torch.no_grad()
def test_as_many_steps_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside those in which the first lane looks ahead; and none twice when a stream goes on."""
    model = subscale(4, 2)
    samples = whole_frames(model, 40)
    cond = framed(model, 1, samples)
    calls, advance = [], model.advance
    monkeypatch.setattr(model, "advance", lambda *given, **more: calls.append(1) or advance(*given, **more))
    u = uniforms(1, samples + model.ahead)
    streamed(model, model.generate, u, streams(model, cond, samples), (1,))
    assert len(calls) == model.steps(samples) + model.config.horizon


def test_lanes_that_do_not_divide_the_hop_are_refused() -> None:
    with pytest.raises(SeqgenError, match="7 lanes do not divide the hop of 60 samples"):
        subscale(7, 1)


@dataclass(frozen=True)
class Slow(presets.Preset):
    """A preset at 400 Hz."""

    @property
    def features(self) -> FeatureSpec:
        return FeatureSpec(sample_rate=400, n_fft=512, window=300, hop=self.hop, n_mels=10)


def test_bench_makes_whole_recordings() -> None:
    model, parts = {"name": "wavernn", "hidden": 16}, {"lanes": 4, "horizon": 8}
    slow = Slow("slow", model, ("recordings",), density="subscale", hop=20, parts=parts)
    vocoder = random_voices.vocoder_of(slow)
    assert isinstance(vocoder.generator, Subscale)
    row = bench_torch.recordings(slow, vocoder, streams=2, threads=1, seconds=1e-9)
    assert row["samples_per_second"] > 0
    assert row["steps_per_second_of_audio"] == 100 + 3 * (8 + 1) == vocoder.generator.steps(400)
    with pytest.raises(SeqgenError, match="two lanes or more"):
        presets.find("wavernn-256-subscale1")
