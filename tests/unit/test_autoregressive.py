"""The generator: likelihood and sampling are one distribution, however a stream is cut and batched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqgen import noise
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.frames import with_speaker
from seqgen.models.wavernn import WaveRNN
from seqgen.nets.gru import GRU
from seqgen.nets.layers import Dense
from seqgen.stream.combinators import Serial
from seqgen.stream.conditioning import Frames
from seqgen.stream.state import leaves
from seqgen.tasks import experiment
from tests.parity.draws import parted_rows
from tests.runtime.voices import lively, run_of, task_of, tiny_run, tiny_system

HOP, MELS, FRAMES = 10, 10, 8
SILENCE = task_of(tiny_run()).options.features.silence


def voice(speakers: int = 0) -> AutoRegressive:
    """A conditioned WaveRNN; its conditioning network looks one frame ahead and interpolates."""
    names = tuple(f"speaker-{i}" for i in range(speakers))
    generator = tiny_system(tiny_run(hop=HOP), names)[0].generator.eval()
    assert isinstance(generator, AutoRegressive)
    return generator


def plain() -> AutoRegressive:
    """An unconditioned WaveRNN."""
    body = WaveRNN(WaveRNN.Config(hidden=16, conditioned=False))
    lively(body, seed=3)
    return AutoRegressive(body, Categorical(Categorical.Config()), None, start=0, symbols_per_sample=2)


def real_valued() -> AutoRegressive:
    """A recurrent net over real samples with a mixture of two logistics, which takes two uniforms."""
    torch.manual_seed(4)
    body = Serial(GRU(1, 6), Dense(6, 6))
    return AutoRegressive(
        body, LogisticMixture(LogisticMixture.Config(mixtures=2)), None, start=0.0, symbols_per_sample=1
    )


KINDS = {"voice": voice, "speakers": lambda: voice(3), "plain": plain, "real-valued": real_valued}


@pytest.fixture(params=KINDS)
def generator(request: pytest.FixtureRequest) -> AutoRegressive:
    return KINDS[request.param]()


def features(model: AutoRegressive, rows: int, frames: int = FRAMES) -> tuple[Tensor, Tensor]:
    """Log-mel ``[B, F, M]`` and the index of each row's speaker."""
    draw = torch.Generator().manual_seed(rows)
    return torch.randn(rows, frames, MELS, generator=draw) * 2 - 5, torch.arange(rows) % max(1, model.speakers)


def cond_of(model: AutoRegressive, mel: Tensor, speaker: Tensor) -> Frames | None:
    return Frames(mel, speaker) if model.conditioner is not None else None


def frames_of(model: AutoRegressive, mel: Tensor, speaker: Tensor) -> Tensor | None:
    return with_speaker(mel, speaker, model.speakers) if model.conditioner is not None else None


