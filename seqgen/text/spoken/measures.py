"""Money, units of measure, feet and inches, percent."""

from __future__ import annotations

import re

from seqgen.text.spoken.abbreviations import ends_sentence
from seqgen.text.spoken.characters import START, STOP
from seqgen.text.spoken.clauses import Around, Rule, Said, listed, whole
from seqgen.text.spoken.numbers import NUMBER, amount, cardinal, fraction

VULGAR = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
          "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
          "⅑": (1, 9), "⅒": (1, 10)}  # fmt: skip
"""Fractions of one character."""
_REGULAR = {
    "km": "kilometer", "m": "meter", "dm": "decimeter", "cm": "centimeter", "mm": "millimeter", "µm": "micrometer",
    "μm": "micrometer", "nm": "nanometer", "mi": "mile", "yd": "yard", "yds": "yard",
    "kg": "kilogram", "g": "gram", "mg": "milligram", "µg": "microgram", "μg": "microgram", "lb": "pound",
    "lbs": "pound", "oz": "ounce",
    "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "cl": "centiliter", "dl": "deciliter",
    "dL": "deciliter", "gal": "gallon", "qt": "quart", "tbsp": "tablespoon", "tsp": "teaspoon", "ha": "hectare",
    "s": "second", "sec": "second", "secs": "second", "ms": "millisecond", "µs": "microsecond", "μs": "microsecond",
    "ns": "nanosecond", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "yr": "year",
    "yrs": "year", "kb": "kilobit",
    "Mb": "megabit",
    "Gb": "gigabit",
    "kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte",
    "W": "watt", "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt", "kWh": "kilowatt hour",
    "MWh": "megawatt hour", "Wh": "watt hour", "mAh": "milliamp hour", "V": "volt", "kV": "kilovolt",
    "mV": "millivolt", "mA": "milliamp", "Ω": "ohm", "kΩ": "kilohm", "dB": "decibel", "Pa": "pascal",
    "hPa": "hectopascal", "kPa": "kilopascal", "MPa": "megapascal", "J": "joule", "kJ": "kilojoule",
    "MJ": "megajoule", "cal": "calorie", "kcal": "kilocalorie", "px": "pixel", "MP": "megapixel", "N": "newton",
}  # fmt: skip
_IRREGULAR = {
    "ft": ("foot", "feet"), "in.": ("inch", "inches"), "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"), "GHz": ("gigahertz", "gigahertz"), "THz": ("terahertz", "terahertz"),
    "mph": ("mile per hour", "miles per hour"), "kph": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"), "rpm": ("R P M", "R P M"), "fps": ("frame per second",
    "frames per second"), "bpm": ("beat per minute", "beats per minute"), "mpg": ("mile per gallon",
    "miles per gallon"), "kbps": ("kilobit per second", "kilobits per second"), "Mbps": ("megabit per second",
    "megabits per second"), "Gbps": ("gigabit per second", "gigabits per second"), "psi": ("P S I", "P S I"),
    "dpi": ("D P I", "D P I"), "ppm": ("part per million", "parts per million"),
    "°C": ("degree celsius", "degrees celsius"), "°F": ("degree fahrenheit", "degrees fahrenheit"),
    "° C": ("degree celsius", "degrees celsius"), "° F": ("degree fahrenheit", "degrees fahrenheit"),
    "℃": ("degree celsius", "degrees celsius"), "℉": ("degree fahrenheit", "degrees fahrenheit"),
    "°": ("degree", "degrees"), "%": ("percent", "percent"), "‰": ("per thousand", "per thousand"),
    "fl oz": ("fluid ounce", "fluid ounces"), "fl. oz": ("fluid ounce", "fluid ounces"),
    "sq ft": ("square foot", "square feet"), "sq. ft": ("square foot", "square feet"),
    "sq km": ("square kilometer", "square kilometers"), "sq mi": ("square mile", "square miles"),
}  # fmt: skip
UNITS = {symbol: (name, f"{name}s") for symbol, name in _REGULAR.items()} | _IRREGULAR
"""One and many of each unit."""
_PER = listed("second minute hour day week month year person night unit pound mile gallon capita")
_POWERS = {"²": "square", "2": "square", "^2": "square", "³": "cubic", "3": "cubic", "^3": "cubic"}
_CURRENCIES = {
    "US$": ("U S dollar", "U S dollars", "cent", "cents"), "$": ("dollar", "dollars", "cent", "cents"),
    "A$": ("australian dollar", "australian dollars", "cent", "cents"),
    "C$": ("canadian dollar", "canadian dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"), "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "", ""), "₹": ("rupee", "rupees", "paisa", "paise"), "₽": ("ruble", "rubles", "", ""),
    "₩": ("won", "won", "", ""), "₪": ("shekel", "shekels", "", ""), "₿": ("bitcoin", "bitcoins", "", ""),
    "USD": ("U S dollar", "U S dollars", "cent", "cents"), "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"), "JPY": ("yen", "yen", "", ""),
    "CHF": ("swiss franc", "swiss francs", "", ""), "¢": ("cent", "cents", "", ""),
}  # fmt: skip
SCALES = {"k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "bn": "billion",
           "b": "billion", "B": "billion", "tn": "trillion", "T": "trillion"}  # fmt: skip
