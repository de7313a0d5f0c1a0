"""Small voices come out as they always did: tools/gate.py at its tiny size, and whether it would notice a change."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from seqgen.train.processes import bfloat16_products

REFERENCE = Path(__file__).with_name("gate.json")
# Relative, of a loss or likelihood from one machine to another. Kernels for AVX2 instead of AVX-512 move losses by up
# to 2.5e-5 and norms of gradients by 1.7e-4; a learning rate that is 1 % off moves losses of every run by 5.7e-4.
TOLERANCE = 4e-4
# The same of norms of gradients in float32 instead of bfloat16, which they move by 1.3e-3.
TOLERANCE_OF_ROUNDED = 4e-3
ROUNDED = "pruned/losses/train/gradient_norm"  # of the run with products of bfloat16, where there are such


@pytest.fixture(scope="module")
def gate(repository: Path) -> ModuleType:
    """tools/gate.py as a module; tools is no package."""
    spec = importlib.util.spec_from_file_location("gate_tool", repository / "tools" / "gate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate_tool"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def measured(repository: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the gate finds here and now, in a process of its own."""
    recordings = shared_data / "fsdd" / "recordings"
    if not recordings.is_dir():
        pytest.skip(f"no recordings of the Free Spoken Digit Dataset at {recordings}")
    target = tmp_path_factory.mktemp("gate") / "figures.json"
    command = [sys.executable, str(repository / "tools" / "gate.py"), "--size", "tiny", "--json", str(target)]
    command += ["--recordings", str(recordings)]
    made = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    found: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return found


def test_figures_are_those_of_the_reference(
    gate: ModuleType, measured: dict[str, Any], reference: dict[str, Any]
) -> None:
    """To the bit on a machine like the reference's; elsewhere losses and likelihoods within ``TOLERANCE``."""
    differences, renamed = gate.compare(measured["figures"], reference["figures"])
    if measured["machine"] != reference["machine"]:
        apart = {ROUNDED: TOLERANCE if bfloat16_products() else TOLERANCE_OF_ROUNDED}
        differences = [
            one for one in differences if gate.likely(one.name) and one.relative > apart.get(one.name, TOLERANCE)
        ]
    assert not differences, "\n".join(map(str, differences))
    assert not renamed, f"write {REFERENCE.name} anew: {renamed}"


def test_resumed_runs_end_as_if_never_stopped(measured: dict[str, Any]) -> None:
    found = {name: value for name, value in measured["figures"].items() if name.endswith("resumed as if never stopped")}
    assert len(found) == 6
    assert all(found.values()), found


def test_every_kind_of_run_is_there(measured: dict[str, Any]) -> None:
    """Each voice has losses, weights and their averages, likelihoods or divergences, and audio of three runtimes."""
    names = list(measured["figures"])
    for run in ("wavernn", "pruned", "subscale", "wavenet", "student"):
        for wanted in (
            "losses/train/loss",
            "losses/valid/loss",
            "weights/model",
            "weights/ema",
            "bundle/tensors/golden",
        ):
            assert f"{run}/{wanted}" in names
        assert {f"{run}/bundle/{runtime}/audio" for runtime in ("native", "onnx", "torch")} <= set(names)
        likelihood = "kl" if run == "student" else "bits_per_sample"
        assert measured["figures"][f"{run}/evaluation/{likelihood}"] > 0
    assert {"shipped/native/audio", "shipped/onnx/evaluation/bits_per_sample"} <= set(names)


def test_tensors_are_told_apart_by_bytes_and_shape_not_by_name(gate: ModuleType, tmp_path: Path) -> None:
    def found(**tensors: np.ndarray[Any, Any]) -> list[str]:
        save_file(tensors, tmp_path / "one.safetensors")
        result: list[str] = gate.tensors(tmp_path / "one.safetensors")
        return result

    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float32)
    moved = a.copy()
    moved[1, 1] = np.nextafter(moved[1, 1], np.float32(9))
    assert found(a=a, b=b) == found(z=a, other=b) == found(a=b, b=a)
    assert found(a=a, b=b) != found(a=moved, b=b)
    assert found(a=a, b=b) != found(a=a.reshape(3, 2), b=b)
    assert found(a=a, b=b) != found(a=a, b=b, c=b)


