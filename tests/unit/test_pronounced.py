"""Words as phones: the lexicon and its file, heteronyms by context, what a text or a user gives, and the command."""

from __future__ import annotations

import doctest
import gzip
import importlib
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seqgen.errors import SeqgenError
from seqgen.text.pronounced.heteronyms import told_apart
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.overrides import marked
from seqgen.text.pronounced.phones import PHONES, phones
from seqgen.text.pronounced.pronouncer import Pronounced, Pronouncer
from seqgen.text.spoken.splitter import spoken
from tests.unit.cli_workspace import done, refused

DICTIONARY = Path(__file__).parents[3] / "shared/data/text/cmudict.dict.gz"
LINES = """\
;;; a small dictionary
a AH0
apple AE1 P AH0 L
book B UH1 K
books B UH1 K S
bus B AH1 S
cat K AE1 T
fox F AA1 K S
heart HH AA1 R T
judge JH AH1 JH
like L AY1 K
make M EY1 K
read R EH1 D
read(2) R IY1 D  # now
rub R AH1 B
the DH AH0
wait W EY1 T
worm W ER1 M
"""


def lexicon() -> Lexicon:
    return Lexicon.of_lines(LINES.splitlines())


def told(text: str, pronouncer: Pronouncer | None = None) -> list[Pronounced]:
    pronouncer = Pronouncer(lexicon()) if pronouncer is None else pronouncer
    given = marked(text)
    return [one for clause in spoken(given.text) for one in pronouncer.clause(clause, given.fixed)]


def said(text: str, pronouncer: Pronouncer | None = None) -> list[str]:
    return [" ".join(one.phones) for one in told(text, pronouncer)]


@pytest.mark.parametrize("name", ["phones", "lexicon", "heteronyms", "overrides", "pronouncer", "appended", "aloud"])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"seqgen.text.pronounced.{name}")).failed == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HH AH0 L OW1", "HH AH0 L OW1"),
        ("K AE T", "K AE0 T"),
        ("təˈmeɪtoʊ", "T AH0 M EY1 T OW0"),
        ("ˈtʃɜːrtʃ", "CH ER1 CH"),
        ("ˌɪntəˈnæʃənəl", "IH2 N T AH0 N AE1 SH AH0 N AH0 L"),
        ("ˈdʒʌdʒ", "JH AH1 JH"),
        ("ˈɔɪ.stər", "OY1 S T ER0"),
        ("θɪŋ", "TH IH0 NG"),
        ("ˈviːʒən", "V IY1 ZH AH0 N"),
    ],
)
def test_phones_are_read_in_either_alphabet(text: str, expected: str) -> None:
    assert phones(text) == tuple(expected.split())
    assert set(phones(text)) <= set(PHONES)


@pytest.mark.parametrize(("text", "named"), [("q9", "'q' is no phone"), ("HH XX", "'H' is no phone"), (" ", "nothing")])
def test_what_is_no_phone_is_named(text: str, named: str) -> None:
    with pytest.raises(SeqgenError, match=named):
        phones(text)


def test_a_lexicon_keeps_every_pronunciation_once() -> None:
    made = Lexicon.of_lines(
        ["Read R EH1 D", "read(2)\tR IY1 D", "read(3) R EH1 D", "", "# nothing", "tomato /təˈmɑːtoʊ/"]
    )
    assert made.find("read") == [("R", "EH1", "D"), ("R", "IY1", "D")]
    assert made.find("tomato") == [("T", "AH0", "M", "AA1", "T", "OW0")]
    assert made.find("Read") == []
    assert len(made) == 2
    again = Lexicon.read(made.packed())
    assert [again.find(word) for word in again] == [made.find(word) for word in sorted(made)]
    assert len(Lexicon.read(Lexicon({}).packed())) == 0


