"""``seqgen pronounce``: how a text is spoken, word by word and phone by phone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgen.text.pronounced.markup import Break
    from seqgen.text.pronounced.phones import Phones
    from seqgen.text.pronounced.pronouncer import Pronounced

_HELP = """\
Pronounce: a text as it is spoken, a line for each clause, phones in ARPAbet and words with | between them. A
pronunciation can be given in the text, [word](/HH AH0 L OW1/) or in the International Phonetic Alphabet, or in a file
of one's own, which goes before the lexicon. Words that are in neither are read by a network of spellings where one is
given, else letter by letter; --words tells of each word where its phones are from. A text that begins with <speak> is
read as SSML: phoneme, say-as, sub, p and s count, pauses of break are told in seconds, (0.5).

  seqgen pronounce --lexicon english.lexicon "Dr. Lee read 3.5 km of [data](/ˈdeɪtə/)."
  seqgen pronounce --lexicon cmudict.dict.gz --own names.txt --g2p exp/g2p < book.txt
  seqgen pronounce --lexicon english.lexicon '<speak>Wait<break time="500ms"/> for it.</speak>'
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "pronounce",
        help="text as phones",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("text", nargs="?", help="(default: standard input)")
    command.add_argument(
        "--lexicon", type=Path, required=True, metavar="FILE", help="of `seqgen data lexicon`, or lines"
    )
    command.add_argument("--own", type=Path, metavar="FILE", help="lines of one's own, that go before it")
    command.add_argument("--g2p", type=Path, metavar="PATH", help="run or bundle that reads spellings, egs/cmudict/g2p")
    command.add_argument("--words", action="store_true", help="a line for each word: text, phones, where from")
    command.set_defaults(run=run_pronounce)


def run_pronounce(given: argparse.Namespace) -> int:
    """Pronounce the text."""
    from seqgen.text.pronounced.lexicon import Lexicon
    from seqgen.text.pronounced.markup import script_of
    from seqgen.text.pronounced.pronouncer import Pronouncer
    from seqgen.text.spoken.splitter import spoken

    lexicon = Lexicon.open(given.lexicon)
    own = Lexicon({}) if given.own is None else Lexicon.open(given.own)
    text = script_of(sys.stdin.read() if given.text is None else given.text)
    if text.ignored:
        sys.stderr.write(f"passed over: {', '.join(f'<{name}>' for name in text.ignored)}\n")
    pronouncer = Pronouncer(lexicon, {word: own.find(word)[0] for word in own}, _speller(given.g2p))
    by_letters, breaks = 0, list(text.breaks)
    for clause in spoken(text.text):
        told = pronouncer.clause(clause, text.fixed)
        by_letters += sum(one.origin == "letters" and not one.word.spelt for one in told)
        sys.stdout.write(_words(told) if given.words else _line(told, breaks) + "\n")
    if by_letters:
        many = "word" if by_letters == 1 else "words"
        sys.stderr.write(f"{by_letters} {many} in no lexicon, said letter by letter; give --g2p, or --own\n")
    return 0


def _line(told: Sequence[Pronounced], breaks: list[Break]) -> str:
    """Phones of a clause, words with bars between them, and the pauses before each, which are taken off the list."""
    said = []
    for one in told:
        pauses = []
        while breaks and breaks[0].at <= one.word.start:
            pauses.append(f"({breaks.pop(0).seconds:g}) ")
        said.append("".join(pauses) + " ".join(one.phones))
    return " | ".join(said)


def _words(told: Sequence[Pronounced]) -> str:
    return "".join(f"{one.word.text}\t{' '.join(one.phones)}\t{one.origin}\n" for one in told)


def _speller(path: Path | None) -> Callable[[Sequence[str]], list[Phones]] | None:
    """Phones of words by a network that translates spellings."""
    if path is None:
        return None
    from seqgen.cli.opened import opened
    from seqgen.tasks.contract import Translating
    from seqgen.text.pronounced.phones import phones

    task, system = opened(path, "", objective=False)

    def spell(words: Sequence[str]) -> list[Phones]:
        said: list[str] = []
        task.translate(system, [word.encode() for word in words], said.append, Translating())
        return [phones(line) if line else () for line in "".join(said).split("\n")[: len(words)]]

    return spell