"""What letters behind an amount multiply it by."""


def quantity(text: str) -> str:
    """Words of an amount that may end in a fraction: ``2½``, ``1 1/2``, ``1,000.5``.

    Example:
        >>> quantity("2½"), quantity("1 3/4"), quantity("1.5")
        ('two and a half', 'one and three quarters', 'one point five')
    """
    if text[-1] in VULGAR:
        before, part = text[:-1].strip(), VULGAR[text[-1]]
    elif "/" in text:
        before, _, last = text.rpartition(" ")
        above, _, below = last.partition("/")
        part = int(above), int(below)
    else:
        return amount(text)
    if not before:
        return fraction(*part)
    return f"{amount(before)} and {'a half' if part == (1, 2) else fraction(*part)}"


def _is_one(text: str) -> bool:
    return text == "1" or ("/" in text and " " not in text) or (text[-1] in VULGAR and len(text) == 1)


def signed(sign: str | None) -> str:
    return {
        "-": "minus ",
        "–": "minus ",
        "−": "minus ",
        "+": "plus ",
        "±": "plus or minus ",
        "+/-": "plus or minus ",
        "~": "about ",
        "≈": "about ",
    }.get(sign or "", "")


def _attributive(found: re.Match[str], around: Around) -> bool:
    """Whether a measure stands before what it measures, "a $5 bill": then the unit is one."""
    follows = found.string[found.end() : found.end() + 2]
    return around.before.lower() in ("a", "an") and len(follows) == 2 and follows[0] in " -" and follows[1].islower()


def _money(found: re.Match[str], around: Around) -> list[Said] | None:
    """Currency before or behind an amount; two decimals are cents."""
    one, many, part, parts = _CURRENCIES[found["currency"]]
    text, scale = re.sub(r",(\d\d)$", r".\1", found["amount"]), found["scale"]
    single = _attributive(found, around)
    sign, last = signed(found["sign"] or found["inner"]), found["last"]
    below = f" per {_per(found['per'])}" if found["per"] else ""
    before, _, after = text.partition(".")
    if part and len(after) == 2 and not scale and not last:
        large, small = before.replace(",", "").lstrip("0"), int(after)
        said = [f"{amount(before or '0')} {one if large == '1' or single else many}"] if large or not small else []
        said += [f"{cardinal(small)} {part if small == 1 else parts}"] if small else []
        return whole(found, sign + " and ".join(said) + below)
    name = one if single or (text == "1" and not scale and not last) else many
    said_scale = f" {SCALES.get(scale, scale)}" if scale else ""
    until = f" to {quantity(last)}" if last else ""
    return whole(found, f"{sign}{quantity(text)}{until}{said_scale} {name}{below}")


def _per(text: str) -> str:
    """What stands below the line of a unit."""
    if text in _PER:
        return text
    symbol = text.rstrip("²³")
    power = text[len(symbol) :]
    if power == "²" and symbol == "s":
        return "second squared"
    return f"{_POWERS[power]} {UNITS[symbol][0]}" if power else UNITS[symbol][0]


def _measure(found: re.Match[str], around: Around) -> list[Said] | None:
    """An amount or a range with a unit, which is one behind 1, before what it measures, and behind a hyphen."""
    one, many = UNITS[found["unit"]]
    text, last = found["amount"], found["last"]
    if found["power"]:
        if found["unit"] not in ("m", "km", "cm", "mm", "ft", "in.", "mi", "yd", "dm"):
            return None
        one, many = (f"{_POWERS[found['power']]} {name}" for name in (one, many))
    sign = signed(found["sign"])
    below = f" per {_per(found['per'])}" if found["per"] else ""
    part = _is_one(text) and text != "1"
    if part and not last and one not in ("percent", "per thousand"):
        article = "an" if one[0] in "aeiou" or one.startswith("hour") else "a"
        said = re.sub("^one (?=e)", "an ", quantity(text)).replace("one ", "a ")
        phrase = f"{'half' if said == 'a half' else f'{said} of'} {article} {one}"
    else:
        single = (_is_one(text) and not last) or found["hyphen"] or _attributive(found, around)
        until = f" to {signed(found['second'])}{quantity(last)}" if last else ""
        phrase = f"{quantity(text)}{until} {one if single else many}"
    end = found["unit"] == "in." and ends_sentence(found.string, found.end())
    return [Said(sign + phrase + below, found.start(), found.end(), "statement" if end else None)]


def _rate(found: re.Match[str], around: Around) -> list[Said] | None:
    """A unit behind a power of ten, 3×10⁸ m/s."""
    return whole(found, f"{UNITS[found[1]][1]} per {_per(found[2])}")


def _counted(found: re.Match[str], around: Around) -> list[Said] | None:
    """So many of something in some time, 100 steps/day: the time is said later."""
    return [Said(amount(found[1]), *found.span(1)), Said(found[2], *found.span(2)), Said("per", *found.span(3))]


