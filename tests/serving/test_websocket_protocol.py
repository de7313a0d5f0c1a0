"""The WebSocket protocol without a socket: what is answered to every message, good and bad."""

from __future__ import annotations

import json
import random

import pytest

from seqgen.errors import SeqgenError
from serving.scheduling.request import StreamRequest
from serving.voices.vocoder import VoiceSettings
from serving.websocket.init_message import read_init
from serving.websocket.protocol import (
    BeginUtterance,
    CloseConnection,
    FinishInput,
    OpenStream,
    PushInput,
    ReleaseSlot,
    SendText,
    StreamProtocol,
)
from tests.serving.fakes import SPEC, fake_vocoder

INIT = {"type": "init", "input": "features", "signature": SPEC.signature}


def said(actions):
    """The text messages of some actions, and the other actions."""
    texts = [json.loads(action.text) for action in actions if isinstance(action, SendText)]
    return texts, [action for action in actions if not isinstance(action, SendText)]


def send(protocol, **fields):
    return said(protocol.receive_text(json.dumps(fields)))


def data(context=0, payload=b"abcd"):
    return context.to_bytes(4, "little") + payload


def ready(protocol, context=0, **fields):
    """A context that has its slot."""
    _, actions = send(protocol, **INIT, context=context, **fields)
    assert actions == [OpenStream(context, {key: INIT[key] for key in ("input", "signature")} | fields)]
    texts, actions = said(protocol.opened(context, fake_vocoder(), StreamRequest(VoiceSettings(seed=3), "pcm")))
    assert actions == []
    assert texts == [
        {
            "type": "ready", "context": context, "voice": "fake", "sample_rate": 8000, "format": "pcm",
            "feature_signature": SPEC.signature, "hop": 40, "bands": 10,
            "synthetic": 'seqgen; kind=vocoder; voice="fake"; seed=3',
            "resume": "",
        }
    ]  # fmt: skip


def test_an_utterance_from_init_to_close():
    protocol = StreamProtocol()
    ready(protocol)
    assert protocol.receive_binary(data()) == [BeginUtterance(0, 0), PushInput(0, b"abcd")]
    assert protocol.receive_binary(data()) == [PushInput(0, b"abcd")]
    assert protocol.sound(0, b"xy") == b"\0\0\0\0xy"
    assert send(protocol, type="flush") == ([], [FinishInput(0)])
    texts, actions = said(protocol.ended(0, underruns=0))
    assert (texts, actions) == ([{"type": "flushed", "context": 0, "utterance": 0, "underruns": 0}], [])
    assert protocol.receive_binary(data()) == [BeginUtterance(0, 1), PushInput(0, b"abcd")]
    assert send(protocol, type="close", context=0) == ([], [FinishInput(0)])
    texts, actions = said(protocol.ended(0, underruns=1))
    assert [text["type"] for text in texts] == ["flushed", "closed"]
    assert actions == [ReleaseSlot(0)]
    assert not protocol.over
    ready(protocol)  # the number may be used again


def test_input_and_flush_may_come_before_ready_and_during_a_flush():
    protocol = StreamProtocol()
    send(protocol, **INIT)
    assert protocol.receive_binary(data(0, b"1")) == []
    assert protocol.receive_binary(data(0, b"2")) == []
    assert send(protocol, type="flush") == ([], [])
    _, actions = said(protocol.opened(0, fake_vocoder(), StreamRequest()))
    assert actions == [BeginUtterance(0, 0), PushInput(0, b"1"), PushInput(0, b"2"), FinishInput(0)]
    assert protocol.receive_binary(data(0, b"3")) == []
    assert send(protocol, type="close") == ([], [])
    texts, actions = said(protocol.ended(0))
    assert actions == [BeginUtterance(0, 1), PushInput(0, b"3"), FinishInput(0)]
    texts, actions = said(protocol.ended(0))
    assert [text["type"] for text in texts] == ["flushed", "closed"]
    assert actions == [ReleaseSlot(0), CloseConnection(1000)]
    assert protocol.over


def test_a_flush_of_nothing_is_answered_at_once():
    protocol = StreamProtocol()
    ready(protocol)
    assert send(protocol, type="flush") == ([{"type": "flushed", "context": 0, "utterance": 0}], [])


