"""Strict configuration: frozen dataclasses of plain data to and from YAML.

A key that no dataclass knows, a value of the wrong type, a missing section: each stops with file, line and the
nearest known name. One YAML is one run; what differs from it is given as recorded overrides (``train.steps=100``).
PyYAML is needed only to read YAML text, so a process that is handed plain data needs numpy alone.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from seqgen.errors import SeqgenError
from seqgen.registry import Registry

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Component:
    """A registered class and its options: ``{name: gaussian, origin: -4}`` in YAML.

    The options are checked against the class's own ``Config`` dataclass by :func:`options` when the run is put
    together, with the same strictness as every other key.
    """

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_DEEPEST = 50  # sections inside sections


class _Place:
    """Place of a value: the file and line it came from, for messages."""

    def __init__(self, source: str, line: int | None, value: Any, owner: str = "") -> None:
        self.source, self.line, self.value, self.owner = source, line, value, owner

    def error(self, problem: str, remedy: str) -> SeqgenError:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return SeqgenError(f"{where}: {self.owner and f'{self.owner}: '}{problem}", remedy=remedy)

    def owned(self, owner: str) -> _Place:
        """This place with all that lies below it as options of ``owner``, whom messages name."""
        value = self.value
        if isinstance(value, dict):
            value = {key: item.owned(owner) for key, item in value.items()}
        elif isinstance(value, list):
            value = [item.owned(owner) for item in value]
        return _Place(self.source, self.line, value, owner)


class _Options(dict[str, Any]):
    """Options of a component as plain data, with the place where they were written."""

    place: _Place | None = None


def _constructed(node: Any, source: str) -> Any:
    """The value of a YAML scalar."""
    import yaml

    try:
        value = yaml.SafeLoader("").construct_object(node)
        if not isinstance(value, (str, int, float, types.NoneType)):  # dates, bytes
            raise ValueError(f"a {type(value).__name__}")
        return value
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problem = str(getattr(error, "problem", None) or error)
        raise _Place(source, node.start_mark.line + 1, None).error(
            f"cannot read the value '{node.value}' ({problem})", "write a plain value, or text in quotes"
        ) from None


def _place(node: Any, source: str, above: tuple[int, ...] = ()) -> _Place:
    """A YAML node as nested places: dicts of places, lists of places, scalars."""
    import yaml

    here = _Place(source, node.start_mark.line + 1, None)
    if id(node) in above or len(above) > _DEEPEST:
        raise here.error("an alias refers to itself, or sections are nested too deeply", "write the values out")
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        table: dict[str, _Place] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _Place(source, line, None).error("a key is not a plain word", "write `key: value` lines")
            if key.value in table:
                raise _Place(source, line, None).error(f"key '{key.value}' is given twice", "remove one of them")
            table[key.value] = _place(value, source, above)
            table[key.value].line = line
        here.value = table
    elif isinstance(node, yaml.SequenceNode):
        here.value = [_place(item, source, above) for item in node.value]
    else:
        here.value = _constructed(node, source)
    return here


def _compose(text: str, source: str) -> _Place | None:
    """YAML text as nested places; None for nothing but blanks and comments."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "nested too deeply"
        raise SeqgenError(f"{where}: not valid YAML ({problem})", remedy="mend the line") from None
    return None if node is None else _place(node, source)