def _percents(found: re.Match[str], around: Around) -> list[Said] | None:
    """A range whose two ends have the unit, 10%–20%."""
    first = Said(f"{quantity(found[1])} percent", found.start(), found.end(1) + 1)
    return [first, Said(f"to {quantity(found[2])} percent", found.start(2), found.end())]


def _feet(found: re.Match[str], around: Around) -> list[Said] | None:
    feet, inches = found[1], found[2]
    said = f"{amount(feet)} {'foot' if feet == '1' else 'feet'}"
    if inches:
        said += f" {amount(inches)} {'inch' if inches == '1' else 'inches'}"
    return whole(found, said)


def _inches(found: re.Match[str], around: Around) -> list[Said] | None:
    """Inches, unless the mark closes what was quoted."""
    if around.quoted and found[0].endswith('"'):
        return None
    return whole(
        found, f"{quantity(found[1])} {'inch' if _is_one(found[1]) or _attributive(found, around) else 'inches'}"
    )


def _alternatives(table: dict[str, tuple[str, str]]) -> str:
    return "|".join(re.escape(one) for one in sorted(table, key=len, reverse=True))


_FRACTION = "[" + "".join(VULGAR) + "]"
AMOUNT = rf"(?:\d{{1,4}} \d{{1,2}}/\d{{1,3}}(?!\d)|\d{{1,3}}/\d{{1,3}}(?!\d)|\d{{0,9}}\s?{_FRACTION}|{NUMBER}|\.\d++)"
"""An amount with a fraction or decimals."""
SIGN = r"(?:(?<![\w)])(?P<sign>\+/-|[-–+](?!\s)|[−±~≈])\s?)?"
_SYMBOLS = _alternatives(UNITS)
_BELOW = f"{'|'.join(sorted(_PER))}|{_SYMBOLS}"
_UNIT = rf"(?P<unit>{_SYMBOLS})(?P<power>[²³]|\^[23]|[23](?=\b))?(?:/(?P<per>(?:{_BELOW})[²³]?))?"
_SIGNS = "|".join(re.escape(one) for one in ("US$", "A$", "C$", "$", "£", "€", "¥", "₹", "₽", "₩", "₪", "₿"))
_SCALE = rf"(?:\s?(?P<scale>thousand|million|billion|trillion|mn|bn|tn|[kKmMbBT]){STOP})?"
RATES = (Rule(re.compile(START + r"(k?m|kg)/(s²|[sh]|m³)" + STOP), _rate),)
_PRICE = rf"(?:\d++,\d\d(?![\d,.])|{NUMBER})"
MONEY = (
    Rule(
        re.compile(
            rf"{SIGN}{START}(?P<currency>{_SIGNS})\s?(?P<inner>[-−])?(?P<amount>{_PRICE}|\.\d+)(?:\s?[-–]\s?(?P<last>{NUMBER})(?!\w))?{_SCALE}(?:/(?P<per>{_BELOW}){STOP})?"
        ),
        _money,
    ),
    Rule(
        re.compile(
            rf"{SIGN}{START}(?P<amount>{_PRICE})(?P<inner>(?!))?(?:\s?[-–]\s?(?P<last>{NUMBER}))?{_SCALE}\s?"
            rf"(?P<currency>[$£€¥₹₽₩₪₿¢](?!\s?\d)|(?:USD|EUR|GBP|JPY|CHF){STOP})"
            rf"(?:/(?P<per>{_BELOW}){STOP})?"
        ),
        _money,
    ),
)
RULES = (
    Rule(re.compile(START + r"(\d{1,2})'\s?(\d{1,2})(?:\"|″|'')(?!\w)"), _feet),
    Rule(re.compile(START + r"(\d{1,4})'()(?=\s(?:wide|tall|long|high|deep|by|x)\b)"), _feet),
    Rule(re.compile(START + r"(\d{1,2})\s?ft\.?\s?(\d{1,2})\s?in" + STOP), _feet),
    Rule(re.compile(START + r"(\d{1,6})′(?:\s?(\d{1,2})″)?"), _feet),
    Rule(re.compile(START + rf"({AMOUNT})(?:\"|″)(?!\w)"), _inches),
    Rule(re.compile(START + rf"({NUMBER})%\s?[-–]\s?({NUMBER})%"), _percents),
    Rule(
        re.compile(
            rf"{SIGN}{START}(?P<amount>{AMOUNT})(?:\s?[-–]\s?(?P<second>[-−])?(?P<last>{AMOUNT}))?(?:\s|(?P<hyphen>-))?"
            + _UNIT
            + STOP
            + r"(?:(?<=[A-Za-z])(?<!in)\.(?=\s[a-z(]|[,;]|\s\d+\s?(?:oz|in|min|sec)s?\b))?"
        ),
        _measure,
    ),
    Rule(re.compile(START + rf"({NUMBER}) ([a-z]+)(/)(?=(?:{'|'.join(sorted(_PER))}){STOP})"), _counted),
)
