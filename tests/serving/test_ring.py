"""The ring of sound and the protocol of commands, without processes."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.errors import SeqgenError
from serving.scheduling.events import StreamEvent
from serving.sound.body import NoRoom
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import ModelFailure, VoiceSettings
from serving.workers.ipc import (
    MAX_PIECE,
    Command,
    CommandDecoder,
    CommandQueue,
    Notice,
    NoticeDecoder,
    decode_number,
    decode_request,
    encode_command,
    encode_notice,
    encode_request,
)
from serving.workers.ring import _HEAD, MAX_RECORD, RingError, RingReader, RingWriter, records

reals = st.floats(0, 1e6)
events = st.builds(
    StreamEvent,
    st.tuples(st.integers(0, 15), st.integers(0, 2**32 - 1)),
    st.binary(max_size=90),
    reals,
    st.none() | reals,
    st.booleans(),
    reals,
    st.booleans(),
)


@given(st.lists(events, max_size=20), st.integers(150, 400), st.randoms())
def test_what_goes_in_comes_out_in_order_wherever_the_ring_wraps(sent, size, random):
    memory = memoryview(bytearray(size))
    writer, reader = RingWriter(memory), RingReader(memory)
    heard = []
    for event in sent:
        if not writer.put(event):
            heard += reader.read(writer.head)
            writer.freed(reader.tail)
            assert writer.put(event), "full without anything in it"
        if random.random() < 0.3:
            heard += reader.read(writer.head)  # read, but room is given back later
    heard += reader.read(writer.head)
    assert heard == sent


def test_failures_keep_their_kind_and_words():
    memory = memoryview(bytearray(4096))
    writer, reader = RingWriter(memory), RingReader(memory)
    told = [SeqgenError("NaN in frame 3", remedy="mend it"), ModelFailure("it broke"), ZeroDivisionError("x")]
    for failure in (*told, NoRoom("full", remedy="wait")):
        assert writer.put(StreamEvent((1, 2), over=True, failure=failure))
    mistake, broke, other, full = (event.failure for event in reader.read(writer.head))
    assert isinstance(mistake, SeqgenError)
    assert (mistake.problem, mistake.remedy) == ("NaN in frame 3", "mend it")
    assert isinstance(broke, ModelFailure)
    assert (str(broke), str(other)) == ("it broke", "x")
    assert (type(mistake), type(full), str(full)) == (SeqgenError, NoRoom, "full; wait")


def test_a_long_event_goes_in_pieces_and_tells_the_rest_with_the_last():
    data = bytes(range(256)) * 600
    cut = list(records(StreamEvent((0, 1), data, 3.0, 0.5, True, 2.0, True)))
    assert b"".join(piece.data for piece in cut) == data
    assert max(len(piece.data) for piece in cut) == MAX_RECORD
    assert [(piece.seconds, piece.over) for piece in cut] == [(0.0, False), (0.0, False), (3.0, True)]


@pytest.mark.parametrize("before", [0, 3, 60])
@pytest.mark.parametrize("short", [0, 1, 20, _HEAD.size - 1, _HEAD.size])
def test_a_record_needs_room_for_its_head_too(before: int, short: int) -> None:
    """To the byte, wherever the ring has come to: with what is left its sound may just fit, or the whole of it."""
    size, data = 200, bytes(range(80))
    memory = memoryview(bytearray(size))
    writer, reader = RingWriter(memory), RingReader(memory)
    writer.put(StreamEvent((0, 1), bytes(before)))
    reader.read(writer.head)
    writer.freed(reader.tail)
    kept = StreamEvent((0, 1), bytes(size - 2 * _HEAD.size - len(data) + short))
    assert writer.put(kept)
    fits = writer.put(StreamEvent((0, 2), data))
    assert fits is (short == 0)
    assert writer.head - reader.tail <= size
    assert reader.read(writer.head) == [kept, *([StreamEvent((0, 2), data)] if fits else [])]


def test_a_ring_that_cannot_be_is_refused():
    memory = memoryview(bytearray(400))
    writer = RingWriter(memory)
    assert writer.put(StreamEvent((0, 1), b"abc"))
    with pytest.raises(RingError, match="writer is at 401"):
        RingReader(memory).read(401)
    with pytest.raises(RingError, match="ends behind"):
        RingReader(memory).read(writer.head - 1)
    skipped = RingReader(memory)
    skipped.read(writer.head)
    memory[:4] = (7).to_bytes(4, "little")
    with pytest.raises(RingError, match="record 7 came where 0 was due"):
        RingReader(memory).read(writer.head)


@given(st.lists(st.tuples(st.sampled_from(Command), st.binary(max_size=50))), st.integers(1, 40))
def test_commands_survive_any_cut(said, size):
    sent = b"".join(encode_command(command, (number, 5), data) for number, (command, data) in enumerate(said))
    frames = CommandDecoder()
    heard = [got for at in range(0, len(sent), size) for got in frames.feed(sent[at : at + size])]
    assert heard == [(command, (number, 5), data) for number, (command, data) in enumerate(said)]


def test_notices_survive_any_cut():
    sent = encode_notice(Notice.HELLO) + encode_notice(Notice.HEAD, 2**40) + encode_notice(Notice.LOADED, 3)
    for size in range(1, len(sent)):
        notices = NoticeDecoder()
        heard = [got for at in range(0, len(sent), size) for got in notices.feed(sent[at : at + size])]
        assert heard == [(Notice.HELLO, 0), (Notice.HEAD, 2**40), (Notice.LOADED, 3)]


def taken(outbox):
    frames = CommandDecoder()
    return [got for data in iter(outbox.take, b"") for got in frames.feed(data)]


def test_a_cancel_overtakes_recordings_and_drops_its_own():
    outbox = CommandQueue()
    for slot in (1, 2):
        outbox.put(Command.OPEN, (slot, 1), b"{}")
        outbox.put(Command.PUSH, (slot, 1), bytes([slot]) * (2 * MAX_PIECE + 1))
        outbox.put(Command.FINISH, (slot, 1))
    assert taken_one(outbox) == (Command.OPEN, (1, 1))
    outbox.put(Command.CANCEL, (2, 1))
    rest = taken(outbox)
    assert [(command, key[0]) for command, key, _ in rest] == [
        (Command.OPEN, 2),
        (Command.CANCEL, 2),
        *[(Command.PUSH, 1)] * 3,
        (Command.FINISH, 1),
    ]
    assert b"".join(data for command, _, data in rest if command is Command.PUSH) == bytes([1]) * (2 * MAX_PIECE + 1)
    assert not outbox


def taken_one(outbox):
    (only,) = CommandDecoder().feed(outbox.take())
    return only[:2]


def test_recordings_are_sent_in_turn():
    outbox = CommandQueue()
    for slot in (1, 2):
        outbox.put(Command.PUSH, (slot, 1), bytes(2 * MAX_PIECE))
        outbox.put(Command.FINISH, (slot, 1))
    assert [key[0] for _, key, _ in taken(outbox)] == [1, 2, 1, 2, 1, 2]


def test_a_request_crosses_whole():
    settings, given = (
        VoiceSettings(2**64 - 1, 0.1, "ä", 3),
        InputFormat("audio", 44100, "f32le", "x/y", 1.5, 0.5, "word"),
    )
    request = SoundRequest(settings, "ulaw", given, 0.1, True, 8000, 77, True, True)
    plain = SoundRequest()
    for field in fields(SoundRequest):
        assert getattr(request, field.name) != getattr(plain, field.name), f"this test leaves {field.name} as it is"
    assert decode_request(json.loads(json.dumps(encode_request(request)))) == request


def test_numbers_cross_whole():
    assert decode_number((2**63 + 5).to_bytes(8, "little")) == 2**63 + 5
