"""Reference to an open voice, by which another process opens the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from serving.voices.vocoder import StreamingVocoder

VoiceReference = dict[str, Any]
"""Name, directory, digest and runtime of a voice, as plain JSON."""


def reference_to(vocoder: StreamingVocoder) -> VoiceReference:
    """Reference to a voice that this process has open."""
    runtime = vocoder.runtime
    return {
        "name": vocoder.name,
        "directory": str(runtime.bundle.directory.absolute()),
        "digest": vocoder.manifest.digest,
        "runtime": runtime.name,
        "options": {"format": runtime.format} if runtime.name == "native" else {},
        "batch": vocoder.batch,
    }


def open_reference(reference: VoiceReference) -> StreamingVocoder:
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
    runtime = open_runtime(bundle, reference["runtime"], threads=1, **reference["options"])
    vocoder = StreamingVocoder(bundle, runtime, batch=reference["batch"])
    vocoder.name = reference["name"]
    vocoder.warm_up()
    return vocoder
