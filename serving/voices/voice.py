"""Voice in memory, checked, measured and ready to be heard."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seqgen import presets
from seqgen.bundle import Bundle
from seqgen.manifest import KINDS, Manifest, SymbolManifest, VoiceManifest
from seqgen.runtime import open_runtime, open_symbols
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.replay import require_golden
from seqgen.runtime.voice import LANGUAGE
from serving.streams.capacity import Capacity, calibrate, reading_cost, sound_costs
from serving.streams.contract import ServedModel
from serving.streams.text import TextModel
from serving.streams.vocoder import StreamingVocoder


@dataclass(frozen=True, slots=True)
class LoadedVoice:
    """Voice in memory, ready to be heard.

    Attributes:
        model: which starts its streams. capacity: what a listener costs. size: bytes in memory, by its files.
    """

    model: ServedModel
    capacity: Capacity = field(default_factory=Capacity)
    size: int = 0


def description(manifest: Any) -> dict[str, Any]:
    """Public description of a model, by its manifest, as listings show it."""
    if makes_text(manifest.kind):
        return {**kind_of(manifest.kind, manifest.licence), "symbols": manifest.vocab_size}
    return {
        **kind_of(manifest.kind, manifest.licence),
        "sample_rate": manifest.sample_rate,
        "feature_signature": manifest.features.signature,
        "hop": manifest.features.hop,
        "bands": manifest.features.bands,
        "speakers": list(manifest.speakers),
    }


def kind_of(kind: str, licence: str | None) -> dict[str, Any]:
    """Part of a model's public description that its kind and licence tell: what it does, whether it reads, and what."""
    does = {"description": KINDS[kind].does} if kind in KINDS else {}
    told = {"kind": kind, "licence": licence, **does}
    if makes_text(kind):
        return told
    return told | ({"reads": True, "language": LANGUAGE} if reads_text(kind) else {"reads": False})


def makes_text(kind: str) -> bool:
    """Test for the kinds of bundles whose output is text; all others are voices."""
    return issubclass(KINDS.get(kind, Manifest), SymbolManifest)


def reads_text(kind: str) -> bool:
    """Test for the kinds of bundles that make sound of text."""
    return issubclass(KINDS.get(kind, Manifest), VoiceManifest)


def served(bundle: Bundle, runtime: str = "", *, batch: int | None = None, **options: Any) -> ServedModel:
    """Model of a bundle, by its kind, through a runtime of that name (by default the fastest) with its options.

    Raises:
        SeqgenError: where the runtime cannot run it.
    """
    if not isinstance(bundle.manifest, SymbolManifest):
        return StreamingVocoder(bundle, open_runtime(bundle, runtime, threads=1, **options), batch=batch)
    return TextModel(bundle, open_symbols(bundle, runtime, threads=1, **options), batch=batch)


def open_voice(directory: Path) -> LoadedVoice:
    """Open a bundle for serving: hashes checked, golden vectors replayed, speed measured.

    Raises:
        SeqgenError: where the bundle is damaged or its output is not what it was.
        ModelFailure: where it does not run.
    """
    bundle = Bundle.open(directory)
    model = served(bundle)
    require_golden(model.runtime)
    model.warm_up()
    size = sum(entry.size for entry in bundle.manifest.files if entry.name.endswith(".safetensors"))
    return LoadedVoice(model, _capacity(model), size)


def open_preset(name: str, directory: Path) -> LoadedVoice:
    """Make a voice of random weights in ``directory`` and open it: what serving a voice costs, without training.

    Raises:
        SeqgenError: for an unknown name, or where the native engine is not built.
    """
    bundle = presets.write(name, directory)
    vocoder = StreamingVocoder(bundle, NativeRuntime(bundle, format=presets.find(name).format or "program"))
    vocoder.warm_up()
    return LoadedVoice(vocoder, _capacity(vocoder), sum(entry.size for entry in bundle.manifest.files))


def _capacity(model: ServedModel) -> Capacity:
    capacity = calibrate(model)
    if not isinstance(model, StreamingVocoder):
        return capacity
    text = reading_cost(model.reader, model.features) if model.reader is not None else 0.0
    return replace(capacity, sound=sound_costs(model.features), text=text)
