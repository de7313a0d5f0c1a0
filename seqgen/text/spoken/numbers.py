"""Numbers in words: American, without "and"."""

from __future__ import annotations

import re

THOUSANDS = r"\d{1,3}(?:,\d{3}){1,32}+"
"""Figures with commas; so many at most, for each place in a row of them is looked at from each before it."""
NUMBER = rf"(?:{THOUSANDS}(?!\d)|\d++)(?:\.\d++)?"
"""A number without sign, thousands with or without commas."""
_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
             "twelve": "twelfth"}  # fmt: skip
LARGEST = 10**15
"""What is larger is read digit by digit: nobody follows the words."""
_ROMAN = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def cardinal(number: int) -> str:
    """Words of a number from 0.

    Example:
        >>> cardinal(12_345)
        'twelve thousand three hundred forty five'
    """
    if number < 20:
        return _ONES[number]
    parts = []
    for scale, name in reversed(list(enumerate(_SCALES))):
        group = number // 1000**scale % 1000
        if group:
            parts.append(f"{_below_thousand(group)} {name}".strip())
    return " ".join(parts)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    parts = [_ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        parts.append(_TENS[rest // 10 - 2])
        rest %= 10
    return " ".join([*parts, _ONES[rest]] if rest else parts)


def ordinal(number: int) -> str:
    """Words of a place.

    Example:
        >>> ordinal(21), ordinal(30)
        ('twenty first', 'thirtieth')
    """
    head, _, last = cardinal(number).rpartition(" ")
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return f"{head} {_ORDINALS.get(last, regular)}".strip()


def digits(text: str) -> str:
    """Names of digits one by one."""
    return " ".join(_ONES[int(one)] for one in text)


def year(number: int) -> str:
    """Words of a year.

    Example:
        >>> year(1066), year(1905), year(1900), year(2005), year(2024)
        ('ten sixty six', 'nineteen oh five', 'nineteen hundred', 'two thousand five', 'twenty twenty four')
    """
    century, rest = divmod(number, 100)
    if not 10 <= century <= 99 or (century % 10 == 0 and rest < 10):
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def amount(text: str) -> str:
    """Words of a number as it is written, of any length: what begins with zeros or is too large digit by digit.

    Example:
        >>> amount("1,234.50"), amount(".5"), amount("007")
        ('one thousand two hundred thirty four point five zero', 'point five', 'zero zero seven')
    """
    before, point, after = text.replace(",", "").partition(".")
    large = len(before) > 16 or (before and int(before) > LARGEST)
    said = (
        digits(before) if large or (len(before) > 1 and before[0] == "0") else cardinal(int(before)) if before else ""
    )
    return f"{said} point {digits(after)}".strip() if point else said


def bare(text: str) -> str:
    """Words of a number that stands alone: four digits from 1100 to 2099 are a year.

    Example:
        >>> bare("1984"), bare("1,984"), bare("3000")
        ('nineteen eighty four', 'one thousand nine hundred eighty four', 'three thousand')
    """
    return year(int(text)) if len(text) == 4 and text.isdecimal() and 1100 <= int(text) <= 2099 else amount(text)


def plural(phrase: str) -> str:
    """A phrase whose last word is many.

    Example:
        >>> plural("nineteen eighty"), plural("six")
        ('nineteen eighties', 'sixes')
    """
    if phrase.endswith("y"):
        return f"{phrase[:-1]}ies"
    return phrase + ("es" if phrase.endswith(("x", "ch")) else "s")


def fraction(above: int, below: int) -> str:
    """Words of a fraction.

    Example:
        >>> fraction(1, 2), fraction(3, 4), fraction(7, 100), fraction(120, 80)
        ('one half', 'three quarters', 'seven hundredths', 'one hundred twenty over eighty')
    """
    if above == below:
        return f"{cardinal(above)} out of {cardinal(below)}"
    if below < 2 or (above >= below and below > 10):
        return f"{cardinal(above)} over {cardinal(below)}"
    part = {2: "half", 4: "quarter", 100: "hundredth", 1000: "thousandth"}.get(below) or ordinal(below)
    many = {"half": "halves"}.get(part, f"{part}s")
    return f"{cardinal(above)} {part if above == 1 else many}"


def roman(text: str) -> int:
    """Value of a Roman numeral, 0 for what is none.

    Example:
        >>> roman("XIV"), roman("IIX")
        (14, 0)
    """
    if not text or not _ROMAN.fullmatch(text):
        return 0
    values = [_VALUES[one] for one in text]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))
