"""Wyoming events as bytes, without a socket: however they are cut, and what is none."""

from __future__ import annotations

import json

import pytest

from serving.speech.wyoming_protocol import LARGEST, LARGEST_PAYLOAD, EventReader, WyomingError, written

EVENTS = [
    ("describe", {}, b""),
    ("synthesize", {"text": "Größe\n!", "voice": {"name": "ann"}}, b""),
    ("audio-chunk", {"rate": 8000}, b'{"type": "no"}\n' * 9),
    ("synthesize-stop", {}, b""),
]


def stream() -> bytes:
    return b"".join(written(*event) for event in EVENTS)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1 << 20])
def test_events_are_the_same_however_they_are_cut(size: int) -> None:
    reader, sent, got = EventReader(), stream(), []
    for start in range(0, len(sent), size):
        got += reader.feed(sent[start : start + size])
    assert [(one.type, one.data) for one in got] == [(kind, data) for kind, data, _ in EVENTS]
    assert not reader.amid


@pytest.mark.parametrize("size", [1, 9, 40])
def test_an_event_that_is_not_complete_is_seen(size: int) -> None:
    sent, reader = written("synthesize", {"text": "A tea."}), EventReader()
    assert reader.feed(sent[:size]) == []
    assert reader.amid
    assert len(reader.feed(sent[size:])) == 1
    reader.feed(written("audio-chunk", {}, b"123")[:-1])
    assert reader.amid


def test_the_reference_reads_what_is_written_and_is_read() -> None:
    event = pytest.importorskip("wyoming.event")
    from io import BytesIO

    file = BytesIO(stream())
    for kind, data, payload in EVENTS:
        got = event.read_event(file)
        assert (got.type, got.data, got.payload or b"") == (kind, data, payload)
    file = BytesIO()
    for kind, data, payload in EVENTS:
        event.write_event(event.Event(kind, dict(data), payload or None), file)
    assert [(one.type, one.data) for one in EventReader().feed(file.getvalue())] == [row[:2] for row in EVENTS]


def test_data_stand_in_the_header_or_behind_it_or_in_both() -> None:
    body = b'{"b": 2}'
    line = json.dumps({"type": "x", "data": {"a": 1, "b": 1}, "data_length": len(body), "payload_length": None})
    (event,) = EventReader().feed(line.encode() + b"\n" + body)
    assert event.data == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"GET / HTTP/1.1\r\n", "header is not JSON"),
        (b"\n", "header is not JSON"),
        (b"\xff\xfe\n", "header is not JSON"),
        (b"[" * 50_000 + b"\n", "header is not JSON"),
        (b"[]\n", "not a JSON object"),
        (b"{}\n", "no 'type'"),
        (b'{"type": 7}\n', "no 'type'"),
        (b'{"type": "x", "data": 7}\n', "data are not a JSON object"),
        (b'{"type": "x", "data_length": -1}\n', "no whole number"),
        (b'{"type": "x", "data_length": true}\n', "no whole number"),
        (b'{"type": "x", "data_length": "9"}\n', "no whole number"),
        (b'{"type": "x", "data_length": 1e3}\n', "no whole number"),
        (b'{"type": "x", "payload_length": [1]}\n', "no whole number"),
        (b'{"type": "x", "data_length": %d}\n' % (LARGEST + 1), "'data_length' is more than"),
        (b'{"type": "x", "payload_length": %d}\n' % (LARGEST_PAYLOAD + 1), "'payload_length' is more than"),
        (b'{"type": "x", "data_length": %s}\n' % (b"9" * 5000), "not JSON"),
        (b'{"type": "x", "data_length": 2}\n[]', "data is not a JSON object"),
        (b'{"type": "x", "data_length": 2}\n{x', "data is not JSON"),
        (b"x" * (LARGEST + 1), "header has more than"),
        (b" " * (LARGEST + 1) + b'{"type": "x"}\n', "header has more than"),
    ],
)
def test_what_is_no_event_is_refused(sent: bytes, told: str) -> None:
    for size in (1 << 14, len(sent)):
        reader = EventReader()
        with pytest.raises(WyomingError, match=told):  # noqa: PT012
            for start in range(0, len(sent), size):
                reader.feed(sent[start : start + size])


def test_a_payload_is_not_kept() -> None:
    reader = EventReader()
    assert len(reader.feed(b'{"type": "x", "payload_length": %d}\n' % LARGEST_PAYLOAD)) == 1
    for _ in range(LARGEST_PAYLOAD // 1024):
        assert reader.feed(b"\n" * 1024) == []
        assert len(reader._unread) == 0
    assert not reader.amid
