"""Numbers without a unit: telephone numbers, fractions, ranges, places, products, anything else."""

from __future__ import annotations

import re

from seqgen.text.spoken.characters import START, STOP
from seqgen.text.spoken.clauses import Around, Rule, Said, whole
from seqgen.text.spoken.measures import SCALES, SIGN, VULGAR, quantity, signed
from seqgen.text.spoken.numbers import NUMBER, THOUSANDS, amount, bare, cardinal, digits, fraction, ordinal, year

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_FIXED = {
    "24/7": "twenty four seven",
    "9/11": "nine eleven",
    "50/50": "fifty fifty",
    "20/20": "twenty twenty",
    "50-50": "fifty fifty",
}


_PARTS = frozenset({"12", "16", "20", "24", "25", "32", "50", "64", "100", "128", "1000"})


def _phone(found: re.Match[str], around: Around) -> list[Said] | None:
    """Figures one by one, each group by itself."""
    start = found.start()
    said = [Said("plus", start, start + 1)] if found[0][0] == "+" else []
    groups = re.finditer(r"\d+", found[0])
    return said + [Said(digits(one[0]), start + one.start(), start + one.end()) for one in groups]


def _abroad(found: re.Match[str], around: Around) -> list[Said] | None:
    """Numbers with the code of a country: some figures only are a sum."""
    return _phone(found, around) if sum(one.isdecimal() for one in found[0]) >= 7 else None


def _side_of_street(found: re.Match[str], around: Around) -> list[Said] | None:
    """A house's number with the side of the street, 350 W. 34th St."""
    side = {"N": "north", "S": "south", "E": "east", "W": "west"}[found[2]]
    return [Said(bare(found[1]), *found.span(1)), Said(side, found.start(2), found.end())]


def _named_version(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, f"V {' point '.join(map(amount, found[1].split('.')))}")


def _scaled(found: re.Match[str], around: Around) -> list[Said] | None:
    """Thousands and millions by a letter; without decimals K and B are letters, as in 4K and 221B."""
    if "." not in found[1] and found[2] in "kKB":
        return None
    return whole(found, f"{amount(found[1])} {SCALES[found[2]]}")


def _scientific(found: re.Match[str], around: Around) -> list[Said] | None:
    sign = "minus " if found[2] == "-" else ""
    return whole(found, f"{amount(found[1])} times ten to the power of {sign}{amount(found[3])}")


def _ratio(found: re.Match[str], around: Around) -> list[Said] | None:
    return _joined(found, "to")


def _slashes(found: re.Match[str], around: Around) -> list[Said] | None:
    return _joined(found, "slash")


def _joined(found: re.Match[str], sign: str) -> list[Said]:
    """Numbers with the same between each two of them."""
    parts = [(one[0], found.start() + one.start()) for one in re.finditer(r"\d+", found[0])]
    said = [Said(bare(parts[0][0]), parts[0][1], parts[0][1] + len(parts[0][0]))]
    return said + [Said(f"{sign} {bare(text)}", at - 1, at + len(text)) for text, at in parts[1:]]


def _factor(found: re.Match[str], around: Around) -> list[Said] | None:
    """A factor whose fellow is read by itself, for it may have a unit."""
    sign = "by" if found[2] == "x" else "times"
    return [Said(bare(found[1]), *found.span(1)), Said(sign, *found.span(2))]


def _versions(found: re.Match[str], around: Around) -> list[Said] | None:
    """Numbers with several points: those of addresses have four."""
    parts = found[0].split(".")
    point = " dot " if len(parts) == 4 else " point "
    return whole(found, point.join(map(amount, parts)))


def _slashed(found: re.Match[str], around: Around) -> list[Said] | None:
    """Fractions; figures that are hardly one have a slash, Windows 95/98."""
    above, below = found[1], found[2]
    if not (above + below).isdecimal() or len(above) > 4 or len(below) > 4:
        return [Said(bare(above), *found.span(1)), Said(f"slash {bare(below)}", found.end(1), found.end())]
    plain = int(below) <= 10 or int(above) == 1 or int(above) >= int(below) or below in _PARTS
    return whole(
        found,
        _FIXED.get(found[0]) or (fraction(int(above), int(below)) if plain else f"{bare(above)} slash {bare(below)}"),
    )


def _mixed_fraction(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, signed(found["sign"]) + quantity(found["amount"]))


