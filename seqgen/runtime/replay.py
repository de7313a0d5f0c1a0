"""Replay of a bundle's golden vectors: whether a runtime, on this machine, makes what was exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_any, runnable
from seqgen.runtime.contract import BundleRuntime
from seqgen.runtime.encoder_replay import replay_encoder
from seqgen.runtime.speech_codec_replay import replay_speech_codec
from seqgen.runtime.symbol_replay import replay_symbols
from seqgen.runtime.verdict import Verdict
from seqgen.runtime.vocoder_replay import replay_vocoder
from seqgen.runtime.voice_replay import replay_voice

_REPLAYS: Mapping[str, Callable[[Any], Verdict]] = {
    "vocoder": replay_vocoder,
    "voice": replay_voice,
    "language-model": replay_symbols,
    "translator": replay_symbols,
    "encoder": replay_encoder,
    "speech-codec": replay_speech_codec,
}


def replay(runtime: BundleRuntime) -> Verdict:
    """Run a bundle's golden vectors through a runtime, as one block and as two."""
    return _REPLAYS[runtime.manifest.kind](runtime)


def check(directory: Path) -> list[Verdict]:
    """Open a bundle (every hash verified) and replay its golden vectors through each runtime that can run it here.

    Raises:
        SeqgenError: where the bundle is damaged, or a runtime does not reproduce it.
    """
    opened = Bundle.open(directory)
    return [require_golden(open_any(opened, name)) for name in runnable(opened)]


def require_golden(runtime: BundleRuntime) -> Verdict:
    """:func:`replay`, refusing a runtime that fails it.

    Raises:
        SeqgenError: naming the bundle, the runtime and what differed.
    """
    verdict = replay(runtime)
    if not verdict.ok:
        raise SeqgenError(
            f"{runtime.bundle.directory}: {verdict.runtime} does not reproduce the golden vectors ({verdict}, "
            f"same in chunks: {verdict.chunked})",
            remedy="export the bundle again on this machine",
        )
    return verdict
