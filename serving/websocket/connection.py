"""One open WebSocket connection: what comes is put in order as it arrives, and its reader waits for nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Receive, Send

from serving.http.protocol import RequestLimits
from serving.http.responses import ClientDisconnected
from serving.http.resume import ResumeTokens
from serving.scheduling.memory import MemoryShare
from serving.websocket import protocol
from serving.websocket.context import ContextHost, StreamContext
from serving.websocket.inputs import InputQueue
from serving.websocket.outbox import Outbox
from serving.workers.pool import SlotLease

log = logging.getLogger("seqgen.serving")
_TURN = 64  # messages after which others have their turn on the event loop


class StreamConnection:
    """Open WebSocket with its contexts: one task reads, one sends, and each context has one.

    The reader waits for the next message and for nothing else, so a cancel is heard whatever came before it.

    Args:
        send: of the connection. lease: finds a voice and takes a slot. memory: share that input waits in.
        voice: named by the upgrade. request_id: for the log.
    """

    def __init__(
        self,
        send: Send,
        limits: RequestLimits,
        tokens: ResumeTokens,
        *,
        lease: Callable[[str | None], Awaitable[SlotLease]],
        memory: MemoryShare,
        voice: str | None,
        request_id: str,
    ) -> None:
        self._limits, self._memory, self._id = limits, memory, request_id
        self._protocol = protocol.StreamProtocol()
        self._outbox = Outbox(send, limits.stall)
        self._host = ContextHost(self._protocol, self._outbox, limits, tokens, lease, self._perform, voice, request_id)
        self._contexts: dict[int, StreamContext] = {}
        self._opened = False  # there was a context
        self._greeting = min(limits.greeting, limits.idle)
        self._ending: set[asyncio.Task[None]] = set()  # of contexts, until they have let go of all they held

    async def run(self, receive: Receive) -> None:
        """Serve until the client hangs up or the protocol ends."""
        sending = asyncio.create_task(self._outbox.run())
        reading = asyncio.create_task(self._read(receive))
        try:
            await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
                await sending
            sending.result()
        except ClientDisconnected:
            log.debug("the client went away", extra={"request": self._id})
        finally:
            for context in self._contexts.values():
                context.drop()
            tasks = {sending, reading, *self._ending}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, receive: Receive) -> None:
        """Take what comes until the protocol is over.

        Raises:
            ClientDisconnected: where the client hangs up before.
        """
        count, begun = 0, asyncio.get_running_loop().time()
        while not self._protocol.over:
            await self._outbox.room()
            count += 1
            if not count % _TURN:
                await asyncio.sleep(0)
            try:
                async with asyncio.timeout(self._patience(begun)):
                    message = await receive()
            except TimeoutError:
                if self._protocol.idle:
                    self._perform(self._protocol.silent(self._limits.idle if self._opened else self._greeting))
                continue
            if message["type"] == "websocket.disconnect":
                raise ClientDisconnected
            if (data := message.get("bytes")) is not None:
                self._perform(self._protocol.receive_binary(data))
            else:
                self._perform(self._protocol.receive_text(message["text"]))

    def _patience(self, begun: float) -> float:
        """Seconds in which something has to come; a slot waits for a first context, whatever else is said."""
        now = asyncio.get_running_loop().time()
        return self._limits.idle if self._opened else max(0.0, begun + self._greeting - now)

    def _perform(self, actions: Sequence[protocol.Action]) -> None:
        for action in actions:
            if isinstance(action, protocol.SendText):
                self._outbox.tell(action.text)
            elif isinstance(action, protocol.CloseConnection):
                self._outbox.close(action.code, action.reason)
            elif isinstance(action, protocol.OpenStream):
                context = StreamContext(action, self._host, InputQueue(self._reserve, self._memory.shrink))
                self._contexts[action.context], self._opened = context, True
                self._ending.add(context.task)
                context.task.add_done_callback(self._ending.discard)
            elif isinstance(action, protocol.DropContext):
                self._contexts.pop(action.context).drop()
            elif not self._contexts[action.context].inputs.put(action.item):
                told = (
                    f"no room for more input behind the {self._memory.size} bytes that wait; ask for credit and heed it"
                )
                self._perform(self._protocol.failed(action.context, "too_much_input", told))

    def _reserve(self, size: int) -> bool:
        return self._memory.size + size <= self._limits.waiting and self._memory.try_grow(size)
