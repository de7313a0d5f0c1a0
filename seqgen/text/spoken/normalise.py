"""Reading of a written text from left to right: the first rule that fits says the words, marks make the pauses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from seqgen.text.spoken import abbreviations, acronyms, dates, links, measures, quantities, romans
from seqgen.text.spoken.characters import LETTERS, NAMES, SILENT, START, STOP, UNHEARD, letters, plain, reason
from seqgen.text.spoken.clauses import ENDS, Around, Clause, End, Rule, Said, Skipped, Word, listed, whole, words
from seqgen.text.spoken.numbers import digits

_MANY = "".join(LETTERS)
_WORD = re.compile(rf"'?[A-Za-z{_MANY}][A-Za-z{_MANY}{UNHEARD}]*+(?:'[A-Za-z{_MANY}][A-Za-z{_MANY}{UNHEARD}]*+)*+")
_ELIDED = listed("'tis 'twas 'em 'til 'cause 'bout 'n 'round 'twere 'twill")
"""Words whose apostrophe stands in front and is no quote."""
_ENDING = re.compile(r"[.?!…](?:[.?!…]|\s(?=[.?!…](?![\w.?!…])|\.\s?\.))*+")
_EXTENSIONS = listed("py js ts cpp hpp txt csv tsv md sh exe dll xml svg png jpg mp rs rb yml html css pdf php")
_SYMBOL = re.compile(r"\S")


def _word(found: re.Match[str], around: Around) -> list[Said] | None:
    """Letters, without quotes at their edges."""
    said = letters(found[0]).lower()
    start = found.start()
    if said[0] == "'" and said not in _ELIDED:
        said, start = said[1:], start + 1
    return [Said(said, start, found.end())]


def _symbol(found: re.Match[str], around: Around) -> list[Said] | None:
    """A symbol by its name; a Greek letter only where no other letter is beside it."""
    text, at = found.string, found.start()
    name = NAMES.get(found[0])
    beside = text[max(at - 1, 0) : at] + text[at + 1 : at + 2]
    if (
        name is None
        or (found[0] in "<>" and not re.search(r"[\s\d]", beside))
        or (found[0].isalpha() and any(one.isalpha() and not one.isascii() for one in beside))
    ):
        return None
    return whole(found, name)


def _with(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, {"w/": "with", "w/o": "without", "c/o": "care of"}[found[0]])


def _dot(found: re.Match[str], around: Around) -> list[Said] | None:
    """A point within a word."""
    return whole(found, "dot")


def _extension(found: re.Match[str], around: Around) -> list[Said] | None:
    """The ending of a file's name, by its letters."""
    return [Said("dot", found.start(), found.start() + 1), Said(acronyms.spelt(found[1]), *found.span(1))]


def _letters_range(found: re.Match[str], around: Around) -> list[Said] | None:
    """From one letter to another."""
    return [Said(found[1], *found.span(1)), Said(f"to {found[2]}", found.end(1), found.end())]


def _many(found: re.Match[str], around: Around) -> list[Said] | None:
    """A word that may be one or many, book(s)."""
    return whole(found, found[0].replace("(", "").replace(")", "").lower())


def _until(found: re.Match[str], around: Around) -> list[Said] | None:
    """A dash between figures that no rule of ranges has taken: hours, sums, decades, places."""
    figures = re.search(r"\d|^[AaPp]\.?[Mm]", around.before)
    return whole(found, "to") if figures else None


def _each(found: re.Match[str], around: Around) -> list[Said] | None:
    """A slash between a measure and another, 3 l/100 km."""
    return whole(found, "per") if re.fullmatch(r"[\d.,]+\s?[A-Za-z]+", around.before) else None


def _sharp(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, "sharp")


def _grade(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, "minus")


def _digits_run(found: re.Match[str], around: Around) -> list[Said] | None:
    """Figures that no rule knows what to do with, beside letters of other scripts for instance."""
    return whole(found, digits(found[0]))


