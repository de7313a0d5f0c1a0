"""Texts that nobody should have to read aloud: every word has a phone or is skipped by a rule, in bounded time and
memory, by any number of threads."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.errors import SeqgenError
from seqgen.text.pronounced.aloud import ALPHABET, read_aloud
from seqgen.text.pronounced.heteronyms import told_apart
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.markup import Script, is_markup, script_of
from seqgen.text.pronounced.phones import PHONES
from seqgen.text.pronounced.pronouncer import Pronouncer
from seqgen.text.spoken import splitter
from seqgen.text.spoken.splitter import Splitter, spoken
from tests.unit.hostile_lines import KINDS, hostile_line, hostile_lines, long_lines
from tests.unit.test_pronounced import lexicon
from tests.unit.test_spoken import LINES, check_laws

UNCERTAIN = 1000

SENTENCE = 900
"""Phones and silences of the longest sentence: it ends with a word, and a word is cut."""


def read(text: str) -> Script | None:
    """The script of a text; of one that is refused ``None``: only marks of one's own and documents are."""
    try:
        return script_of(text)
    except SeqgenError:
        if is_markup(text) or "](/" in text:
            return None
        raise


def check(text: str, pronouncer: Pronouncer) -> bool:
    """What holds of any line; whether it was read."""
    script = read(text)
    if script is None:
        return False
    check_laws(script.text)
    words = [one for clause in spoken(script.text) for one in pronouncer.clause(clause, script.fixed)]
    assert all(one.phones and set(one.phones) <= set(PHONES) for one in words)
    sentences = list(read_aloud(script, pronouncer))
    assert sentences
    assert all(0 < len(one.tokens) < SENTENCE for one in sentences)
    said = [ALPHABET[token] for one in sentences for token in one.tokens if token]
    whole = [phone for one in words for phone in one.phones]
    # What has no certain end within a thousand characters is cut where it is, be it within a word.
    assert said == whole if len(script.text) < UNCERTAIN else bool(said) == bool(whole)
    assert all(np.isfinite(one.rate).all() and (one.rate > 0).all() for one in sentences)
    assert all(np.isfinite(one.octaves).all() and (one.nats < 3).all() for one in sentences)
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_is_said_or_skipped_by_a_rule(kind: str) -> None:
    first, pronouncer = list(KINDS).index(kind), Pronouncer(lexicon())
    done = [check(hostile_line(seed), pronouncer) for seed in range(first, 30 * len(KINDS), len(KINDS))]
    assert any(done)


@given(st.integers(0, 1 << 40))
def test_any_hostile_line(seed: int) -> None:
    check(hostile_line(seed), Pronouncer(lexicon()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$.50", "fifty cents"),
        ("$.00", "zero dollars"),
        (f"${'9' * 4400}.50", f"{'nine ' * 4400}dollars and fifty cents"),
        ("-".join("1" * 200), ""),
        (f"{'1-' * 200}1a", ""),
        (f"1{',000' * 60}0", ""),
    ],
)
def test_figures_without_end(text: str, words: str) -> None:
    found = [word for clause in spoken(text) for word in clause.words]
    check_laws(text)
    assert not words or " ".join(word.text for word in found) == words
    figures = sum(word.text in ("one", "zero", "nine") for word in found)
    assert words or figures == sum(letter in "019" for letter in text)


class Counted(list[str]):
    """Words that count how many are looked at."""

    seen = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.seen += len(found) if isinstance(at, slice) else 1
        return found

    def __iter__(self) -> Iterator[str]:
        self.seen += len(self)
        return super().__iter__()


def test_what_is_looked_at_for_a_word_is_bounded() -> None:
    words = Counted(["read"] * 5000)
    assert told_apart(words, 2500) == ("R", "IY1", "D")
    assert words.seen < 300
    words[2400] = "yesterday"
    assert told_apart(words, 2500) == ("R", "EH1", "D")
    known = lexicon()
    asked: list[str] = []
    find = known.find
    known.find = lambda word: asked.append(word) or find(word)  # type: ignore[func-returns-value, method-assign]
    assert len(Pronouncer(known).clause(spoken("blorf" * 1000)[0])[0].phones) >= 5000
    assert len(asked) < 40


