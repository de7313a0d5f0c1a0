"""Fundamental frequency of signals that have a known one."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.audio.pitch import f0

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