def test_contexts_go_their_own_ways():
    protocol = StreamProtocol()
    for context in (0, 7, 65535):
        ready(protocol, context)
    assert protocol.receive_binary(data(7)) == [BeginUtterance(7, 0), PushInput(7, b"abcd")]
    assert send(protocol, type="cancel", context=0) == ([{"type": "cancelled", "context": 0}], [ReleaseSlot(0)])
    assert protocol.ended(0) == []  # what the worker says of a stream that is gone
    assert protocol.failed(0, "x", "y") == []
    texts, actions = said(protocol.failed(7, "invalid_input", "NaN"))
    assert texts == [{"type": "error", "context": 7, "code": "invalid_input", "message": "NaN"}]
    assert actions == [ReleaseSlot(7)]
    texts, actions = send(protocol, type="close")
    assert (texts, actions) == ([{"type": "closed", "context": 65535}], [ReleaseSlot(65535), CloseConnection(1000)])


def test_a_slot_that_comes_too_late_is_given_back():
    protocol = StreamProtocol()
    send(protocol, **INIT)
    assert send(protocol, type="cancel")[1] == [ReleaseSlot(0)]
    assert protocol.opened(0, fake_vocoder(), StreamRequest()) == [ReleaseSlot(0)]


FATAL = [
    ("not json", "invalid_json", 1007),
    ("[" * 100_000, "invalid_json", 1007),
    ("[]", "invalid_message", 1007),
    ("null", "invalid_message", 1007),
    ("{}", "invalid_message", 1007),
    ('{"type": "sing"}', "invalid_message", 1007),
    ('{"type": ["init"]}', "invalid_message", 1007),
    ('{"type": "flush", "context": -1}', "invalid_message", 1007),
    ('{"type": "flush", "context": 65536}', "invalid_message", 1007),
    ('{"type": "flush", "context": true}', "invalid_message", 1007),
    ('{"type": "flush", "context": "0"}', "invalid_message", 1007),
    ('{"type": "close", "now": 1}', "invalid_message", 1007),
    ('{"type": "flush", "context": 9}', "unknown_context", 1008),
    ('{"type": "cancel", "context": 9}', "unknown_context", 1008),
    (b"", "invalid_message", 1007),
    (b"abc", "invalid_message", 1007),
    (data(9), "unknown_context", 1008),
]


@pytest.mark.parametrize(("message", "code", "close"), FATAL)
def test_a_mistake_outside_every_context_ends_the_connection_and_frees_all(message, code, close):
    protocol = StreamProtocol()
    ready(protocol)
    texts, actions = said(
        protocol.receive_binary(message) if isinstance(message, bytes) else protocol.receive_text(message)
    )
    assert [(text["type"], text["context"], text["code"]) for text in texts] == [("error", None, code)]
    assert "\n" not in texts[0]["message"]
    assert actions == [ReleaseSlot(0), CloseConnection(close)]
    assert protocol.over
    assert protocol.receive_text("{}") == protocol.receive_binary(b"") == []


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        (INIT, "context_exists", "context 0 is open already"),
        ({"type": "init", "sped": 1, "context": 5}, "invalid_message", "init has no 'sped'; did you mean 'seed'?"),
        ({"type": "init", "seed": "1", "context": 5}, "invalid_message", "seed is not of type int"),
        ({"type": "init", "seed": True, "context": 5}, "invalid_message", "seed is not of type int"),
        ({"type": "init", "temperature": None, "context": 5}, "invalid_message", "temperature is not of type int or"),
        ({"type": "flush", "text": "hello"}, "invalid_message", "flush takes a context and nothing else"),
    ],
)
def test_a_mistake_within_a_context_frees_that_context(fields, code, text):
    protocol = StreamProtocol()
    ready(protocol)
    ready(protocol, 1)
    texts, actions = send(protocol, **fields)
    number = fields.get("context", 0)
    assert [(text["context"], text["code"]) for text in texts] == [(number, code)]
    assert text in texts[0]["message"]
    assert actions == ([ReleaseSlot(0)] if number == 0 else [])
    assert not protocol.over
    assert protocol.receive_binary(data(1)) == [BeginUtterance(1, 0), PushInput(1, b"abcd")]


def test_messages_after_close():
    protocol = StreamProtocol()
    ready(protocol)
    protocol.receive_binary(data())
    send(protocol, type="close", context=0)
    texts, actions = said(protocol.receive_binary(data()))
    assert texts[0]["code"] == "after_close"
    assert actions == [ReleaseSlot(0)]
    ready(protocol)
    protocol.receive_binary(data())
    send(protocol, type="close")
    texts, actions = send(protocol, **INIT, context=1)
    assert texts[0]["code"] == "after_close"
    assert actions == [ReleaseSlot(0), CloseConnection(1008)]


