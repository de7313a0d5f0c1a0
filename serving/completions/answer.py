"""Answers of ``POST /v1/completions``, in the words of the OpenAI interface: whole, or as server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from serving.sound import sse

DONE = b"data: [DONE]\n\n"
"""Event that ends a stream of them."""


class Lines:
    """Lines of JSON that come in pieces cut anywhere.

    Example:
        >>> lines = Lines()
        >>> list(lines.feed(b'{"a": 1}\\n{"b"')), list(lines.feed(b": 2}\\n"))
        ([{'a': 1}], [{'b': 2}])
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Objects of the lines that are whole now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        yield from map(json.loads, whole)


@dataclass
class CompletionAnswer:
    """Answer to one request.

    Attributes:
        model: name that was asked for. fingerprint: of what made the text: with a seed, the same makes the same.
        read, drawn: symbols of the prompts, and made of them.
    """

    model: str
    fingerprint: str
    usage: bool = False
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    read: int = 0
    drawn: int = 0
    _texts: dict[int, list[str]] = field(default_factory=dict)
    _scores: dict[int, dict[str, Any] | None] = field(default_factory=dict)
    _reasons: dict[int, str] = field(default_factory=dict)

    def count(self, line: dict[str, Any]) -> None:
        """Count the symbols that a line tells of."""
        read, drawn = line.get("usage", (0, 0))
        self.read += read
        self.drawn += drawn

    def event(self, index: int, line: dict[str, Any]) -> bytes:
        """Event of a line of one prompt's stream."""
        choice = _choice(index, line["text"], line["logprobs"], line.get("finish_reason"))
        return sse.json_event(self._fields([choice]) | ({"usage": None} if self.usage else {}))

    def end(self) -> bytes:
        """Events that end the answer."""
        return (sse.json_event(self._fields([]) | {"usage": self._usage()}) if self.usage else b"") + DONE

    def add(self, index: int, line: dict[str, Any]) -> None:
        """Keep a line for the whole answer."""
        self._texts.setdefault(index, []).append(line["text"])
        scores = line["logprobs"]
        if scores and self._scores.get(index):
            for key, values in scores.items():
                self._scores[index][key] += values  # type: ignore[index]
        elif scores:
            self._scores[index] = scores
        self._reasons[index] = line.get("finish_reason", "")

    def whole(self) -> bytes:
        """JSON of the whole answer."""
        choices = [
            _choice(index, "".join(texts), self._scores.get(index), self._reasons[index])
            for index, texts in sorted(self._texts.items())
        ]
        return json.dumps(self._fields(choices) | {"usage": self._usage()}).encode()

    def _fields(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }

    def _usage(self) -> dict[str, int]:
        total = self.read + self.drawn
        return {"prompt_tokens": self.read, "completion_tokens": self.drawn, "total_tokens": total}


def _choice(index: int, text: str, scores: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": scores, "finish_reason": reason}
