"""Addresses of the web and of mail, handles, hashtags, names of files."""

from __future__ import annotations

import re

from seqgen.text.spoken.acronyms import pronounceable, spelt
from seqgen.text.spoken.characters import START
from seqgen.text.spoken.clauses import Around, Rule, Said, listed
from seqgen.text.spoken.numbers import cardinal, digits

_SIGNS = {".": "dot", "/": "slash", "-": "dash", "_": "underscore", "?": "question mark", "=": "equals", "&": "and",
          "#": "hash", "%": "percent", "~": "tilde", ":": "colon", "@": "at", "+": "plus", ",": "comma", "!": "bang",
          "*": "star", ";": "semicolon", "$": "dollar", "'": "apostrophe", "(": "bracket", ")": "bracket"}  # fmt: skip
_SAID = listed("com org net gov info biz dev app blog shop")
_SPELT = listed(
    """
    edu io uk de fr eu us ca au nl it es ch at jp cn tv ai co me html htm php pdf www api faq css
    """
)
_PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^A-Za-z0-9]")
_TOPS = "com|org|net|gov|edu|io|co|info|biz|dev|app|uk|de|fr|eu|ca|au|nl|jp|tv|ai"


def _piece(text: str, *, address: bool) -> str:
    lower = text.lower()
    if text.isdecimal():
        return digits(text) if len(text) > 4 or text[0] == "0" else cardinal(int(text))
    if not text.isalpha() or not text.isascii():
        return _SIGNS.get(text, "")
    if lower in _SAID:
        return lower
    if len(text) == 1 or (address and lower in _SPELT) or not pronounceable(text.upper()):
        return spelt(text)
    return lower


def _read(text: str, start: int, *, address: bool = True) -> list[Said]:
    """Every piece of an address; signs have names, and what has none is left to be skipped."""
    pieces = ((_piece(one[0], address=address), one) for one in _PIECES.finditer(text))
    return [Said(phrase, start + one.start(), start + one.end()) for phrase, one in pieces if phrase]


def _address(found: re.Match[str], around: Around) -> list[Said] | None:
    """An address without its scheme, which nobody reads out: it belongs to the first word."""
    scheme = len(found["scheme"] or "")
    first, *rest = _read(found[0][scheme:], found.start() + scheme)
    return [first._replace(start=found.start()), *rest]


def _mail(found: re.Match[str], around: Around) -> list[Said] | None:
    return _read(found[0], found.start())


def _tag(found: re.Match[str], around: Around) -> list[Said] | None:
    """#MeToo and @name: words are cut where capitals begin."""
    sign = "at" if found[1] else "hashtag"
    return [Said(sign, found.start(), found.start() + 1), *_read(found[3], found.start(3), address=False)]


RULES = (
    Rule(
        re.compile(
            START + r"(?:(?P<scheme>(?:https?|ftp)://)|(?=www\.))[A-Za-z0-9](?:[^\s<>\"]*[^\s<>\".,;:!?)'\]])?",
            re.IGNORECASE,
        ),
        _address,
    ),
    Rule(re.compile(START + r"[A-Za-z0-9][\w.+%-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"), _mail),
    Rule(
        re.compile(
            START + rf"(?P<scheme>)[A-Za-z0-9-]{{1,63}}(?:\.[A-Za-z0-9-]{{1,63}}){{0,8}}\.(?:{_TOPS})(?![\w-])"
            r"(?:/(?:[^\s<>\"]*[^\s<>\".,;:!?)'\]])?)?"
        ),
        _address,
    ),
    Rule(re.compile(r"(?<![\w&])(?:(@)|(#)(?=\d*[A-Za-z]))([A-Za-z0-9]\w*)"), _tag),
)
