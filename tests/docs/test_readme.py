"""What the documents say exists: files, commands and options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from seqgen.cli.main import parser
from serving.cli.__main__ import parser as serving_parser

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "serving/README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "train-a-voice",
            "text",
            "pictures",
            "add-a-method",
            "serve",
            "runbook",
            "marking",
            "embed-in-c",
            "onnx",
            "results",
        )
    ),
    "egs/demo/RESULTS.md",
    "egs/fsdd/wavernn/RESULTS.md",
    "egs/fsdd/wavenet/RESULTS.md",
    "egs/fsdd/parallel_wavenet/RESULTS.md",
    "egs/synthetic/wavenet/RESULTS.md",
    "egs/synthetic/parallel_wavenet/RESULTS.md",
)


def _commands(text: str) -> list[list[str]]:
    """Lines of code blocks that call one of our commands, without comments and what reads their output."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    called = [line for line in lines if re.match(r"\s*seqgen(-serve)? ", line)]
    alone = (re.sub(r"\s[<>]\s*\S+|\s\|\s.*", "", line) for line in called)  # without redirections
    return [shlex.split(line, comments=True) for line in alone]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_of_the_documents_are_understood(document: str, repository: Path) -> None:
    for words in _commands((repository / document).read_text(encoding="utf-8")):
        chosen = serving_parser() if words[0] == "seqgen-serve" else parser()
        parsed = chosen.parse_args(words[1:])  # exits with status 2 for an unknown command or option
        assert parsed is not None


def test_the_readme_shows_the_commands_it_promises(repository: Path) -> None:
    assert len(_commands((repository / "README.md").read_text(encoding="utf-8"))) >= 5


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_the_documents_lead_somewhere(document: str, repository: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", (repository / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    missing = [
        target
        for target in targets
        if "://" not in target and not (repository / document).parent.joinpath(target).exists()
    ]
    assert not missing


@pytest.mark.parametrize("target", ["setup", "demo", "test", "soak", "fuzz", "sanitize", "clean"])
def test_make_knows_its_targets(target: str, repository: Path) -> None:
    assert re.search(rf"^{target}:.*## ", (repository / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
