"""The whole command line on a corpus of twelve tones: prepare, train, eval, export, check, sample, info, bench."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch._dynamo.exc import TorchDynamoException

from seqgen import config, registry
from seqgen.audio import io
from seqgen.cli import random_voices
from seqgen.data.directory import DataDir
from seqgen.nets import training_library
from seqgen.presets import Preset
from seqgen.spec import Facts, FeatureSpec
from seqgen.tasks.run import RunConfig
from seqgen.train import checkpoint
from tests.unit.cli_workspace import CONFIG, done, refused, seqgen

BODY = "networks.generator.body"
COMMANDS = [
    (), ("data",), ("data", "prepare"), ("data", "check"), ("data", "stats"), ("train",), ("eval",), ("sample",),
    ("export",), ("check",), ("bench",), ("info",),
]  # fmt: skip


@pytest.fixture(scope="module")
def work(cli_work: Path) -> Path:
    return cli_work


def weights(experiment: Path, step: int) -> dict[str, np.ndarray]:
    return load_file(experiment / "checkpoints" / f"step-{step:06d}" / "model.safetensors")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_teaches_by_example(words: tuple[str, ...]) -> None:
    result = seqgen(*words, "--help")
    assert result.status == 0
    assert result.err == ""
    examples = [line for line in result.out.splitlines() if line.startswith(f"  {' '.join(('seqgen', *words))} ")]
    assert examples


@pytest.mark.parametrize("words", [(), ("trian",), ("train",), ("data",), ("sample",), ("bench", "--streams", "x")])
def test_a_wrong_call_is_a_usage_error(words: tuple[str, ...]) -> None:
    result = seqgen(*words)
    assert result.status == 2
    assert "usage: seqgen" in result.err
    assert "error: " in result.err.splitlines()[-1]


def test_train_leaves_an_experiment(work: Path) -> None:
    names = {path.name for path in (work / "exp").iterdir()}
    assert {"config.yaml", "facts.yaml", "checkpoints", "metrics.jsonl", "tensorboard"} <= names
    facts = config.load(work / "exp/facts.yaml", Facts)
    assert (facts.speakers, facts.vocab_size, facts.symbols_per_sample) == (("anna", "ben"), 256, 2)
    assert facts.features == FeatureSpec(sample_rate=8000, n_fft=256, window=160, hop=80, n_mels=16)
    rows = [json.loads(line) for line in (work / "exp/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2, 3]
    assert [row["step"] for row in rows if row["split"] == "valid"] == [2, 3]
    assert all(10 < row["bits_per_sample"] < 20 for row in rows)


def test_eval(work: Path) -> None:
    result = done("eval", work / "exp", "--utterances", 2, "--json", "--audio", work / "heard")
    found = json.loads(result.out)
    assert found["utterances"] == 2
    assert 10 < found["bits_per_sample"] < 20
    assert found["griffin_lim"]["mcd"]["mean"] > 0 < found["world"]["mcd"]["mean"]
    assert json.loads((work / "exp/eval.json").read_text())["bits_per_sample"] == found["bits_per_sample"]
    files = sorted(path.name for path in (work / "heard").iterdir())
    assert len(files) == 8
    lengths = {io.info(work / "heard" / name).samples for name in files[:4]}
    assert len(lengths) == 1
    assert result.json() == found  # strict JSON, NaN excluded: programs read it


def test_judges_need_what_they_read(work: Path, tmp_path: Path) -> None:
    """Transcripts for a recogniser, samples for any; a task that makes no sound has none to judge."""
    shutil.copytree(work / "data/test", tmp_path / "untold")
    (tmp_path / "untold/text").unlink(missing_ok=True)
    words = ("eval", work / "voice", "--data", tmp_path / "untold", "--judges", "wer")
    refused(*words, named=("has no transcripts for 'wer'", "add its file 'text'"), quiet=False)


def test_eval_of_one_utterance_is_strict_json(work: Path) -> None:
    """One utterance has no interval, and a tone may have no voiced frames: neither may print as NaN."""
    assert done("eval", work / "exp", "--utterances", 1, "--json").json()["utterances"] == 1


def test_a_bundle_is_scored_by_its_runtime(work: Path) -> None:
    """Its likelihood comes from the engine's own logits: in float32 that of the experiment, rounded if it rounds."""
    trained = done("eval", work / "exp", "--likelihood-only", "--json").json()
    bundled = done("eval", work / "voice", "--data", work / "data/test", "--likelihood-only", "--json").json()
    assert "through native" in bundled["checkpoint"]
    assert trained["scores"] == bundled["scores"] == {}
    ours, theirs = (found["examples"]["bits_per_sample"] for found in (trained, bundled))
    assert ours.keys() == theirs.keys()
    for key, (bits, samples) in ours.items():
        assert theirs[key] == [pytest.approx(bits, rel=2e-7), samples]
    other = ("--runtime", "onnx", "--utterances", 1, "--likelihood-only", "--json")
    assert "through onnx" in done("eval", work / "voice", "--data", work / "data/test", *other).json()["checkpoint"]
    done("export", work / "exp", "--out", work / "rounded", "--quantise", "int8")
    rounded = done("eval", work / "rounded", "--data", work / "data/test", "--likelihood-only", "--json").json()
    assert 1e-6 < abs(rounded["bits_per_sample"] - bundled["bits_per_sample"]) < 0.5


