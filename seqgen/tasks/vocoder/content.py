"""Content of a data directory as a digest, which stays the same wherever tables and recordings are moved."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError


def content_digest(data: DataDir) -> str:
    """16 hexadecimal digits of all utterances: id, speaker, rate, stretch, and every byte of their recordings.

    Raises:
        SeqgenError: for a recording that cannot be read.
    """
    whole, recordings = hashlib.sha256(), dict[Path, str]()
    for one in data:
        if one.path not in recordings:
            recordings[one.path] = _digest(one.path)
        row = [one.id, one.speaker, one.rate, one.start, one.samples, recordings[one.path]]
        whole.update(json.dumps(row).encode())
    return whole.hexdigest()[:16]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SeqgenError(f"{path}: {error.strerror}", remedy="check with `seqgen data check`") from None
