"""The protocol of ``WS /v1/stream`` without any I/O: messages in, acts out.

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

from serving.protocol import nearest, one_line
from serving.vocoder import Vocoder, provenance
from serving.work import Order

MOST_CONTEXTS = 4
MOST_BACKLOG = 1 << 20
"""Bytes that may come for the next utterance while the one before is being ended."""
POLICY, INVALID, TRY_LATER, INTERNAL, NORMAL = 1008, 1007, 1013, 1011, 1000
"""Close codes of RFC 6455, section 7.4.1, and the registry that it founds."""
_HEAD = struct.Struct("<I")
_FIELDS: dict[str, tuple[type, ...]] = {
    "voice": (str,), "input": (str,), "rate": (int,), "encoding": (str,), "signature": (str,), "format": (str,),
    "output_rate": (int,), "seed": (int,), "temperature": (int, float), "speaker": (str,),
    "resume": (str,), "utterance": (int,), "offset": (int,),
}  # fmt: skip
_TYPES = ("init", "flush", "cancel", "close")


@dataclass(frozen=True, slots=True)
class Open:
    """Find the voice, take a slot, and answer by :meth:`Session.opened` or :meth:`Session.failed`."""

    context: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Begin:
    """Start utterance number ``utterance`` in the slot of a context."""

    context: int
    utterance: int


@dataclass(frozen=True, slots=True)
class Push:
    """Input for the present utterance."""

    context: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Finish:
    """The input of the present utterance is complete."""

    context: int


@dataclass(frozen=True, slots=True)
class Release:
    """Give the slot of a context back, whatever it is doing."""

    context: int


@dataclass(frozen=True, slots=True)
class Say:
    """Send a text message."""

    text: str


@dataclass(frozen=True, slots=True)
class Hang:
    """Close the connection with this code."""

    code: int


Act = Open | Begin | Push | Finish | Release | Say | Hang


@dataclass
class _Context:
    """``asked``: its slot is being found; ``idle``: no utterance; ``busy``: takes input; ``ending``: being flushed."""

    state: str = "asked"
    utterance: int = 0
    closing: bool = False
    flush: bool = False  # of what lies in the backlog
    backlog: list[bytes] = field(default_factory=list)


class Session:
    """One connection.

    Example:
        >>> session = Session()
        >>> session.text('{"type": "init", "input": "features", "signature": "0910c7a3bf949502"}')
        [Open(context=0, fields={'input': 'features', 'signature': '0910c7a3bf949502'})]
    """

    def __init__(self) -> None:
        self._contexts: dict[int, _Context] = {}
        self._closing = self._over = False

    @property
    def over(self) -> bool:
        """Whether the connection has been told to end."""
        return self._over

    def text(self, message: str) -> list[Act]:
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

    def binary(self, message: bytes) -> list[Act]:
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
            if context.flush or sum(map(len, context.backlog)) + len(data) > MOST_BACKLOG:
                return self._mistake(
                    number, "too_much_input", f"context {number} is not ready for so much; wait for ready or flushed"
                )
            context.backlog.append(data)
            return []
        return [*self._begin(number, context), Push(number, data)]

    def opened(self, number: int, vocoder: Vocoder, order: Order, *, resume: str = "") -> list[Act]:
        """The context has its slot; ``order`` is that of its first utterance, ``resume`` the token to go on with it."""
        context = self._contexts.get(number)
        if context is None:
            return [Release(number)]
        spec = vocoder.features
        ready = {
            "voice": vocoder.name,
            "sample_rate": order.rate or vocoder.sample_rate,
            "format": order.form,
            "feature_signature": spec.signature,
            "hop": spec.hop,
            "bands": spec.n_mels,
            "synthetic": provenance(vocoder, order.settings),
            "resume": resume,
        }
        context.state = "idle"
        return [_say("ready", number, **ready), *self._work_off(number, context)]

    def sound(self, number: int, data: bytes) -> bytes:
        """The binary message that carries sound of a context."""
        return _HEAD.pack(number) + data

    def ended(self, number: int, **facts: Any) -> list[Act]:
        """All sound of the present utterance has been sent; ``facts`` go with the message."""
        context = self._contexts.get(number)
        if context is None:
            return []
        acts: list[Act] = [_say("flushed", number, utterance=context.utterance, **facts)]
        context.utterance += 1
        context.state = "idle"
        return acts + self._work_off(number, context)

    def failed(self, number: int, code: str, message: str) -> list[Act]:
        """A context went wrong: its slot is given back."""
        return self._mistake(number, code, message) if number in self._contexts else []

    def lost(self, number: int, message: str) -> list[Act]:
        """The worker of a context is gone; when that was the last context, the connection ends by 1011."""
        acts = self.failed(number, "worker_lost", message)
        if acts and not self._contexts and not self._over:
            self._over = True
            acts.append(Hang(INTERNAL))
        return acts

    def silent(self, seconds: float) -> list[Act]:
        """Nothing came for so long."""
        return self._fatal(POLICY, "timeout", f"nothing came for {seconds:g} s")

    def _init(self, number: int, fields: dict[str, Any]) -> list[Act]:
        if number in self._contexts:
            return self._mistake(number, "context_exists", f"context {number} is open already; close it first")
        for key, value in fields.items():
            if key not in _FIELDS:
                return self._mistake(number, "invalid_message", f"init has no '{key[:40]}'; {nearest(key, _FIELDS)}")
            if not isinstance(value, _FIELDS[key]) or isinstance(value, bool):
                kinds = " or ".join(kind.__name__ for kind in _FIELDS[key])
                return self._mistake(number, "invalid_message", f"init: {key} is not of type {kinds}")
        if len(self._contexts) >= MOST_CONTEXTS:
            return self._mistake(
                number, "too_many_contexts", f"a connection has at most {MOST_CONTEXTS} contexts; close one"
            )
        if "resume" not in fields and fields.keys() & {"utterance", "offset"}:
            return self._mistake(number, "invalid_message", "utterance and offset come with resume")
        self._contexts[number] = _Context(utterance=fields.get("utterance", 0))
        return [Open(number, fields)]

    def _begin(self, number: int, context: _Context) -> list[Act]:
        if context.state == "busy":
            return []
        context.state = "busy"
        return [Begin(number, context.utterance)]

    def _flush(self, number: int) -> list[Act]:
        context = self._contexts[number]
        if context.state == "busy":
            context.state = "ending"
            return [Finish(number)]
        if context.state == "idle":
            return [_say("flushed", number, utterance=context.utterance)]
        context.flush = True  # once it is ready, or the flush under way is done
        return []

    def _cancel(self, number: int) -> list[Act]:
        del self._contexts[number]
        return [Release(number), _say("cancelled", number), *self._maybe_hang()]

    def _close(self, number: int) -> list[Act]:
        context = self._contexts[number]
        if context.closing:
            return self._mistake(number, "after_close", f"context {number} is closed twice")
        context.closing = True
        if context.state == "idle":
            return self._closed(number)
        return self._flush(number) if context.state == "busy" or context.backlog else []

    def _close_all(self, fields: dict[str, Any]) -> list[Act]:
        if fields:
            return self._fatal(INVALID, "invalid_message", "close takes a context or nothing")
        self._closing = True
        acts: list[Act] = []
        for number in list(self._contexts):
            if not self._contexts[number].closing:
                acts += self._close(number)
        return acts if self._over else acts + self._maybe_hang()

    def _closed(self, number: int) -> list[Act]:
        del self._contexts[number]
        return [Release(number), _say("closed", number), *self._maybe_hang()]

    def _work_off(self, number: int, context: _Context) -> list[Act]:
        """What came while a context could not take it."""
        acts: list[Act] = []
        if context.backlog:
            acts += self._begin(number, context)
            acts += [Push(number, data) for data in context.backlog]
            context.backlog = []
        if context.flush:
            context.flush = False
            acts += self._flush(number)
        elif context.closing:
            acts += self._closed(number) if context.state == "idle" else self._flush(number)
        if context.closing and context.state == "idle" and number in self._contexts:
            acts += self._closed(number)
        return acts

    def _maybe_hang(self) -> list[Act]:
        if self._closing and not self._contexts and not self._over:
            self._over = True
            return [Hang(NORMAL)]
        return []

    def _mistake(self, number: int, code: str, message: str) -> list[Act]:
        known = self._contexts.pop(number, None) is not None
        acts: list[Act] = [Release(number)] if known else []
        return [*acts, _say("error", number, code=code, message=message), *self._maybe_hang()]

    def _fatal(self, close: int, code: str, message: str) -> list[Act]:
        acts: list[Act] = [Release(number) for number in self._contexts]
        self._contexts.clear()
        self._over = True
        return [*acts, _say("error", None, code=code, message=message), Hang(close)]


def _say(kind: str, context: int | None, **fields: Any) -> Say:
    if "message" in fields:
        fields["message"] = one_line(fields["message"])
    return Say(json.dumps({"type": kind, "context": context, **fields}))
