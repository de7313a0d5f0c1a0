"""Every configuration in the repository loads strictly and builds."""

from __future__ import annotations

from pathlib import Path

import pytest
from seqgen.tasks.run import RunConfig, build, voice

from seqgen import config

EGS = Path(__file__).resolve().parents[2] / "egs"
FILES = sorted(EGS.glob("**/conf/*.yaml"))


def test_there_are_configurations() -> None:
    assert {path.relative_to(EGS).parts[0] for path in FILES} >= {"demo", "fsdd", "ljspeech", "yesno"}


@pytest.mark.parametrize("corpus", ["fsdd", "ljspeech", "yesno"])
def test_each_recipe_has_a_tiny_and_a_real_run(corpus: str) -> None:
    names = {path.name for path in FILES if path.relative_to(EGS).parts[:2] == (corpus, "wavernn")}
    assert {"tiny.yaml", "base.yaml"} <= names


def test_names_tell_runs_apart() -> None:
    names = [config.load(path, RunConfig).name for path in FILES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EGS)))
@pytest.mark.parametrize("speakers", [("one",), ("anna", "ben", "cid")], ids=["one-speaker", "three-speakers"])
def test_it_loads_and_builds(path: Path, speakers: tuple[str, ...]) -> None:
    run = config.load(path, RunConfig)
    assert run.licence != "not stated"
    if run.objective.name == "classification":
        system = build(run, speakers, source=str(path))
        assert system.made is None
        assert sum(parameter.numel() for parameter in system.objective.parameters()) > 1000
        return
    made = voice(run, speakers, source=str(path))  # what trains a student is another run's, and not there
    assert made.generator.speakers == (len(speakers) if len(speakers) > 1 else 0)
    assert made.generator.conditioner is not None
    assert made.generator.conditioner.spec.up == run.features.hop  # factors follow from the hop
    assert run.data.segment % run.features.hop == 0
    assert sum(parameter.numel() for parameter in made.generator.parameters()) > 1000


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EGS)))
def test_the_resolved_text_is_the_same_run(path: Path, tmp_path: Path) -> None:
    run = config.load(path, RunConfig)
    (tmp_path / "config.yaml").write_text(config.dump(run), encoding="utf-8")
    again = config.load(tmp_path / "config.yaml", RunConfig)
    assert again == run
    assert config.digest(again) == config.digest(run)
