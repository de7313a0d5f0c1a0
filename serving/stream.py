"""``WS /v1/stream``: the shell around :class:`serving.session.Session`; it moves messages and holds the slots."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from seqgen.errors import SeqgenError
from serving import protocol
from serving.crew import Abandoned, Crew, Ticket
from serving.opening import claim_of, read_init, read_stream_resumption
from serving.protocol import Limits, Refusal
from serving.resume import Claim, Tokens, require_same
from serving.session import TRY_LATER, Act, Begin, Finish, Hang, Open, Push, Release, Say, Session
from serving.shelf import Shelf
from serving.vocode import admit, find
from serving.work import Order
from serving.worker import WorkerLost

log = logging.getLogger("seqgen.serving")
AHEAD = 30.0
"""Seconds of input that may wait in a slot; beyond, nothing more is read from the connection for a while."""
PROTOCOL, KEY_PROTOCOL = "seqgen", "seqgen-key."
"""Subprotocols: what is spoken, for who has to offer one; and what stands before an API key, for who has no headers."""


class Streams:
    """The endpoint. A slot is reserved before the upgrade, so a full server answers 503 to it."""

    def __init__(self, shelf: Shelf, crew: Crew, limits: Limits, tokens: Tokens) -> None:
        self._shelf, self._crew, self._limits, self.tokens = shelf, crew, limits, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            values = protocol.read_query(scope["query_string"], ("voice",))
            voice = await find(self._shelf, values.get("voice"))
            reserved = admit(self._crew, voice)
        except Refusal as refusal:
            await deny(refusal, scope, send)
            return
        with reserved:
            # A browser that offers protocols hangs up on a server that takes none of them.
            taken = PROTOCOL if PROTOCOL in scope.get("subprotocols", []) else None
            await send({"type": "websocket.accept", "subprotocol": taken})
            connection = _Connection(self, reserved, values.get("voice"), send, scope["state"]["request_id"])
            await connection.run(receive)

    async def ticket(self, name: str | None, reserved: Ticket | None) -> Ticket:
        """A slot for a voice, the reserved one where it will do.

        Raises:
            Refusal: for an unknown voice, or no slot.
        """
        try:
            voice = await find(self._shelf, name)
            if reserved is not None and reserved.vocoder is voice.vocoder:
                kept, reserved = reserved, None
                return kept
        finally:
            if reserved is not None:
                reserved.close()
        return admit(self._crew, voice)

    @property
    def limits(self) -> Limits:
        """What one stream may cost."""
        return self._limits


class _Connection:
    """One WebSocket."""

    def __init__(self, streams: Streams, reserved: Ticket, voice: str | None, send: Send, request_id: str) -> None:
        self._streams, self._voice, self._send, self._id = streams, voice, send, request_id
        self._reserved: Ticket | None = reserved
        self._session = Session()
        self._tickets: dict[int, tuple[Ticket, Order]] = {}
        self._pumps: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()

    async def run(self, receive: Receive) -> None:
        """Until the client hangs up or the session ends."""
        try:
            while not self._session.over:
                await self._receive(receive)
        except (OSError, ClientLeft):
            log.debug("the client went away", extra={"request": self._id})
        finally:
            for ticket, _ in self._tickets.values():
                ticket.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _receive(self, receive: Receive) -> None:
        patience = self._streams.limits.idle
        try:
            async with asyncio.timeout(patience):
                message = await receive()
        except TimeoutError:
            if not any(ticket.running for ticket, _ in self._tickets.values()):
                await self._act(self._session.silent(patience))
            return
        if message["type"] == "websocket.disconnect":
            raise ClientLeft
        if (data := message.get("bytes")) is not None:
            await self._act(self._session.binary(data))
        else:
            await self._act(self._session.text(message["text"]))

    async def _act(self, acts: Sequence[Act]) -> None:
        for act in acts:
            if isinstance(act, Say):
                await self._put({"type": "websocket.send", "text": act.text})
            elif isinstance(act, Hang):
                await self._put({"type": "websocket.close", "code": act.code})
            elif isinstance(act, Open):
                await self._open(act)
            elif isinstance(act, Release):
                if act.context in self._tickets:
                    self._tickets.pop(act.context)[0].close()
            else:
                await self._step(act)

    async def _open(self, act: Open) -> None:
        fields, claim, tokens = act.fields, None, self._streams.tokens
        try:
            if "resume" in fields:
                claim, fields = read_stream_resumption(fields, tokens)
            voice = fields.get("voice", self._voice)
            reserved, self._reserved = self._reserved, None
            ticket = await self._streams.ticket(voice, reserved)
        except Refusal as refusal:
            return await self._act(self._session.failed(act.context, _code(refusal), refusal.message))
        try:
            order = self._order(fields, ticket, claim)
            asked = claim_of(voice, ticket.vocoder, order)
            if claim is not None:
                require_same(claim, asked)
                order = replace(order, skip=act.fields.get("offset", 0))
        except (SeqgenError, Refusal) as error:
            ticket.close()
            code = _code(error) if isinstance(error, Refusal) else "invalid_init"
            return await self._act(self._session.failed(act.context, code, str(error)))
        self._tickets[act.context] = ticket, order
        await self._act(self._session.opened(act.context, ticket.vocoder, order, resume=tokens.write(asked)))

    def _order(self, fields: Mapping[str, Any], ticket: Ticket, claim: Claim | None) -> Order:
        if claim is not None:  # a voice that has changed is told by what it was, not by its features
            fields = {**fields, "signature": ticket.vocoder.features.signature}
        order = read_init(fields, ticket.vocoder, longest=self._streams.limits.sound)
        ticket.check(order)
        return order

    async def _step(self, act: Begin | Push | Finish) -> None:
        if act.context not in self._tickets:
            return  # it failed while this was on its way
        ticket, order = self._tickets[act.context]
        if isinstance(act, Begin):
            ticket.start(replace(order, settings=replace(order.settings, stream=act.utterance)))
            self._tickets[act.context] = ticket, replace(order, skip=0)  # of the first utterance only
            pump = asyncio.create_task(self._pump(act.context, ticket))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        elif isinstance(act, Push):
            ticket.push(act.data)
            await ticket.room(AHEAD)
        else:
            ticket.finish()

    async def _pump(self, context: int, ticket: Ticket) -> None:
        """Sound of one utterance to the client."""
        try:
            while (chunk := await ticket.take()) is not None:
                await self._put({"type": "websocket.send", "bytes": self._session.sound(context, chunk)})
            acts = self._session.ended(context, underruns=ticket.underruns)
        except Abandoned:
            return
        except (OSError, ClientLeft):
            return ticket.close()
        except SeqgenError as error:
            acts = self._session.failed(context, "invalid_input", str(error))
        except WorkerLost as error:
            log.error("a stream was cut: %s", error, extra={"request": self._id})
            acts = self._session.lost(context, f"{error}; connect again")
        except Exception:
            log.exception("a stream failed", extra={"request": self._id})
            message = f"the voice failed; see the server's log for request {self._id}"
            acts = self._session.failed(context, "internal_error", message)
        with contextlib.suppress(OSError, ClientLeft):
            await self._act(acts)

    async def _put(self, message: dict[str, object]) -> None:
        try:
            async with self._sending, asyncio.timeout(self._streams.limits.stall):
                await self._send(message)
        except TimeoutError:
            raise ClientLeft from None
        except RuntimeError as error:  # the server's word for sending after the close
            raise ClientLeft from error


def _code(refusal: Refusal) -> str:
    return "overloaded" if refusal.status == 503 else refusal.code or "invalid_message"


class ClientLeft(Exception):
    """The client hung up, or reads no more."""


async def deny(refusal: Refusal, scope: Scope, send: Send) -> None:
    """Refuse an upgrade: as an HTTP answer where the server can, else by a close."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": TRY_LATER, "reason": refusal.message[:120]})
        return
    body = protocol.error_body(refusal.status, refusal.message, refusal.code)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *refusal.headers]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
