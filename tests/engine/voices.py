"""Exported tiny voices that the engine can run too, with the torch runtime beside it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqgen.bundle import Bundle
from seqgen.runtime.native import NativeRuntime
from tests.engine.programs import Array
from tests.runtime.voices import export_tiny, tiny_run


def native_voice(
    directory: Path, *, hidden: int, hop: int, speakers: Sequence[str] = (), prediction: int = 0, seed: int = 1
) -> Bundle:
    """A bundle with ``program.json``; see :func:`tests.runtime.voices.tiny_run` for its shape."""
    run = tiny_run(hidden=hidden, hop=hop, prediction=prediction)
    return export_tiny(directory / "voice", run, tuple(speakers), seed)


def in_two_processes(
    runtime: NativeRuntime, uniforms: Array, cond: Array, frames: int, folder: Path
) -> tuple[Array, Array]:
    """Audio of fresh streams in one call, and with another process, free of torch, going on after so many frames."""
    manifest = runtime.manifest
    spec, uniforms_per_sample, ahead = manifest.spec, manifest.uniforms_per_sample, manifest.ahead
    cut = frames * spec.up - spec.latency
    assert cut > 0
    fresh = runtime.init(len(cond))
    whole, _ = runtime.sample(uniforms, fresh, cond)
    begun, state = runtime.sample(uniforms[:, : uniforms_per_sample * (cut + ahead)], fresh, cond[:, :frames])
    (folder / "given").write_bytes(pickle.dumps((state, uniforms[:, uniforms_per_sample * cut :], cond[:, frames:])))
    source = (
        "import pathlib, pickle, sys, numpy as np; from seqgen.bundle import Bundle;"
        "from seqgen.runtime.native import NativeRuntime; voice, given, out = map(pathlib.Path, sys.argv[1:]);"
        "state, u, cond = pickle.loads(given.read_bytes());"
        "np.save(out, NativeRuntime(Bundle.open(voice)).sample(u, state, cond)[0]); assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", source, str(runtime.bundle.directory), str(folder / "given")]
    subprocess.run([*command, str(folder / "rest.npy")], check=True, timeout=60)
    return whole, np.concatenate([begun, np.load(folder / "rest.npy")], axis=1)
