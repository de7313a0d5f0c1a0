"""Names of recordings and speakers: functions of a file's own path alone, whatever else lies in the folder."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import PurePosixPath
from typing import NamedTuple

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SPEAKER = re.compile(r"[A-Za-z0-9._]+")
_PART = re.compile(r"[A-Za-z0-9.-]+(_[A-Za-z0-9.-]+)*")
_TAKEN = re.compile(r"(_[0-9a-f]{12}|-[0-9]{5})$")  # ends of names with a digest, and of pieces of a recording
_MOST = 100  # characters: names of files made from an id, with their endings, stay below 255


class Name(NamedTuple):
    """Name of a recording.

    Attributes:
        id: ``speaker-rest_of_the_path``. speaker: never holds a hyphen.
        key: what decides the split: the same for a name's composed and decomposed accents.
    """

    id: str
    speaker: str
    key: str


def kaldi_name(text: str, *, speaker: bool = False) -> str:
    """A name that can stand in a Kaldi table: ASCII letters, digits, ``.``, ``_`` and ``-``.

    A speaker's name loses its hyphens as well: ids are ``speaker-rest``, and only a separator that sorts before every
    character of a speaker's name makes utterances sort by speaker (``a-b-…`` would fall among those of ``a``).

    Example:
        >>> kaldi_name("Zoë Ann-Marie", speaker=True)
        'Zoe_Ann_Marie'
    """
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = _UNSAFE.sub("_", ascii_only).strip("_.") or "x"
    return name.replace("-", "_") if speaker else name


def _marked(text: str, *, speaker: bool = False) -> str:
    """A readable name with a digest of what it was made of."""
    digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:12]
    return f"{kaldi_name(text, speaker=speaker)[:_MOST]}_{digest}"


def speaker_name(folder: str) -> str:
    """The speaker of a folder: its name where that can stand in a table, else a readable form with a digest.

    Example:
        >>> speaker_name("anna"), speaker_name("Zoë")
        ('anna', 'Zoe_d96b6d8e3c5b')
    """
    plain = _SPEAKER.fullmatch(folder) and not _TAKEN.search(folder) and len(folder) <= _MOST
    return folder if plain and folder.strip("_.") == folder else _marked(folder, speaker=True)


def _rest(path: str) -> str:
    """A path below its speaker without its ending: its parts joined by two underscores, or a form with a digest."""
    plain = all(_PART.fullmatch(part) for part in path.split("/"))
    joined = path.replace("/", "__")
    return joined if plain and not _TAKEN.search(joined) and len(joined) <= _MOST else _marked(path)


def _legible(text: str) -> bool:
    """Legibility of a name: :func:`kaldi_name` keeps every letter and digit."""
    return all(
        character.isascii() or not character.isalnum() or unicodedata.combining(character)
        for character in unicodedata.normalize("NFKD", text)
    )


def name_of(path: str, owner: str, below: str, *, clashing: str = "") -> Name:
    """The name of one recording.

    Args:
        path: relative to the corpus, with slashes. owner: whose recording it is, as the folder or table says.
        below: the part of the path that tells it from the owner's others; its ending is no part of its name.
        clashing: an owner whose recordings have their names from elsewhere too.

    Example:
        >>> name_of("anna/greeting.wav", "anna", "greeting.wav")
        Name(id='anna-greeting', speaker='anna', key='anna-greeting')
    """
    rest = PurePosixPath(below).with_suffix("").as_posix()
    speaker = speaker_name(owner)
    if _legible(owner) and _legible(rest):
        key = f"{kaldi_name(owner, speaker=True)}-{kaldi_name(rest.replace('/', '_'))}"
    else:
        composed = [unicodedata.normalize("NFC", part) for part in (owner, rest)]
        key = f"{speaker_name(composed[0])}-{_rest(composed[1])}"
    return Name(f"{speaker}-{_marked(path) if owner == clashing else _rest(rest)}", speaker, key)