BEFORE = {
    "a/losses/train/loss": [2.0, 1.0],
    "a/weights/model": ["F32[2] 00", "F32[3] 11"],
    "a/audio": "22",
    "a/kl": 0.5,
}


@pytest.mark.parametrize(
    ("change", "said", "relative"),
    [
        ({"a/losses/train/loss": [2.0, math.nextafter(1.0, 2)]}, "1 of 2 values differ", 2.0**-52),
        ({"a/losses/train/loss": [2.0]}, "1 values instead of 2", math.inf),
        ({"a/losses/train/loss": [2.0, math.nan]}, "1 of 2 values differ", math.inf),
        ({"a/weights/model": ["F32[2] 00", "F32[3] 12"]}, "1 of 2 gone, 1 new", math.inf),
        ({"a/audio": "23"}, "1 of 1 gone", math.inf),
        ({"a/kl": 1.0}, "0.5 became 1.0", 0.5),
        ({"a/more": 1.0}, "was not there before", math.inf),
    ],
)
def test_whatever_changes_is_named(gate: ModuleType, change: dict[str, Any], said: str, relative: float) -> None:
    ((name, problem, apart), *others), renamed = gate.compare(BEFORE | change, BEFORE)
    assert (name, others, renamed) == (*change, [], [])
    assert said in problem
    assert apart == pytest.approx(relative, rel=1e-9)


def test_same_figures_and_other_names_are_no_difference(gate: ModuleType) -> None:
    assert gate.compare(dict(BEFORE), BEFORE) == ([], [])
    named = {"a/divergence" if name == "a/kl" else name: value for name, value in BEFORE.items()}
    assert gate.compare(named, BEFORE) == ([], ["a/kl -> a/divergence"])
    differences, _ = gate.compare({name: BEFORE[name] for name in list(BEFORE)[:3]}, BEFORE)
    assert [str(one) for one in differences] == ["a/kl: is not there any more"]


def test_losses_and_likelihoods_are_known(gate: ModuleType, reference: dict[str, Any]) -> None:
    """What another machine is held to: losses, bits of every recording, divergences; no scores of sampled audio."""
    held = [name for name in reference["figures"] if gate.likely(name)]
    assert {"wavenet/losses/train/loss", "student/evaluation/kl", "shipped/native/evaluation/bits_per_sample"} < set(
        held
    )
    assert "wavernn/evaluation/examples/bits_per_sample/lucas-1-00/0" in held
    assert "student/evaluation/examples/style/lucas-1-00/0" not in held
    assert not any("scores" in name or name.endswith(("_95", "/audio")) for name in held)


def test_a_learning_rate_that_is_a_little_off_is_noticed(
    gate: ModuleType, repository: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate's smallest run with a learning rate of 1 + 1e-5 times its own, and twice with its own."""
    monkeypatch.chdir(tmp_path)
    gate.corpus(shared_data / "fsdd" / "recordings", "tiny")
    text = (repository / "tools/gate/tiny/digits.yaml").read_text(encoding="utf-8")
    assert "learning_rate: 2e-3" in text
    found = []
    for name, rate in (("one", "2e-3"), ("same", "2e-3"), ("other", "2.00002e-3")):
        (tmp_path / f"{name}.yaml").write_text(text.replace("learning_rate: 2e-3", f"learning_rate: {rate}"))
        gate.command("train", f"{name}.yaml", "--out", name)
        found.append(gate.history(Path(name)) | gate.trained(Path(name)))
    assert gate.compare(found[1], found[0]) == ([], [])
    differences, _ = gate.compare(found[2], found[0])
    assert {"losses/train/loss", "losses/train/learning_rate", "weights/model"} <= {one.name for one in differences}
