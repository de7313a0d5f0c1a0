"""Phones of English in ARPAbet, with stress, and the same in the International Phonetic Alphabet.

``AH0`` is a vowel without stress, ``AH1`` with the word's main stress, ``AH2`` with a lesser one; consonants have none.
"""

from __future__ import annotations

from seqgen.errors import SeqgenError

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V", "W",
    "Y", "Z", "ZH",
)  # fmt: skip
PHONES = (*(vowel + stress for vowel in VOWELS for stress in "012"), *CONSONANTS)
"""All of them, in an order that does not change."""
Phones = tuple[str, ...]

# Longer spellings come first where one begins another. Without a mark of stress a vowel has none.
_IPA = {
    "tʃ": "CH", "t͡ʃ": "CH", "ʧ": "CH", "dʒ": "JH", "d͡ʒ": "JH", "ʤ": "JH", "aʊ": "AW", "aɪ": "AY", "eɪ": "EY",
    "oʊ": "OW", "əʊ": "OW", "ɔɪ": "OY", "ɑː": "AA", "iː": "IY", "uː": "UW", "ɔː": "AO", "ɜː": "ER", "ɜːr": "ER",
    "ər": "ER", "ɜr": "ER", "ɑ": "AA", "ɒ": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɔ": "AO", "ɛ": "EH",
    "e": "EH", "ɚ": "ER", "ɝ": "ER", "ɜ": "ER", "ɪ": "IH", "i": "IY", "ʊ": "UH", "u": "UW", "o": "OW", "b": "B",
    "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "g": "G", "h": "HH", "k": "K", "l": "L", "ɫ": "L", "m": "M",
    "n": "N", "ŋ": "NG", "p": "P", "r": "R", "ɹ": "R", "ɾ": "D", "s": "S", "ʃ": "SH", "t": "T", "θ": "TH",
    "v": "V", "w": "W", "ʍ": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}  # fmt: skip
_LONGEST = max(map(len, _IPA))
_STRESSES = {"ˈ": "1", "'": "1", "ˌ": "2"}
_NOTHING = frozenset(". ‿ː-")


def phones(text: str) -> Phones:
    """Phones of a pronunciation in ARPAbet (``HH AH0 L OW1``) or in the International Phonetic Alphabet (``həˈloʊ``).

    A stress mark stands before its syllable: it goes to the next vowel. In ARPAbet a vowel without a number has no
    stress.

    Raises:
        SeqgenError: naming what is neither, and for nothing at all.

    Example:
        >>> phones("HH AH L OW1"), phones("həˈloʊ")
        (('HH', 'AH0', 'L', 'OW1'), ('HH', 'AH0', 'L', 'OW1'))
    """
    names = text.split()
    if names and all(name.rstrip("012") in VOWELS or name in CONSONANTS for name in names):
        return tuple(name + "0" if name in VOWELS else name for name in names)
    found, stress, at = [], "0", 0
    while at < len(text):
        if text[at] in _STRESSES:
            stress = _STRESSES[text[at]]
        elif text[at] not in _NOTHING:
            size = next((size for size in range(_LONGEST, 0, -1) if text[at : at + size] in _IPA), 0)
            if not size:
                raise SeqgenError(
                    f"'{text}' is no pronunciation: '{text[at]}' is no phone",
                    remedy="give ARPAbet (HH AH0 L OW1) or the International Phonetic Alphabet (həˈloʊ)",
                )
            phone = _IPA[text[at : at + size]]
            found.append(phone + stress if phone in VOWELS else phone)
            stress = "0" if phone in VOWELS else stress
            at += size - 1
        at += 1
    if not found:
        raise SeqgenError("a pronunciation of nothing", remedy="give phones, e.g. HH AH0 L OW1")
    return tuple(found)
