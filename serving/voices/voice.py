"""Voice in memory, checked, measured and ready to be heard."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seqgen import presets
from seqgen.bundle import Bundle
from seqgen.manifest import VocoderManifest
from seqgen.runtime import open_runtime
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.replay import require_golden
from serving.voices.capacity import Capacity, calibrate, sound_costs
from serving.voices.vocoder import StreamingVocoder


@dataclass(frozen=True, slots=True)
class LoadedVoice:
    """Voice in memory, ready to be heard.

    Attributes:
        vocoder: which starts its streams. capacity: what a listener costs. size: bytes in memory, by its files.
    """

    vocoder: StreamingVocoder
    capacity: Capacity = field(default_factory=Capacity)
    size: int = 0


def description(manifest: VocoderManifest) -> dict[str, Any]:
    """Public description of a voice, as listings show it."""
    return {
        "kind": manifest.kind,
        "sample_rate": manifest.sample_rate,
        "feature_signature": manifest.features.signature,
        "hop": manifest.features.hop,
        "bands": manifest.features.n_mels,
        "speakers": list(manifest.speakers),
        "licence": manifest.licence,
    }


def open_voice(directory: Path) -> LoadedVoice:
    """Open a bundle for serving: hashes checked, golden vectors replayed, speed measured.

    Raises:
        SeqgenError: where the bundle is damaged or its sound is not what it was.
        VoiceFailure: where it does not run.
    """
    bundle = Bundle.open(directory)
    vocoder = StreamingVocoder(bundle, open_runtime(bundle, threads=1))
    require_golden(vocoder.runtime)
    vocoder.warm_up()
    size = sum(entry.size for entry in bundle.manifest.files if entry.name.endswith(".safetensors"))
    return LoadedVoice(vocoder, _capacity(vocoder), size)


def open_preset(name: str, directory: Path) -> LoadedVoice:
    """Make a voice of random weights in ``directory`` and open it: what serving a voice costs, without training.

    Raises:
        SeqgenError: for an unknown name, or where the native engine is not built.
    """
    bundle = presets.write(name, directory)
    vocoder = StreamingVocoder(bundle, NativeRuntime(bundle, format=presets.find(name).format or "program"))
    vocoder.warm_up()
    return LoadedVoice(vocoder, _capacity(vocoder), sum(entry.size for entry in bundle.manifest.files))


def _capacity(vocoder: StreamingVocoder) -> Capacity:
    return replace(calibrate(vocoder), sound=sound_costs(vocoder.features))
