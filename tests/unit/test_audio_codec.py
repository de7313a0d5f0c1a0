"""Codes between waveforms and symbols."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.audio import mulaw
from seqgen.audio.codec import Bytes16, Codec, Float, MuLaw8
from seqgen.audio.io import pcm16
from seqgen.registry import CODECS


def every_pcm16() -> np.ndarray:
    return (np.arange(65536) - 32768).astype(np.float32) / 32768


def test_all_65536_values_survive_the_byte_split() -> None:
    codec = Bytes16()
    symbols = codec.encode(every_pcm16())
    assert symbols.dtype == np.int64
    assert symbols.shape == (131072,)
    assert symbols.min() == 0
    assert symbols.max() == 255
    assert len({tuple(pair) for pair in symbols.reshape(-1, 2).tolist()}) == 65536
    decoded = codec.decode(symbols)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, every_pcm16())


def test_bytes_are_coarse_first_and_silence_is_128_0() -> None:
    np.testing.assert_array_equal(Bytes16().encode(np.float32([0, 257 / 32768, -1])), [128, 0, 129, 1, 0, 0])


def test_bytes_saturate_beyond_full_scale() -> None:
    np.testing.assert_array_equal(Bytes16().encode(np.float32([1.0, 2.0, -2.0])), [255, 255, 255, 255, 0, 0])


def test_all_256_mu_law_symbols_survive() -> None:
    symbols = np.arange(256)
    audio = MuLaw8().decode(symbols)
    assert audio.dtype == np.float32
    assert audio.min() >= -1
    assert audio.max() < 1
    assert (np.diff(audio) > 0).all()
    np.testing.assert_array_equal(MuLaw8().encode(audio), symbols)


@pytest.mark.parametrize("levels", [16, 256, 1024])
def test_mu_law_error_is_at_most_half_a_step_of_the_companded_axis(levels: int) -> None:
    x = np.linspace(-1, 1, 20001)
    mu = levels - 1

    def companded(v: np.ndarray) -> np.ndarray:
        return np.sign(v) * np.log1p(mu * abs(v)) / np.log1p(mu)

    back = mulaw.decode(mulaw.encode(x, levels), levels)
    assert abs(companded(back) - companded(x)).max() <= 1 / mu + 1e-6


@pytest.mark.parametrize("name", list(CODECS))
def test_every_codec_keeps_its_declared_shape_and_start(name: str) -> None:
    codec: Codec = CODECS.load(name)()
    audio = np.random.default_rng(0).uniform(-1, 1, (2, 3, 50)).astype(np.float32)
    symbols = codec.encode(audio)
    assert symbols.shape == (2, 3, 50 * codec.symbols_per_sample)
    assert codec.decode(symbols).shape == audio.shape
    for row in range(2):
        np.testing.assert_array_equal(codec.encode(audio[row, 0]), symbols[row, 0])
    # The value before the first sample is what silence leaves at the end of a sample.
    assert codec.encode(np.zeros(1, np.float32))[-1] == codec.start


def test_float_is_the_waveform_itself() -> None:
    audio = np.random.default_rng(0).standard_normal(9).astype(np.float32)
    np.testing.assert_array_equal(Float().decode(Float().encode(audio)), audio)


@pytest.mark.parametrize("symbols", [[0, 256], [-1, 0], [1, 2, 3]])
def test_bytes_refuse_what_is_no_sample(symbols: list[int]) -> None:
    with pytest.raises(ValueError):
        Bytes16().decode(np.array(symbols))


def test_mu_law_refuses_symbols_outside_its_alphabet() -> None:
    with pytest.raises(ValueError, match="256"):
        MuLaw8().decode(np.array([0, 256]))


def test_pcm16_is_the_rounding_of_the_encoder() -> None:
    x = np.float32([0.4, 0.6, -0.6, 32767.4]) / 32768
    np.testing.assert_array_equal(pcm16(x), [0, 1, -1, 32767])
