"""The method that CONTRIBUTING shows in forty lines is whole: taken from the page it learns and keeps the laws."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

import seqgen.objectives
from seqgen import registry
from seqgen.cli.main import main
from tests.contracts import test_laws as laws

TEXT = "the quick brown fox jumps over the lazy dog " * 60  # 27 characters, and the unknown one


class Shown(NamedTuple):
    """The code blocks of the section, and the file that it says the first is."""

    file: str
    method: str
    row: dict[str, str]
    run: str
    command: str


@pytest.fixture(scope="module")
def shown(repository: Path) -> Shown:
    page = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.split("## A method in forty lines\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```\w*\n(.*?)```", section, flags=re.DOTALL)
    assert sum(len(block.splitlines()) for block in blocks) <= 40
    method, row, run, command = blocks
    (file,) = re.findall(r"`(seqgen/objectives/\w+\.py)`", section)
    return Shown(file, method, ast.literal_eval("{" + row + "}"), run, command)


@pytest.fixture
def at_work(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the text, where seqgen has the file and the row."""
    (tmp_path / "objectives").mkdir()
    (tmp_path / "objectives" / Path(shown.file).name).write_text(shown.method, encoding="utf-8")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "robust.yaml").write_text(shown.run, encoding="utf-8")
    folders = [*seqgen.objectives.__path__, str(tmp_path / "objectives")]
    monkeypatch.setattr(seqgen.objectives, "__path__", folders)
    monkeypatch.setattr(registry.OBJECTIVES, "_table", {**registry.OBJECTIVES._table, **shown.row})
    monkeypatch.chdir(tmp_path)
    assert main(["data", "prepare", "text", "--corpus", "text.txt", "--out", "data", "--tokenizer", "characters"]) == 0
    return tmp_path


def test_its_row_is_the_file(shown: Shown, at_work: Path) -> None:
    ((name, place),) = shown.row.items()
    assert place.split(":")[0].replace(".", "/") + ".py" == shown.file
    assert registry.OBJECTIVES.name_of(registry.OBJECTIVES.load(name)) == name


def test_it_learns_is_evaluated_and_resumes(shown: Shown, at_work: Path) -> None:
    settings = ("train.steps=16", "train.validate_every=8", "train.checkpoint_every=8", "train.batch_size=8")
    assert main(["train", "robust.yaml", "--out", "exp", "--set", *settings]) == 0
    rows = [json.loads(line) for line in Path("exp/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    first, last = (row["loss"] for row in rows if row["split"] == "valid")
    assert last < first
    assert main(["eval", "exp"]) == 0
    (weights,) = Path("exp/checkpoints").glob("*16/model.safetensors")
    expected = weights.read_bytes()
    shutil.rmtree(weights.parent)
    assert main(["train", "robust.yaml", "--out", "exp", "--resume", "--set", *settings]) == 0
    assert weights.read_bytes() == expected


def test_it_keeps_the_laws(shown: Shown, at_work: Path) -> None:
    (name,) = shown.row
    (chosen,) = re.findall(r"-k (\w+)", shown.command)
    assert chosen in f"test_laws[objective-{name}]"
    laws.objectives(registry.OBJECTIVES.load(name), at_work)
