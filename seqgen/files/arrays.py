"""Files of numpy's arrays, ``.npy`` and ``.npz``, opened so that damaged ones are told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.errors import SeqgenError


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The array of a ``.npy`` file, or the archive of a ``.npz`` file, whose members are read inside the block.

    Raises:
        SeqgenError: where the file cannot be read or is damaged; pickled objects count as damage.
    """
    try:
        with path.open("rb") as stream:
            yield np.load(stream, allow_pickle=False)
    except OSError as error:
        raise SeqgenError(
            f"cannot read {path}: {error.strerror or error}", remedy="give a readable .npy or .npz file"
        ) from None
    except (SeqgenError, MemoryError):
        raise
    except Exception as error:  # of numpy's, zipfile's, zlib's and tokenize's, whatever damaged bytes lead to
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise SeqgenError(
            f"{path}: not an array ({reason})", remedy="write it with numpy.save or numpy.savez"
        ) from None
