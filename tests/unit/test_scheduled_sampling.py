"""Scheduled sampling: its schedules, mixtures drawn one element after the other, and the likelihood at its ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import language_model
from seqgen.noise import Key
from seqgen.objectives.contract import Part, Rows
from seqgen.objectives.likelihood import Likelihood
from seqgen.objectives.scheduled_sampling import ScheduledSampling
from seqgen.spec import Facts

A, T, B = 4, 10, 6
KEY = Key(2, 7)
BATCH = Rows(torch.randint(A, (B, T), generator=torch.Generator().manual_seed(0)), torch.tensor([10, 3, 7, 10, 1, 9]))


def made(updates: int, *options: Any) -> ScheduledSampling:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective = ScheduledSampling(
            ScheduledSampling.Config(*options), {"generator": language_model(A)}, Facts()
        ).double()
    objective.updates.fill_(updates)
    return objective


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("linear", 0.25), [1, 0.75, 0.5, 0.25, 0, 0]),
        (("linear", 0.25, 0.4), [1, 0.75, 0.5, 0.4, 0.4, 0.4]),
        (("exponential", 0.5), [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        (("inverse-sigmoid", 3.0), [3 / (3 + math.exp(i / 3)) for i in range(6)]),
    ],
)
def test_schedules(options: tuple[Any, ...], expected: list[float]) -> None:
    config = ScheduledSampling.Config(*options)
    assert [config.epsilon(update) for update in range(6)] == pytest.approx(expected)
    assert config.epsilon(10**9) == pytest.approx(config.floor, abs=1e-300)


def test_at_first_it_is_likelihood() -> None:
    objective = made(0, "linear", 0.1)
    shared = objective.begin(BATCH, KEY)
    assert torch.equal(shared, BATCH.x)
    loss = objective(Part(BATCH, KEY, shared), "generator")
    plain = Likelihood(Likelihood.Config(), {"generator": objective.generator}, Facts())
    expected = plain(Part(BATCH, KEY, None), "generator")
    assert torch.equal(loss.total, expected.total)
    assert torch.equal(loss.terms["nats_per_sample"], expected.terms["nats_per_sample"])


def test_at_last_it_reads_its_own_samples_and_learns_the_data() -> None:
    objective = made(10, "linear", 0.1)
    generator, z = objective.generator, objective.begin(BATCH, KEY)
    u = torch.from_numpy(noise.block(*KEY, 0, B * T)).view(B, T, 1).double()
    assert torch.equal(z, generator.sample(u))
    loss = objective(Part(BATCH, KEY, z), "generator")
    found = generator.distributions(z).log_softmax(dim=-1).gather(-1, BATCH.x[..., None])[..., 0]
    real = torch.arange(T)[None] < BATCH.lengths[:, None]
    assert float(loss.total) == pytest.approx(float(-found[real].mean()), rel=1e-12)
    assert float(loss.terms["epsilon"]) == 0


def test_between_each_element_is_given_or_drawn_of_the_mixture_before_it() -> None:
    objective = made(5, "linear", 0.1)
    generator, z = objective.generator, objective.begin(BATCH, KEY)
    u = torch.from_numpy(noise.block(*KEY, 0, 2 * B * T)).double()
    draws, coins = u[: B * T].view(B, T, 1), u[B * T :].view(B, T)
    params = generator.distributions(z)  # of each element given the mixture before it
    expected = torch.where(coins < 0.5, BATCH.x, generator.distribution.sample(params, draws))
    assert torch.equal(z, expected)
    assert 0 < int((z != BATCH.x).sum()) < z.numel()


def test_what_rows_only_hear_is_given() -> None:
    batch = Rows(BATCH.x, BATCH.lengths, skip=torch.tensor([0, 2, 4, 9, 0, 5]))
    objective = made(10, "linear", 0.1)
    z, heard = objective.begin(batch, KEY), torch.arange(T)[None] < batch.skip[:, None]  # type: ignore[index]
    assert torch.equal(z[heard], batch.x[heard])
    loss = objective(Part(batch, KEY, z), "generator")
    assert float(loss.weight) == (10 + 1 + 3 + 1 + 1 + 4)


def test_updates_are_counted_after_them() -> None:
    objective = made(0, "exponential", 0.5)
    objective(Part(BATCH, KEY, objective.begin(BATCH, KEY)), "generator")
    assert objective.epsilon == 1
    objective.after_update("generator", {}, {})
    assert objective.epsilon == 0.5


@pytest.mark.parametrize(
    "options", [("linear", -0.1), ("exponential", 1.5), ("inverse-sigmoid", 0.5), ("linear", 0.1, 2.0)]
)
def test_options_that_make_no_sense_are_refused(options: tuple[Any, ...]) -> None:
    with pytest.raises(SeqgenError, match=f"give a {options[0]} decay from"):
        ScheduledSampling.Config(*options)
