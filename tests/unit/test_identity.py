"""Weights go only where they belong: every door compares them with what they were trained under, and resuming takes
exactly the changes that change no number."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from seqgen import config
from seqgen.tasks import run as runs
from seqgen.tasks.experiment import CONFIG, FACTS, Experiment
from seqgen.text.prepare import Preparation, prepare
from seqgen.train import checkpoint, schedule
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.identity import LENGTH, NEUTRAL, PLACE, keys
from seqgen.train.settings import TrainConfig
from tests.unit.cli_workspace import contents, done, refused, seqgen

SPEAKERS = "speakers:\n- anna\n- ben\n"
# File, what stands there, what is put there instead, and how the refusal names it.
CHANGES = [
    (CONFIG, "learning_rate: 0.001", "learning_rate: 0.002", "train.learning_rate: 0.001 there, 0.002 here"),
    (CONFIG, "look_ahead: 1", "look_ahead: 0", "networks.generator.conditioner.look_ahead: 1 there, 0 here"),
    (FACTS, SPEAKERS, "speakers:\n- ben\n- anna\n", "facts.speakers: ['"),
    (FACTS, "fmin: 0.0", "fmin: 10.0", "features: "),
]


def doors(work: Path, experiment: Path, out: Path) -> dict[str, list[object]]:
    """Every command that loads the weights of an experiment."""
    further = f"networks.generator={{name: pretrained, experiment: {experiment}, frozen: false}}"
    return {
        "eval": ["eval", experiment, "--likelihood-only"],
        "sample": ["sample", experiment, work / "in/anna/u0.wav", "--speaker", "anna", "-o", out / "out.wav"],
        "export": ["export", experiment, "--out", out / "voice"],
        "resume": ["train", experiment / CONFIG, "--out", experiment, "--resume"],
        "pretrained": ["train", work / "run.yaml", "--out", out / "new", "--set", further],
    }


@pytest.mark.parametrize("door", ["eval", "sample", "export", "resume", "pretrained"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[3].split(":")[0])
def test_doors_refuse_what_was_trained_as_something_else(
    cli_work: Path, tmp_path: Path, door: str, change: tuple[str, str, str, str]
) -> None:
    """As after two trainings into one directory, of which the second wrote what the first had been."""
    file, there, instead, named = change
    experiment, out = Path(shutil.copytree(cli_work / "exp", tmp_path / "exp")), tmp_path / "out"
    out.mkdir()
    text = (experiment / file).read_text()
    assert there in text
    (experiment / file).write_text(text.replace(there, instead))
    before = contents(experiment)
    refused(*doors(cli_work, experiment, out)[door], named=("belongs to another run", named), quiet=False)
    assert list(out.iterdir()) == []
    assert contents(experiment) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("networks.generator.conditioner.look_ahead=0", "generator.conditioner.look_ahead: 1 there, 0 here"),
        ("task.features.fmin=10.0", "task.features.fmin: 0.0 there, 10.0 here"),
        ("task.prediction=4", "task.prediction: 0 there, 4 here"),
    ],
)
def test_a_beginning_from_other_weights_is_refused(cli_work: Path, tmp_path: Path, change: str, named: str) -> None:
    words = ("train", cli_work / "run.yaml", "--out", tmp_path / "new", "--init-from", cli_work / "exp")
    refused(*words, "--set", change, named=("was trained for something else", named), quiet=False)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_of_former_versions_are_taken(cli_work: Path, tmp_path: Path) -> None:
    """They tell nothing of facts and data: what they tell is compared."""
    experiment = Path(shutil.copytree(cli_work / "exp", tmp_path / "exp"))
    for path in experiment.glob("checkpoints/*/state.json"):
        state = json.loads(path.read_text())
        del state["facts"], state["data"], state["seal"]
        path.write_text(json.dumps({**state, "seal": checkpoint._seal(state)}))
    (experiment / "data.yaml").unlink()
    done("eval", experiment, "--likelihood-only")
    done("train", experiment / CONFIG, "--out", experiment, "--resume")
    refused("train", experiment / CONFIG, "--out", experiment, "--resume", "--set", "task.train=elsewhere", quiet=False)


TEXT = "the quick brown fox jumps over the lazy dog\n" * 20
RUN = """\
name: tiny
task: {{name: text, data: {data}, segment: 16}}
networks: {{generator: {{name: autoregressive, body: {{name: recurrent, vocab_size: 29, outputs: 29, hidden: 8}}}}}}
train: {{steps: 2, batch_size: 4, validate_every: 2, checkpoint_every: 1, log_every: 1, learning_rate: 0.01}}
"""
# Another value of every setting; whatever is not declared to change no number has to be refused.
OTHERS: dict[str, Any] = {
    "name": "another",
    "licence": "another",
    "train.steps": 4,
    "train.batch_size": 5,
    "train.learning_rate": 0.02,
    "train.schedule": "inverse-sqrt",
    "train.warmup": 1,
    "train.weight_decay": 0.1,
    "train.betas": [0.8, 0.99],
    "train.clip_norm": 0.5,
    "train.accumulate": 2,
    "train.precision": "64-true",
    "train.ema": 0.5,
    "train.validate_every": 1,
    "train.checkpoint_every": 3,
    "train.keep": 5,
    "train.patience": 3,
    "train.workers": 1,
    "train.log_every": 2,
    "train.seed": 1,
    "sparsity.matrices": {"generator.body.recurrent": 0.5},
    "sparsity.block": [4, 4],
    "sparsity.start": 7,
    "sparsity.ramp": 1000,
    "sparsity.every": 100,
    "quantization.precision": "int8",
    "quantization.after": 1,
    "objective": {"name": "likelihood"},
    "players": {"generator": {"every": 2}},
    "networks.generator.body.hidden": 9,
    "task.segment": 17,
    "task.context": 3,
}
SAME = {"objective"}  # written out, it is what it was


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps in ``half`` and, never stopped, one of four in ``whole``."""
    root = tmp_path_factory.mktemp("identity")
    (root / "text.txt").write_text(TEXT)
    prepare(root / "text.txt", root / "data", Preparation("characters"))
    (root / "run.yaml").write_text(RUN.format(data=root / "data"))
    done("train", root / "run.yaml", "--out", root / "half")
    done("train", root / "run.yaml", "--out", root / "whole", "--set", "train.steps=4")
    return root


