"""Protocol of ``WS /v1/stream`` without any I/O: messages in, actions out.

Text messages are JSON objects with a ``type``; ``context`` is a number from 0 to 65535 (0 where it is left out) that
names one of several streams of the connection. Binary messages, both ways, are four bytes, the context as a
little-endian number, and then input or sound.

    client: init {voice, input, rate, encoding, signature, format, output_rate, seed, temperature, speaker}
            init {resume, utterance, offset}   flush   cancel   close
    server: ready   (sound)   flushed   cancelled   closed   error {code, message}

``flush`` ends an utterance: what is owed is made, ``flushed`` follows, and what is sent next begins another one.
``close`` of a context flushes it and frees its slot; without a context it does so for all and ends the connection.
A mistake within a context frees that context; one that belongs to none ends the connection.

After a broken connection ``resume`` is what ``ready`` told, ``utterance`` the first not flushed, and ``offset``
the bytes received of its sound; its input is sent again, and what follows those bytes comes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.http.protocol import nearest, one_line
from serving.scheduling.request import StreamRequest
from serving.voices.vocoder import StreamingVocoder, provenance

MAX_CONTEXTS = 4
MAX_BACKLOG = 1 << 20
"""Bytes that may come for the next utterance while the one before is being ended."""
POLICY, INVALID, INTERNAL, NORMAL = 1008, 1007, 1011, 1000
"""Close codes of RFC 6455, section 7.4.1."""
_HEAD = struct.Struct("<I")
_FIELDS: dict[str, tuple[type, ...]] = {
    "voice": (str,), "input": (str,), "rate": (int,), "encoding": (str,), "signature": (str,), "format": (str,),
    "output_rate": (int,), "seed": (int,), "temperature": (int, float), "speaker": (str,),
    "resume": (str,), "utterance": (int,), "offset": (int,),
}  # fmt: skip
_TYPES = ("init", "flush", "cancel", "close")


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Action: find the voice, take a slot, answer by :meth:`StreamProtocol.opened` or :meth:`StreamProtocol.failed`."""

    context: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BeginUtterance:
    """Action: start utterance number ``utterance`` in the slot of a context."""

    context: int
    utterance: int


@dataclass(frozen=True, slots=True)
class PushInput:
    """Action: push input of the present utterance."""

    context: int
    data: bytes


@dataclass(frozen=True, slots=True)
class FinishInput:
    """Action: end the input of the present utterance."""

    context: int


@dataclass(frozen=True, slots=True)
class ReleaseSlot:
    """Action: give the slot of a context back, whatever it is doing."""

    context: int


