"""The front ends against librosa, torchaudio and each other."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from seqgen.audio import features, io, mulaw, torchaudio_bridge
from seqgen.audio.resample import resample
from seqgen.audio.torch_features import LogMel
from seqgen.spec import FeatureSpec

SPECS = [
    FeatureSpec(8000, 512, 320, 80, 64),
    FeatureSpec(16000, 1024, 640, 160, 80, fmin=40, fmax=7600),
    FeatureSpec(22050, 1024, 1024, 256, 80, fmax=8000),
    FeatureSpec(16000, 512, 401, 151, 32),
]


def speechlike(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness varies over 80 dB."""
    rng = np.random.default_rng(seed)
    envelope = np.exp(np.interp(np.arange(samples), np.linspace(0, samples, 9), rng.uniform(-9, 0, 9)))
    return (0.3 * envelope * rng.standard_normal(samples)).astype(np.float32)


def padded(audio: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """What an uncentred transform needs to see to frame as we do; it puts the short window into the middle of n_fft."""
    frames = -(-audio.size // spec.hop)
    edge = (spec.n_fft - spec.window) // 2
    right = frames * spec.hop - audio.size + spec.pad + spec.n_fft - spec.window - edge
    return np.pad(audio, (spec.pad + edge, right))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_filters_equal_librosa(spec: FeatureSpec) -> None:
    theirs = librosa.filters.mel(
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        fmin=spec.fmin,
        fmax=spec.top_frequency,
        dtype=np.float64,
    )
    np.testing.assert_allclose(features.mel_filters(spec).T, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_filters_equal_torchaudio(spec: FeatureSpec) -> None:
    theirs = torchaudio_bridge.mel_filters(spec).numpy()
    np.testing.assert_allclose(features.mel_filters(spec), theirs, rtol=0, atol=2e-7)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("samples", [80, 12_345, 16_000])
def test_log_mel_equals_librosa(spec: FeatureSpec, samples: int) -> None:
    audio = speechlike(samples)
    mel = librosa.feature.melspectrogram(
        y=padded(audio, spec).astype(np.float64),
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        win_length=spec.window,
        hop_length=spec.hop,
        window="hann",
        center=False,
        power=1,
        n_mels=spec.n_mels,
        fmin=spec.fmin,
        fmax=spec.top_frequency,
        htk=False,
        norm="slaney",
    )
    theirs = np.log(np.maximum(mel.T, spec.floor))
    np.testing.assert_allclose(features.log_mel(audio, spec), theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_log_mel_equals_torchaudio(spec: FeatureSpec) -> None:
    audio = speechlike(16_000)
    transform = torch.stft(
        torch.tensor(padded(audio, spec)).double(),
        spec.n_fft,
        spec.hop,
        spec.window,
        torch.hann_window(spec.window, dtype=torch.float64),
        center=False,
        return_complex=True,
    )
    mel = transform.abs().T @ torchaudio_bridge.mel_filters(spec).double()
    theirs = mel.clamp_min(spec.floor).log().numpy()
    # torchaudio builds its filters in float32: a few bins at their edges differ.
    np.testing.assert_allclose(features.log_mel(audio, spec), theirs, rtol=0, atol=5e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("samples", [1, 80, 12_345])
def test_torch_equals_numpy(spec: FeatureSpec, samples: int) -> None:
    rows = np.stack([speechlike(samples, seed) for seed in range(3)])
    ours = np.stack([features.log_mel(row, spec) for row in rows])
    single = LogMel(spec)(torch.tensor(rows))
    assert single.dtype == torch.float32
    assert single.shape == (3, spec.frames(samples), spec.n_mels)
    np.testing.assert_allclose(single.numpy(), ours, rtol=0, atol=1e-5)
    np.testing.assert_allclose(LogMel(spec)(torch.tensor(rows).double()).numpy(), ours, rtol=0, atol=2e-6)


def test_torch_rows_are_independent_and_padding_is_harmless() -> None:
    spec = SPECS[1]
    long, short = speechlike(8000, 1), speechlike(5000, 2)
    batch = torch.tensor(np.stack([long, np.pad(short, (0, 3000))]))
    out = LogMel(spec)(batch)
    alone = LogMel(spec)(torch.tensor(short)[None])[0]
    torch.testing.assert_close(out[1, : len(alone)], alone, rtol=0, atol=1e-4)


def test_torch_features_have_gradients_and_no_checkpoint_entries() -> None:
    spec = FeatureSpec(8000, 256, 160, 80, 10)
    module = LogMel(spec)
    assert not module.state_dict()
    audio = torch.tensor(speechlike(400)).double().requires_grad_()
    assert torch.autograd.gradcheck(module, (audio[None],), atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match=r"\[B, N\]"):
        module(audio)


def test_real_speech_is_the_same_in_both(shared_data: Path) -> None:
    for folder in ("fsdd", "ljspeech-mini", "yesno"):
        path = sorted(p for p in (shared_data / folder).rglob("*") if p.suffix in {".wav", ".flac"})[0]
        audio, rate = io.read(path)
        spec = FeatureSpec(rate, 1024, 4 * (rate // 100), rate // 100, 40)
        ours, theirs = features.log_mel(audio, spec), LogMel(spec)(torch.tensor(audio)[None])[0].numpy()
        # Bands that speech leaves near the floor carry the rounding of the loud ones.
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("old", "new"), [(8000, 16000), (44100, 16000), (22050, 8000), (16000, 22050)])
def test_batched_resampling_agrees_with_the_file_resampler(old: int, new: int) -> None:
    rng = np.random.default_rng(0)
    # Band-limited to what both rates carry: filters may differ above.
    spectrum = np.fft.rfft(rng.standard_normal((2, old)), axis=-1)
    spectrum[:, int(0.42 * min(old, new)) :] = 0
    audio = 0.1 * np.fft.irfft(spectrum, axis=-1).astype(np.float32)
    batch = torchaudio_bridge.resample(torch.tensor(audio, dtype=torch.float32), old, new).numpy()
    single = np.stack([resample(row, old, new) for row in audio])
    assert batch.shape == single.shape
    inner = slice(new // 20, -new // 20)
    np.testing.assert_allclose(batch[:, inner], single[:, inner], atol=1e-4)


def test_mu_law_equals_librosa() -> None:
    x = np.linspace(-1, 1, 4001)
    companded = librosa.mu_compress(x, mu=255, quantize=False)
    np.testing.assert_array_equal(mulaw.encode(x), np.floor((companded + 1) / 2 * 255 + 0.5))
    symbols = np.arange(256)
    np.testing.assert_allclose(
        mulaw.decode(symbols), librosa.mu_expand(2 * symbols / 255 - 1, mu=255, quantize=False), atol=1e-6
    )