def test_files_that_are_no_lexicon_are_named(tmp_path: Path) -> None:
    place = tmp_path / "l"
    place.write_text("cat K AE1 T\ndog D QQ G\n")
    with pytest.raises(SeqgenError, match=r"l:2: 'D QQ G' is no pronunciation"):
        Lexicon.open(place)
    place.write_bytes(lexicon().packed()[:40])
    with pytest.raises(SeqgenError, match="damaged lexicon"):
        Lexicon.open(place)
    place.write_bytes(gzip.compress(LINES.encode()))
    assert sorted(Lexicon.open(place)) == sorted(lexicon())
    place.write_bytes(gzip.compress(LINES.encode())[:-20])
    with pytest.raises(SeqgenError, match="give a lexicon"):
        Lexicon.open(place)
    with pytest.raises(SeqgenError, match="No such file"):
        Lexicon.open(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "phone", "word"),
    [
        ("to read a book", "IY1", "read"),
        ("i will read it", "IY1", "read"),
        ("i have read it", "EH1", "read"),
        ("it was read aloud", "EH1", "read"),
        ("they read it yesterday", "EH1", "read"),
        ("she read the book", "EH1", "read"),
        ("they read books", "IY1", "read"),
        ("the lead pipe", "EH1", "lead"),
        ("made of lead", "EH1", "lead"),
        ("she will lead us", "IY1", "lead"),
        ("they live here", "IH1", "live"),
        ("live music", "AY1", "live"),
        ("a live broadcast", "AY1", "live"),
        ("he lives here", "IH1", "lives"),
        ("their lives", "AY1", "lives"),
        ("close the door", "Z", "close"),
        ("stand close to me", "S", "close"),
        ("a close call", "S", "close"),
        ("to wind the clock", "AY1", "wind"),
        ("the wind blows", "IH1", "wind"),
        ("the record", "EH1", "record"),
        ("please record this", "AO1", "record"),
        ("in use", "S", "use"),
        ("you use it", "Z", "use"),
        ("a tear fell", "IH1", "tear"),
        ("do not tear it", "EH1", "tear"),
        ("the apple", "IY0", "the"),
        ("the cat", "AH0", "the"),
        ("a cat", "AH0", "a"),
    ],
)
def test_heteronyms_go_by_the_words_beside_them(text: str, phone: str, word: str) -> None:
    words = text.split()
    found = told_apart(words, words.index(word))
    assert found is not None
    assert phone in found


def test_the_goes_by_the_sound_of_what_follows() -> None:
    assert told_apart(["the", "hour"], 0, ("AW1", "ER0")) == ("DH", "IY0")
    assert told_apart(["the", "one"], 0, ("W", "AH1", "N")) == ("DH", "AH0")
    assert told_apart(["cat"], 0) is None


def test_words_say_where_they_are_from() -> None:
    spelt = Pronouncer(lexicon(), {"nasa": phones("N AE1 S AH0")}, lambda words: [("Z", "AO1", "R") for _ in words])
    found = {
        one.word.text: one.origin for one in told("The cat's books, NASA, zorgle, BBC and a [bus](/B UW1 S/).", spelt)
    }
    assert found == {
        "the": "context", "cat's": "derived", "books": "lexicon", "nasa": "own", "zorgle": "spelling", "b": "letters",
        "c": "letters", "and": "spelling", "a": "context", "bus": "given",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("cats", "K AE1 T S"),
        ("rubs", "R AH1 B Z"),
        ("buses", "B AH1 S IH0 Z"),
        ("judges", "JH AH1 JH IH0 Z"),
        ("foxes", "F AA1 K S IH0 Z"),
        ("cat's", "K AE1 T S"),
        ("liked", "L AY1 K T"),
        ("waited", "W EY1 T IH0 D"),
        ("making", "M EY1 K IH0 NG"),
        ("bookworm", "B UH1 K W ER2 M"),
    ],
)
def test_endings_and_compounds_follow_from_what_is_known(word: str, expected: str) -> None:
    assert said(word) == [expected]


def test_letters_are_said_by_their_names() -> None:
    assert said("xqz") == ["EH1 K S K Y UW1 Z IY1"]
    assert said("CDs") == ["S IY1", "D IY1 Z"]
    assert said("blorf") == ["B IY1 EH1 L OW1 AA1 R EH1 F"]


