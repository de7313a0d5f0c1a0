"""Facts that bundles tell: what a task is constructed with to evaluate or sample one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from seqgen.bundle import Bundle
from seqgen.manifest import SpeechCodecManifest, SymbolManifest, VocoderManifest, VoiceManifest
from seqgen.runtime.symbols import tokenizers
from seqgen.spec import Facts
from seqgen.text.pronounced.aloud import ALPHABET


def facts_of(bundle: Bundle) -> Facts:
    """Facts of the data that the model of a bundle was trained on."""
    return _FACTS[bundle.manifest.kind](bundle)


def _vocoder(bundle: Bundle) -> Facts:
    manifest = bundle.require(VocoderManifest)
    return Facts(speakers=manifest.speakers, features=manifest.features)


def _voice(bundle: Bundle) -> Facts:
    manifest = bundle.require(VoiceManifest)
    return Facts(shape=(manifest.features.bands,), unit="number", alphabet=ALPHABET)


def _symbols(bundle: Bundle) -> Facts:
    made, source = tokenizers(bundle)
    return Facts(
        vocab_size=bundle.require(SymbolManifest).vocab_size,
        unit=made.unit,
        tokenizer=made.plain(),
        source_tokenizer=None if source is None else source.plain(),
    )


def _encoder(bundle: Bundle) -> Facts:
    return Facts()


def _speech_codec(bundle: Bundle) -> Facts:
    manifest = bundle.require(SpeechCodecManifest)
    return Facts(speakers=manifest.speakers, sample_rate=manifest.sample_rate)


_FACTS: Mapping[str, Callable[[Bundle], Facts]] = {
    "vocoder": _vocoder,
    "voice": _voice,
    "language-model": _symbols,
    "translator": _symbols,
    "encoder": _encoder,
    "speech-codec": _speech_codec,
}
