"""Exported tiny voices that the engine can run too, with the torch runtime beside it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seqgen import bundle
from seqgen.bundle import Bundle
from seqgen.export import program, voice
from tests.runtime.voices import tiny_run, tiny_system


def native_voice(
    directory: Path, *, hidden: int, hop: int, speakers: Sequence[str] = (), prediction: int = 0, seed: int = 1
) -> Bundle:
    """A bundle with ``program.json``; see :func:`tests.runtime.voices.tiny_run` for its shape."""
    run = tiny_run(hidden=hidden, hop=hop)
    run = replace(run, data=replace(run.data, prediction=prediction))
    system, experiment = tiny_system(run, tuple(speakers), seed)
    plain = voice.write(system.voice, experiment, directory / "plain", {})

    def fill(work: Path) -> None:
        for entry in plain.manifest.files:
            shutil.copy(plain.path(entry.name), work / entry.name)
        program.write(system.vocoder, work)

    return bundle.write(directory / "voice", replace(plain.manifest, files=(), digest=""), fill)
