"""Ways to run a bundle; nothing here imports torch unless the torch runtime is asked for."""

from __future__ import annotations

from typing import Any

from seqgen import registry
from seqgen.bundle import Bundle
from seqgen.runtime import native
from seqgen.runtime.contract import Runtime


def fastest(bundle: Bundle) -> str:
    """The registered name of the fastest runtime for ``bundle`` here: native where it can, else onnx."""
    programmed = any(entry.name == native.PROGRAM for entry in bundle.manifest.files)
    return "native" if programmed and native.built() else "onnx"


def open_runtime(bundle: Bundle, name: str = "", *, threads: int = 1, **options: Any) -> Runtime:
    """The runtime registered under ``name`` (by default the fastest), ready to run ``bundle``; it may have options.

    Raises:
        SeqgenError: for an unknown name, or a bundle that this runtime cannot run.
    """
    runtime: Runtime = registry.RUNTIMES.load(name or fastest(bundle))(bundle, threads=threads, **options)
    return runtime
