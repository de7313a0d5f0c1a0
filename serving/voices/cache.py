"""Cache of open voices: each checked before it is offered, kept while there is room, replaced when changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from seqgen.errors import SeqgenError
from serving.streams.contract import ModelFailure, ServedModel
from serving.voices.store import VoiceStore, VoiceVersion
from serving.voices.voice import LoadedVoice, makes_text

log = logging.getLogger("seqgen.serving")
_Result = TypeVar("_Result")
FIRST_RETRY, LAST_RETRY = 5.0, 300.0
"""Seconds after which a voice that did not open is tried again: the first time, and at most; they double."""

LONGEST_LOAD = 300.0
"""Seconds that a voice may take to open."""
PATIENCE = 10.0
"""Seconds after which one that is still being opened holds up the check of the next no longer."""


class VoiceRequired(SeqgenError):
    """Error of a request that names no voice where none is the default."""


class VoiceQuarantined(SeqgenError):
    """Error of a request for a voice that is there and does not open."""


@dataclass
class _CachedVoice:
    voice: LoadedVoice
    version: VoiceVersion
    used: float


@dataclass(frozen=True)
class _Quarantine:
    """Quarantine of one version of a voice: why it is not offered, when it is tried again, after how many failures."""

    version: VoiceVersion
    reason: str
    again: float
    failures: int


class VoiceCache:
    """Cache of a server's open voices; used on the event loop only, while loading happens in a thread.

    A voice is offered once it was opened, whole; one that does not open is quarantined with the reason, and the others
    are offered all the same. Where a new version does not open, the one before is offered as long as it is held.

    Args:
        store: where they come from. default: name of the voice of a request that names none; where there is a single
            voice, that one. aliases: further names, and the voices that they stand for; a voice's own name goes before.
        memory: bytes that open voices may take; those in use are never closed for it.
        in_use: the models that have listeners now. copies: of a voice in memory, over all processes that open it.

    A stream keeps the model that it began with, whatever becomes of the voice.
    """

    def __init__(
        self,
        store: VoiceStore,
        *,
        default: str | None = None,
        aliases: Mapping[str, str] | None = None,
        memory: int = 1 << 30,
        in_use: Callable[[], Collection[ServedModel]] = tuple,
        copies: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._memory, self._in_use, self._clock, self._copies = store, memory, in_use, clock, copies
        self.default, self.aliases = default, dict(aliases or {})
        self._open: dict[str, _CachedVoice] = {}
        self._good: dict[str, VoiceVersion] = {}  # versions that have been opened
        self._quarantined: dict[str, _Quarantine] = {}
        self._loading: dict[str, asyncio.Task[LoadedVoice]] = {}
        self._hanging: set[str] = set()  # that have taken too long and are still being loaded

    def names(self) -> list[str]:
        """Names of the voices that are offered."""
        return [name for name in self._store.names() if name in self._good]

    def voices(self) -> list[str]:
        """Names of those that are offered and make sound."""
        return [name for name in self.names() if not self._makes_text(name)]

    def installed(self) -> list[str]:
        """Names of all that is in the store, whether it opens or not."""
        return self._store.names()

    def resolve(self, name: str) -> str:
        """Name of the voice that a name stands for: itself, unless it is an alias."""
        return name if self._store.version(name) is not None else self.aliases.get(name, name)

    def aliased(self) -> dict[str, str]:
        """Aliases of the voices that are offered."""
        names = self.names()
        return {alias: name for alias, name in self.aliases.items() if name in names and alias not in names}

    def describe(self, name: str) -> dict[str, Any]:
        """Public description of a voice, as listings show it."""
        return self._store.describe(name)

    def states(self) -> dict[str, tuple[str, str]]:
        """State of every name of the store, and the reason for it.

        ``good``, ``unchecked``; ``quarantined`` also where the version before the present one is still offered; and
        ``ignored`` for what is no voice.
        """
        ignored = {name: ("ignored", reason) for name, reason in self._store.ignored().items()}
        return {name: self._state(name) for name in self._store.names()} | ignored

    @property
    def open(self) -> dict[str, LoadedVoice]:
        """Voices in memory, by name."""
        return {name: entry.voice for name, entry in self._open.items()}

    @property
    def size(self) -> int:
        """Bytes that the open voices take, over all processes that hold them."""
        return self._copies * sum(entry.voice.size for entry in self._open.values())

    def default_name(self) -> str:
        """Name of the voice that a request gets which names none; who wants text has to name its model.

        Raises:
            VoiceRequired: where it has to name one.
        """
        if self.default is not None:
            return self.default
        names = [name for name in self._store.names() if not self._makes_text(name)]
        if len(names) > 1:
            known = ", ".join(self.voices()) or "none that opens"
            raise VoiceRequired("no voice is named, and none is the default", remedy=f"name one of: {known}")
        return names[0] if names else ""

    def resize(self, memory: int) -> None:
        """Let open voices take so many bytes from now on."""
        self._memory = memory
        self._make_room()

    async def find(self, name: str | None = None) -> LoadedVoice:
        """Voice of that name in its present version, loaded where it is not open.

        Raises:
            SeqgenError: for an unknown voice. VoiceRequired: for none. VoiceQuarantined: for one that does not open.
        """
        name = self.resolve(self.default_name() if name is None else name)
        version = self._store.version(name)
        if version is None:
            self._forget(name)
            known = ", ".join(self.names()) or "none; install one with `seqgen-serve voices install`"
            raise SeqgenError(f"there is no voice '{name[:60]}'", remedy=f"voices here: {known}")
        entry = self._open.get(name)
        if entry is None or entry.version != version:
            return await self._newest(name, version)
        entry.used = self._clock()
        return entry.voice

    async def find_any(self, name: str | None = None) -> LoadedVoice:
        """Voice as :meth:`find` gives it; where a request may name its own later, one that is open stands in."""
        try:
            return await self.find(name)
        except VoiceRequired:
            for other in (*(name for name in self._open if not self._makes_text(name)), *self.voices()):
                with contextlib.suppress(SeqgenError):
                    return await self.find(other)
            raise

    async def check(self, *, at_once: bool = False) -> None:
        """Open every voice that was not opened in its present version, one after the other, the default first; one that
        takes long is joined by the next.

        ``at_once``: also those whose next attempt is not due, and the files of the others are checked again.
        """
        names = self._store.names()
        for gone in (self._open.keys() | self._good.keys() | self._quarantined.keys()) - set(names):
            self._forget(gone)
        checks = []
        for name in sorted(names, key=lambda name: name != self.default):
            checks.append(asyncio.create_task(self._check(name, at_once=at_once)))
            await asyncio.wait(checks[-1:], timeout=PATIENCE)
        await asyncio.gather(*checks)

    async def _check(self, name: str, *, at_once: bool) -> None:
        version = self._store.version(name)
        if version is None:
            return
        if at_once and self._good.get(name) == version and not await self._sound(name, version):
            return
        if self._good.get(name) == version and name not in self._quarantined:
            return
        if at_once:
            self._quarantined.pop(name, None)
        with contextlib.suppress(SeqgenError):
            await self._newest(name, version, offered=True)

    async def _sound(self, name: str, version: VoiceVersion) -> bool:
        """Soundness of the files of a voice that has been opened: they are what they were. If not, what is
        held of it is served all the same, but no worker could open it again."""
        if name in self._hanging:
            return False
        try:
            await self._in_thread(name, self._store.check)
        except Exception as error:
            self._quarantine(name, version, error)
            return False
        return True

    async def _newest(self, name: str, version: VoiceVersion, *, offered: bool = False) -> LoadedVoice:
        """The present version of a voice, or the one before where that does not open."""
        trouble = self._quarantined.get(name)
        try:
            early = trouble is not None and trouble.version == version and self._clock() < trouble.again
            if early or name in self._hanging:
                raise _unavailable(name)
            # Those who ask while it is being loaded wait for the same loading.
            if name not in self._loading:
                self._loading[name] = asyncio.create_task(self._load(name, version, offered=offered))
            return await asyncio.shield(self._loading[name])
        except VoiceQuarantined:
            if name not in self._open:
                raise
            return self._open[name].voice

    async def _load(self, name: str, version: VoiceVersion, *, offered: bool) -> LoadedVoice:
        try:
            voice = await self._in_thread(name, self._store.load)
        except Exception as error:
            self._quarantine(name, version, error)
            raise _unavailable(name) from None
        finally:
            del self._loading[name]
        self._quarantined.pop(name, None)
        self._good[name] = version
        if offered and self._open and name not in self._open and self._copies * voice.size + self.size > self._memory:
            log.info("voice '%s' is good; there is no room to keep it open", name)
            return voice
        self._open[name] = _CachedVoice(voice, version, self._clock())
        self._make_room(name)
        log.info("voice '%s' is open", name)
        return voice

    async def _in_thread(self, name: str, work: Callable[[str], _Result]) -> _Result:
        """Do it with a voice in a thread of its own, which may hang, as file systems do, and holds up nobody then.

        Raises:
            Exception: what the store raises. TimeoutError: where that takes too long.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_Result] = loop.create_future()

        def settle(result: _Result | Exception) -> None:
            self._hanging.discard(name)
            if done.done():
                return
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)

        def run() -> None:
            try:
                result: _Result | Exception = work(name)
            except Exception as error:
                result = error
            except BaseException as error:
                result = ModelFailure(repr(error))
            with contextlib.suppress(RuntimeError):  # the event loop has closed
                loop.call_soon_threadsafe(settle, result)

        threading.Thread(target=run, name=f"voice-{name}", daemon=True).start()
        try:
            async with asyncio.timeout(LONGEST_LOAD):
                return await done
        except TimeoutError:
            if not done.cancelled():
                raise  # of the store itself
            self._hanging.add(name)
            raise TimeoutError(f"it took longer than {LONGEST_LOAD:g} s") from None

    def _quarantine(self, name: str, version: VoiceVersion, error: Exception) -> None:
        before = self._quarantined.get(name)
        failures = before.failures + 1 if before is not None and before.version == version else 1
        wait = min(FIRST_RETRY * 2.0 ** (failures - 1), LAST_RETRY)
        reason = str(error) if isinstance(error, SeqgenError) else f"{type(error).__name__}: {error}"
        self._quarantined[name] = _Quarantine(version, reason, self._clock() + wait, min(failures, 64))
        if name not in self._open:
            self._good.pop(name, None)
        log.error("voice '%s' does not open and is quarantined; it is tried again in %g s: %s", name, wait, reason)

    def _makes_text(self, name: str) -> bool:
        entry = self._open.get(name)
        return makes_text(entry.voice.model.manifest.kind if entry else self._store.describe(name)["kind"])

    def _forget(self, name: str) -> None:
        for known in (self._open, self._good, self._quarantined):
            known.pop(name, None)

    def _state(self, name: str) -> tuple[str, str]:
        if name in self._quarantined:
            return "quarantined", self._quarantined[name].reason
        return ("good" if name in self._good else "unchecked"), ""

    def _make_room(self, newest: str = "") -> None:
        busy = self._in_use()
        by_age = sorted(self._open, key=lambda name: self._open[name].used)
        for name in by_age:
            if self.size <= self._memory:
                return
            if name != newest and self._open[name].voice.model not in busy:
                del self._open[name]
                log.info("voice '%s' is closed to make room", name)


def _unavailable(name: str) -> VoiceQuarantined:
    return VoiceQuarantined(f"voice '{name}' does not open", remedy="GET /v1/audio/voices?all tells why")
