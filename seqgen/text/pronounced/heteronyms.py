"""Heteronyms: words of one spelling and several pronunciations, told apart by the words beside them.

What is looked at are the words before and behind, in lists; nothing is parsed. Where they say nothing a word has its
usual pronunciation.
"""

from __future__ import annotations

from collections.abc import Sequence

from seqgen.text.pronounced.phones import Phones, phones
from seqgen.text.spoken.clauses import listed

_DETERMINERS = listed(
    "a an the this that these those my your his her its our their whose some any no every each another much many few "
    "several all both one two three four five six seven eight nine ten"
)
_PREPOSITIONS = listed("of in on at for with by from into about after before under over between without through during")
_VERBS_FOLLOW = listed(
    "to will would shall should can could may might must do does did don't doesn't didn't won't wouldn't can't "
    "couldn't shouldn't cannot let's please not never i you we they who i'll you'll we'll they'll he'll she'll it'll "
    "i'd you'd we'd they'd he'd she'd and"
)
_METALS = listed("pipe pipes paint poisoning bullet bullets pencil weight weights")
_SHOWN = listed("music show shows broadcast concert audience coverage stream wire ammunition animals tv video")
_NEAR = listed("so too very as is was are were come came")
_PERFECT = listed(
    "have has had having been be is are was were being i've you've we've they've he's she's it's not already"
)
_VOWELS = frozenset("aeiou")
_FAR = 100  # words on either side that tell the tense
_PAST = listed("yesterday ago last once then when was were had already")

# Stress makes the difference between a noun, or an adjective, and a verb: the noun first.
_NOUN_OR_VERB = {
    "abuse": ("AH0 B Y UW1 S", "AH0 B Y UW1 Z"),
    "advocate": ("AE1 D V AH0 K AH0 T", "AE1 D V AH0 K EY2 T"),
    "close": ("K L OW1 S", "K L OW1 Z"),
    "conduct": ("K AA1 N D AH0 K T", "K AH0 N D AH1 K T"),
    "conflict": ("K AA1 N F L IH0 K T", "K AH0 N F L IH1 K T"),
    "content": ("K AA1 N T EH0 N T", "K AH0 N T EH1 N T"),
    "contract": ("K AA1 N T R AE2 K T", "K AH0 N T R AE1 K T"),
    "convict": ("K AA1 N V IH0 K T", "K AH0 N V IH1 K T"),
    "decrease": ("D IY1 K R IY2 S", "D IH0 K R IY1 S"),
    "desert": ("D EH1 Z ER0 T", "D IH0 Z ER1 T"),
    "estimate": ("EH1 S T AH0 M AH0 T", "EH1 S T AH0 M EY2 T"),
    "excuse": ("IH0 K S K Y UW1 S", "IH0 K S K Y UW1 Z"),
    "export": ("EH1 K S P AO0 R T", "IH0 K S P AO1 R T"),
    "graduate": ("G R AE1 JH AH0 W AH0 T", "G R AE1 JH AH0 W EY2 T"),
    "house": ("HH AW1 S", "HH AW1 Z"),
    "import": ("IH1 M P AO0 R T", "IH0 M P AO1 R T"),
    "increase": ("IH1 N K R IY2 S", "IH0 N K R IY1 S"),
    "insult": ("IH1 N S AH2 L T", "IH0 N S AH1 L T"),
    "object": ("AA1 B JH EH0 K T", "AH0 B JH EH1 K T"),
    "permit": ("P ER1 M IH2 T", "P ER0 M IH1 T"),
    "present": ("P R EH1 Z AH0 N T", "P R IH0 Z EH1 N T"),
    "produce": ("P R OW1 D UW0 S", "P R AH0 D UW1 S"),
    "progress": ("P R AA1 G R EH2 S", "P R AH0 G R EH1 S"),
    "project": ("P R AA1 JH EH0 K T", "P R AH0 JH EH1 K T"),
    "protest": ("P R OW1 T EH2 S T", "P R AH0 T EH1 S T"),
    "rebel": ("R EH1 B AH0 L", "R IH0 B EH1 L"),
    "record": ("R EH1 K ER0 D", "R IH0 K AO1 R D"),
    "refuse": ("R EH1 F Y UW2 Z", "R IH0 F Y UW1 Z"),
    "reject": ("R IY1 JH EH0 K T", "R IH0 JH EH1 K T"),
    "separate": ("S EH1 P ER0 AH0 T", "S EH1 P ER0 EY2 T"),
    "subject": ("S AH1 B JH IH0 K T", "S AH0 B JH EH1 K T"),
    "suspect": ("S AH1 S P EH2 K T", "S AH0 S P EH1 K T"),
    "tear": ("T IH1 R", "T EH1 R"),
    "transfer": ("T R AE1 N S F ER0", "T R AE0 N S F ER1"),
    "transport": ("T R AE1 N S P AO0 R T", "T R AE0 N S P AO1 R T"),
    "use": ("Y UW1 S", "Y UW1 Z"),
    "wind": ("W IH1 N D", "W AY1 N D"),
}
_TABLE: dict[str, tuple[Phones, Phones]] = {
    word: (phones(noun), phones(verb)) for word, (noun, verb) in _NOUN_OR_VERB.items()
}
_VERB_UNLESS_NOUN = listed(
    "abuse conduct excuse increase object present produce refuse reject separate suspect transfer use"
)
_NOW, _THEN = phones("R IY1 D"), phones("R EH1 D")
_GUIDE, _METAL = phones("L IY1 D"), phones("L EH1 D")
_ALIVE, _TO_LIVE = phones("L AY1 V"), phones("L IH1 V")
_THINGS, _HE_LIVES = phones("L AY1 V Z"), phones("L IH1 V Z")
_THE, _THEE = phones("DH AH0"), phones("DH IY0")
_A, _AN_A = phones("AH0"), phones("EY1")


