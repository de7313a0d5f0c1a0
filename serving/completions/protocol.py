"""Reading of ``POST /v1/completions`` in the words of the OpenAI interface; without any I/O."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from serving.http.protocol import HttpError, RequestLimits, nearest
from serving.streams.completion import TextRequest
from serving.streams.text import MAX_TEMPERATURE, TextSettings

MOST_PROMPTS = 16
"""Prompts of one request, which are gone on with one after the other."""
MOST_STOPS, LONGEST_STOP = 4, 256
"""Stop sequences of one request, and characters of each."""
MOST_SCORES = 5
"""Most likely symbols that may be told of each one."""
_SEEDS = -(1 << 63), (1 << 64) - 1
_FIELDS = ("model", "prompt", "max_tokens", "temperature", "top_p", "n", "stream", "stream_options", "logprobs", "echo",
           "stop", "seed", "user", "best_of", "suffix", "presence_penalty", "frequency_penalty",
           "logit_bias")  # fmt: skip
_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "suffix": ("",), "presence_penalty": (0,), "frequency_penalty": (0,),
    "logit_bias": ({},),
}  # fmt: skip
"""Fields that are not offered, with the values of each that ask for nothing."""


@dataclass(frozen=True, slots=True)
class Completion:
    """Completion that is asked for.

    Attributes:
        model: its name. prompts: texts to go on with. request: of the stream of each of them.
        stream: as server-sent events. usage: whether the last of these tells the numbers of symbols.
        given: names of the fields that were given.
    """

    model: str
    prompts: tuple[str, ...]
    request: TextRequest
    stream: bool
    usage: bool
    given: frozenset[str]

    def of_translator(self) -> Completion:
        """The same of a translator, where what was not given means otherwise: the most likely target, to its end."""
        settings, longest = self.request.settings, self.request.longest
        if "temperature" not in self.given:
            settings = replace(settings, temperature=0.0)
        if "seed" not in self.given and not settings.temperature:
            settings = replace(settings, seed=0)
        longest = longest if "max_tokens" in self.given else None
        return replace(self, request=replace(self.request, settings=settings, longest=longest))

    def of(self, index: int) -> TextRequest:
        """Request for the stream of one prompt; each has noise of its own."""
        return replace(self.request, settings=replace(self.request.settings, stream=index))


def largest_body(limits: RequestLimits) -> int:
    """Bytes of a request body at most: those of the prompts, each escaped as ``\\u0000``, and of all else."""
    return 6 * limits.prompt + (1 << 16)


def read_completion(body: bytes, limits: RequestLimits) -> Completion:
    """Completion that a request body asks for.

    Raises:
        HttpError: 400 for what is no such request, is beyond the limits, or asks for what is not offered.
    """
    fields = {key: value for key, value in _object(body).items() if value is not None}
    for key in fields:
        if key not in _FIELDS:
            message = f"Unrecognized request argument supplied: {key[:40]}; {nearest(key[:40], _FIELDS)}"
            raise HttpError(400, message, code="unknown_parameter", param=key[:40])
    for key, allowed in _NOTHING.items():
        if key in fields and (isinstance(fields[key], bool) or fields[key] not in allowed):
            message = f"'{key}' is not offered here; leave it out or send {json.dumps(allowed[0])}"
            raise HttpError(400, message, code="unsupported_parameter", param=key)
    for key in ("model", "prompt"):
        if key not in fields:
            message = f"Missing required parameter: '{key}'."
            raise HttpError(400, message, code="missing_required_parameter", param=key)
    stream = _flag(fields, "stream")
    top = _whole(fields, "logprobs", None, 0, MOST_SCORES)
    seed = _whole(fields, "seed", None, *_SEEDS)
    temperature = _real(fields, "temperature", 1.0, MAX_TEMPERATURE)
    if seed is None:
        seed = secrets.randbits(63) if temperature else 0  # of the most likely text there is one
    settings = TextSettings(
        seed=seed % (1 << 64),
        temperature=temperature,
        top_p=_real(fields, "top_p", 1.0, 1.0),
    )
    request = TextRequest(
        settings,
        longest=_whole(fields, "max_tokens", 16, 0, limits.tokens) or 0,
        stops=_stops(fields.get("stop", [])),
        echo=_flag(fields, "echo"),
        top=top,
        prompt=limits.prompt,
    )
    _text(fields, "user", "")
    prompts = _prompts(fields["prompt"], limits)
    usage = _usage(fields, stream=stream)
    return Completion(_text(fields, "model", ""), prompts, request, stream, usage, frozenset(fields))


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise HttpError(400, "the request body is not JSON", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise HttpError(400, "the request body is not a JSON object", code="invalid_json")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _prompts(given: Any, limits: RequestLimits) -> tuple[str, ...]:
    prompts = [given] if isinstance(given, str) else given
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise _wrong("prompt", "a string or a list of strings; lists of tokens are not offered")
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise _out("prompt", f"{len(prompts)} prompts are not 1 to {MOST_PROMPTS}")
    for prompt in prompts:
        _require_characters("prompt", prompt)
    if (size := sum(len(prompt.encode()) for prompt in prompts)) > limits.prompt:
        message = f"the prompt has {size} bytes, the most taken here are {limits.prompt}; send the last part of it only"
        raise HttpError(400, message, code="context_length_exceeded", param="prompt")
    return tuple(prompts)


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise _wrong("stop", "a string or a list of strings")
    if len(stops) > MOST_STOPS or not all(1 <= len(stop) <= LONGEST_STOP for stop in stops):
        raise _out("stop", f"give up to {MOST_STOPS} sequences of 1 to {LONGEST_STOP} characters")
    for stop in stops:
        _require_characters("stop", stop)
    return tuple(stops)


def _usage(fields: Mapping[str, Any], *, stream: bool) -> bool:
    options = fields.get("stream_options", {})
    if not isinstance(options, dict):
        raise _wrong("stream_options", "an object")
    if options and not stream:
        raise _out("stream_options", 'it goes with "stream": true only')
    for key in options:
        if key != "include_usage":
            name = f"stream_options.{key[:40]}"
            raise HttpError(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    return _flag(options, "include_usage")


def _text(fields: Mapping[str, Any], key: str, default: str) -> str:
    value = fields.get(key, default)
    if not isinstance(value, str):
        raise _wrong(key, "a string")
    _require_characters(key, value)
    return value


def _flag(fields: Mapping[str, Any], key: str) -> bool:
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise _wrong(key, "true or false")
    return bool(value)


def _whole(fields: Mapping[str, Any], key: str, default: int | None, least: int, most: int) -> int | None:
    value = fields.get(key, default)
    if isinstance(value, float) and value.is_integer():  # 1.0 is an integer of JSON
        value = int(value)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise _wrong(key, "an integer")
    if value is not None and not least <= value <= most:
        raise _out(key, f"give an integer from {least} to {most}")
    return value


def _real(fields: Mapping[str, Any], key: str, default: float, most: float) -> float:
    value = fields.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(key, "a number")
    if not 0 <= value <= most:
        raise _out(key, f"give a number from 0 to {most:g}")
    return float(value)


def _require_characters(key: str, text: str) -> None:
    """Refuse halves of surrogate pairs, which JSON can write and text cannot have."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _out(key, "it holds half a surrogate pair, which is no character")


def _wrong(key: str, wanted: str) -> HttpError:
    return HttpError(400, f"Invalid type for '{key}': expected {wanted}.", code="invalid_type", param=key)


def _out(key: str, told: str) -> HttpError:
    return HttpError(400, f"Invalid value for '{key}': {told}.", code="invalid_value", param=key)
