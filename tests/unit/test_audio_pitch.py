"""Fundamental frequency of signals that have a known one."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.audio.features import log_mel
from seqgen.audio.periodicity import periodicity
from seqgen.audio.pitch import f0
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

SEMITONE = 2 ** (1 / 12)


def pulses(hz: np.ndarray, rate: int) -> np.ndarray:
    """A harmonic tone of the given frequency at each sample, 12 harmonics falling by 6 dB per octave."""
    phase = 2 * np.pi * np.cumsum(hz) / rate
    return 0.2 * sum(np.sin(k * phase) / k for k in range(1, 13) if k * hz.max() < rate / 2)


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
@pytest.mark.parametrize("hz", [80.0, 123.0, 220.0, 440.0])
def test_a_steady_tone(rate: int, hz: float) -> None:
    found, voiced = f0(pulses(np.full(rate // 2, hz), rate), rate)
    assert found.shape == voiced.shape == (1 + (rate // 2) // round(rate / 200),)
    inner = slice(10, -10)
    assert voiced[inner].all()
    assert abs(np.log(found[inner] / hz)).max() < np.log(SEMITONE) / 4


def test_a_glide_is_followed_in_time() -> None:
    hz = np.linspace(120, 240, 16000)
    found, voiced = f0(pulses(hz, 16000), 16000)
    at = hz[np.minimum(np.arange(len(found)) * 80, 15999)]
    assert voiced[10:-10].mean() > 0.95
    assert np.median(abs(np.log(found / at))[voiced]) < np.log(SEMITONE) / 4


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_noise_and_silence_are_unvoiced(rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal(rate // 2) * 0.1
    assert f0(noise, rate)[1].mean() < 0.1
    found, voiced = f0(np.zeros(rate // 2), rate)
    assert not found.any()
    assert not voiced.any()


def test_voicing_changes_where_the_tone_does() -> None:
    tone = pulses(np.full(8000, 150.0), 16000)
    hiss = 0.003 * np.random.default_rng(0).standard_normal(16000)
    voiced = f0(np.concatenate([np.zeros(4000), tone, np.zeros(4000)]) + hiss, 16000)[1]
    starts, ends = np.flatnonzero(voiced)[[0, -1]] * 0.005
    assert abs(starts - 0.25) < 0.03
    assert abs(ends - 0.75) < 0.03


@pytest.mark.parametrize("samples", [1, 100, 700])
def test_short_signals_do_not_fail(samples: int) -> None:
    found, voiced = f0(np.random.default_rng(0).standard_normal(samples), 16000)
    assert found.shape == voiced.shape == (1 + samples // 80,)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
@pytest.mark.parametrize("hz", [80.0, 123.0, 220.0, 440.0, 560.0])
def test_a_window_tells_its_pitch(rate: int, hz: float) -> None:
    """To a hundredth of an octave for any harmonic tone, whatever its level; no octave is missed."""
    tone = pulses(np.full(rate // 2, hz), rate)
    windows = np.lib.stride_tricks.sliding_window_view(tone, rate // 25)[:: rate // 100]
    for scale in (1.0, 1e-3):
        pitch, clarity = periodicity(scale * windows + 0.01, rate).T  # of a constant nothing is heard
        assert clarity.min() > 0.95
        octaves = pitch / clarity**2 * np.log2(10)
        assert np.abs(octaves - np.log2(hz / 60)).max() < 0.02


def test_noise_is_not_clear_and_silence_has_nothing() -> None:
    windows = np.random.default_rng(0).standard_normal((50, 640)) * 0.1
    pitch, clarity = periodicity(windows, 16000).T
    assert np.median(clarity) < 0.3
    assert pitch.max() < 0.15
    assert not periodicity(np.zeros((3, 640)), 16000).any()
    assert not periodicity(1e-6 * windows, 16000).max() > 0.1  # 100 dB below full scale and less


def test_frames_may_tell_their_pitch() -> None:
    """Behind the bands, on their scale; digital silence is silence in all numbers. A definition without pitch has the
    signature that it always had."""
    spec = FeatureSpec(16000, 1024, 640, 160, 40, floor=1e-4, pitch=True)
    plain = FeatureSpec(16000, 1024, 640, 160, 40, floor=1e-4)
    assert plain.signature == "df311499f87d9884" != spec.signature
    tone = pulses(np.full(8000, 60 * 10**0.5), 16000)
    frames = log_mel(np.concatenate([tone, np.zeros(1600)]), spec)
    np.testing.assert_array_equal(frames[:, :40], log_mel(np.concatenate([tone, np.zeros(1600)]), plain))
    assert frames[10:40, 40] == pytest.approx(0.5 * spec.silence, rel=0.02)  # half way from 60 to 600 Hz
    assert np.abs(frames[10:40, 41]).max() < 0.05 * abs(spec.silence)
    assert frames[-3:] == pytest.approx(spec.silence)


def test_a_window_without_two_periods_is_refused() -> None:
    with pytest.raises(SeqgenError, match="no pitch within 300 samples"):
        FeatureSpec(16000, 512, 300, 100, 40, pitch=True)