_FIGURES = (
    *links.RULES,
    *dates.RULES,
    *quantities.CODES,
    *measures.MONEY,
    *measures.RULES,
    *quantities.RULES,
)
_WITHIN = (
    Rule(re.compile(r"(?<=[\w%.\"'$€£¢°])[-–](?=['$€£¥]?\d)"), _until),
    Rule(re.compile(r"(?<=[A-Za-z])/(?=\d)"), _each),
    Rule(re.compile(rf"(?<=\w)\.({'|'.join(sorted(_EXTENSIONS))})(?![\w.])"), _extension),
    Rule(re.compile(r"(?:(?<=\w)|(?<![^\s\"'(\[]))\.(?=[a-z0-9]|[A-Z]{2,}(?![a-z]))"), _dot),
    Rule(re.compile(r"(?<=\b[A-G])#(?!\w)"), _sharp),
    Rule(re.compile(r"(?<=\b[A-D])-(?=[\s.,;)]|$)"), _grade),
)
_AT_LETTERS: tuple[Rule, ...] = (
    *links.RULES,
    *dates.NAMED,
    *measures.MONEY,
    *measures.RATES,
    *quantities.VERSIONS,
    *abbreviations.RULES,
    *romans.RULES,
    Rule(re.compile(START + r"(?:w/o?|c/o)(?![A-Za-z0-9/])"), _with),
    Rule(re.compile(START + rf"([A-Z])(?:–|(?<=A)-(?=Z))([A-Z]){STOP}"), _letters_range),
    *acronyms.RULES,
    Rule(re.compile(START + r"[A-Za-z]{2,40}\(e?s\)" + STOP), _many),
    Rule(_WORD, _word),
)
_AT_DIGITS: tuple[Rule, ...] = (*_FIGURES, *acronyms.RULES, Rule(re.compile(r"\d++"), _digits_run))
_AT_SIGNS: tuple[Rule, ...] = (*_FIGURES, *_WITHIN, Rule(_WORD, _word))
_LAST = Rule(_SYMBOL, _symbol)
_PLAIN = re.compile(r"(?![ivx]+(?![a-z]))[a-z]{2,}+(?=[ ,]|$)")
_SPECIAL = frozenset(abbreviations.POINTLESS)
_DASH = re.compile(r"(?:(?<!\S)[-–](?!\S)|-{2,}|—)[\s—–-]*")
_ITEM = re.compile(r"[\n\r][^\S\n\r]{0,40}(?:\d{1,3}[.)]|[*•])\s")
_PAUSES: dict[str, End] = {",": "comma", ";": "semicolon", ":": "colon", "(": "bracket", ")": "bracket",
                           "[": "bracket", "]": "bracket", "{": "bracket", "}": "bracket", "•": "dash", "·": "comma",
                           "‣": "dash", "|": "comma", "◦": "dash"}  # fmt: skip


def _rules(character: str) -> tuple[Rule, ...]:
    """The rules that may fit where a character stands."""
    if character.isalpha():
        return _AT_LETTERS
    return _AT_DIGITS if character.isdecimal() else _AT_SIGNS


