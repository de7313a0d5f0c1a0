"""The log-mel front end: framing, streaming, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen.audio.features import MelStream, load_features, log_mel, mel_filters, save_features
from seqgen.spec import FeatureSpec

SPECS = [
    FeatureSpec(8000, 512, 320, 80, 40),
    FeatureSpec(16000, 1024, 640, 160, 80, fmin=40, fmax=7600),
    FeatureSpec(22050, 1024, 1024, 256, 80, fmax=8000),
    FeatureSpec(8000, 256, 75, 75, 20),  # no overlap, no padding, odd
    FeatureSpec(16000, 512, 401, 151, 32),  # odd window and hop
    FeatureSpec(16000, 1024, 640, 160, 40, pitch=True),
]


def speechlike(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness varies over 80 dB."""
    rng = np.random.default_rng(seed)
    envelope = np.exp(np.interp(np.arange(samples), np.linspace(0, samples, 9), rng.uniform(-9, 0, 9)))
    return (0.3 * envelope * rng.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("samples", [1, 79, 80, 81, 5000, 16000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_streaming_equals_offline_for_any_cut(spec: FeatureSpec, samples: int, seed: int) -> None:
    audio, rng = speechlike(samples, seed), np.random.default_rng(seed)
    stream = MelStream(spec)
    state, parts, given = stream.init(), [], 0
    while given < samples:
        block = audio[given : given + int(rng.integers(0, 3 * spec.window))]
        frames, state = stream.push(state, block)
        given += len(block)
        parts.append(frames)
        # Nothing waits longer than the look-ahead demands.
        assert state.frames == max(0, (given - spec.pad) // spec.hop)
        assert state.buffer.size < spec.window + spec.hop
    parts.append(stream.flush(state))
    streamed, whole = np.concatenate(parts), log_mel(audio, spec)
    assert streamed.shape == whole.shape == (-(-samples // spec.hop), spec.bands)
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=1e-5)


def test_state_is_a_value() -> None:
    stream, audio = MelStream(SPECS[0]), speechlike(4000)
    _, state = stream.push(stream.init(), audio[:1500])
    kept = state.buffer.copy()
    first, _ = stream.push(state, audio[1500:])
    stream.push(state, -audio[:3000])
    stream.flush(state)
    again, _ = stream.push(state, audio[1500:])
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(state.buffer, kept)


def test_nothing_pushed_gives_no_frames() -> None:
    stream = MelStream(SPECS[0])
    assert stream.flush(stream.init()).shape == (0, 40)
    assert log_mel(np.zeros(0), SPECS[0]).shape == (0, 40)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_frame_sees_its_block_and_the_padding_only(spec: FeatureSpec) -> None:
    audio = speechlike(20 * spec.hop)
    before = log_mel(audio, spec)
    first, last = 10 * spec.hop - spec.pad, 11 * spec.hop + spec.pad
    outside = audio.copy()
    outside[:first] = outside[last:] = 0.5
    np.testing.assert_array_equal(log_mel(outside, spec)[10], before[10])
    # The window is symmetric about the middle of the block: a click there is heard most in this frame.
    click = np.zeros(20 * spec.hop)
    click[10 * spec.hop + spec.hop // 2] = 1
    energy = log_mel(click, spec)[:, : spec.n_mels].mean(axis=1)
    assert energy.argmax() == 10
    if spec.hop % 2 == 0 and spec.pad >= spec.hop:
        assert energy[9] == pytest.approx(energy[11], abs=1e-4)


def test_silence_is_the_floor() -> None:
    spec = SPECS[1]
    np.testing.assert_allclose(log_mel(np.zeros(1600), spec), spec.silence, rtol=1e-6)


def test_a_tone_falls_into_its_band() -> None:
    spec = SPECS[1]
    centre = 1000.0
    audio = np.sin(2 * np.pi * centre * np.arange(16000) / 16000)
    band = int(log_mel(audio, spec)[50].argmax())
    bins = np.arange(spec.n_fft // 2 + 1) * spec.sample_rate / spec.n_fft
    assert abs(bins[mel_filters(spec)[:, band].argmax()] - centre) < 30


def test_doubling_the_amplitude_adds_ln_2() -> None:
    spec, audio = SPECS[1], 0.1 * np.random.default_rng(0).standard_normal(8000)
    np.testing.assert_allclose(log_mel(2 * audio, spec) - log_mel(audio, spec), np.log(2), atol=1e-5)


def test_long_recordings_equal_their_parts() -> None:
    # More frames than are transformed at once; frames near the cut see zeros instead of what came before.
    spec, audio = SPECS[0], speechlike(80 * 1300)
    np.testing.assert_allclose(log_mel(audio, spec)[602:], log_mel(audio[80 * 600 :], spec)[2:], atol=1e-6, rtol=0)


def test_the_filter_bank_is_shared_and_cannot_be_changed() -> None:
    bank = mel_filters(SPECS[0])
    assert mel_filters(FeatureSpec(8000, 512, 320, 80, 40)) is bank
    with pytest.raises(ValueError):
        bank[0, 0] = 1


def test_feature_files_say_what_they_are(tmp_path: Path) -> None:
    spec, frames = SPECS[1], log_mel(speechlike(16000), SPECS[1])
    save_features(tmp_path / "f.safetensors", frames, spec)
    back, found = load_features(tmp_path / "f.safetensors", spec)
    np.testing.assert_array_equal(back, frames)
    assert found == spec
    assert load_features(tmp_path / "f.safetensors")[1].signature == spec.signature
