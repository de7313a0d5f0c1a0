"""Spectral distances, pitch errors and intelligibility: identity, known changes, order, undefined cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.metrics.intelligibility import stoi
from seqgen.metrics.pitch import f0_errors
from seqgen.metrics.spectral import _cepstrum_basis, _floored, _magnitudes, log_spectral_distance, mcd, warping
from seqgen.metrics.table import SHORTEST, UNITS, evaluate_pair, undefined

RATES = [8000, 16000, 22050]


def voice(rate: int, seconds: float = 1.0, *, hz: float = 140.0) -> np.ndarray:
    """Something like speech: a vibrating pulse train through two moving resonances, with syllables, over faint hiss."""
    n = int(rate * seconds)
    t = np.arange(n) / rate
    phase = 2 * np.pi * np.cumsum(hz * (1 + 0.05 * np.sin(2 * np.pi * 3 * t))) / rate
    tone = np.zeros(n)
    for k in range(1, int(0.45 * rate / hz)):
        frequency = k * hz
        formants = sum(1 / (1 + ((frequency - c * (1 + 0.2 * np.sin(9 * t))) / 150) ** 2) for c in (600, 1800, 3000))
        tone += formants * np.sin(k * phase)
    hiss = np.random.default_rng(0).standard_normal(n)
    return 0.05 * tone * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)) + 0.002 * hiss


@pytest.mark.parametrize("rate", RATES)
def test_identity(rate: int) -> None:
    audio = voice(rate)
    values = evaluate_pair(audio, audio, rate)
    assert list(values) == list(UNITS)
    assert values.pop("stoi") == pytest.approx(1, abs=1e-6)
    assert set(values.values()) == {0.0}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("decibels", [-12.0, -3.0, 3.0, 6.0])
def test_gain(rate: int, decibels: float) -> None:
    audio, gain = voice(rate), 10 ** (decibels / 20)
    assert mcd(audio, gain * audio, rate) < 1e-9
    # Hiss lies above the floor everywhere, so that the distance is the gain itself.
    hiss = np.random.default_rng(0).standard_normal(rate)
    assert log_spectral_distance(hiss, gain * hiss, rate) == pytest.approx(abs(decibels), abs=0.05)
    assert stoi(audio, gain * audio, rate) == pytest.approx(1, abs=1e-6)
    assert f0_errors(audio, gain * audio, rate).log_f0_rmse < 0.01


@pytest.mark.parametrize("rate", RATES)
def test_more_noise_is_worse_and_noise_alone_is_worst(rate: int) -> None:
    audio = voice(rate)
    noise = np.random.default_rng(1).standard_normal(audio.size) * audio.std()
    degraded = [audio + level * noise for level in (0.01, 0.1, 1.0)] + [noise]
    for metric in (mcd, log_spectral_distance):
        values = [metric(audio, bad, rate) for bad in degraded]
        assert 0 < values[0] < values[1] < values[2] < values[3] * 1.02, metric
    intelligible = [stoi(audio, bad, rate) for bad in degraded]
    assert 1 > intelligible[0] > intelligible[1] > intelligible[2] > intelligible[3]
    assert f0_errors(audio, noise, rate).vuv_error > 0.5


@pytest.mark.parametrize("rate", RATES)
def test_pitch_shift_is_measured(rate: int) -> None:
    errors = f0_errors(voice(rate), voice(rate, hz=140 * 2 ** (3 / 12)), rate)
    assert errors.log_f0_rmse == pytest.approx(math.log(2) * 3 / 12, rel=0.1)
    assert errors.vuv_error < 0.1


def test_mcd_has_its_standard_constant() -> None:
    # ln|H| = 0.1·cos(3·bent frequency) is c3 = 0.1 alone: 10/ln 10 · √2 · 0.1 dB.
    rate, bins = 16000, 257
    omega = np.linspace(0, np.pi, bins)
    alpha = warping(rate)
    bent = omega + 2 * np.arctan2(alpha * np.sin(omega), 1 - alpha * np.cos(omega))
    coefficients = 0.1 * np.cos(3 * bent) @ _cepstrum_basis(rate, bins)
    np.testing.assert_allclose(coefficients, 0.1 * (np.arange(1, 25) == 3), atol=5e-4)
    # The same as a filter: its response multiplies every frame's spectrum.
    response = np.fft.irfft(np.exp(0.1 * np.cos(3 * bent)))
    hiss = np.random.default_rng(0).standard_normal(rate)
    filtered = np.fft.irfft(np.fft.rfft(hiss) * np.fft.rfft(np.roll(response, 256), rate))
    shifted = np.roll(filtered, -256)
    assert mcd(hiss, shifted, rate) == pytest.approx(10 / math.log(10) * math.sqrt(2) * 0.1, rel=0.25)


@pytest.mark.parametrize(("rate", "alpha"), [(8000, 0.312), (16000, 0.41), (22050, 0.455), (48000, 0.554)])
def test_warping_has_the_customary_values(rate: int, alpha: float) -> None:
    assert warping(rate) == pytest.approx(alpha, abs=0.002)


def test_digital_silence_does_not_dominate() -> None:
    audio = voice(16000)
    padded = np.concatenate([np.zeros(16000), audio])
    faint = padded + 1e-6 * np.random.default_rng(0).standard_normal(padded.size)
    assert mcd(padded, faint, 16000) < 0.2
    assert log_spectral_distance(padded, faint, 16000) < 0.2


def test_a_silent_reference_has_no_distance_and_a_silent_synthesis_a_large_one() -> None:
    audio, silence = voice(16000), np.zeros(16000)
    nothing = evaluate_pair(silence, audio, 16000)
    assert all(math.isnan(nothing[name]) for name in ("mcd", "log_spectral_distance", "log_f0_rmse", "stoi"))
    lost = evaluate_pair(audio, silence, 16000)
    assert lost["mcd"] > 5
    assert lost["log_spectral_distance"] > 15
    assert lost["stoi"] < 0.1
    assert math.isnan(lost["log_f0_rmse"])
    assert lost["vuv_error"] > 0.5


@pytest.mark.parametrize("seconds", [0.15, 0.3])
def test_intelligibility_of_a_short_word(seconds: float) -> None:
    audio = voice(8000, seconds)
    noise = np.random.default_rng(1).standard_normal(audio.size) * audio.std()
    assert stoi(audio, audio, 8000) == pytest.approx(1, abs=1e-6)
    assert stoi(audio, noise, 8000) < stoi(audio, audio + 0.3 * noise, 8000) < 1


@pytest.mark.parametrize("metric", [mcd, log_spectral_distance, stoi, f0_errors])
def test_bad_pairs(metric) -> None:  # type: ignore[no-untyped-def]
    audio = voice(8000, 0.2)
    broken = audio.copy()
    broken[5] = np.nan
    with pytest.raises(SeqgenError, match="synthetic waveform holds NaN"):
        metric(audio, broken, 8000)
    with pytest.raises(SeqgenError, match="0 samples"):
        metric(audio, audio[:0], 8000)
    with pytest.raises(ValueError, match="mono"):
        metric(audio, np.stack([audio, audio]), 8000)


@pytest.mark.parametrize("metric", [mcd, log_spectral_distance])
def test_the_longer_is_trimmed(metric) -> None:  # type: ignore[no-untyped-def]
    audio = voice(8000, 0.5)
    assert metric(audio, np.concatenate([audio, np.ones(999)]), 8000) == 0


@pytest.mark.parametrize("rate", [2400, 8000, 22050, 48000])
@pytest.mark.parametrize("name", UNITS)
def test_an_utterance_too_short_for_a_value_is_left_out_of_it(name: str, rate: int) -> None:
    edge = math.ceil(SHORTEST[name] * rate)
    noise = 0.1 * np.random.default_rng(0).standard_normal(edge + 1)
    for samples in sorted({1, 2, rate // 200, edge // 2, edge - 1, edge, edge + 1}):
        value = evaluate_pair(noise[:samples], 0.9 * noise[:samples], rate)[name]
        assert (name in undefined(samples, rate)) == (samples < edge)
        assert math.isnan(value) or samples >= edge
        if not name.startswith("log_f0_rmse"):  # noise has no pitch
            assert math.isnan(value) == (samples < edge), samples


@pytest.mark.parametrize("metric", [mcd, log_spectral_distance, stoi, f0_errors])
@pytest.mark.parametrize("samples", [1, 2, 3, 39, 40, 199, 200, 201, 255, 256, 257])
def test_no_length_is_an_error(metric, samples: int) -> None:  # type: ignore[no-untyped-def]
    noise = np.random.default_rng(0).standard_normal(samples)
    for rate in (8000, 48000):
        assert metric(noise, noise, rate) is not None


# --- values known in closed form


def test_a_distance_is_the_mean_over_frames_of_what_each_frame_has() -> None:
    """Half of the frames 6 dB apart and half not at all: 3 dB, not the root of the mean square."""
    hiss = np.random.default_rng(0).standard_normal(16000)
    other = hiss.copy()
    other[8000:] *= 10 ** (-6 / 20)
    assert log_spectral_distance(hiss, other, 8000) == pytest.approx(3, abs=0.1)
    assert f0_errors(hiss, other, 8000).vuv_error < 0.2


def test_what_is_70_db_below_the_loudest_counts_as_that() -> None:
    """The reference's own loudest: a synthesis however faint is no farther than that."""
    floored = _floored(np.array([1.0, 10 ** (-69 / 20), 10 ** (-71 / 20), 0.0]), 1.0)
    assert floored * 20 / math.log(10) == pytest.approx([0, -69, -70, -70])
    hiss = np.random.default_rng(0).standard_normal(8000)
    faint, none = (log_spectral_distance(hiss, gain * hiss, 8000) for gain in (1e-5, 0.0))
    assert faint == pytest.approx(none, abs=1e-9)
    magnitudes = _magnitudes(hiss, 8000)
    each = np.maximum(20 * np.log10(magnitudes / magnitudes.max()), -70) + 70
    assert faint == pytest.approx(float(np.sqrt(np.square(each).mean(axis=1)).mean()))


