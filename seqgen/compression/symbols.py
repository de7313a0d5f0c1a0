"""Predictor over a bundle's runtime of symbols: onnxruntime or the native engine, without torch."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import numpy.typing as npt

from seqgen.bundle import sha256
from seqgen.compression import machine
from seqgen.compression.coder import Values
from seqgen.compression.contract import Mask, NumericIdentity, Predictor
from seqgen.compression.frequencies import Probabilities
from seqgen.errors import SeqgenError
from seqgen.runtime import native_library
from seqgen.runtime.contract import Floats, State
from seqgen.runtime.symbols import SymbolRuntime


class Bundled(Predictor):
    """Predictor over the runtime of a language model's bundle, which runs on one thread.

    A call of one symbol a row gives the distribution of that symbol, whichever it is: element 0 is passed, and the
    state's first leaf, the symbol before, is put right once it is known.

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
        self._runtime = runtime
        self.radices = (manifest.vocab_size,)
        self.identity = NumericIdentity(
            runtime.name,
            f"{_version(runtime.name)}, {machine.numpy_version()}",
            machine.instructions(runtime.isa),
            1,
            runtime.format,
        )
        self.digest, self.label = manifest.digest[:16], manifest.name

    def init(self, rows: int) -> State:
        return self._runtime.init(rows)

    def predict(self, state: State) -> tuple[Floats, State]:
        logits, after = self._runtime.step(np.zeros((len(state[0]), 1), np.int64), state)
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
