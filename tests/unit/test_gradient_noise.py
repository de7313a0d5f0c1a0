"""Noise of estimated gradients: variance and bias of what is known, and enumeration of codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from egs.gradients import settle, varied
from seqgen import noise, registry
from seqgen.analysis.gradient_noise import every_code, expectation, gradient_noise
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior
from seqgen.noise import Key
from seqgen.objectives.contract import Rows
from seqgen.objectives.evidence import MaximumEvidence
from tests.unit.known_posteriors import known, objective_of, prior

EXACT = torch.tensor([1.0, -2.0, 0.5]).double()


def family(name: str, *sizes: int) -> Posterior:
    kind = registry.POSTERIORS.load(name)
    made: Posterior = kind(kind.Config(*sizes))
    return made


def drawn(key: Key) -> torch.Tensor:
    """Three numbers around the exact ones, of variances 1/12, 4/12 and 9/12, and a bias of 0.3 of the last."""
    u = torch.from_numpy(noise.block(key.seed, key.stream, 0, 3)).double() - 0.5
    return EXACT + u * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor([0.0, 0.0, 0.3])


def test_the_variance_and_the_bias_of_known_numbers() -> None:
    found = gradient_noise(drawn, 4000, Key(3, 0))
    each = np.stack([drawn(Key(3, count)).numpy() for count in range(1, 4001)])
    assert found.draws == 4000
    assert found.mean.numpy() == pytest.approx(each.mean(axis=0))
    assert found.variance == pytest.approx(each.var(axis=0, ddof=1).sum())
    assert found.variance == pytest.approx(14 / 12, rel=0.05)
    assert found.squared_bias(EXACT) == pytest.approx(0.09, abs=0.02)


def test_a_mean_without_bias_owes_nothing_but_noise() -> None:
    """Few draws, whose mean is far away: in the mean over many such means the squared bias is 0."""
    biases = [gradient_noise(drawn, 3, Key(seed, 0)).squared_bias(EXACT) - 0.09 for seed in range(1000)]
    assert abs(np.mean(biases)) < 4 * np.std(biases) / len(biases) ** 0.5
    assert np.std(biases) > 0.1


def test_every_code_is_there_once() -> None:
    codes = every_code(family("gumbel-softmax", 2, 3), torch.zeros((), dtype=torch.float64))
    assert codes.shape == (9, 6)
    assert codes.dtype == torch.float64
    assert len(codes.unique(dim=0)) == 9
    assert bool((codes.unflatten(-1, (2, 3)).sum(dim=-1) == 1).all())


def test_an_expectation_is_that_of_all_codes() -> None:
    posterior = family("categorical", 2, 3).double()
    params = torch.tensor([[0.3, -1.0, 0.2, 2.0, 0.0, -0.5]]).double()
    codes = every_code(posterior, params)[:, None, None]
    log_probs = posterior.log_prob(params[None], codes).sum(dim=-1)
    values = (codes * torch.arange(6.0).double()).sum(dim=(-2, -1))
    weights = params.unflatten(-1, (2, 3)).softmax(dim=-1).flatten()
    assert float(expectation(log_probs, values)) == pytest.approx(float(weights @ torch.arange(6.0).double()))
    with pytest.raises(SeqgenError, match="give every code of one position"):
        expectation(log_probs[:-1], values[:-1])


def test_estimators_of_symbols_are_biased_as_they_are_known_to_be() -> None:
    """Straight through is biased, the score function is not, and the relaxation the less the cooler it is."""
    logits = torch.tensor([[0.9, -0.4, 0.3, -1.2]]).double()
    values = torch.tensor([1.0, -2.0, 0.5, 3.0]).double()

    def curved(z: torch.Tensor) -> torch.Tensor:
        return (z[..., 0, :] @ values) ** 2

    def gradient_of(objective: MaximumEvidence, key: Key) -> torch.Tensor:
        model = objective.model
        loss = objective.loss(batch, "model", key, None).total
        (found,) = torch.autograd.grad(loss, model.params)
        return found.flatten(0, 1).sum(dim=0)

    rows = 2000
    batch = Rows(torch.zeros(rows, 1, dtype=torch.int64), torch.ones(rows, dtype=torch.int64))
    leaf = logits.clone().requires_grad_()
    codes = every_code(family("categorical", 1, 4), logits)[:, None, None]
    log_probs = leaf.log_softmax(-1) @ codes[:, 0, 0].T  # [1, S]
    bound = expectation(log_probs.T, curved(codes)) + (log_probs.exp() * -log_probs).sum()
    (exact,) = torch.autograd.grad(-bound.sum(), leaf)
    squares = {}
    for name, posterior, options in (
        ("cool", registry.POSTERIORS.load("gumbel-softmax").Config(1, 4, temperature=0.2), {}),
        ("warm", registry.POSTERIORS.load("gumbel-softmax").Config(1, 4, temperature=2.0), {}),
        ("through", registry.POSTERIORS.load("categorical").Config(1, 4, straight_through=True), {}),
        ("score", registry.POSTERIORS.load("categorical").Config(1, 4), {"gradient": "score-function", "samples": 2}),
    ):
        kind = "gumbel-softmax" if name in ("cool", "warm") else "categorical"
        model = known(registry.POSTERIORS.load(kind)(posterior), prior("uniform", classes=4), logits, curved, rows)
        objective = objective_of(model, **options)
        told = gradient_noise(lambda key, one=objective: gradient_of(one, key), 40, Key(0, 0))  # type: ignore[misc]
        squares[name] = told.squared_bias(exact[0]), told.variance / told.draws
    for name in ("warm", "through"):
        assert squares[name][0] > 10 * squares[name][1]
    assert abs(squares["score"][0]) < 6 * squares["score"][1]
    assert squares["cool"][0] < 0.2 * squares["warm"][0]


def test_an_estimator_is_measured_with_what_it_has_learnt() -> None:
    """A running baseline of rewards far from 0: as trained, or after some updates at these weights, and not as it
    begins, when it is none."""
    rows = 50
    batch = Rows(torch.zeros(rows, 1, dtype=torch.int64), torch.ones(rows, dtype=torch.int64))
    logits = torch.tensor([[0.9, -0.4, 0.3, -1.2]]).double()
    values = torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
    kind = registry.POSTERIORS.load("categorical")
    model = known(
        kind(kind.Config(1, 4)), prior("uniform", classes=4), logits, lambda z: z[..., 0, :] @ values - 90, rows
    )
    running = {"name": "score-function", "baseline": "running"}
    trained = objective_of(model, gradient=Component("score-function", {"baseline": "running"})).eval()
    trained.estimator.mean.fill_(-85.0)
    trained.estimator.updates.fill_(30.0)
    kept, other = varied(trained, {}), varied(trained, {"gradient": running, "samples": 2})
    assert float(kept.estimator.mean) == -85
    assert float(other.estimator.updates) == 0

    def variance(one: MaximumEvidence) -> float:
        def drawn(key: Key) -> torch.Tensor:
            (found,) = torch.autograd.grad(one.loss(batch, "model", key, None).total, one.model.params)
            return found.flatten(0, 1).sum(dim=0)

        return gradient_noise(drawn, 20, Key(0, 0)).variance

    begins = variance(other)
    settle(other, batch)
    assert float(other.estimator.mean) == pytest.approx(-90, abs=4)
    assert variance(other) < 0.02 * begins
    assert variance(varied(trained, {"gradient": {"name": "score-function", "baseline": "none"}})) > 10 * variance(kept)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(SeqgenError, match="take 2 or more"):
        gradient_noise(drawn, 1, Key(0, 0))
    for name, sizes in (("gaussian", (3,)), ("categorical", (5, 10))):
        with pytest.raises(SeqgenError, match="take codes of symbols, at most 4,096 of them"):
            every_code(family(name, *sizes), torch.zeros(()))
