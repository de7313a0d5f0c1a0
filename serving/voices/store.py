"""Stores of voices: where a server finds voices by name."""

from __future__ import annotations

from typing import Any, Protocol

from serving.voices.voice import LoadedVoice, description

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

    def describe(self, name: str) -> dict[str, Any]:
        """Public description of a voice, see :func:`serving.voices.voice.description`. Cheap."""


class FixedVoices:
    """Store of voices that are open already and never change."""

    def __init__(self, *voices: LoadedVoice) -> None:
        self._voices = {voice.vocoder.name: voice for voice in voices}

    def names(self) -> list[str]:
        return list(self._voices)

    def version(self, name: str) -> VoiceVersion | None:
        return "" if name in self._voices else None

    def load(self, name: str) -> LoadedVoice:
        return self._voices[name]

    def describe(self, name: str) -> dict[str, Any]:
        return description(self._voices[name].vocoder.manifest)
