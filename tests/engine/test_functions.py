"""The engine's own exponential, logarithm, normal quantile and gelu against those of numpy and Python."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

Array = Any
COLUMNS = ("exponential", "single", "logarithm", "quantile", "gelu")


@pytest.fixture(scope="module")
def compute(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``functions.cpp``, compiled: numbers to a column each, by name."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source, program = repository / "seqgen/engine", tmp_path_factory.mktemp("functions") / "functions"
    files = [str(repository / "tests/engine/functions.cpp"), str(source / "kernels/functions.cpp")]
    command = [compiler, "-std=c++17", "-O2", "-ffp-contract=off", f"-I{source}", *files, "-o", str(program)]
    subprocess.run(command, check=True, timeout=120)

    def run(x: Array) -> dict[str, Array]:
        text = "\n".join(float(value).hex() for value in x)
        done = subprocess.run([program], input=text, capture_output=True, text=True, check=True, timeout=60)
        rows = [[float.fromhex(word) for word in line.split()] for line in done.stdout.splitlines()]
        return dict(zip(COLUMNS, np.array(rows).T, strict=True))

    return run


def test_exponential_and_logarithm(compute: Any) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-700, 700, 5000), rng.normal(0, 1, 5000), [0.0, 1e-300, -1e-9, 700, -700]])
    got = compute(x)["exponential"]
    assert np.abs(got / np.exp(x) - 1).max() < 1e-15
    x = np.concatenate([np.exp(rng.uniform(-700, 700, 5000)), 1 + rng.normal(0, 0.1, 5000), [1.0, 2.0**-25, 0.5]])
    got, exact = compute(x)["logarithm"], np.log(x)
    assert np.abs(got - exact).max() <= 1e-15 * np.abs(exact).max()
    assert (np.abs(got - exact) <= 1e-14 * np.abs(exact)).all()


def test_single_precision_is_rounded_to_the_nearest(compute: Any) -> None:
    x = np.random.default_rng(1).uniform(-87, 87, 5000).astype(np.float32)
    assert np.array_equal(compute(x)["single"], np.exp(x.astype(np.float64)).astype(np.float32))


def test_normal_quantile(compute: Any) -> None:
    u = np.concatenate([np.arange(1, 2000) / 2000, 2.0 ** -np.arange(1, 26), 1 - 2.0 ** -np.arange(2, 26)])
    got, exact = compute(u)["quantile"], np.array([NormalDist().inv_cdf(p) for p in u])
    assert np.abs(got - exact).max() <= 1e-14 * np.abs(exact).max()


def test_what_lies_outside_is_held(compute: Any) -> None:
    got = compute(np.array([np.nan, np.inf, -np.inf, 1e9, -1e9]))
    low, high = np.exp(-700), np.exp(700)
    assert np.allclose(got["exponential"], [low, high, low, high, low], rtol=1e-15)
    low, high = np.exp([-87.0, 87.0]).astype(np.float32)
    assert np.array_equal(got["single"], [low, high, low, high, low])
    edge = NormalDist().inv_cdf(2.0**-25)
    assert np.allclose(got["quantile"], [edge, -edge, edge, -edge, edge], rtol=1e-14)


def test_gelu(compute: Any) -> None:
    """The formula's own bound is 1.5e-7 of the error function, of which gelu has half times x."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 2, 5000), [0.0, -0.0, 1e-30, 40, -40, 1e30, -1e30]])
    exact = np.array([0.5 * value * math.erfc(-value / math.sqrt(2)) for value in x])
    assert (np.abs(compute(x)["gelu"] - exact) <= 0.76e-7 * np.abs(x)).all()