def _wrap(value: Any, source: str) -> _Place:
    """Plain data (a manifest, an override) as nested places without line numbers."""
    if isinstance(value, Mapping):
        return _Place(source, None, {str(key): _wrap(item, source) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return _Place(source, None, [_wrap(item, source) for item in value])
    return _Place(source, None, value)


def _plain(place: _Place) -> Any:
    if isinstance(place.value, dict):
        return {key: _plain(item) for key, item in place.value.items()}
    if isinstance(place.value, list):
        return [_plain(item) for item in place.value]
    return place.value


def _dataclass(cls: type[Any], place: _Place, path: str, former: Mapping[str, str] | None = None) -> Any:
    if not isinstance(place.value, dict):
        raise place.error(
            f"{path or 'the file'}: expected a section, got {_plain(place)!r}", "write `key: value` lines"
        )
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key, item in place.value.items():
        if key not in fields and key in (former or {}):
            raise item.error(f"'{key}' is a key of a former version", former[key])  # type: ignore[index]
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            guess = f"did you mean '{near[0]}'? " if near else ""
            raise item.error(
                f"unknown key '{key}'" + (f" in '{path}'" if path else ""), f"{guess}known keys: {', '.join(fields)}"
            )
    given = {key: _convert(hints[key], item, f"{path}.{key}" if path else key) for key, item in place.value.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise place.error(f"'{path + '.' if path else ''}{name}' is missing", f"add `{name}:`")
    try:
        return cls(**given)
    except SeqgenError as error:
        raise place.error(error.problem, error.remedy) from None


def _component(place: _Place, path: str) -> Component:
    value = place.value
    if isinstance(value, str):
        value = {"name": _Place(place.source, place.line, value)}
    if not isinstance(value, dict) or not isinstance(getattr(value.get("name"), "value", None), str):
        raise place.error(f"'{path}' needs a name, got {_plain(place)!r}", "write e.g. `name: adamw` and its options")
    given = {key: item for key, item in value.items() if key != "name"}
    options = _Options({key: _plain(item) for key, item in given.items()})
    options.place = _Place(place.source, place.line, given)
    return Component(value["name"].value, options)


def _sequence(hint: Any, place: _Place, path: str) -> tuple[Any, ...]:
    if not isinstance(place.value, list):
        raise place.error(f"'{path}' expected a list, got {_plain(place)!r}", "write [a, b, …]")
    inner = typing.get_args(hint)
    each = inner[:1] * len(place.value) if inner[-1] is Ellipsis else inner
    if len(each) != len(place.value):
        raise place.error(f"'{path}' expected {len(each)} values, got {len(place.value)}", "give each one")
    return tuple(
        _convert(kind, item, f"{path}[{index}]")
        for index, (kind, item) in enumerate(zip(each, place.value, strict=True))
    )


def _mapping(hint: Any, place: _Place, path: str) -> dict[str, Any]:
    if not isinstance(place.value, dict):
        raise place.error(f"'{path}' expected a section, got {_plain(place)!r}", "write `key: value` lines")
    inner = typing.get_args(hint)[1]
    return {key: _convert(inner, item, f"{path}.{key}") for key, item in place.value.items()}


def _real(value: Any) -> Any:
    """A number as float; anything else as it is."""
    if isinstance(value, str):
        try:  # YAML 1.1 reads 1e-4 (no dot) as text; nobody means text there
            return float(value)
        except ValueError:
            return value
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return float(value) if whole else value


def _scalar(hint: Any, place: _Place, path: str) -> Any:
    value = _real(_plain(place)) if hint is float else _plain(place)
    if value != value:  # it would pass any bound that is written as what is too small or too large
        raise place.error(f"'{path}' is nan", "give a number")
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise place.error(
        f"'{path}' expected {hint.__name__}, got {type(value).__name__} {value!r}",
        f"give a value of type {hint.__name__}",
    )


def _convert(hint: Any, place: _Place, path: str) -> Any:
    if hint is Component:
        return _component(place, path)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type[Any], hint), place, path)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if place.value is None and type(None) in typing.get_args(hint):
            return None
        (hint,) = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return _convert(hint, place, path)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if _plain(place) not in choices:
            raise place.error(f"'{path}' is {_plain(place)!r}", f"choose one of {', '.join(map(repr, choices))}")
        return place.value
    if origin is tuple:
        return _sequence(hint, place, path)
    if origin is Mapping:
        return _mapping(hint, place, path)
    return _scalar(hint, place, path)


def _given(text: str, source: str) -> _Place:
    """The value of an override: a list, section or text in quotes as YAML reads it; anything else is one plain value,
    taken whole (``#``, ``: `` and the like have no meaning in it)."""
    import yaml

    if text.lstrip().startswith(("[", "{", '"', "'")):
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, RecursionError):
            node = None
        if node is None or node.end_mark.index < len(text.rstrip()):
            raise _Place(source, None, None).error("not one whole YAML value", "close what is open, or quote it all")
        place = _place(node, source)
        _forget_lines(place)
        return place
    loader: Any = yaml.SafeLoader("")
    plain = text.strip()
    tag = loader.resolve(yaml.ScalarNode, plain, (True, False))
    if tag not in yaml.SafeLoader.yaml_constructors or tag == "tag:yaml.org,2002:str":
        return _Place(source, None, text)
    mark: Any = yaml.Mark(source, 0, 0, 0, "", 0)
    return _Place(source, None, _constructed(yaml.ScalarNode(tag, plain, mark, mark), source))


