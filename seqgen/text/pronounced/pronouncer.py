"""Pronunciation of clauses: each word becomes phones, and says where they are from."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from seqgen.text.pronounced.heteronyms import told_apart
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.overrides import Fixed
from seqgen.text.pronounced.phones import Phones, phones
from seqgen.text.spoken.clauses import Clause, Word

Origin = Literal["given", "own", "context", "lexicon", "derived", "letters", "spelling"]

_LETTERS = {
    letter: phones(told)
    for letter, told in {
        "a": "EY1", "b": "B IY1", "c": "S IY1", "d": "D IY1", "e": "IY1", "f": "EH1 F", "g": "JH IY1", "h": "EY1 CH",
        "i": "AY1", "j": "JH EY1", "k": "K EY1", "l": "EH1 L", "m": "EH1 M", "n": "EH1 N", "o": "OW1", "p": "P IY1",
        "q": "K Y UW1", "r": "AA1 R", "s": "EH1 S", "t": "T IY1", "u": "Y UW1", "v": "V IY1",
        "w": "D AH1 B AH0 L Y UW0", "x": "EH1 K S", "y": "W AY1", "z": "Z IY1",
    }.items()
}  # fmt: skip
_KEPT, _LONGEST_KEPT = 1 << 14, 64  # words whose pronunciation is kept at hand, and letters of one
_HISSING = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH"})


class Pronounced(NamedTuple):
    """Word with its phones and where they are from: given in the text, a user's own lexicon, the context (heteronyms),
    the lexicon, an ending of a word of it, names of letters, or a network that reads spellings."""

    word: Word
    phones: Phones
    origin: Origin


class Pronouncer:
    """Pronouncer of clauses.

    A word that nothing knows goes to ``spell`` with all others of its clause; without one it is said letter by letter,
    so that nothing is left out.

    Args:
        lexicon: of the language. own: of a user, which goes before it. spell: phones of words by their spelling.

    Example:
        >>> lexicon = Lexicon.of_lines(["cat K AE1 T", "the DH AH0"])
        >>> cats = Clause((Word("the", False, 0, 3), Word("cats", False, 4, 8)), "statement")
        >>> [(one.phones, one.origin) for one in Pronouncer(lexicon).clause(cats)]
        [(('DH', 'AH0'), 'context'), (('K', 'AE1', 'T', 'S'), 'derived')]
    """

    def __init__(
        self,
        lexicon: Lexicon,
        own: Mapping[str, Phones] | None = None,
        spell: Callable[[Sequence[str]], Sequence[Phones]] | None = None,
    ) -> None:
        self.lexicon, self.own, self.spell = lexicon, dict(own or {}), spell
        self._kept = functools.lru_cache(_KEPT)(self._found)

    def clause(self, clause: Clause, fixed: Sequence[Fixed] = ()) -> list[Pronounced]:
        """The words of a clause with their phones; of several words that stand for what is ``fixed`` the first has
        them all."""
        words = [word.text for word in clause.words]
        known = [self._known(word) for word in clause.words]
        missing = [at for at, one in enumerate(known) if one is None]
        if missing and self.spell is not None:
            for at, told in zip(missing, self.spell([words[at] for at in missing]), strict=True):
                known[at] = (told, "spelling") if told else None
        made: list[Pronounced] = []
        given: set[int] = set()
        for at, word in enumerate(clause.words):
            index = bisect_right(fixed, word.start, key=_start) - 1 if fixed else -1
            if index >= 0 and word.start < fixed[index].stop:
                if index not in given:
                    made.append(Pronounced(word, fixed[index].phones, "given"))
                given.add(index)
                continue
            found = known[at] or (self._letters(word.text), "letters")
            if found[1] not in ("own", "letters"):
                behind = known[at + 1] if at + 1 < len(words) else None
                by_context = told_apart(words, at, behind[0] if behind else ())
                found = (by_context, "context") if by_context is not None else found
            made.append(Pronounced(word, *found))
        return made

    def _known(self, word: Word) -> tuple[Phones, Origin] | None:
        if word.spelt:
            return self._letters(word.text), "letters"
        if word.text in self.own:
            return self.own[word.text], "own"
        return self._kept(word.text) if len(word.text) <= _LONGEST_KEPT else self._found(word.text)

    def _found(self, word: str) -> tuple[Phones, Origin] | None:
        """Phones of a word by the lexicon."""
        found = self.lexicon.find(word)
        if found:
            return found[0], "lexicon"
        derived = self._derived(word)
        return None if derived is None else (derived, "derived")

    def _derived(self, word: str) -> Phones | None:
        """A known word with an ending: 's, a plural, -ed, -ing, or two known words in one."""
        for ending, more in (("'s", _sibilant), ("s'", _sibilant), ("es", _sibilant), ("s", _sibilant), ("ed", _past)):
            stem = word.removesuffix(ending)
            if stem == word:
                continue
            for whole in (stem, stem + "e") if ending in ("es", "ed") else (stem,):
                if found := self.lexicon.find(whole):
                    return found[0] + more(found[0])
        if word.endswith("ing"):
            for whole in (word[:-3], word[:-3] + "e"):
                if found := self.lexicon.find(whole):
                    return found[0] + ("IH0", "NG")
        longest = self.lexicon.longest
        for cut in range(max(3, len(word) - longest), min(len(word) - 2, longest + 1)):
            if (first := self.lexicon.find(word[:cut])) and (second := self.lexicon.find(word[cut:])):
                return first[0] + tuple(one.replace("1", "2") for one in second[0])
        return None

    @staticmethod
    def _letters(word: str) -> Phones:
        """Names of a word's letters; one with 's has its ending."""
        stem = word.removesuffix("'s")
        made = tuple(phone for letter in stem for phone in _LETTERS.get(letter, ()))
        return made + (_sibilant(made) if made and stem != word else ())


def _start(one: Fixed) -> int:
    return one.start


def _sibilant(stem: Phones) -> Phones:
    if stem[-1] in _HISSING:
        return ("IH0", "Z")
    return ("S",) if stem[-1] in _VOICELESS else ("Z",)


def _past(stem: Phones) -> Phones:
    if stem[-1] in ("T", "D"):
        return ("IH0", "D")
    return ("T",) if stem[-1] in _VOICELESS or stem[-1] in ("S", "SH", "CH") else ("D",)
