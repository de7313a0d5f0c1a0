"""The slot bank: the streams of one worker, stepped together, the most urgent first. No threads and no clock in here.

A turn is ``plan(now)``, which chooses streams for one call of the runtime, ``Batch.run()``, which computes, and
``commit(batch, now)``. What happened in between is taken from :meth:`Bank.events`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from seqgen.errors import SeqgenError
from serving.capacity import SERVING, Capacity, Pace
from serving.playout import PlayClock
from serving.vocoder import PLAN, Audio, Step, Stream, Vocoder, VoiceFailure, advance
from serving.work import Work

LEAD = 3.0
"""Seconds of sound beyond which a listener needs nothing more."""
RING = 2.0
"""Seconds of sound that may wait for a slow reader."""
TURN = 0.010
"""Seconds that one call should take: a newcomer or a cancel waits no longer."""
GRACE = 0.015
"""Seconds within which a newcomer should have its first sound: that is its deadline."""
CATCH_UP = 0.5
"""Seconds of lead beyond which others wait for those whose sound is made again from its beginning, after a break."""
Key = tuple[int, int]
"""A slot and its generation: what comes late for an earlier stream in the same slot finds nobody."""


@dataclass(frozen=True, slots=True)
class Event:
    """What became of a stream.

    Attributes:
        key: which. data: sound. seconds: of it. first: seconds from the start to the first sound, with that sound.
        underrun: the listener had run dry before this. lead: seconds of sound it has with this. over: the stream has
            left its slot. failure: why, where it went wrong.
    """

    key: Key
    data: bytes = b""
    seconds: float = 0.0
    first: float | None = None
    underrun: bool = False
    lead: float = 0.0
    over: bool = False
    failure: Exception | None = None


@dataclass
class Outlet:
    """Counts the bytes between a stream and its listener; each side writes one number only."""

    given: int = 0
    taken: int = 0

    @property
    def waiting(self) -> int:
        """Bytes that the listener has not taken yet."""
        return self.given - self.taken


@dataclass
class _Seat:
    """One stream in its slot."""

    work: Work
    clock: PlayClock
    outlet: Outlet
    held: bytearray = field(default_factory=bytearray)  # made, not handed over
    held_seconds: float = 0.0
    cancelled: bool = False
    full: bool = False  # the reader was too slow when last looked at


@dataclass
class Batch:
    """Streams of one call."""

    vocoder: Vocoder
    keys: list[Key]
    steps: list[tuple[Stream, Step]]
    planned: float  # when
    due: float  # seconds that the call should take; 0 where the voice was not measured
    made: list[Audio | VoiceFailure] = field(default_factory=list)

    def run(self) -> None:
        """Compute; long, and without any part of the bank."""
        self.made = advance(self.vocoder, self.steps)


class Bank:
    """The streams of one worker.

    Args:
        slots: streams at once. ring: seconds that may wait for a reader. capacity: of a voice, to keep turns short.

    Example:
        >>> bank.open((0, 1), work, now=0.0); bank.push((0, 1), body); bank.finish((0, 1))
        >>> while (batch := bank.plan(now)) is not None: batch.run(); bank.commit(batch, now); bank.events()

    Attributes:
        pace: of its calls.
    """

    def __init__(
        self, *, slots: int, ring: float = RING, capacity: Callable[[Vocoder], Capacity] = lambda _: Capacity()
    ) -> None:
        self.slots = slots
        self._ring, self._capacity = ring, capacity
        self._seats: dict[Key, _Seat] = {}
        self._events: list[Event] = []
        self.pace = Pace()

    def __len__(self) -> int:
        return len(self._seats)

    def open(self, key: Key, work: Work, now: float, outlet: Outlet | None = None) -> None:
        """A stream takes a slot."""
        if any(slot == key[0] for slot, _ in self._seats) or len(self._seats) >= self.slots:
            raise ValueError(f"slot {key[0]} is taken")
        self._seats[key] = _Seat(work, PlayClock(now), outlet or Outlet())

    def push(self, key: Key, data: bytes) -> None:
        """More input for a stream; whoever is gone already gets none."""
        self._attempt(key, lambda seat: seat.work.push(data))

    def finish(self, key: Key) -> None:
        """A stream's input is complete."""
        self._attempt(key, lambda seat: seat.work.finish())

    def cancel(self, key: Key) -> None:
        """A stream is not wanted any more; it leaves at the next turn."""
        if key in self._seats:
            self._seats[key].cancelled = True

    def clear(self) -> None:
        """Every stream leaves, now."""
        for key in tuple(self._seats):
            self._leave(key)

    def events(self) -> list[Event]:
        """What happened since the last time."""
        made, self._events = self._events, []
        return made

    def plan(self, now: float) -> Batch | None:
        """The streams of the next call: the one that runs dry first, and all that can go with it."""
        ready: list[tuple[float, Key]] = []
        spare: list[tuple[float, Key]] = []
        for key, seat in list(self._seats.items()):
            if seat.cancelled:
                self._leave(key)
            elif self._ready(key, seat, now):
                if seat.work.skipping:
                    ready.append((CATCH_UP, key))
                    continue
                dry = seat.clock.dry + seat.held_seconds if seat.clock.started else seat.clock.opened + GRACE
                lead = dry - now
                if lead < LEAD:
                    ready.append((lead, key))
                elif seat.work.order.eager:
                    spare.append((lead, key))
        chosen = sorted(ready or spare)
        return self._batch([key for _, key in chosen], now) if chosen else None

    def commit(self, batch: Batch, now: float) -> None:
        """Hand over what a call made, or hold it back until it is a chunk worth sending."""
        self.pace.add(now=now, took=now - batch.planned, due=batch.due)
        for key, made in zip(batch.keys, batch.made, strict=True):
            seat = self._seats.get(key)
            if seat is None or seat.cancelled:
                continue
            if isinstance(made, VoiceFailure):
                self._leave(key, made)
                continue
            try:
                seat.held += seat.work.encode(made)
            except SeqgenError as error:
                self._leave(key, VoiceFailure(str(error)))
                continue
            if not seat.work.skipping:
                seat.held_seconds += len(made) / seat.work.vocoder.sample_rate
            self._hand_over(key, seat, now)

    def rest(self, now: float) -> float | None:
        """Seconds until a turn may find work again after one that found none; ``None``: not before something comes."""
        waits = [seat.clock.lead(now) + seat.held_seconds - LEAD for seat in self._seats.values() if seat.clock.started]
        return min((wait for wait in waits if wait > 0), default=None)

    def roomy(self) -> bool:
        """Whether a reader has made room for a stream that was found without."""
        return any(
            seat.full and seat.outlet.waiting < self._ring * seat.work.byte_rate for seat in self._seats.values()
        )

    def _attempt(self, key: Key, action: Callable[[_Seat], None]) -> None:
        seat = self._seats.get(key)
        if seat is None or seat.cancelled:
            return
        try:
            action(seat)
        except Exception as error:  # whatever goes wrong is this listener's answer, and must not end the worker
            self._leave(key, error)

    def _ready(self, key: Key, seat: _Seat, now: float) -> bool:
        """Whether a stream can be stepped; those that have ended or gone wrong leave."""
        try:
            shape = seat.work.shape(1)
        except Exception as error:  # as in _attempt
            self._leave(key, error)
            return False
        if seat.work.finished:
            self._leave(key, now=now)
            return False
        seat.full = seat.outlet.waiting >= self._ring * seat.work.byte_rate
        if shape is None or seat.full:
            seat.clock.wait()
            if shape is None:
                self._release(key, seat, now)  # more may never come; a listener must not wait for what is made
            return False
        seat.clock.ready(now)
        return True

    def _batch(self, keys: list[Key], now: float) -> Batch:
        first = self._seats[keys[0]]
        vocoder = first.work.vocoder
        near = [key for key in keys if self._seats[key].work.vocoder is vocoder][: vocoder.batch]
        frame = vocoder.features.hop / vocoder.sample_rate
        wanted = PLAN[-1] if first.work.skipping else first.clock.chunk(now, frame)
        capacity = self._capacity(vocoder)
        while wanted > PLAN[0] and capacity.cost(len(near), wanted * frame) > TURN:
            wanted //= 2
        shape = first.work.shape(wanted) or first.work.shape(1)
        assert shape is not None
        chosen = [key for key in near if (stream := self._seats[key].work.stream) is not None and stream.fits(shape)]
        streams = [stream for key in chosen if (stream := self._seats[key].work.stream) is not None]
        due = capacity.cost(len(streams), shape[1] / vocoder.sample_rate) / SERVING
        return Batch(vocoder, chosen, [(stream, stream.step(shape[0])) for stream in streams], now, due)

    def _hand_over(self, key: Key, seat: _Seat, now: float) -> None:
        vocoder = seat.work.vocoder
        frame = vocoder.features.hop / vocoder.sample_rate
        if seat.work.finished:
            self._leave(key, now=now)
        elif seat.held_seconds >= seat.clock.chunk(now, frame) * frame * (1 - 1e-9) or not seat.clock.started:
            self._release(key, seat, now)

    def _release(self, key: Key, seat: _Seat, now: float, *, over: bool = False) -> None:
        """Give the listener what is held."""
        if not seat.held and not seat.held_seconds and not over:
            return
        first = None if seat.clock.started or not seat.held_seconds else now - seat.clock.opened
        seconds, data = seat.held_seconds, bytes(seat.held)
        late = seat.clock.feed(now, seconds) if seconds else False
        seat.held, seat.held_seconds = bytearray(), 0.0
        seat.outlet.given += len(data)
        self._events.append(Event(key, data, seconds, first, late, seat.clock.lead(now), over))

    def _leave(self, key: Key, failure: Exception | None = None, *, now: float | None = None) -> None:
        seat = self._seats.pop(key)
        if now is not None:
            try:
                seat.held += seat.work.ending()
            except SeqgenError as error:
                failure, now = error, None
        if now is not None:
            self._release(key, seat, now, over=True)
        else:
            self._events.append(Event(key, over=True, failure=failure))
