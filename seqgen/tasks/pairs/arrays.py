"""Pairs of vectors from files: numpy's arrays, looked through before anything learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.files import arrays


class VectorPairs(NamedTuple):
    """N pairs: ``x [N, x_dim]`` and ``y [N, y_dim]``, float32 on the CPU."""

    x: Tensor
    y: Tensor


def read(x: Path, y: Path) -> VectorPairs:
    """Pairs whose rows stand in two files; of an ``.npz`` archive of several arrays those called x and y are taken.

    Raises:
        SeqgenError: naming the file, for what is not there, not an array of N real vectors, not finite, or constant,
            and for files of different lengths.
    """
    of_x, of_y = _vectors(x, "x"), _vectors(y, "y")
    if len(of_x) != len(of_y):
        raise SeqgenError(
            f"{x} has {len(of_x):,} rows, {y} has {len(of_y):,}", remedy="give two files whose rows belong together"
        )
    return VectorPairs(torch.from_numpy(of_x), torch.from_numpy(of_y))


def _vectors(path: Path, name: str) -> npt.NDArray[np.float32]:
    """One side of the pairs, ``[N, dimensions]``."""
    array = _array(path, name)
    if array.ndim != 2 or not array.size:
        raise SeqgenError(
            f"{path}: '{name}' has shape {list(array.shape)}",
            remedy="save vectors as [rows, dimensions], one or more of each",
        )
    if array.dtype.kind not in "biuf":
        raise SeqgenError(f"{path}: '{name}' holds {array.dtype}", remedy="save real numbers, as float32 say")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is found below
        vectors = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(vectors).all():
        row, column = (int(place) for place in np.argwhere(~np.isfinite(vectors))[0])
        raise SeqgenError(
            f"{path}: '{name}' is {array[row, column]} in row {row}, column {column} (from 0)",
            remedy="leave such rows out of both files: float32 must hold every number",
        )
    if len(vectors) > 1 and (vectors == vectors[0]).all():
        raise SeqgenError(
            f"{path}: '{name}' is the same in all {len(vectors):,} rows",
            remedy="give vectors that vary: what is constant tells nothing",
        )
    return vectors


def _array(path: Path, name: str) -> npt.NDArray[Any]:
    with arrays.opened(path) as found:
        return found if isinstance(found, np.ndarray) else _member(found, path, name)


def _member(archive: Any, path: Path, name: str) -> npt.NDArray[Any]:
    """The only array of an archive, or the one of a name."""
    if len(archive.files) != 1 and name not in archive.files:
        raise SeqgenError(
            f"{path}: no array '{name}' (there are {', '.join(archive.files) or 'none'})",
            remedy="write it with numpy.savez(path, x=…, y=…)",
        )
    array: npt.NDArray[Any] = archive[name if name in archive.files else archive.files[0]]
    return array
