"""Playback clock of a listener: when the sound handed over runs out. Times are values; nothing here reads a clock."""

from __future__ import annotations

PREBUFFER = 0.04
"""Seconds that a player waits after its first sound before it plays, as any player on a network does."""


class PlaybackClock:
    """Playback clock of one stream: its listener starts soon after the first sound and goes on while sound is there.

    Args:
        now: seconds, on whatever clock the caller keeps.

    Attributes:
        opened: when the stream was asked for. dry: when the listener has nothing left. underruns: how often it ran
            dry although the server had all it needed to go on.

    Example:
        >>> clock = PlaybackClock(0.0)
        >>> clock.ready(0.0); late = clock.feed(0.01, 0.1); late, round(clock.lead(0.05), 3)
        (False, 0.1)
    """

    def __init__(self, now: float) -> None:
        self.opened = self.dry = now
        self.underruns = 0
        self.started = False
        self._fed = 0
        self._ready: float | None = None

    def lead(self, now: float) -> float:
        """Seconds of sound that the listener still has."""
        return max(0.0, self.dry - now) if self.started else 0.0

    def ready(self, now: float) -> None:
        """The server could go on: there is input, and room for what it makes."""
        if self._ready is None:
            self._ready = now

    def wait(self) -> None:
        """The server cannot go on, for want of input or of a reader; running dry now is not its fault."""
        self._ready = None

    def feed(self, now: float, seconds: float) -> bool:
        """Sound is handed over; tells whether the listener had run dry before it by the server's fault."""
        late = self.started and now > self.dry and self._ready is not None and self._ready < self.dry
        self.underruns += late
        self.dry = (max(self.dry, now) if self.started else now + PREBUFFER) + seconds
        self.started = True
        self._fed += 1
        return late

    def chunk(self, now: float, unit: float, sizes: tuple[int, ...]) -> int:
        """Units to hand over at once, from ``sizes``: chunks grow step by step, as far as the lead covers them.

        ``unit`` is the duration of one in seconds.
        """
        grown = sizes[: self._fed + 1]
        return next((count for count in reversed(grown) if count * unit <= self.lead(now)), sizes[0])
