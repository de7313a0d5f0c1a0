"""The finite task: known distributions, exact figures of a density, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen import config, registry
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.likelihood import Likelihood
from seqgen.tasks.contract import Evaluation, Sampling, System
from seqgen.tasks.drawn import scored
from seqgen.tasks.processes.finite import Finite
from seqgen.tasks.processes.finite_targets import Addition, Gaussians, Potts
from seqgen.tasks.processes.hidden_markov import every_sequence
from seqgen.tasks.processes.sequences import DrawnSequences
from seqgen.tasks.run import RunConfig


def task(**options: Any) -> Finite:
    plain = {
        "name": "test",
        "task": {"name": "finite", "held_out": 2000, "samples": 500, **options},
        "networks": {},
        "train": {"steps": 1, "batch_size": 100},
    }
    run = config.from_plain(plain, RunConfig, source="test")
    return Finite(run, config.options(run.task, registry.TASKS, source="test"))


def factorised(size: int, length: int, **options: Any) -> Any:
    kind = registry.DENSITIES.load("factorised")
    return kind(kind.Config(vocab_size=size, length=length, **options)).double()


def test_figures_are_those_of_enumeration() -> None:
    """The best factorised density has the marginals, and its likelihood is the sum of their entropies."""
    one = task(target={"name": "dirichlet", "vocab_size": 3, "length": 3, "seed": 2})
    density = factorised(3, 3)
    density.logits.data = torch.from_numpy(np.log(one.target.marginals))
    system = System({"generator": density}, Likelihood(Likelihood.Config(), {"generator": density}, one.facts), "here")
    found = one.evaluate(system, Evaluation())
    figures = found.figures
    assert figures["exact_nll"].value == pytest.approx(one.target.factorised) == figures["factorised_optimum"].value
    assert figures["exact_mass"].value == pytest.approx(1)
    assert figures["possible_samples"].value == 1
    for name, exact in (("nll", one.target.factorised), ("divergence", one.target.factorised - one.target.entropy)):
        assert figures[name].value == pytest.approx(exact, abs=2 * figures[name].half_width)
    assert figures["bits_per_symbol"].value == pytest.approx(figures["nll"].value / 3 / np.log(2))
    assert found.record["parameters"] == 9


def test_sums_are_right_and_others_are_impossible() -> None:
    target = Addition(Addition.Config(digits=10))
    u = np.random.default_rng(0).random((50, target.num_uniforms))
    x = target.draw(u)
    first, second, total = (sum(int(d) * 10**i for i, d in enumerate(part)) for part in np.split(x[0], [10, 20]))
    assert first + second == total
    assert np.array_equal(target.log_prob(x), np.full(50, -20 * np.log(10)))
    x[:, 30] = 1 - x[:, 30]
    assert np.isneginf(target.log_prob(x)).all()
    one = task(target={"name": "addition", "digits": 2}, samples=300)
    density = factorised(10, 7)
    system = System({"generator": density}, Likelihood(Likelihood.Config(), {"generator": density}, one.facts), "here")
    figures = one.evaluate(system, Evaluation()).figures
    assert figures["possible_samples"].value < 0.05
    assert "exact_nll" not in figures  # 10^7 blocks are too many


def test_neighbours_of_a_lattice_like_each_other() -> None:
    target = Potts(Potts.Config(states=2, side=3, coupling=1.5))
    every = every_sequence(2, 9)
    same = [(np.diff(every.reshape(-1, 3, 3), axis=axis) == 0).sum(axis=(1, 2)) for axis in (1, 2)]
    weights = np.exp(1.5 * (same[0] + same[1]))
    np.testing.assert_allclose(np.exp(target.log_prob(every)), weights / weights.sum(), rtol=1e-12)


def test_gaussians_lie_on_their_circle() -> None:
    target = Gaussians(Gaussians.Config())
    x = (target.draw(np.random.default_rng(0).random((5000, 2))) - 45) * 0.05
    radius = np.hypot(*x.T)
    assert float(np.abs(radius - 2).max()) < 0.6
    assert float(radius.mean()) == pytest.approx(2, abs=0.02)


def test_a_gain_changes_the_rate_of_learning_only() -> None:
    """Gradients by what is learnt are the gain's multiples; a fresh density is the same."""
    x = torch.tensor([[0, 2], [1, 2]])
    plain, quick = factorised(3, 2, peak=1.5), factorised(3, 2, peak=1.5, gain=10.0)
    torch.testing.assert_close(quick.log_prob(x), plain.log_prob(x))
    u = torch.rand(50, 2, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(quick.sample(u), plain.sample(u))
    torch.testing.assert_close(quick.next(quick.init_state(2))[0], plain.next(plain.init_state(2))[0])
    for density in (plain, quick):
        density.log_prob(x).sum().backward()
    torch.testing.assert_close(quick.logits.grad, 10 * plain.logits.grad)
    with pytest.raises(SeqgenError, match="a positive gain"):
        factorised(3, 2, gain=0.0)


def test_blocks_are_functions_of_their_numbers() -> None:
    one = task()
    source = DrawnSequences(one.target.draw, one.target.num_uniforms, rows=8, key=Key(3, 1), count=20)
    first, second = list(source.batches(0, 2, 0, 1))
    assert torch.equal(next(source.batches(1, 2, 0, 1)).x, second.x)
    assert not torch.equal(first.x, second.x)
    assert [len(batch.x) for batch in source.whole()] == [8, 8, 4]


def test_blocks_are_written_one_a_line(tmp_path: Path) -> None:
    one = task(target={"name": "potts", "states": 3, "side": 2})
    out = tmp_path / "blocks.txt"
    said = one.sample(System({"generator": factorised(3, 4)}), Sampling(out=out, length=10))
    lines = [[int(word) for word in line.split()] for line in out.read_text().splitlines()]
    assert said.endswith("3 blocks")
    assert len(lines) == 3
    assert all(len(line) == 4 and set(line) <= {0, 1, 2} for line in lines)


def test_a_uniform_base_is_a_saddle_and_a_peaked_one_none() -> None:
    """A fresh factorised density has a peak for this reason."""
    net = {"name": "perceptron", "vocab_size": 5, "positions": 2}
    bijector = {"name": "bipartite", "vocab_size": 5, "length": 2, "layers": 1, "net": net}
    for peak, moves in ((0.0, False), (2.0, True)):
        base = {"name": "factorised", "vocab_size": 5, "length": 2, "peak": peak}
        kind = registry.DENSITIES.load("flow")
        options = config.from_plain({"base": base, "bijectors": [bijector]}, kind.Config, source="test")
        flow = kind.build(options, task().facts)
        x = torch.randint(5, (64, 2), generator=torch.Generator().manual_seed(0))
        flow.log_prob(x).sum().backward()
        largest = max(float(parameter.grad.abs().max()) for parameter in flow.bijectors.parameters())
        assert (largest > 1e-3) == moves
        assert scored(flow, x.numpy()).shape == (64,)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": {"name": "dirichlet", "vocab_size": 50, "length": 8}}, "at most 20,000,000 blocks"),
        ({"target": {"name": "potts", "states": 5, "side": 5}}, "at most 1000 different rows"),
        ({"target": {"name": "addition", "digits": 18}}, "give 1 to 17"),
        ({"target": {"name": "gaussians", "step": 0.0}}, "positive sizes"),
        ({"target": {"name": "gausians"}}, "did you mean 'gaussians'"),
        ({"held_out": 0}, "'held_out' is 0"),
    ],
)
def test_what_makes_no_task_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        task(**options)


def test_densities_of_other_blocks_are_refused() -> None:
    one = task()
    one.require_fit({"generator": factorised(5, 2)})
    for density in (factorised(5, 3), factorised(4, 2)):
        with pytest.raises(SeqgenError, match="set length to 2, vocab_size to 5"):
            one.require_fit({"generator": density})
    with pytest.raises(SeqgenError, match="this run trains no density"):
        one.sample(System({}), Sampling())