def test_check(work: Path) -> None:
    found = done("check", work / "voice", "--json").json()
    assert found["ok"] is True
    assert [row["runtime"].split()[0] for row in found["runtimes"]] == ["native", "onnx", "torch"]
    assert all(row["chunked"] and row["params_error"] < 1e-4 for row in found["runtimes"])


def test_samples_depend_on_the_seed_alone(work: Path) -> None:
    def sample(name: str, voice: str, *words: object) -> bytes:
        done("sample", work / voice, work / "in/anna/u0.wav", "-o", work / name, "--speaker", "anna", *words)
        return (work / name).read_bytes()

    first = sample("a.wav", "voice")
    header = io.info(work / "a.wav")
    assert (header.samples, header.sample_rate) == (2400, 8000)
    assert sample("b.wav", "voice", "--seed", 0) == first
    assert sample("c.wav", "exp") == first
    assert sample("d.wav", "voice", "--seed", 1) != first
    assert sample("e.wav", "voice", "--speaker", "ben") != first
    assert len(sample("f.wav", "voice", "--runtime", "torch", "--temperature", 0)) == len(first)
    done("sample", work / "voice", work / "in/anna/u0.wav", "-o", work / "g.flac", "--speaker", "anna")
    assert sample("h.wav", "exp", "--runtime", "torch") == sample("i.wav", "voice", "--runtime", "torch")
    assert np.array_equal(io.read(work / "g.flac")[0], io.read(work / "a.wav")[0])


def test_info(work: Path) -> None:
    run = done("info", work / "run.yaml", "--json").json()
    experiment = done("info", work / "exp", "--json").json()
    assert run["digest"] == experiment["digest"]
    assert experiment["checkpoints"][-1] == 3
    assert experiment["last metrics"]["step"] == 3
    assert run["task"]["name"] == "vocoder"
    assert run["networks"]["generator"]["body"] == {"name": "wavernn", "hidden": 16}
    assert run["objective"] == {"name": "likelihood"}
    assert experiment["speakers"] == ["anna", "ben"]
    assert experiment["examples"] == len(DataDir.load(work / "data/train"))
    bundle = done("info", work / "voice", "--json").json()
    assert bundle["speakers"] == ["anna", "ben"]
    assert (bundle["provenance"]["who"], bundle["provenance"]["why"]) == ("me", "a test")
    assert bundle["provenance"]["config_digest"] == run["digest"]
    here = done("info", "--json").json()
    for kind, table in (("task", registry.TASKS), ("model", registry.MODELS), ("optimiser", registry.OPTIMISERS)):
        assert here[kind] == list(table)
    assert {"wavernn", "wavenet", "wavenet-context"} <= set(here["model"])
    for path in ("run.yaml", "exp", "voice"):
        assert "tiny" in done("info", work / path).out


@pytest.mark.parametrize(
    ("preset", "form"),
    [
        ("wavernn-64-sparse50-int8", "int8"),
        ("wavernn-32-dense-f32", "float32"),
        ("wavernn-32-subscale4-int8", "int8"),
        ("wavenet-3x16-bf16", "bf16"),
        ("wavenet-3x16-mol-int8", "int8"),
    ],
)
def test_bench_of_the_engine_alone(preset: str, form: str) -> None:
    found = done("bench", "--preset", preset, "--json", "--seconds", 0.05, "--streams", 3).json()
    assert (found["preset"], found["runtime"], found["format"], found["streams"]) == (preset, "native", form, 3)
    assert found["samples_per_second"] > 0
    assert {"isa", "x_real_time", "step_us_p50", "step_us_p99", "resident_mb", "threads"} <= set(found)
    assert ("l2_bound_share" in found) == preset.startswith("wavernn")


