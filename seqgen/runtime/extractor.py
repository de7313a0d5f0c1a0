"""Extractors of features: recordings as vectors at a fixed rate, whatever makes them, and those that bundles make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_encoder, open_speech_codec

Floats = npt.NDArray[np.float32]


class Extractor(ABC):
    """Extractor of features: of each whole hop of a recording a vector, the same each time.

    Attributes:
        sample_rate: Hz of the recordings. hop: samples of a frame. layer: which of a network's vectors they are.
        latency: first frames that see zeros from before the recording.
        stream: network of samples that labels can train end to end; ``None`` where there is no such one.
    """

    sample_rate: int
    hop: int
    layer: str = ""
    latency: int = 0
    stream: Any = None

    @abstractmethod
    def features(self, audio: Floats) -> Floats:
        """Vectors of one recording, ``[N] → [N // hop, C]``."""

    def heard(self, features: Floats) -> Floats:
        """Vectors of a recording that see nothing from before it; all of them where there are no such ones."""
        return features[self.latency :] if len(features) > self.latency else features


class BundleFeatures(Extractor):
    """Features of one layer of a bundle's encoder, through a runtime; "" is its main layer, ``context``.

    Raises:
        SeqgenError: for a layer that there is not.
    """

    def __init__(self, bundle: Bundle, layer: str = "", runtime: str = "") -> None:
        self.runtime, self.layer = open_encoder(bundle, runtime), layer or "context"
        manifest = self.runtime.manifest
        manifest.require_layer(self.layer)
        self.sample_rate, self.hop, self.latency = manifest.sample_rate, manifest.hop, manifest.spec.latency

    def features(self, audio: Floats) -> Floats:
        whole = len(audio) // self.hop * self.hop
        made: Floats = self.runtime.step(audio[None, :whole], self.runtime.init(1), self.layer)[0][0]
        return made


class CodecFeatures(Extractor):
    """Vectors that the symbols of a bundle's speech codec stand for, ``code``, through a runtime.

    Raises:
        SeqgenError: for another layer.
    """

    def __init__(self, bundle: Bundle, layer: str = "", runtime: str = "") -> None:
        self.codec, self.layer = open_speech_codec(bundle, runtime), layer or "code"
        if self.layer != "code":
            raise no_layer(self.layer, ["code"])
        self.sample_rate, self.hop = self.codec.manifest.sample_rate, self.codec.manifest.hop

    def features(self, audio: Floats) -> Floats:
        symbols = np.concatenate(list(self.codec.encode([audio])))[: len(audio) // self.hop]
        speakers = self.codec.manifest.speakers
        hot = len(speakers) if len(speakers) > 1 else 0  # channels behind the code that tell the voice
        made = self.codec.frames(symbols, speakers[0] if hot else "")
        return np.ascontiguousarray(made[:, : made.shape[1] - hot])


_KINDS: Mapping[str, Callable[[Bundle, str, str], Extractor]] = {
    "encoder": BundleFeatures,
    "speech-codec": CodecFeatures,
}


def open_extractor(bundle: Bundle, layer: str = "", runtime: str = "") -> Extractor:
    """Features that a bundle makes of recordings, of one of its layers ("": of its main one).

    Raises:
        SeqgenError: for a bundle of another kind, a runtime that cannot run it, and a layer that there is not.
    """
    kind = bundle.manifest.kind
    if kind not in _KINDS:
        raise SeqgenError(
            f"{bundle.directory} is a bundle of the kind '{kind}', which makes no features of recordings",
            remedy=f"give one of the kind {' or '.join(_KINDS)}",
        )
    return _KINDS[kind](bundle, layer, runtime)


def no_layer(layer: str, known: list[str]) -> SeqgenError:
    """The refusal of a layer, with the choices."""
    return SeqgenError(f"no layer '{layer}'", remedy=f"choose {' or '.join(known)}")
