"""Names by which a voice that reads is asked for: its own, an alias, or a usual one where there is but one voice."""

from __future__ import annotations

from collections.abc import Iterable

from serving.http.protocol import HttpError
from serving.voices.cache import VoiceCache

USUAL = frozenset((
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
    "tts-1", "tts-1-hd", "gpt-4o-mini-tts",
))  # fmt: skip
"""Voices and models of OpenAI, which clients ask for that were told nothing."""


def readers(cache: VoiceCache) -> list[str]:
    """Names of the voices that are offered and read text."""
    return [name for name in cache.voices() if cache.describe(name).get("reads")]


def usual_reader(cache: VoiceCache) -> str | None:
    """Voice that reads for whoever names none: the server's default, or else the only one."""
    known = readers(cache)
    default = cache.resolve(cache.default or "")
    return default if default in known else known[0] if len(known) == 1 else None


def named_reader(cache: VoiceCache, names: Iterable[str]) -> str | None:
    """First voice that reads of those that names stand for."""
    known = readers(cache)
    return next((name for name in map(cache.resolve, names) if name in known), None)


def require_reader(cache: VoiceCache, voice: str, model: str) -> str:
    """Name of the voice that is to speak, by the two names of a request; the first goes before.

    Raises:
        HttpError: for a model that is not there, makes no sound, or cannot read.
    """
    name = named_reader(cache, (voice, model))
    real = cache.resolve(model)
    if name is None and real not in cache.names() and {voice, model} <= USUAL:
        name = usual_reader(cache)
    if name is not None:
        return name
    if real not in cache.names():
        known = ", ".join([*cache.names(), *cache.aliased()]) or "none"
        told = f"the model '{model[:60]}' does not exist; models here: {known}"
        raise HttpError(404, told, code="model_not_found", param="model")
    if real not in cache.voices():
        told = f"'{model}' makes text and no sound; send its prompts to POST /v1/completions"
        raise HttpError(400, told, code="model_is_no_voice", param="model")
    told = (
        f"voice '{model}' is a vocoder: it makes sound from log-mel features or from a recording and cannot read "
        "text. Send features or audio to POST /v1/vocode or WS /v1/stream, or install a voice that reads text"
    )
    raise HttpError(400, told, code="voice_has_no_text_front_end", param="model")
