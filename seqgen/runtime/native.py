"""Bundles through the native engine: C++ behind a C interface, without onnxruntime and without torch."""

from __future__ import annotations

import ctypes
import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime.contract import BundleRuntime, Floats, Runtime, State
from seqgen.runtime.native_library import (
    Call,
    LoadOptions,
    ModelInfo,
    Source,
    call,
    library_path,
    load_library,
    uniforms_function,
)

Format = Literal["program", "float32", "bf16", "int8"]
FORMATS: tuple[Format, ...] = ("program", "float32", "bf16", "int8")
"""Formats in which weights are held, in the order of ``seqgen_format``; ``program``: as the bundle asks."""
PROGRAM = "program.json"
MAX_STREAMS = 16
MOST_NOISE = 1000
"""What flows are given is at most this, in scales of a standard logistic number."""
_REMEDY = "check the bundle with 'seqgen check', or use the onnx runtime"


class Engine:
    """A model loaded by the engine; closing gives its memory back.

    Args:
        directory: holds program.json and the tensors it names. format: of the recurrent network's weights.
        isa: kernels by name (``generic``, ``avx2``, ``avx512``, ``avx512bf16``, ``amx``, ``neon``); ``None``:
            ``$SEQGEN_ISA``, else the best here.
        threads: 1, or 2 to share the work of a large model with a helper thread; the samples are the same.

    Raises:
        SeqgenError: with the engine's own message.
    """

    def __init__(self, directory: Path, *, format: Format = "program", isa: str | None = None,
                 threads: int = 1) -> None:  # fmt: skip
        if format not in FORMATS:
            raise SeqgenError(f"unknown weight format '{format}'", remedy=f"known: {', '.join(FORMATS)}")
        self._library = load_library(library_path())
        self._uniforms = uniforms_function(library_path())
        self._handle = ctypes.c_uint64(0)
        name = None if isa is None else isa.encode()
        options = LoadOptions(ctypes.sizeof(LoadOptions), FORMATS.index(format), name, threads)
        self.call("seqgen_load", os.fsencode(directory), ctypes.byref(options), ctypes.byref(self._handle))
        self.info = ModelInfo(struct_size=ctypes.sizeof(ModelInfo))
        self.call("seqgen_describe", self._handle, ctypes.byref(self.info))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the engine that returns a status."""
        call(self._library, name, *arguments, remedy=_REMEDY)

    def close(self) -> None:
        """Give the model back; using it afterwards is refused."""
        self.call("seqgen_close", self._handle)

    def __del__(self) -> None:
        # Silent: the handle may be closed already, or never have been opened.
        if getattr(self, "_handle", None):
            self._library.seqgen_close(self._handle, None, 0)

    def init(self, batch: int) -> npt.NDArray[np.uint8]:
        """State blobs of fresh streams, ``[batch, state_bytes]``."""
        blob = np.empty((1, self.info.state_bytes), np.uint8)
        self.call("seqgen_state_init", self._handle, blob.ctypes.data, blob.nbytes)
        return np.repeat(blob, batch, axis=0)

    def samples(self, state: npt.NDArray[np.uint8], frames: int) -> int:
        """How many samples the next call with that many frames makes of a stream, whose blob is ``[state_bytes]``."""
        found = ctypes.c_int64(0)
        blob = np.ascontiguousarray(state)
        self.call("seqgen_state_samples", self._handle, blob.ctypes.data, blob.nbytes, frames, ctypes.byref(found))
        return int(found.value)

    def uniforms(self, seed: int, stream: int, start: int, count: int) -> Floats:
        """Uniform numbers of a Philox stream, float32 ``[count]`` in [0, 1)."""
        made = np.empty(count, np.float32)
        self._uniforms(seed, stream, start, count, made.ctypes.data)
        return made

    def columns(self, source: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> Floats:
        """Columns of sources ``[B, S]`` of these lengths, float32 ``[B, L, C]``, zero behind a source's own.

        Raises:
            SeqgenError: where nothing is translated, or a symbol is none of the alphabet's.
        """
        made = [self._encoded(np.ascontiguousarray(row[:length], np.int32)) for row, length in
                zip(source, lengths, strict=True)]  # fmt: skip
        columns = np.zeros((len(made), max((len(one) for one in made), default=0), self.info.channels), np.float32)
        for row, one in zip(columns, made, strict=True):
            row[: len(one)] = one
        return columns

    def _encoded(self, symbols: npt.NDArray[np.int32]) -> Floats:
        count, needed = ctypes.c_int64(0), ctypes.c_size_t(0)
        self.call("seqgen_source_sizes", self._handle, len(symbols), ctypes.byref(count), ctypes.byref(needed))
        columns = np.empty((count.value, self.info.channels), np.float32)
        workspace = np.empty(needed.value, np.uint8)
        source = Source(
            struct_size=ctypes.sizeof(Source),
            symbols=symbols.ctypes.data,
            length=len(symbols),
            columns=columns.ctypes.data,
            workspace=workspace.ctypes.data,
            workspace_bytes=workspace.nbytes,
        )
        self.call("seqgen_encode", self._handle, ctypes.byref(source))
        return columns

    def scoring(
        self, x: npt.NDArray[Any], params: Floats
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
        """``given`` and ``made`` of a :meth:`run` that writes the distributions of ``x [B, T]`` to ``params``.

        Raises:
            SeqgenError: for elements that are none of this model's.
        """
        classes = self.info.classes
        low, high = (0, classes - 1) if classes else (-1, 1) if self.info.feeds_back else (-MOST_NOISE, MOST_NOISE)
        if x.size and not (x.min() >= low and x.max() <= high):
            raise SeqgenError(f"elements lie in [{x.min()}, {x.max()}]", remedy=f"give values in [{low}, {high}]")
        if classes:
            return {"symbols": x.astype(np.int32)}, {"logits": params}
        return {"values": x.astype(np.float32)}, {"params": params}

    def run(
        self,
        states: npt.NDArray[np.uint8],
        cond: Floats,
        samples: int,
        *,
        drawing: bool,
        given: Mapping[str, npt.NDArray[Any]],
        made: Mapping[str, npt.NDArray[Any]],
        **options: float,
    ) -> None:
        """One call for at most 16 streams; ``states`` and what is ``made`` are written in place.

        ``given`` and ``made``: arrays by their names in ``seqgen_call``; ``options``: its numbers.

        Raises:
            SeqgenError: with the engine's own message.
        """
        assert states.strides[1] == 1
        assert all(array.flags.c_contiguous for array in made.values())
        streams = len(states)
        rows = (ctypes.c_void_p * streams)(*(states.ctypes.data + row * states.strides[0] for row in range(streams)))
        workspace = np.empty(self.info.workspace_bytes, np.uint8)
        # Copies live as long as this mapping, which must outlast the call.
        arrays = {name: np.ascontiguousarray(array) for name, array in {**given, "features": cond}.items()} | dict(made)
        call = Call(
            struct_size=ctypes.sizeof(Call),
            states=rows,
            streams=streams,
            workspace=workspace.ctypes.data,
            workspace_bytes=workspace.nbytes,
            frames=cond.shape[1],
            samples=samples,
            **{name: array.ctypes.data for name, array in arrays.items()},
            **options,
        )
        self.call("seqgen_sample" if drawing else "seqgen_step", self._handle, ctypes.byref(call))


class EngineRuntime(BundleRuntime):
    """Runtime of a bundle of any kind whose ``program.json`` the native engine runs.

    Args:
        bundle: a verified bundle. threads: 1, or 2 where the machine grants two cores. format, isa: see
            :class:`Engine`.

    Raises:
        SeqgenError: where the engine is not built or cannot run the bundle.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, format: Format = "program", isa: str | None = None) -> None:
        super().__init__(bundle)
        bundle.path(PROGRAM)
        self.engine = Engine(bundle.directory, format=format, isa=isa, threads=threads)
        if not self.described():
            raise SeqgenError(f"{bundle.directory}: {PROGRAM} does not fit the manifest", remedy="export it again")

    @abstractmethod
    def described(self) -> bool:
        """Test that the program is what the manifest says."""

    @property
    def isa(self) -> str:
        """Name of the kernels in use."""
        return str(self.engine.info.isa.decode())

    @property
    def format(self) -> str:
        """Format in which the weights are held."""
        return FORMATS[int(self.engine.info.format)]

    def require_own(self, blobs: npt.NDArray[Any]) -> None:
        """Refuse states that are none of this engine's, uint8 ``[B, state_bytes]``.

        Raises:
            SeqgenError: saying what was given.
        """
        if blobs.dtype != np.uint8 or blobs.shape[1:] != (self.engine.info.state_bytes,):
            raise SeqgenError(f"the state is {blobs.dtype} {blobs.shape}", remedy="give one that this runtime made")


