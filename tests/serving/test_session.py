"""The WebSocket protocol without a socket: what is answered to every message, good and bad."""

from __future__ import annotations

import json
import random

import pytest

from seqgen.errors import SeqgenError
from serving.opening import read_init
from serving.session import Begin, Finish, Hang, Open, Push, Release, Say, Session
from serving.vocoder import Settings
from serving.work import Order
from tests.serving.fakes import SPEC, fake_vocoder

INIT = {"type": "init", "input": "features", "signature": SPEC.signature}


def said(acts):
    """The text messages of some acts, and the other acts."""
    texts = [json.loads(act.text) for act in acts if isinstance(act, Say)]
    return texts, [act for act in acts if not isinstance(act, Say)]


def send(session, **fields):
    return said(session.text(json.dumps(fields)))


def data(context=0, payload=b"abcd"):
    return context.to_bytes(4, "little") + payload


def ready(session, context=0, **fields):
    """A context that has its slot."""
    _, acts = send(session, **INIT, context=context, **fields)
    assert acts == [Open(context, {key: INIT[key] for key in ("input", "signature")} | fields)]
    texts, acts = said(session.opened(context, fake_vocoder(), Order(Settings(seed=3), "pcm")))
    assert acts == []
    assert texts == [
        {
            "type": "ready", "context": context, "voice": "fake", "sample_rate": 8000, "format": "pcm",
            "feature_signature": SPEC.signature, "hop": 40, "bands": 10,
            "synthetic": 'seqgen; kind=vocoder; voice="fake"; seed=3',
            "resume": "",
        }
    ]  # fmt: skip


def test_an_utterance_from_init_to_close():
    session = Session()
    ready(session)
    assert session.binary(data()) == [Begin(0, 0), Push(0, b"abcd")]
    assert session.binary(data()) == [Push(0, b"abcd")]
    assert session.sound(0, b"xy") == b"\0\0\0\0xy"
    assert send(session, type="flush") == ([], [Finish(0)])
    texts, acts = said(session.ended(0, underruns=0))
    assert (texts, acts) == ([{"type": "flushed", "context": 0, "utterance": 0, "underruns": 0}], [])
    assert session.binary(data()) == [Begin(0, 1), Push(0, b"abcd")]
    assert send(session, type="close", context=0) == ([], [Finish(0)])
    texts, acts = said(session.ended(0, underruns=1))
    assert [text["type"] for text in texts] == ["flushed", "closed"]
    assert acts == [Release(0)]
    assert not session.over
    ready(session)  # the number may be used again


def test_input_and_flush_may_come_before_ready_and_during_a_flush():
    session = Session()
    send(session, **INIT)
    assert session.binary(data(0, b"1")) == []
    assert session.binary(data(0, b"2")) == []
    assert send(session, type="flush") == ([], [])
    _, acts = said(session.opened(0, fake_vocoder(), Order()))
    assert acts == [Begin(0, 0), Push(0, b"1"), Push(0, b"2"), Finish(0)]
    assert session.binary(data(0, b"3")) == []
    assert send(session, type="close") == ([], [])
    texts, acts = said(session.ended(0))
    assert acts == [Begin(0, 1), Push(0, b"3"), Finish(0)]
    texts, acts = said(session.ended(0))
    assert [text["type"] for text in texts] == ["flushed", "closed"]
    assert acts == [Release(0), Hang(1000)]
    assert session.over


def test_a_flush_of_nothing_is_answered_at_once():
    session = Session()
    ready(session)
    assert send(session, type="flush") == ([{"type": "flushed", "context": 0, "utterance": 0}], [])


def test_contexts_go_their_own_ways():
    session = Session()
    for context in (0, 7, 65535):
        ready(session, context)
    assert session.binary(data(7)) == [Begin(7, 0), Push(7, b"abcd")]
    assert send(session, type="cancel", context=0) == ([{"type": "cancelled", "context": 0}], [Release(0)])
    assert session.ended(0) == []  # what the worker says of a stream that is gone
    assert session.failed(0, "x", "y") == []
    texts, acts = said(session.failed(7, "invalid_input", "NaN"))
    assert texts == [{"type": "error", "context": 7, "code": "invalid_input", "message": "NaN"}]
    assert acts == [Release(7)]
    texts, acts = send(session, type="close")
    assert (texts, acts) == ([{"type": "closed", "context": 65535}], [Release(65535), Hang(1000)])


