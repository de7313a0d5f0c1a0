"""What holds of both command lines, whatever the sub-command: odd terminals, readers that leave, signals, odd names."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seqgen.cli.main import main
from tests.unit.cli_workspace import CONFIG, done, seqgen

# Forks a child for each sub-command, on a standard output such as the condition says; prints what became of it.
CHILDREN = """
import argparse, io, json, os, sys
from seqgen.cli.main import main, parser
from serving.cli.__main__ import main as serve, parser as serve_parser

def leaves(parser, words=()):
    yield words
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from leaves(below, (*words, name))

def child(run, words, condition):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 2)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="ascii", errors="backslashreplace")
        out = os.open("/dev/full" if condition == "full" else "/dev/null", os.O_WRONLY)
        if condition == "gone":
            reader, out = os.pipe()
            os.close(reader)
        os.dup2(out, 1)
        if condition == "closed":
            os.close(1)
            sys.stdout = None
        else:
            encoding = condition if condition in ("ascii", "latin-1") else "utf-8"
            sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding=encoding)
        sys.argv = ["command", *words, "--help"]
        try:
            status = run()
        except SystemExit as error:
            status = error.code or 0
        except BaseException as error:
            sys.stderr.write("Traceback " + repr(error))
            status = 99
        sys.stderr.flush()
        os._exit(status)
    os.close(write)
    said = b""
    while block := os.read(read, 65536):
        said += block
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()

found = []
for name, run, made in (("seqgen", main, parser), ("seqgen-serve", serve, serve_parser)):
    for words in leaves(made()):
        for condition in sys.argv[1:]:
            found.append([condition, " ".join((name, *words)), *child(run, words, condition)])
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def helped(repository: Path) -> list[tuple[str, str, int, str]]:
    """Condition, sub-command, exit status and what was said, of ``--help`` of every sub-command."""
    conditions = ("gone", "closed", "full", "latin-1", "ascii")
    words = [sys.executable, "-c", CHILDREN, *conditions]
    made = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=True, timeout=200)
    return [tuple(row) for row in json.loads(made.stdout)]


@pytest.mark.parametrize(
    ("condition", "status"), [("gone", 0), ("closed", 1), ("full", 1), ("latin-1", 0), ("ascii", 0)]
)
def test_every_sub_command_on_an_odd_standard_output(
    helped: list[tuple[str, str, int, str]], condition: str, status: int
) -> None:
    rows = [row for row in helped if row[0] == condition]
    assert len(rows) > 25
    for _, words, found, said in rows:
        assert found == status, (words, found, said)
        assert "Traceback" not in said
        assert said.count("\n") == (status != 0), (words, said)


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    from seqgen.cli.main import main
    from serving.cli.__main__ import main as serve

    for run, name in ((main, "seqgen"), (serve, "seqgen-serve")):
        with pytest.raises(SystemExit) as left:
            run(["--version"])
        assert left.value.code == 0
        assert capsys.readouterr().out.split()[0] == name


PROGRAM = """
import argparse, sys
sys.path.insert(0, sys.argv.pop(1))
from seqgen.command import entry

def command(given):
    from seqgen.files.outputs import replacing
    if given.what == "import":
        import slow
    if given.what == "write":
        with replacing("out") as file:
            file.write(b"half")
            import slow, time
            time.sleep(60)
    if given.what == "work":
        import time
        with replacing("out") as file:
            file.write(b"half")
            print("ready", flush=True)
            time.sleep(60)
    return 0

def parser():
    made = argparse.ArgumentParser()
    made.add_argument("what")
    if sys.argv[1] == "parse":
        import slow
    return made

sys.exit(entry.run(parser, command, None))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["parse", "import", "write", "work"])
def test_signals_end_a_command_at_any_moment(
    repository: Path, tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    """While modules are imported, too, where an exception would be swallowed or printed; nothing is left behind."""
    (tmp_path / "slow.py").write_text(
        textwrap.dedent("""
        import time
        class Swallowing:
            def __del__(self): time.sleep(0.5)  # an exception here would be printed and forgotten
        print("ready", flush=True)
        Swallowing()
        time.sleep(0.3)
        """)
    )
    words = [sys.executable, "-c", PROGRAM, str(repository), moment]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert said == ("interrupted\n" if number == signal.SIGINT else "terminated\n")
    left_at_once = number + 128 if moment in ("parse", "import") else -number
    assert process.returncode == (130 if number == signal.SIGINT else left_at_once)
    assert [path.name for path in tmp_path.iterdir()] == ["slow.py"]


def test_an_error_is_one_line_whatever_names_stand_in_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "no\nwhere\x1b[2J\x9b"]) == 1
    assert capfd.readouterr().err == (
        "error: no\\x0awhere\\x1b[2J\\x9b: neither a bundle nor an experiment nor a file; check the path\n"
    )


def test_names_that_are_not_utf8(cli_work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every command works in a folder whose name is bytes of another encoding."""
    from serving.cli.__main__ import main as serve

    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    recording = shutil.copy(cli_work / "in/anna/u0.wav", odd / os.fsdecode(b"\xfc.wav"))
    (odd / "run.yaml").write_text(CONFIG.format(root=cli_work).replace("steps: 3", "steps: 1"))
    shutil.copytree(cli_work / "data", odd / "data")
    places = ("--set", *(f"task.{split}={odd}/data/{split}" for split in ("train", "valid", "test")))
    done("train", odd / "run.yaml", "--out", odd / "exp", *places)
    done("train", odd / "run.yaml", "--out", odd / "exp", "--resume", *places)
    done("info", odd / "exp")
    done("eval", odd / "exp", "--likelihood-only", "--report", odd / "report.json")
    done("export", odd / "exp", "--out", odd / "voice")
    for runtime in ("native", "onnx", "torch"):
        made = odd / f"{runtime}.wav"
        done("sample", odd / "voice", recording, "--speaker", "anna", "-o", made, "--runtime", runtime)
        assert made.stat().st_size > 44
    for words in (
        ("vocode", recording, "-o", odd / "out.flac", "--voice", odd / "voice", "--speaker", "anna"),
        ("voices", "install", odd / "voice", "--voices", odd / "store", "--name", "one"),
        ("voices", "verify", "--voices", odd / "store"),
        ("voices", "list", "--voices", odd / "store"),
        ("keys", "add", "one", "--keys", odd / "keys"),
    ):
        assert serve([str(word) for word in words]) == 0, capfd.readouterr().err
    for words in (("info", odd / "none"), ("check", odd), ("data", "stats", odd), ("train", odd, "--out", odd / "x")):
        assert seqgen(*words).status == 1
