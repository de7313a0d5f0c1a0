"""Subscale generation: who may depend on whom, and that lanes side by side make what lanes one by one make."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen.cli import bench_subscale
from seqgen.emissions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.models.frames import with_speaker
from seqgen.models.wavernn import WaveRNN
from seqgen.sample import AutoRegressive, draw
from seqgen.spec import FeatureSpec
from seqgen.stream.state import leaves
from seqgen.subscale import Subscale, SubscaleConfig
from seqgen.train.run import RunConfig, build
from tests.runtime.voices import lively, tiny_run

HOP, MELS = 60, 10
SHAPES = [(2, 0), (2, 1), (4, 2), (5, 1), (3, 4)]


def run_of(config: SubscaleConfig, hop: int = HOP) -> RunConfig:
    return replace(tiny_run(hop=hop), subscale=config)


def subscale(lanes: int, horizon: int, speakers: int = 1, hop: int = HOP) -> Subscale:
    """A tiny generator in float64, in which rounding decides nothing."""
    run = run_of(SubscaleConfig(lanes=lanes, horizon=horizon, channels=6, blocks=1), hop)
    system = build(run, tuple(f"speaker-{i}" for i in range(speakers)))
    assert isinstance(system.generator, Subscale)
    lively(system.generator, seed=1)
    return system.generator.double().eval()


def given(rows: int, samples: int, speakers: int = 1) -> tuple[Tensor, Tensor]:
    """Features for that many samples and what the conditioning network looks ahead; speakers."""
    draw = torch.Generator().manual_seed(rows)
    frames = -(-samples // HOP) + 3
    return torch.randn(rows, frames, MELS, generator=draw).double() * 2 - 5, torch.arange(rows) % speakers


def uniforms(rows: int, samples: int) -> Tensor:
    return torch.rand(rows, 2 * samples, 1, generator=torch.Generator().manual_seed(5)).double()


def waveform(rows: int, samples: int) -> Tensor:
    """Bytes of a quiet recording: a loud one drives the gates of random weights to exactly 0 and 1."""
    fine = torch.randint(256, (rows, samples, 2), generator=torch.Generator().manual_seed(7))
    return torch.stack([126 + fine[..., 0] % 4, fine[..., 1]], dim=-1).flatten(1)


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
            model.emission,
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
    torch.testing.assert_close(model.emission.log_prob(params, x), model.log_prob(x, mel, speaker), rtol=0, atol=1e-10)


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
def test_a_sample_depends_on_its_lane_and_on_earlier_lanes_up_to_the_horizon(lanes: int, horizon: int) -> None:
    model, samples = subscale(lanes, horizon), 6 * lanes
    mel, speaker = given(1, samples)
    x = waveform(1, samples)
    for changed in range(0, samples, 3):
        other = x.clone()
        other[0, 2 * changed : 2 * changed + 2] ^= 1
        # In two calls: what lies in another row of one product may be rounded otherwise.
        scores = [model.log_prob(each, mel, speaker)[0] for each in (x, other)]
        differs = (scores[0] != scores[1]).unflatten(0, (-1, 2)).any(dim=1)
        k, z = divmod(changed, lanes)
        for n in set(range(samples)) - {changed}:
            i, s = divmod(n, lanes)
            assert bool(differs[n]) == ((s == z and k < i) or (z < s and k <= i + horizon)), (changed, n)


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


@torch.no_grad()
def test_probabilities_of_all_recordings_sum_to_one() -> None:
    lanes, horizon, samples = 2, 1, 6
    model = subscale(lanes, horizon)
    mel, speaker = given(1, samples)
    possible = torch.tensor([100, 140])
    # Only two bytes can be drawn, so 4^6 recordings are all there are.
    for head in (model.body.o2, model.body.o4):
        with torch.no_grad():
            head.bias.sub_(1e4)
            head.bias[possible] += 1e4
    x = possible[torch.tensor(list(itertools.product((0, 1), repeat=2 * samples)))]
    total = sum(
        float(model.log_prob(part, mel.expand(len(part), -1, -1), speaker.expand(len(part))).sum(dim=1).exp().sum())
        for part in x.split(512)
    )
    assert total == pytest.approx(1, abs=1e-9)
    assert len(torch.unique(model.log_prob(x[:512], mel.expand(512, -1, -1), speaker.expand(512)).sum(dim=1))) > 500


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


def test_scoring_in_stretches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, samples = subscale(4, 2), 93
    mel, speaker = given(2, samples)
    x = waveform(2, samples)
    whole = model.log_prob(x, mel, speaker)
    monkeypatch.setattr("seqgen.subscale._BLOCK", 20)
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(x, mel, speaker), whole)


def test_frames_before_a_segment_are_its_context() -> None:
    model, samples = subscale(4, 2), 4 * HOP
    mel, speaker = given(1, 2 * samples)
    x = waveform(1, samples)
    assert not torch.equal(model.log_prob(x, mel, speaker), model.log_prob(x, mel, speaker, left=4))
    torch.testing.assert_close(
        model.condition(mel, speaker, left=4, vectors=samples),
        model.condition(mel, speaker, left=0, vectors=2 * samples)[:, samples:],
    )


def test_gradients_reach_every_parameter() -> None:
    model, samples = subscale(4, 2), 40
    model.log_prob(waveform(2, samples), *given(2, samples)).sum().backward()
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
    unconditioned = AutoRegressive(body, Categorical(Categorical.Config()), None, start=0, per_sample=2)
    with pytest.raises(SeqgenError, match="conditioned samples as two bytes"):
        Subscale(SubscaleConfig(lanes=2), unconditioned)


def test_lanes_of_an_excitation_are_refused() -> None:
    with pytest.raises(SeqgenError, match=r"'data.prediction' is 4 with 'subscale.lanes' 2"):
        replace(run_of(SubscaleConfig(lanes=2)), data=replace(tiny_run(hop=HOP).data, prediction=4))


def test_lanes_that_do_not_divide_the_hop_are_refused() -> None:
    with pytest.raises(SeqgenError, match="7 lanes do not divide the hop of 60 samples"):
        subscale(7, 1)


def test_a_system_makes_audio_of_lanes_as_of_samples_one_by_one() -> None:
    for config in (SubscaleConfig(), SubscaleConfig(lanes=4, horizon=1)):
        system = build(run_of(config), ("one",))
        mel, speaker = given(2, 30)
        audio = system.voice.make(uniforms(2, 30 + system.generator.ahead).float(), mel.float(), speaker)
        assert audio.shape == (2, 30)
        assert audio.dtype == torch.float32
        assert audio.abs().max() <= 1


def test_bench_makes_whole_recordings() -> None:
    slow = replace(tiny_run(hop=HOP), features=FeatureSpec(sample_rate=400, n_fft=512, window=300, hop=20, n_mels=10))
    row = bench_subscale.run("wavernn-256-subscale4", slow, streams=2, threads=1, seconds=1e-9)
    assert row["samples_per_second"] > 0
    assert row["steps_per_second_of_audio"] == 100 + 3 * (bench_subscale.HORIZON + 1)
    with pytest.raises(SeqgenError, match="two lanes or more"):
        bench_subscale.run("wavernn-256-subscale1", slow, streams=1, threads=1, seconds=1e-9)
