"""Settings of the C library's allocator, which would cost a training step more than its arithmetic."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_pages() -> None:
    """Let glibc keep large freed blocks instead of giving them back to the system after every step.

    A step of a large recurrent network frees and takes again about a gigabyte in blocks of 50-200 MB; each would be
    mapped, zeroed page by page and unmapped anew, which took longer than the recurrence itself (a factor of 1.5 to 2.5
    on two cores). Elsewhere than on Linux with glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has no such knobs
        return
    for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26)):
        mallopt(option, value)