def stream(model: AutoRegressive, rows: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Features, speakers, uniforms ``[B, T, num_uniforms]`` and the number of samples that a fresh stream can make."""
    mel, speaker = features(model, rows)
    samples = FRAMES * HOP - model.latency
    count = samples * model.symbols_per_sample * model.distribution.num_uniforms
    u = np.stack([noise.block(11, row, 0, count) for row in range(rows)])
    return mel, speaker, torch.from_numpy(u).unflatten(1, (-1, model.distribution.num_uniforms)), samples


@torch.no_grad()
def drawn(model: AutoRegressive, rows: int = 2) -> tuple[Tensor, Any]:
    mel, speaker, u, _ = stream(model, rows)
    return model.generate(u, model.init_state(rows), frames_of(model, mel, speaker))


@torch.no_grad()
def test_log_prob_is_the_sum_over_steps(generator: AutoRegressive) -> None:
    x, _ = drawn(generator)
    given = x if generator.body.spec.in_dim == 0 else x[..., None]
    mel, speaker = features(generator, 2)
    whole = generator.log_prob(given, cond_of(generator, mel, speaker))
    assert whole.shape == x.shape
    state, frame, element, scores = generator.init_state(2), 0, 0, []
    frames = frames_of(generator, mel, speaker)
    for count in (3, 1, 2, FRAMES - 6):  # the first three frames bring the look-ahead
        made = count * HOP - (generator.latency if frame == 0 else 0)
        last = element + made * generator.symbols_per_sample
        part = None if frames is None else frames[:, frame : frame + count]
        params, state = generator.step(given[:, element:last], state, part)
        scores.append(generator.distribution.log_prob(params, x[:, element:last]))
        frame, element = frame + count, last
    assert element == x.shape[1]
    torch.testing.assert_close(torch.cat(scores, dim=1), whole, rtol=1e-4, atol=1e-4)
    assert whole.std() > 0.1  # not a flat distribution, which any mistake would fit


@torch.no_grad()
def test_samples_are_the_quantiles_of_the_likelihood(generator: AutoRegressive) -> None:
    """Teacher forcing on what was drawn gives back the distributions it was drawn from."""
    x, after = drawn(generator)
    mel, speaker, u, _ = stream(generator, 2)
    given = x if generator.body.spec.in_dim == 0 else x[..., None]
    params, state = generator.step(given, generator.init_state(2), frames_of(generator, mel, speaker))
    again = generator.distribution.sample(params, u)
    if x.is_floating_point():
        assert (again - x).abs().max() <= 2 / 65535
    else:
        assert parted_rows(x.numpy(), again.numpy(), params.numpy(), u[..., 0].numpy()) == 0
    for (name, a), (_, b) in zip(leaves(state), leaves(after), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5, 6, 7], [4], [2, 7]], ids=str)
def test_chunks_give_the_same_samples(generator: AutoRegressive, cuts: list[int]) -> None:
    """The same uniforms at the same positions; the first chunks may be shorter than the look-ahead."""
    expected, last = drawn(generator)
    mel, speaker, u, _ = stream(generator, 2)
    frames = frames_of(generator, mel, speaker)
    state, made = generator.init_state(2), []
    for first, stop in zip([0, *cuts], [*cuts, FRAMES], strict=True):
        begin, end = (max(0, k * HOP - generator.latency) * generator.symbols_per_sample for k in (first, stop))
        before = [leaf.clone() for _, leaf in leaves(state)]
        old = state
        values, state = generator.generate(u[:, begin:end], state, None if frames is None else frames[:, first:stop])
        assert all(torch.equal(a, b) for a, (_, b) in zip(before, leaves(old), strict=True))
        made.append(values)
    values = torch.cat(made, dim=1)
    # Every draw is made by the one-element step; only the frame network sees blocks of another length.
    if not torch.equal(values, expected):
        params, _ = generator.step(expected, generator.init_state(2), frames)
        assert parted_rows(expected.numpy(), values.numpy(), params.numpy(), u[..., 0].numpy()) == 1
        return
    for (name, a), (_, b) in zip(leaves(state), leaves(last), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5, msg=name)


@torch.no_grad()
def test_rows_of_a_batch_are_what_each_is_alone(generator: AutoRegressive) -> None:
    expected, _ = drawn(generator, rows=8)
    mel, speaker, u, _ = stream(generator, 8)
    alone = []
    for row in range(8):
        frames = frames_of(generator, mel[row : row + 1], speaker[row : row + 1])
        alone.append(generator.generate(u[row : row + 1], generator.init_state(1), frames)[0])
    got = torch.cat(alone)
    if got.is_floating_point():
        assert (got - expected).abs().max() <= 2 / 65535
        return
    params, _ = generator.step(expected, generator.init_state(8), frames_of(generator, mel, speaker))
    assert parted_rows(expected.numpy(), got.numpy(), params.numpy(), u[..., 0].numpy()) <= 1


@torch.no_grad()
def test_a_segment_behind_its_context_is_conditioned_as_in_the_whole_utterance() -> None:
    model = voice(speakers=2)
    net = model.conditioner
    assert net is not None
    ahead, left = model.right, model.left
    assert (ahead, left) == (-(-model.latency // HOP), (net.spec.context or 1) - 1) == (2, 5)
    mel, speaker = features(model, 2, frames=30 + ahead)
    whole = model.condition(Frames(mel, speaker), 30 * HOP)
    for start, length in ((left, 4), (left + 5, 1), (30 - 6, 6)):
        piece = mel[:, start - left : start + length + ahead]
        part = model.condition(Frames(piece, speaker, left), length * HOP)
        expected = whole[:, start * HOP : (start + length) * HOP]
        torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-5)
        if start > left:  # one frame less, and the start of the segment would notice
            short = model.condition(Frames(piece[:, left:], speaker), length * HOP)
            assert (short - expected).abs().max() > 1e-3


@torch.no_grad()
def test_context_of_silence_is_what_a_fresh_stream_has_heard() -> None:
    model = voice()
    net = model.conditioner
    assert net is not None
    mel, speaker = features(model, 1)
    left = (net.spec.context or 1) - 1
    padded = torch.cat([torch.full((1, left, MELS), SILENCE), mel], dim=1)
    behind = model.condition(Frames(padded, speaker, left), 6 * HOP)
    torch.testing.assert_close(behind, model.condition(Frames(mel, speaker), 6 * HOP), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_conditioning_is_aligned_with_its_samples() -> None:
    """A sample hears frames up to its own look-ahead, and those; later frames change nothing."""
    model = voice()
    mel, speaker = features(model, 1)
    changed = mel.clone()
    changed[:, 5] += 1
    first, second = (model.condition(Frames(f, speaker), 6 * HOP) for f in (mel, changed))
    different = (first - second).abs().amax(dim=(0, 2)) > 0
    # One frame of look-ahead, and half a hop of interpolation towards the next frame's centre.
    assert int(different.nonzero()[0]) == 5 * HOP - HOP - HOP // 2
    assert different[4 * HOP : 6 * HOP].all()


@torch.no_grad()
def test_speakers_are_told_apart() -> None:
    model = voice(speakers=3)
    mel, _ = features(model, 1)
    x = torch.randint(256, (1, 6 * HOP * 2), generator=torch.Generator().manual_seed(0))
    scores = [model.log_prob(x, Frames(mel, torch.tensor([s]))).sum() for s in range(3)]
    assert len({round(float(score), 3) for score in scores}) == 3


@pytest.mark.parametrize("left", [0, 3])
def test_too_few_frames_are_refused_by_number(left: int) -> None:
    model = voice()
    speaker = torch.zeros(1, dtype=torch.int64)
    x = torch.zeros(1, 2 * 4 * HOP, dtype=torch.int64)
    enough = left + 4 + 2
    assert model.log_prob(x, Frames(torch.zeros(1, enough, MELS), speaker, left)).shape == x.shape
    made = 5 * HOP - model.latency
    problem = rf"{enough - 1} frames condition {made} samples, got {4 * HOP}; give 2 frames"
    with pytest.raises(SeqgenError, match=problem):
        model.log_prob(x, Frames(torch.zeros(1, enough - 1, MELS), speaker, left))
    with pytest.raises(SeqgenError, match="0 frames condition 0 samples"):
        model.log_prob(x, Frames(torch.zeros(1, 0, MELS), speaker, left))


def test_frames_and_samples_that_do_not_fit_are_refused() -> None:
    model = voice()
    frames, state = torch.zeros(1, 5, MELS), model.init_state(1)
    for samples in (5 * HOP + 1, 5 * HOP - model.latency - 1):
        with pytest.raises(SeqgenError, match=rf"5 frames do not make {samples} samples; ask for {5 * HOP} samples"):
            model.generate(torch.zeros(1, 2 * samples, 1), state, frames)
    with pytest.raises(SeqgenError, match="got 7 elements; give a multiple of 2"):
        model.generate(torch.zeros(1, 7, 1), state, frames)
    with pytest.raises(SeqgenError, match="got no features"):
        model.generate(torch.zeros(1, 2, 1), state, None)


def test_parts_that_do_not_fit_are_refused() -> None:
    model = voice()
    body = model.body
    with pytest.raises(SeqgenError, match="the body gives 256 outputs, the distribution takes 255"):
        AutoRegressive(
            body, Categorical(Categorical.Config(classes=255)), model.conditioner, start=0, symbols_per_sample=2
        )
    with pytest.raises(SeqgenError, match="gives 0 channels, the body takes 48"):
        AutoRegressive(body, model.distribution, None, start=0, symbols_per_sample=2)
    with pytest.raises(SeqgenError, match="gives 48 channels, the body takes 0"):
        AutoRegressive(plain().body, model.distribution, model.conditioner, start=0, symbols_per_sample=2)


@torch.no_grad()
def test_the_temperature_sharpens_what_is_drawn() -> None:
    """At no temperature every element is the mode of its distribution, or as good as that: near-ties are left."""
    model = plain()
    u = torch.from_numpy(noise.block(1, 0, 0, 80)).view(2, 40, 1)
    state = model.init_state(2)
    cold, _ = model.generate(u, state, None, 0.0)
    params, _ = model.step(cold, state, None)
    assert (params.gather(-1, cold[..., None])[..., 0] - params.amax(dim=-1)).min() > -0.02
    warm, _ = model.generate(u, state, None, torch.tensor(1.0))
    assert not torch.equal(warm, cold)
    assert torch.equal(warm, model.generate(u, state, None)[0])


@torch.no_grad()
def test_the_likelihood_is_what_sampling_costs() -> None:
    """Mean log-likelihood of samples equals minus the mean entropy of their distributions, within the noise."""
    model = plain()
    rows, samples = 64, 24
    u = torch.from_numpy(noise.block(5, 0, 0, rows * samples * 2)).view(rows, -1, 1)
    x, _ = model.generate(u, model.init_state(rows), None)
    params, _ = model.step(x, model.init_state(rows), None)
    log_p = torch.log_softmax(params.double(), dim=-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    score = -model.log_prob(x).double()
    deviation = float((score - entropy).std()) / (score.numel() ** 0.5)
    assert abs(float((score - entropy).mean())) < 4 * deviation
    assert float(entropy.mean()) < np.log(256) - 0.1


@pytest.mark.parametrize("block", [40, 130, 8000])
@pytest.mark.parametrize(("samples", "left"), [(1000, 0), (1000, 5), (37, 3)])
def test_scoring_in_blocks_is_scoring_at_once(
    block: int, samples: int, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without gradients a stretch is streamed; the likelihoods are those of one pass."""
    run = run_of({"name": "autoregressive", "body": {"name": "wavernn", "hidden": 32}})
    generator = experiment.build(task_of(run, ("a", "b")), source="config").networks["generator"]
    assert isinstance(generator, AutoRegressive)
    torch.manual_seed(0)
    frames = left + -(-samples // 40) + generator.right
    x = torch.randint(256, (3, 2 * samples))
    cond = Frames(torch.randn(3, frames, MELS), torch.tensor([0, 1, 0]), left)
    whole, told = generator.log_prob(x, cond).detach(), generator.distributions(x, cond).detach()
    monkeypatch.setattr("seqgen.generation.autoregressive.AutoRegressive.block", block)
    with torch.no_grad():
        torch.testing.assert_close(generator.log_prob(x, cond), whole, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(generator.distributions(x, cond), told, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("samples", [1, HOP - 3, 3 * HOP, FRAMES * HOP])
def test_whole_sequences_are_what_a_fresh_stream_makes(generator: AutoRegressive, samples: int) -> None:
    """Also where the last samples hear frames beyond those that are given: the last one is repeated."""
    mel, speaker = features(generator, 2)
    per, width = generator.symbols_per_sample, generator.num_uniforms
    u = torch.from_numpy(np.stack([noise.block(3, row, 0, samples * per * width) for row in range(2)]))
    u = u.unflatten(1, (-1, width))
    made = generator.sample(u, cond_of(generator, mel, speaker), 0.7)
    assert made.shape == (2, samples * per)
    longer = torch.cat([mel, mel[:, -1:].expand(-1, generator.right, -1)], dim=1)
    longer = longer[:, : max(FRAMES, generator.alignment.frames(samples))]
    spare = 0
    if generator.conditioner is not None:
        spare = generator.alignment.first_samples(longer.shape[1]) - samples
    padded = torch.nn.functional.pad(u, (0, 0, 0, spare * per))
    expected, _ = generator.generate(padded, generator.init_state(2), frames_of(generator, longer, speaker), 0.7)
    assert torch.equal(made, expected[:, : samples * per])
