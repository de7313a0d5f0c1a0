"""A teacher, a listener and a student from the command line, and every way in which they may not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
import pytest
from safetensors.numpy import load_file

from seqgen import presets
from seqgen.audio import io
from seqgen.spec import FeatureSpec
from tests.unit.cli_workspace import done, record, refused

HEAD = """\
name: $name
task:
  name: vocoder
  train: $data/train
  valid: $data/valid
  test: $data/test
  codec: $codec
  segment: 160
  features: {sample_rate: $rate, n_fft: 256, window: 160, hop: 80, n_mels: 16}
train: {steps: 2, batch_size: 3, validate_every: 2, checkpoint_every: 1, log_every: 1, ema: 0.5}
"""
SIZES = "dilation_cycle: 3, residual_channels: 6, gate_channels: 6"
TEACHER = """
networks:
  generator:
    name: autoregressive
    body: {name: wavenet, layers: 3, $sizes, skip_channels: 8, head_channels: 8, vocab_size: 0, outputs: 6}
    distribution: {name: logistic-mixture, mixtures: 2, origin: -4}
    conditioner: {name: frames, channels: 8, blocks: 1, look_ahead: 1}
"""
LISTENER = """
networks:
  classifier:
    {name: wavenet, layers: 3, $sizes, skip_channels: 8, head_channels: 8, vocab_size: 0, conditioned: no, outputs: 2}
objective: {name: classification, labels: [high, low]}
"""
STUDENT = """
networks:
  generator:
    name: parallel
    flow: {name: parallel-wavenet, layers: [2, 3], $sizes, head_channels: 6}
    conditioner: {name: frames, channels: 8, blocks: 1, look_ahead: 2}
  teacher: {name: pretrained, experiment: $root/teacher}
  classifier: {name: pretrained, experiment: $root/listener}
objective:
  name: distillation
  samples: 2
  contrast: 0.3
  power: {weight: 1.0, windows: [64]}
  style: {weight: 0.1}
  longest: 800
"""


def written(root: Path, name: str, text: str, *, data: str = "data", codec: str = "float", rate: int = 8000) -> Path:
    path, values = root / f"{name}.yaml", {"name": name, "codec": codec, "rate": rate}
    path.write_text(Template(HEAD + text).substitute(values, root=root, data=root / data, sizes=SIZES))
    return path


SHARES = ("--valid", 0.2, "--test", 0.3)


def without(text: str, key: str) -> str:
    """Without the lines of a key."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.strip().startswith(f"{key}:"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of two speakers with transcripts, and the three experiments."""
    root = tmp_path_factory.mktemp("distillation")
    record(root / "in")
    done("data", "prepare", "folder", "--corpus", root / "in", "--out", root / "data", "--sample-rate", 8000, *SHARES)
    for part in ("train", "valid", "test"):
        ids = [line.split()[0] for line in (root / "data" / part / "wav.scp").read_text().splitlines()]
        lines = [f"{one} {'high' if 'u5' in one or 'u4' in one else 'low'}\n" for one in ids]
        (root / "data" / part / "text").write_text("".join(lines))
    for name, text in (("teacher", TEACHER), ("listener", LISTENER), ("student", STUDENT)):
        done("train", written(root, name, text), "--out", root / name)
    return root


def test_the_student_learns_and_nothing_else_moves(work: Path) -> None:
    steps = [load_file(work / f"student/checkpoints/step-00000{step}/model.safetensors") for step in (1, 2)]
    teacher = load_file(work / "teacher/checkpoints/step-000002/ema.safetensors")
    frozen = [name for name in steps[0] if not name.startswith("generator.")]
    assert {name.split(".")[0] for name in frozen} == {"teacher", "classifier"}
    assert all(np.array_equal(steps[0][name], steps[1][name]) for name in frozen)
    assert all(
        np.array_equal(steps[1][f"teacher.{n.removeprefix('generator.')}"], value) for n, value in teacher.items()
    )
    averages = load_file(work / "student/checkpoints/step-000002/ema.safetensors")
    assert all(np.array_equal(averages[name], steps[1][name]) for name in frozen)
    moved = [name for name in steps[0] if not np.array_equal(steps[0][name], steps[1][name])]
    assert len(moved) > 0.9 * len([name for name in steps[0] if name.startswith("generator.")])
    rows = [json.loads(line) for line in (work / "student/metrics.jsonl").read_text().splitlines()]
    assert {"kl", "entropy", "cross_entropy", "other_kl", "power", "style"} <= set(rows[0])
    assert [row["step"] for row in rows if row["split"] == "valid"] == [2]


