"""Dates, years, times of day.

Days are said as in America, "march twelfth"; a day that is written before its month is "the twelfth of march". Figures
with slashes are month/day, with points day.month.
"""

from __future__ import annotations

import re

from seqgen.text.spoken.abbreviations import ends_sentence
from seqgen.text.spoken.characters import START, STOP
from seqgen.text.spoken.clauses import Around, Rule, Said, whole
from seqgen.text.spoken.numbers import cardinal, ordinal, plural, year

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
_SHORT = {name[:3]: name for name in MONTHS} | {"sept": "september"} | {name: name for name in MONTHS}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = {name[:3]: name for name in _WEEKDAYS} | {"tues": "tuesday", "thur": "thursday", "thurs": "thursday"}
_MONTH = (
    "(?:January|February|March|April|May|June|July|August|September|October|November|December"
    "|JANUARY|FEBRUARY|MARCH|APRIL|MAY|JUNE|JULY|AUGUST|SEPTEMBER|OCTOBER|NOVEMBER|DECEMBER"
    r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
)
_YEAR = r"(\d{4})(?![\d:%]|[,.]\d)"
_DAY = r"(?:3[01]|[12]\d|0?[1-9])"


def _month(name: str) -> str:
    return _SHORT[name.rstrip(".").lower()]


def _year(text: str | None) -> str:
    return f" {year(int(text))}" if text else ""


def _short_year(text: str) -> str:
    """Words of a year of four digits, or of the two last of one."""
    number = int(text)
    return (
        year(number)
        if len(text) == 4
        else f"oh {cardinal(number) if number else 'oh'}"
        if number < 10
        else cardinal(number)
    )


