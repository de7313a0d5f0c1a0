"""Shell completion: what bash and fish offer for a line, of both commands; zsh takes the script."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqgen import completion, presets
from seqgen.cli.main import parser
from seqgen.registry import CORPORA, RUNTIMES
from serving.cli.__main__ import parser as serving_parser

PARSERS = {"seqgen": parser, "seqgen-serve": serving_parser}
# What readline does with a line whose last word is completed: sets the words and calls the function of the command.
BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
compopt() { :; }
"$(complete -p "$1" | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def commands(made: argparse.ArgumentParser) -> set[str]:
    """Sub-commands of a command line."""
    return {
        name for action in made._actions if isinstance(action, argparse._SubParsersAction) for name in action.choices
    }


FISH = """
source $argv[1]
for line in $argv[2..]
  for offer in (complete -C $line | string split -f 1 \\t)
    echo "$line> $offer"
  end
end
"""
PRESETS = {*presets.examples(), *presets.symbol_examples(), *presets.encoder_examples()}
CASES = [
    ("seqgen", [""], commands(parser())),
    ("seqgen-serve", [""], commands(serving_parser())),
    ("seqgen", ["tr"], {"train", "translate"}),
    ("seqgen", ["data", ""], {"prepare", "check", "stats", "phones", "lexicon"}),
    ("seqgen", ["data", "prepare", ""], {*CORPORA, "pairs", "pictures", "text"}),
    ("seqgen", ["data", "prepare", "folder", "--hold-out", ""], {"sentence", "speaker"}),
    ("seqgen", ["train", "a.wav", "--dev"], {"--device"}),
    ("seqgen", ["train", "a.wav", "--device", ""], {"auto", "cpu", "cuda"}),
    ("seqgen", ["eval", "--runtime", ""], set(RUNTIMES)),
    ("seqgen", ["bench", "--preset", ""], PRESETS),
    ("seqgen", ["sample", "a"], {"a.wav"}),
    ("seqgen", ["sample", "a.wav", "with"], {"with space.wav"}),
    ("seqgen-serve", ["ke"], {"keys"}),
    ("seqgen-serve", ["keys", ""], {"add", "list", "remove"}),
    ("seqgen-serve", ["serve", "--isolation", ""], {"process", "thread"}),
    ("seqgen-serve", ["serve", "--max-b"], {"--max-body"}),
    ("seqgen-serve", ["serve", "--preset", ""], set(presets.without_torch())),
    ("seqgen-serve", ["serve", "--config", "a"], {"a.wav"}),
    ("seqgen-serve", ["serve", "--voices", ""], {"folder"}),
    ("seqgen-serve", ["vocode", "with"], {"with space.wav"}),
    ("seqgen-serve", ["completion", ""], set(completion.SHELLS)),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """Scripts of both commands for every shell, beside a folder with files."""
    folder = tmp_path_factory.mktemp("completion")
    for command, make in PARSERS.items():
        for shell in completion.SHELLS:
            (folder / f"{command}.{shell}").write_text(completion.script(make(), shell))
    (folder / "here" / "folder").mkdir(parents=True)
    (folder / "here" / "a.wav").touch()
    (folder / "here" / "with space.wav").touch()
    return folder


def ran(shell: str, scripts: Path, *arguments: str, **values: str) -> set[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(scripts), "LC_ALL": "C.UTF-8"} | values
    done = subprocess.run(
        [shell, *arguments],
        cwd=scripts / "here",
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.splitlines()) - {""}


@pytest.mark.parametrize(("command", "words", "offered"), CASES)
def test_bash_offers(scripts, command, words, offered):
    script = scripts / f"{command}.bash"
    assert ran("bash", scripts, "-c", BASH, "bash", str(script), command, *words) == offered


@pytest.mark.parametrize("command", PARSERS)
def test_fish_offers(scripts, command):
    """One process for all lines: a fish takes long to start."""
    cases = {" ".join([command, *words]): offered for name, words, offered in CASES if name == command}
    found: dict[str, set[str]] = {line: set() for line in cases}
    for row in ran("fish", scripts, "--no-config", "-c", FISH, str(scripts / f"{command}.fish"), *cases):
        line, _, offer = row.partition("> ")
        found[line].add(offer.rstrip("/"))
    assert {line: found[line] & offered for line, offered in cases.items()} == cases


@pytest.mark.parametrize("command", PARSERS)
@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_shell_takes_the_script(scripts, shell, command):
    ran(shell, scripts, "-n", str(scripts / f"{command}.{shell}"))


@pytest.mark.parametrize("command", PARSERS)
def test_zsh_registers_the_command(scripts, command):
    program = 'autoload -U compinit; compinit -D -u; eval "$(<$1)"; print -r -- ${_comps[$2]:+known}'
    assert ran("zsh", scripts, "-f", "-c", program, "zsh", str(scripts / f"{command}.zsh"), command) == {"known"}


def test_nothing_of_it_is_loaded_before_it_is_asked_for():
    program = (
        "import sys; from serving.cli.__main__ import parser; parser().parse_args(['doctor']);"
        "sys.exit('shtab' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_paths_are_known_by_type_or_metavar_and_names_by_their_registry():
    made = argparse.ArgumentParser("x")
    for name, options in {
        "--typed": {"type": Path}, "--file": {"metavar": "FILE"}, "--folder": {"metavar": "DIR"}, "--text": {},
        "--flag": {"action": "store_true"},
    }.items():  # fmt: skip
        made.add_argument(name, **options)
    completion.offer(made.add_argument("--named", metavar="NAME"), {"one": 1, "two": 2})
    text = completion.script(made, "bash")
    assert "_shtab_x___typed_COMPGEN=_shtab_compgen_files" in text
    assert "_shtab_x___file_COMPGEN=_shtab_compgen_files" in text
    assert "_shtab_x___folder_COMPGEN=_shtab_compgen_dirs" in text
    assert "_shtab_x___named_choices=(one two)" in text
    assert "text_COMPGEN" not in text
    assert "flag_COMPGEN" not in text
