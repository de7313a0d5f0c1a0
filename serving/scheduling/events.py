"""Events of streams, and the flow control between a stream and its listener."""

from __future__ import annotations

from dataclasses import dataclass

StreamKey = tuple[int, int]
"""Slot and generation of a stream: what comes late for an earlier stream in the same slot finds nobody."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Event of a stream, from the worker that makes its sound to the listener.

    Attributes:
        key: which. data: sound. seconds: of it. first: seconds from the start to the first sound, with that sound.
        underrun: the listener had run dry before this. lead: seconds of sound it has with this. over: the stream has
            left its slot. failure: why, where it went wrong.
    """

    key: StreamKey
    data: bytes = b""
    seconds: float = 0.0
    first: float | None = None
    underrun: bool = False
    lead: float = 0.0
    over: bool = False
    failure: Exception | None = None


@dataclass
class FlowControl:
    """Flow control of one stream's sound: bytes sent by the stream, bytes consumed by its listener.

    Each side writes one of the numbers only.
    """

    sent: int = 0
    consumed: int = 0

    @property
    def buffered(self) -> int:
        """Bytes that the listener has not consumed yet."""
        return self.sent - self.consumed