def leaves(kind: type[Any], prefix: str = "") -> list[str]:
    sections = {"train", "sparsity", "quantization"}
    hints = {one.name: one for one in dataclasses.fields(kind)}
    found = []
    for name in hints:
        if name in sections:
            section = type(getattr(config.from_plain(PLAIN, runs.RunConfig, source="test"), name))
            found += leaves(section, f"{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


PLAIN = {"name": "x", "task": {"name": "text"}, "networks": {}, "train": {"steps": 1}}


def test_every_setting_has_another_value_to_try() -> None:
    settings = set(leaves(runs.RunConfig)) - {"task", "networks"}
    assert settings <= set(OTHERS)
    assert set(keys(runs.RunConfig, NEUTRAL)) | set(keys(runs.RunConfig, LENGTH)) <= set(OTHERS)


@pytest.mark.parametrize("key", OTHERS)
def test_a_setting_changes_no_number_or_is_refused_by_name(tiny: Path, tmp_path: Path, key: str) -> None:
    out = Path(shutil.copytree(tiny / "half", tmp_path / "out"))
    words = ["train", tiny / "run.yaml", "--out", out, "--resume", "--set", f"{key}={json.dumps(OTHERS[key])}"]
    if key != "train.steps":
        words.append("train.steps=4")
    if key in {*keys(runs.RunConfig, NEUTRAL), *keys(runs.RunConfig, LENGTH), *SAME}:
        done(*words)
        last = "checkpoints/step-000004/model.safetensors"
        made, expected = (load_file(path / last) for path in (out, tiny / "whole"))
        assert all((made[name] == value).all() for name, value in expected.items())
        assert Experiment.open(out).run.train.steps == 4
        done("eval", out, "--likelihood-only")
        return
    before = contents(out)
    result = seqgen(*words)
    assert result.status == 1
    assert f"{key}: " in result.err or f"{key}." in result.err, result.err
    assert " there, " in result.err or "'accumulate'" in result.err
    assert contents(out) == before


def test_a_refusal_names_every_key(tiny: Path) -> None:
    words = ("train", tiny / "run.yaml", "--out", tiny / "half", "--resume", "--set")
    changes = ("train.seed=5", "train.ema=0.5", "train.clip_norm=2.0", "train.warmup=1", "train.batch_size=3")
    named = ("seed: 0 there, 5 here", "ema: 0.0 there, 0.5", "clip_norm: 1.0", "warmup: 0", "batch_size: 4")
    refused(*words, *changes, named=named, quiet=False)


def test_steps_and_schedules(tiny: Path, tmp_path: Path) -> None:
    """A cosine ends with the last step; the other schedules do not know it."""
    for name in ("constant", "cosine", "inverse-sqrt"):
        settings = [TrainConfig(steps=steps, schedule=name, warmup=2) for steps in (10, 20)]  # type: ignore[arg-type]
        rates = [[schedule.learning_rate(one, step) for step in range(10)] for one in settings]
        assert (rates[0] != rates[1]) == schedule.depends_on_length(settings[0])
    words = ("train", tiny / "run.yaml", "--out", tmp_path / "out", "--set", "train.schedule=cosine")
    done(*words)
    refused(*words, "train.steps=4", "--resume", named=("train.steps: 2 there, 4 here",), quiet=False)
    fewer = ("train", tiny / "run.yaml", "--out", tiny / "whole", "--resume", "--set", "train.steps=3")
    refused(*fewer, named=("step-000004 is at step 4, 'train.steps' is 3; give 4 steps or more",), quiet=False)


def test_moved_text_is_the_same_text(tiny: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(tiny / "half", tmp_path / "out"))
    shutil.copytree(tiny / "data", tmp_path / "moved")
    (tmp_path / "other.txt").write_text(TEXT.replace("quick", "quack", 1))
    prepare(tmp_path / "other.txt", tmp_path / "other", Preparation("characters"))

    def words(name: str) -> list[object]:
        return ["train", tiny / "run.yaml", "--out", out, "--resume", "--set", f"task.data={tmp_path / name}"]

    refused(*words("other"), named=("task.data: data ", " there, "), quiet=False)
    done(*words("moved"))
    assert str(tmp_path / "moved") in (out / CONFIG).read_text()
    done("eval", out, "--likelihood-only")


def test_moved_recordings_are_the_same_recordings(cli_work: Path, tmp_path: Path) -> None:
    """Tables and sounds elsewhere are the same data; one byte of one recording makes others."""
    shutil.copytree(cli_work / "in", tmp_path / "in")
    shutil.copytree(cli_work / "data", tmp_path / "data")
    for table in tmp_path.glob("data/*/wav.scp"):
        table.write_text(table.read_text().replace(f"{cli_work}/in", f"{tmp_path}/in"))
    out = Path(shutil.copytree(cli_work / "exp", tmp_path / "exp"))
    places = [f"task.{split}={tmp_path}/data/{split}" for split in ("train", "valid", "test")]
    words = ("train", cli_work / "run.yaml", "--out", out, "--resume", "--set", *places)
    recording = Path((tmp_path / "data/train/wav.scp").read_text().split()[1])
    whole = recording.read_bytes()
    recording.write_bytes(whole[:-2] + bytes(byte ^ 1 for byte in whole[-2:]))
    refused(*words, named=("task.train: data ",), quiet=False)
    recording.write_bytes(whole)
    done(*words, "train.steps=4")
    assert Checkpoints(out).steps()[-1] == 4
    done("eval", out, "--likelihood-only")


def test_places_of_data_are_declared() -> None:
    """A task that reads files says which of its options name them."""
    from seqgen import registry

    found = {name: set(keys(registry.TASKS.load(name).Config, PLACE)) for name in registry.TASKS}
    assert found["vocoder"] == {"train", "valid", "frames"}
    assert found["text"] == {"data"}
    assert found["pairs"] == {"x", "y", "pictures"}
