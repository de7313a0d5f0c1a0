"""Characters: what stands for what, what is a symbol with a name, what is silent, what cannot be spoken.

Text is brought to one spelling before it is read, each character for itself, so that places stay: accents are taken
from letters (NFKD: é is e), quotes, hyphens, spaces and digits of any kind become those of ASCII.
"""

from __future__ import annotations

import functools
import unicodedata

from seqgen.text.spoken.clauses import Reason

_DIFFERENT = {
    **dict.fromkeys("‘’‚‛ʼʹ`´", "'"),
    **dict.fromkeys("“”„‟«»", '"'),
    **dict.fromkeys("‐‑", "-"),
    "‒": "–",
    "⁄": "/",
    "∕": "/",
    "―": "—",
    **{chr(wide): chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)},
    **dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)),
    **dict(zip("øØłŁđĐħĦŧŦıȷ", "oOlLdDhHtTij", strict=True)),
}
LETTERS = {"ß": "ss", "ẞ": "ss", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "þ": "th", "Þ": "th", "ð": "th", "Ð": "th",
           "ŋ": "ng", "ĳ": "ij", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st",
           "ﬆ": "st"}  # fmt: skip
"""Letters that are several."""
UNHEARD = "\u0300-\u036f\u00ad\u200b-\u200d\u2060\ufeff"
"""Ranges of what may stand within a word unheard: accents by themselves, soft hyphens, joiners."""
_INSIDE = f"A-Za-z0-9{''.join(LETTERS)}{UNHEARD}"
START, STOP = rf"(?<![{_INSIDE}])", rf"(?![{_INSIDE}])"
"""Patterns of where words and numbers begin and end."""
NAMES = {
    "&": "and", "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "−": "minus", "±": "plus or minus",
    "<": "less than", ">": "greater than", "≤": "less than or equal to", "≥": "greater than or equal to",
    "≈": "approximately", "≠": "not equal to", "~": "about", "§": "section", "¶": "paragraph", "©": "copyright",
    "°": "degrees", "%": "percent", "‰": "per thousand", "@": "at", "#": "number", "√": "square root of",
    "∞": "infinity", "\\": "backslash", "$": "dollars", "£": "pounds", "€": "euros", "¥": "yen", "¢": "cents",
    "^": "to the power of", "№": "number", "℃": "degrees celsius", "℉": "degrees fahrenheit", "²": "squared",
    "³": "cubed",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "λ": "lambda", "μ": "mu", "µ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi",
    "ψ": "psi", "ω": "omega", "Γ": "gamma", "Δ": "delta", "Θ": "theta", "Λ": "lambda", "Π": "pi", "Σ": "sigma",
    "Φ": "phi", "Ψ": "psi", "Ω": "omega",
}  # fmt: skip
"""What a symbol is called where no rule says otherwise; a Greek letter only by itself."""
SILENT = frozenset("\"'-–_*/|[]{}().,;:!?…—•·‣◦′″¡¿‹›")
"""Punctuation: it may make a pause, it is never said, and it is not counted as skipped."""


@functools.lru_cache(maxsize=1 << 16)
def _one(character: str) -> str:
    if character in _DIFFERENT:
        return _DIFFERENT[character]
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if character.isspace() and category != "Cc":
        return "\n" if character in "\u2028\u2029" else " "
    base = unicodedata.normalize("NFKD", character)
    if (
        category[0] == "L"
        and base[0].isascii()
        and base[0].isalpha()
        and all(unicodedata.combining(other) for other in base[1:])
    ):
        return base[0]
    return character


def plain(text: str) -> str:
    """The text in one spelling, character for character.

    Example:
        >>> plain("“Café – it’s １２ €”")
        '"Cafe – it\\'s 12 €"'
    """
    return text.replace("`", "'") if text.isascii() else "".join(map(_one, text))


def letters(word: str) -> str:
    """A word of a plain text in letters from a to z and apostrophes, as it is cased.

    Example:
        >>> letters("Straße"), letters("co\\u00adoperate")
        ('Strasse', 'cooperate')
    """
    if word.isascii():
        return word
    made = (LETTERS.get(one, one) for one in word)
    return "".join(one for one in made if one.isascii())


# Blocks, not categories: what is assigned within them changes with every edition of Unicode. Joiners, selectors of a
# form and tags belong to what they stand beside.
_EMOJI = (
    range(0x1F000, 0x1FB00),
    range(0x2600, 0x27C0),
    range(0x2B00, 0x2C00),
    range(0xFE0E, 0xFE10),
    range(0xE0020, 0xE0080),
    range(0x20E3, 0x20E4),
    range(0x200D, 0x200E),
)


def reason(character: str) -> Reason:
    """Why a character is skipped."""
    category, point = unicodedata.category(character), ord(character)
    if any(point in block for block in _EMOJI):
        return "emoji"
    if category[0] in "CZ":
        return "control"
    return "script" if category[0] in "LM" or point >= 0x2E80 else "symbol"
