"""Priors of the symbols of a speech codec, through onnxruntime, without torch."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import PRIOR, SpeechCodecManifest
from seqgen.runtime.contract import Floats, State
from seqgen.runtime.onnx_session import session

FRESH = "prior_initial.safetensors"
"""File of the state before the first symbol."""


class CodecPrior:
    """Runtime of the prior ``p(k_i | k_<i)`` of a speech codec's symbols, those of a position one after the other, on
    one thread.

    The first leaf of the state is the symbol before. A stream may be cut into calls anywhere.

    Raises:
        SeqgenError: for a codec without a prior.
    """

    name: ClassVar[str] = "onnx"

    def __init__(self, bundle: Bundle) -> None:
        if not bundle.require(SpeechCodecManifest).prior:
            raise SeqgenError(
                f"{bundle.directory}: a codec without a prior of its symbols",
                remedy="export a run whose prior of codes is fitted and goes symbol by symbol",
            )
        self._session = session(bundle, PRIOR, 1)
        fresh = bundle.tensors(FRESH)
        self._names = [one.name for one in self._session.get_inputs() if one.name != "x"]
        self._fresh = [fresh[name.removeprefix("state.")] for name in self._names]

    def init(self, batch: int) -> State:
        """Fresh streams."""
        return tuple(np.repeat(leaf, batch, axis=0) for leaf in self._fresh)

    def step(self, x: npt.NDArray[np.int64], state: State) -> tuple[Floats, State]:
        """Logits of given symbols, ``[B, T] → [B, T, K]``, those of ``x_t`` given what was before it."""
        made, *after = self._session.run(None, {"x": x, **dict(zip(self._names, state, strict=True))})
        return made, tuple(after)
