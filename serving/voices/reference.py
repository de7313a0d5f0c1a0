"""Reference to an open voice, by which another process opens the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from serving.streams.contract import ServedModel
from serving.voices.voice import served

VoiceReference = dict[str, Any]
"""Name, directory, digest and runtime of a voice, as plain JSON."""


def reference_to(model: ServedModel) -> VoiceReference:
    """Reference to a voice that this process has open."""
    runtime = model.runtime
    return {
        "name": model.name,
        "directory": str(runtime.bundle.directory.absolute()),
        "digest": model.manifest.digest,
        "runtime": runtime.name,
        "options": {"format": runtime.format} if runtime.name == "native" else {},
        "batch": model.batch,
    }


def open_reference(reference: VoiceReference) -> ServedModel:
    """Voice of a reference. Its files are hashed again; its golden vectors were replayed by who wrote the reference.

    Raises:
        SeqgenError: for a damaged voice, or another one in its place.
    """
    bundle = Bundle.open(Path(reference["directory"]))
    if bundle.manifest.digest != reference["digest"]:
        raise SeqgenError(
            f"voice '{reference['name']}' in {bundle.directory} has been replaced since it was opened",
            remedy="the server opens the new one when it is asked for next",
        )
    model = served(bundle, reference["runtime"], batch=reference["batch"], **reference["options"])
    model.name = reference["name"]
    model.warm_up()
    return model
