"""The native engine's library: where it is, its functions with their types, and its structures."""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError

_ABI = 5
_MESSAGE_BYTES = 1024
FLOAT32, BF16 = 1, 2
"""Formats of products: ``seqgen_format`` of seqgen_engine.h."""


class LoadOptions(ctypes.Structure):
    """``seqgen_load_options`` of seqgen_engine.h."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("format", ctypes.c_int32),
        ("isa", ctypes.c_char_p),
        ("threads", ctypes.c_int32),
    ]


class ModelInfo(ctypes.Structure):
    """``seqgen_model_info`` of seqgen_engine.h."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        *((name, ctypes.c_int32) for name in ("sample_rate", "channels", "hop", "latency")),
        *((name, ctypes.c_int32) for name in ("elements_per_sample", "classes", "format")),
        ("isa", ctypes.c_char * 16),
        *((name, ctypes.c_size_t) for name in ("state_bytes", "workspace_bytes", "weight_bytes", "weight_blocks")),
        *((name, ctypes.c_int32) for name in ("threads", "lanes", "ahead", "uniforms_per_sample", "params")),
        ("feeds_back", ctypes.c_int32),
        ("source_classes", ctypes.c_int32),
    ]


class Call(ctypes.Structure):
    """``seqgen_call`` of seqgen_engine.h."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("states", ctypes.POINTER(ctypes.c_void_p)),
        ("streams", ctypes.c_int32),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_size_t),
        ("features", ctypes.c_void_p),
        ("frames", ctypes.c_int64),
        ("samples", ctypes.c_int64),
        ("uniforms", ctypes.c_void_p),
        ("seed", ctypes.c_uint64),
        ("stream_ids", ctypes.c_void_p),
        ("positions", ctypes.c_void_p),
        ("temperature", ctypes.c_float),
        ("audio", ctypes.c_void_p),
        ("pcm", ctypes.c_void_p),
        ("elements", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("params", ctypes.c_void_p),
        ("symbols", ctypes.c_void_p),
        ("drawn", ctypes.c_void_p),
    ]


class Source(ctypes.Structure):
    """``seqgen_source`` of seqgen_engine.h."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("symbols", ctypes.c_void_p),
        ("length", ctypes.c_int64),
        ("columns", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_size_t),
    ]


class GRUCall(ctypes.Structure):
    """``seqgen_gru`` of seqgen_engine.h."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("isa", ctypes.c_char_p),
        *((name, ctypes.c_int32) for name in ("format", "threads")),
        *((name, ctypes.c_int64) for name in ("rows", "steps", "groups", "width")),
        *((name, ctypes.c_void_p) for name in ("inputs", "hidden", "weight", "states", "kept")),
        *((name, ctypes.c_void_p) for name in ("grad", "grad_inputs", "grad_hidden", "grad_products", "entered")),
        *((name, ctypes.c_int64) for name in ("shared_lines", "own_lines")),
        *((name, ctypes.c_void_p) for name in ("coefficients", "shared", "own", "grad_shared", "grad_own")),
    ]


class DilatedCall(ctypes.Structure):
    """``seqgen_dilated`` of seqgen_engine.h."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("isa", ctypes.c_char_p),
        *((name, ctypes.c_int32) for name in ("format", "threads")),
        *((name, ctypes.c_int64) for name in ("rows", "steps", "layers", "residuals", "taps", "width", "gate")),
        *((name, ctypes.c_void_p) for name in ("dilations", "entered", "history", "weights", "outputs", "biases")),
        ("inputs", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("shared_lines", "own_lines")),
        *((name, ctypes.c_void_p) for name in ("coefficients", "shared", "own", "read", "passed")),
        *((name, ctypes.c_void_p) for name in ("grad_inner", "grad_outputs", "kept", "z", "grad_z", "left", "ahead")),
        *((name, ctypes.c_void_p) for name in ("grad_left", "grad_ahead", "grad_entered", "grad_biases")),
        *((name, ctypes.c_void_p) for name in ("grad_inputs", "grad_shared", "grad_own")),
    ]


