"""``init`` messages of ``WS /v1/stream``: a new stream, or one that is resumed where a connection broke.

The token in ``ready`` says what was asked for and how input comes, not which input: whoever goes on with a stream sends
the input of that utterance again from its beginning, and is sent the sound behind the bytes received.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from seqgen.errors import SeqgenError
from seqgen.runtime.speech import KINDS
from serving.http.protocol import HttpError, require_format
from serving.http.resume import MAX_OFFSET, ResumeClaim, ResumeTokens
from serving.sound.formats import output_rate
from serving.streams.sound import FASTEST, SAMPLE_ENCODINGS, SLOWEST, InputFormat, SoundRequest
from serving.streams.vocoder import StreamingVocoder, VoiceSettings, bears_watermark

_MAX_UTTERANCES = 1 << 32


def read_init(
    fields: Mapping[str, Any], vocoder: StreamingVocoder, *, longest: float, watermark: str = "speech"
) -> SoundRequest:
    """Stream request of an ``init`` message.

    Raises:
        SeqgenError: for a value that the voice cannot follow, or features of another signature (both are named).
    """
    kind, form = fields.get("input"), fields.get("format", "pcm")
    if kind not in ("audio", "features", "text"):
        raise SeqgenError(f"input is {json.dumps(kind)[:40]}", remedy="choose audio, features or text")
    require_format(form)
    if kind == "features" and fields.get("signature") != vocoder.features.signature:
        raise SeqgenError(
            f"feature signature {str(fields.get('signature'))[:40]} does not match {vocoder.features.signature} "
            f"of voice '{vocoder.name}'",
            remedy="prepare the features with the voice's own parameters",
        )
    encoding = fields.get("encoding", "s16le")
    if encoding not in SAMPLE_ENCODINGS:
        raise SeqgenError(f"encoding '{encoding[:40]}' is not known", remedy=f"choose {' or '.join(SAMPLE_ENCODINGS)}")
    settings = VoiceSettings(fields.get("seed", 0), fields.get("temperature", 1.0), fields.get("speaker"))
    vocoder.check(settings)
    settings = replace(settings, temperature=float(settings.temperature))  # a number out of range may have no float
    given = InputFormat(kind, rate=fields.get("rate", vocoder.sample_rate) if kind == "audio" else 0, encoding=encoding)
    given = replace(given, **_text_fields(fields, kind))
    rate = output_rate(form, vocoder.sample_rate, fields.get("output_rate"))
    marked = bears_watermark(vocoder, watermark)
    return SoundRequest(settings, form, given, longest, rate=rate, records=kind == "text", watermark=marked)


def _text_fields(fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What ``init`` says of a text: how fast it is to be spoken, and what is told when it is said."""
    asked = fields.keys() & {"speed", "timestamp_granularities"}
    if kind != "text" and asked:
        raise SeqgenError(f"{min(asked)} comes with input {kind}", remedy="give it with input text alone")
    speed, times = fields.get("speed", 1.0), fields.get("timestamp_granularities", [])
    if not SLOWEST <= speed <= FASTEST:
        raise SeqgenError(f"speed {speed} is out of range", remedy=f"give {SLOWEST} to {FASTEST}")
    if any(one not in KINDS for one in times):
        told = json.dumps(times)[:40]
        raise SeqgenError(f"timestamp_granularities {told} are not known", remedy=f"choose among {', '.join(KINDS)}")
    return {"speed": float(speed), "times": " ".join(times)}


def claim_of(voice: str | None, vocoder: StreamingVocoder, request: SoundRequest) -> ResumeClaim:
    """Resume claim of a stream: all that its sound depends on but the input itself."""
    given = request.input
    how = [f"{given.speed!r}", *given.times.split()] if given.kind == "text" else [f"{given.rate}", given.encoding]
    return ResumeClaim.of(voice, vocoder, request, " ".join([given.kind, *how]))


def read_stream_resumption(fields: Mapping[str, Any], tokens: ResumeTokens) -> tuple[ResumeClaim, Mapping[str, Any]]:
    """Resume claim of an ``init`` with a token, and the fields of the ``init`` that it stands for.

    Raises:
        HttpError: 422 for a token, utterance or offset that cannot be.
    """
    if not fields.keys() <= {"resume", "utterance", "offset"}:
        message = "resume comes with utterance and offset alone; the token holds all else"
        raise HttpError(422, message, code="invalid_resume_token")
    for key, most in (("utterance", _MAX_UTTERANCES), ("offset", MAX_OFFSET)):
        if not 0 <= fields.get(key, 0) <= most:
            raise HttpError(422, f"{key} {fields[key]} is not from 0 to {most}", code="invalid_resume_token")
    claim = tokens.read(fields["resume"])
    kind, *how = claim.input.split()
    if not how:
        raise HttpError(422, "the resume token is one of POST /v1/vocode; go on there", code="invalid_resume_token")
    asked: dict[str, Any] = {"voice": claim.voice, "format": claim.form, "output_rate": claim.rate, "seed": claim.seed,
             "temperature": claim.temperature, "speaker": claim.speaker, "input": kind}  # fmt: skip
    if kind == "text":
        asked |= {"speed": float(how[0]), "timestamp_granularities": how[1:]}
    else:
        asked |= {"rate": int(how[0]) or None, "encoding": how[1]}
    return claim, {key: value for key, value in asked.items() if value is not None}
