"""Predictors over what a bundle's runtime makes of symbols: onnxruntime or the native engine, without torch."""

from __future__ import annotations

import importlib.metadata
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.bundle import sha256
from seqgen.compression import machine
from seqgen.compression.coder import Values
from seqgen.compression.contract import Mask, Predictor
from seqgen.compression.frequencies import Probabilities
from seqgen.compression.identity import NumericIdentity
from seqgen.errors import SeqgenError
from seqgen.runtime import native_library
from seqgen.runtime.codec_prior import CodecPrior
from seqgen.runtime.contract import Floats, State
from seqgen.runtime.speech_codec import SpeechCodec
from seqgen.runtime.symbols import SymbolRuntime


class Stepping(Protocol):
    """Logits of one symbol after the other from explicit states, whose first leaf is the symbol before."""

    def init(self, batch: int, /) -> State:
        """Fresh streams."""
        ...

    def step(self, x: npt.NDArray[np.int64], state: State, /) -> tuple[Floats, State]:
        """Logits of given symbols, ``[B, T] → [B, T, V]``."""
        ...


class Logits(Predictor):
    """Predictor over what gives logits of symbols, on one thread.

    A call of one symbol a row gives the distribution of that symbol, whichever it is: element 0 is passed, and the
    state's first leaf, the symbol before, is put right once it is known.
    """

    def __init__(
        self, source: Stepping, vocab_size: int, *, identity: NumericIdentity, digest: str, label: str
    ) -> None:
        self._source, self.radices = source, (vocab_size,)
        self.identity, self.digest, self.label = identity, digest, label

    def init(self, rows: int) -> State:
        return self._source.init(rows)

    def predict(self, state: State) -> tuple[Floats, State]:
        logits, after = self._source.step(np.zeros((len(state[0]), 1), np.int64), state)
        return logits[:, 0], after

    def probabilities(self, params: Floats, rows: npt.NDArray[np.intp], above: Values, digit: int) -> Probabilities:
        logits = params[rows].astype(np.float64)
        made = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(made / made.sum(axis=1, keepdims=True), np.float64)

    def feed(self, state: State, values: Values) -> State:
        return (values, *state[1:])

    def chosen(self, mask: Mask, state: State, other: State) -> State:
        return tuple(
            np.where(mask.reshape(-1, *[1] * (one.ndim - 1)), one, two) for one, two in zip(state, other, strict=True)
        )


class Bundled(Logits):
    """Predictor over the runtime of a language model's bundle.

    Args:
        runtime: of a bundle that needs no source.

    Raises:
        SeqgenError: for a translator, whose source whoever decompresses does not have, and a runtime of which it is not
            known what its rounding depends on.
    """

    def __init__(self, runtime: SymbolRuntime) -> None:
        manifest = runtime.manifest
        if manifest.spec.cond_dim:
            raise SeqgenError(
                f"a {manifest.kind} needs a source, which whoever decompresses does not have",
                remedy="give a language model's bundle",
            )
        super().__init__(
            runtime,
            manifest.vocab_size,
            identity=_identity(runtime.name, runtime.isa, runtime.format),
            digest=manifest.digest[:16],
            label=manifest.name,
        )


class OfCodes(Logits):
    """Predictor over the prior in a speech codec's bundle: of a position's symbols, one after the other.

    Raises:
        SeqgenError: for a codec without one.
    """

    def __init__(self, codec: SpeechCodec) -> None:
        manifest = codec.manifest
        super().__init__(
            CodecPrior(codec.bundle),
            manifest.classes,
            identity=_identity(CodecPrior.name, "", "float32"),
            digest=manifest.prior,
            label=manifest.name,
        )


def _identity(name: str, isa: str, precision: str) -> NumericIdentity:
    version = f"{_version(name)}, {machine.numpy_version()}"
    return NumericIdentity(name, version, machine.instructions(isa), 1, precision)


def _version(name: str) -> str:
    """Version of what a runtime runs: of the native engine the digest of its library, which has no other."""
    if name == "native":
        return sha256(native_library.library_path())[:8]
    if name == "onnx":
        return importlib.metadata.version("onnxruntime")
    raise SeqgenError(
        f"the runtime {name} does not say what its rounding depends on",
        remedy="compress with the onnx or the native one, or with the experiment",
    )