def _override(root: _Place, text: str) -> None:
    """Apply ``a.b=value`` to nested places."""
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise SeqgenError(f"override '{text}' is not of the form key.key=value", remedy="e.g. train.steps=100")
    place, *keys = root, *path.split(".")
    for key in keys[:-1]:
        if not isinstance(place.value, dict):
            raise SeqgenError(f"override '{text}': '{key}' is not inside a section", remedy="check the path")
        place = place.value.setdefault(key, _Place(f"override '{text}'", None, {}))
    if not isinstance(place.value, dict):
        raise SeqgenError(f"override '{text}': '{keys[-1]}' is not inside a section", remedy="check the path")
    place.value[keys[-1]] = _given(value, f"override '{text}'")


def _forget_lines(place: _Place) -> None:
    """An override has no lines worth naming."""
    place.line = None
    children = place.value.values() if isinstance(place.value, dict) else place.value
    for child in children if isinstance(place.value, (dict, list)) else ():
        _forget_lines(child)


def load(path: Path, cls: type[T], overrides: Sequence[str] = (), *, former: Mapping[str, str] | None = None) -> T:
    """Read one YAML file into the frozen dataclass ``cls``.

    ``former``: top-level keys that it had once, with what to do instead.

    Raises:
        SeqgenError: naming file, line, key and the remedy, for anything that does not fit.

    Example:
        >>> load(Path("egs/demo/conf/voice.yaml"), RunConfig, ["train.steps=100"])  # doctest: +SKIP
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SeqgenError(f"cannot read the config {path}: {error}", remedy="give a readable UTF-8 YAML file") from None
    root = _compose(text, str(path)) or _Place(str(path), 1, {})
    for override in overrides:
        _override(root, override)
    return typing.cast(T, _dataclass(typing.cast(type[Any], cls), root, "", former))


def from_plain(value: Mapping[str, Any], cls: type[T], *, source: str) -> T:
    """Plain nested data (from JSON, say) into ``cls`` under the same rules; ``source`` names it in messages."""
    return typing.cast(T, _dataclass(typing.cast(type[Any], cls), _wrap(value, source), ""))


def options(component: Component, table: Registry, *, source: str) -> Any:
    """The ``Config`` dataclass of a registered class, filled from ``component.options``.

    Messages name file and line of a component that was read from a file, ``source`` of any other.

    Raises:
        SeqgenError: for an unknown name, option or type.
    """
    place = getattr(component.options, "place", None) or _wrap(component.options, source)
    try:
        cls = table.load(component.name)
    except SeqgenError as error:
        raise place.error(error.problem, error.remedy) from None
    return _dataclass(cls.Config, place.owned(f"{table.kind} {component.name}"), "")


def construct(component: Component, table: Registry, *, source: str) -> Any:
    """An instance of a registered class, ``cls(options)``.

    Raises:
        SeqgenError: as :func:`options`, and as the class itself.
    """
    given = options(component, table, source=source)
    return table.load(component.name)(given)


def plain(value: Any) -> Any:
    """Dataclasses as nested dicts of plain data (tuples become lists), ready for YAML or JSON."""
    if isinstance(value, Component):
        return {"name": value.name, **plain(value.options)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def dump(value: Any) -> str:
    """The resolved configuration as YAML text; :func:`load` of it gives ``value`` back."""
    import yaml

    return yaml.safe_dump(plain(value), sort_keys=False, width=100)


def digest(value: Any) -> str:
    """12 hexadecimal digits of the resolved configuration; the same for the same run on any machine.

    A section marked ``metadata={"later": True}`` counts only where it is not at its default: it came when there were
    results already, and they keep their digests.
    """
    return hashlib.sha256(json.dumps(_numbers(set_apart(value)), sort_keys=True).encode()).hexdigest()[:12]


def set_apart(value: Any) -> dict[str, Any]:
    """:func:`plain` without those fields marked ``metadata={"later": True}`` that are at their default, also in
    sections of it."""
    settings: dict[str, Any] = plain(value)
    for one in dataclasses.fields(value):
        factory, given = one.default_factory, getattr(value, one.name)
        default = one.default if factory is dataclasses.MISSING else factory()
        if one.metadata.get("later") and given == default:
            del settings[one.name]
        elif dataclasses.is_dataclass(given) and not isinstance(given, Component):
            settings[one.name] = set_apart(given)
    return settings


def _numbers(value: Any) -> Any:
    """Whole-numbered floats as integers: 1 and 1.0 are the same setting."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
