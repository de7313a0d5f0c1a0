"""The contract of a runtime of feature extractors: audio in, feature vectors out, in a stream."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import EncoderManifest
from seqgen.runtime.contract import BundleRuntime, Floats, State

LAYERS = ("context", "latent")
"""Layers that an extractor may give: its outputs, and what they are made of before any recurrence."""
_FRAMES = 100  # of one call of a stream


class EncoderRuntime(BundleRuntime):
    """Runtime of one feature extractor.

    A stream may be cut into calls at any multiple of ``manifest.hop`` samples.

    Example:
        >>> runtime = open_encoder(Bundle.open(Path("features")))                         # doctest: +SKIP
        >>> vectors, state = runtime.step(np.zeros((1, 1600), np.float32), runtime.init(1))   # doctest: +SKIP
        >>> vectors.shape                                                                 # doctest: +SKIP
        (1, 10, 256)
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.manifest: EncoderManifest = bundle.require(EncoderManifest)

    @abstractmethod
    def step(self, audio: Floats, state: State, layer: str = "context") -> tuple[Floats, State]:
        """Feature vectors of audio in [-1, 1], ``[B, F·hop] → [B, F, C]``, and the state after it.

        Raises:
            SeqgenError: for what :meth:`require_fit` refuses, and a layer that there is not.
        """

    def require_fit(self, audio: npt.NDArray[Any], state: State, layer: str) -> None:
        """Refuse audio and states that do not belong together, before they are run.

        Raises:
            SeqgenError: for wrong ranks, lengths or batch sizes, audio that is no number, and an unknown layer.
        """
        self.manifest.require_layer(layer)
        hop = self.manifest.hop
        if audio.ndim != 2 or audio.shape[1] % hop:
            raise SeqgenError(f"audio has shape {audio.shape}", remedy=f"give [batch, a multiple of {hop} samples]")
        if any(leaf.shape[0] != audio.shape[0] for leaf in state):
            raise SeqgenError(
                f"{audio.shape[0]} row(s) of audio for a state of {state[0].shape[0]}", remedy="match the batch"
            )
        if not np.isfinite(audio).all():
            raise SeqgenError("the audio holds NaN or infinity", remedy="check what made it")

    def stream(self, blocks: Iterable[Floats], layer: str = "context") -> Iterator[Floats]:
        """Feature vectors ``[F, C]`` of one recording that comes in blocks ``[N]`` of any length, in constant memory.

        What is left behind the last whole hop makes no vector.
        """
        hop, state = self.manifest.hop, self.init(1)
        kept = np.zeros(0, np.float32)
        for block in blocks:
            kept = np.concatenate([kept, block])
            while kept.size >= hop:
                count = min(_FRAMES, kept.size // hop) * hop
                made, state = self.step(kept[None, :count], state, layer)
                kept = kept[count:]
                yield made[0]
