"""Abbreviations: what they are short for, and whether their point ends a sentence too."""

from __future__ import annotations

import re

from seqgen.text.spoken.characters import START
from seqgen.text.spoken.clauses import Around, Rule, Said, listed, whole

TITLES = {
    "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Messrs": "messers", "Dr": "doctor", "Prof": "professor",
    "Rev": "reverend", "Gen": "general", "Col": "colonel", "Maj": "major", "Sgt": "sergeant", "Capt": "captain",
    "Cpt": "captain", "Lt": "lieutenant", "Cmdr": "commander", "Adm": "admiral", "Sen": "senator",
    "Rep": "representative", "Gov": "governor", "Pres": "president", "Hon": "honorable", "Rt": "right", "Fr": "father",
    "St": "saint", "Mt": "mount", "Ft": "fort", "Supt": "superintendent",
}  # fmt: skip
"""Before a name."""
_ALONE = frozenset({"Mr", "Mrs", "Ms", "Messrs", "Dr", "Prof"})
_OWNERS = frozenset({"the", "a", "my", "your", "his", "her", "our", "their"})
NUMBERED = {
    "No": "number", "no": "number", "Nos": "numbers", "nos": "numbers", "Fig": "figure", "fig": "figure",
    "Figs": "figures", "figs": "figures", "p": "page", "pp": "pages", "Ch": "chapter", "ch": "chapter",
    "Vol": "volume", "vol": "volume", "Sec": "section", "sec": "section", "Eq": "equation", "eq": "equation",
    "Art": "article", "art": "article", "c": "circa", "ca": "circa", "Apt": "apartment", "apt": "apartment",
    "Ext": "extension", "ext": "extension", "Op": "opus", "op": "opus",
    "Rm": "room", "Pt": "part", "pt": "part", "P": "page", "Pp": "pages",
}  # fmt: skip
"""Before a number."""
ANYWHERE = {
    "Tel": "telephone", "tel": "telephone", "etc": "et cetera",
    "vs": "versus", "approx": "approximately", "dept": "department", "Dept": "department",
    "Inc": "incorporated", "Ltd": "limited", "Co": "company", "Corp": "corporation", "Bros": "brothers",
    "Jr": "junior", "Sr": "senior", "Ave": "avenue", "Blvd": "boulevard", "Rd": "road", "Ln": "lane",
    "Hwy": "highway", "Sq": "square", "est": "estimated", "Est": "established", "govt": "government",
    "Govt": "government", "bldg": "building",
    "Bldg": "building",
    "assn": "association", "Assn": "association", "al": "al", "cf": "compare", "viz": "namely",
    "avg": "average", "misc": "miscellaneous", "incl": "including", "excl": "excluding", "temp": "temperature",
    "Univ": "university", "Intl": "international", "Ed": "edition", "ed": "edition", "esp": "especially",
    "Mon": "monday", "Tue": "tuesday", "Tues": "tuesday", "Wed": "wednesday", "Thu": "thursday", "Thur": "thursday",
    "Thurs": "thursday", "Fri": "friday", "Jan": "january", "Feb": "february", "Mar": "march", "Apr": "april",
    "Jun": "june", "Jul": "july", "Aug": "august", "Sep": "september", "Sept": "september", "Oct": "october",
    "Nov": "november", "Dec": "december", "Sat": "saturday", "Sun": "sunday",
}  # fmt: skip
"""With its point."""
POINTLESS = {"vs": "versus", "etc": "et cetera", "approx": "approximately", "govt": "government", "dept": "department"}
"""Without a point, too."""
LEADING = frozenset({"e.g", "i.e", "a.k.a", "p.s", "n.b", "c.f"})
"""With points within, and never at the end of a sentence."""
DOTTED = {"e.g": "for example", "i.e": "that is", "ph.d": "P H D", "b.sc": "B S C", "m.sc": "M S C", "n.b": "N B"}
"""With points within, where they are not said letter by letter."""
STARTERS = listed(
    """
    A After All Also Although An And Another Any Are As At Because Before Both But By Can Do During Each Even Every
    For From He Her Here Hers His How However I If In Is It Its Later Let Many Maybe Meanwhile More Most My Neither
    Never No None Nobody Not Nothing Now On Once One Only Or Other Others Our People Perhaps She Since So Some
    Someone Soon Still Such Suddenly That The Their Then There These They This Those Though Thus To Today Two Under
    Until We Were What When Where Which While Who Whose Why With Yes Yet You Your
    """
)
"""Words that begin sentences and follow no abbreviation as part of its name."""
_AFTER = re.compile(r"""["')\]]*(?P<end>\s*$)?(?:\s+["'(\[]*(?P<next>[A-Z][A-Za-z]*))?""")
_CAPITAL = re.compile(r"\s+[\"'(]?([A-Z][A-Za-z']*)")
_STREET = re.compile(r"[A-Z][a-z]+|\d+(?:st|nd|rd|th)")


