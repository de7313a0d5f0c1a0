"""SSML: what is read of a document, where its marks are, and what is refused."""

from __future__ import annotations

import doctest
import math
import re
from pathlib import Path

import pytest

from seqgen.errors import SeqgenError
from seqgen.text.pronounced import markup
from seqgen.text.pronounced.markup import Break, Mark, is_markup, script
from seqgen.text.pronounced.phones import phones
from seqgen.text.spoken.splitter import spoken
from tests.unit.cli_workspace import done, refused


def words(document: str) -> list[str]:
    return [word.text for clause in spoken(script(f"<speak>{document}</speak>").text) for word in clause.words]


def test_examples() -> None:
    assert doctest.testmod(markup).failed == 0


def test_places_are_those_of_the_text() -> None:
    """Lines of the document are blanks of its text; every place is before or behind the characters it belongs to."""
    found = script(
        """<?xml version="1.0"?>
        <speak version="1.1">
          One <mark name="here"/>two<break time="250ms"/>
          <phoneme alphabet="ipa" ph="θɹi">three</phoneme> <prosody rate="slow">four
          <prosody pitch="+2st" rate="200%">five</prosody></prosody>.
        </speak>"""
    )
    assert found.text.strip() == "One two three four five."
    assert found.marks == (Mark(found.text.index("two"), "here"),)
    assert found.breaks == (Break(found.text.index("two") + 3, 0.25),)
    assert [(found.text[one.start : one.stop], one.phones) for one in found.fixed] == [("three", phones("θɹi"))]
    assert [(found.text[one.start : one.stop], one.rate, one.semitones) for one in found.prosody] == [
        ("four five", 0.75, 0.0),
        ("five", 1.5, 2.0),
    ]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('<say-as interpret-as="characters">BA7</say-as>', "b a seven"),
        ('<say-as interpret-as="telephone">+1 (555) 0100</say-as>', "one five five five zero one zero zero"),
        ('the <say-as interpret-as="ordinal">23</say-as>', "the twenty third"),
        ('<say-as interpret-as="date" format="dmy">9/4/2026</say-as>', "april ninth twenty twenty six"),
        ('<say-as interpret-as="date" format="md">4/9</say-as>', "april ninth"),
        ('<say-as interpret-as="date" format="my">4/2026</say-as>', "april twenty twenty six"),
        ('<say-as interpret-as="cardinal">12</say-as>', "twelve"),
        ('<sub alias="World Wide Web">WWW</sub> rules', "world wide web rules"),
        ("a &lt; b &amp; c", "a less than b and c"),
        ("<emphasis>so</emphasis> it is", "so it is"),
    ],
)
def test_what_is_said(document: str, said: str) -> None:
    assert " ".join(words(document)) == said


def test_sentences_and_paragraphs_end() -> None:
    """Where the text has no mark of its own; a mark that is there stays."""
    document = "<speak><p><s>One</s><s>Two!</s></p><p>Three</p>four</speak>"
    clauses = spoken(script(document).text)
    assert [(clause.words[0].text, clause.end, clause.last) for clause in clauses] == [
        ("one", "statement", False),
        ("two", "exclamation", True),
        ("three", "statement", True),
        ("four", "paragraph", True),
    ]


def test_a_letter_by_itself_is_its_name() -> None:
    """An A that is spelt is no article."""
    found = script('<speak><say-as interpret-as="characters">a</say-as></speak>')
    assert [one.phones for one in found.fixed] == [("EY1",)]


def test_voices_add_up() -> None:
    """Percentages with a sign are changes, without one they are of the whole; pitch in percent becomes semitones."""
    (one,) = script('<speak><prosody rate="+20%" pitch="-50%" volume="soft">x</prosody></speak>').prosody
    assert one.rate == pytest.approx(1.2)
    assert one.semitones == pytest.approx(-12)
    assert one.decibels == -6
    assert script('<speak><prosody volume="silent">x</prosody></speak>').prosody[0].decibels == -math.inf
    assert script("<speak><prosody> </prosody>x</speak>").prosody == ()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("<speak>one", "line 1: no element found"),
        ("<voice>one</voice>", "the document is <voice>"),
        ('<speak>\n<break time="soon"/></speak>', "line 2: break time 'soon'"),
        ('<speak><break time="60s"/></speak>', "break time '60s'"),
        ('<speak><break strength="huge"/></speak>', "break strength 'huge'"),
        ('<speak><prosody rate="-3">x</prosody></speak>', "prosody rate '-3'"),
        ('<speak><prosody rate="-100%">x</prosody></speak>', "prosody rate '-100%'"),
        ('<speak><prosody pitch="200Hz">x</prosody></speak>', "prosody pitch '200Hz'"),
        ('<speak><prosody volume="11">x</prosody></speak>', "prosody volume '11'"),
        ('<speak><phoneme ph="7">x</phoneme></speak>', "no pronunciation"),
        ("<speak><phoneme>x</phoneme></speak>", "<phoneme> without 'ph'"),
        ('<speak><phoneme alphabet="sampa" ph="x">x</phoneme></speak>', "alphabet 'sampa'"),
        ("<speak><mark/></speak>", "<mark> without 'name'"),
        ('<!DOCTYPE speak [<!ENTITY a "b">]><speak>&a;</speak>', "declares entities"),
    ],
)
def test_what_means_nothing_is_refused(document: str, message: str) -> None:
    with pytest.raises(SeqgenError, match=message.replace("(", "\\(")):
        script(document)


