"""Philox4x32-10 against Random123's vectors and an independent reference in Python's own integers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen import noise

WORD = 0xFFFFFFFF
SEEDS = (0, 1, 7, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 0xDEADBEEF_12345678)
# Random123 kat_vectors, "philox4x32 10": counter, key, output.
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((WORD, WORD, WORD, WORD), (WORD, WORD), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def reference(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Salmon et al. 2011, section 3.3: ten rounds, the key bumped between them, in unbounded integers."""
    (a, b, c, d), (k, m) = counter, key
    for bump in range(10):
        if bump:
            k, m = (k + 0x9E3779B9) % 2**32, (m + 0xBB67AE85) % 2**32
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second // 2**32) ^ b ^ k, second % 2**32, (first // 2**32) ^ d ^ m, first % 2**32
    return a, b, c, d


def word(seed: int, stream: int, position: int) -> int:
    """The module's documented layout of counter and key, in unbounded integers."""
    seed, stream, block = seed % 2**64, stream % 2**64, position // 4
    counter = (block % 2**32, block // 2**32, stream // 2**32, seed // 2**32)
    return reference(counter, (seed % 2**32, stream % 2**32))[position % 4]


def philox(library: str, counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    make = (lambda value: np.array([value], np.int64)) if library == "numpy" else (lambda value: torch.tensor([value]))
    return tuple(int(made[0]) for made in noise.philox4x32(tuple(map(make, counter)), key))


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS, ids=["zeros", "ones", "pi"])
def test_known_answers(library: str, counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert reference(counter, key) == expected
    assert philox(library, counter, key) == expected


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_random_counters_and_keys(library: str) -> None:
    rng = random.Random(5)
    for _ in range(100):
        counter = tuple(rng.getrandbits(32) for _ in range(4))
        key = (rng.getrandbits(32), rng.getrandbits(32))
        assert philox(library, counter, key) == reference(counter, key)


@settings(max_examples=40)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**62))
def test_words_follow_the_documented_layout(seed: int, stream: int, position: int) -> None:
    positions = np.array([position, position + 1, position + 5], np.int64)
    expected = [word(seed, stream, int(one)) for one in positions]
    assert noise.words(seed, stream, positions).tolist() == expected
    assert noise.words(seed, stream, torch.from_numpy(positions)).tolist() == expected


@pytest.mark.parametrize("start", [0, 3, 2**32 - 2, 2**34 - 3, 2**34, 2**40 + 1, 2**62])
@pytest.mark.parametrize("seed", SEEDS)
def test_numpy_and_torch_give_the_same_bits(seed: int, start: int) -> None:
    positions = start + np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    made = noise.uniforms(seed, seed ^ 0x5555, positions)
    other = noise.uniforms(seed, seed ^ 0x5555, torch.from_numpy(positions))
    assert made.shape == positions.shape == tuple(other.shape)
    assert isinstance(other, torch.Tensor)
    assert np.array_equal(made, other.double().numpy())
    assert made.reshape(-1).tolist() == [
        (word(seed, seed ^ 0x5555, int(one)) >> 8) / 2**24 for one in positions.reshape(-1)
    ]


@settings(max_examples=40)
@given(st.sampled_from(SEEDS), st.integers(0, 2**64 - 1), st.integers(0, 2**45), st.integers(0, 41))
def test_a_block_is_the_uniforms_at_its_positions(seed: int, stream: int, start: int, count: int) -> None:
    made = noise.block(seed, stream, start, count)
    assert made.dtype == np.float32
    assert made.shape == (count,)
    expected = noise.uniforms(seed, stream, start + np.arange(count, dtype=np.int64))
    assert np.array_equal(made.astype(np.float64), expected)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 5, 9, 17])
def test_blocks_join(cut: int) -> None:
    whole = noise.block(3, 9, 2**34 - 6, 17)
    parts = (noise.block(3, 9, 2**34 - 6, cut), noise.block(3, 9, 2**34 - 6 + cut, 17 - cut))
    assert np.array_equal(np.concatenate(parts), whole)


def test_range_and_resolution() -> None:
    made = noise.block(11, 4, 0, 200_000).astype(np.float64)
    assert made.min() >= 0
    assert made.max() < 1
    assert np.array_equal(made * 2**24, np.floor(made * 2**24))
    assert len(np.unique((made * 2**24).astype(np.int64) & 1)) == 2  # the last of the 24 bits is used


def test_uniform_and_uncorrelated() -> None:
    count, bins = 200_000, 64
    made = noise.block(1, 1, 0, count).astype(np.float64)
    observed = np.bincount((made * bins).astype(np.int64), minlength=bins)
    chi = ((observed - count / bins) ** 2 / (count / bins)).sum()
    assert abs(chi - (bins - 1)) < 6 * math.sqrt(2 * (bins - 1))
    assert abs(made.mean() - 0.5) < 6 / math.sqrt(12 * count)
    centred = made - made.mean()
    for lag in (1, 2, 3, 4, 8):
        assert abs((centred[lag:] * centred[:-lag]).mean() * 12) < 6 / math.sqrt(count)


def test_distinct_keys_give_distinct_numbers() -> None:
    """Each of the four halves of seed and stream matters, and seed and stream are not interchangeable."""
    one = 0x1_0000_0002
    keys = [(s, t) for s in (0, 1, 2**32, one, 2**63) for t in (0, 1, 2**32, one + 1, 2**63)]
    drawn = [noise.block(seed, stream, 0, 8) for seed, stream in keys]
    for index, first in enumerate(drawn):
        for second in drawn[:index]:
            assert (first != second).sum() >= 7


def test_neighbouring_streams_are_uncorrelated() -> None:
    count = 50_000
    first, second = (noise.block(0, stream, 0, count).astype(np.float64) - 0.5 for stream in (0, 1))
    assert abs((first * second).mean() * 12) < 6 / math.sqrt(count)


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**64, 2**80 + 5])
def test_negative_and_huge_seeds_wrap_modulo_two_to_the_64(seed: int) -> None:
    positions = np.arange(8, dtype=np.int64)
    for made, same in (
        (noise.uniforms(seed, 3, positions), noise.uniforms(seed % 2**64, 3, positions)),
        (noise.uniforms(3, seed, torch.from_numpy(positions)).numpy(), noise.uniforms(3, seed % 2**64, positions)),
        (noise.block(seed, seed, 1, 9), noise.block(seed % 2**64, seed % 2**64, 1, 9)),
    ):
        assert np.array_equal(made, same)
    assert not np.array_equal(noise.block(-1, 0, 0, 8), noise.block(1, 0, 0, 8))


def test_names_become_streams() -> None:
    names = [f"utterance-{index}" for index in range(2000)] + ["", "é", "e\u0301"]
    streams = [noise.name_to_stream(name) for name in names]
    assert len(set(streams)) == len(names)
    assert all(0 <= stream < 2**63 for stream in streams)
    # First eight bytes of sha256(b"") = e3b0c442 98fc1c14, read little end first, without the lowest bit.
    assert noise.name_to_stream("") == 0x141CFC9842C4B0E3 >> 1
