"""What an ``init`` of ``WS /v1/stream`` asks of a voice: a stream anew, or one that goes on where a connection broke.

The token in ``ready`` says what was asked for and how input comes, not which input: whoever goes on with a stream sends
the input of that utterance again from its beginning, and is sent the sound behind the bytes received.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from seqgen.errors import SeqgenError
from serving.encoders import output_rate
from serving.protocol import Refusal, require_format
from serving.resume import LARGEST, Claim, Tokens
from serving.vocoder import Settings, Vocoder
from serving.work import SAMPLES, Input, Order

_MOST_UTTERANCES = 1 << 32


def read_init(fields: Mapping[str, Any], vocoder: Vocoder, *, longest: float) -> Order:
    """What an ``init`` asks of a voice.

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
    if encoding not in SAMPLES:
        raise SeqgenError(f"encoding '{encoding[:40]}' is not known", remedy=f"choose {' or '.join(SAMPLES)}")
    settings = Settings(fields.get("seed", 0), float(fields.get("temperature", 1.0)), fields.get("speaker"))
    vocoder.check(settings)
    given = Input(kind, rate=fields.get("rate", vocoder.sample_rate) if kind == "audio" else 0, encoding=encoding)
    rate = output_rate(form, vocoder.sample_rate, fields.get("output_rate"))
    return Order(settings, form, given, longest, rate=rate)


def claim_of(voice: str | None, vocoder: Vocoder, order: Order) -> Claim:
    """What a stream's sound depends on, its input left out."""
    given = order.input
    return Claim.of(voice, vocoder, order, f"{given.kind} {given.rate} {given.encoding}")


def read_stream_resumption(fields: Mapping[str, Any], tokens: Tokens) -> tuple[Claim, Mapping[str, Any]]:
    """What an ``init`` with a token goes on with, and the fields of the ``init`` that it stands for.

    Raises:
        Refusal: 422 for a token, utterance or offset that cannot be.
    """
    if not fields.keys() <= {"resume", "utterance", "offset"}:
        message = "resume comes with utterance and offset alone; the token holds all else"
        raise Refusal(422, message, code="invalid_resume_token")
    for key, most in (("utterance", _MOST_UTTERANCES), ("offset", LARGEST)):
        if not 0 <= fields.get(key, 0) <= most:
            raise Refusal(422, f"{key} {fields[key]} is not from 0 to {most}", code="invalid_resume_token")
    claim = tokens.read(fields["resume"])
    kind, *how = claim.input.split()
    if len(how) != 2:
        raise Refusal(422, "the resume token is one of POST /v1/vocode; go on there", code="invalid_resume_token")
    asked = {"voice": claim.voice, "format": claim.form, "output_rate": claim.rate, "seed": claim.seed,
             "temperature": claim.temperature, "speaker": claim.speaker, "input": kind,
             "rate": int(how[0]) or None, "encoding": how[1]}  # fmt: skip
    return claim, {key: value for key, value in asked.items() if value is not None}
