"""Identity of a run: what its weights were trained under, compared at every door that they are loaded through."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from seqgen import config
from seqgen.errors import SeqgenError

# Roles of settings, as metadata of their dataclass's fields; a setting without one decides the numbers of a training.
NEUTRAL = MappingProxyType({"role": "neutral"})  # changes no number
LENGTH = MappingProxyType({"role": "length"})  # changes no number, unless a schedule of the rate depends on it
PLACE = MappingProxyType({"role": "place"})  # a place of data: what lies there decides, not where
WEIGHTS = MappingProxyType({"role": "weights"})  # decides what weights mean, whatever they are trained for
_SHOWN = 80  # characters of a value


@dataclass(frozen=True)
class CheckpointIdentity:
    """Identity of the run that a checkpoint belongs to.

    Attributes:
        config_text: resolved configuration, YAML. digest: its digest. signature: of the features.
        facts: what was known of the data, plain. data: digests of what lay in each place that a key names.
        neutral: keys of settings that change no number. weights: keys without which weights mean something else.
        defaults: values of keys that are not given. These three are the code's, not the run's: no checkpoint holds
            them.
    """

    config_text: str
    digest: str
    signature: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    neutral: frozenset[str] = frozenset()
    weights: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)


def keys(kind: type[Any], role: Mapping[str, str], prefix: str = "") -> Iterator[str]:
    """Keys of a dataclass of settings that have a role, those of the sections inside included."""
    for one, key, section in _fields(kind, prefix):
        if one.metadata.get("role") == role["role"]:
            yield key
        elif section is not None:
            yield from keys(section, role, f"{key}.")


def defaults(kind: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys of a dataclass of settings with their default values, plain and flat."""
    for one, key, section in _fields(kind, prefix):
        if one.default is not dataclasses.MISSING:
            yield from _flat(config.plain(one.default), key).items()
        elif one.default_factory is not dataclasses.MISSING:
            yield from _flat(config.plain(one.default_factory()), key).items()
        elif section is not None:
            yield from defaults(section, f"{key}.")


def _fields(kind: type[Any], prefix: str) -> Iterator[tuple[dataclasses.Field[Any], str, type[Any] | None]]:
    hints = typing.get_type_hints(kind)
    for one in dataclasses.fields(kind):
        section = hints[one.name]
        inner = isinstance(section, type) and dataclasses.is_dataclass(section) and section is not config.Component
        yield one, f"{prefix}{one.name}", section if inner else None


def require_same_run(found: CheckpointIdentity, path: Path, *, expected: CheckpointIdentity) -> None:
    """Refuse what another run has trained: other settings that change a number, other data, other features.

    Raises:
        SeqgenError: naming each key that differs with both values.
    """
    compared = [key for key in _keys(found, expected) if not _within(key, expected.neutral)]
    _refuse(
        _differences(found, expected, compared),
        path,
        "belongs to another run",
        "give these settings and data again, or start a new run with --init-from",
    )


def require_same_weights(found: CheckpointIdentity, path: Path, *, expected: CheckpointIdentity) -> None:
    """Refuse weights to begin with that were trained as those of other networks, symbols or features.

    Raises:
        SeqgenError: naming each key that differs with both values.
    """
    compared = [key for key in _keys(found, expected) if _within(key, expected.weights)]
    _refuse(
        _differences(found, expected, compared),
        path,
        "was trained for something else",
        "give the networks and features that it was trained with",
    )


def _refuse(differences: list[str], path: Path, what: str, remedy: str) -> None:
    if differences:
        raise SeqgenError(f"{path} {what} ({'; '.join(differences)})", remedy=remedy)


def _within(key: str, parts: Iterable[str]) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in parts)


def _keys(found: CheckpointIdentity, expected: CheckpointIdentity) -> Iterator[str]:
    yield from dict.fromkeys([*_settings(expected), *_settings(found)])


def _settings(identity: CheckpointIdentity) -> dict[str, Any]:
    """Settings and facts by key, as flat as they are written."""
    import yaml

    settings = _flat(yaml.safe_load(identity.config_text) or {})
    return settings | (_flat(identity.facts, "facts") if identity.facts else {})


def _differences(found: CheckpointIdentity, expected: CheckpointIdentity, compared: list[str]) -> list[str]:
    there, here = (dict(expected.defaults) | _settings(one) for one in (found, expected))
    known = bool(found.facts) and bool(expected.facts)  # checkpoints of former versions hold none
    told = []
    for key in compared:
        if key in found.data and key in expected.data:  # data that were moved are the same data
            if found.data[key] != expected.data[key]:
                told.append(f"{key}: data {found.data[key]} there, {expected.data[key]} here")
        elif there.get(key) != here.get(key) and (known or not key.startswith("facts.")):
            told.append(f"{key}: {_shown(there, key)} there, {_shown(here, key)} here")
    if found.signature != expected.signature:
        told.append(f"features: {found.signature or 'none'} there, {expected.signature or 'none'} here")
    return told


def _shown(settings: Mapping[str, Any], key: str) -> str:
    text = str(settings[key]) if key in settings else "absent"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {path: value} if path else {}
    nested = [_flat(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()]
    return {key: item for table in nested for key, item in table.items()}
