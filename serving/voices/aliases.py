"""Aliases of voices: further names that an operator gives to what is installed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from seqgen.errors import SeqgenError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read_aliases(words: Iterable[str], names: Collection[str]) -> dict[str, str]:
    """Aliases of words ``NAME=VOICE``, where ``names`` are installed.

    Raises:
        SeqgenError: for a word of another form, an alias that is given twice or is a voice's own name, and one whose
            voice is not there.

    Example:
        >>> read_aliases(["alloy=ann", "tts-1=ann"], ["ann"])
        {'alloy': 'ann', 'tts-1': 'ann'}
    """
    aliases: dict[str, str] = {}
    for word in words:
        alias, equals, voice = word.partition("=")
        shown = f"alias '{word[:80]}'"
        if not equals or not _NAME.fullmatch(alias):
            raise SeqgenError(shown, remedy="write NAME=VOICE; a name is up to 64 letters, digits, dots, - and _")
        if alias in aliases:
            raise SeqgenError(f"{shown}: '{alias}' is '{aliases[alias]}' already", remedy="give each alias once")
        if alias in names:
            raise SeqgenError(f"{shown}: '{alias}' is a voice of its own", remedy="take another name, or remove it")
        if voice not in names:
            known = ", ".join(names) or "none; install one with `seqgen-serve voices install`"
            raise SeqgenError(f"{shown}: there is no voice '{voice[:60]}'", remedy=f"voices here: {known}")
        aliases[alias] = voice
    return aliases
