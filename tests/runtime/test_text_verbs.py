"""Language models through the command line: exported, proved, described, sampled by every runtime, taken apart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from seqgen.bundle import Bundle
from seqgen.runtime import open_symbols, runnable
from seqgen.text.prepare import Preparation, prepare
from tests.unit.cli_workspace import done, refused

CONFIG = """\
name: spelt
task: {{name: text, data: {data}, segment: 16}}
networks:
  generator: {{name: autoregressive, body: {{name: recurrent, vocab_size: {size}, outputs: {size}, hidden: 24}}}}
train: {{steps: 40, batch_size: 4, learning_rate: 1e-2, validate_every: 40, checkpoint_every: 40}}
licence: CC0
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs")
    (folder / "text.txt").write_text("abracadabra, simsalabim! åh\n" * 30, encoding="utf-8")
    prepare(folder / "text.txt", folder / "data", Preparation("characters", valid_share=0.1, test_share=0.2))
    size = json.loads((folder / "data" / "tokenizer.json").read_text())
    (folder / "run.yaml").write_text(CONFIG.format(data=folder / "data", size=len(size["characters"]) + 1))
    done("train", folder / "run.yaml", "--out", folder / "exp")
    return folder / "exp"


@pytest.fixture(scope="module")
def model(experiment: Path) -> Path:
    out = experiment.parent / "lm"
    assert "reproduces the golden vectors" in done("export", experiment, "--out", out, "--note", "by=tests").out
    return out


def test_a_bundle_is_proved_and_described(model: Path) -> None:
    told = json.loads(done("check", model, "--json").out)
    assert told["ok"]
    assert [row["runtime"].split()[0] for row in told["runtimes"]] == runnable(Bundle.open(model))
    about = json.loads(done("info", model, "--json").out)
    assert (about["bundle"], about["kind"], about["licence"]) == ("spelt", "language-model", "CC0")
    assert about["provenance"]["by"] == "tests"
    assert about["symbols"] == Bundle.open(model).manifest.spec.vocab_size


def test_every_runtime_goes_on_as_the_experiment_does(experiment: Path, model: Path) -> None:
    options = ("--prompt", "abrå", "--length", "50", "--seed", "3")
    expected = done("sample", experiment, *options).out
    assert len(expected.strip()) > 40
    for name in runnable(Bundle.open(model)):
        assert done("sample", model, *options, "--runtime", name).out == expected
    assert done("sample", experiment, *options, "--runtime", "onnx").out == expected
    assert done("sample", model, *options[:-1], "4").out != expected


def test_a_runtime_that_there_is_not_is_refused(model: Path) -> None:
    assert "unknown symbol runtime 'abacus'" in refused("sample", model, "--runtime", "abacus")


@pytest.mark.parametrize("seed", ["3", "4"])
def test_the_program_without_seqgen_goes_on_alike(model: Path, repository: Path, seed: str) -> None:
    words = [sys.executable, "-I", repository / "examples" / "onnx_complete.py", model, "abrå", "50", seed]
    made = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60, encoding="utf-8").stdout
    assert made == done("sample", model, "--prompt", "abrå", "--length", "50", "--seed", seed, "--runtime", "onnx").out


def test_the_program_without_seqgen_refuses_voices(tiny_bundle: Path, repository: Path) -> None:
    words = [sys.executable, "-I", repository / "examples" / "onnx_complete.py", tiny_bundle, "a"]
    made = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (made.returncode, made.stderr) == (1, f"{tiny_bundle}: a vocoder, no language model\n")


@pytest.mark.parametrize("int8", [False, True])
def test_a_graph_alone_draws_the_same(model: Path, tmp_path: Path, int8: bool) -> None:
    """One file without seqgen; in 8 bits what it draws is another stream of nearly the same distribution."""
    done("onnx", model, "--out", tmp_path / "lm.onnx", *(["--int8"] if int8 else []))
    graph = onnx.load(str(tmp_path / "lm.onnx"))
    said = {one.key: one.value for one in graph.metadata_props}
    opened = Bundle.open(model)
    assert said["seqgen.kind"] == "language-model"
    assert said["seqgen.digest"] == opened.manifest.digest
    runtime = open_symbols(opened, "onnx")
    assert said["seqgen.tokenizer"] == runtime.tokenizer.signature
    state = runtime.init(1)
    u = np.full((1, 30), 0.4, np.float32)
    given = {f"state.{leaf.name}": value for leaf, value in zip(opened.manifest.state, state, strict=True)}
    given |= {"uniforms": u, "temperature": np.array(1, np.float32)}
    symbols, *_ = onnxruntime.InferenceSession(str(tmp_path / "lm.onnx")).run(None, given)
    expected, _ = runtime.sample(u, state)
    assert symbols.shape == expected.shape
    if not int8:
        assert np.array_equal(symbols, expected)