def _valid(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def _iso(found: re.Match[str], around: Around) -> list[Said] | None:
    number, month, day = int(found[1]), int(found[2]), int(found[3])
    if not _valid(month, day):
        return None
    return whole(found, f"{MONTHS[month - 1]} {ordinal(day)} {year(number)}")


def _slashes(found: re.Match[str], around: Around) -> list[Said] | None:
    """Month/day/year, or day/month/year where only that is a date."""
    first, second = int(found[1]), int(found[2])
    said = _short_year(found[3])
    if _valid(first, second):
        return whole(found, f"{MONTHS[first - 1]} {ordinal(second)} {said}")
    if _valid(second, first):
        return whole(found, f"{_the(around)}{ordinal(first)} of {MONTHS[second - 1]} {said}")
    return None


def _points(found: re.Match[str], around: Around) -> list[Said] | None:
    day, month = int(found[1]), int(found[2])
    if not _valid(month, day):
        return None
    return whole(found, f"{_the(around)}{ordinal(day)} of {MONTHS[month - 1]} {_short_year(found[3])}")


def _the(around: Around) -> str:
    """The article that a day before its month has, unless it is written."""
    return "" if around.before.lower() == "the" else "the "


def _day_month(found: re.Match[str], around: Around) -> list[Said] | None:
    first = f"{_the(around)}{ordinal(int(found['day']))}"
    if found["last"]:
        first += f" to {'' if not _the(around) else 'the '}{ordinal(int(found['last']))}"
    said = [
        Said(f"{first} of", found.start(), found.start("month") - 1),
        Said(_month(found["month"]), *found.span("month")),
    ]
    return said + ([Said(_year(found["year"]), *found.span("year"))] if found["year"] else [])


def _month_day(found: re.Match[str], around: Around) -> list[Said] | None:
    said = [Said(_month(found["month"]), *found.span("month")), Said(ordinal(int(found["day"])), *found.span("day"))]
    if found["last"]:
        said.append(Said(f"to {ordinal(int(found['last']))}", *found.span("last")))
    return said + ([Said(_year(found["year"]), *found.span("year"))] if found["year"] else [])


def _month_year(found: re.Match[str], around: Around) -> list[Said] | None:
    return [Said(_month(found["month"]), *found.span("month"))]


def _day_name(found: re.Match[str], around: Around) -> list[Said] | None:
    first = Said(_DAYS[found[1].lower()], *found.span(1))
    if not found[2]:
        return [first]
    return [first, Said(f"to {_DAYS[found[2].lower()]}", *found.span(2))]


def _months_range(found: re.Match[str], around: Around) -> list[Said] | None:
    return [Said(_month(found[1]), *found.span(1)), Said(f"to {_month(found[2])}", *found.span(2))]


def _decade(found: re.Match[str], around: Around) -> list[Said] | None:
    """The 1990s, the '80s, the 80s."""
    number = int(found["years"])
    if len(found["years"]) == 2:
        return whole(found, plural(cardinal(number))) if number >= 20 else None
    century, rest = divmod(number, 100)
    if rest == 0:
        said = cardinal(number) if century % 10 == 0 else f"{cardinal(century)} hundred"
        return whole(found, plural(said))
    return whole(found, plural(year(number))) if number % 10 == 0 else None


def _two_digits(found: re.Match[str], around: Around) -> list[Said] | None:
    """A year whose century is left out, '98."""
    return None if around.quoted else whole(found, _short_year(found[1]))


def _time(found: re.Match[str], around: Around) -> list[Said] | None:
    """Hours and minutes; "m" is the letter of a.m. and p.m."""
    hour, minute, half = int(found["hour"]), found["minute"], found["half"]
    if hour > 24 or (half and not 1 <= hour <= 12):
        return None
    said = cardinal(hour)
    if minute is None or (minute == "00" and half):
        pass
    elif minute == "00":
        said += " o'clock" if 1 <= hour <= 12 else " hundred"
    else:
        said += f" {_short_year(minute)}"
    if found["second"]:
        said += f" and {cardinal(int(found['second']))} second{'' if int(found['second']) == 1 else 's'}"
    if not half:
        return whole(found, said)
    pointed = found[0].endswith(".")
    end = pointed and ends_sentence(found.string, found.end())
    return [
        Said(said, found.start(), found.end("minute") if minute else found.end("hour")),
        Said(f"{half.upper()} M", found.start("half"), found.end(), "statement" if end else None),
    ]


_HALF = rf"(?P<half>[AaPp])\.?[Mm]{STOP}\.?"
_HOUR = r"(?P<hour>[01]?\d|2[0-4])"
_DAY_NAME = "(Mon|Tues|Tue|Wed|Thurs|Thur|Thu|Fri|Sat|Sun)"
NAMED = (
    Rule(
        re.compile(
            START + rf"(?P<month>{_MONTH})\s(?P<day>{_DAY})(?:st|nd|rd|th)?(?:[-–](?P<last>{_DAY})(?:st|nd|rd|th)?)?"
            rf"(?![\w:%]|[,.]\d)(?:,?\s(?P<year>{_YEAR}))?"
        ),
        _month_day,
    ),
    Rule(re.compile(START + rf"(?P<month>{_MONTH})(?=\s\d{{4}}(?!\d))"), _month_year),
    Rule(re.compile(START + rf"({_MONTH})[-–]({_MONTH})" + STOP), _months_range),
    Rule(re.compile(START + rf"{_DAY_NAME}[-–]{_DAY_NAME}" + STOP), _day_name),
)
"""What begins with the name of a month or a day."""
RULES = (
    Rule(re.compile(START + r"(\d{4})-([01]\d)-([0-3]\d)(?![\d-])"), _iso),
    Rule(re.compile(START + r"(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?![\d/])"), _slashes),
    Rule(re.compile(START + r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d\d)(?!\d|\.\d)"), _points),
    Rule(
        re.compile(
            START + rf"(?P<day>{_DAY})(?:st|nd|rd|th)?(?:[-–](?P<last>{_DAY})(?:st|nd|rd|th)?)?"
            rf"\s(?P<month>{_MONTH}){STOP}(?:,?\s(?P<year>{_YEAR}))?"
        ),
        _day_month,
    ),
    Rule(
        re.compile(
            START + rf"(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?:\s?{_HALF})?(?![\d:])"
        ),
        _time,
    ),
    Rule(re.compile(START + rf"{_HOUR}(?P<minute>(?!))?(?P<second>(?!))?\s?{_HALF}"), _time),
    Rule(re.compile(START + r"'?(?P<years>[1-9]\d(?:\d0)?)'?s" + STOP), _decade),
    Rule(re.compile(START + r"'(\d\d)(?![\w'%:]|[.,]\d)"), _two_digits),
)
