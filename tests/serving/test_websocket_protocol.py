"""The WebSocket protocol without a socket: what is answered to every message, good and bad."""

from __future__ import annotations

import json
import random

import pytest

from seqgen.errors import SeqgenError
from serving.streams.sound import SoundRequest
from serving.streams.vocoder import VoiceSettings
from serving.websocket.init_message import read_init
from serving.websocket.inputs import End
from serving.websocket.protocol import (
    CloseConnection,
    DropContext,
    OpenStream,
    QueueInput,
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
    texts, actions = said(protocol.opened(context, fake_vocoder(), SoundRequest(VoiceSettings(seed=3), "pcm")))
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
    assert protocol.receive_binary(data()) == [QueueInput(0, b"abcd")]
    assert protocol.receive_binary(data(0, b"")) == []
    assert protocol.sound(0, b"xy") == b"\0\0\0\0xy"
    assert send(protocol, type="flush") == ([], [QueueInput(0, End.FLUSH)])
    assert said(protocol.ended(0, 3, underruns=1)) == (
        [{"type": "flushed", "context": 0, "utterance": 3, "underruns": 1}],
        [],
    )
    assert send(protocol, type="close", context=0) == ([], [QueueInput(0, End.CLOSE)])
    assert said(protocol.closed(0)) == ([{"type": "closed", "context": 0}], [DropContext(0)])
    assert protocol.idle
    assert not protocol.over
    ready(protocol)  # the number may be used again


def test_what_comes_before_ready_is_queued_like_all_else():
    protocol = StreamProtocol()
    send(protocol, **INIT)
    assert protocol.receive_binary(data(0, b"1")) == [QueueInput(0, b"1")]
    assert send(protocol, type="flush") == ([], [QueueInput(0, End.FLUSH)])
    assert protocol.receive_binary(data(0, b"2")) == [QueueInput(0, b"2")]
    assert send(protocol, type="close") == ([], [QueueInput(0, End.CLOSE)])
    assert said(protocol.closed(0))[1] == [DropContext(0), CloseConnection(1000)]
    assert protocol.over


def test_contexts_go_their_own_ways():
    protocol = StreamProtocol()
    for context in (0, 7, 65535):
        ready(protocol, context)
    assert protocol.receive_binary(data(7)) == [QueueInput(7, b"abcd")]
    assert send(protocol, type="cancel", context=0) == (
        [{"type": "cancelled", "context": 0, "utterance": 0, "bytes": 0}],
        [DropContext(0)],
    )
    assert protocol.failed(0, "x", "y") == []  # what is found out of a stream that is gone
    texts, actions = said(protocol.failed(7, "invalid_input", "NaN"))
    assert texts == [{"type": "error", "context": 7, "code": "invalid_input", "message": "NaN"}]
    assert actions == [DropContext(7)]
    assert send(protocol, type="close") == ([], [QueueInput(65535, End.CLOSE)])
    assert said(protocol.closed(65535))[1] == [DropContext(65535), CloseConnection(1000)]


def test_credit_is_for_those_who_ask():
    protocol = StreamProtocol()
    assert send(protocol, **INIT, credit=True)[1] == [
        OpenStream(0, {key: INIT[key] for key in ("input", "signature")}, True)
    ]
    assert said(protocol.opened(0, fake_vocoder(), SoundRequest(), credit=99))[0][0]["credit"] == 99
    assert said(protocol.credit(0, 123))[0] == [{"type": "credit", "context": 0, "bytes": 123}]


@pytest.mark.parametrize("end", ["failed", "closed", "cancelled"])
@pytest.mark.parametrize("what", ["binary", "flush", "close", "cancel"])
def test_a_message_that_crosses_the_end_of_its_context_harms_no_other(end, what):
    protocol = StreamProtocol()
    ready(protocol)
    ready(protocol, 1)
    if end == "failed":
        protocol.failed(0, "invalid_input", "NaN")
    elif end == "cancelled":
        send(protocol, type="cancel", context=0)
    else:
        send(protocol, type="close", context=0)
        protocol.closed(0)
    for count in range(3):
        texts, actions = (
            said(protocol.receive_binary(data())) if what == "binary" else send(protocol, type=what, context=0)
        )
        told = end != "failed" and what != "cancel" and not count
        assert [text["code"] for text in texts] == ["after_close"] * told
        assert actions == []
    assert not protocol.over
    assert protocol.receive_binary(data(1)) == [QueueInput(1, b"abcd")]
    ready(protocol)


def test_contexts_long_past_take_no_memory():
    protocol = StreamProtocol()
    for number in range(5000):
        send(protocol, type="init", context=number, seed="x")
    assert len(protocol._past) <= 1024


FATAL = [
    ("not json", "invalid_json", 1007),
    ("[" * 16_000, "invalid_json", 1007),
    ('{"a":' * 3000 + "1" + "}" * 3000, "invalid_json", 1007),
    ('{"type": "flush"}' + " " * 20_000, "invalid_json", 1007),
    ("1" * 10_000, "invalid_json", 1007),
    ("NaN", "invalid_message", 1007),
    ("-Infinity", "invalid_message", 1007),
    ('"\\ud800"', "invalid_message", 1007),
    ('{"type": "\\ud800"}', "invalid_message", 1007),
    ('{"type": "flush", "context": 1e400}', "invalid_message", 1007),
    ('{"type": "flush", "context": NaN}', "invalid_message", 1007),
    (f'{{"type": "cancel", "context": {"9" * 401}}}', "invalid_message", 1007),
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
    assert actions == [DropContext(0), CloseConnection(close, texts[0]["message"][:123])]
    assert protocol.over
    assert protocol.receive_text("{}") == protocol.receive_binary(b"") == []


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        (INIT, "context_exists", "context 0 is open already"),
        ({"type": "init", "sped": 1, "context": 5}, "invalid_message", "init has no 'sped'; did you mean 'speed'?"),
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
    assert actions == ([DropContext(0)] if number == 0 else [])
    assert not protocol.over
    assert protocol.receive_binary(data(1)) == [QueueInput(1, b"abcd")]


def test_messages_after_close():
    protocol = StreamProtocol()
    ready(protocol)
    send(protocol, type="close", context=0)
    texts, actions = said(protocol.receive_binary(data()))
    assert texts[0]["code"] == "after_close"
    assert actions == [DropContext(0)]
    ready(protocol)
    ready(protocol, 1)
    assert send(protocol, type="close")[1] == [QueueInput(0, End.CLOSE), QueueInput(1, End.CLOSE)]
    assert send(protocol, type="cancel", context=1)[1] == [DropContext(1)]  # which is never too late
    texts, actions = send(protocol, **INIT, context=2)
    assert texts[0]["code"] == "after_close"
    assert actions == [DropContext(0), CloseConnection(1008, texts[0]["message"])]


def test_contexts_are_limited():
    protocol = StreamProtocol()
    for context in range(4):
        ready(protocol, context)
    texts, _ = send(protocol, **INIT, context=4)
    assert texts[0]["code"] == "too_many_contexts"


def test_silence_ends_a_connection():
    protocol = StreamProtocol()
    ready(protocol)
    ready(protocol, 1)
    texts, actions = said(protocol.silent(60.0, 0))
    assert (texts[0]["context"], texts[0]["message"]) == (0, "nothing came for 60 s")
    assert actions == [DropContext(0)]
    assert said(protocol.silent(60.0, 1))[1] == [DropContext(1), CloseConnection(1008, "nothing came for 60 s")]
    texts, actions = said(StreamProtocol().silent(60.0))
    assert (texts[0]["context"], actions) == (None, [CloseConnection(1008, "nothing came for 60 s")])


def test_a_reason_is_no_longer_than_a_close_frame_takes():
    protocol = StreamProtocol()
    ready(protocol)
    close = protocol.lost(0, "\N{SNOWMAN}" * 100)[-1]
    assert close == CloseConnection(1011, "\N{SNOWMAN}" * 41)


def test_an_init_says_what_to_make():
    vocoder = fake_vocoder(speakers=("a", "b"))
    request = read_init({"input": "audio", "rate": 16000, "seed": 4, "speaker": "b"}, vocoder, longest=5.0)
    assert (request.settings, request.form, request.longest) == (VoiceSettings(4, 1.0, "b"), "pcm", 5.0)
    assert (request.input.kind, request.input.rate, request.input.encoding) == ("audio", 16000, "s16le")
    assert read_init({"input": "audio", "speaker": "a"}, vocoder, longest=5.0).input.rate == 8000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "input is null; choose audio, features or text"),
        ({"input": "tex"}, 'input is "tex"; choose audio, features or text'),
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
    """Whatever comes in whatever order: a context is opened once, given what is its own, and dropped exactly once."""
    rng = random.Random(0)
    sent = 0
    while sent < 20_000:
        protocol, held, closing = StreamProtocol(), set(), set()

        def perform(actions, protocol=protocol, held=held, closing=closing):
            for action in actions:
                if isinstance(action, OpenStream):
                    assert action.context not in held
                    held.add(action.context)
                    if rng.random() < 0.9:
                        perform(protocol.opened(action.context, fake_vocoder(), SoundRequest()))
                    else:
                        perform(protocol.failed(action.context, "overloaded", "full"))
                elif isinstance(action, DropContext):
                    held.remove(action.context)
                    closing.discard(action.context)
                elif isinstance(action, QueueInput):
                    assert action.context in held - closing
                    if action.item is End.CLOSE:
                        closing.add(action.context)
                elif isinstance(action, SendText):
                    json.loads(action.text)

        while not protocol.over and rng.random() < 0.99:
            sent += 1
            message = random_message(rng)
            perform(protocol.receive_binary(message) if isinstance(message, bytes) else protocol.receive_text(message))
            assert protocol.idle == (not held)
            if held and rng.random() < 0.3:
                context = rng.choice(sorted(held))
                if context in closing:
                    perform(protocol.closed(context))
                elif rng.random() < 0.1:
                    perform(protocol.failed(context, "internal_error", "broken"))
        if protocol.over:
            assert held == set()


def test_text_is_input_of_contexts_that_read():
    """In messages of its own; where a token tells what the input is, it is not known before."""
    protocol = StreamProtocol()
    send(protocol, type="init", input="text", context=1)
    send(protocol, type="init", resume="x", context=2)
    for context in (1, 2):
        assert send(protocol, type="text", context=context, text="é") == ([], [QueueInput(context, "é".encode())])
        assert send(protocol, type="text", context=context, text="") == ([], [])
    for fields, why in (({"text": 1}, "a string"), ({}, "a string"), ({"text": "a", "x": 1}, "a string"),
                        ({"text": "\ud800"}, "cuts a character")):  # fmt: skip
        texts, actions = send(protocol, type="text", context=1, **fields)
        assert (texts[0]["code"], actions) == ("invalid_message", [DropContext(1)])
        assert why in texts[0]["message"]
        assert send(protocol, type="text", context=1, text="a") == ([], [])  # behind its error
        send(protocol, type="init", input="text", context=1)
    ready(protocol)
    texts, actions = send(protocol, type="text", context=0, text="a")
    assert actions == [DropContext(0)]
    assert "reads no text" in texts[0]["message"]
    send(protocol, type="close", context=1)
    assert send(protocol, type="text", context=1, text="a")[0][0]["code"] == "after_close"


def test_cancelled_says_what_was_sent():
    protocol = StreamProtocol()
    ready(protocol)
    protocol.sent(0, 3, bytes=8, seconds=0.5, word={"type": "word", "text": "tea", "start": 0.25})
    about = {"utterance": 3, "bytes": 8, "seconds": 0.5, "word": {"text": "tea", "start": 0.25}}
    assert send(protocol, type="cancel") == ([{"type": "cancelled", "context": 0, **about}], [DropContext(0)])
    protocol.sent(0, 3, bytes=9)  # what is found out of a stream that is gone
    ready(protocol)
    assert send(protocol, type="cancel")[0] == [{"type": "cancelled", "context": 0, "utterance": 0, "bytes": 0}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": "text", "speed": 5}, "speed 5 is out of range; give 0.25 to 4"),
        ({"input": "text", "timestamp_granularities": ["word", "x"]}, "choose among word, phone, mark"),
        ({"input": "text", "timestamp_granularities": [["word"]]}, "choose among word, phone, mark"),
        ({"input": "audio", "speed": 1}, "speed comes with input audio"),
        ({"input": "audio", "timestamp_granularities": []}, "comes with input audio"),
    ],
)
def test_what_cannot_be_asked_of_a_text(fields, message):
    with pytest.raises(SeqgenError, match=message):
        read_init(fields, fake_vocoder(), longest=60)
