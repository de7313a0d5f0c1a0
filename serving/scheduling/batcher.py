"""Batching of the streams of one worker: stepped together, the most urgent first. No threads and no clock in here.

A turn is ``plan(now)``, which chooses streams for one call of the runtime, ``StreamBatch.run()``, which computes, and
``commit(batch, now)``. What happened in between is taken from :meth:`Batcher.events`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from seqgen.errors import SeqgenError
from serving.scheduling.admission import Pace
from serving.scheduling.events import FlowControl, StreamEvent, StreamKey
from serving.scheduling.playback import PlaybackClock
from serving.streams.capacity import OVERHEAD, Capacity
from serving.streams.contract import ModelFailure, ServedModel, Step, StreamPipeline, StreamRequest
from serving.streams.decoding import Decode, InlineBody

MAX_LEAD = 3.0
"""Seconds of sound beyond which a listener needs nothing more."""
MAX_BUFFERED = 2.0
"""Seconds of sound that may wait for a slow reader."""
CALL_SECONDS = 0.010
"""Seconds that one call should take: a newcomer or a cancel waits no longer."""
FIRST_SOUND = 0.015
"""Seconds within which a newcomer should have its first sound: that is its deadline."""
CATCH_UP_LEAD = 0.5
"""Seconds of lead beyond which others wait for those whose sound is made again from its beginning, after a break, or
whose prompt is read."""
_STEP = 1e-6  # seconds of lead that a step of a backlog is worth: those that had fewest are first


Result = TypeVar("Result")


@dataclass
class Slot:
    """Slot of a worker with the stream that holds it."""

    pipeline: StreamPipeline
    clock: PlaybackClock
    flow: FlowControl
    held: bytearray = field(default_factory=bytearray)  # made, not handed over
    held_seconds: float = 0.0
    cancelled: bool = False
    full: bool = False  # the reader was too slow when last looked at


@dataclass
class StreamBatch:
    """Batch of streams that one call of the runtime advances."""

    model: ServedModel
    keys: list[StreamKey]
    steps: list[Step]
    planned: float  # when
    due: float  # seconds that the call should take; 0 where the model was not measured
    made: list[Any] = field(default_factory=list)

    def run(self) -> None:
        """Compute; long, and without any part of the batcher."""
        self.made = self.model.advance(self.steps)


class Batcher:
    """Batcher of one worker's streams: chooses those of the next call, and hands over what it made.

    Args:
        slots: streams at once. buffered: seconds of output that may wait for a reader. capacity: of a model, to keep
            calls short.

    Example:
        >>> batcher.open((0, 1), model, request, now=0.0); batcher.push((0, 1), body); batcher.finish((0, 1))
        >>> while (batch := batcher.plan(now)) is not None: batch.run(); batcher.commit(batch, now); batcher.events()

    Attributes:
        pace: of its calls. decode: begins to decode a body; by default it is decoded when it is needed, in between.
    """

    def __init__(
        self,
        *,
        slots: int,
        buffered: float = MAX_BUFFERED,
        capacity: Callable[[ServedModel], Capacity] = lambda _: Capacity(),
    ) -> None:
        self.slots = slots
        self._buffered, self._capacity = buffered, capacity
        self._occupied: dict[StreamKey, Slot] = {}
        self._events: list[StreamEvent] = []
        self.pace = Pace()
        self.decode: Decode = InlineBody

    def __len__(self) -> int:
        return len(self._occupied)

    def open(
        self,
        key: StreamKey,
        model: ServedModel,
        request: StreamRequest,
        now: float,
        flow: FlowControl | None = None,
    ) -> None:
        """A stream takes a slot; its pipeline is built here, and where that fails the stream ends with the failure."""
        if any(number == key[0] for number, _ in self._occupied) or len(self._occupied) >= self.slots:
            raise ValueError(f"slot {key[0]} is taken")
        try:
            pipeline = request.pipeline(model, self.decode)
        except Exception as error:  # as in _attempt
            self.reject(key, error)
            return
        self._occupied[key] = Slot(pipeline, PlaybackClock(now), flow or FlowControl())

    def reject(self, key: StreamKey, failure: Exception) -> None:
        """A stream ends with a failure, whether it has taken a slot or not."""
        if key in self._occupied:
            self._leave(key, failure)
        else:
            self._events.append(StreamEvent(key, over=True, failure=failure))

    def push(self, key: StreamKey, data: bytes | memoryview) -> None:
        """More input for a stream; whoever is gone already gets none."""
        self._attempt(key, lambda slot: slot.pipeline.push(data))

    def finish(self, key: StreamKey) -> None:
        """A stream's input is complete."""
        self._attempt(key, lambda slot: slot.pipeline.finish())

    def cancel(self, key: StreamKey) -> None:
        """A stream is not wanted any more; it leaves at the next turn."""
        if key in self._occupied:
            self._occupied[key].cancelled = True

    def clear(self, failure: Exception | None = None) -> None:
        """Every stream leaves, now; ``failure``: what it is told."""
        for key in tuple(self._occupied):
            self._leave(key, failure)

    def events(self) -> list[StreamEvent]:
        """Events since the last time."""
        made, self._events = self._events, []
        return made

    def plan(self, now: float) -> StreamBatch | None:
        """Batch of the next call: the stream that runs dry first, and all that can go with it."""
        ready: list[tuple[float, StreamKey]] = []
        spare: list[tuple[float, StreamKey]] = []
        for key, slot in list(self._occupied.items()):
            if slot.cancelled:
                self._leave(key)
            elif (turn := self._attempt(key, partial(self._turn, key, now))) is not None:
                (ready if turn[1] else spare).append((turn[0], key))
        chosen = [key for _, key in sorted(ready or spare)]
        while chosen:
            if (batch := self._batch(chosen, now)) is not None:
                return batch
            chosen = [key for key in chosen[1:] if key in self._occupied]  # the first of them has left
        return None

    def commit(self, batch: StreamBatch, now: float) -> None:
        """Hand over what a call made, or hold it back until it is a chunk worth sending."""
        self.pace.add(now=now, took=now - batch.planned, due=batch.due)
        for key, made in zip(batch.keys, batch.made, strict=True):
            self._attempt(key, partial(self._accept, key, made, now))

    def rest(self, now: float) -> float | None:
        """Seconds until a turn may find work again after one that found none; ``None``: not before something comes."""
        waits = [
            slot.clock.lead(now) + slot.held_seconds - MAX_LEAD
            for slot in self._occupied.values()
            if slot.clock.started
        ]
        return min((wait for wait in waits if wait > 0), default=None)

    def roomy(self) -> bool:
        """Whether a reader has made room for a stream that was found without."""
        return any(
            slot.full and slot.flow.buffered < self._buffered * slot.pipeline.byte_rate
            for slot in self._occupied.values()
        )

    def _attempt(self, key: StreamKey, action: Callable[[Slot], Result]) -> Result | None:
        """Do something for one stream, the only way in which that is done: what goes wrong ends this stream alone."""
        slot = self._occupied.get(key)
        if slot is None or slot.cancelled:
            return None
        try:
            return action(slot)
        except Exception as error:
            if key in self._occupied:
                self._leave(key, error)
            return None

    def _accept(self, key: StreamKey, made: Any, now: float, slot: Slot) -> None:
        """Take what a call made for a stream."""
        if isinstance(made, ModelFailure):
            raise made
        try:
            slot.held += slot.pipeline.encode(made)
        except SeqgenError as error:  # no fault of what was sent
            raise ModelFailure(str(error)) from error
        seconds = slot.pipeline.seconds(made)
        if slot.pipeline.backlog is not None:
            if seconds:
                self._events.append(StreamEvent(key, seconds=seconds))  # whoever feeds it goes by what was made
        else:
            slot.held_seconds += seconds
        self._hand_over(key, slot, now)

    def _turn(self, key: StreamKey, now: float, slot: Slot) -> tuple[float, bool] | None:
        """Lead of a stream that can be stepped, and whether it needs to be; ``None`` where it cannot, or has enough."""
        if not self._ready(key, now, slot):
            return None
        if steps := slot.pipeline.backlog:
            return CATCH_UP_LEAD + _STEP * steps, True
        dry = slot.clock.dry + slot.held_seconds if slot.clock.started else slot.clock.opened + FIRST_SOUND
        lead = dry - now
        return (lead, lead < MAX_LEAD) if lead < MAX_LEAD or slot.pipeline.request.eager else None

    def _ready(self, key: StreamKey, now: float, slot: Slot) -> bool:
        """Readiness of a stream to be stepped; those that have ended leave."""
        shape = slot.pipeline.shape(1)
        if slot.pipeline.finished:
            self._leave(key, now=now)
            return False
        slot.full = slot.flow.buffered >= self._buffered * slot.pipeline.byte_rate
        if shape is None and slot.pipeline.decoding:
            return False  # which is the server's own work
        if shape is None or slot.full:
            slot.clock.wait()
            if shape is None:
                self._release(key, slot, now)  # more may never come; a listener must not wait for what is made
            return False
        slot.clock.ready(now)
        return True

    def _batch(self, keys: list[StreamKey], now: float) -> StreamBatch | None:
        """Batch of those that can go with the first of them; ``None`` where that one went wrong."""
        first = self._occupied[keys[0]]
        model = first.pipeline.model
        near = [key for key in keys if self._occupied[key].pipeline.model is model][: model.batch]
        wanted = model.sizes[-1]
        if first.pipeline.backlog is None:
            wanted = first.clock.chunk(now, model.unit, model.sizes)
        capacity = self._capacity(model)
        while wanted > model.sizes[0] and capacity.cost(len(near), wanted * model.unit) > CALL_SECONDS:
            wanted //= 2
        shape = self._attempt(keys[0], lambda slot: slot.pipeline.shape(wanted) or slot.pipeline.shape(1))
        if shape is None:
            return None
        due_alone = first.pipeline.duration(shape)
        steps = {
            key: step
            for key in near
            if (step := self._attempt(key, lambda slot: slot.pipeline.step(shape, wanted))) is not None
        }
        aloud = sum(self._occupied[key].pipeline.request.reads_aloud for key in steps)
        due = capacity.cost(len(steps), due_alone) / OVERHEAD + aloud * capacity.text * due_alone
        return StreamBatch(model, list(steps), list(steps.values()), now, due) if steps else None

    def _hand_over(self, key: StreamKey, slot: Slot, now: float) -> None:
        model = slot.pipeline.model
        if slot.pipeline.finished:
            self._leave(key, now=now)
            return
        chunk = slot.clock.chunk(now, model.unit, model.sizes) * model.unit
        if slot.held_seconds >= chunk * (1 - 1e-9) or not slot.clock.started:
            self._release(key, slot, now)

    def _release(self, key: StreamKey, slot: Slot, now: float, *, over: bool = False) -> None:
        """Give the listener what is held."""
        if not slot.held and not slot.held_seconds and not over:
            return
        first = None if slot.clock.started or not slot.held_seconds else now - slot.clock.opened
        seconds, data = slot.held_seconds, bytes(slot.held)
        late = slot.clock.feed(now, seconds) if seconds else False
        slot.held, slot.held_seconds = bytearray(), 0.0
        slot.flow.sent += len(data)
        self._events.append(StreamEvent(key, data, seconds, first, late, slot.clock.lead(now), over))

    def _leave(self, key: StreamKey, failure: Exception | None = None, *, now: float | None = None) -> None:
        slot = self._occupied.pop(key)
        try:
            slot.pipeline.close()
            if now is not None:
                slot.held += slot.pipeline.ending()
                return self._release(key, slot, now, over=True)
        except Exception as error:  # as in _attempt
            failure = failure or error
        self._events.append(StreamEvent(key, over=True, failure=failure))
