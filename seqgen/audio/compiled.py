"""librosa, whose compiled parts processes that start side by side are kept from writing over each other."""

from __future__ import annotations

import functools
import getpass
import importlib
import tempfile
from pathlib import Path
from types import ModuleType

LOCK = Path(tempfile.gettempdir()) / f"seqgen-librosa-{getpass.getuser()}.lock"
_COMPILED = ("core.audio", "core.pitch", "sequence", "util.utils")


@functools.cache
def librosa() -> ModuleType:
    """The module librosa, imported with all that it compiles.

    numba compiles a universal function in two parts and keeps each for later processes. Two processes that do so at
    the same time can leave parts of either, and who reads them calls a function at address zero. Therefore one process
    of a user imports at a time.

    Example:
        >>> librosa().pyin(audio, fmin=60.0, fmax=600.0, sr=16000)
    """
    from filelock import FileLock

    with FileLock(LOCK):
        for part in _COMPILED:
            importlib.import_module(f"librosa.{part}")
    return importlib.import_module("librosa")
