"""Protocol of ``WS /v1/stream`` without any I/O: messages in, actions out.

Text messages are JSON objects with a ``type``; ``context`` is a number from 0 to 65535 (0 where it is left out) that
names one of several streams of the connection. Binary messages, both ways, are four bytes, the context as a
little-endian number, and then input or sound.

    client: init {voice, input, rate, encoding, signature, format, output_rate, seed, temperature, speaker, credit,
                  speed, timestamp_granularities}
            init {resume, utterance, offset, credit}   text {text}   flush   cancel   close
    server: ready   (sound)   flushed   cancelled {utterance, bytes}   closed   error {code, message}   credit {bytes}
            word, phone, mark {utterance, text, start, duration, place}

What comes for a context is put in order when it arrives and worked off in that order, however long that takes:
``flush`` ends an utterance: what is owed is made, ``flushed`` follows, and what was sent next is another one.
``close`` of a context flushes it and frees its slot; without a context it does so for all and ends the connection.
``cancel`` waits for nothing: what the context has and owes is dropped. ``cancelled`` says how much of the utterance
under way was sent: bytes of sound; of a text also the seconds, and the last word that had begun in them.
A text is input as well, UTF-8 in binary messages, cut anywhere, or by ``text``: it is spoken sentence by sentence, and
``flush`` has what came spoken to its end. ``word``, ``phone`` and ``mark`` tell what begins in the sound behind them.
A mistake within a context frees that context; one that belongs to none ends the connection. ``error`` is the last word
of a context: what was on its way to it then is dropped, until it is opened anew.

A client that asks for ``"credit": true`` is told how much input it may send: at first ``FIRST_CREDIT`` bytes, then the
``credit`` of ``ready`` and the ``bytes`` of each ``credit``, which count all input of the context since its ``init``.
What it then says beside input is heard at once, however much input it has in store. Input beyond is taken all the same,
and so is all of one who did not ask, as far as there is memory for it.

After a broken connection ``resume`` is what ``ready`` told, ``utterance`` the first not flushed, and ``offset``
the bytes received of its sound; its input is sent again, and what follows those bytes comes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.http.protocol import nearest, one_line
from serving.streams.sound import SoundRequest
from serving.streams.vocoder import StreamingVocoder, provenance
from serving.websocket.inputs import End

MAX_CONTEXTS = 4
MAX_TEXT = 1 << 14
"""Characters of a text message at most."""
FIRST_CREDIT = 1 << 16
"""Bytes of input that may be sent before ``ready`` tells how many."""
POLICY, INVALID, INTERNAL, NORMAL = 1008, 1007, 1011, 1000
"""Close codes of RFC 6455, section 7.4.1."""
_HEAD = struct.Struct("<I")
_FIELDS: dict[str, tuple[type, ...]] = {
    "voice": (str,), "input": (str,), "rate": (int,), "encoding": (str,), "signature": (str,), "format": (str,),
    "output_rate": (int,), "seed": (int,), "temperature": (int, float), "speaker": (str,), "credit": (bool,),
    "resume": (str,), "utterance": (int,), "offset": (int,), "speed": (int, float),
    "timestamp_granularities": (list,),
}  # fmt: skip
_TYPES = ("init", "text", "flush", "cancel", "close")
_LARGEST = 1 << 64  # of any number
_LONGEST_REASON = 123  # bytes of UTF-8: RFC 6455, section 5.5
_MAX_PAST = 1024  # contexts that are over and still known


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Action: find the voice, take a slot, answer by :meth:`StreamProtocol.opened` or :meth:`StreamProtocol.failed`.

    ``credit``: the client heeds what it is told of it.
    """

    context: int
    fields: Mapping[str, Any]
    credit: bool = False


@dataclass(frozen=True, slots=True)
class QueueInput:
    """Action: put input, or the end of an utterance or of the context, behind what the context has."""

    context: int
    item: bytes | End


@dataclass(frozen=True, slots=True)
class DropContext:
    """Action: give the slot of a context back, whatever it is doing, and forget what came for it."""

    context: int


