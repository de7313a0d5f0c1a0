"""The file of options: every option by its long name, the command line before it, mistakes told in one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from seqgen.errors import SeqgenError
from serving.cli import serve
from serving.cli.__main__ import main, parser
from serving.cli.options import FileParser, file_path, network


def written(folder: Path, text: str) -> str:
    file = folder / "serve.toml"
    file.write_text(text)
    return str(file)


def parsed(*words: str) -> argparse.Namespace:
    return parser().parse_args(["serve", *words])


def actions() -> dict[str, argparse.Action]:
    """Options of ``serve`` that a file may hold, by name."""
    made = FileParser()
    serve.options(made)
    names = ((name[2:], action) for action in made._actions for name in action.option_strings if name[:2] == "--")
    return {name: action for name, action in names if name not in ("help", "config")}


def example(action: argparse.Action) -> tuple[str, object]:
    """TOML of a value that is not the default, and what the option becomes by it."""
    if action.nargs == 0:
        return "true", action.const
    if action.choices:
        other = next(one for one in action.choices if one != action.default)
        return f'"{other}"', other
    if action.type is network:
        return '["10.0.0.7", "fd00::/8"]', ["10.0.0.7/32", "fd00::/8"]
    if isinstance(action, argparse._AppendAction):
        return '["one.example", "two.example"]', ["one.example", "two.example"]
    if action.type is file_path:
        return '"/some/where"', "/some/where"
    if action.dest == "uds_mode":
        return '"600"', 0o600
    return ('"text"', "text") if action.type is None else ("1234", 1234)


@pytest.mark.parametrize("name", actions())
def test_every_option_of_the_server_may_stand_in_the_file(tmp_path, name):
    action = actions()[name]
    toml, value = example(action)
    voices = "" if action.dest in ("voice", "voices", "preset") else 'voices = "v"\n'
    options = parsed("--config", written(tmp_path, f"{voices}{name} = {toml}\n"))
    assert getattr(options, action.dest) == value


@pytest.mark.parametrize(
    ("file", "words", "expected"),
    [
        ("threads = 3", ["--threads", "5"], {"threads": 5}),
        ("threads = 3", ["--thr", "5"], {"threads": 5}),
        ("port = 99", ["--uds", "/x"], {"uds": "/x", "port": 8080}),
        ('uds = "/x"', ["--port", "99"], {"uds": None, "port": 99}),
        ('keys = "/k"', ["--no-keys"], {"keys": None, "no_keys": True}),
        ("no-keys = true", ["--keys", "k"], {"keys": "k", "no_keys": False}),
        ("no-keys = false", [], {"no_keys": False}),
        ('allow-host = ["a", "b"]', ["--allow-host", "c"], {"allow_host": ["c"]}),
        ('allow-host = "a"', [], {"allow_host": ["a"]}),
    ],
)
def test_the_command_line_wins(tmp_path, file, words, expected):
    options = vars(parsed("--config", written(tmp_path, f'voices = "v"\n{file}\n'), *words))
    assert {key: options[key] for key in expected} == expected


def test_another_kind_of_voices_on_the_command_line_sets_that_of_the_file_aside(tmp_path):
    options = parsed("--config", written(tmp_path, 'voices = "v"\n'), "--voice", "one")
    assert (options.voices, options.voice) == (None, "one")


def test_paths_of_the_file_are_relative_to_it_and_those_of_the_command_line_are_not(tmp_path):
    file = written(tmp_path, 'voices = "voices"\nkeys = "/etc/keys"\ntls-cert = "../c.pem"\n')
    options = parsed("--config", file, "--tls-key", "k.pem")
    assert options.voices == str(tmp_path / "voices")
    assert (options.keys, options.tls_key) == ("/etc/keys", "k.pem")
    assert Path(options.tls_cert).resolve() == tmp_path.parent / "c.pem"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("treads = 3", "unknown key 'treads'; did you mean 'threads'?"),
        ("max_body = 3", "unknown key 'max_body'; did you mean 'max-body'?"),
        ("zzz = 3", "unknown key 'zzz'; known: voices, "),
        ("config = 'x'", "unknown key 'config'"),
        ("help = true", "unknown key 'help'"),
        ("[serve]\nthreads = 3", "unknown key 'serve'"),
        ("threads = 0", "threads: '0' is not a whole number above 0"),
        ("threads = 1.5", "threads: '1.5' is not a whole number above 0"),
        ("threads = '٣'", "threads: '٣' is not a whole number above 0"),
        ("threads = true", "threads: True is not a number"),
        ("threads = [3]", "threads: [3] is not a number"),
        ("threads = 1979-05-27", "threads: datetime.date(1979, 5, 27) is not a number"),
        ("port = 70000", "port: '70000' is not a port"),
        ("trusted-proxy = ['10.0.0.1', 'proxy']", "trusted-proxy: 'proxy' is no address"),
        ("allow-host = [3]", "allow-host: 3 is not a text"),
        ("uds-mode = 'rw'", "uds-mode: 'rw' is no file mode"),
        ("isolation = 'fibre'", "isolation: invalid choice: 'fibre'"),
        ("keys = ''", "keys: an empty text is no path"),
        ("keys = 3", "keys: 3 is not a text"),
        ('keys = "a\\u0000b"', "keys: no path has the character of number 0"),
        ('uds = "a\\u0000b"', "uds: no path has the character of number 0"),
        (f"max-seconds = 1{'0' * 400}", f"max-seconds: 1{'0' * 19}… is too much"),
        ("drain = 1000000001", "drain: 1000000001… is too much"),
        (f"threads = '{'9' * 5000}'", "is too much; give at most 1000000000"),
        (f"zzz = {'[' * 100_000}", "recursion"),
        ("no-keys = 'yes'", "no-keys: 'yes' is neither true nor false"),
        ("threads = ", "Invalid value (at line 2, column 11)"),
        ("threads = 1\nthreads = 2", "Cannot overwrite a value (at line 3"),
        ("name = '\udcff'", "can't decode byte 0xff"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(tmp_path, capsys, text, problem):
    file = tmp_path / "serve.toml"
    file.write_bytes(f'voices = "v"\n{text}\n'.encode("utf-8", "surrogateescape"))
    assert main(["serve", "--config", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {file}: ")
    assert problem in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["none.toml", "."])
def test_a_file_that_cannot_be_read_is_told(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--config", name]) == 1
    assert capsys.readouterr().err.startswith(f"error: {name}: ")


def test_help_is_shown_whatever_the_file_says(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed("--config", "none.toml", "--help")
    assert ended.value.code == 0
    assert "--max-body" in capsys.readouterr().out


def test_options_are_read_again_from_a_file_that_changed(tmp_path):
    made = FileParser(prog="seqgen-serve serve")
    serve.options(made)
    words = ["--config", written(tmp_path, 'voices = "v"\nmax-body = 3\nmax-seconds = 5\n'), "--max-seconds", "9"]
    before = made.parse_args(words)
    written(tmp_path, 'voices = "v"\nmax-body = 4\nmax-seconds = 6\n')
    after = made.read_again(before)
    assert (before.max_body, after.max_body) == (3, 4)
    assert before.max_seconds == after.max_seconds == 9
    written(tmp_path, "max-body = 4\n")
    with pytest.raises(SeqgenError, match="cannot be read again"):
        made.read_again(before)


@pytest.mark.parametrize("option", ["--keys", "--tls-cert", "--tls-key", "--resume-secret", "--uds", "--voices"])
def test_an_unset_variable_is_no_path(option, capsys):
    """``--keys "$KEYS"`` must not mean: without keys."""
    with pytest.raises(SystemExit) as ended:
        parsed("--preset", "x", option, "")
    assert ended.value.code == 2
    assert "an empty text is no path" in capsys.readouterr().err
