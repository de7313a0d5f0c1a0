"""Lines that nobody should have to read aloud, of every kind, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

Dice = random.Random
SCRIPTS = (
    "дом", "日本語", "한국어", "λόγος", "ไทย", "हन्दी", "שלום", "مرحبا", "ქართული", "Ωμέγα", "ελ", "ñandú", "Straße",
    "œuvre", "ŋ", "ﬃ", "İstanbul", "ǅ", "ſ", "K", "Å",
)  # fmt: skip
EMOJI = (
    "😀", "👍🏽", "👩\u200d👩\u200d👧\u200d👦", "🇩🇪", "❤\ufe0f", "1\ufe0f⃣", "☃",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "™", "→", "⁂", "∑", "½", "⅞", "²", "⁻", "№", "℃",
    "µ",
)  # fmt: skip
CONTROLS = (
    "\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\xad", "\u200b", "\u200d", "\u2060", "\ufeff", "\u2028", "\ud800",
)  # fmt: skip
TURNS = (
    "\u202a", "\u202b", "\u202e", "\u202c", "\u2066", "\u2069", "\u200f",
)  # fmt: skip
ACCENTS = "\u0300\u0301\u0308\u0323\u0327\u036f\u0488\u093f\u20d7\ufe20"
MARKS = ".,;:!?…'\"`()[]{}<>-–—/\\|*_~^#@&%$§°•·¿¡«»“”"
WORDS = (
    "the", "a", "read", "live", "I", "Dr.", "Mr", "St.", "No.", "etc.", "e.g.", "U.S.", "BBC", "NASA", "XVI", "Henry",
    "VIII", "don't", "'tis", "CDs", "C++", "C#", "O2", "MP3", "x86", "km/h", "Jan.", "pp.",
)  # fmt: skip
NUMBERS = (
    "0", "007", "1,234,567.89", "1,23", "12,34,567", "$.00", "$5.3", "-$1.5M", "€3,50", "1.2.3.4", "1/2/3", "99/0",
    "3½", "½", "1e-999", "5^-3", "10²³", "3:60", "25:61:61", "2024-13-45", "31/02/99", "1-2-3-4", "+1 (212) 555-0187",
    "100%–200%", "°C", "6'2\"", "1st", "0th", "11th", "1,000th", "80s", "'98", "0x1F", "1_000", "１２３", "٣٤", "−5",
    "±2", "4×4×4", "#1", "1.", ".1", "..1", "1..",
)  # fmt: skip
PLACES = (
    "https://a.b/c?d=e&f=%20#g", "HTTP://X.Y", "www.", "www..com", "ftp://1.2.3.4:21/", "a@b.c", "a..b@c..d",
    "@a@b@c", "#1a#b", "x.py", "a/b/c/../d", "C:\\d\\e.exe", "user+tag@mail.example.co.uk", "http://", "://",
    "t.co/…", "mailto:a@b.com", "ſ.com/ü",
)  # fmt: skip
BROKEN = (
    "<speak>", "<speak>a</speak", '<speak><prosody rate="0%">a</prosody></speak>', "<speak>&lol;</speak>", "<speak/>",
    '<speak><break time="99h"/></speak>', '<speak><phoneme ph="9">a</phoneme></speak>', "<speak>\ud800</speak>",
    '<!DOCTYPE a [<!ENTITY b "c">]><speak>&b;</speak>',
    "<speak><say-as interpret-as='ordinal'>" + "9" * 4400 + "</say-as></speak>",
    '<speak><say-as interpret-as="date" format="">1</say-as></speak>', "<speak>a</b></speak>",
    '<speak><prosody rate="500%"><prosody rate="500%">a</prosody></prosody></speak>', "< speak >a", "[a](/9/)",
    "[a](/AH0/)(s)", '<speak><prosody rate="0.001%" volume="+999dB" pitch="+999st">a</prosody></speak>',
    '<speak>a<sub alias="b"><break/></sub></speak>',
)  # fmt: skip


def _some(dice: Dice, pieces: Sequence[str], least: int, most: int, between: str = "") -> str:
    return between.join(dice.choice(pieces) for _ in range(dice.randint(least, most)))


def _letters(dice: Dice, least: int, most: int) -> str:
    return _some(
        dice,
        dice.choice(["abcdefghijklmnopqrstuvwxyz", "bcdfgz", "aeiou", "XBRK", "aBc'd", "éàü", "a1b2"]),
        least,
        most,
    )


KINDS: dict[str, Callable[[Dice], str]] = {
    "list": lambda dice: "\n".join(
        f"{dice.choice(['*', '•', '1.', '(a)', 'iv)', '-'])} {dice.choice(WORDS)}" for _ in range(9)
    ),
    "repeat": lambda dice: (
        dice.choice([*WORDS, *NUMBERS, *PLACES, *EMOJI, *CONTROLS, *MARKS, *BROKEN]) * dice.randint(2, 60)
    ),
    "spaced repeat": lambda dice: (
        (dice.choice([*WORDS, *NUMBERS, *PLACES]) + dice.choice(" \n,")) * dice.randint(2, 60)
    ),
    "long word": lambda dice: _letters(dice, 250, 350),
    "punctuation": lambda dice: _some(dice, MARKS + " ", 1, 80),
    "scripts": lambda dice: _some(dice, [*SCRIPTS, *WORDS], 2, 20, dice.choice(["", " "])),
    "emoji": lambda dice: _some(dice, [*EMOJI, *WORDS], 2, 20, dice.choice(["", " "])),
    "controls": lambda dice: _some(dice, [*CONTROLS, *WORDS, "a", "1"], 2, 30),
    "right to left": lambda dice: _some(dice, [*TURNS, "שלום", "مرحبا", *WORDS, "12"], 2, 30),
    "accents": lambda dice: _some(dice, [*ACCENTS, "a", "E", "1", "-"], 2, 80),
    "addresses": lambda dice: _some(dice, [*PLACES, *WORDS, *MARKS], 1, 12, dice.choice(["", " ", ","])),
    "numbers": lambda dice: _some(
        dice, [*NUMBERS, "km", "USD", "%", "BC", "pm", "x"], 1, 12, dice.choice(["", " ", "-", "/", "."])
    ),
    "figures": lambda dice: _some(dice, "0123456789" * 2 + ".,:/-x'%$°²", 1, 200),
    "markup": lambda dice: dice.choice(BROKEN) + dice.choice(["", " ", "a", "</speak>"]),
    "any characters": lambda dice: "".join(
        chr(dice.choice([dice.randrange(0x250), dice.randrange(0x11_0000)])) for _ in range(60)
    ),
    "all of them": lambda dice: _some(
        dice, [*WORDS, *NUMBERS, *PLACES, *SCRIPTS, *EMOJI, *CONTROLS, *TURNS, *MARKS, " "], 5, 40
    ),
}
"""Each kind with what makes a line of it."""


def hostile_line(seed: int) -> str:
    """The line of a number."""
    dice = Dice(seed)
    return list(KINDS.values())[seed % len(KINDS)](dice)


def hostile_lines(count: int, first: int = 0) -> Iterator[str]:
    """So many lines, as many of each kind."""
    return map(hostile_line, range(first, first + count))


LONG = {
    "words": "word ", "read": "read ", "commas": "a,", "codes": "1-", "versions": "1.", "thousands": ",000",
    "ratios": "1:1/", "capitals": "XB", "letters": "blorf", "mixed": "a1", "quotes": "\"'", "brackets": "((",
    "accents": "e\u0301", "joiners": "a\u200b", "emoji": "😀 ", "control": "\x00a", "mail": "x@y.z",
    "addresses": "a.com/,", "hashtags": "#a", "marks": "?!", "dashes": "--a", "blanks": "  ", "lines": "\n ",
    "figures": "7", "overrides": "[a](/AH0/) ", "half an override": "[a](/", "abbreviations": "Mr. ",
    "reigns": "Henry I ", "initials": "A.", "other letters": "語",
}  # fmt: skip
"""What lines of a megabyte repeat."""
LONG_MARKUP = {
    "entities": "&amp;", "breaks": "a <break/>", "paragraphs": "<p>a</p>",
    "phonemes": '<phoneme ph="AH0">a</phoneme> ', "prosody": '<prosody rate="slow">a</prosody> ',
    "substitutes": '<sub alias="b">a</sub> ', "letters": '<say-as interpret-as="digits">1</say-as>',
}  # fmt: skip
"""What documents of a megabyte repeat."""


def long_lines(size: int) -> Iterator[tuple[str, str]]:
    """Lines of so many characters, each with what it is of; they end in what does not fit what is repeated."""
    for name, piece in LONG.items():
        yield name, (piece * (size // len(piece) + 1))[:size] + "1a"
    for name, piece in LONG_MARKUP.items():
        yield name, f"<speak>{piece * (size // len(piece))}</speak>"
    deep = size // len("<p></p>")
    yield "depth", f"<speak>{'<p>' * deep}a{'</p>' * deep}</speak>"