@dataclass(frozen=True, slots=True)
class SendText:
    """Action: send a text message."""

    text: str


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Action: close the connection with this code and reason, behind what was to be sent before."""

    code: int
    reason: str = ""


Action = OpenStream | QueueInput | DropContext | SendText | CloseConnection


class StreamProtocol:
    """Server's side of one WebSocket connection, as a state machine.

    Example:
        >>> protocol = StreamProtocol()
        >>> protocol.receive_text('{"type": "init", "input": "features", "signature": "0910c7a3bf949502"}')
        [OpenStream(context=0, fields={'input': 'features', 'signature': '0910c7a3bf949502'}, credit=False)]
    """

    def __init__(self) -> None:
        self._closing: dict[int, bool] = {}  # contexts that are open, and whether they are being closed
        self._past: dict[int, bool] = {}  # contexts that are over, and whether by an error
        self._inputs: dict[int, str | None] = {}  # of contexts that are open; ``None`` where a token has to tell
        self._sent: dict[int, dict[str, Any]] = {}  # what is known to have been sent of their utterances
        self._all_closing = self._over = False

    @property
    def over(self) -> bool:
        """Whether the connection has been told to end."""
        return self._over

    @property
    def idle(self) -> bool:
        """State of a connection without an open context."""
        return not self._closing

    def receive_text(self, message: str) -> list[Action]:
        """A text message from the client."""
        if self._over:
            return []
        try:
            fields = _parsed(message)
        except (ValueError, RecursionError):
            told = f"a text message of {len(message)} characters is not JSON of at most {MAX_TEXT}"
            return self._fatal(INVALID, "invalid_json", told)
        if not isinstance(fields, dict) or fields.get("type") not in _TYPES:
            told = f"a text message is an object whose type is one of: {', '.join(_TYPES)}"
            return self._fatal(INVALID, "invalid_message", told)
        kind = fields.pop("type")
        if self._all_closing and kind != "cancel":
            return self._after_the_end()
        if kind == "close" and "context" not in fields:
            return self._close_all(fields)
        context = fields.pop("context", 0)
        if type(context) is not int or not 0 <= context < 65536:
            return self._fatal(INVALID, "invalid_message", "context is not a whole number from 0 to 65535")
        if kind == "init":
            return self._init(context, fields)
        if kind == "text":
            return self._text(context, fields)
        if fields:
            return self._mistake(context, "invalid_message", f"{kind} takes a context and nothing else")
        return self._control(context, kind)

    def receive_binary(self, message: bytes) -> list[Action]:
        """A binary message from the client."""
        if self._over:
            return []
        if self._all_closing:
            return self._after_the_end()
        if len(message) < _HEAD.size:
            return self._fatal(INVALID, "invalid_message", "a binary message begins with four bytes of context")
        number = _HEAD.unpack_from(message)[0]
        if self._closing.get(number, True):
            return self._too_late(number, "input")
        data = message[_HEAD.size :]
        return [QueueInput(number, data)] if data else []

    def opened(
        self,
        number: int,
        vocoder: StreamingVocoder,
        request: SoundRequest,
        *,
        resume: str = "",
        credit: int | None = None,
    ) -> list[Action]:
        """The context has its slot; ``request``: of its first utterance, ``resume``: the token to go on with it,
        ``credit``: bytes of input that may have been sent, where the client asked."""
        spec = vocoder.features
        self._inputs[number] = request.input.kind
        ready = {
            "voice": vocoder.name,
            "sample_rate": request.rate or vocoder.sample_rate,
            "format": request.form,
            "feature_signature": spec.signature,
            "hop": spec.hop,
            "bands": spec.bands,
            "synthetic": provenance(vocoder, request.settings, watermark=request.watermark),
            "resume": resume,
        }
        return [_send_json("ready", number, **ready, **({} if credit is None else {"credit": credit}))]

    def sound(self, number: int, data: bytes) -> bytes:
        """The binary message that carries sound of a context."""
        return _HEAD.pack(number) + data

    def sent(self, number: int, utterance: int, **facts: Any) -> None:
        """So much of an utterance has been sent, which a client that cancels is told."""
        if facts.get("word"):
            facts["word"] = _without_type(facts["word"])
        if number in self._closing:
            self._sent[number] = {"utterance": utterance, **facts}

    def told(self, number: int, utterance: int, fields: Mapping[str, Any]) -> list[Action]:
        """A word, phone or mark begins in the sound that comes next."""
        return [_send_json(fields["type"], number, utterance=utterance, **_without_type(fields))]

    def credit(self, number: int, size: int) -> list[Action]:
        """So many bytes of input may have been sent."""
        return [_send_json("credit", number, bytes=size)]

    def ended(self, number: int, utterance: int, **facts: Any) -> list[Action]:
        """All sound of an utterance has been sent, or there was none; ``facts`` go with the message."""
        return [_send_json("flushed", number, utterance=utterance, **facts)]

    def closed(self, number: int) -> list[Action]:
        """A context has come to its end, as the client wished."""
        self._forget(number, failed=False)
        return [DropContext(number), _send_json("closed", number), *self._maybe_close()]

    def failed(self, number: int, code: str, message: str) -> list[Action]:
        """A context went wrong."""
        return self._mistake(number, code, message) if number in self._closing else []

    def lost(self, number: int, message: str) -> list[Action]:
        """The worker of a context is gone; when that was the last context, the connection ends by 1011."""
        return self._last(self.failed(number, "worker_lost", message), INTERNAL, message)

    def silent(self, seconds: float, number: int | None = None) -> list[Action]:
        """Nothing came for so long, and nothing was made; for one context, or for a connection without any."""
        message = f"nothing came for {seconds:g} s"
        if number is None:
            return self._fatal(POLICY, "timeout", message)
        return self._last(self.failed(number, "timeout", message), POLICY, message)

    def _init(self, number: int, fields: dict[str, Any]) -> list[Action]:
        if number in self._closing:
            return self._mistake(number, "context_exists", f"context {number} is open already; close it first")
        for key, value in fields.items():
            if mistake := _mistake_in(key, value):
                return self._mistake(number, "invalid_message", mistake)
        if len(self._closing) >= MAX_CONTEXTS:
            told = f"a connection has at most {MAX_CONTEXTS} contexts; close one"
            return self._mistake(number, "too_many_contexts", told)
        if "resume" not in fields and fields.keys() & {"utterance", "offset"}:
            return self._mistake(number, "invalid_message", "utterance and offset come with resume")
        self._past.pop(number, None)
        self._closing[number] = False
        self._inputs[number] = None if "resume" in fields else fields.get("input", "")
        credit = fields.pop("credit", False)
        return [OpenStream(number, fields, credit)]

    def _text(self, number: int, fields: dict[str, Any]) -> list[Action]:
        text = fields.get("text")
        if fields.keys() != {"text"} or not isinstance(text, str):
            return self._mistake(number, "invalid_message", "text takes a context and text, a string")
        if self._closing.get(number, True):
            return self._too_late(number, "text")
        if self._inputs[number] not in ("text", None):
            return self._mistake(number, "invalid_message", f"context {number} reads no text; init it with input text")
        try:
            data = text.encode()
        except UnicodeEncodeError:
            return self._mistake(number, "invalid_message", "the text cuts a character; send whole ones, or bytes")
        return [QueueInput(number, data)] if data else []

    def _control(self, number: int, kind: str) -> list[Action]:
        if kind == "cancel" and number in self._closing:
            sent = self._sent.get(number, {"utterance": 0, "bytes": 0})
            self._forget(number, failed=False)
            return [DropContext(number), _send_json("cancelled", number, **sent), *self._maybe_close()]
        if self._closing.get(number, True):
            return self._too_late(number, kind)
        if kind == "flush":
            return [QueueInput(number, End.FLUSH)]
        self._closing[number] = True
        return [QueueInput(number, End.CLOSE)]

    def _close_all(self, fields: dict[str, Any]) -> list[Action]:
        if fields:
            return self._fatal(INVALID, "invalid_message", "close takes a context or nothing")
        self._all_closing = True
        still = [number for number, closing in self._closing.items() if not closing]
        self._closing = dict.fromkeys(self._closing, True)
        return [*(QueueInput(number, End.CLOSE) for number in still), *self._maybe_close()]

    def _too_late(self, number: int, what: str) -> list[Action]:
        """A message for a context that is over, or for none. An error of the server's may have crossed it."""
        if number not in self._closing and number not in self._past:
            return self._fatal(POLICY, "unknown_context", f"context {number} is not open; send init first")
        if self._past.get(number) or (number in self._past and what == "cancel"):
            return []
        return self._mistake(number, "after_close", f"{what} came for context {number} after its end")

    def _after_the_end(self) -> list[Action]:
        return self._fatal(POLICY, "after_close", "a message came after close; open another connection")

    def _maybe_close(self) -> list[Action]:
        if self._all_closing and not self._closing and not self._over:
            self._over = True
            return [CloseConnection(NORMAL)]
        return []

    def _last(self, actions: list[Action], code: int, message: str) -> list[Action]:
        if actions and not self._closing and not self._over:
            self._over = True
            actions.append(CloseConnection(code, _reason(message)))
        return actions

    def _forget(self, number: int, *, failed: bool) -> None:
        self._closing.pop(number, None)
        self._inputs.pop(number, None)
        self._sent.pop(number, None)
        self._past.pop(number, None)
        self._past[number] = failed
        if len(self._past) > _MAX_PAST:
            del self._past[next(iter(self._past))]

    def _mistake(self, number: int, code: str, message: str) -> list[Action]:
        actions: list[Action] = [DropContext(number)] if number in self._closing else []
        self._forget(number, failed=True)
        return [*actions, _send_json("error", number, code=code, message=message), *self._maybe_close()]

    def _fatal(self, close: int, code: str, message: str) -> list[Action]:
        actions: list[Action] = [DropContext(number) for number in self._closing]
        self._closing.clear()
        self._inputs.clear()
        self._sent.clear()
        self._over = True
        error = _send_json("error", None, code=code, message=message)
        return [*actions, error, CloseConnection(close, _reason(message))]


def _parsed(message: str) -> Any:
    if len(message) > MAX_TEXT:
        raise ValueError
    return json.loads(message)


def _mistake_in(key: str, value: object) -> str:
    """Mistake in a field of ``init``, whatever the voice; or nothing."""
    if key not in _FIELDS:
        return f"init has no '{key[:40]}'; {nearest(key[:40], _FIELDS)}"
    if type(value) not in _FIELDS[key]:
        return f"init: {key} is not of type {' or '.join(kind.__name__ for kind in _FIELDS[key])}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"init: {key} is not a finite number"
    if isinstance(value, (int, float)) and abs(value) >= _LARGEST:
        return f"init: {key} is out of range; numbers are below 2^64"
    return ""


def _without_type(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != "type"}


def _reason(message: str) -> str:
    return one_line(message).encode()[:_LONGEST_REASON].decode(errors="ignore")


def _send_json(kind: str, context: int | None, **fields: Any) -> SendText:
    if "message" in fields:
        fields["message"] = one_line(fields["message"])
    return SendText(json.dumps({"type": kind, "context": context, **fields}))
