"""Every configuration in the repository loads strictly and builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqgen import config, registry
from seqgen.generation.contract import Generator
from seqgen.spec import Facts, FeatureSpec
from seqgen.tasks import experiment, networks
from seqgen.tasks.run import RunConfig, load
from seqgen.tasks.vocoder.config import VocoderConfig, facts_of

EGS = Path(__file__).resolve().parents[2] / "egs"
FILES = sorted(EGS.glob("**/conf/*.yaml"))


def facts_without_data(run: RunConfig, speakers: tuple[str, ...]) -> Facts | None:
    """What the training data would tell; ``None`` for a task that needs none."""
    options = run.task.options
    if run.task.name == "vocoder":
        return facts_of(options.get("codec", "bytes16"), FeatureSpec(**options["features"]), speakers)
    if run.task.name == "characters":
        size = run.networks["generator"].options["body"]["vocab_size"]
        return Facts(vocab_size=size, unit="character", alphabet=tuple(map(chr, range(32, 32 + size))))
    return None


def test_there_are_configurations() -> None:
    assert {path.relative_to(EGS).parts[0] for path in FILES} >= {"demo", "fsdd", "ljspeech", "yesno"}


@pytest.mark.parametrize("corpus", ["fsdd", "ljspeech", "yesno"])
def test_each_recipe_has_a_tiny_and_a_real_run(corpus: str) -> None:
    names = {path.name for path in FILES if path.relative_to(EGS).parts[:2] == (corpus, "wavernn")}
    assert {"tiny.yaml", "base.yaml"} <= names


def test_names_tell_runs_apart() -> None:
    names = [load(path).name for path in FILES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EGS)))
@pytest.mark.parametrize("speakers", [("one",), ("anna", "ben", "cid")], ids=["one-speaker", "three-speakers"])
def test_it_loads_and_builds(path: Path, speakers: tuple[str, ...]) -> None:
    run = load(path)
    task = experiment.task_of(run, facts_without_data(run, speakers), source=str(path))
    config.options(run.objective, registry.OBJECTIVES, source=str(path))
    pretrained = {name for name, component in run.networks.items() if component.name == networks.PRETRAINED}
    made = networks.build(run.networks, task.facts, source=str(path))
    task.require_fit(made)
    if not pretrained:  # a teacher, say, is another run's, and not there
        made = dict(experiment.build(task, source=str(path)).networks)
    assert set(made) == set(run.networks) - pretrained
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in made.values()]
    assert sum(sizes) > 0
    if run.task.name == "vocoder":
        assert min(sizes) > 1000
        options = config.options(run.task, registry.TASKS, source=str(path))
        require_a_voice(run, options, made.get("generator"), speakers)


def require_a_voice(run: RunConfig, task: VocoderConfig, generator: object, speakers: tuple[str, ...]) -> None:
    assert run.licence != "not stated"
    assert task.segment % task.features.hop == 0
    if run.objective.name == "classification":
        assert generator is None
        return
    assert isinstance(generator, Generator)
    assert generator.speakers == (len(speakers) if len(speakers) > 1 else 0)
    assert generator.conditioner is not None
    assert generator.conditioner.spec.up == task.features.hop  # factors follow from the hop


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EGS)))
def test_the_resolved_text_is_the_same_run(path: Path, tmp_path: Path) -> None:
    run = load(path)
    (tmp_path / "config.yaml").write_text(config.dump(run), encoding="utf-8")
    again = load(tmp_path / "config.yaml")
    assert again == run
    assert config.digest(again) == config.digest(run)