class SoftmaxCall(ctypes.Structure):
    """``seqgen_softmax`` of seqgen_engine.h."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("isa", ctypes.c_char_p),
        *((name, ctypes.c_int32) for name in ("format", "threads")),
        *((name, ctypes.c_int64) for name in ("rows", "classes")),
        *((name, ctypes.c_void_p) for name in ("logits", "symbols", "log_probs", "log_sums", "grad", "grad_logits")),
    ]


def library_path() -> Path:
    """Path of the engine: ``$SEQGEN_ENGINE``, beside this module, or where an editable install puts what it compiles.

    Raises:
        SeqgenError: where there is none.
    """
    names = {"darwin": "libseqgen_engine.dylib", "win32": "seqgen_engine.dll"}
    name = names.get(sys.platform, "libseqgen_engine.so")
    if given := os.environ.get("SEQGEN_ENGINE"):
        places = [Path(given)]
    else:
        installed = Path(sysconfig.get_path("platlib")) / "seqgen" / "runtime"
        places = [folder / name for folder in (Path(__file__).parent, installed)]
    for place in places:
        if place.is_file():
            return place
    raise SeqgenError(
        f"the native engine is not built: no {' and no '.join(map(str, places))}",
        remedy="pip install the package again, or use the onnx runtime",
    )


def built() -> bool:
    """Test for an engine to load."""
    try:
        return library_path().is_file()
    except SeqgenError:
        return False


def load_library(path: Path) -> ctypes.CDLL:
    """The engine's functions with their types.

    Raises:
        SeqgenError: where it cannot be loaded, or speaks another version of the interface.
    """
    try:
        library = ctypes.CDLL(str(path))
        version = int(library.seqgen_abi_version())
    except (OSError, AttributeError) as error:
        raise SeqgenError(f"{path}: cannot be loaded ({error})", remedy="pip install the package again") from None
    if version != _ABI:
        raise SeqgenError(
            f"{path} was built of other sources: interface version {version}, expected {_ABI}",
            remedy="pip install the package again",
        )
    message: list[Any] = [ctypes.c_char_p, ctypes.c_size_t]
    blob: list[Any] = [ctypes.c_void_p, ctypes.c_size_t]
    handle = ctypes.c_uint64
    library.seqgen_load.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(handle), *message]
    library.seqgen_close.argtypes = [handle, *message]
    library.seqgen_describe.argtypes = [handle, ctypes.c_void_p, *message]
    library.seqgen_state_init.argtypes = [handle, *blob, *message]
    library.seqgen_state_samples.argtypes = [handle, *blob, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64), *message]
    library.seqgen_sample.argtypes = [handle, ctypes.c_void_p, *message]
    library.seqgen_step.argtypes = [handle, ctypes.c_void_p, *message]
    sizes: list[Any] = [ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_size_t)]
    library.seqgen_source_sizes.argtypes = [handle, ctypes.c_int64, *sizes, *message]
    library.seqgen_encode.argtypes = [handle, ctypes.c_void_p, *message]
    for name in ("gru", "dilated", "softmax"):
        for way in ("forward", "backward"):
            getattr(library, f"seqgen_{name}_{way}").argtypes = [ctypes.c_void_p, *message]
    return library


def call(library: ctypes.CDLL, name: str, *arguments: Any, remedy: str) -> None:
    """Call a function of the engine that returns a status.

    Raises:
        SeqgenError: with the engine's own message where the status is not 0.
    """
    message = ctypes.create_string_buffer(_MESSAGE_BYTES)
    if getattr(library, name)(*arguments, message, _MESSAGE_BYTES):
        raise SeqgenError(message.value.decode(errors="replace"), remedy=remedy)


def uniforms_function(path: Path) -> Any:
    """``seqgen_uniforms``, called with the interpreter's lock held: it is over sooner than the lock would come back."""
    function = ctypes.PyDLL(str(path)).seqgen_uniforms
    word = ctypes.c_uint64
    function.argtypes = [word, word, word, ctypes.c_size_t, ctypes.c_void_p]
    function.restype = None
    return function
