"""librosa is imported by one process of a user at a time."""

from __future__ import annotations

import threading

from filelock import FileLock

from seqgen.audio import compiled


def test_the_import_waits_for_another_process() -> None:
    """While the lock is held nothing is imported; then the module is there, with what it compiles."""
    found: list[object] = []
    other = threading.Thread(target=lambda: found.append(compiled.librosa.__wrapped__()))
    with FileLock(compiled.LOCK):
        other.start()
        other.join(0.3)
        assert not found
    other.join(60)
    assert hasattr(found[0], "pyin")
