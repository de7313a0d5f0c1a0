"""Input of a vocoder, opened and checked: a file for the command line, a request body for the server."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio.features import load_features
from seqgen.audio.io import blocks, info
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

BLOCK = 1024  # samples read at once: little enough that sound starts soon
FRAME_BLOCK = 64
BODY = "the request body"
FEATURES_TYPE = "application/x-safetensors"


@dataclass(frozen=True, slots=True)
class InputSource:
    """Recording or features in blocks to push into a stream: audio at ``rate`` Hz, or frames where that is ``None``.

    Attributes:
        rate: Hz or ``None``. seconds: length. blocks: read on demand; may raise SeqgenError on the way.
    """

    rate: int | None
    seconds: float
    blocks: Iterator[npt.NDArray[Any]]


class DiskFull(SeqgenError):
    """Error for a full disk: neither the caller's fault nor the voice's."""


class _RequestBody(io.BytesIO):
    """Request body as a file object that error messages can name."""

    name = BODY


def sniff(head: bytes | bytearray) -> str:
    """``"audio"``, ``"features"`` or ``""`` from the first bytes: WAV, FLAC, Ogg, or safetensors."""
    if (head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE") or head[:4] in (b"fLaC", b"OggS"):
        return "audio"
    # safetensors: the length of the header in 8 bytes, then the header, a JSON object.
    return "features" if head[8:9] == b"{" and head[6:8] == b"\0\0" else ""


def from_path(path: str, spec: FeatureSpec, *, longest: float | None = None) -> InputSource:
    """Open an audio file, or features where the name ends in ``.safetensors``.

    Args:
        path: the file. spec: the voice's features. longest: seconds to take at most; ``None``: any length.

    Raises:
        SeqgenError: when it is missing, unreadable, too long or of another signature.
    """
    if Path(path).suffix == ".safetensors":
        return _features(path, spec, path, longest)
    return _audio(path, path, longest)


def from_body(body: bytes | bytearray, content_type: str, spec: FeatureSpec, *, longest: float) -> InputSource:
    """Open a request body; its first bytes decide what it is, whatever its content type claims.

    Raises:
        SeqgenError: as :func:`from_path`; and when the bytes are neither audio nor features.
        NoRoom: where features find no room on the disk.
    """
    if not body:
        raise SeqgenError(f"{BODY} is empty", remedy="send a WAV, FLAC or OGG file, or features as safetensors")
    kind = sniff(body[:12])
    if not kind:
        raise SeqgenError(
            f"{BODY} ({len(body)} bytes, content type '{content_type[:80]}') is neither audio nor features",
            remedy=f"send a WAV, FLAC or OGG file, or features as {FEATURES_TYPE}",
        )
    if kind == "audio":
        return _audio(_RequestBody(body), BODY, longest)
    path = _written(body)
    try:
        return _features(path, spec, BODY, longest)
    except SeqgenError as error:
        raise SeqgenError(error.problem.replace(path, BODY), remedy=error.remedy) from None
    except (RecursionError, OverflowError):
        # Metadata nested without end, or numbers beyond any float.
        raise SeqgenError(f"{BODY}: not a features file", remedy="make it again from the recording") from None
    finally:
        os.unlink(path)


def _written(body: bytes | bytearray) -> str:
    """The path of a file that holds a body: the one reader of features takes no other."""
    path = ""
    try:
        handle, path = tempfile.mkstemp(suffix=".safetensors")
        with os.fdopen(handle, "wb") as file:
            file.write(body)
    except OSError as error:
        if path:
            os.unlink(path)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"the server has no room on its disk for {len(body)} bytes of features",
            remedy="send the recording instead, or try again later",
        ) from None
    return path


def _audio(source: str | _RequestBody, name: str, longest: float | None) -> InputSource:
    about = info(source)
    seconds = about.samples / about.sample_rate
    _require_short(name, seconds, longest)
    return InputSource(about.sample_rate, seconds, blocks(source, BLOCK))


def _features(path: str, spec: FeatureSpec, name: str, longest: float | None) -> InputSource:
    frames, _ = load_features(path, spec)
    if not len(frames):
        raise SeqgenError(f"{name}: holds 0 frames", remedy="make the features again")
    seconds = len(frames) * spec.hop / spec.sample_rate
    _require_short(name, seconds, longest)
    cuts: list[npt.NDArray[np.float32]] = [frames[i : i + FRAME_BLOCK] for i in range(0, len(frames), FRAME_BLOCK)]
    return InputSource(None, seconds, iter(cuts))


def _require_short(name: str, seconds: float, longest: float | None) -> None:
    if longest is not None and seconds > longest:
        raise SeqgenError(
            f"{name} holds {seconds:.1f} s, more than the {longest:g} s taken at once", remedy="send it in pieces"
        )
