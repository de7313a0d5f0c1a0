"""Written English as clauses of spoken words: what each line is read as, and the laws of any text."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import itertools
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.errors import SeqgenError
from seqgen.text.spoken import normalise, splitter
from seqgen.text.spoken.characters import SILENT, plain, reason
from seqgen.text.spoken.clauses import ENDS, Clause, Skipped, Word
from seqgen.text.spoken.splitter import Sentences, Splitter, skipped, spoken

TABLE = Path(__file__).parent / "spoken_lines.tsv"
MARKS = {
    ".": "statement",
    "?": "question",
    "!": "exclamation",
    ",": "comma",
    "(": "bracket",
    "-": "dash",
    ":": "colon",
    ";": "semicolon",
    "…": "ellipsis",
    "¶": "paragraph",
}
"""How the table writes the ends of a line's clauses."""


class Line(NamedTuple):
    """A line of the table: the text, its words with letters that are spelt as capitals, and the ends where given."""

    number: int
    text: str
    words: str
    ends: tuple[str, ...] | None


def unescaped(text: str) -> str:
    """The text of a line: control characters are written as in Python."""
    named = {"n": "\n", "r": "\r", "t": "\t"}
    return re.sub(
        r"\\(?:u(\w{4})|x(\w\w)|([nrt]))",
        lambda found: named[found[3]] if found[3] else chr(int(found[1] or found[2], 16)),
        text,
    )


def read_table() -> Iterator[Line]:
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").split("\n")[:-1], 1):
        text, words, *marks = line.split("\t")
        ends = tuple(MARKS[mark] for mark in marks[0]) if marks else None
        yield Line(number, unescaped(text), words, ends)


LINES = list(read_table())


def written(clauses: list[Clause]) -> str:
    """Clauses as the table writes them."""
    return " | ".join(
        " ".join(word.text[0].upper() + word.text[1:] if word.spelt else word.text for word in clause.words)
        for clause in clauses
    )


def fed(text: str, cuts: list[int]) -> tuple[list[Clause], list[Skipped]]:
    """Clauses of a text that comes in pieces."""
    reader = Splitter()
    places = [0, *sorted(cuts), len(text)]
    given = [one for start, stop in itertools.pairwise(places) for one in reader.feed(text[start:stop])]
    return given + reader.flush(), reader.skipped


def check_laws(text: str) -> None:
    """What holds of any text: words are letters, places lie in it in order, and every character is accounted for."""
    clauses, left = spoken(text), skipped(text)
    words = [word for clause in clauses for word in clause.words]
    assert all(clause.words for clause in clauses)
    assert {clause.end for clause in clauses} <= set(ENDS)
    assert all(re.fullmatch(r"[a-z']*[a-z][a-z']*", word.text) for word in words)
    assert all(re.fullmatch(r"[a-z]('s)?", word.text) for word in words if word.spelt)
    assert all(0 <= word.start < word.stop <= len(text) for word in words)
    starts = [word.start for word in words]
    assert starts == sorted(starts)
    stops = [word.stop for word in words]
    assert stops == sorted(stops)
    assert left == sorted(left)
    said = {at for word in words for at in range(word.start, word.stop)}
    passed = {at for one in left for at in range(one.start, one.stop)}
    rest = {plain(one) for at, one in enumerate(text) if at not in said | passed and not one.isspace()}
    assert rest <= SILENT
    assert not said & passed


@pytest.mark.parametrize("line", LINES, ids=[str(line.number) for line in LINES])
def test_each_line_is_read_as_a_reader_would(line: Line) -> None:
    clauses = spoken(line.text)
    assert written(clauses) == line.words
    if line.ends is not None:
        assert tuple(clause.end for clause in clauses) == line.ends
    check_laws(line.text)


def test_the_table_is_large_and_says_nothing_twice() -> None:
    assert len(LINES) >= 500
    texts = [line.text for line in LINES]
    assert {text for text in texts if texts.count(text) > 1} == set()
    assert {mark for line in LINES for mark in line.ends or ()} == set(ENDS)


