"""Threads that a training computes with: as many as cores are free."""

from __future__ import annotations

import os
import time
from pathlib import Path

from seqgen.errors import SeqgenError

_STAT = Path("/proc/stat")
_WATCHED = 0.2  # seconds
_IDLE = (3, 4)  # columns of a core's line that count what nobody used: idle, and waiting for disks


def granted() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free(seconds: float = _WATCHED, stat: Path = _STAT) -> int:
    """Cores among those granted that others leave free while this process sleeps, at least one; all that are granted
    where the system does not tell."""
    before = _used(stat)
    time.sleep(seconds)
    after = _used(stat)
    busy = [(used[0] - was[0]) / max(used[1] - was[1], 1) for was, used in zip(before, after, strict=False)]
    return max(1, granted() - round(sum(busy))) if busy else granted()


def _used(stat: Path) -> list[tuple[int, int]]:
    """Ticks of each granted core so far: those that were used, and all."""
    try:
        lines = stat.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
    found = []
    for line in lines:
        name, *words = line.split()
        if name in cores:
            ticks = [int(word) for word in words[:8]]  # what guests use is counted among the others too
            found.append((sum(ticks) - sum(ticks[column] for column in _IDLE), sum(ticks)))
    return found


def choose(threads: int | None) -> str:
    """Compute with so many threads, and say how many in a few words. ``None`` leaves the number to
    ``OMP_NUM_THREADS``, and without it takes as many as cores are free: two that share a core with other work take
    longer than one.

    Raises:
        SeqgenError: for a number below 1.
    """
    import torch

    if threads is not None and threads < 1:
        raise SeqgenError(f"{threads} threads", remedy="give 1 or more")
    why = ""
    if threads is not None:
        torch.set_num_threads(threads)
    elif os.environ.get("OMP_NUM_THREADS"):
        why = " (OMP_NUM_THREADS)"
    else:
        torch.set_num_threads(free())
        if torch.get_num_threads() < granted():
            why = f": of {granted()} cores others have the rest"
    count = torch.get_num_threads()
    return f"{count} thread{'s' if count > 1 else ''}{why}"
