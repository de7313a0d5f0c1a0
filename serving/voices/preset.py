"""Voices of random weights for the server: what serving a voice costs, without training."""

from __future__ import annotations

from pathlib import Path

from seqgen import presets
from seqgen.runtime.native import NativeRuntime
from serving.voices.capacity import calibrate
from serving.voices.vocoder import StreamingVocoder
from serving.voices.voice import LoadedVoice


def open_preset(name: str, directory: Path) -> LoadedVoice:
    """Make a voice of random weights in ``directory`` and open it for serving.

    Raises:
        SeqgenError: for an unknown name, or where the native engine is not built.
    """
    bundle = presets.write(name, directory)
    vocoder = StreamingVocoder(bundle, NativeRuntime(bundle, format=presets.find(name).format or "program"))
    vocoder.warm_up()
    return LoadedVoice(vocoder, calibrate(vocoder), sum(entry.size for entry in bundle.manifest.files))
