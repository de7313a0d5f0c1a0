"""The grammar task: a known process, its exact probabilities, and what a generator is worth by it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from seqgen import noise
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation.factorised import Factorised
from seqgen.generation.tempered import tempered_log_prob
from seqgen.noise import Key
from seqgen.objectives.likelihood import Likelihood
from seqgen.spec import Facts
from seqgen.tasks import experiment
from seqgen.tasks.contract import Evaluation, Sampling, System
from seqgen.tasks.drawn import scored
from seqgen.tasks.processes.grammar import Grammar, GrammarConfig
from seqgen.tasks.processes.hidden_markov import HiddenMarkov, every_sequence
from seqgen.tasks.processes.sequences import DrawnSequences
from seqgen.tasks.run import RunConfig
from seqgen.tasks.table import Table
from seqgen.train.settings import TrainConfig

PROCESS = HiddenMarkov.of_seed(3, 2, sharpness=2.0, seed=7)


def run(**task: Any) -> RunConfig:
    options = {"symbols": 3, "length": 4, "states": 3, "sharpness": 1.5, "held_out": 100, "samples": 5000, **task}
    symbols = options["symbols"]
    body = {"name": "recurrent", "vocab_size": symbols, "outputs": symbols, "hidden": 4, "embedding": 2}
    return RunConfig(
        name="test",
        task=Component("grammar", options),
        networks={"generator": Component("autoregressive", {"body": body})},
        train=TrainConfig(steps=1, batch_size=32),
    )


def system(**task: Any) -> tuple[Grammar, System]:
    made = experiment.task_of(run(**task), source="test")
    assert isinstance(made, Grammar)
    return made, experiment.build(made, source="test")


def by_paths(process: HiddenMarkov, x: list[int]) -> float:
    """The probability of a sequence, summed over all paths of states."""
    total = 0.0
    for path in itertools.product(range(len(process.initial)), repeat=len(x)):
        p = process.initial[path[0]] * process.emission[path[0], x[0]]
        for t in range(1, len(x)):
            p *= process.transition[path[t - 1], path[t]] * process.emission[path[t], x[t]]
        total += p
    return float(total)


def test_probabilities_are_sums_over_paths() -> None:
    every = every_sequence(2, 4)
    found = np.exp(PROCESS.log_prob(every))
    assert found == pytest.approx([by_paths(PROCESS, x) for x in every.tolist()], rel=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_drawn_as_often_as_likely() -> None:
    count, every = 50_000, every_sequence(2, 4)
    u = noise.uniforms(1, 2, np.arange(count * 8)).reshape(count, 4, 2)
    drawn = PROCESS.draw(u)
    assert np.array_equal(PROCESS.draw(u[:10]), drawn[:10])
    shares = np.bincount(drawn @ np.array([8, 4, 2, 1]), minlength=16) / count
    p = np.exp(PROCESS.log_prob(every))
    assert np.abs((shares - p) / np.sqrt(p * (1 - p) / count)).max() < 4.5


def test_a_seed_is_a_process() -> None:
    again, other = (HiddenMarkov.of_seed(3, 2, sharpness=2.0, seed=seed) for seed in (7, 8))
    assert np.array_equal(again.transition, PROCESS.transition)
    assert not np.array_equal(other.transition, PROCESS.transition)
    flat = HiddenMarkov.of_seed(3, 2, sharpness=0.0, seed=7)
    assert flat.transition == pytest.approx(np.full((3, 3), 1 / 3), abs=1e-9)
    with pytest.raises(SeqgenError, match="give one state and one symbol at least"):
        HiddenMarkov.of_seed(0, 2, sharpness=1.0, seed=0)


def test_every_sequence_once_in_order() -> None:
    assert every_sequence(3, 2).tolist() == [list(pair) for pair in itertools.product(range(3), repeat=2)]
    assert every_sequence(3, 0).shape == (1, 0)


def test_rows_are_functions_of_their_number() -> None:
    source = DrawnSequences(lambda u: PROCESS.draw(u.reshape(len(u), 5, 2)), 10, rows=6, key=Key(1, 2), count=13)
    first, second, third = source.batches(0, 3, 0, 1)
    assert torch.equal(next(source.batches(1, 2, 0, 1)).x, second.x)
    assert second.ids[0] == "000000006"
    assert not torch.equal(first.x, second.x)
    shared = [next(source.batches(2, 3, rank, 2)).x for rank in (0, 1)]
    assert torch.equal(torch.stack(shared, dim=1).flatten(0, 1), third.x)
    whole = list(source.whole())
    assert [len(batch.x) for batch in whole] == [6, 6, 1]
    assert torch.equal(whole[0].x, first.x)
    assert whole[0].lengths.tolist() == [5] * 6


def test_runs_learn_from_other_sequences_and_are_judged_by_the_same() -> None:
    task, built = system()
    other = Grammar(run_with_seed(1), task.config)
    train, valid, test = (next(task.source(split, built.networks).whole()).x for split in ("train", "valid", "test"))
    assert not torch.equal(train, valid)
    assert not torch.equal(valid, test)
    assert torch.equal(next(other.source("test", {}).whole()).x, test)
    assert not torch.equal(next(other.source("train", {}).whole()).x, train)


def run_with_seed(seed: int) -> RunConfig:
    made = run()
    return RunConfig(made.name, made.task, made.networks, TrainConfig(steps=1, batch_size=32, seed=seed))


def judged(task: Grammar, built: System, **options: Any) -> Table:
    return task.evaluate(built, Evaluation(**options))


def test_a_likelihood_at_a_temperature_is_that_of_the_scaled_logits() -> None:
    _, built = system()
    generator, every = built.networks["generator"], every_sequence(3, 4)
    x = torch.from_numpy(every)
    with torch.no_grad():
        logits = generator.distributions(x)  # type: ignore[operator]
    expected = (torch.softmax(logits / 0.5, dim=-1).gather(-1, x[..., None])[..., 0]).log().double().sum(dim=1)
    found = scored(generator, every, 0.5)  # type: ignore[arg-type]
    assert found == pytest.approx(expected.numpy(), abs=1e-5)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(SeqgenError, match=r"no likelihood at temperature 0\.5; leave --temperature at 1"):
        tempered_log_prob(next(iter(Factorised.examples())).density, x, 0.5)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_estimates_agree_with_enumeration(temperature: float) -> None:
    task, built = system(held_out=4000)
    figures = judged(task, built, temperature=temperature).figures
    for name in ("oracle_nll", "entropy", "kl_generator_process", "kl_process_generator"):
        estimate = figures[name]
        assert 0 < estimate.half_width < 0.1
        assert abs(estimate.value - figures[f"exact_{name}"].value) < 2.5 / 1.96 * estimate.half_width
    assert figures["nll_process"].value == pytest.approx(figures["exact_entropy_process"].value, abs=0.05)
    nats = figures["bits_per_symbol"].value * math.log(2) * task.config.length
    assert (nats == pytest.approx(figures["nll"].value, rel=1e-5)) == (temperature == 1)
    assert figures["duplicates"].value == pytest.approx(1 - 81 / 4000, abs=1e-3)  # nearly all are met


def test_exact_figures_are_the_definitions() -> None:
    task, built = system()
    figures = judged(task, built).figures
    p = np.exp(scored(built.networks["generator"], every_sequence(3, 4)))  # type: ignore[arg-type]
    data = np.array([by_paths(task.process, x) for x in every_sequence(3, 4).tolist()])
    assert p.sum() == pytest.approx(1, abs=1e-5)
    expected = {
        "kl_generator_process": (p * np.log(p / data)).sum(),
        "kl_process_generator": (data * np.log(data / p)).sum(),
        "oracle_nll": -(p * np.log(data)).sum(),
        "entropy": -(p * np.log(p)).sum(),
        "entropy_process": -(data * np.log(data)).sum(),
    }
    found = {name.removeprefix("exact_"): one.value for name, one in figures.items() if name.startswith("exact_")}
    assert found == pytest.approx(expected, abs=1e-6)


def test_options_of_an_evaluation(tmp_path: Any) -> None:
    task, built = system(samples=50)
    first = judged(task, built, limit=32)
    assert first.record["sequences"] == 32
    assert judged(task, built, likelihood_only=True).figures.keys().isdisjoint({"oracle_nll", "entropy"})
    cold = judged(task, built, temperature=0.5, keep=tmp_path)
    assert cold.figures["entropy"].value < first.figures["entropy"].value
    assert np.loadtxt(tmp_path / "samples.txt").shape == (50, 4)
    assert judged(task, built, limit=5).record["sequences"] == 5
    with pytest.raises(SeqgenError, match=r"--data .*: of no use to the task 'grammar'; leave it out"):
        task.require_heeded(Evaluation(data=tmp_path))
    with pytest.raises(SeqgenError, match="--speaker anna: of no use"):
        task.require_heeded(Sampling(speaker="anna"))


def test_many_sequences_are_not_gone_through() -> None:
    task, built = system(symbols=8, length=8, samples=100)
    assert not [name for name in judged(task, built).figures if name.startswith("exact")]


def test_other_alphabets_are_refused() -> None:
    task, built = system()
    with pytest.raises(SeqgenError, match=r"networks\.generator reads 3 symbols, the data have 4"):
        experiment.build(Grammar(run(), GrammarConfig(symbols=4)), source="test")
    with pytest.raises(SeqgenError, match="here was trained on 5 symbols, this grammar has 3"):
        task.adopt(built.networks["generator"], Facts(vocab_size=5), "here")
    with pytest.raises(SeqgenError, match="'length' is 0"):
        GrammarConfig(length=0)
    assert isinstance(built.objective, Likelihood)
