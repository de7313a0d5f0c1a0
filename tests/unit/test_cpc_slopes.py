"""Wasserstein predictive coding of sequences: slopes of the scores by the rows that they are of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.models.sentence_encoder import SentenceEncoder
from seqgen.noise import Key
from seqgen.objectives.contract import Part
from seqgen.objectives.cpc import _SLOPES, ContrastivePrediction
from seqgen.objectives.lipschitz import KINDS, LipschitzPenalty, derangement
from tests.unit.test_cpc_loss import KEY, VOICES, method, windows

OWN = Key(KEY.seed, KEY.stream + _SLOPES)


def steep(penalty: LipschitzPenalty | None = None, sloped: int = 3) -> ContrastivePrediction:
    made = method()
    made.config = replace(made.config, lipschitz=penalty or LipschitzPenalty(), sloped=sloped)
    return made


def slope(made: ContrastivePrediction, x: Tensor, y: Tensor, t: int, k: int) -> float:
    """Norm of the gradient of one score, by both rows."""

    def score(first: Tensor, second: Tensor) -> Tensor:
        c = made.encoder.observe(first[None], made.encoder.init_state(1))[0]
        z = made.encoder.observe(second[None], made.encoder.init_state(1))[2][0]
        return z[0, t + k] @ made.predictors[k - 1] @ c[0, t]

    by_x, by_y = torch.autograd.functional.jacobian(score, (x, y))
    return float((by_x.square().sum() + by_y.square().sum()).sqrt())


def drawn(made: ContrastivePrediction, frames: int, rows: int = 3) -> Iterator[tuple[int, int]]:
    """Anchor and step of each row."""
    u = noise.uniforms(OWN.seed, OWN.stream, torch.arange(2 * rows).view(2, rows))
    first = made.encoder.spec.latency
    for anchor, step in zip(*u, strict=True):
        yield first + int(anchor * (frames - first - 3)), 1 + int(step * 3)


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_by_both_rows_of_each_pair(kind: str) -> None:
    made, batch = steep(), windows(frames=12)
    penalty = LipschitzPenalty(points=(kind,))  # type: ignore[arg-type]
    found = made._slopes(penalty, batch, KEY)
    key = Key(OWN.seed, OWN.stream + 1)
    other = derangement(3, key)
    share = noise.uniforms(key.seed, key.stream, 3 + torch.arange(3)).double()
    for row, (t, k) in enumerate(drawn(made, 12)):
        x, near, far = batch.x[row], batch.x[row], batch.x[other[row]]
        mixed = share[row] * near + (1 - share[row]) * far
        y = {"joint": near, "product": far, "interpolated": mixed}[kind]
        assert float(found[row]) == pytest.approx(slope(made, x, y, t, k), rel=1e-9)


def test_the_gradient_of_the_penalised_loss_is_that_of_finite_differences() -> None:
    made, batch = steep(LipschitzPenalty(3.0, target=0.01)), windows(frames=12)
    loss = made(Part(batch, KEY), "model")
    weights = [one for one in made.parameters() if one.requires_grad]
    gradients = torch.autograd.grad(loss.total, weights)
    assert float(loss.terms["penalty"]) > 0.001
    for one, gradient in zip(weights, gradients, strict=True):
        way, step = torch.randn(one.shape, dtype=torch.float64), 1e-6
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                one.add_(sign * step * way)
            ends.append(float(made(Part(batch, KEY), "model").total))
            with torch.no_grad():
                one.sub_(sign * step * way)
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((gradient * way).sum()), rel=1e-4, abs=1e-6)


def test_without_weights_there_is_no_slope_and_figures_tell_it() -> None:
    made, batch = steep(), windows(frames=12)
    assert float(made.measure(batch, KEY, 0)["slope"].amounts) > 0
    torch.nn.init.zeros_(made.predictors)
    found = made.measure(batch, KEY, 0)["slope"]
    assert float(found.amounts) == 0
    assert "slope" not in method().measure(batch, KEY, 0)


def test_rows_that_are_too_short_have_no_slope() -> None:
    made, batch = steep(), windows(frames=12)
    short = batch.lengths.clone()
    short[1:] = 3 * made.encoder.spec.down
    only = replace(batch, lengths=short)
    assert made._slopes(LipschitzPenalty(), only, KEY).tolist() == [0]
    two = made._slopes(LipschitzPenalty(), replace(batch, lengths=short.index_fill(0, torch.tensor([2]), 72)), KEY)
    assert len(two) == 2 * len(KINDS)
    assert float(two.mean()) > 0


def test_symbols_have_no_distance_to_be_penalised_by() -> None:
    encoder = next(iter(SentenceEncoder.examples()))
    with pytest.raises(SeqgenError, match="an encoder of symbols, which have no distance"):
        ContrastivePrediction(ContrastivePrediction.Config(lipschitz=LipschitzPenalty()), {"encoder": encoder}, VOICES)
    with pytest.raises(SeqgenError, match="slopes of 1 rows"):
        ContrastivePrediction.Config(sloped=1)
