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
from serving.http.protocol import HttpError, require_format
from serving.http.resume import MAX_OFFSET, ResumeClaim, ResumeTokens
from serving.sound.formats import output_rate
from serving.streams.sound import SAMPLE_ENCODINGS, InputFormat, SoundRequest
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
    if kind not in ("audio", "features"):
        raise SeqgenError(f"input is {json.dumps(kind)[:40]}", remedy="choose audio or features")
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
    rate = output_rate(form, vocoder.sample_rate, fields.get("output_rate"))
    marked = bears_watermark(vocoder, watermark)
    return SoundRequest(settings, form, given, longest, rate=rate, watermark=marked)


def claim_of(voice: str | None, vocoder: StreamingVocoder, request: SoundRequest) -> ResumeClaim:
    """Resume claim of a stream: all that its sound depends on but the input itself."""
    given = request.input
    return ResumeClaim.of(voice, vocoder, request, f"{given.kind} {given.rate} {given.encoding}")


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
    if len(how) != 2:
        raise HttpError(422, "the resume token is one of POST /v1/vocode; go on there", code="invalid_resume_token")
    asked = {"voice": claim.voice, "format": claim.form, "output_rate": claim.rate, "seed": claim.seed,
             "temperature": claim.temperature, "speaker": claim.speaker, "input": kind,
             "rate": int(how[0]) or None, "encoding": how[1]}  # fmt: skip
    return claim, {key: value for key, value in asked.items() if value is not None}
