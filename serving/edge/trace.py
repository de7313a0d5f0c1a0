"""Trace context of a request: which trace it belongs to, and its own span (W3C Trace Context, version 00)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1  # the one flag that version 00 knows


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Trace context of one request: identifiers in hexadecimal; ``parent`` is the caller's span, where it told one."""

    trace_id: str
    span_id: str
    parent: str = ""
    sampled: bool = False

    @staticmethod
    def of(given: list[bytes]) -> TraceContext:
        """Trace context of a request with these ``traceparent`` headers; a new trace where they are not one valid one.

        Example:
            >>> TraceContext.of([b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]).trace_id
            '0af7651916cd43dd8448eb211c80319c'
        """
        text = given[0].decode("latin-1").strip(" \t") if len(given) == 1 else ""
        found = _TRACEPARENT.fullmatch(text)
        if found is None or not _valid(*found.groups()):
            return TraceContext(secrets.token_hex(16), secrets.token_hex(8))
        _, trace, parent, flags, _ = found.groups()
        return TraceContext(trace, secrets.token_hex(8), parent, bool(int(flags, 16) & _SAMPLED))

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def _valid(version: str, trace: str, parent: str, _: str, rest: str | None) -> bool:
    """Whether the parts of a ``traceparent`` are valid; later versions may add something at the end."""
    known = version != "ff" and (version != "00" or rest is None)
    return known and set(trace) != {"0"} and set(parent) != {"0"}
