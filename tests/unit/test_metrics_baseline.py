"""Griffin–Lim and the table of means."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.metrics.griffin_lim import griffin_lim
from seqgen.metrics.spectral import log_spectral_distance, mcd
from seqgen.metrics.table import Summary, evaluate_pair, summarise
from seqgen.spec import FeatureSpec


def sweep(rate: int) -> np.ndarray:
    t = np.arange(rate // 2) / rate
    return (0.3 * np.sin(2 * np.pi * (300 * t + 900 * t * t)) * np.hanning(t.size)).astype(np.float32)


@pytest.mark.parametrize(
    "spec",
    [
        FeatureSpec(8000, 512, 320, 80, 64),
        FeatureSpec(16000, 1024, 640, 160, 80),
        FeatureSpec(22050, 1024, 1024, 256, 80),
    ],
    ids=str,
)
def test_griffin_lim_gives_the_features_back_in_place(spec: FeatureSpec) -> None:
    audio = sweep(spec.sample_rate)
    features = log_mel(audio, spec)
    out = griffin_lim(features, spec, audio.size)
    assert out.dtype == np.float32
    assert out.shape == audio.shape
    loud = features > features.max() - 4
    assert abs(log_mel(out, spec) - features)[loud].mean() < 0.25
    # Aligned to better than a quarter of a hop: any shift makes the loudness contour fit worse.
    shift = spec.hop // 2
    errors = [np.square(log_mel(np.roll(out, k), spec) - features)[loud].mean() for k in (-shift, 0, shift)]
    assert errors[1] < min(errors[0], errors[2])


def test_griffin_lim_is_deterministic() -> None:
    spec = FeatureSpec(8000, 512, 320, 80, 64)
    features = log_mel(sweep(8000), spec)
    np.testing.assert_array_equal(griffin_lim(features, spec, 3999), griffin_lim(features, spec, 3999))


def test_griffin_lim_of_silence_is_silence() -> None:
    spec = FeatureSpec(8000, 512, 320, 80, 64)
    assert abs(griffin_lim(np.full((20, 64), spec.silence), spec, 1600)).max() < 1e-3


@pytest.mark.parametrize(("shape", "samples"), [((20, 63), 1600), ((20, 64), 1601), ((20, 64), 0)])
def test_griffin_lim_refuses_what_does_not_fit(shape: tuple[int, int], samples: int) -> None:
    with pytest.raises(ValueError):
        griffin_lim(np.zeros(shape), FeatureSpec(8000, 512, 320, 80, 64), samples)


def test_real_speech_through_griffin_lim_is_a_plausible_baseline(shared_data: Path) -> None:
    path = sorted((shared_data / "fsdd").rglob("*.wav"))[0]
    audio, rate = io.read(path)
    spec = FeatureSpec(rate, 512, 320, 80, 64)
    out = griffin_lim(log_mel(audio, spec), spec, audio.size)
    values = evaluate_pair(audio, out, rate)
    assert 1 < values["mcd"] < 4
    assert 3 < values["log_spectral_distance"] < 9
    assert values["log_f0_rmse"] < 0.03
    assert values["stoi"] > 0.9
    # Its phases are lost: the waveform itself is far away, which frame-wise distances do not punish.
    noise = np.random.default_rng(0).standard_normal(audio.size) * audio.std()
    assert values["mcd"] < mcd(audio, noise, rate)
    assert values["log_spectral_distance"] < log_spectral_distance(audio, noise, rate)


def test_summary_is_the_mean_and_its_student_interval() -> None:
    summary = summarise([{"mcd": 4.0, "stoi": 1.0}, {"mcd": 5.0, "stoi": 1.0}, {"mcd": 6.0, "stoi": 1.0}])
    assert summary["mcd"].mean == 5
    assert summary["mcd"].half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert summary["stoi"] == Summary(1.0, 0.0, 3)
    assert str(summary["mcd"]) == "5.000 ± 2.484"


def test_undefined_values_are_left_out_and_counted() -> None:
    summary = summarise(
        [{"x": 1.0, "y": math.nan}, {"x": 3.0, "y": math.nan}, {"x": math.nan, "y": math.nan}, {"x": 2.0}]
    )
    assert summary["x"].mean == 2
    assert summary["x"].utterances == 3
    assert math.isnan(summary["y"].mean)
    assert summary["y"].utterances == 0
    assert summarise([]) == {}
    assert math.isnan(summarise([{"x": 1.0}])["x"].half_width)


def test_the_interval_covers_the_mean_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        found = summarise([{"x": float(value)} for value in rng.standard_normal(8)])["x"]
        hits += abs(found.mean) <= found.half_width
    assert 930 <= hits <= 970
