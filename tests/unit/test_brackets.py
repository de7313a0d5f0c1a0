"""Nested brackets: what is drawn fits, probabilities are those of the source, and errors are found where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen import noise
from seqgen.analysis.principal import cloud, picture
from seqgen.analysis.sequence_probe import Probe, Sequences, accuracy, both_modes
from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.behaviour import channels
from seqgen.models.recurrent import Recurrent
from seqgen.models.verify import check_logits
from seqgen.noise import Key
from seqgen.tasks.processes.brackets import BracketsConfig, _divergence
from seqgen.tasks.processes.hidden_markov import Reals, every_sequence
from seqgen.tasks.processes.nested_brackets import NestedBrackets

SMALL = NestedBrackets(kinds=2, fillers=1, filler_share=0.25, opening=0.4, depth=2)


def uniforms(rows: int, length: int) -> Reals:
    return noise.block(1, 2, 0, rows * length).reshape(rows, length).astype(np.float64)


def test_the_probabilities_of_all_sequences_sum_to_one() -> None:
    every = every_sequence(SMALL.symbols, 5)
    assert SMALL.probabilities(every).prod(axis=1).sum() == pytest.approx(1.0, abs=1e-12)


def test_what_is_drawn_is_as_frequent_as_it_is_likely() -> None:
    rows = 40_000
    made = SMALL.draw(uniforms(rows, 4))
    every = every_sequence(SMALL.symbols, 4)
    p = SMALL.probabilities(every).prod(axis=1)
    code = (made * SMALL.symbols ** np.arange(3, -1, -1)).sum(axis=1)
    counts = np.bincount(code, minlength=len(every))
    assert not counts[p == 0].any()
    expected, found = rows * p[p > 0], counts[p > 0]
    chi = ((found - expected) ** 2 / expected).sum()
    assert chi < len(expected) + 4 * np.sqrt(2 * len(expected))


def test_errors_stand_where_they_are_made() -> None:
    """Symbols: ( [ ) ] and a filler. Behind an error the stack goes on as if the symbol had been the right one."""

    def wrong(*x: int) -> list[int]:
        return np.flatnonzero(SMALL.probabilities(np.array([x]))[0] == 0).tolist()

    assert wrong(0, 1, 3, 4, 2) == []
    assert wrong(2, 0, 2) == [0]  # nothing to close
    assert wrong(0, 1, 2, 2) == [2]  # ] was open
    assert wrong(0, 0, 0, 2, 2, 2) == [2]  # too deep
    assert wrong(4, 4, 3, 3) == [2, 3]


def test_trigrams_of_the_same_source_are_near() -> None:
    one, two = (SMALL.draw(part) for part in np.split(uniforms(4000, 20), 2))
    assert 0 <= _divergence(one, two, SMALL.symbols) < 0.005
    other = NestedBrackets(kinds=2, fillers=1, filler_share=0.5, opening=0.4, depth=2).draw(uniforms(2000, 20))
    assert _divergence(other, two, SMALL.symbols) > 0.1


@pytest.mark.parametrize("options", [{"kinds": 0}, {"filler_share": 1.0}, {"opening": 0.0}, {"fillers": 0}])
def test_sources_that_are_none_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(SeqgenError, match=r"nested brackets: got .* give a kind"):
        NestedBrackets(**options)  # type: ignore[arg-type]


def test_lengths_that_make_no_task_are_refused() -> None:
    with pytest.raises(SeqgenError, match="give samples 3 symbols longer than sequences"):
        BracketsConfig(length=50, sample_length=52)


# The probe


def apart(shift: float, rows: int = 96) -> Sequences:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, rows, 6, 3, generator=generator)
    return Sequences(first, second + shift, torch.full((rows,), 6))


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0.35, 0.65), (2.0, 0.95, 1.0)])
def test_a_probe_tells_apart_what_differs(shift: float, least: float, most: float) -> None:
    training, held_out = apart(shift).split(64)
    found = accuracy(training, held_out, Key(0, 0))
    assert found.shape == (32,)
    assert least < float(found.mean()) <= most
    assert torch.equal(accuracy(training, held_out, Key(0, 0)), found)


def test_a_probe_keeps_the_law_of_sequences() -> None:
    check_logits(Probe(3, Key(0, 0)))


def test_both_modes_begin_alike_and_go_apart() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = Recurrent(Recurrent.Config(SMALL.symbols, SMALL.symbols, hidden=4, embedding=3))
    drawn = Categorical(Categorical.Config(SMALL.symbols))
    generator = AutoRegressive(body, drawn, None, start=0, symbols_per_sample=1)
    x = torch.from_numpy(SMALL.draw(uniforms(10, 9)))
    with torch.no_grad():
        found = both_modes(generator, x, Key(0, 0), warm_up=2)
    assert found.first.shape == (10, 9, channels(generator))
    assert found.lengths.tolist() == [7] * 10
    assert torch.equal(found.first[:, 0], found.second[:, 0])
    assert not torch.equal(found.first[:, 1:7], found.second[:, 1:7])


def test_a_picture_of_both_modes(tmp_path: Path) -> None:
    one = cloud(apart(3.0))
    assert 0.5 < one.share < 1
    assert float((one.first[:, 0].mean() - one.second[:, 0].mean()).abs()) > 4
    for name in ("a.png", "b.png"):
        picture({"near": cloud(apart(0.0)), "far": one}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