def test_it_is_evaluated_and_sampled_without_its_teacher_at_hand(work: Path, tmp_path: Path) -> None:
    found = done("eval", work / "student", "--utterances", 2, "--json").json()
    assert found["kl"] == pytest.approx(found["cross_entropy"] - found["entropy"], abs=1e-4)
    assert {"teacher_nll", "teacher_nll_recordings", "level", "bands", "kl_95"} <= set(found)
    assert "bits_per_sample" not in found
    assert "kl" in done("eval", work / "student", "--utterances", 2).out
    done("export", work / "student", "--out", tmp_path / "voice")
    done("export", work / "student", "--out", tmp_path / "rounded", "--quantise", "int8")
    rounded, whole = (done("eval", tmp_path / name, "--utterances", 2, "--likelihood-only", "--json").json()
                      for name in ("rounded", "voice"))  # fmt: skip
    assert 1e-6 < abs(rounded["divergence_from_float32"]) < 0.01
    assert abs(whole["divergence_from_float32"]) < 1e-6
    done("sample", tmp_path / "voice", work / "in/anna/u0.wav", "-o", tmp_path / "a.wav", "--speaker", "anna")
    measured = done("bench", tmp_path / "voice", "--seconds", 0.01, "--json").json()
    assert (measured["runtime"], measured["chunk"]) == ("native", 8 * 80)
    away = tmp_path / "away"
    shutil.copytree(work / "student", away)
    (away / "config.yaml").write_text((away / "config.yaml").read_text().replace(str(work / "teacher"), "nowhere"))
    done("sample", away, work / "in/anna/u0.wav", "-o", tmp_path / "b.wav", "--speaker", "anna")
    first, second = (io.read(tmp_path / name)[0] for name in ("a.wav", "b.wav"))
    assert np.array_equal(first, second)
    assert len(first) == 2400
    assert "bits_per_sample" not in done("eval", tmp_path / "voice", "--data", work / "data/test", "--json").json()


def test_it_resumes(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "student", tmp_path / "half")
    shutil.rmtree(tmp_path / "half/checkpoints/step-000002")
    done("train", work / "student.yaml", "--out", tmp_path / "half", "--resume")
    whole, half = (
        load_file(place / "checkpoints/step-000002/model.safetensors")
        for place in (work / "student", tmp_path / "half")
    )
    assert all(np.array_equal(value, half[name]) for name, value in whole.items())


