"""Stores of voices: where a server finds voices by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from seqgen.bundle import MANIFEST, Bundle
from serving.voices.voice import LoadedVoice, description, open_voice

VoiceVersion = tuple[int, ...] | str
"""Value that changes whenever a voice of the same name does."""


class VoiceStore(Protocol):
    """Store of voices by name, from which a cache loads them."""

    def names(self) -> list[str]:
        """Names of the voices that are there now."""

    def version(self, name: str) -> VoiceVersion | None:
        """Version of a voice; ``None`` where there is no such voice. Cheap."""

    def load(self, name: str) -> LoadedVoice:
        """Open a voice. Slow; raises SeqgenError where it is damaged."""

    def check(self, name: str) -> None:
        """Check the files of a voice by their hashes. Slow; raises SeqgenError where they are not as they were."""

    def describe(self, name: str) -> dict[str, Any]:
        """Public description of a voice, see :func:`serving.voices.voice.description`. Cheap."""

    def ignored(self) -> dict[str, str]:
        """Names that are there and are no voices, with the reason."""


class FixedVoices:
    """Store of voices that are open already and never change."""

    def __init__(self, *voices: LoadedVoice) -> None:
        self._voices = {voice.model.name: voice for voice in voices}

    def names(self) -> list[str]:
        return list(self._voices)

    def version(self, name: str) -> VoiceVersion | None:
        return "" if name in self._voices else None

    def load(self, name: str) -> LoadedVoice:
        return self._voices[name]

    def check(self, name: str) -> None:
        pass

    def describe(self, name: str) -> dict[str, Any]:
        return description(self._voices[name].model.manifest)

    def ignored(self) -> dict[str, str]:
        return {}


class SingleVoice:
    """Store of one voice's bundle, which may be exported again; it keeps the name that it had at first.

    Args:
        directory: of the bundle. opener: opens it.

    Raises:
        SeqgenError: where it does not open.
    """

    def __init__(self, directory: Path, *, opener: Callable[[Path], LoadedVoice] = open_voice) -> None:
        self._directory, self._opener = directory, opener
        self._version = version_of(directory) or ""
        self._opened: LoadedVoice | None = opener(directory.resolve())  # a link may be pointed elsewhere later
        self._name = self._opened.model.name
        self._description = description(self._opened.model.manifest)

    def names(self) -> list[str]:
        return [self._name]

    def version(self, name: str) -> VoiceVersion | None:
        if name != self._name:
            return None
        self._version = version_of(self._directory) or self._version  # one that was taken away is served all the same
        return self._version

    def load(self, name: str) -> LoadedVoice:
        opened, self._opened = self._opened, None
        if opened is None:
            opened = self._opener(self._directory.resolve())
            opened.model.name = name
            self._description = description(opened.model.manifest)
        return opened

    def check(self, name: str) -> None:
        Bundle.open(self._directory)

    def describe(self, name: str) -> dict[str, Any]:
        return self._description

    def ignored(self) -> dict[str, str]:
        return {}


def version_of(directory: Path) -> VoiceVersion | None:
    """Version of a bundle, which changes whenever another takes its place; ``None`` where there is none."""
    try:
        status = (directory / MANIFEST).lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