def test_a_slot_that_comes_too_late_is_given_back():
    session = Session()
    send(session, **INIT)
    assert send(session, type="cancel")[1] == [Release(0)]
    assert session.opened(0, fake_vocoder(), Order()) == [Release(0)]


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
    session = Session()
    ready(session)
    texts, acts = said(session.binary(message) if isinstance(message, bytes) else session.text(message))
    assert [(text["type"], text["context"], text["code"]) for text in texts] == [("error", None, code)]
    assert "\n" not in texts[0]["message"]
    assert acts == [Release(0), Hang(close)]
    assert session.over
    assert session.text("{}") == session.binary(b"") == []


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
    session = Session()
    ready(session)
    ready(session, 1)
    texts, acts = send(session, **fields)
    number = fields.get("context", 0)
    assert [(text["context"], text["code"]) for text in texts] == [(number, code)]
    assert text in texts[0]["message"]
    assert acts == ([Release(0)] if number == 0 else [])
    assert not session.over
    assert session.binary(data(1)) == [Begin(1, 0), Push(1, b"abcd")]


def test_messages_after_close():
    session = Session()
    ready(session)
    session.binary(data())
    send(session, type="close", context=0)
    texts, acts = said(session.binary(data()))
    assert texts[0]["code"] == "after_close"
    assert acts == [Release(0)]
    ready(session)
    session.binary(data())
    send(session, type="close")
    texts, acts = send(session, **INIT, context=1)
    assert texts[0]["code"] == "after_close"
    assert acts == [Release(0), Hang(1008)]


def test_contexts_and_what_waits_in_them_are_limited():
    session = Session()
    for context in range(4):
        ready(session, context)
    texts, _ = send(session, **INIT, context=4)
    assert texts[0]["code"] == "too_many_contexts"
    session.binary(data(2))
    send(session, type="flush", context=2)
    for _ in range(16):
        assert session.binary(data(2, bytes(1 << 16))) == []
    texts, acts = said(session.binary(data(2)))
    assert (texts[0]["code"], acts) == ("too_much_input", [Release(2)])


def test_silence_ends_a_connection():
    session = Session()
    ready(session)
    texts, acts = said(session.silent(60.0))
    assert texts[0]["message"] == "nothing came for 60 s"
    assert acts == [Release(0), Hang(1008)]


def test_an_init_says_what_to_make():
    vocoder = fake_vocoder(speakers=("a", "b"))
    order = read_init({"input": "audio", "rate": 16000, "seed": 4, "speaker": "b"}, vocoder, longest=5.0)
    assert (order.settings, order.form, order.longest) == (Settings(4, 1.0, "b"), "pcm", 5.0)
    assert (order.input.kind, order.input.rate, order.input.encoding) == ("audio", 16000, "s16le")
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


def test_twenty_thousand_random_messages_leave_the_ledger_true():
    """Whatever comes in whatever order: a context is opened once, begun once, and released exactly once."""
    rng = random.Random(0)
    sent = 0
    while sent < 20_000:
        session, held, running = Session(), set(), set()

        def obey(acts, session=session, held=held, running=running):
            for act in acts:
                if isinstance(act, Open):
                    assert act.context not in held
                    held.add(act.context)
                    if rng.random() < 0.9:
                        obey(session.opened(act.context, fake_vocoder(), Order()))
                    else:
                        obey(session.failed(act.context, "overloaded", "full"))
                elif isinstance(act, Release):
                    assert act.context in held
                    held.discard(act.context)
                    running.discard(act.context)
                elif isinstance(act, Begin):
                    assert act.context in held - running
                    running.add(act.context)
                elif isinstance(act, (Push, Finish)):
                    assert act.context in running
                elif isinstance(act, Say):
                    json.loads(act.text)

        while not session.over and rng.random() < 0.99:
            sent += 1
            message = random_message(rng)
            obey(session.binary(message) if isinstance(message, bytes) else session.text(message))
            if running and rng.random() < 0.3:
                context = rng.choice(sorted(running))
                if session._contexts[context].state == "ending":
                    running.discard(context)
                    obey(session.ended(context))
                elif rng.random() < 0.1:
                    obey(session.failed(context, "internal_error", "broken"))
        if session.over:
            assert held == set()