FRAGMENTS = sorted({piece for line in LINES for piece in re.split(r"(\s+)", line.text) if piece})
"""Pieces of the table's lines, spaces too: what rules wait for, out of order."""
TEXTS = st.lists(st.sampled_from([*FRAGMENTS, " ", " ", "\n", "\n\n", "\r\n", ". ", ", "]), max_size=24).map("".join)
WILD = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
MARKED = st.text("aAbI1205.,;:!?'\"-–—()/$%°#@x \n\r…½²éЖ\u0301\u200b😀", max_size=40)


@settings(max_examples=150)
@given(st.one_of(TEXTS, MARKED, WILD), st.lists(st.integers(0, 200), max_size=8))
def test_pieces_give_the_clauses_of_the_whole(text: str, cuts: list[int]) -> None:
    whole = spoken(text), skipped(text)
    assert fed(text, [cut % (len(text) + 1) for cut in cuts]) == whole
    assert fed(text, list(range(len(text)))) == whole


@settings(max_examples=150)
@given(st.one_of(TEXTS, MARKED, WILD))
def test_laws_hold_of_any_text(text: str) -> None:
    check_laws(text)


@pytest.mark.parametrize("between", [" ", "\n", "\n\n", "  \r\n"])
def test_a_long_text_is_the_same_in_any_pieces(between: str) -> None:
    dice = random.Random(7)
    lines = [line.text for line in LINES]
    dice.shuffle(lines)
    text = between.join(lines)
    whole = spoken(text), skipped(text)
    assert len(whole[0]) > 200
    for _ in range(4):
        assert fed(text, [dice.randrange(len(text)) for _ in range(300)]) == whole
    assert (spoken(text), skipped(text)) == whole


def test_paragraphs_do_not_know_of_each_other() -> None:
    """Lines as paragraphs are read as each by itself, at other places."""
    texts = [line.text for line in LINES if not re.search(r"[\n\r\u2029]", line.text)]
    expected, at = [], 0
    for text in texts:
        for clause in spoken(text):
            moved = (word._replace(start=word.start + at, stop=word.stop + at) for word in clause.words)
            expected.append(dataclasses.replace(clause, words=tuple(moved)))
        at += len(text) + 2
    assert spoken("\n\n".join(texts)) == expected


def test_clauses_come_as_soon_as_they_are_certain() -> None:
    reader = Splitter()
    pieces = ("It rains", ", ", "he", " said. ", "Dr. ", "Who is 3.", "5 ", "m tall! ", "“", "Yes", "\n\n", "b")
    said = [written(reader.feed(piece)) for piece in pieces]
    assert said[:5] == ["", "", "it rains", "", "he said"]
    assert said[5:] == ["", "", "", "", "doctor who is three point five meters tall", "", "yes"]
    assert written(reader.flush()) == "B"
    assert reader.flush() == []


def test_a_reader_counts_on_after_the_end_of_a_text() -> None:
    reader = Splitter()
    assert [clause.words[0].start for text in ("one", "two 😀") for clause in reader.feed(text) + reader.flush()] == [
        0,
        3,
    ]
    assert reader.skipped == [Skipped(7, 8, "emoji")]


