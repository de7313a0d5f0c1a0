"""Ways to run a bundle; nothing here imports torch unless the torch runtime is asked for."""

from __future__ import annotations

from seqgen import registry
from seqgen.bundle import Bundle
from seqgen.runtime.contract import Runtime


def open_runtime(bundle: Bundle, name: str = "onnx", *, threads: int = 1) -> Runtime:
    """The runtime registered under ``name``, ready to run ``bundle``.

    Raises:
        SeqgenError: for an unknown name, or a bundle that this runtime cannot run.
    """
    runtime: Runtime = registry.RUNTIMES.load(name)(bundle, threads=threads)
    return runtime
