"""Text that grows: the same sound and the same times however it is cut, as soon as they are certain."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.errors import SeqgenError
from seqgen.runtime.speech import Moment, Piece
from seqgen.text.pronounced.aloud import AloudReader, read_aloud
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.markup import is_markup, may_become_markup, script_of
from seqgen.text.pronounced.overrides import MarkReader, marked
from seqgen.text.pronounced.pronouncer import Pronouncer
from seqgen.text.spoken.splitter import Splitter
from serving.streams.sound import MAX_UNSPOKEN, InputFormat, SoundPipeline, SoundRequest
from tests.serving.plain_speaker import plain_voice

DOCUMENT = (
    '<?xml version="1.0"?> <speak>A <mark name="one"/><break time="50ms"/><mark name="two"/>tea. '
    '<mark name="three"/>Yes.<mark name="end"/></speak>'
)
TEXTS = (
    "Dr. Tea paid $5.30, didn't she? Yes… “The [tea](/Y EH1 S/) is 3.5 km off!” – “A Tea.” (Yes)",
    "Ça va? Thé [a](b) [tea](/T IY",
    DOCUMENT,
    "<speakers <a. Tea",
    " \n ",
    "",
)
VOICE = plain_voice()
READER = VOICE.reader
assert READER is not None


def said(pieces: Iterable[Piece] | str) -> tuple[bytes, list[Moment]]:
    """Sound and times of a text at a temperature, where noise shows every place that is not the same."""
    times: list[Moment] = []
    assert READER is not None
    sound = [block.tobytes() for block in READER.speak(pieces, 0.5, 3, times.append)]
    return b"".join(sound), times


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


def phones_of(word: Moment, times: list[Moment]) -> list[str]:
    """Phones that are said while a word is."""
    stop = word.start + word.duration - 1e-9
    return [one.text for one in times if one.kind == "phone" and word.start <= one.start < stop]


@pytest.mark.parametrize("text", TEXTS)
def test_byte_by_byte_it_is_the_same(text: str) -> None:
    data = text.encode()
    assert said(cut(data, range(len(data)))) == said(list(text)) == said(text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_any_cut_gives_the_same_sound_and_times(data: st.DataObject) -> None:
    word = st.sampled_from(["a", "tea", "Tea", "3.5", "Dr.", "é", "[tea](/Y EH1/)", "[", "](", "“", "<speak>", "1,000"])
    mark = st.sampled_from([" ", ". ", ", ", "? ", "!\n\n", "… ", ".", ": "])
    text = "".join(data.draw(st.lists(st.one_of(word, mark), max_size=40)))
    if is_markup(text):
        text = "a" + text
    whole = text.encode()
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=20))
    assert said(cut(whole, places)) == said(text)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["tea " * 99, "ab", "1, " * 80, "x" * 700, " ", "a. "]), min_size=1, max_size=20),
    st.data(),
)
def test_text_without_an_end_is_cut_at_the_same_places(parts: list[str], data: st.DataObject) -> None:
    pronouncer = Pronouncer(Lexicon.of_lines(["tea T IY1"]))
    text = "".join(parts)

    def read(pieces: Iterable[str]) -> list[list[int]]:
        reader, made = AloudReader(pronouncer), []
        for piece in pieces:
            reader.push(piece)
            while (told := reader.take()) is not None:
                made.append(told.tokens.tolist())
            assert reader.waiting <= 1000
        reader.finish()
        while (told := reader.take()) is not None:
            made.append(told.tokens.tolist())
        assert reader.finished
        return made

    places = data.draw(st.lists(st.integers(0, len(text)), max_size=20))
    pieces = [text[start:stop] for start, stop in itertools.pairwise([0, *sorted(places), len(text)])]
    assert read(pieces) == [one.tokens.tolist() for one in read_aloud(script_of(text), pronouncer)]


def test_a_sentence_is_said_with_the_first_letter_behind_it() -> None:
    """And no sooner: a point may be one of a number or of an abbreviation."""
    assert READER is not None
    speech = READER.speech()
    came = []
    for letter in "Yes, a tea. (“A":
        speech.push(letter)
        came.append(speech.take() is not None)
        while speech.take() is not None:
            pass
    assert came == [False] * 14 + [True]


def test_times_follow_from_the_sound() -> None:
    """Phones have no gaps and last as long as the sound; a word lasts from its first phone to its last one."""
    for text in TEXTS:
        sound, times = said(text)
        rate, hop = VOICE.sample_rate, VOICE.features.hop
        phones = [one for one in times if one.kind == "phone"]
        edges = [round(one.start * rate / hop) for one in phones]
        lasts = [round(one.duration * rate / hop) for one in phones]
        assert edges == np.cumsum([0, *lasts])[:-1].tolist()
        assert sum(lasts) * hop * 4 == len(sound)
        assert [one.start for one in times] == sorted(one.start for one in times)
        for word in (one for one in times if one.kind == "word"):
            assert phones_of(word, times)
            assert "SIL" not in phones_of(word, times)


def test_words_say_what_they_stand_for() -> None:
    text = "The [tea](/Y EH1 S/) is 3.5 km."
    _, times = said(text)
    words = [one for one in times if one.kind == "word"]
    read = "The tea is 3.5 km."
    assert [(one.text, read[slice(*one.place)]) for one in words] == [
        ("the", "The"), ("tea", "tea"), ("is", "is"), ("three", "3.5 km"), ("point", "3.5 km"), ("five", "3.5 km"),
        ("kilometers", "3.5 km"),
    ]  # fmt: skip
    (tea,) = (one for one in words if one.text == "tea")
    assert phones_of(tea, times) == ["Y", "EH1", "S"]


def test_marks_are_where_what_follows_them_begins() -> None:
    sound, times = said(DOCUMENT)
    marks = {one.text: one.start for one in times if one.kind == "mark"}
    words = {one.text: one.start for one in times if one.kind == "word"}
    assert marks["two"] == words["tea"]
    assert marks["one"] == pytest.approx(words["tea"] - 0.05)
    assert marks["three"] == words["yes"]
    assert marks["end"] == pytest.approx(len(sound) / 4 / VOICE.sample_rate)
    assert [one.text for one in said('<speak><mark name="x"/></speak>')[1]] == ["x", "SIL"]


def test_a_flush_says_what_there_is() -> None:
    """All of its sound comes before any more of the text, and what follows is said as it would be behind a paragraph,
    after as much silence as the vocoder looks ahead."""
    asked = []

    def pieces() -> Iterator[Piece]:
        for piece in ("Yes, a te", "a", None, None, "A tea", None):
            yield piece
            asked.append(piece)

    assert READER is not None
    heard = [(len(asked), len(block)) for block in READER.speak(pieces(), 0.5, 3)]
    _, times = said(list(pieces()))
    starts = [one.start for one in times if one.kind == "word" and one.text == "a"]
    first = sum(size for count, size in heard if count < 4) / VOICE.sample_rate
    silences = [one for one in times if one.text == "SIL" and one.start + one.duration <= starts[-1] + 1e-9][-3:]
    assert silences[0].start + silences[0].duration <= first + 1e-9
    assert silences[1].duration == pytest.approx(READER.look_ahead * VOICE.features.hop / VOICE.sample_rate)
    assert first < starts[-1]
    places = [one.place for one in times if one.kind == "word"]
    assert places == [(0, 3), (5, 6), (7, 10), (10, 11), (12, 15)]
    assert len([one for one in times if one.text == "SIL"]) == 3 + 1 + 2 + 1


def test_what_is_no_text_is_refused() -> None:
    for pieces, why in (
        ([b"\xff"], "not UTF-8"),
        ([b"a\xc3"], "within a character"),
        ([b"a\xc3", None], "within a character"),
        ([b"a\xc3", "b"], "within a character"),
        (["Say [it](/QQ/)"], "QQ"),
        (["<speak>", "A"], "line 1"),
    ):
        with pytest.raises(SeqgenError, match=why):
            said(pieces)


def test_marks_are_taken_off_growing_text() -> None:
    for text in ("[a](/AH0/) [b] [c](/B/x) [[d](/D/)](/", "[" * 500 + "](/B/)", "[x\n](/B/)", "[](/B/)[a](/[b](/B/)"):
        reader = MarkReader()
        made = [*(reader.feed(letter) for letter in text), reader.flush()]
        assert "".join(one.text for one in made) == marked(text).text
        assert tuple(fixed for one in made for fixed in one.fixed) == marked(text).fixed
    long = MarkReader()
    assert long.feed("[" + "a" * 150).text == ""
    assert len(long.feed("a" * 100).text) == 251


def test_a_document_is_told_by_its_beginning() -> None:
    for text in (DOCUMENT, " <speak>", "<speak\n", "<speaker>", "Tea", "<?xml ?>Tea", " " * 2000):
        known = [is_markup(text[:size]) for size in range(len(text) + 1)]
        waits = [may_become_markup(text[:size]) for size in range(len(text) + 1)]
        assert not any(one and other for one, other in zip(known, waits, strict=True))
        assert sorted(waits, reverse=True) == waits
        assert is_markup(text) == any(known)


def test_a_cut_of_what_is_uncertain() -> None:
    splitter = Splitter()
    assert splitter.feed("one two") == []
    assert [word.text for clause in splitter.cut() for word in clause.words] == ["one"]
    assert (splitter.waiting, splitter.read) == (3, 4)
    assert [word.text for clause in splitter.cut() for word in clause.words] == ["two"]


@pytest.mark.parametrize("piece", ["The tea is a tea. ", "tea ", "😀 ", "[tea](/T IY1/), "])
def test_an_hour_of_text_takes_no_memory(piece: str) -> None:
    assert READER is not None

    def held(count: int) -> int:
        speech = READER.speech(0.0)
        tracemalloc.start()
        for _ in range(count):
            speech.push(piece)
            while speech.take() is not None:
                speech.moments()
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert speech.waiting <= 1000
        return kept

    held(100)
    assert held(1200) < held(200) + 60_000


def played(pipeline: SoundPipeline) -> bytes:
    """Bytes of all that can be made now."""
    made = b""
    while (shape := pipeline.shape(4)) is not None:
        step = pipeline.step(shape, 4)
        assert step is not None
        (audio,) = pipeline.vocoder.advance([step])
        made += pipeline.encode(audio)
    return made


def test_a_stream_speaks_before_its_text_ends() -> None:
    request = SoundRequest(form="f32", input=InputFormat("text", temperature=0.5))
    pipeline = SoundPipeline(VOICE, request)
    data = TEXTS[0].encode()
    parts = []
    for place in range(len(data)):
        pipeline.push(data[place : place + 1])
        parts.append(played(pipeline))
    assert not pipeline.finished
    pipeline.finish()
    parts.append(played(pipeline))
    assert pipeline.finished
    assert sum(map(bool, parts[:-1])) >= 2
    assert READER is not None
    whole = b"".join(block.tobytes() for block in READER.speak(TEXTS[0], 0.5))
    assert b"".join(parts) + pipeline.ending() == whole


def test_more_text_than_may_wait_is_refused() -> None:
    pipeline = SoundPipeline(VOICE, SoundRequest(form="f32", input=InputFormat("text")))
    pipeline.push(b"<speak>")
    with pytest.raises(SeqgenError, match="wait to be spoken"):
        pipeline.push(b"tea " * (MAX_UNSPOKEN // 4))
