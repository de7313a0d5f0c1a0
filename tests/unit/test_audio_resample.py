"""Changing the sample rate."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.audio.resample import resample, resample_blocks, resampled_length

RATES = [(8000, 16000), (44100, 16000), (22050, 8000), (16000, 22050), (48000, 8000)]


def tone(hz: float, rate: int, samples: int) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / rate)


@pytest.mark.parametrize(("old", "new"), RATES)
def test_a_tone_stays_itself_without_delay(old: int, new: int) -> None:
    out = resample(tone(440, old, old), old, new)
    assert out.dtype == np.float32
    assert out.shape == (new,)
    inner = slice(new // 10, -new // 10)
    np.testing.assert_allclose(out[inner], tone(440, new, new)[inner], atol=1e-3)


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (22050, 8000)])
def test_what_the_new_rate_cannot_carry_is_removed(old: int, new: int) -> None:
    out = resample(tone(0.55 * new, old, old), old, new)
    assert abs(out[new // 10 : -new // 10]).max() < 1e-3


@pytest.mark.parametrize(("old", "new"), RATES)
@pytest.mark.parametrize("samples", [1, 2, 1000, 12_345])
def test_length_covers_the_last_sample(old: int, new: int, samples: int) -> None:
    assert len(resample(np.ones(samples), old, new)) == resampled_length(samples, old, new)
    assert resampled_length(samples, old, new) >= samples * new / old > resampled_length(samples, old, new) - 1


@pytest.mark.parametrize(("old", "new"), RATES)
@pytest.mark.parametrize("seed", [0, 1])
def test_blocks_equal_the_whole(old: int, new: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    audio = rng.uniform(-0.5, 0.5, 30_011).astype(np.float32)
    cuts = np.sort(rng.integers(0, audio.size, 12))
    parts = list(resample_blocks(np.split(audio, cuts), old, new))
    streamed, whole = np.concatenate(parts), resample(audio, old, new)
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=1e-5)


def test_the_same_rate_changes_nothing() -> None:
    audio = tone(440, 8000, 100).astype(np.float32)
    np.testing.assert_array_equal(resample(audio, 8000, 8000), audio)
    np.testing.assert_array_equal(np.concatenate(list(resample_blocks([audio, audio], 8000, 8000))), np.tile(audio, 2))