def told_apart(words: Sequence[str], at: int, following: Phones = ()) -> Phones | None:
    """Pronunciation of the word at a place, where it is a heteronym that is known here; else None.

    Args:
        words: of a clause, in lower case. following: phones of the word behind it, where it is known how that begins.

    Example:
        >>> told_apart(["i", "read", "it", "yesterday"], 1), told_apart(["to", "read"], 1)
        (('R', 'EH1', 'D'), ('R', 'IY1', 'D'))
    """
    word = words[at]
    before, behind = words[at - 1] if at else "", words[at + 1] if at + 1 < len(words) else ""
    if word == "the":
        opens = following[0][-1] in "012" if following else behind[:1] in _VOWELS
        return _THEE if behind and opens else _THE
    if word == "a":
        return _A if behind else _AN_A
    if word == "read":
        beside = (*words[max(at - _FAR, 0) : at], *words[at + 1 : at + 1 + _FAR])
        past = before in _PERFECT or any(one in _PAST for one in beside)
        third = before in ("he", "she", "it")  # who reads now, or read then
        return _THEN if (past or third) and before not in ("to", "will", "can", "did", "didn't", "does") else _NOW
    if word == "lead":
        return _METAL if behind in _METALS or before in ("of", "liquid", "molten") else _GUIDE
    if word == "live":
        return _ALIVE if behind in _SHOWN or before in ("a", "the", "go", "broadcast", "streamed") else _TO_LIVE
    if word == "lives":
        own = before in _DETERMINERS or before in _PREPOSITIONS or before in ("save", "saved", "lost", "human")
        return _THINGS if own else _HE_LIVES
    if word in _TABLE:
        return _noun_or_verb(word, before, behind)
    return None


def _noun_or_verb(word: str, before: str, behind: str) -> Phones:
    noun, verb = _TABLE[word]
    if word == "close" and (before in _NEAR or behind == "to"):
        return noun  # near
    if before in _DETERMINERS or before in _PREPOSITIONS:
        return noun
    if before in _VERBS_FOLLOW:
        return verb
    if not before and behind in _DETERMINERS:  # an order: record the sound
        return verb
    return verb if word in _VERB_UNLESS_NOUN and behind in _DETERMINERS else noun
