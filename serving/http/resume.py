"""Resumption of a sound after its connection broke, on any replica, by a signed token of what was asked for.

Every answer of ``POST /v1/vocode`` carries one in ``X-Resume-Token``. Who has received N bytes of that answer sends the
same body with ``?resume=TOKEN&offset=N`` and gets the bytes after them, and a token that counts from there. Nothing is
kept between the two: the same voice, settings and input give the same bytes, so the sound is made again up to the
offset and dropped, which takes computing but no listening. Replicas take each other's tokens where they share a secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from seqgen.errors import SeqgenError
from serving.http.protocol import HttpError
from serving.streams.sound import SoundRequest
from serving.streams.vocoder import StreamingVocoder

MAX_OFFSET = 1 << 36
"""Bytes of sound at most, of which an answer may be resumed."""
_LONGEST_TOKEN = 2048
_SHORTEST_SECRET = 32


@dataclass(frozen=True, slots=True)
class ResumeClaim:
    """Claim of a resume token: all that a sound depends on.

    Attributes:
        voice: its name where the request gave one. digest: of its manifest.
        runtime: what runs it, and how it holds the weights.
        seed, temperature, speaker, form, rate: of the request. input: SHA-256 of the body in hexadecimal.
        offset: bytes of the sound before those of the answer that the token came with. watermark: of the request.
    """

    voice: str | None
    digest: str
    runtime: str
    seed: int
    temperature: float
    speaker: str | None
    form: str
    rate: int
    input: str
    offset: int = 0
    watermark: bool = False

    @staticmethod
    def of(voice: str | None, vocoder: StreamingVocoder, request: SoundRequest, body: str) -> ResumeClaim:
        """Claim of a request with a body of that hash, to a voice asked for by that name."""
        settings = request.settings
        return ResumeClaim(
            voice,
            vocoder.manifest.digest,
            f"{vocoder.runtime.name} {vocoder.runtime.format}",
            settings.seed,
            settings.temperature,
            settings.speaker,
            request.form,
            request.rate,
            body,
            watermark=request.watermark,
        )

    def query(self) -> dict[str, str]:
        """Query parameters of the request that it was made of."""
        values = {"seed": str(self.seed), "temperature": repr(self.temperature), "format": self.form}
        optional = {"voice": self.voice, "rate": str(self.rate) if self.rate else None, "speaker": self.speaker}
        return values | {key: value for key, value in optional.items() if value is not None}


class ResumeTokens:
    """Writer and reader of signed resume tokens.

    Args:
        secret: shared by all replicas; without one, tokens die with this server.

    Example:
        >>> tokens = ResumeTokens(bytes(32))
        >>> tokens.read(tokens.write(claim)) == claim       # doctest: +SKIP
        True
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(_SHORTEST_SECRET)

    def write(self, claim: ResumeClaim) -> str:
        """Token of a claim."""
        body = json.dumps(asdict(claim), separators=(",", ":")).encode()
        return f"{_text(body)}.{_text(self._sign(body))}"

    def read(self, token: str) -> ResumeClaim:
        """Claim of a token.

        Raises:
            HttpError: 422 for one that this server did not write, nor any other with its secret.
        """
        try:
            body, sign = (base64.b64decode(part + "=" * (-len(part) % 4), b"-_", True) for part in token.split("."))
            if len(token) > _LONGEST_TOKEN or not hmac.compare_digest(sign, self._sign(body)):
                raise ValueError
            return ResumeClaim(**json.loads(body))
        except (ValueError, TypeError):
            message = "the resume token was not written by this server or one that shares its secret; ask without it"
            raise HttpError(422, message, code="invalid_resume_token") from None

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, b"seqgen resume 1\0" + body, hashlib.sha256)


def read_resumption(values: Mapping[str, str], tokens: ResumeTokens) -> tuple[Mapping[str, str], ResumeClaim | None]:
    """Query parameters that a request stands for, and what it goes on with where it does.

    Raises:
        HttpError: 422 for a token or offset that cannot be, or parameters beside them.
    """
    if "resume" not in values and "offset" not in values:
        return values, None
    if values.keys() != {"resume", "offset"}:
        message = "resume and offset come together and alone; the token holds all other parameters"
        raise HttpError(422, message, code="invalid_resume_token")
    if not re.fullmatch(r"[0-9]{1,11}", values["offset"]) or int(values["offset"]) > MAX_OFFSET:
        raise HttpError(422, "offset is not a number of bytes received; give digits", code="invalid_resume_token")
    claim = tokens.read(values["resume"])
    return claim.query(), replace(claim, offset=claim.offset + int(values["offset"]))


def require_same(claim: ResumeClaim, now: ResumeClaim) -> None:
    """Refuse to go on with a sound that would not be the same.

    Raises:
        HttpError: 409 where voice, runtime, watermark or input differ.
    """
    if (claim.digest, claim.runtime, claim.watermark) != (now.digest, now.runtime, now.watermark):
        message = "the voice is not what it was when the sound began; begin it anew"
        raise HttpError(409, message, code="voice_changed")
    if claim.input != now.input:
        raise HttpError(
            409, "the body is not the one that the sound was begun with; send the same", code="input_changed"
        )


def read_secret(path: Path) -> bytes:
    """Secret that a file holds.

    Raises:
        SeqgenError: where it cannot be read or is too short.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SeqgenError(f"{path}: {error.strerror}", remedy="make it: openssl rand -hex 32") from None
    if len(secret) < _SHORTEST_SECRET:
        raise SeqgenError(
            f"{path}: {len(secret)} bytes, at least {_SHORTEST_SECRET} are needed",
            remedy="make it: openssl rand -hex 32",
        )
    return secret


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
