"""``WS /v1/stream``: moves the messages of :class:`serving.websocket.protocol.StreamProtocol` and holds the slots."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from seqgen.errors import SeqgenError
from serving.http.keys import Caller
from serving.http.protocol import HttpError, RequestLimits, read_query
from serving.http.responses import ClientDisconnected, deny_upgrade, find_voice, reserve_slot
from serving.http.resume import ResumeClaim, ResumeTokens, require_same
from serving.scheduling.request import StreamRequest
from serving.voices.cache import VoiceCache
from serving.websocket import protocol
from serving.websocket.init_message import claim_of, read_init, read_stream_resumption
from serving.workers.pool import Abandoned, SlotLease, WorkerPool
from serving.workers.worker import WorkerLost

log = logging.getLogger("seqgen.serving")
MAX_INPUT_AHEAD = 30.0
"""Seconds of input that may wait in a slot; beyond, nothing more is read from the connection for a while."""
SUBPROTOCOL = "seqgen"
"""Subprotocol that is spoken, for clients that have to offer one."""


class StreamEndpoint:
    """Endpoint ``WS /v1/stream``. A slot is reserved before the upgrade, so a full server answers 503 to it."""

    def __init__(self, cache: VoiceCache, pool: WorkerPool, limits: RequestLimits, tokens: ResumeTokens) -> None:
        self._cache, self._pool, self._limits, self.tokens = cache, pool, limits, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            values = read_query(scope["query_string"], ("voice",))
            voice = await find_voice(self._cache, values.get("voice"), named_later=True)
            caller = scope["state"].get("caller")
            reserved = reserve_slot(self._pool, voice, caller)
        except HttpError as error:
            await deny_upgrade(error, scope, send)
            return
        with reserved:
            # A browser that offers protocols hangs up on a server that takes none of them.
            taken = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", []) else None
            await send({"type": "websocket.accept", "subprotocol": taken})
            connection = _Connection(self, reserved, values.get("voice"), send, scope["state"])
            await connection.run(receive)

    async def lease(self, name: str | None, reserved: SlotLease | None, caller: Caller | None) -> SlotLease:
        """Lease for a voice, the reserved one where it will do; any further one is a request of its own.

        Raises:
            HttpError: for an unknown voice, no slot, or one more than the caller's key allows.
        """
        if reserved is None and caller is not None:
            caller.charge()
        try:
            voice = await find_voice(self._cache, name)
            if reserved is not None and reserved.vocoder is voice.vocoder:
                kept, reserved = reserved, None
                return kept
        finally:
            if reserved is not None:
                reserved.close()
        return reserve_slot(self._pool, voice, caller)

    @property
    def limits(self) -> RequestLimits:
        """Limits of what one stream may cost."""
        return self._limits


class _Connection:
    """Open WebSocket with the slots of its contexts."""

    def __init__(
        self, streams: StreamEndpoint, reserved: SlotLease, voice: str | None, send: Send, state: Mapping[str, Any]
    ) -> None:
        self._streams, self._voice, self._send, self._id = streams, voice, send, state["request_id"]
        self._caller: Caller | None = state.get("caller")
        self._reserved: SlotLease | None = reserved
        self._protocol = protocol.StreamProtocol()
        self._leases: dict[int, tuple[SlotLease, StreamRequest]] = {}
        self._pumps: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()

    async def run(self, receive: Receive) -> None:
        """Serve until the client hangs up or the protocol ends."""
        try:
            while not self._protocol.over:
                await self._receive(receive)
        except (OSError, ClientDisconnected):
            log.debug("the client went away", extra={"request": self._id})
        finally:
            for lease, _ in self._leases.values():
                lease.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _receive(self, receive: Receive) -> None:
        patience = self._streams.limits.idle
        try:
            async with asyncio.timeout(patience):
                message = await receive()
        except TimeoutError:
            if not any(lease.running for lease, _ in self._leases.values()):
                await self._perform(self._protocol.silent(patience))
            return
        if message["type"] == "websocket.disconnect":
            raise ClientDisconnected
        if (data := message.get("bytes")) is not None:
            await self._perform(self._protocol.receive_binary(data))
        else:
            await self._perform(self._protocol.receive_text(message["text"]))

    async def _perform(self, actions: Sequence[protocol.Action]) -> None:
        for action in actions:
            if isinstance(action, protocol.SendText):
                await self._put({"type": "websocket.send", "text": action.text})
            elif isinstance(action, protocol.CloseConnection):
                await self._put({"type": "websocket.close", "code": action.code})
            elif isinstance(action, protocol.OpenStream):
                await self._open(action)
            elif isinstance(action, protocol.ReleaseSlot):
                if action.context in self._leases:
                    self._leases.pop(action.context)[0].close()
            else:
                await self._step(action)

    async def _open(self, action: protocol.OpenStream) -> None:
        fields, claim, tokens = action.fields, None, self._streams.tokens
        try:
            if "resume" in fields:
                claim, fields = read_stream_resumption(fields, tokens)
            voice = fields.get("voice", self._voice)
            reserved, self._reserved = self._reserved, None
            lease = await self._streams.lease(voice, reserved, self._caller)
        except HttpError as error:
            return await self._perform(self._protocol.failed(action.context, _code(error), error.message))
        try:
            request = self._request(fields, lease, claim)
            asked = claim_of(voice, lease.vocoder, request)
            if claim is not None:
                require_same(claim, asked)
                request = replace(request, skip=action.fields.get("offset", 0))
        except (SeqgenError, HttpError) as error:
            lease.close()
            code = _code(error) if isinstance(error, HttpError) else "invalid_init"
            return await self._perform(self._protocol.failed(action.context, code, str(error)))
        self._leases[action.context] = lease, request
        await self._perform(self._protocol.opened(action.context, lease.vocoder, request, resume=tokens.write(asked)))

    def _request(self, fields: Mapping[str, Any], lease: SlotLease, claim: ResumeClaim | None) -> StreamRequest:
        if claim is not None:  # a voice that has changed is told by what it was, not by its features
            fields = {**fields, "signature": lease.vocoder.features.signature}
        request = read_init(fields, lease.vocoder, longest=self._streams.limits.sound)
        request.check(lease.vocoder)
        return request

    async def _step(self, action: protocol.BeginUtterance | protocol.PushInput | protocol.FinishInput) -> None:
        if action.context not in self._leases:
            return  # it failed while this was on its way
        lease, request = self._leases[action.context]
        if isinstance(action, protocol.BeginUtterance):
            lease.start(replace(request, settings=replace(request.settings, stream=action.utterance)))
            self._leases[action.context] = lease, replace(request, skip=0)  # of the first utterance only
            pump = asyncio.create_task(self._pump(action.context, lease))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        elif isinstance(action, protocol.PushInput):
            lease.push(action.data)
            await lease.room(MAX_INPUT_AHEAD)
        else:
            lease.finish()

    async def _pump(self, context: int, lease: SlotLease) -> None:
        """Send the sound of one utterance to the client."""
        try:
            while (chunk := await lease.take()) is not None:
                await self._put({"type": "websocket.send", "bytes": self._protocol.sound(context, chunk)})
            actions = self._protocol.ended(context, underruns=lease.underruns)
        except Abandoned:
            return
        except (OSError, ClientDisconnected):
            return lease.close()
        except SeqgenError as error:
            actions = self._protocol.failed(context, "invalid_input", str(error))
        except WorkerLost as error:
            log.error("a stream was cut: %s", error, extra={"request": self._id})
            actions = self._protocol.lost(context, f"{error}; connect again")
        except Exception:
            log.exception("a stream failed", extra={"request": self._id})
            message = f"the voice failed; see the server's log for request {self._id}"
            actions = self._protocol.failed(context, "internal_error", message)
        with contextlib.suppress(OSError, ClientDisconnected):
            await self._perform(actions)

    async def _put(self, message: dict[str, object]) -> None:
        try:
            async with self._sending, asyncio.timeout(self._streams.limits.stall):
                await self._send(message)
        except TimeoutError:
            raise ClientDisconnected from None
        except RuntimeError as error:  # the server's word for sending after the close
            raise ClientDisconnected from error


def _code(error: HttpError) -> str:
    return "overloaded" if error.status == 503 else error.code or "invalid_message"
