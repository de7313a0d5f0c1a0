"""The machine as far as it decides on rounding: whose processor, and the widest vectors that it has."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import numpy as np

_VECTORS = ("amx_tile", "avx512f", "avx2", "avx", "sve", "asimd")  # the widest first


@cache
def processor() -> tuple[str, frozenset[str]]:
    """The processor's vendor and features, as Linux tells them; elsewhere its architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.machine(), frozenset()
    found = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines()) if value
    }
    vendor = found.get("vendor_id") or found.get("CPU implementer") or platform.machine()
    return vendor, frozenset((found.get("flags") or found.get("Features") or "").split())


def instructions(kernels: str = "") -> str:
    """Kernels (by default those for the widest vectors there are) and whose processor runs them."""
    vendor, features = processor()
    return f"{kernels or next((name for name in _VECTORS if name in features), 'generic')} {vendor}"


def numpy_version() -> str:
    """The version of numpy, which turns a runtime's logits into probabilities."""
    return f"numpy {np.__version__}"
