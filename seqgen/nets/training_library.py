"""The engine's library as training uses it: calls over the C interface, on arrays of tensors.

No build against torch is needed, so that every version of it works.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.runtime.native_library import BF16, FLOAT32, call, library_path, load_library

MOST_TAPS = 8
"""Taps of a convolution in a stack of the library's."""
_TILE = 32  # numbers of a row in bfloat16 are a multiple


@cache
def _library() -> ctypes.CDLL | None:
    try:
        return load_library(library_path())
    except SeqgenError as error:
        warnings.warn(f"training runs through torch alone, which is slower: {error}", stacklevel=2)
        return None


_BY_TORCH: ContextVar[bool] = ContextVar("seqgen.training_library.by_torch", default=False)


@contextmanager
def by_torch() -> Iterator[None]:
    """Within it all is run by torch, as it is where the library is missing: for comparisons."""
    token = _BY_TORCH.set(True)
    try:
        yield
    finally:
        _BY_TORCH.reset(token)


def available() -> bool:
    """Test for the library to be there and wanted; the first time without it a warning says what to do."""
    return not _BY_TORCH.get() and _library() is not None


def half_precision() -> bool:
    """Test for products to be of bfloat16, as autocast on a CPU asks for."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def padded(count: int, *, half: bool) -> int:
    """Numbers of a row that enters a product of the library's."""
    return -(-count // _TILE) * _TILE if half else count


def summed_products(grads: Tensor, given: Tensor, like: Tensor) -> Tensor:
    """Gradients of all layers' matrices ``[L, O, I]``, each a product over all positions, of arrays ``[L, B, T, O or
    more]`` and ``[L, B, T, I or more]``."""
    made = torch.empty_like(like)
    for one, grad, x in zip(made, grads, given, strict=True):
        one.copy_((grad.flatten(0, 1).t() @ x.flatten(0, 1))[: like.shape[1], : like.shape[2]])
    return made


def run(
    function: str, structure: type[ctypes.Structure], *, half: bool, isa: str, sizes: dict[str, int],
    arrays: dict[str, Tensor | None],
) -> None:  # fmt: skip
    """Run a function of the library on as many threads as torch has.

    Args:
        half: whether the format of the call is bfloat16, else float32. isa: instruction set by its name in the engine,
            "" for ``$SEQGEN_ISA`` or the best. sizes, arrays: further fields of the structure; arrays are contiguous.

    Raises:
        SeqgenError: for an instruction set that is not here, and what else the library refuses.
    """
    library = _library()
    assert library is not None
    given = structure(
        struct_size=ctypes.sizeof(structure),
        isa=isa.encode() or None,
        format=BF16 if half else FLOAT32,
        threads=torch.get_num_threads(),
        **sizes,
        **{name: array.data_ptr() for name, array in arrays.items() if array is not None},
    )
    call(library, function, ctypes.byref(given), remedy="name an instruction set that is here, or none")
