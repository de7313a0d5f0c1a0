"""The entropy coder, its frequencies, and how numbers and side information are written."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.compression import side, varint
from seqgen.compression.coder import RangeDecoder, RangeEncoder
from seqgen.compression.frequencies import TOTAL, frequencies
from seqgen.errors import SeqgenError

BOUND, SHARE = 64, 0.005  # bytes, and of what the model claims


def random_bytes(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


# --- frequencies and coder


@given(st.lists(st.lists(st.floats(0, 1e30), min_size=5, max_size=5), min_size=1, max_size=4))
def test_frequencies_are_whole_add_up_and_leave_nothing_out(rows: list[list[float]]) -> None:
    probabilities = np.array(rows) + np.eye(5)[:1] * 1e-300
    made = frequencies(probabilities)
    assert (made == np.floor(made)).all()
    assert (made >= 1).all()
    assert (made.sum(axis=1) == TOTAL).all()


@pytest.mark.parametrize("size", [2, 3, 256, 5000])
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 4.0])
def test_rounding_to_frequencies_loses_less_than_a_thousandth(size: int, sharpness: float) -> None:
    logits = np.random.default_rng(size).normal(size=(50, size)) * sharpness
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    entropy = -(p * np.log2(np.maximum(p, 1e-300))).sum()
    spent = -(p * np.log2(frequencies(p) / TOTAL)).sum()
    assert spent <= entropy * 1.001


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.5])
def test_what_is_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(SeqgenError, match="no numbers"):
        frequencies(np.array([[0.5, bad]]))


def test_a_code_of_other_probabilities_is_refused_or_read_as_other_values() -> None:
    """Some codes lie outside the ranges of all values: the coder's own library calls that an assertion."""
    rows, said = np.full((400, 3), 1 / 3), set()
    for seed in range(20):
        decoder = RangeDecoder(b"\xff" * 4 * seed + random_bytes(400, seed))
        try:
            decoder.code(rows, np.zeros(400, np.int64))
        except SeqgenError as error:
            said.add(str(error).partition(":")[0])
    assert said == {"what comes out is not the original"}


def test_the_coder_spends_what_frequencies_say_and_no_more() -> None:
    """Were the numbers rounded once more inside the coder, a certain value would not cost nothing."""
    certain = np.zeros((100_000, 3))
    certain[:, 1] = 1
    encoder = RangeEncoder()
    encoder.code(certain, np.ones(100_000, np.int64))
    assert len(encoder.finish()) <= 4
    encoder = RangeEncoder()
    encoder.code(certain[:1000], np.full(1000, 2))  # which the model holds for impossible
    assert abs(len(encoder.finish()) - 3000) <= 8, "24 bits each"


def test_values_come_back_in_order() -> None:
    generator = np.random.default_rng(3)
    p = generator.dirichlet(np.full(40, 0.1), size=(30, 17))
    values = np.array([[generator.choice(40, p=row) for row in block] for block in p])
    encoder = RangeEncoder()
    for block, some in zip(p, values, strict=True):
        assert (encoder.code(block, some) == some).all()
    decoder = RangeDecoder(encoder.finish())
    for block, some in zip(p, values, strict=True):
        assert (decoder.code(block, np.zeros_like(some)) == some).all()
    claimed = -np.log2(np.take_along_axis(p, values[..., None], axis=2)).sum()
    assert encoder.claimed == pytest.approx(claimed)


def test_an_alphabet_of_one_value_takes_no_bits() -> None:
    encoder = RangeEncoder()
    encoder.code(np.ones((9, 1)), np.zeros(9, np.int64))
    assert encoder.finish() == b""
    assert RangeDecoder(b"").code(np.ones((9, 1)), np.zeros(9, np.int64)).tolist() == [0] * 9


# --- numbers and side information


@given(st.lists(st.integers(0, 1 << 62)))
def test_numbers_come_back(numbers: list[int]) -> None:
    reader = varint.Reader(varint.written(*numbers))
    assert [reader.number() for _ in numbers] == numbers
    assert reader.rest == 0


@given(st.integers(-(1 << 40), 1 << 40))
def test_signs_come_back(number: int) -> None:
    assert varint.folded(number) >= 0
    assert varint.unfolded(varint.folded(number)) == number


@given(st.binary(max_size=300), st.integers(0, 50))
def test_side_information_comes_back(data: bytes, zeros: int) -> None:
    given_data = bytes(zeros) + data
    assert side.unpacked(side.packed(given_data)).take(len(given_data)) == given_data


@pytest.mark.parametrize(("count", "expected"), [(None, 9), (0, 9), (9, 9), (8, 9), (20, 9)])
def test_counts_come_back(count: int | None, expected: int) -> None:
    assert side.count_read(varint.Reader(side.count_written(count, expected)), expected) == count