def test_what_a_text_gives_goes_before_all_else() -> None:
    own = Pronouncer(lexicon(), {"cat": phones("K UH1 T"), "read": phones("R AA1 D")})
    assert said("A cat.", own) == ["AH0", "K UH1 T"]
    assert said("To read", own)[1] == "R AA1 D"  # whatever the context says
    assert said("A [cat](/ˈkɑt/).", own) == ["AH0", "K AA1 T"]
    assert said("[3.5 km](/K AE1 T/) on", own)[0] == "K AE1 T"  # four words in one
    assert said("[cat](/K AE1 T/)(s)", own)[0] == "K AE1 T"


def test_places_are_those_of_the_text_without_marks() -> None:
    given = marked("A [cat](/K AE1 T/) and [a dog](/D AO1 G/)!")
    assert given.text == "A cat and a dog!"
    assert [given.text[start:stop] for start, stop, _ in given.fixed] == ["cat", "a dog"]
    assert marked("[a](b) [c] (/d/)").text == "[a](b) [c] (/d/)"


def test_every_word_of_any_text_has_phones() -> None:
    make = random.Random(0)
    pronouncer = Pronouncer(lexicon())
    for _ in range(200):
        text = "".join(
            chr(make.choice([make.randint(32, 126), make.randint(160, 0x2FF), 10, 0x1F600])) for _ in range(60)
        )
        for clause in spoken(text):
            found = pronouncer.clause(clause)
            assert len(found) == len(clause.words)
            assert all(one.phones and set(one.phones) <= set(PHONES) for one in found)


def test_threads_pronounce_alike() -> None:
    pronouncer, text = Pronouncer(lexicon()), "The cat's apple, a worm's heart: I read, he liked CDs. " * 20
    expected = said(text, pronouncer)
    with ThreadPoolExecutor(8) as pool:
        assert all(one == expected for one in pool.map(lambda _: said(text, pronouncer), range(32)))


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(LINES)
    made = done("data", "lexicon", tmp_path / "words.txt", "-o", tmp_path / "l")
    assert made.err.startswith(f"{tmp_path / 'l'}: {len(lexicon())} words, ")
    (tmp_path / "own.txt").write_text("zorgle Z AO1 R G AH0 L\n")
    given = ("pronounce", "--lexicon", tmp_path / "l")
    assert (
        done(*given, "--own", tmp_path / "own.txt", "The zorgle; a cat.").out
        == "DH AH0 | Z AO1 R G AH0 L\nAH0 | K AE1 T\n"
    )
    told = done(*given, "--words", "The grblx")
    assert told.out.splitlines()[0] == "the\tDH AH0\tcontext"
    refused(*given, "[x](/9/)", named=("'9' is no phone",))
    refused("pronounce", "--lexicon", tmp_path / "none", "a", named=("No such file",))
    (tmp_path / "empty").write_text("# nothing\n")
    refused("data", "lexicon", tmp_path / "empty", "-o", tmp_path / "m", named=("no word",))
    assert not (tmp_path / "m").exists()


def test_no_torch_is_needed() -> None:
    code = "import sys, seqgen.text.pronounced.pronouncer; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.skipif(not DICTIONARY.is_file(), reason="needs ../shared/data/text/cmudict.dict.gz")
def test_a_whole_dictionary_is_small_and_loses_nothing() -> None:
    whole = Lexicon.open(DICTIONARY)
    data = whole.packed()
    again = Lexicon.read(data)
    assert len(data) < 650_000
    assert len(again) == len(whole) > 120_000
    assert all(again.find(word) == whole.find(word) for word in whole)
    assert said("Through thorough thought, though tough, he coughed.", Pronouncer(again)) == [
        "TH R UW1", "TH ER1 OW0", "TH AO1 T", "DH OW1", "T AH1 F", "HH IY1", "K AO1 F T"
    ]  # fmt: skip