def test_documents_are_known_by_their_beginning() -> None:
    assert is_markup(' <?xml version="1.0"?> <speak>x</speak>')
    assert is_markup("<speak>")
    assert not is_markup("<speaker>")
    assert not is_markup("I speak.")


def test_the_command_tells_pauses(tmp_path: Path) -> None:
    """Pauses stand before the word behind them; what is passed over is said."""

    place = tmp_path / "lexicon"
    place.write_text("wait W EY1 T\nmore M AO1 R\n")
    document = '<speak>Wait<break time="500ms"/> <lang>more</lang>.</speak>'
    made = done("pronounce", "--lexicon", place, document)
    assert made.out == "W EY1 T | (0.5) M AO1 R\n"
    assert "passed over: <lang>" in made.err
    refused("pronounce", "--lexicon", place, "<speak>", named=("no element found",))


@pytest.mark.parametrize(
    ("document", "fixed"),
    [
        (
            '<phoneme ph="ə">one <phoneme ph="b">two</phoneme></phoneme> six',
            ["one two"],
        ),
        ('<sub alias="x"><phoneme ph="ə">one two</phoneme></sub> three', []),
        ('<phoneme ph="ə"/>one <phoneme ph="b">two</phoneme>', ["", "two"]),
        (
            '<say-as interpret-as="characters">a</say-as> <phoneme alphabet="x-arpabet" ph="B">two</phoneme>',
            ["A", "two"],
        ),
    ],
)
def test_pronunciations_do_not_overlap(document: str, fixed: list[str]) -> None:
    """The outer of two counts, and none of what something else is said for."""
    found = script(f"<speak>{document}</speak>")
    assert [found.text[one.start : one.stop] for one in found.fixed] == fixed


def test_what_is_replaced_takes_its_breaks_and_prosody_along() -> None:
    inside = 'one <break time="1s"/><mark name="m"/><prosody rate="slow">two</prosody>'
    found = script(f'<speak>a <sub alias="b">{inside}</sub> <break time="2s"/>c</speak>')
    assert (found.text, found.prosody) == ("a b c", ())
    assert [(one.at, one.seconds) for one in found.breaks] == [(2, 1.0), (4, 2.0)]
    assert found.marks[0].at == 2


def test_prosody_within_prosody_has_bounds() -> None:
    inner = 'rate="{}%" pitch="{}st" volume="{}dB"'
    for given, expected in (((500, "+20", "+20"), (5.0, 24.0, 24.0)), ((30, "-20", "-20"), (0.2, -24.0, -40.0))):
        one = f"<prosody {inner.format(*given)}>"
        prosody = script(f"<speak>{one}{one}a</prosody></prosody></speak>").prosody
        assert prosody[1][2:] == expected
    silent = '<speak><prosody volume="silent"><prosody volume="loud">a</prosody></prosody></speak>'
    assert script(silent).prosody[1].decibels == -math.inf


@pytest.mark.parametrize(
    "said",
    [
        f'<say-as interpret-as="ordinal">{"9" * 5000}</say-as>',
        f'<say-as interpret-as="date" format="mdy">1/1/{"9" * 5000}</say-as>',
        '<say-as interpret-as="date" format="">1</say-as>',
    ],
)
def test_figures_without_end_stay_as_they_are(said: str) -> None:
    assert script(f"<speak>{said}</speak>").text == re.sub("<.*?>", "", said)


def test_a_document_of_no_characters_is_refused() -> None:
    with pytest.raises(SeqgenError, match="line 1: not well-formed"):
        script("<speak>\ud800</speak>")