def smaller(preset: Preset) -> RunConfig:
    """The run of a preset with few units, and lanes that start soon after each other."""
    settings = preset.settings
    generator = settings["networks"]["generator"]
    generator["body"]["hidden"] = 16
    if "lanes" in generator:
        generator["horizon"] = 8
    return config.from_plain(settings, RunConfig, source="test")


def test_bench_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_voices, "run_of", smaller)
    found = done("bench", "--preset", "wavernn-256", "--train", "--json", "--seconds", 0.01).json()
    assert (found["preset"], found["batch"], found["precision"]) == ("wavernn-256", "32 x 960", "32-true")
    assert found["samples_per_second"] > 0
    assert found["outside_recurrence"] < 1
    said = done("bench", "--preset", "wavernn-256", "--train", "--compare", "--seconds", 0.01).out
    heads, *rows = said.splitlines()
    assert heads.split()[-3:] == ["GFLOP/s", "of", "peak"]
    assert [row.split()[1] for row in rows] == (["engine"] if training_library.available() else []) + ["torch"]


def test_bench_of_the_training_of_a_wavenet_and_of_bytes() -> None:
    """What has no recurrence of its own says nothing of one; batches are the preset's, or those given."""
    given = ("bench", "--train", "--json", "--seconds", 0.01)
    found = done(*given, "--preset", "wavenet-1x16-mol", "--batch", "2x64").json()
    assert (found["batch"], "outside_recurrence" in found) == ("2 x 64", False)
    found = done(*given, "--preset", "recurrent-1x16-f32").json()
    assert (found["batch"], found["samples_per_second"] > 0) == ("64 x 256", True)
    rows = done(*given, "--preset", "bytenet-1x16-int8", "--batch", "2x16", "--compare").json()
    assert [row["preset"] for row in rows] == ["bytenet-1x16-int8"] * len(rows)
    refused(*given, "--preset", "spelling-96-int8", named=("--train is not measured of --preset spelling-96-int8",))


def test_bench_of_training_beside_a_compiled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def compiled(step: Any, **_: Any) -> Any:
        return lambda *given: (ran.append(training_library.available()), step(*given))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    given = ("bench", "--train", "--compare", "--compiled", "--seconds", 0.01)
    rows = done(*given, "--json", "--preset", "wavenet-1x16-mol", "--batch", "2x64").json()
    assert [row["runtime"] for row in rows][-2:] == ["torch", "compiled"]
    assert ran
    assert not any(ran)
    refused(*given, "--preset", "wavernn-256", named=("--compiled of a recurrence",))
    refused("bench", "--preset", "wavernn-256", "--train", "--compiled", named=("give --train --compare",))

    def no_compiler(*_: Any, **__: Any) -> Any:
        raise TorchDynamoException("no compiler\nand much more")

    monkeypatch.setattr(torch, "compile", lambda step, **_: no_compiler)
    refused(
        *given, "--preset", "wavenet-1x16-mol", "--batch", "2x64", named=("torch.compile: no compiler;", "--compiled")
    )


def test_bench_of_whole_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_voices, "run_of", smaller)
    found = done("bench", "--preset", "wavernn-256-subscale16", "--json", "--seconds", 0.01).json()
    assert (found["runtime"], found["format"]) == ("torch", "float32")
    assert found["steps_per_second_of_audio"] == 24000 // 16 + 15 * (8 + 1)


def test_bench_of_a_wavenet_through_every_runtime() -> None:
    rows = done("bench", "--preset", "wavenet-1x16", "--compare", "--json", "--seconds", 0.01).json()
    kinds = [(row["runtime"], row["format"]) for row in rows]
    assert kinds == [*(("native", form) for form in ("int8", "bf16", "float32")), ("onnx", "float32"),
                     ("torch", "float32")]  # fmt: skip
    assert {row["preset"] for row in rows} == {"wavenet-1x16"}


def test_bench_side_by_side(work: Path) -> None:
    rows = done("bench", work / "voice", "--compare", "--json", "--seconds", 0.05).json()
    kinds = [(row["runtime"], row["format"]) for row in rows]
    native = [("native", form) for form in ("int8", "bf16", "float32")]
    assert kinds == [*native, ("onnx", "float32"), ("torch", "float32")]
    table = done("bench", work / "voice", "--compare", "--seconds", 0.05).out.splitlines()
    assert len(table) == 6
    assert table[-1].split()[1] == "torch"


def test_bench(work: Path) -> None:
    found = done("bench", work / "voice", "--json", "--seconds", 0.1, "--streams", 2, "--format", "int8").json()
    assert (found["preset"], found["streams"], found["runtime"], found["format"]) == ("tiny", 2, "native", "int8")
    assert found["isa"]
    found = done("bench", work / "voice", "--json", "--seconds", 0.1, "--runtime", "onnx").json()
    assert (found["runtime"], found["isa"], found["format"]) == ("onnx", "", "float32")
    assert found["samples_per_second"] > 0
    assert found["step_us_p99"] >= found["step_us_p50"] > 0