def test_pronunciations_that_are_kept_are_bounded() -> None:
    pronouncer = Pronouncer(lexicon())
    for number in range(20_000):
        pronouncer.clause(
            spoken(f"x{'abcdefghij'[number % 10]}{number}".translate(str.maketrans("0123456789", "qrstuvwxyz")))[0]
        )
    pronouncer.clause(spoken("z" * 100)[0])
    kept = pronouncer._kept.cache_info()
    assert kept.currsize <= kept.maxsize == 1 << 14


def minutes(count: int) -> str:
    """Sentences of four minutes, so many times."""
    dice, lines = random.Random(1), [line.text for line in LINES if "\n" not in line.text]
    return " ".join([dice.choice(lines) for _ in range(100)] * count)


def peak(text: str) -> int:
    """Bytes that reading a text again takes at most; those that the interpreter keeps for later are there then."""
    pronouncer = Pronouncer(lexicon())
    script = Script(text)
    deque(read_aloud(script, pronouncer), 0)
    tracemalloc.start()
    deque(read_aloud(script, pronouncer), 0)
    made = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return made


@pytest.mark.parametrize("make", [minutes, "word one two three word ".__mul__], ids=["sentences", "no mark"])
def test_a_long_text_takes_the_memory_of_a_short_one(
    make: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitter, "_LONGEST", 2000)
    few, many = (3, 14) if make is minutes else (250, 1000)
    assert peak(make(many)) < peak(make(few)) + 400_000


@pytest.mark.soak
def test_an_hour_takes_the_memory_of_minutes() -> None:
    assert len(minutes(45)) > 50_000
    assert peak(minutes(45)) < peak(minutes(8)) + 400_000


def test_a_text_without_marks_is_read_in_stretches() -> None:
    text = "seven words that have no mark behind " * 2000
    clauses = spoken(text)
    assert 1 < len(clauses) < 20
    assert [word.text for clause in clauses for word in clause.words] == text.split()
    reader = Splitter()
    pieces = (text[at : at + 7] for at in range(0, len(text), 7))
    assert [one for piece in pieces for one in reader.feed(piece)] + reader.flush() == clauses


def tokens(texts: list[str], pronouncer: Pronouncer) -> list[list[int]]:
    return [one.tokens.tolist() for text in texts if (script := read(text)) for one in read_aloud(script, pronouncer)]


def check_threads(texts: list[str], known: Lexicon) -> int:
    """32 threads that begin at other places of the same texts say what one says; how many words they said."""
    expected = dict(zip(texts, (tokens([text], Pronouncer(known)) for text in texts), strict=True))
    shared, interval = Pronouncer(known), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def go(number: int) -> int:
        at = number * len(texts) // 32
        return sum(tokens([text], shared) != expected[text] for text in [*texts[at:], *texts[:at]])

    try:
        with ThreadPoolExecutor(32) as pool:
            assert sum(pool.map(go, range(32))) == 0
    finally:
        sys.setswitchinterval(interval)
    return 32 * sum(len(text.split()) for text in texts)


def test_threads_share_a_pronouncer() -> None:
    texts = [*(line.text for line in LINES[::9]), *hostile_lines(32)]
    assert check_threads(list(dict.fromkeys(texts)), lexicon()) > 10_000


@pytest.mark.soak
def test_ten_thousand_hostile_lines() -> None:
    pronouncer = Pronouncer(lexicon())
    assert sum(check(line, pronouncer) for line in hostile_lines(10_000)) > 9000


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [name for name, _ in long_lines(10)])
def test_lines_of_a_megabyte(name: str) -> None:
    """Within seconds; what took time with the square of its length would take hours."""
    text = dict(long_lines(1 << 20))[name]
    script = read(text)
    assert script is not None or "](/" in text
    if script is not None:
        assert max(len(one.tokens) for one in read_aloud(script, Pronouncer(lexicon()))) < SENTENCE


@pytest.mark.soak
def test_threads_and_a_million_words() -> None:
    texts = [*(line.text for line in LINES), *hostile_lines(1600)]
    assert check_threads(list(dict.fromkeys(texts)) * 2, lexicon()) > 1_000_000
