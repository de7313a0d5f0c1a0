"""Numbers in words: cardinals, places, years, Roman numerals, against readings of their own."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.text.spoken.measures import VULGAR
from seqgen.text.spoken.numbers import amount, cardinal, digits, fraction, ordinal, roman, year
from seqgen.text.spoken.splitter import spoken


def said(text: str) -> str:
    return " ".join(word.text for clause in spoken(text) for word in clause.words)


def value(words: str) -> int:
    """The number that American words are, read in another way than they are made."""
    small = {cardinal(number): number for number in range(20)} | {cardinal(tens): tens for tens in range(20, 100, 10)}
    scales = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15}
    total = group = 0
    for word in words.split():
        if word in scales:
            total, group = total + group * scales[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += small[word]
    return total + group


@given(st.integers(0, 10**15))
def test_cardinals_are_their_numbers(number: int) -> None:
    assert value(cardinal(number)) == number
    assert amount(f"{number:,}") == amount(str(number)) == cardinal(number)
    assert said(f"{number:,} x") == f"{cardinal(number)} x"


@given(st.integers(1, 10**15))
def test_ordinals_end_as_their_figures_do(number: int) -> None:
    words = ordinal(number)
    last = number % 100
    ending = {1: "first", 2: "second", 3: "third"}.get(last % 10, "th") if not 11 <= last <= 13 else "th"
    assert words.endswith(ending)
    assert words.split()[:-1] == cardinal(number).split()[:-1]


@pytest.mark.parametrize("number", range(1100, 2100, 7))
def test_four_figures_are_a_year_or_a_number(number: int) -> None:
    assert said(f"in {number}") == f"in {year(number)}"
    assert said(f"in {number:,}") == f"in {cardinal(number)}"
    assert said(f"{number} kg") == f"{cardinal(number)} kilograms"


def test_roman_numerals_are_their_values() -> None:
    signs = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
             (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]  # fmt: skip
    for number in range(1, 4000):
        rest, text = number, ""
        for size, sign in signs:
            text += sign * (rest // size)
            rest %= size
        assert roman(text) == number
    assert [roman(text) for text in ("", "IIII", "VX", "IC", "MMMM", "ABC")] == [0] * 6


@pytest.mark.parametrize(("above", "below"), [(above, below) for above in range(1, 30, 3) for below in range(2, 11)])
def test_fractions_are_so_many_parts(above: int, below: int) -> None:
    words = fraction(above, below)
    if above == below:
        assert words == f"{cardinal(above)} out of {cardinal(below)}"
        return
    part = {2: "half", 4: "quarter"}.get(below, ordinal(below))
    many = "halves" if below == 2 else f"{part}s"
    assert words == f"{cardinal(above)} {part if above == 1 else many}"


@pytest.mark.parametrize("sign", VULGAR)
def test_fractions_of_one_character_are_their_values(sign: str) -> None:
    above, below = VULGAR[sign]
    assert above / below == pytest.approx(unicodedata.numeric(sign))
    assert said(sign) == fraction(above, below)
    assert said(f"3{sign} x") == f"three and {'a half' if sign == '½' else fraction(above, below)} x"


@given(st.from_regex(r"\A[0-9]{1,40}\Z"))
def test_figures_are_words_or_read_one_by_one(text: str) -> None:
    """Beyond a quadrillion, and behind zeros, each figure by itself."""
    one_by_one = int(text) > 10**15 or (len(text) > 1 and text[0] == "0")
    assert amount(text) == (digits(text) if one_by_one else cardinal(int(text)))
    assert len(digits(text).split()) == len(text)
