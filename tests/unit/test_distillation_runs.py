"""A teacher, a listener and a student from the command line, and every way in which they may not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from seqgen.tasks.run import RunConfig

from seqgen import config
from seqgen.audio import io
from seqgen.cli import random_voices
from tests.unit.cli_workspace import done, record, refused

HEAD = """\
name: {name}
data: {{train: {root}/data/train, valid: {root}/data/valid, test: {root}/data/test, codec: {codec}, segment: 160}}
features: {{sample_rate: 8000, n_fft: 256, window: 160, hop: 80, n_mels: 16}}
train: {{steps: 2, batch_size: 3, validate_every: 2, checkpoint_every: 1, log_every: 1, ema: 0.5}}
"""
FRAMES = "conditioner: {name: frames, channels: 8, blocks: 1, look_ahead: 1}\n"
STACK = "name: wavenet, layers: 3, cycle: 3, residual: 6, gate: 6, skip: 8, head: 8"
TEACHER = (
    HEAD + FRAMES.replace("{", "{{").replace("}", "}}")
    + "model: {{" + STACK + ", symbols: 0, outputs: 6}}\n"
    "distribution: {{name: logistic-mixture, mixtures: 2, origin: -4}}\n"
)  # fmt: skip
LISTENER = (
    HEAD + "model: {{" + STACK + ", symbols: 0, conditioned: false, outputs: 2}}\n"
    "objective: {{name: classification, labels: [high, low]}}\n"
)  # fmt: skip
STUDENT = (
    HEAD + FRAMES.replace("look_ahead: 1", "look_ahead: 2").replace("{", "{{").replace("}", "}}")
    + "model: {{name: parallel-wavenet, layers: [2, 3], cycle: 3, residual: 6, gate: 6, head: 6}}\n"
    "objective: {{name: distillation, teacher: {root}/teacher, classifier: {root}/listener, samples: 2, contrast: 0.3, "
    "power: {{weight: 1.0, windows: [64]}}, style: {{weight: 0.1}}, longest: 800}}\n"
)  # fmt: skip


def written(root: Path, name: str, text: str, codec: str = "float") -> Path:
    path = root / f"{name}.yaml"
    path.write_text(text.format(name=name, root=root, codec=codec))
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of two speakers with transcripts, and the three experiments."""
    root = tmp_path_factory.mktemp("distillation")
    record(root / "in")
    done("data", "prepare", "folder", "--corpus", root / "in", "--out", root / "data", "--sample-rate", 8000)
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
        (["objective.teacher=''"], ["a student without a teacher", "objective.teacher"]),
        (["objective.teacher=nowhere"], ["nowhere: no experiment here"]),
        (["objective.classifier=''"], ["a style loss without a classifier"]),
        (["objective.classifier={root}/teacher"], ["objective.classifier", "a run of objective likelihood"]),
        (["objective.teacher={root}/listener"], ["a run of objective classification makes no audio"]),
        (["features.floor=1e-4"], ["objective.teacher", "floor 0.0001 instead of 1e-05", "signature"]),
        (["objective.teacher={root}/symbols"], ["no generator over real numbers, but has Categorical"]),
        (["objective.teacher={root}/alone"], ["speakers anna; this run has anna, ben"]),
        (["objective.teacher={root}/fast"], ["fast has a sample rate of 16000 Hz, this run 8000 Hz"]),
        (["objective.name=likelihood"], ["unknown key"]),
        (["model.layers=[]"], ["no flows"]),
        (["distribution=gaussian"], ["distribution 'gaussian' has no use"]),
        (["data.codec=mulaw8"], ["parallel-wavenet reads real numbers", "set data.codec to float"]),
    ],
    ids=lambda value: value[0][:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_line(
    work: Path, others: None, tmp_path: Path, changes: list[str], named: list[str]
) -> None:
    refused(*start(work, tmp_path / "x", *(one.format(root=work) for one in changes)), named=tuple(named))
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def others(work: Path) -> None:
    """Teachers of another kind, of one speaker, of another rate."""
    symbols = TEACHER.replace("symbols: 0, outputs: 6", "symbols: 256, outputs: 256").split("distribution:")[0]
    done("train", written(work, "symbols", symbols, codec="mulaw8"), "--out", work / "symbols")
    record(work / "one", speakers=("anna",))
    done("data", "prepare", "folder", "--corpus", work / "one", "--out", work / "lone/data", "--sample-rate", 8000)
    record(work / "sharp", rate=16000)
    done("data", "prepare", "folder", "--corpus", work / "sharp", "--out", work / "wide/data", "--sample-rate", 16000)
    for name, data, text in (("alone", "lone", TEACHER), ("fast", "wide", TEACHER.replace("8000", "16000"))):
        made = written(work, name, text.replace("{root}/data", "{root}/" + data + "/data"))
        done("train", made, "--out", work / name)


def test_a_listener_is_no_voice(work: Path, tmp_path: Path) -> None:
    for words in (
        ("export", work / "listener", "--out", tmp_path / "v"),
        ("eval", work / "listener", "--utterances", 1),
    ):
        refused(*words, named=("makes no audio; name the run of a voice",))
    assert not (tmp_path / "v").exists()
    refused(
        *start(work, tmp_path / "x", "objective.labels=[high]", config="listener"), named=("2 outputs for 1 labels",)
    )


def test_bench_puts_a_stepped_teacher_beside_its_student(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command as it is, on small networks: every runtime of the student, then the teacher."""
    runs = {name: config.load(work / f"{name[4:]}.yaml", RunConfig) for name in ("pwn-student", "pwn-teacher")}
    monkeypatch.setattr(random_voices, "run_of", lambda preset: runs[preset.name])
    rows = done("bench", "--preset", "pwn-student", "--compare", "--seconds", 0.01, "--json").json()
    assert [(row["preset"], row["runtime"]) for row in rows] == [
        *[("student", "native")] * 3,
        ("student", "onnx"),
        ("student", "torch"),
        ("pwn-teacher", "torch"),
    ]
    assert all(row["samples_per_second"] > 0 for row in rows)
    assert rows[-1]["x_real_time"] == pytest.approx(rows[-1]["samples_per_second"] / 8000, rel=0.01, abs=1e-3)
    monkeypatch.undo()
    refused("bench", "--preset", "pwn-studnet", named=("unknown preset", "pwn-student, pwn-teacher"))