class NativeRuntime(EngineRuntime, Runtime):
    """Runtime that runs ``program.json`` in the native engine. The state is one array, uint8 ``[B, state_bytes]``;
    behind a score of a voice with lanes a second one has the distributions of the samples under way, float32 ``[B,
    elements, classes]``.

    Args:
        bundle: a verified bundle. threads, format, isa: see :class:`Engine`.

    Raises:
        SeqgenError: where the engine is not built or cannot run the bundle.
    """

    def described(self) -> bool:
        info, spec = self.engine.info, self.manifest.spec
        given = info.hop, info.latency, info.channels, info.ahead
        return bool(given == (spec.up, spec.latency, spec.in_dim, self.manifest.ahead))

    def init(self, batch: int) -> State:
        """Fresh streams."""
        return (self.engine.init(batch),)

    def uniforms(self, seed: int, stream: int, start: int, count: int) -> Floats:
        return self.engine.uniforms(seed % 2**64, stream % 2**64, start, count)

    def step(self, x: npt.NDArray[Any], state: State, cond: Floats) -> tuple[Floats, State]:
        samples = self.samples(x, self.manifest.symbols_per_sample, state, cond)
        params = np.empty((*x.shape, self.engine.info.params), np.float32)
        given, made = self.engine.scoring(x, params)
        held = self._under_way(state)
        params[:, : held.shape[1]] = held
        after = self._groups(state, cond, samples, False, given, made)
        count = samples * self.manifest.symbols_per_sample
        return params[:, :count], (*after, params[:, count:].copy()) if self.manifest.ahead else after

    def _under_way(self, state: State) -> Floats:
        """Distributions of the first elements of a call that earlier ones have told, ``[B, elements, classes]``."""
        if len(state) > 1:
            return np.asarray(state[1], np.float32)
        up = self.manifest.spec.up
        if self.manifest.ahead and any(self.engine.samples(blob, 1) == up for blob in state[0]):
            raise SeqgenError(
                "sampling moved this state on, which tells no distributions of the samples that are under way",
                remedy="score a stream from its start",
            )
        return np.empty((len(state[0]), 0, self.engine.info.params), np.float32)

    def sample(self, noise: Floats, state: State, cond: Floats, temperature: float = 1.0) -> tuple[Floats, State]:
        samples = self.samples(noise, self.manifest.uniforms_per_sample, state, cond)
        audio = np.empty((len(noise), samples), np.float32)
        given = {"uniforms": np.asarray(noise, np.float32)}
        after = self._groups(state, cond, samples, True, given, {"audio": audio}, temperature=temperature)
        return audio, after

    def _groups(
        self,
        state: State,
        cond: Floats,
        samples: int,
        drawing: bool,
        given: Mapping[str, npt.NDArray[Any]],
        made: Mapping[str, npt.NDArray[Any]],
        **options: float,
    ) -> State:
        """Call the engine for 16 rows at a time; returns the states after."""
        after = state[0].copy()
        self.require_own(after)
        features = np.asarray(cond, np.float32)
        for first in range(0, len(after), MAX_STREAMS):
            rows = slice(first, first + MAX_STREAMS)
            ours, theirs = ({name: array[rows] for name, array in arrays.items()} for arrays in (given, made))
            self.engine.run(after[rows], features[rows], samples, drawing=drawing, given=ours, made=theirs, **options)
        return (after,)
