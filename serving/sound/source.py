"""Input of a vocoder, opened and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio.containers.layout import Layout
from seqgen.audio.features import load_features
from seqgen.audio.io import recording
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

BLOCK = 1024  # samples read at once, over all channels: little enough that sound starts soon
FRAME_BLOCK = 64


@dataclass(frozen=True, slots=True)
class InputSource:
    """Recording or features in blocks to push into a stream: audio at ``rate`` Hz, or frames where that is ``None``.

    Attributes:
        rate: Hz or ``None``. seconds: length. blocks: read on demand; may raise SeqgenError on the way.
    """

    rate: int | None
    seconds: float
    blocks: Iterator[npt.NDArray[Any]]


def sniff(head: bytes | bytearray) -> str:
    """``"audio"``, ``"features"`` or ``""`` from the first bytes: WAV, FLAC, Ogg, or safetensors."""
    if (head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE") or head[:4] in (b"fLaC", b"OggS"):
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
        return features_source(path, spec, path, longest)
    return audio_source(path, path, longest)


def audio_source(path: str, name: str, longest: float | None, *, layout: Layout | None = None) -> InputSource:
    """Open a recording that messages call ``name``; ``layout``: of its container, where that has been read.

    Raises:
        SeqgenError: as :func:`from_path`.
    """
    about, blocks = recording(path, BLOCK, layout=layout)
    seconds = about.samples / about.sample_rate
    require_short(name, seconds, longest)
    return InputSource(about.sample_rate, seconds, blocks)


def features_source(path: str, spec: FeatureSpec, name: str, longest: float | None) -> InputSource:
    """Open a features file that messages call ``name``.

    Raises:
        SeqgenError: as :func:`from_path`.
    """
    frames, _ = load_features(path, spec)
    if not len(frames):
        raise SeqgenError(f"{name}: holds 0 frames", remedy="make the features again")
    seconds = len(frames) * spec.hop / spec.sample_rate
    require_short(name, seconds, longest)
    cuts: list[npt.NDArray[np.float32]] = [frames[i : i + FRAME_BLOCK] for i in range(0, len(frames), FRAME_BLOCK)]
    return InputSource(None, seconds, iter(cuts))


def require_short(name: str, seconds: float, longest: float | None) -> None:
    """Refuse what is longer than is taken at once.

    Raises:
        SeqgenError: with both lengths.
    """
    if longest is not None and seconds > longest:
        raise SeqgenError(
            f"{name} holds {seconds:.1f} s, more than the {longest:g} s taken at once", remedy="send it in pieces"
        )