def test_overrides_are_recorded(work: Path) -> None:
    out = work / "wider"
    done("train", work / "run.yaml", "--out", out, "--set", "train.steps=1", f"{BODY}.hidden=24", "--set", "name=w")
    assert "hidden: 24" in (out / "config.yaml").read_text()
    found = done("info", out, "--json").json()
    assert (found["run"], found["steps"], found["networks"]["generator"]["body"]["hidden"]) == ("w", 1, 24)
    assert found["digest"] != done("info", work / "exp", "--json").json()["digest"]
    # The recorded file is the whole run: no override is needed again.
    assert "finished at step 1" in done("train", out / "config.yaml", "--out", out, "--resume").err


def test_init_from_takes_weights_only(work: Path) -> None:
    out = work / "tuned"
    still = ("--set", "train.steps=1", "train.learning_rate=1e-30", "train.seed=9", "train.weight_decay=0")
    done("train", work / "run.yaml", "--out", out, "--init-from", work / "exp", *still)
    found, steps = weights(out, 1), checkpoint.Checkpoints(work / "exp").steps()
    assert any(  # the best of them; a zero may have become 1e-30
        all(np.allclose(found[name], value, rtol=0, atol=1e-12) for name, value in weights(work / "exp", step).items())
        for step in steps
    )
    assert checkpoint.read(out / "checkpoints/step-000001").progress.step == 1


def test_the_seed_decides_the_whole_run(work: Path) -> None:
    """Initial weights included: the same configuration twice gives the same network, another seed another one."""
    made = {}
    for name, seed in (("first", 4), ("second", 4), ("third", 5)):
        done("train", work / "run.yaml", "--out", work / name, "--set", "train.steps=1", f"train.seed={seed}")
        made[name] = weights(work / name, 1)
    recurrent = "generator.body.recurrent"
    assert all(np.array_equal(value, made["second"][name]) for name, value in made["first"].items())
    assert not np.array_equal(made["first"][recurrent], made["third"][recurrent])


def test_resume_of_a_finished_run_does_nothing(work: Path) -> None:
    before = weights(work / "exp", 3)
    assert "at step 3" in done("train", work / "run.yaml", "--out", work / "exp", "--resume").err
    after = weights(work / "exp", 3)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_run_goes_on_with_as_many_threads(work: Path) -> None:
    before, out = torch.get_num_threads(), work / "threads"
    try:
        said = done("train", work / "run.yaml", "--out", out, "--threads", 3, "--set", "train.steps=1").err
        assert "\n3 threads\n" in said
        torch.set_num_threads(1)
        again = ("train", work / "run.yaml", "--out", out, "--resume", "--set", "train.steps=2")
        assert "\n3 threads\n" in done(*again).err
        assert "\n2 threads\n" in done(*again, "--threads", 2).err
        assert checkpoint.Checkpoints(out).threads() == 3  # nothing was trained with two
    finally:
        torch.set_num_threads(before)
    refused("train", work / "run.yaml", "--out", work / "no", "--threads", 0, named=("0 threads", "1 or more"))


def _started(command: list[str], out: Path, log: Path, repository: Path) -> subprocess.Popen[bytes]:
    """A training process that has made its first step."""
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stderr=sink, stdout=sink, env=environment)
    deadline = time.monotonic() + 200
    while not ((out / "metrics.jsonl").is_file() and (out / "metrics.jsonl").stat().st_size):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
    return process


def test_ctrl_c_writes_a_checkpoint_and_resume_finishes(work: Path, repository: Path) -> None:
    out, log = work / "stopped", work / "stopped.log"
    (work / "long.yaml").write_text(
        CONFIG.format(root=work).replace("steps: 3", "steps: 60").replace("every: 1\n", "every: 1000\n", 1)
        .replace("validate_every: 2", "validate_every: 0")
    )  # fmt: skip
    words = ["train", str(work / "long.yaml"), "--out", str(out)]
    process = _started([sys.executable, "-m", "seqgen.cli.main", *words], out, log, repository)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=200) == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    (step,) = checkpoint.Checkpoints(out).steps()
    assert 1 <= step < 60
    assert f"interrupted at step {step}" in log.read_text()
    assert checkpoint.read(out / f"checkpoints/step-{step:06d}").progress.step == step
    assert not list(out.rglob(".making-*"))
    result = done(*words, "--resume")
    assert "finished at step 60" in result.err
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 61))