def test_the_last_clause_of_a_paragraph_says_so() -> None:
    clauses = spoken("A cat, a dog. Now.\n\nIs it?\nYes. \n \n")
    assert [(clause.end, clause.last) for clause in clauses] == [
        ("comma", False),
        ("statement", False),
        ("statement", True),
        ("question", False),
        ("statement", True),
    ]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (
            "Dr. Lee paid $5.30!",
            [("doctor", "Dr."), ("lee", "Lee"), ("paid", "paid"), ("five", "$5.30"), ("cents", "$5.30")],
        ),
        (
            "on March 12, 2024",
            [("on", "on"), ("march", "March"), ("twelfth", "12"), ("twenty", "2024"), ("four", "2024")],
        ),
        ("the 5 May", [("fifth", "5"), ("of", "5"), ("may", "May")]),
        ("2024-03-12", [("march", "2024-03-12"), ("twelfth", "2024-03-12")]),
        ("“Don’t!”", [("don't", "Don’t")]),
        ("the BBC's", [("the", "the"), ("b", "BBC's"), ("c's", "BBC's")]),
        ("https://a-b.org", [("a", "https://a"), ("dash", "-"), ("b", "b"), ("dot", "."), ("org", "org")]),
        ("#MeToo", [("hashtag", "#"), ("me", "Me"), ("too", "Too")]),
        ("3:05 p.m.", [("oh", "3:05"), ("p", "p.m."), ("m", "p.m.")]),
        ("10–20 km", [("ten", "10–20 km"), ("kilometers", "10–20 km")]),
        ("1914–18", [("fourteen", "1914"), ("to", "–18"), ("eighteen", "–18")]),
        ("cafe\u0301s", [("cafes", "cafe\u0301s")]),
        ("555-0123", [("five", "555"), ("zero", "0123")]),
        ("+1 212 555 0187", [("plus", "+"), ("one", "1"), ("two", "212"), ("seven", "0187")]),
        ("12x34", [("twelve", "12"), ("by", "x"), ("thirty", "34")]),
        ("5 x 6", [("five", "5"), ("by", "x"), ("six", "6")]),
        ("5 - 6", [("five", "5"), ("minus", "-"), ("six", "6")]),
        ("2.5/3", [("two", "2.5"), ("slash", "/3"), ("three", "/3")]),
        ("1/2/3", [("one", "1"), ("slash", "/2"), ("three", "/3")]),
        ("A–Z", [("a", "A"), ("to", "–Z"), ("z", "–Z")]),
        ("a.py", [("a", "a"), ("dot", "."), ("y", "py")]),
        ("Jan.–Feb. 2020", [("january", "Jan."), ("to", "Feb."), ("twenty", "2020")]),
        ("Mon–Fri", [("monday", "Mon"), ("to", "Fri"), ("friday", "Fri")]),
        ("9 cups/day", [("nine", "9"), ("cups", "cups"), ("per", "/"), ("day", "day")]),
        ("10%–20%", [("percent", "10%"), ("to", "20%"), ("twenty", "20%")]),
        ("'tis 'it", [("'tis", "'tis"), ("it", "it")]),
        ("9 a.m. on", [("nine", "9"), ("a", "a.m."), ("on", "on")]),
    ],
)
def test_words_say_what_they_stand_for(text: str, pairs: list[tuple[str, str]]) -> None:
    words = [word for clause in spoken(text) for word in clause.words]
    found = [(word.text, text[word.start : word.stop]) for word in words]
    assert [pair for pair in pairs if pair not in found] == []
    assert [found.index(pair) for pair in pairs] == sorted(found.index(pair) for pair in pairs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 😀👍🏽 b", [(2, 5, "emoji")]),
        ("да, нет", [(0, 2, "script"), (4, 7, "script")]),
        ("a\x00\x07b", [(1, 3, "control")]),
        ("Acme™ → x", [(4, 5, "symbol"), (6, 7, "symbol")]),
        ("日本 and ελ", [(0, 2, "script"), (7, 9, "script")]),
        ("\ud800!", [(0, 1, "control")]),
        ("I ❤️ you", [(2, 4, "emoji")]),
        ("→→x", [(0, 2, "symbol")]),
        ("→€5 →ß →—", [(0, 1, "symbol"), (4, 5, "symbol"), (7, 8, "symbol")]),
        ("\x01-\x02", [(0, 1, "control"), (2, 3, "control")]),
        ("😀→", [(0, 1, "emoji"), (1, 2, "symbol")]),
        ("https://a.com/→x", [(14, 15, "symbol")]),
        ("plain (text): 'yes' [no] — 5%…", []),
        ("", []),
    ],
)
def test_what_is_not_spoken_is_told(text: str, expected: list[tuple[int, int, str]]) -> None:
    assert [tuple(one) for one in skipped(text)] == expected


def test_emoji_are_blocks_and_what_stands_beside() -> None:
    inside = "\u2600\u27bf\u2b00\u2bff\U0001f000\U0001faff\ufe0e\ufe0f\u20e3\U000e0020\U000e007f"
    outside = "\u25ff\u27c0\u2aff\u2c00\U0001efff\U0001fb00\ufe0d\ufe10\u20e2\u20e4\U000e001f\U000e0080"
    assert {reason(one) for one in inside} == {"emoji"}
    assert "emoji" not in {reason(one) for one in outside}
    assert skipped(f"a {inside} b") == [Skipped(2, 2 + len(inside), "emoji")]
    assert [reason(one) for one in "Ж語\u0903\x00\u2066→\u2e80"] == [
        *("script", "script", "script", "control", "control", "symbol", "script"),
    ]