def test_contexts_and_what_waits_in_them_are_limited():
    protocol = StreamProtocol()
    for context in range(4):
        ready(protocol, context)
    texts, _ = send(protocol, **INIT, context=4)
    assert texts[0]["code"] == "too_many_contexts"
    protocol.receive_binary(data(2))
    send(protocol, type="flush", context=2)
    for _ in range(16):
        assert protocol.receive_binary(data(2, bytes(1 << 16))) == []
    texts, actions = said(protocol.receive_binary(data(2)))
    assert (texts[0]["code"], actions) == ("too_much_input", [ReleaseSlot(2)])


def test_silence_ends_a_connection():
    protocol = StreamProtocol()
    ready(protocol)
    texts, actions = said(protocol.silent(60.0))
    assert texts[0]["message"] == "nothing came for 60 s"
    assert actions == [ReleaseSlot(0), CloseConnection(1008)]


def test_an_init_says_what_to_make():
    vocoder = fake_vocoder(speakers=("a", "b"))
    request = read_init({"input": "audio", "rate": 16000, "seed": 4, "speaker": "b"}, vocoder, longest=5.0)
    assert (request.settings, request.form, request.longest) == (VoiceSettings(4, 1.0, "b"), "pcm", 5.0)
    assert (request.input.kind, request.input.rate, request.input.encoding) == ("audio", 16000, "s16le")
    assert read_init({"input": "audio", "speaker": "a"}, vocoder, longest=5.0).input.rate == 8000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "input is null; choose audio or features"),
        ({"input": "text"}, 'input is "text"; choose audio or features'),
        ({"input": "features"}, f"feature signature None does not match {SPEC.signature}"),
        ({"input": "features", "signature": "0" * 16}, f"signature {'0' * 16} does not match {SPEC.signature}"),
        ({"input": "audio", "format": "mp3"}, "format 'mp3' is not offered"),
        ({"input": "audio", "encoding": "u8"}, "encoding 'u8' is not known; choose s16le or f32le"),
        ({"input": "audio", "seed": -1}, "seed -1 is out of range"),
        ({"input": "audio", "temperature": 1e9}, "temperature 1000000000.0 is out of range"),
        ({"input": "audio", "speaker": "x"}, "has no speaker 'x'"),
    ],
)
def test_an_init_that_the_voice_cannot_follow(fields, message):
    with pytest.raises(SeqgenError, match=message.replace("(", r"\(")):
        read_init(fields, fake_vocoder(), longest=5.0)


def random_message(rng):
    kind = rng.choice(["init", "flush", "cancel", "close", "binary", "junk"])
    context = rng.choice([0, 0, 0, 1, 2, 9])
    if kind == "binary":
        return data(context, rng.randbytes(rng.choice([0, 3, 40])))[rng.choice([0, 0, 0, 0, 1]) :]
    if kind == "junk":
        return rng.choice(['{"type": 1}', "", '{"type": "init", "context": 1e400}', "\x00", '{"type": "flush"'])
    fields = dict(INIT) if kind == "init" else {"type": kind}
    if rng.random() < 0.8 or kind != "close":
        fields["context"] = context
    if rng.random() < 0.05:
        fields[rng.choice(["voice", "seed", "extra"])] = rng.choice([None, 1, "x", [], {}])
    return json.dumps(fields)


def test_twenty_thousand_random_messages_leave_the_slots_true():
    """Whatever comes in whatever order: a context is opened once, begun once, and released exactly once."""
    rng = random.Random(0)
    sent = 0
    while sent < 20_000:
        protocol, held, running = StreamProtocol(), set(), set()

        def perform(actions, protocol=protocol, held=held, running=running):
            for action in actions:
                if isinstance(action, OpenStream):
                    assert action.context not in held
                    held.add(action.context)
                    if rng.random() < 0.9:
                        perform(protocol.opened(action.context, fake_vocoder(), StreamRequest()))
                    else:
                        perform(protocol.failed(action.context, "overloaded", "full"))
                elif isinstance(action, ReleaseSlot):
                    assert action.context in held
                    held.discard(action.context)
                    running.discard(action.context)
                elif isinstance(action, BeginUtterance):
                    assert action.context in held - running
                    running.add(action.context)
                elif isinstance(action, (PushInput, FinishInput)):
                    assert action.context in running
                elif isinstance(action, SendText):
                    json.loads(action.text)

        while not protocol.over and rng.random() < 0.99:
            sent += 1
            message = random_message(rng)
            perform(protocol.receive_binary(message) if isinstance(message, bytes) else protocol.receive_text(message))
            if running and rng.random() < 0.3:
                context = rng.choice(sorted(running))
                if protocol._contexts[context].state == "ending":
                    running.discard(context)
                    perform(protocol.ended(context))
                elif rng.random() < 0.1:
                    perform(protocol.failed(context, "internal_error", "broken"))
        if protocol.over:
            assert held == set()
