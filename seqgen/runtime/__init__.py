"""Runtimes of bundles; nothing here imports torch unless the torch runtime is asked for."""

from __future__ import annotations

from typing import Any

from seqgen.bundle import Bundle
from seqgen.manifest import EncoderManifest, SpeechCodecManifest, SymbolManifest, VocoderManifest
from seqgen.runtime import native, native_library
from seqgen.runtime.contract import BundleRuntime, Runtime
from seqgen.runtime.encoder import EncoderRuntime
from seqgen.runtime.speech_codec import SpeechCodec
from seqgen.runtime.symbols import SymbolRuntime

GRAPHS = frozenset({"loop.onnx", "encoder.onnx"})
"""Graphs, one of which a bundle has that onnxruntime runs, whatever its kind."""


def runnable(bundle: Bundle) -> list[str]:
    """Registered names of the runtimes that ``bundle`` has the files for, fastest first; native only where it is built.

    A bundle for the native engine only names it all the same: opening it then says what is missing.
    """
    files = {entry.name for entry in bundle.manifest.files}
    others = ["onnx", "torch"] if GRAPHS & files else []
    programmed = native.PROGRAM in files and (native_library.built() or not others)
    return ["native", *others] if programmed else others or ["onnx"]


def fastest(bundle: Bundle) -> str:
    """The registered name of the fastest runtime for ``bundle`` here: native where it can, else onnx."""
    return runnable(bundle)[0]


def compared(bundle: Bundle) -> list[tuple[str, str]]:
    """Runtimes of a bundle that a comparison goes through, each with a format of its weights ("" where it has but
    one)."""
    formats = [("native", form) for form in ("int8", "bf16", "float32")] if fastest(bundle) == "native" else []
    return [*formats, *((name, "") for name in runnable(bundle) if name != "native")]


def open_runtime(bundle: Bundle, name: str = "", *, threads: int = 1, **options: Any) -> Runtime:
    """The runtime registered under ``name`` (by default the fastest), ready to run a vocoder's ``bundle``; it may have
    options.

    Raises:
        SeqgenError: for an unknown name, a bundle of another kind, or one that this runtime cannot run.
    """
    bundle.require(VocoderManifest)
    runtime: Runtime = _opened(bundle, name, threads, options)
    return runtime


def open_symbols(bundle: Bundle, name: str = "", *, threads: int = 1, **options: Any) -> SymbolRuntime:
    """Runtime for the ``bundle`` of a language model or a translator.

    Raises:
        SeqgenError: as :func:`open_runtime`.
    """
    bundle.require(SymbolManifest)
    runtime: SymbolRuntime = _opened(bundle, name, threads, options)
    return runtime


def open_encoder(bundle: Bundle, name: str = "", *, threads: int = 1, **options: Any) -> EncoderRuntime:
    """Runtime for the ``bundle`` of a feature extractor.

    Raises:
        SeqgenError: as :func:`open_runtime`.
    """
    bundle.require(EncoderManifest)
    runtime: EncoderRuntime = _opened(bundle, name, threads, options)
    return runtime


def open_speech_codec(bundle: Bundle, name: str = "", *, threads: int = 1, **options: Any) -> SpeechCodec:
    """Runtime for the ``bundle`` of a speech codec.

    Raises:
        SeqgenError: as :func:`open_runtime`.
    """
    bundle.require(SpeechCodecManifest)
    runtime: SpeechCodec = _opened(bundle, name, threads, options)
    return runtime


def open_any(bundle: Bundle, name: str = "") -> BundleRuntime:
    """Runtime for a ``bundle`` of any kind."""
    runtime: BundleRuntime = _opened(bundle, name, 1, {})
    return runtime


def _opened(bundle: Bundle, name: str, threads: int, options: dict[str, Any]) -> Any:
    return bundle.manifest.runtimes.load(name or fastest(bundle))(bundle, threads=threads, **options)