def ends_sentence(text: str, position: int, *, names: bool = True) -> bool:
    """Whether the point before a position ends a sentence although it belongs to an abbreviation.

    Args:
        names: whether a name may follow; otherwise any capital begins a sentence.

    Example:
        >>> ends_sentence("the U.S. Army", 8), ends_sentence("the U.S. The", 8), ends_sentence("etc.", 4)
        (False, True, True)
    """
    after = _AFTER.match(text, position)
    if after is None or after["end"] is not None:
        return True
    return bool(after["next"]) and (not names or after["next"] in STARTERS)


def known(run: str) -> bool:
    """Whether the point at the end of a run of characters may belong to an abbreviation."""
    bare = run.rstrip(".,;:!?")
    return len(bare) <= 1 or "." in bare or bare in TITLES or bare in NUMBERED or bare in ANYWHERE


def _capital_follows(found: re.Match[str]) -> str:
    """The word behind an abbreviation if it has a capital, else nothing."""
    after = _CAPITAL.match(found.string, found.end())
    return after[1] if after else ""


def _title(found: re.Match[str], around: Around) -> list[Said] | None:
    """Titles; Dr. and St. behind a street's name are drive and street."""
    name, point = found[1], bool(found[2])
    follows = _capital_follows(found)
    street = {"Dr": "drive", "St": "street"}.get(name)
    named = bool(_STREET.fullmatch(around.before)) and around.before not in STARTERS
    if street and named and (not follows or follows in STARTERS):
        end = point and ends_sentence(found.string, found.end())
        return [Said(street, found.start(), found.end(), "statement" if end else None)]
    if point and name in _ALONE:
        nobody = not follows or (follows in STARTERS and around.before.lower() in _OWNERS)
        end = nobody and ends_sentence(found.string, found.end())
        return [Said(TITLES[name], found.start(), found.end(), "statement" if end else None)]
    return whole(found, TITLES[name]) if follows else None


def _numbered(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, NUMBERED[found[1]])


def _anywhere(found: re.Match[str], around: Around) -> list[Said] | None:
    name = found[1]
    if name in ("Sun", "Sat", "Ed") and around.before.lower() in ("the", "", "a"):
        return None
    if name == "al" and around.before.lower() != "et":
        return None
    end = ends_sentence(found.string, found.end(), names=name != "etc")
    return [Said(ANYWHERE[name], found.start(), found.end(), "statement" if end else None)]


def _pointless(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, POINTLESS[found[1]])


def _dotted(found: re.Match[str], around: Around) -> list[Said] | None:
    """Letters with points between them: initials, states, hours of the day, Latin."""
    name = found["name"]
    spelt = " ".join(name.replace(".", " ").upper().split())
    said = DOTTED.get(name.lower(), spelt)
    if found["owner"]:
        return whole(found, f"{said}'s")
    end = found[0].endswith(".") and name.lower() not in LEADING and ends_sentence(found.string, found.end())
    return [Said(said, found.start(), found.end(), "statement" if end else None)]


def _initial(found: re.Match[str], around: Around) -> list[Said] | None:
    """One letter and a point before a name; "I." may be the pronoun at the end of a sentence."""
    follows = _capital_follows(found)
    single = len(follows) == 1 and found.string.startswith(".", found.end() + 2)
    if (follows in STARTERS and not single) or (found[0] == "I." and around.before and not single):
        return None
    return whole(found, found[0][0]) if follows else None


def _names(table: dict[str, str]) -> str:
    return "|".join(sorted(table, key=len, reverse=True))


RULES = (
    Rule(
        re.compile(
            START + r"(?P<name>(?:Ph|ph)\.[Dd]|[BM]\.Sc|(?:[A-Za-z]\.){1,9}[A-Za-z])"
            r"(?:(?:\.?'|\.)(?P<owner>s)(?!\w)|\.|(?![A-Za-z0-9'.]))"
        ),
        _dotted,
    ),
    Rule(re.compile(START + r"[A-Z]\."), _initial),
    Rule(re.compile(START + rf"({_names(TITLES)})(?:(\.)|(?=\s[A-Z]))"), _title),
    Rule(re.compile(START + rf"({_names(NUMBERED)})\.(?=\s?[\d#+(]|\s(?:[VX]|[IVX]{{2,}})\b)"), _numbered),
    Rule(re.compile(START + rf"({_names(ANYWHERE)})\."), _anywhere),
    Rule(re.compile(START + rf"({_names(POINTLESS)})(?![A-Za-z0-9'])"), _pointless),
)
