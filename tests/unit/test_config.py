"""Strict configuration: what is refused, how the message reads, and that the text round-trips."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from seqgen import config
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.registry import Registry


@dataclass(frozen=True)
class Inner:
    rate: float
    size: int = 4
    kind: Literal["plain", "fancy"] = "plain"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SeqgenError(f"'size' is {self.size}", remedy="give 1 or more")


@dataclass(frozen=True)
class Run:
    name: str
    inner: Inner
    flag: bool = False
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[int, ...] = ()
    limit: int | None = None
    notes: Mapping[str, float] = field(default_factory=dict)
    parts: tuple[Inner, ...] = ()
    model: Component = field(default_factory=lambda: Component("wavernn"))


class Thing:
    """A class with options, as every registered one."""

    @dataclass(frozen=True)
    class Config:
        """``width`` of it, and parts."""

        width: int = 8
        rate: float = 0.5
        inner: Inner = field(default_factory=lambda: Inner(1.0))
        part: Component = field(default_factory=lambda: Component("thing"))

    def __init__(self, config: Config) -> None:
        self.config = config


THINGS = Registry("thing", "things", {"thing": f"{__name__}:Thing"})
GOOD = "name: a\ninner:\n  rate: 0.5\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def load(file: Path, text: str | bytes, *overrides: str) -> Run:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(file, Run, overrides)


def refusal(file: Path, text: str | bytes, *overrides: str) -> str:
    with pytest.raises(SeqgenError) as caught:
        load(file, text, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert " object at 0x" not in message
    assert caught.value.remedy
    return message


def test_the_least_that_loads(file: Path) -> None:
    assert load(file, GOOD) == Run("a", Inner(0.5))


def test_every_kind_of_value(file: Path) -> None:
    text = GOOD + (
        "  size: 9\n  kind: fancy\nflag: true\npair: [1e-4, 2]\nmany: [3, 4]\nlimit: 5\nnotes: {x: 1, y: .5}\n"
        "parts:\n- rate: 1\n- {rate: 2, size: 3}\nmodel: {name: m, depth: 2, on: [a, {b: null}]}\n"
    )
    run = load(file, text)
    expected = Run(
        "a", Inner(0.5, 9, "fancy"), True, (1e-4, 2.0), (3, 4), 5, {"x": 1.0, "y": 0.5},
        (Inner(1.0), Inner(2.0, 3)), Component("m", {"depth": 2, "on": ["a", {"b": None}]}),
    )  # fmt: skip
    assert run == expected
    assert [type(one) for one in run.pair] == [float, float]
    assert load(file, GOOD + "limit: null\nmodel: plain\n") == dataclasses.replace(
        Run("a", Inner(0.5)), limit=None, model=Component("plain")
    )


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("2E3", 2000.0), ("7", 7.0), ("-.5", -0.5), ("+1e+2", 100.0)]
)
def test_numbers_as_people_write_them(file: Path, text: str, value: float) -> None:
    assert load(file, f"name: a\ninner: {{rate: {text}}}\n").inner.rate == value


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        (GOOD + "falg: true\n", 4, ("unknown key 'falg'", "did you mean 'flag'?")),
        ("name: a\ninner:\n  rate: 1\n  siez: 2\n", 4, ("unknown key 'siez'", "inner", "did you mean 'size'?")),
        (GOOD + "zzz: 1\n", 4, ("unknown key 'zzz'", "known keys: name, inner, flag")),
        (GOOD + "name: b\n", 4, ("'name' is given twice",)),
        ("name: a\ninner:\n  rate: 1\n  rate: 1\n", 4, ("'rate' is given twice",)),
        ("inner:\n  rate: 1\n", 1, ("'name' is missing",)),
        ("name: a\n", 1, ("'inner' is missing",)),
        ("name: a\ninner:\n  size: 2\n", 2, ("'inner.rate' is missing",)),
        ("name: a\ninner: 3\n", 2, ("inner", "section", "3")),
        ("name: a\ninner: [1]\n", 2, ("inner", "section", "[1]")),
        ("name: 3\ninner: {rate: 1}\n", 1, ("'name' expected str", "int 3")),
        ("name: [x]\ninner: {rate: 1}\n", 1, ("'name' expected str", "['x']")),
        ("name:\ninner: {rate: 1}\n", 1, ("'name' expected str", "None")),
        ("name: a\ninner:\n  rate: fast\n", 3, ("'inner.rate' expected float", "'fast'")),
        ("name: a\ninner:\n  rate: true\n", 3, ("'inner.rate' expected float", "True")),
        ("name: a\ninner:\n  rate: 1\n  size: 2.0\n", 4, ("'inner.size' expected int", "2.0")),
        ("name: a\ninner:\n  rate: 1\n  size: '2'\n", 4, ("'inner.size' expected int", "'2'")),
        ("name: a\ninner:\n  rate: 1\n  size: yes\n", 4, ("'inner.size' expected int", "True")),
        ("name: a\ninner:\n  rate: 1\n  kind: odd\n", 4, ("'inner.kind' is 'odd'", "'plain', 'fancy'")),
        ("name: a\ninner:\n  rate: 1\n  kind: [odd]\n", 4, ("'inner.kind' is ['odd']", "'plain', 'fancy'")),
        ("name: a\ninner:\n  rate: 1\n  size: 0\n", 2, ("'size' is 0", "give 1 or more")),
        (GOOD + "flag: 1\n", 4, ("'flag' expected bool", "int 1")),
        (GOOD + "pair: [1]\n", 4, ("'pair' expected 2 values, got 1",)),
        (GOOD + "pair: 1\n", 4, ("'pair' expected a list", "1")),
        (GOOD + "pair: {a: 1}\n", 4, ("'pair' expected a list", "{'a': 1}")),
        (GOOD + "pair: [1, x]\n", 4, ("'pair[1]' expected float", "'x'")),
        (GOOD + "many:\n- 1\n- 2.5\n", 6, ("'many[1]' expected int", "2.5")),
        (GOOD + "limit: x\n", 4, ("'limit' expected int", "'x'")),
        (GOOD + "notes: [1]\n", 4, ("'notes' expected a section",)),
        (GOOD + "notes:\n  a: 1\n  b: c\n", 6, ("'notes.b' expected float", "'c'")),
        (GOOD + "parts:\n- rate: 1\n- rte: 1\n", 6, ("unknown key 'rte'", "parts[1]", "did you mean 'rate'?")),
        (GOOD + "parts:\n- rate: 1\n- {rate: 1, size: -1}\n", 6, ("'size' is -1",)),
        (GOOD + "model: {depth: 2}\n", 4, ("'model' needs a name",)),
        (GOOD + "model: 3\n", 4, ("'model' needs a name", "3")),
        (GOOD + "model: {name: 3}\n", 4, ("'model' needs a name",)),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(file: Path, text: str, line: int, named: tuple[str, ...]) -> None:
    message = refusal(file, text)
    assert message.startswith(f"{file}:{line}: ")
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        b"", b"# nothing\n", b"3\n", b"- a\n", b"name: \xff\n", b"name: [1\ninner: 2\n", b"\tname: a\n",
        b"name: \x00\n",
        b"name: a\n---\nname: b\n", b"name: *nowhere\n", b"name: &x [*x]\n", b"? [a]\n: 1\n", b"? {a: b}\n: 1\n",
        b"name: !!python/object:os.system x\n", b"name: !mine x\n", b"name: 2024-13-45\n", b"name: !!int x\n",
        b"name: a\ninner: {rate: 1" + b"0" * 400 + b"}\n",
    ],
    ids=lambda text: repr(text[:24]),
)  # fmt: skip
def test_broken_files_are_one_clear_line(file: Path, text: bytes) -> None:
    assert str(file) in refusal(file, text)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.yaml", tmp_path):
        with pytest.raises(SeqgenError) as caught:
            config.load(path, Run)
        assert str(path) in str(caught.value)


def test_a_byte_order_mark_and_crlf_are_no_problem(file: Path) -> None:
    assert load(file, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()) == Run("a", Inner(0.5))


def test_anchors_are_values(file: Path) -> None:
    assert load(file, "name: a\ninner: &i {rate: 1}\nparts: [*i, *i]\n", "inner.size=9") == Run(
        "a", Inner(1.0, 9), parts=(Inner(1.0), Inner(1.0))
    )


def test_overrides_are_recorded_in_the_resolved_text(file: Path) -> None:
    overrides = ("inner.rate=1e-3", "many=[1, 2]", "limit=7", "model.depth=3", "model.name=x", "name=b", "flag=true")
    run = load(file, GOOD, *overrides)
    expected = Run("b", Inner(1e-3), flag=True, many=(1, 2), limit=7, model=Component("x", {"depth": 3}))
    assert run == expected
    assert load(file, config.dump(run)) == expected
    assert load(file, GOOD, "limit=7", "limit=8", "name=x=y").limit == 8
    assert load(file, GOOD, "name=x=y").name == "x=y"
    assert load(file, "name: a\n", "inner.rate=2") == Run("a", Inner(2.0))


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("inner.siez=3", "did you mean 'size'?"),
        ("innre.size=3", "did you mean 'inner'?"),
        ("inner.size=x", "'inner.size' expected int"),
        ("inner.size=", "'inner.size' expected int"),
        ("inner.size=0", "'size' is 0"),
        ("inner.size", "key.key=value"),
        ("=3", "key.key=value"),
        ("", "key.key=value"),
        ("name.x=3", "not inside a section"),
        ("name.x.y=3", "not inside a section"),
        ("inner=[1]", "section"),
        ("inner.kind=[odd]", "'inner.kind' is ['odd']"),
        (".=3", "unknown key"),
    ],
)
def test_wrong_overrides_are_named(file: Path, override: str, named: str) -> None:
    message = refusal(file, GOOD, override)
    assert named in message
    if override != "inner.size=0":  # a value that only its section can refuse is named with the section's line
        assert f"override '{override}'" in message


@pytest.mark.parametrize("value", ["[1", "{a", ": x", "*x", "!mine 3", "2024-13-45", "'", "\x00", "!!int x", "a: b: c"])
def test_an_override_that_is_not_yaml_is_one_clear_line(file: Path, value: str) -> None:
    assert f"override 'inner.size={value}'" in refusal(file, GOOD, f"inner.size={value}")


@pytest.mark.parametrize("value", ["2024-05-01", "2024-05-01 10:00:00", "!!binary aGk="])
def test_values_that_are_not_plain_are_one_clear_line(file: Path, value: str) -> None:
    message = refusal(file, f"{GOOD}model: {{name: m, k: {value}}}\n")
    assert f"run.yaml:4: cannot read the value '{value.removeprefix('!!binary ')}' (a " in message


@pytest.mark.parametrize("value", ["nan", ".nan", "-NaN"])
def test_what_is_no_number_is_refused(file: Path, value: str) -> None:
    assert "run.yaml:3: 'inner.rate' is nan; give a number" in refusal(file, f"name: a\ninner:\n  rate: {value}\n")


def test_plain_data_follow_the_same_rules() -> None:
    value = {"name": "a", "inner": {"rate": 1, "size": 2}, "pair": (1, 2), "model": {"name": "m", "k": [1]}}
    assert config.from_plain(value, Run, source="manifest") == Run(
        "a", Inner(1.0, 2), pair=(1.0, 2.0), model=Component("m", {"k": [1]})
    )
    with pytest.raises(SeqgenError, match=r"manifest: unknown key 'siez' in 'inner'; did you mean 'size'"):
        config.from_plain({"name": "a", "inner": {"rate": 1, "siez": 2}}, Run, source="manifest")
    with pytest.raises(SeqgenError, match="manifest: 'name' is missing"):
        config.from_plain({}, Run, source="manifest")


def test_options_of_a_component() -> None:
    assert config.options(Component("thing"), THINGS, source="f") == Thing.Config()
    assert config.options(Component("thing", {"width": 3, "rate": "1e-4"}), THINGS, source="f") == Thing.Config(3, 1e-4)
    for component, message in (
        (Component("thin"), "unknown thing 'thin'; did you mean 'thing'"),
        (Component("thing", {"wdth": 3}), "f: thing thing: unknown key 'wdth'; did you mean 'width'"),
        (Component("thing", {"width": 3.5}), "f: thing thing: 'width' expected int, got float 3.5"),
    ):
        with pytest.raises(SeqgenError, match=message):
            config.options(component, THINGS, source="f")


@pytest.mark.parametrize(
    ("model", "line", "message"),
    [
        ("model: thin\n", 4, "unknown thing 'thin'; did you mean 'thing'?"),
        ("model:\n  name: thin\n", 4, "unknown thing 'thin'; did you mean 'thing'?"),
        ("model:\n  name: thing\n  wdth: 3\n", 6, "thing thing: unknown key 'wdth'; did you mean 'width'?"),
        ("model: {name: thing, width: 3.5}\n", 4, "thing thing: 'width' expected int, got float 3.5"),
        ("model:\n  name: thing\n  inner:\n    size: 2\n    rate: x\n", 8, "thing thing: 'inner.rate' expected float"),
        ("model:\n  name: thing\n  inner: {rate: 1,\n    size: 0}\n", 6, "thing thing: 'size' is 0; give 1 or more"),
        ("model:\n  name: thing\n  part:\n    name: thing\n    wdth: 3\n", 8, "thing thing: unknown key 'wdth'"),
        ("model:\n  name: thing\n  part:\n    nme: thing\n", 6, "thing thing: 'part' needs a name"),
    ],
)
def test_options_are_named_with_their_line(file: Path, model: str, line: int, message: str) -> None:
    """Those of a component inside a component too."""
    run = load(file, GOOD + model)
    with pytest.raises(SeqgenError) as caught:
        config.options(config.options(run.model, THINGS, source="elsewhere").part, THINGS, source="elsewhere")
    assert str(caught.value).startswith(f"{file}:{line}: {message}")


def test_options_from_an_override_name_it(file: Path) -> None:
    run = load(file, GOOD + "model: {name: thing}\n", "model.wdth=3")
    with pytest.raises(SeqgenError, match=r"^override 'model\.wdth=3': thing thing: unknown key 'wdth'; did you mean"):
        config.options(run.model, THINGS, source="elsewhere")
    part = load(file, GOOD + "model: {name: thing, width: 2}\n", "model.width=3")
    assert config.construct(part.model, THINGS, source="elsewhere").config == Thing.Config(width=3)


def test_components_are_equal_wherever_they_come_from(file: Path) -> None:
    read = load(file, GOOD + "model: {name: thing, width: 3, inner: {rate: 1.0}}\n")
    made = Run("a", Inner(0.5), model=Component("thing", {"width": 3, "inner": {"rate": 1.0}}))
    assert read == made
    assert copy.deepcopy(read) == made
    assert pickle.loads(pickle.dumps(read)) == made
    assert (config.dump(read), config.digest(read)) == (config.dump(made), config.digest(made))


@pytest.mark.parametrize("name", ["thin", "wdth"])
def test_a_component_that_is_wrong_is_not_constructed(name: str) -> None:
    component = Component("thin") if name == "thin" else Component("thing", {"wdth": 3})
    with pytest.raises(SeqgenError, match=f"^f: .*'{name}'"):
        config.construct(component, THINGS, source="f")


def test_the_digest_is_stable_and_sensitive() -> None:
    run = Run("a", Inner(0.5), notes={"x": 1.0, "y": 2.0}, model=Component("m", {"a": 1, "b": 2}))
    assert config.digest(run) == config.digest(config.from_plain(config.plain(run), Run, source="x"))
    same = dataclasses.replace(run, notes={"y": 2.0, "x": 1.0}, model=Component("m", {"b": 2, "a": 1}))
    assert config.digest(same) == config.digest(run)
    changes: list[dict[str, Any]] = [
        {"name": "b"}, {"inner": Inner(0.25)}, {"flag": True}, {"pair": (0.0, 1.5)}, {"many": (1,)}, {"limit": 0},
        {"notes": {"x": 1.0}}, {"parts": (Inner(1.0),)}, {"model": Component("n", {"a": 1, "b": 2})},
        {"model": Component("m", {"a": 1, "b": 3})},
    ]  # fmt: skip
    digests = [config.digest(dataclasses.replace(run, **change)) for change in changes] + [config.digest(run)]
    assert len(set(digests)) == len(digests)
    assert all(len(one) == 12 and int(one, 16) >= 0 for one in digests)


def test_a_later_section_changes_no_digest_until_it_is_set() -> None:
    @dataclass(frozen=True)
    class Grown:
        inner: Inner = field(default_factory=lambda: Inner(1))
        new: Inner = field(default_factory=lambda: Inner(2), metadata={"later": True})

    @dataclass(frozen=True)
    class Before:
        inner: Inner = field(default_factory=lambda: Inner(1))

    assert config.digest(Grown()) == config.digest(Before())
    assert config.digest(Grown(new=Inner(3))) != config.digest(Before())
    assert config.digest(Grown(inner=Inner(3))) == config.digest(Before(inner=Inner(3)))

    @dataclass(frozen=True)
    class Around:
        section: Grown | Before

    assert config.digest(Around(Grown())) == config.digest(Around(Before()))
    assert config.digest(Around(Grown(new=Inner(3)))) != config.digest(Around(Before()))


def test_equal_runs_have_equal_digests() -> None:
    """The int that Python code gives for a float is the float that YAML gives back."""
    assert Inner(1) == Inner(1.0)
    assert config.digest(Inner(1)) == config.digest(Inner(1.0))


texts = st.text(st.characters(codec="utf-8"), max_size=12)
floats = st.floats(allow_nan=False)
inners = st.builds(Inner, floats, st.integers(1, 10**18), st.sampled_from(["plain", "fancy"]))
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
components = st.builds(Component, texts, st.dictionaries(texts.filter(lambda key: key != "name"), trees, max_size=3))
runs = st.builds(
    Run, texts, inners, st.booleans(), st.tuples(floats, floats), st.lists(st.integers(), max_size=3).map(tuple),
    st.none() | st.integers(), st.dictionaries(texts, floats, max_size=3), st.lists(inners, max_size=2).map(tuple),
    components,
)  # fmt: skip


@settings(  # shrinking through PyYAML takes minutes
    max_examples=40,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(runs)
def test_dump_and_load_round_trip(file: Path, run: Run) -> None:
    back = load(file, config.dump(run))
    assert back == run
    assert config.digest(back) == config.digest(run)
    assert config.from_plain(config.plain(run), Run, source="x") == run


@pytest.mark.parametrize(
    "text", ["\x85", "a\u2028b", "\ufeff", "\x00", " a ", "\n", "null", "1e-4", "2024-01-01", "<<", "é😀"]
)
def test_awkward_text_round_trips(file: Path, text: str) -> None:
    run = Run(text, Inner(0.5), notes={text: 1.0}, model=Component("m", {text: text}))
    assert load(file, config.dump(run)) == run


def test_infinities_and_tiny_numbers_round_trip(file: Path) -> None:
    for value in (math.inf, -math.inf, 5e-324, 1e300, -0.0, 0.1):
        assert load(file, config.dump(Run("a", Inner(value)))).inner.rate == value


@dataclass(frozen=True)
class Text:
    value: str = ""
    values: tuple[str, ...] = ()


def overridden(tmp_path: Path, *overrides: str) -> Text:
    (tmp_path / "empty.yaml").write_text("")
    return config.load(tmp_path / "empty.yaml", Text, overrides)


@pytest.mark.parametrize(
    "text",
    ["a #b", "CC-BY 4.0 # mine", "#x", "a: b", "*x", "&x", "!x 1", "- a", "|", ">", "@x", "%x", "`x", "a]", "a}", "=",
     "<<", "a, b", "x: [1", "? x", "\udce9t\udce9", "two\nlines", " spaces ", "C:\\x", "it's", 'a "b" # c', "---"],
)  # fmt: skip
def test_overrides_keep_plain_text_whole(tmp_path: Path, text: str) -> None:
    made = overridden(tmp_path, f"value={text}")
    assert made.value == text
    (tmp_path / "dumped.yaml").write_text(config.dump(made))
    assert config.load(tmp_path / "dumped.yaml", Text) == made


@given(st.text(st.characters(blacklist_categories=("Cs",), max_codepoint=0xFFFF), min_size=1))
def test_overrides_take_any_text_in_quotes(text: str) -> None:
    """And plain, where it does not begin as a list, a section or quotes do, and is no number, date or truth value."""
    source = "override"
    assert config._given(json.dumps(text), source).value == text
    plain = config._given(f"x{text}", source).value
    assert plain == f"x{text}"


@pytest.mark.parametrize("text", ["'a # b' # c", "[a, b #c]", "[a] b", '"a', "{a: 1", "{a: 1} # x"])
def test_overrides_are_not_cut(tmp_path: Path, text: str) -> None:
    with pytest.raises(SeqgenError, match=r"override 'value=.*not one whole YAML value; close what is open"):
        overridden(tmp_path, f"value={text}")


def test_overrides_read_values_as_yaml_does(tmp_path: Path) -> None:
    assert overridden(tmp_path, "values=[a, 'b # c', \"d\"]").values == ("a", "b # c", "d")
    assert overridden(tmp_path, "value='5'").value == "5"
    with pytest.raises(SeqgenError, match="expected str, got int 5"):
        overridden(tmp_path, "value=5")