def start(work: Path, out: Path, *changes: str, config: str = "student") -> tuple[object, ...]:
    return ("train", work / f"{config}.yaml", "--out", out, "--set", *changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["networks.teacher.experiment=nowhere"], ["networks.teacher", "nowhere: no experiment here"]),
        (["networks.teacher.network=classifier"], ["trains no network 'classifier'; choose generator"]),
        (["networks.classifier.experiment={root}/teacher"], ["network 'classifier' is an AutoRegressive"]),
        (["networks.teacher.experiment={root}/listener"], ["network 'teacher' is a WaveNet; give an AutoRegressive"]),
        (["networks.teacher.experiment={root}/student"], ["network 'teacher' is a Parallel; give an AutoRegressive"]),
        (["task.features.floor=1e-4"], ["networks.teacher", "floor 0.0001 instead of 1e-05", "signature"]),
        (["networks.teacher.experiment={root}/symbols"], ["networks.teacher reads 256 symbols"]),
        (["networks.teacher.experiment={root}/alone"], ["speakers anna; this run has anna, ben"]),
        (["networks.teacher.experiment={root}/fast"], ["fast has a sample rate of 16000 Hz, this run 8000 Hz"]),
        (["networks.teacher.checkpoint=3"], ["networks.teacher: unknown key 'checkpoint'", "experiment, network"]),
        (["objective.name=likelihood"], ["unknown key"]),
        (["objective=likelihood"], ["Likelihood has no network 'teacher'", "set objective to distillation"]),
        (["networks.generator.flow.layers=[]"], ["no flows"]),
        (["networks.generator.distribution=gaussian"], ["density parallel: unknown key 'distribution'"]),
        (["task.codec=mulaw8"], ["networks.generator reads real numbers", "set task.codec to float"]),
    ],
    ids=lambda value: value[0][:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_line(
    work: Path, others: None, tmp_path: Path, changes: list[str], named: list[str]
) -> None:
    refused(*start(work, tmp_path / "x", *(one.format(root=work) for one in changes)), named=tuple(named))
    assert not (tmp_path / "x").exists()


def test_rows_that_are_compared_are_not_parted(work: Path, tmp_path: Path) -> None:
    problem = "'train.accumulate' is 2, but Distillation compares the rows of a batch with each other"
    refused(*start(work, tmp_path / "x", "train.accumulate=2"), named=(problem, "to 1"), quiet=False)
    assert not (tmp_path / "x").exists()
    done(*start(work, tmp_path / "x", "train.accumulate=2", "objective.contrast=0", "train.steps=1"))


@pytest.mark.parametrize(
    ("network", "named"),
    [
        ("teacher", ["Distillation has no network 'teacher'", "add networks.teacher"]),
        ("classifier", ["a style loss without a classifier", "add networks.classifier"]),
    ],
)
def test_networks_that_are_missing_are_named(work: Path, tmp_path: Path, network: str, named: list[str]) -> None:
    less = written(work, f"without-{network}", without(STUDENT, network))
    refused("train", less, "--out", tmp_path / "x", named=tuple(named))
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def others(work: Path) -> None:
    """Teachers of another kind, of one speaker, of another rate."""
    symbols = TEACHER.replace("vocab_size: 0, outputs: 6", "vocab_size: 256, outputs: 256")
    done("train", written(work, "symbols", without(symbols, "distribution"), codec="mulaw8"), "--out", work / "symbols")
    record(work / "one", speakers=("anna",))
    done("data", "prepare", "folder", "--corpus", work / "one", "--out", work / "lone/data", *SHARES)
    record(work / "sharp", rate=16000)
    done("data", "prepare", "folder", "--corpus", work / "sharp", "--out", work / "wide/data", *SHARES)
    for name, data, rate in (("alone", "lone", 8000), ("fast", "wide", 16000)):
        made = written(work, name, TEACHER, data=f"{data}/data", rate=rate)
        done("train", made, "--out", work / name)


def test_a_listener_is_no_voice(work: Path, tmp_path: Path) -> None:
    """It has no audio to be judged by, but its method's own figures."""
    for words in (
        ("export", work / "listener", "--out", tmp_path / "v"),
        ("sample", work / "listener", work / "in/anna/u0.wav", "-o", tmp_path / "a.wav", "--speaker", "anna"),
    ):
        refused(*words, named=("makes no audio; name the run of a voice",))
    assert list(tmp_path.iterdir()) == []
    found = done("eval", work / "listener", "--json").json()
    assert 0 <= found["accuracy"] <= 1
    assert len(found["examples"]["accuracy"]) == found["utterances"]
    assert (found["scores"], found["griffin_lim"]) == ({}, {})
    refused(
        *start(work, tmp_path / "x", "objective.labels=[high]", config="listener"), named=("2 outputs for 1 labels",)
    )


@dataclass(frozen=True)
class Small(presets.Preset):
    """A preset of 8 kHz."""

    @property
    def features(self) -> FeatureSpec:
        return FeatureSpec(sample_rate=8000, n_fft=256, window=160, hop=self.hop, n_mels=16)


def small(name: str) -> Small:
    """A preset of few layers and channels."""
    found = presets.find(name)
    sizes = {"dilation_cycle": 3, "residual_channels": 6, "gate_channels": 6, "head_channels": 6}
    layers = {"pwn-student": [2, 3], "pwn-teacher": 3}[name]
    return Small(**{**vars(found), "model": {**found.model, **sizes, "layers": layers}, "hop": 80})


def test_bench_puts_a_stepped_teacher_beside_its_student(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command as it is, on small networks: every runtime of the student, then the teacher."""
    known = {name: small(name) for name in ("pwn-student", "pwn-teacher")}
    monkeypatch.setattr(presets, "find", lambda name: known[name])
    rows = done("bench", "--preset", "pwn-student", "--compare", "--seconds", 0.01, "--json").json()
    assert [(row["preset"], row["runtime"]) for row in rows] == [
        *[("pwn-student", "native")] * 3,
        ("pwn-student", "onnx"),
        ("pwn-student", "torch"),
        ("pwn-teacher", "torch"),
    ]
    assert all(row["samples_per_second"] > 0 for row in rows)
    assert rows[-1]["x_real_time"] == pytest.approx(rows[-1]["samples_per_second"] / 8000, rel=0.01, abs=1e-3)
    monkeypatch.undo()
    refused("bench", "--preset", "pwn-studnet", named=("unknown preset", "pwn-student, pwn-teacher"))
