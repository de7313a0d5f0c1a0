"""The voices that a server has open: loaded when first asked for, kept while there is room, replaced when changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from seqgen import presets
from seqgen.bundle import Bundle, Manifest
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.replay import require_golden
from serving.capacity import Capacity, calibrate
from serving.vocoder import Vocoder

log = logging.getLogger("seqgen.serving")
Version = tuple[int, ...] | str


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice ready to be heard. ``size``: bytes that it takes in memory, by its files."""

    vocoder: Vocoder
    capacity: Capacity = field(default_factory=Capacity)
    size: int = 0


class Place(Protocol):
    """Where voices come from."""

    def names(self) -> list[str]:
        """Of the voices that are there now."""

    def version(self, name: str) -> Version | None:
        """Something that changes when the voice does; ``None`` where there is no such voice. Cheap."""

    def load(self, name: str) -> Voice:
        """Open a voice. Slow; raises SeqgenError where it is damaged."""

    def describe(self, name: str) -> dict[str, Any]:
        """What a listing tells of a voice, see :func:`description`. Cheap."""


def description(manifest: Manifest) -> dict[str, Any]:
    """What a listing tells of a voice."""
    return {
        "kind": manifest.kind,
        "sample_rate": manifest.sample_rate,
        "feature_signature": manifest.features.signature,
        "hop": manifest.features.hop,
        "bands": manifest.features.n_mels,
        "speakers": list(manifest.speakers),
        "licence": manifest.licence,
    }


def open_voice(directory: Path) -> Voice:
    """Open a bundle for serving: hashes checked, golden vectors replayed, speed measured.

    Raises:
        SeqgenError: where the bundle is damaged or its sound is not what it was.
        VoiceFailure: where it does not run.
    """
    bundle = Bundle.open(directory)
    vocoder = Vocoder(bundle, open_runtime(bundle, threads=1))
    require_golden(vocoder.runtime)
    vocoder.warm_up()
    size = sum(entry.size for entry in bundle.manifest.files if entry.name.endswith(".safetensors"))
    return Voice(vocoder, calibrate(vocoder), size)


def open_preset(name: str, directory: Path) -> Voice:
    """Make a voice of random weights in ``directory`` and open it for serving.

    Raises:
        SeqgenError: for an unknown name, or where the native engine is not built.
    """
    bundle = presets.write(name, directory)
    vocoder = Vocoder(bundle, NativeRuntime(bundle, format=presets.find(name).format or "program"))
    vocoder.warm_up()
    return Voice(vocoder, calibrate(vocoder), sum(entry.size for entry in bundle.manifest.files))


class Fixed:
    """Voices that are open already and never change."""

    def __init__(self, *voices: Voice) -> None:
        self._voices = {voice.vocoder.name: voice for voice in voices}

    def names(self) -> list[str]:
        return list(self._voices)

    def version(self, name: str) -> Version | None:
        return "" if name in self._voices else None

    def load(self, name: str) -> Voice:
        return self._voices[name]

    def describe(self, name: str) -> dict[str, Any]:
        return description(self._voices[name].vocoder.manifest)


@dataclass
class _Entry:
    voice: Voice
    version: Version
    used: float


class Shelf:
    """The open voices of a server; used on the event loop only, while loading happens in a thread.

    Args:
        place: where they come from. memory: bytes that open voices may take; those in use are never closed for it.
        in_use: the vocoders that have listeners now.

    A stream keeps the vocoder that it began with, whatever becomes of the voice.
    """

    def __init__(
        self,
        place: Place,
        *,
        memory: int = 1 << 30,
        in_use: Callable[[], Collection[Vocoder]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._memory, self._in_use, self._clock = place, memory, in_use, clock
        self._open: dict[str, _Entry] = {}
        self._loading: dict[str, asyncio.Task[Voice]] = {}

    def names(self) -> list[str]:
        """Of all voices that may be asked for; the first is the one that a listener gets who names none."""
        return self._place.names()

    def describe(self, name: str) -> dict[str, Any]:
        """What a listing tells of a voice."""
        return self._place.describe(name)

    @property
    def open(self) -> dict[str, Voice]:
        """Those in memory."""
        return {name: entry.voice for name, entry in self._open.items()}

    async def find(self, name: str | None = None) -> Voice:
        """The voice of that name in its present version, loaded where it is not open.

        Raises:
            SeqgenError: for an unknown or damaged voice.
        """
        if name is None:
            name = next(iter(self.names()), "")
        version = self._place.version(name)
        if version is None:
            self._open.pop(name, None)
            known = ", ".join(self.names()) or "none; install one with `seqgen-serve voices install`"
            raise SeqgenError(f"there is no voice '{name[:60]}'", remedy=f"voices here: {known}")
        entry = self._open.get(name)
        if entry is None or entry.version != version:
            # Those who ask while it is being loaded wait for the same loading.
            if name not in self._loading:
                self._loading[name] = asyncio.create_task(self._load(name, version))
            return await asyncio.shield(self._loading[name])
        entry.used = self._clock()
        return entry.voice

    async def _load(self, name: str, version: Version) -> Voice:
        try:
            voice = await asyncio.to_thread(self._place.load, name)
        finally:
            del self._loading[name]
        self._open[name] = _Entry(voice, version, self._clock())
        self._make_room(name)
        log.info("voice '%s' is open", name)
        return voice

    def _make_room(self, newest: str) -> None:
        busy = self._in_use()
        by_age = sorted(self._open, key=lambda name: self._open[name].used)
        for name in by_age:
            if sum(entry.voice.size for entry in self._open.values()) <= self._memory:
                return
            if name != newest and self._open[name].voice.vocoder not in busy:
                del self._open[name]
                log.info("voice '%s' is closed to make room", name)
