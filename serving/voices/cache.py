"""Cache of open voices: loaded when first asked for, kept while there is room, replaced when changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from seqgen.errors import SeqgenError
from serving.voices.store import VoiceStore, VoiceVersion
from serving.voices.vocoder import StreamingVocoder
from serving.voices.voice import LoadedVoice

log = logging.getLogger("seqgen.serving")


@dataclass
class _CachedVoice:
    voice: LoadedVoice
    version: VoiceVersion
    used: float


class VoiceCache:
    """Cache of a server's open voices; used on the event loop only, while loading happens in a thread.

    Args:
        store: where they come from. memory: bytes that open voices may take; those in use are never closed for it.
        in_use: the vocoders that have listeners now. copies: of a voice in memory, over all processes that open it.

    A stream keeps the vocoder that it began with, whatever becomes of the voice.
    """

    def __init__(
        self,
        store: VoiceStore,
        *,
        memory: int = 1 << 30,
        in_use: Callable[[], Collection[StreamingVocoder]] = tuple,
        copies: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._memory, self._in_use, self._clock, self._copies = store, memory, in_use, clock, copies
        self._open: dict[str, _CachedVoice] = {}
        self._loading: dict[str, asyncio.Task[LoadedVoice]] = {}

    def names(self) -> list[str]:
        """Names of all voices that may be asked for; the first is the one that a listener gets who names none."""
        return self._store.names()

    def describe(self, name: str) -> dict[str, Any]:
        """Public description of a voice, as listings show it."""
        return self._store.describe(name)

    @property
    def open(self) -> dict[str, LoadedVoice]:
        """Voices in memory, by name."""
        return {name: entry.voice for name, entry in self._open.items()}

    @property
    def size(self) -> int:
        """Bytes that the open voices take, over all processes that hold them."""
        return self._copies * sum(entry.voice.size for entry in self._open.values())

    async def find(self, name: str | None = None) -> LoadedVoice:
        """Voice of that name in its present version, loaded where it is not open.

        Raises:
            SeqgenError: for an unknown or damaged voice.
        """
        if name is None:
            name = next(iter(self.names()), "")
        version = self._store.version(name)
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

    async def _load(self, name: str, version: VoiceVersion) -> LoadedVoice:
        try:
            voice = await asyncio.to_thread(self._store.load, name)
        finally:
            del self._loading[name]
        self._open[name] = _CachedVoice(voice, version, self._clock())
        self._make_room(name)
        log.info("voice '%s' is open", name)
        return voice

    def _make_room(self, newest: str) -> None:
        busy = self._in_use()
        by_age = sorted(self._open, key=lambda name: self._open[name].used)
        for name in by_age:
            if self.size <= self._memory:
                return
            if name != newest and self._open[name].voice.vocoder not in busy:
                del self._open[name]
                log.info("voice '%s' is closed to make room", name)