@pytest.mark.parametrize("bad", [None, b"text", 5, ["text"]])
@pytest.mark.parametrize("read", [spoken, skipped, Splitter().feed])
def test_what_is_no_text_is_refused(read: Any, bad: Any) -> None:
    with pytest.raises(SeqgenError, match=f"text of type {type(bad).__name__}, not str; decode bytes first"):
        read(bad)


def test_clauses_cannot_be_changed() -> None:
    (clause,) = spoken("one")
    with pytest.raises(dataclasses.FrozenInstanceError):
        clause.end = "comma"  # type: ignore[misc]
    assert clause == Clause((Word("one", False, 0, 3),), "paragraph", True)


def test_threads_read_the_same() -> None:
    texts = [line.text for line in LINES]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(spoken, texts)) == list(map(spoken, texts))


def test_long_figures_are_read_one_by_one() -> None:
    (clause,) = spoken("7" * 10_000)
    assert [word.text for word in clause.words] == ["seven"] * 10_000


@pytest.mark.parametrize(
    "piece", ["The cat sat on 5 mats, and Mr. X ran. ", "word ", "1,", "((", "a.", "x@", "1/", "é"]
)
def test_every_character_is_looked_at_once(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large texts: each belongs to one stretch that is read, places only grow, cuts are weighed once."""
    text = (piece * 20_000)[: 200_000 if " " in piece else 20_000]
    stretches, places, weighed = [], [], []
    read, rule, cut = normalise.read, normalise._Reader._rule, splitter._cut

    def counted_read(part: str, offset: int, *, quoted: bool) -> normalise.Read:
        stretches.append(len(part))
        return read(part, offset, quoted=quoted)

    def counted_rule(self: Any, at: int) -> int:
        places.append(self.offset + at)
        return rule(self, at)

    def counted_cut(*given: Any) -> bool | None:
        weighed.append(given[2].start())
        return cut(*given)

    monkeypatch.setattr(normalise, "read", counted_read)
    monkeypatch.setattr(normalise._Reader, "_rule", counted_rule)
    monkeypatch.setattr(splitter, "_cut", counted_cut)
    spoken(text)
    assert sum(stretches) == len(text)
    assert all(before < after for before, after in itertools.pairwise(places))
    assert len(weighed) <= text.count(" ") + 1


def test_what_the_documents_show_is_so(repository: Path) -> None:
    section = (repository / "docs/text.md").read_text(encoding="utf-8").split("## 5. Text as it is spoken\n")[1]
    section = section.split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    shown = doctest.DocTestParser().get_doctest(block, {}, "docs/text.md", "docs/text.md", 0)
    assert len(shown.examples) == 2
    assert doctest.DocTestRunner().run(shown).failed == 0


@pytest.mark.parametrize("module", sorted(one.stem for one in Path(splitter.__file__).parent.glob("[a-z]*.py")))
def test_examples_of_the_docstrings_are_so(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"seqgen.text.spoken.{module}")).failed == 0


@pytest.mark.parametrize(
    "sentences",
    [
        ["It is Dr. White. ", "He says: “Hm. ", "Well”, no? ", "Yes"],
        ["A dot.com, at 5 p.m. or 3.5 o'clock. ", "New\n\n", "paragraph… ", "And (this!) ", "End."],
        ["no end at all, of any kind"],
        ["", ""],
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_growing_text_is_cut_into_its_sentences(sentences: list[str], size: int) -> None:
    text, cutter = "".join(sentences), Sentences()
    given = [cutter.feed(text[start : start + size]) for start in range(0, len(text), size)]
    pieces = [piece for piece in [*given, cutter.flush()] if piece]
    assert "".join(pieces) == text
    if size < 4:
        assert pieces == [sentence for sentence in sentences if sentence]