@dataclass(frozen=True, slots=True)
class SendText:
    """Action: send a text message."""

    text: str


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Action: close the connection with this code."""

    code: int


Action = OpenStream | BeginUtterance | PushInput | FinishInput | ReleaseSlot | SendText | CloseConnection


@dataclass
class _Context:
    """State of one context of a connection.

    ``asked``: its slot is being found; ``idle``: no utterance; ``busy``: takes input; ``ending``: being flushed.
    """

    state: str = "asked"
    utterance: int = 0
    closing: bool = False
    flush: bool = False  # of what lies in the backlog
    backlog: list[bytes] = field(default_factory=list)


class StreamProtocol:
    """Server's side of one WebSocket connection, as a state machine.

    Example:
        >>> protocol = StreamProtocol()
        >>> protocol.receive_text('{"type": "init", "input": "features", "signature": "0910c7a3bf949502"}')
        [OpenStream(context=0, fields={'input': 'features', 'signature': '0910c7a3bf949502'})]
    """

    def __init__(self) -> None:
        self._contexts: dict[int, _Context] = {}
        self._closing = self._over = False

    @property
    def over(self) -> bool:
        """Whether the connection has been told to end."""
        return self._over

    def receive_text(self, message: str) -> list[Action]:
        """A text message from the client."""
        if self._over:
            return []
        if self._closing:
            return self._fatal(POLICY, "after_close", "a message came after close; open another connection")
        try:
            fields = json.loads(message)
        except (ValueError, RecursionError):
            return self._fatal(INVALID, "invalid_json", f"a text message of {len(message)} characters is not JSON")
        if not isinstance(fields, dict) or fields.get("type") not in _TYPES:
            return self._fatal(
                INVALID, "invalid_message", f"a text message is an object whose type is one of: {', '.join(_TYPES)}"
            )
        kind = fields.pop("type")
        if kind == "close" and "context" not in fields:
            return self._close_all(fields)
        context = fields.pop("context", 0)
        if type(context) is not int or not 0 <= context < 65536:
            return self._fatal(INVALID, "invalid_message", "context is not a whole number from 0 to 65535")
        if kind == "init":
            return self._init(context, fields)
        if fields:
            return self._mistake(context, "invalid_message", f"{kind} takes a context and nothing else")
        if context not in self._contexts:
            return self._fatal(POLICY, "unknown_context", f"context {context} is not open; send init first")
        return {"flush": self._flush, "cancel": self._cancel, "close": self._close}[kind](context)

    def receive_binary(self, message: bytes) -> list[Action]:
        """A binary message from the client."""
        if self._over:
            return []
        if self._closing:
            return self._fatal(POLICY, "after_close", "a message came after close; open another connection")
        if len(message) < _HEAD.size:
            return self._fatal(INVALID, "invalid_message", "a binary message begins with four bytes of context")
        number, data = _HEAD.unpack_from(message)[0], message[_HEAD.size :]
        context = self._contexts.get(number)
        if context is None:
            return self._fatal(POLICY, "unknown_context", f"context {number} is not open; send init first")
        if context.closing:
            return self._mistake(number, "after_close", f"input came for context {number} after its close")
        if not data:
            return []
        if context.state in ("asked", "ending"):
            if context.flush or sum(map(len, context.backlog)) + len(data) > MAX_BACKLOG:
                return self._mistake(
                    number, "too_much_input", f"context {number} is not ready for so much; wait for ready or flushed"
                )
            context.backlog.append(data)
            return []
        return [*self._begin(number, context), PushInput(number, data)]

    def opened(
        self, number: int, vocoder: StreamingVocoder, request: StreamRequest, *, resume: str = ""
    ) -> list[Action]:
        """The context has its slot; ``request``: of its first utterance, ``resume``: the token to go on with it."""
        context = self._contexts.get(number)
        if context is None:
            return [ReleaseSlot(number)]
        spec = vocoder.features
        ready = {
            "voice": vocoder.name,
            "sample_rate": request.rate or vocoder.sample_rate,
            "format": request.form,
            "feature_signature": spec.signature,
            "hop": spec.hop,
            "bands": spec.n_mels,
            "synthetic": provenance(vocoder, request.settings),
            "resume": resume,
        }
        context.state = "idle"
        return [_send_json("ready", number, **ready), *self._work_off(number, context)]

    def sound(self, number: int, data: bytes) -> bytes:
        """The binary message that carries sound of a context."""
        return _HEAD.pack(number) + data

    def ended(self, number: int, **facts: Any) -> list[Action]:
        """All sound of the present utterance has been sent; ``facts`` go with the message."""
        context = self._contexts.get(number)
        if context is None:
            return []
        actions: list[Action] = [_send_json("flushed", number, utterance=context.utterance, **facts)]
        context.utterance += 1
        context.state = "idle"
        return actions + self._work_off(number, context)

    def failed(self, number: int, code: str, message: str) -> list[Action]:
        """A context went wrong: its slot is given back."""
        return self._mistake(number, code, message) if number in self._contexts else []

    def lost(self, number: int, message: str) -> list[Action]:
        """The worker of a context is gone; when that was the last context, the connection ends by 1011."""
        actions = self.failed(number, "worker_lost", message)
        if actions and not self._contexts and not self._over:
            self._over = True
            actions.append(CloseConnection(INTERNAL))
        return actions

    def silent(self, seconds: float) -> list[Action]:
        """Nothing came for so long."""
        return self._fatal(POLICY, "timeout", f"nothing came for {seconds:g} s")

    def _init(self, number: int, fields: dict[str, Any]) -> list[Action]:
        if number in self._contexts:
            return self._mistake(number, "context_exists", f"context {number} is open already; close it first")
        for key, value in fields.items():
            if key not in _FIELDS:
                return self._mistake(number, "invalid_message", f"init has no '{key[:40]}'; {nearest(key, _FIELDS)}")
            if not isinstance(value, _FIELDS[key]) or isinstance(value, bool):
                kinds = " or ".join(kind.__name__ for kind in _FIELDS[key])
                return self._mistake(number, "invalid_message", f"init: {key} is not of type {kinds}")
        if len(self._contexts) >= MAX_CONTEXTS:
            return self._mistake(
                number, "too_many_contexts", f"a connection has at most {MAX_CONTEXTS} contexts; close one"
            )
        if "resume" not in fields and fields.keys() & {"utterance", "offset"}:
            return self._mistake(number, "invalid_message", "utterance and offset come with resume")
        self._contexts[number] = _Context(utterance=fields.get("utterance", 0))
        return [OpenStream(number, fields)]

    def _begin(self, number: int, context: _Context) -> list[Action]:
        if context.state == "busy":
            return []
        context.state = "busy"
        return [BeginUtterance(number, context.utterance)]

    def _flush(self, number: int) -> list[Action]:
        context = self._contexts[number]
        if context.state == "busy":
            context.state = "ending"
            return [FinishInput(number)]
        if context.state == "idle":
            return [_send_json("flushed", number, utterance=context.utterance)]
        context.flush = True  # once it is ready, or the flush under way is done
        return []

    def _cancel(self, number: int) -> list[Action]:
        del self._contexts[number]
        return [ReleaseSlot(number), _send_json("cancelled", number), *self._maybe_close()]

    def _close(self, number: int) -> list[Action]:
        context = self._contexts[number]
        if context.closing:
            return self._mistake(number, "after_close", f"context {number} is closed twice")
        context.closing = True
        if context.state == "idle":
            return self._closed(number)
        return self._flush(number) if context.state == "busy" or context.backlog else []

    def _close_all(self, fields: dict[str, Any]) -> list[Action]:
        if fields:
            return self._fatal(INVALID, "invalid_message", "close takes a context or nothing")
        self._closing = True
        actions: list[Action] = []
        for number in list(self._contexts):
            if not self._contexts[number].closing:
                actions += self._close(number)
        return actions if self._over else actions + self._maybe_close()

    def _closed(self, number: int) -> list[Action]:
        del self._contexts[number]
        return [ReleaseSlot(number), _send_json("closed", number), *self._maybe_close()]

    def _work_off(self, number: int, context: _Context) -> list[Action]:
        """Messages that came while a context could not take them."""
        actions: list[Action] = []
        if context.backlog:
            actions += self._begin(number, context)
            actions += [PushInput(number, data) for data in context.backlog]
            context.backlog = []
        if context.flush:
            context.flush = False
            actions += self._flush(number)
        elif context.closing:
            actions += self._closed(number) if context.state == "idle" else self._flush(number)
        if context.closing and context.state == "idle" and number in self._contexts:
            actions += self._closed(number)
        return actions

    def _maybe_close(self) -> list[Action]:
        if self._closing and not self._contexts and not self._over:
            self._over = True
            return [CloseConnection(NORMAL)]
        return []

    def _mistake(self, number: int, code: str, message: str) -> list[Action]:
        known = self._contexts.pop(number, None) is not None
        actions: list[Action] = [ReleaseSlot(number)] if known else []
        return [*actions, _send_json("error", number, code=code, message=message), *self._maybe_close()]

    def _fatal(self, close: int, code: str, message: str) -> list[Action]:
        actions: list[Action] = [ReleaseSlot(number) for number in self._contexts]
        self._contexts.clear()
        self._over = True
        return [*actions, _send_json("error", None, code=code, message=message), CloseConnection(close)]


def _send_json(kind: str, context: int | None, **fields: Any) -> SendText:
    if "message" in fields:
        fields["message"] = one_line(fields["message"])
    return SendText(json.dumps({"type": kind, "context": context, **fields}))