@dataclass
class _Reader:
    """What has been read of one stretch of text so far."""

    original: str
    offset: int
    quoted: bool
    text: str = field(init=False)
    clauses: list[Clause] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    _words: list[Word] = field(default_factory=list)
    _before: str = ""
    _attached: bool = False

    def __post_init__(self) -> None:
        self.text = plain(self.original)
        self._capitals = acronyms.shouted(self.text)

    def read(self) -> None:
        at, stop = 0, len(self.text)
        while at < stop:
            found = _PLAIN.match(self.text, at)
            if found and found[0] not in _SPECIAL and (at == 0 or not self.text[at - 1].isalnum()):
                self._say(Said(found[0], at, found.end()))
                at = found.end()
            elif self.text[at].isspace():
                if _ITEM.match(self.text, at):
                    self._pause("dash")
                at += 1
            else:
                at = self._rule(at)
        self._pause("paragraph")

    def _rule(self, at: int) -> int:
        """Reads what stands at a place; where the rest begins."""
        around = Around(self._before, self._capitals, self.quoted)
        character = self.text[at]
        for rule in _rules(character):
            found = rule.pattern.match(self.text, at)
            said = rule.read(found, around) if found and found.end() > at else None
            if found and said is not None:
                for one in said:
                    self._report(at, one.start)
                    self._say(one)
                    at = one.stop
                self._report(at, found.end())
                return found.end()
        return self._mark(at, around)

    def _mark(self, at: int, around: Around) -> int:
        """Punctuation, symbols, and what cannot be spoken."""
        character = self.text[at]
        if ending := _ENDING.match(self.text, at):
            self._pause(_kind(ending[0]))
            return ending.end()
        if dash := _DASH.match(self.text, at):
            self._pause("dash")
            return max(dash.end(), at + 1)
        if character == '"':
            self.quoted = not self.quoted
        if character in "()" and self._inside(at):
            pass
        elif character in _PAUSES:
            self._pause(_PAUSES[character])
        elif character not in SILENT:
            found = _LAST.pattern.match(self.text, at)
            said = _LAST.read(found, around) if found else None
            if said:
                self._say(said[0])
            else:
                return self._skip(at)
        return at + 1

    def _inside(self, at: int) -> bool:
        """Whether a bracket is one within a word, f(x), and makes no pause; so is the one that closes it."""
        was = self._attached
        self._attached = self.text[at] == "(" and at > 0 and self.text[at - 1].isalnum()
        return self._attached or (was and self.text[at] == ")")

    def _skip(self, at: int) -> int:
        """Passes over all characters that cannot be spoken for the same reason."""
        why, stop = reason(self.text[at]), at + 1
        while stop < len(self.text) and self._unspoken(stop) and reason(self.text[stop]) == why:
            stop += 1
        self.skipped.append(Skipped(at + self.offset, stop + self.offset, why))
        return stop

    def _report(self, start: int, stop: int) -> None:
        """Tells of what a rule left out between two of its words."""
        for at in range(start, stop):
            if self.text[at] not in SILENT and not self.text[at].isspace():
                self.skipped.append(Skipped(at + self.offset, at + self.offset + 1, reason(self.text[at])))

    def _unspoken(self, at: int) -> bool:
        one = self.text[at]
        return not (
            one.isspace()
            or (one.isascii() and one.isprintable())
            or one in SILENT
            or (one in NAMES and not one.isalpha())
            or one in LETTERS
        )

    def _say(self, said: Said) -> None:
        self._words += words(said, self.offset)
        self._before = self.text[said.start : said.stop].strip(".'\"")
        if said.end:
            self._pause(said.end)

    def _pause(self, end: End) -> None:
        """Ends the clause; a mark behind one without words between them counts if it is stronger."""
        self._before = ""
        if self._words:
            self.clauses.append(Clause(tuple(self._words), end))
            self._words = []
        elif self.clauses and ENDS.index(end) > ENDS.index(self.clauses[-1].end) and end != "paragraph":
            self.clauses[-1] = Clause(self.clauses[-1].words, end)


def _kind(marks: str) -> End:
    """The end that a run of points and marks stands for."""
    if "?" in marks:
        return "question"
    if "!" in marks:
        return "exclamation"
    return "statement" if marks == "." else "ellipsis"


class Read(NamedTuple):
    """Clauses of a stretch of text, what of it is not spoken, and whether a quotation is open at its end."""

    clauses: list[Clause]
    skipped: list[Skipped]
    quoted: bool


def read(text: str, offset: int = 0, *, quoted: bool = False) -> Read:
    """Clauses of a stretch of text that is read by itself, and what of it is not spoken.

    Args:
        offset: what all places are counted from. quoted: whether a quotation is open where it begins.

    Example:
        >>> given = read("At 3:05 pm, 21 people came.")
        >>> [" ".join(word.text for word in one.words) for one in given.clauses]
        ['at three oh five p m', 'twenty one people came']
    """
    reader = _Reader(text, offset, quoted)
    reader.read()
    return Read(reader.clauses, reader.skipped, reader.quoted)
