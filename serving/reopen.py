"""A voice that one process has open, opened by another: what to tell it, and what it does with that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from serving.vocoder import Vocoder

Recipe = dict[str, Any]


def recipe(vocoder: Vocoder) -> Recipe:
    """Where a voice is and how it runs, as plain JSON."""
    runtime = vocoder.runtime
    return {
        "directory": str(runtime.bundle.directory.absolute()),
        "digest": vocoder.manifest.digest,
        "runtime": runtime.name,
        "options": {"format": runtime.format} if runtime.name == "native" else {},
        "batch": vocoder.batch,
    }


def reopen(given: Recipe) -> Vocoder:
    """The voice of a recipe. Its files are hashed again; its golden vectors were replayed by whoever wrote the recipe.

    Raises:
        SeqgenError: for a damaged voice, or another one in its place.
    """
    bundle = Bundle.open(Path(given["directory"]))
    if bundle.manifest.digest != given["digest"]:
        raise SeqgenError(
            f"voice '{bundle.manifest.name}' has been replaced since this stream was asked for", remedy="ask again"
        )
    runtime = open_runtime(bundle, given["runtime"], threads=1, **given["options"])
    vocoder = Vocoder(bundle, runtime, batch=given["batch"])
    vocoder.warm_up()
    return vocoder