def _product(found: re.Match[str], around: Around) -> list[Said] | None:
    """Sizes, 4x4, and products, 3 × 4: each with as many as there are."""
    parts = list(re.finditer(rf"({NUMBER})([x×*]?)", found[0]))
    power = found.string[found.end() : found.end() + 1] in ("^", *"⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
    signs = {"x": "by", "×": "times" if power else "by", "*": "times"}
    said = []
    for one in parts:
        at = found.start() + one.start()
        said.append(Said(_side(one[1]), at, at + len(one[1])))
        if one[2]:
            place = found.start() + one.start(2)
            said.append(Said(signs[one[2]], place, place + 1))
    return said


def _side(text: str) -> str:
    return year(int(text)) if len(text) == 4 and text.isdecimal() and text[0] != "0" else amount(text)


def _range(found: re.Match[str], around: Around) -> list[Said] | None:
    """From a number to another; two figures behind a year are those of its century."""
    first, last = found[1], found[2]
    if found[0] in _FIXED:
        return whole(found, _FIXED[found[0]])
    until = cardinal(int(last)) if last.isdecimal() and len(last) == 2 and last[0] != "0" else bare(last)
    return [
        Said(bare(first), *found.span(1)),
        Said(f"to {until}", found.end(1), found.end()),
    ]


def _subtraction(found: re.Match[str], around: Around) -> list[Said] | None:
    return [Said(bare(found[1]), *found.span(1)), Said("minus", *found.span(2))]


def _ordinal(found: re.Match[str], around: Around) -> list[Said] | None:
    number = found[1].replace(",", "")
    return whole(found, ordinal(int(number)) if len(number) <= 15 else f"{digits(number)} th")


def _plural_ordinal(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, f"{ordinal(int(found[1]))}s")


def _power(found: re.Match[str], around: Around) -> list[Said] | None:
    text = found[1].translate(_SUPERSCRIPTS)
    if text in "23":
        return whole(found, "squared" if text == "2" else "cubed")
    if not text.lstrip("+-").isdecimal():
        return None
    sign = {"-": "minus ", "+": "plus "}.get(text[0], "")
    return whole(found, f"to the power of {sign}{amount(text.lstrip('+-'))}")


def _era(found: re.Match[str], around: Around) -> list[Said] | None:
    """A year of an era, of up to four figures."""
    return [Said(year(int(found[1])), *found.span(1))]


def _number(found: re.Match[str], around: Around) -> list[Said] | None:
    sign, text = signed(found["sign"]), found["number"]
    return whole(found, sign + (amount(text) if sign.startswith(("minus", "plus")) else bare(text)))


_FRACTION = "[" + "".join(VULGAR) + "]"
_GROUPS = 64  # of one code at most, for each is looked at from each before it
CODES = (
    Rule(re.compile(START + r"(\d{1,6}) ([NSEW])\.(?= (?:[A-Z][a-z]|\d{1,4}(?:st|nd|rd|th)))"), _side_of_street),
    Rule(re.compile(r"(?<![\w+])\+\d{1,3}(?:[ .-]?\(\d{1,4}\)[ .-]?\d{1,8}|[ .-]\d{1,8}){1,6}" + STOP), _abroad),
    Rule(re.compile(r"(?<!\w)(?:1[-. ])?(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-.]\d{4}(?![\w-])"), _phone),
    Rule(re.compile(START + r"\d{3}-\d{4}(?![\w-])"), _phone),
    Rule(re.compile(START + rf"\d++(?:-\d++){{2,{_GROUPS}}}+" + STOP), _phone),
)
VERSIONS = (Rule(re.compile(START + r"[vV](\d{1,4}(?:\.\d{1,6}){1,4})" + STOP), _named_version),)
RULES = (
    Rule(re.compile(START + rf"({NUMBER})[eE]([-+]?)(\d{{1,3}})" + STOP), _scientific),
    Rule(re.compile(START + rf"({NUMBER})(bn|[kKMB])" + STOP), _scaled),
    Rule(re.compile(START + r"\d{1,4}(?::\d{1,4}){1,6}+(?!:\d)" + STOP), _ratio),
    Rule(re.compile(START + r"\d{1,6}(?:/\d{1,6}){2,9}+(?!/\d)" + STOP), _slashes),
    Rule(re.compile(START + rf"({NUMBER})\s([x×*])\s(?=\d)"), _factor),
    Rule(re.compile(START + rf"\d++(?:\.\d++){{2,{_GROUPS}}}+" + STOP), _versions),
    Rule(
        re.compile(rf"{SIGN}{START}(?P<amount>\d{{1,4}} \d{{1,2}}/\d{{1,3}}(?!\d)|\d{{0,9}}\s?{_FRACTION})"),
        _mixed_fraction,
    ),
    Rule(re.compile(START + rf"({NUMBER})/({NUMBER})(?![\d/])"), _slashed),
    Rule(re.compile(START + rf"{NUMBER}(?:[x×*]{NUMBER}){{1,9}}" + STOP), _product),
    Rule(re.compile(START + rf"({NUMBER})[-–]({NUMBER})(?![A-Za-z0-9]|[-–]\d)"), _range),
    Rule(re.compile(START + rf"({NUMBER})\s([-−–])(?=\s\d)"), _subtraction),
    Rule(re.compile(START + rf"({THOUSANDS}|\d++)(?:st|nd|rd|th|ST|ND|RD|TH)" + STOP), _ordinal),
    Rule(re.compile(START + r"(\d{1,6})(?:st|nd|rd|th)s" + STOP), _plural_ordinal),
    Rule(re.compile(r"([²³⁰¹⁴-⁹⁻⁺]{1,9})"), _power),
    Rule(re.compile(r"(?<=[\w)])\s?\^\s?([-+]?\d{1,9})(?!\d)"), _power),
    Rule(re.compile(START + rf"(\d{{1,4}})(?=\s?(?:BCE?|AD|CE|B\.C\.|A\.D\.){STOP})"), _era),
    Rule(re.compile(rf"{SIGN}{START}(?P<number>{NUMBER}|(?<!\w)\.\d++){STOP}"), _number),
)
