"""Noisy templates with a hidden class: their probabilities, what is drawn, and what is told of codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqgen import noise
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.latents.variable import LatentVariable
from seqgen.objectives.contract import Rows
from seqgen.spec import Facts
from seqgen.tasks.codes import classes_told
from seqgen.tasks.processes.batch import Batch
from seqgen.tasks.processes.hidden_markov import Reals, every_sequence
from seqgen.tasks.processes.templates import Templates

SMALL = Templates(classes=2, symbols=3, length=4, harmonics=2, seed=3)


def uniforms(rows: int, process: Templates) -> Reals:
    count = 1 + process.length
    return noise.block(1, 2, 0, rows * count).reshape(rows, count).astype(np.float64)


def test_the_probabilities_of_all_sequences_sum_to_one() -> None:
    under = SMALL.log_prob(every_sequence(3, 4))
    assert np.exp(under).sum(axis=0) == pytest.approx([1.0, 1.0], abs=1e-12)
    assert np.abs(under[:, 0] - under[:, 1]).max() > 0.1


def test_what_is_drawn_is_as_frequent_as_it_is_likely_in_its_class() -> None:
    u = uniforms(60_000, SMALL)
    made, label = SMALL.draw(u), SMALL.labels(u)
    assert np.bincount(label) == pytest.approx([30_000, 30_000], rel=0.02)
    code = (made * 3 ** np.arange(3, -1, -1)).sum(axis=1)
    for each in range(2):
        counts = np.bincount(code[label == each], minlength=81)
        expected = counts.sum() * np.exp(SMALL.log_prob(every_sequence(3, 4))[:, each])
        chi = ((counts - expected) ** 2 / expected).sum()
        assert chi < 80 + 4 * np.sqrt(2 * 80)


def test_symbols_go_on_from_the_one_before_as_far_as_the_coefficient_says() -> None:
    process = Templates(length=2000, amplitude=0.0, symbols=30, deviation=1.5, coefficient=0.7)
    x = process.draw(uniforms(4, process)).astype(np.float64)
    x -= x.mean()
    assert (x[:, 1:] * x[:, :-1]).mean() / (x * x).mean() == pytest.approx(0.7, abs=0.03)
    assert (x * x).mean() == pytest.approx(1.5**2 / (1 - 0.7**2), rel=0.1)


def test_curves_are_slow_and_as_high_as_they_should_be() -> None:
    curves = Templates(amplitude=2.0).curves - 3.5
    assert curves.shape == (8, 64)
    assert (curves**2).mean(axis=1) == pytest.approx([4.0] * 8)
    assert np.abs(np.fft.rfft(curves, axis=1)[:, 4:]).max() < 1e-9
    assert np.abs(np.fft.rfft(curves, axis=1)[:, 0]).max() < 1e-9


def test_who_knows_the_process_tells_most_classes() -> None:
    process = Templates()
    u = uniforms(500, process)
    right = process.log_prob(process.draw(u)).argmax(axis=1) == process.labels(u)
    assert 0.95 < right.mean() < 1


@pytest.mark.parametrize("options", [{"symbols": 1}, {"deviation": 0.0}, {"coefficient": 1.0}, {"classes": 0}])
def test_impossible_processes_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(SeqgenError, match="templates: got"):
        Templates(**options)  # type: ignore[arg-type]


class ByFirstSymbol(LatentVariable):
    """A model whose code is the first symbol of each row."""

    def code(self, batch: Rows) -> torch.Tensor:
        return batch.x[:, :1, None].float()


def model() -> LatentVariable:
    parts = {
        "encoder": Component("block-perceptron", {"vocab_size": 2, "length": 4, "hidden": [3]}),
        "posterior": Component("gaussian", {"dim": 1}),
        "prior": Component("standard-normal", {"dim": 1}),
        "decoder": Component("conditionally-independent", {"length": 4, "hidden": []}),
    }
    return ByFirstSymbol.build(LatentVariable.Config(**parts), Facts(vocab_size=2))


def batch(x: list[int], label: list[int] | None) -> Batch:
    rows = torch.tensor(x)[:, None].expand(-1, 4)
    return Batch(
        rows, torch.full((len(x),), 4), tuple(map(str, x)), label=None if label is None else torch.tensor(label)
    )


def test_classes_are_told_from_codes() -> None:
    learnt = [batch([0, 0, 0, 1, 1, 1], [4, 4, 4, 7, 7, 7])] * 2 + [batch([0, 1], [7, 4])] * 9
    judged = [batch([0, 1, 1], [4, 7, 4]), batch([1], [7])]
    told = classes_told({"model": model()}, learnt, judged, most=12)
    assert {name: one.value for name, one in told.items()} == {
        "class_by_linear_probe": 75.0,
        "class_by_nearest_codes": 75.0,
    }
    assert classes_told({"model": model()}, learnt, [batch([0], None)], most=12) == {}
    assert classes_told({"model": torch.nn.Linear(1, 1)}, learnt, judged, most=12) == {}
