"""The recipes of discrete flows in their tiny forms: every stage works, and directions are those of the full ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from egs.synthetic.discrete_flow.optimum import of_seed, optima
from seqgen.tasks.processes.finite_targets import Dirichlet, Gaussians, Potts, entropy
from tests.recipes.conftest import Run, Tiny


def evaluated(out: Path) -> dict[str, dict[str, Any]]:
    found = {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in out.glob("**/eval.json")}
    return {folder.relative_to(out).as_posix(): one for folder, one in found.items()}


def test_a_flow_lies_between_the_factorised_and_what_enumeration_finds(run: Run, tmp_path: Path) -> None:
    conf, out = "egs/synthetic/discrete_flow/conf/tiny-1.yaml", tmp_path / "exp"
    few = {"SEEDS": "0", "STARTS": "0", "TARGETS": ""}
    table = run("synthetic/discrete_flow", "--conf", conf, "--out", out, **few).stdout
    found = evaluated(out)
    assert set(found) == {f"full_rank/{layers}/0/0" for layers in (1, 2)}
    one, two = of_seed(0)
    for name, each in found.items():
        assert each["exact_mass"] == pytest.approx(1, abs=1e-6)
        assert each["entropy"] < (one if name.startswith("full_rank/1") else two) - 1e-6
        assert (one if name.startswith("full_rank/1") else two) < each["exact_nll"] + 1e-6
    assert min(each["exact_nll"] for each in found.values()) < found["full_rank/1/0/0"]["factorised_optimum"]
    assert "| 1 | 1 | 1 | 2.773 |" in table


@pytest.mark.timeout(600)
def test_characters_go_through_flows(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    """On one of the two texts; the recipe of the other is the same but for its names and sizes."""
    few = {"BESIDE": "bipartite", "FACTORISED_STEPS": "40"}
    table = tiny("enwiki/discrete_flow", tmp_path, "--corpus", shared_data / "text", **few)
    found = evaluated(tmp_path)
    assert set(found) == {"factorised", "autoregressive-flow", "bipartite"}
    for each in found.values():
        assert 3 < each["bits_per_character"] < 6.5
    assert table.count("samples/s") == 2


def test_the_optimum_is_that_of_every_table() -> None:
    """Means over twelve targets lie as they must, and a table that undoes a shift finds independence."""
    shifted = np.zeros((5, 5))
    for first, second in np.ndindex(5, 5):
        shifted[first, (second + 2 * first) % 5] = (first + 1) * (second + 1) / 225
    one, two = optima(shifted)
    independent = entropy(np.arange(1, 6) / 15)
    assert one == pytest.approx(2 * independent) == pytest.approx(two)
    found = np.array([of_seed(seed) for seed in range(3)])
    targets = [Dirichlet(Dirichlet.Config(seed=seed)) for seed in range(3)]
    assert (found[:, 1] <= found[:, 0]).all()
    assert (found[:, 1] > [target.entropy for target in targets]).all()
    assert (found[:, 0] < [target.factorised for target in targets]).all()


def test_targets_have_the_known_entropies() -> None:
    """The Gaussians' lies at the best figure that is reported for them, 6.32 nats."""
    assert Gaussians(Gaussians.Config()).entropy == pytest.approx(6.32, abs=5e-3)
    assert Potts(Potts.Config(coupling=0.0)).entropy == pytest.approx(9 * np.log(3))
    pair = Potts(Potts.Config(states=2, side=2, coupling=0.7))
    # The transfer matrix of a ring of four: Z = λ₁⁴ + λ₂⁴ with λ = e^J ± 1.
    assert pair.log_z == pytest.approx(np.log((np.exp(0.7) + 1) ** 4 + (np.exp(0.7) - 1) ** 4))
