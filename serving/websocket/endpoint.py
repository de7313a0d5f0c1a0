"""``WS /v1/stream``: from the upgrade, with a slot reserved before it, to the end of the connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from starlette.types import Receive, Scope, Send

from serving.http.keys import Caller
from serving.http.protocol import HttpError, RequestLimits, read_query
from serving.http.responses import deny_upgrade, find_voice, reserve_slot
from serving.http.resume import ResumeTokens
from serving.voices.cache import VoiceCache
from serving.websocket.connection import StreamConnection
from serving.workers.pool import SlotLease, WorkerPool

SUBPROTOCOL = "seqgen"
"""Subprotocol that is spoken, for clients that have to offer one."""
_HASTE = 2.0  # seconds after which a slot that waits for a first context gives way to other requests


class StreamEndpoint:
    """Endpoint ``WS /v1/stream``. A slot is reserved before the upgrade, so a full server answers 503 to it."""

    def __init__(self, cache: VoiceCache, pool: WorkerPool, limits: RequestLimits, tokens: ResumeTokens) -> None:
        self._cache, self._pool, self.limits, self._tokens = cache, pool, limits, tokens

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
        with reserved, self._pool.memory.share() as memory:
            kept = [reserved]
            reserved.give_way = partial(_give_way, kept, time.monotonic())
            told_of: Callable[[HttpError], None] = scope["state"].get("refused", lambda error: None)

            async def lease(name: str | None) -> SlotLease:
                try:
                    return await self._lease(name, kept.pop() if kept else None, caller)
                except HttpError as error:
                    told_of(error)
                    raise

            # A browser that offers protocols hangs up on a server that takes none of them.
            taken = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", []) else None
            await send({"type": "websocket.accept", "subprotocol": taken})
            connection = StreamConnection(
                send,
                self.limits,
                self._tokens,
                lease=lease,
                memory=memory,
                voice=values.get("voice"),
                request_id=scope["state"]["request_id"],
            )
            await connection.run(receive)

    async def _lease(self, name: str | None, reserved: SlotLease | None, caller: Caller | None) -> SlotLease:
        """Lease for a voice, the reserved one where it will do; any further one is a request of its own.

        Raises:
            HttpError: for an unknown voice, no slot, or one more than the caller's key allows.
        """
        if reserved is None and caller is not None:
            caller.charge()
        try:
            voice = await find_voice(self._cache, name)
            if reserved is not None and reserved.model is voice.model:
                kept, reserved = reserved, None
                return kept
        finally:
            if reserved is not None:
                reserved.close()
        return reserve_slot(self._pool, voice, caller)


def _give_way(kept: list[SlotLease], since: float) -> bool:
    """Let go of a slot that is kept for a first context, where that is late; tells whether it was."""
    late = bool(kept) and time.monotonic() - since >= _HASTE
    if late:
        kept.pop().close()
    return late
