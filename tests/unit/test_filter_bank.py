"""Filter banks: an orthonormal change of basis, there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqgen.audio.filter_bank import FilterBank, bank_for
from seqgen.errors import SeqgenError
from seqgen.nets.synthesis import BandSynthesis
from seqgen.stream.verify import verify

BANDS = (2, 4)


@pytest.mark.parametrize("bands", BANDS)
def test_shifts_of_all_filters_are_orthonormal(bands: int) -> None:
    taps = FilterBank(bands).taps
    for shift in range(0, taps.shape[1], bands):
        products = taps[:, shift:] @ taps[:, : taps.shape[1] - shift].T
        assert products == pytest.approx(np.eye(bands) if shift == 0 else np.zeros((bands, bands)), abs=1e-12)


@pytest.mark.parametrize("bands", BANDS)
def test_a_band_hears_its_own_frequencies(bands: int) -> None:
    """40 dB less of what lies more than a third of a band's width outside."""
    taps, size = FilterBank(bands).taps, 4096
    power = np.abs(np.fft.rfft(taps, size, axis=1)) ** 2
    place = np.arange(power.shape[1]) / (size / 2) * bands
    for band, row in enumerate(power):
        outside = (place < band - 0.5) | (place > band + 1.5)
        assert row[outside].max() < 1e-4 * row.max()


@pytest.mark.parametrize("bands", BANDS)
def test_there_and_back(bands: int) -> None:
    bank, rng = FilterBank(bands), np.random.default_rng(0)
    audio = rng.standard_normal((2, 40 * bands + bank.reach)).astype(np.float32)
    numbers = bank.analyse(audio)
    assert numbers.shape == (2, 40 * bands)
    made = BandSynthesis(bank)(torch.from_numpy(numbers)[..., None])[..., 0].numpy()
    assert made[:, bank.reach :] == pytest.approx(audio[:, bank.reach : numbers.shape[1]], abs=1e-5)


@pytest.mark.parametrize("bands", BANDS)
def test_energy_stays(bands: int) -> None:
    bank = FilterBank(bands)
    audio = np.zeros((1, 400 + bank.reach), np.float32)
    audio[0, 150:250] = np.random.default_rng(1).standard_normal(100)
    assert np.square(bank.analyse(audio)).sum() == pytest.approx(np.square(audio).sum(), rel=1e-5)


@pytest.mark.parametrize("bands", BANDS)
def test_putting_together_is_a_stream(bands: int) -> None:
    verify(BandSynthesis(FilterBank(bands)).double(), length=120)


def test_bands_that_cannot_be_are_refused() -> None:
    with pytest.raises(SeqgenError, match="a filter bank of 3 bands; choose 2 or 4, or 0 for none"):
        FilterBank(3)
    with pytest.raises(SeqgenError, match=r"data\.codec is 'bytes16'"):
        bank_for(4, "bytes16")
    assert bank_for(0, "bytes16") is None
