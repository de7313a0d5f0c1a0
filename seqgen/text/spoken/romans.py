"""Roman numerals: the eighth behind a ruler's name, four behind a chapter."""

from __future__ import annotations

import re

from seqgen.text.spoken.abbreviations import STARTERS
from seqgen.text.spoken.characters import START, STOP
from seqgen.text.spoken.clauses import Around, Rule, Said, listed
from seqgen.text.spoken.numbers import cardinal, ordinal, roman

RULERS = listed(
    """
    Henry Louis Elizabeth George Charles Edward James William Richard Paul John Pius Benedict Leo Francis Alexander
    Napoleon Nicholas Peter Catherine Frederick Philip Ferdinand Alfonso Carlos Gregory Innocent Clement Urban
    Ramses Ramesses Ptolemy Cleopatra Darius Xerxes Constantine Theodosius Otto Wilhelm Franz Joseph Mary Anne
    Harald Gustav Christian Haakon Olav Victor Umberto Leopold Albert Baudouin Mehmed Suleiman Selim Murad Ivan
    Boris Boniface Sixtus Julius Stephen Robert David Margrethe Juan Felipe Pedro Hussein Abdullah
    """
)
"""Names that kings, queens and popes share."""
NUMBERED = listed(
    """
    chapter ch part pt act scene volume vol section sec fig book war title phase level episode stage grade figure table
    appendix article class type bowl unit lesson canto stanza tier category division schedule step rocky
    """
)
"""Words before the number of what they name."""
_ABBREVIATIONS = listed("CD CV DC MD MC MM CC DI DM DVD CM DL LCD LC MI MIX DIM XL XXL")
_REIGNS = re.compile(r"(?:\s*$|[.,;:)'?!]|\s+(?:of|was|is|died|reigned|ruled|became|had|and (?:his|her)|in)\b)")


def _roman(found: re.Match[str], around: Around) -> list[Said] | None:
    """A numeral behind what has one; "I" stays the pronoun unless a reign is spoken of."""
    text, before = found[1], around.before
    value = roman(text)
    if not value:
        return None
    owner = found[2] or ""
    if before.lower() == "the" and len(text) > 1 and set(text) <= set("IVX"):
        return [Said(ordinal(value) + owner, *found.span())]
    if before in RULERS or (around.capitals and before.capitalize() in RULERS):
        if text == "I" and not _REIGNS.match(found.string, found.end()):
            return None
        return [Said(f"the {ordinal(value)}{owner}", *found.span())]
    named = before.lower() in NUMBERED and (before[:1].isupper() or len(text) > 1)
    title = before[:1].isupper() and before not in STARTERS and len(text) > 1 and text not in _ABBREVIATIONS
    if not (named or title or (len(text) > 2 and text not in _ABBREVIATIONS and set(text) <= set("IVX"))):
        return None
    return [Said(cardinal(value) + owner, *found.span())]


def _small(found: re.Match[str], around: Around) -> list[Said] | None:
    """Small letters, only behind what is numbered."""
    value = roman(found[0].upper())
    return [Said(cardinal(value), *found.span())] if value and around.before.lower() in NUMBERED else None


RULES = (
    Rule(re.compile(START + r"([IVXLCDM]{1,12})('s)?" + STOP), _roman),
    Rule(re.compile(START + r"[ivx]{2,6}" + STOP), _small),
)