@pytest.mark.parametrize("rate", RATES)
def test_frames_are_25_ms_every_5_ms_about_their_own_sample(rate: int) -> None:
    window, hop = round(0.025 * rate), round(0.005 * rate)
    click = np.zeros(rate)
    click[rate // 2] = 1.0
    found = _magnitudes(click, rate)
    assert found.shape[0] == 1 + rate // hop
    heard = np.flatnonzero(found[:, 3] > 1e-4) * hop
    assert abs(heard - rate // 2).max() <= window // 2
    assert len(heard) == pytest.approx(window / hop, abs=1)


def test_voicing_errs_both_ways() -> None:
    """A voiced frame taken for noise is as wrong as noise taken for voice."""
    audio = voice(8000)
    noise = np.random.default_rng(1).standard_normal(audio.size) * audio.std()
    there, back = f0_errors(audio, noise, 8000), f0_errors(noise, audio, 8000)
    assert there.vuv_error == back.vuv_error > 0.5


def test_intelligibility_is_of_the_synthesis_against_the_reference() -> None:
    """Frames are chosen by the reference: the two do not change places."""
    import pystoi  # type: ignore[import-untyped]

    reference, hiss = voice(16000), np.random.default_rng(1).standard_normal(16000)
    synthetic = reference * np.linspace(1, 0.001, reference.size) + 0.02 * hiss
    expected = pystoi.stoi(reference, synthetic, 16000)
    assert abs(expected - pystoi.stoi(synthetic, reference, 16000)) > 1e-3
    assert stoi(reference, synthetic, 16000) == pytest.approx(expected)
