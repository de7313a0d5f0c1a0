"""Associative compression: the memory of codes, the prior by neighbours, and what a row costs with it and by itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seqgen.train.verify
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.latents.code_memory import CodeMemory
from seqgen.latents.contract import GaussianMarginals, Prior, Setting
from seqgen.latents.gaussian import GaussianPosterior
from seqgen.latents.neighbour import NeighbourPrior, Neighbours, ordering_credit
from seqgen.latents.standard_normal import StandardNormal
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.objectives.contract import Part, Rows
from seqgen.objectives.evidence import MaximumEvidence
from seqgen.spec import Facts

ROWS, DIM, PIXELS = 12, 3, 6
HELD_OUT = torch.tensor([-1, -1, -1, -1])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def normals(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prior_of(rows: int = ROWS, **options: Any) -> NeighbourPrior:
    config = NeighbourPrior.Config(**({"dim": DIM, "hidden": (4,)} | options))
    made = NeighbourPrior(config, rows=rows).double()
    with torch.no_grad():
        made.network[-1].weight.mul_(3)
    return made


def constant(prior: NeighbourPrior) -> NeighbourPrior:
    """The prior with a network that says N(0, 1) of every code."""
    with torch.no_grad():
        for parameter in prior.network[-1].parameters():
            parameter.zero_()
    return prior


def objective_of(prior: Prior, **options: Any) -> MaximumEvidence:
    torch.manual_seed(0)
    parts = {
        "encoder": Component("block-perceptron", {"vocab_size": 2, "length": PIXELS, "hidden": [5]}),
        "posterior": Component("gaussian", {"dim": DIM, "scale": 1.0}),
        "prior": Component("standard-normal", {"dim": DIM}),
        "decoder": Component("conditionally-independent", {"length": PIXELS, "hidden": []}),
    }
    model = LatentVariable.build(LatentVariable.Config(**parts), Facts(vocab_size=2))
    model.prior = prior
    with torch.no_grad():
        model.head.weight.mul_(5)  # codes apart from each other
    facts = Facts(vocab_size=2, examples=ROWS)
    return MaximumEvidence(MaximumEvidence.Config(**options), {"model": model}, facts).double()


def batch_of(*index: int) -> Rows:
    x = torch.randint(2, (ROWS, PIXELS), generator=torch.Generator().manual_seed(2))
    chosen = torch.tensor(index)
    return Rows(x[chosen], torch.full((len(index),), PIXELS), index=chosen)


def held_out(batch: Rows) -> Rows:
    return Rows(batch.x, batch.lengths, index=torch.full_like(batch.lengths, -1))


# (1)
@pytest.mark.parametrize("components", [1, 3])
def test_with_a_constant_network_it_is_the_vae_of_unit_variance(components: int) -> None:
    batch, options = batch_of(4, 0, 7), {"closed": components == 1, "samples": 3}
    found = objective_of(constant(prior_of(components=components)), **options)
    plain = objective_of(StandardNormal(StandardNormal.Config(dim=DIM)), **options)
    plain.model.load_state_dict(found.model.state_dict(), strict=False)
    one, other = (objective(Part(batch, Key(1, 2)), "model").total for objective in (found, plain))
    torch.testing.assert_close(one, other)


# (2)
def test_neighbours_are_the_nearest_other_rows() -> None:
    memory, code, index = CodeMemory(ROWS, DIM).double(), normals(4, DIM), torch.tensor([3, -1, 0, 11])
    for count in (1, 4, 50):
        near = memory.nearest(code, index, count)
        for row, (own, one) in enumerate(zip(index.tolist(), code, strict=True)):
            distances = [(float((one - kept).square().sum()), j) for j, kept in enumerate(memory.codes) if j != own]
            assert near[row].tolist() == [j for _, j in sorted(distances)][: min(count, ROWS - 1)]


def test_a_row_is_not_its_own_neighbour() -> None:
    memory = CodeMemory(ROWS, DIM).double()
    index = torch.arange(ROWS)
    assert not bool((memory.nearest(memory.codes, index, ROWS - 1) == index[:, None]).any())
    assert memory.nearest(memory.codes, torch.full_like(index, -1), 1)[:, 0].tolist() == index.tolist()
    once = memory.once(memory.codes, index, ROWS, torch.zeros(ROWS))
    assert not bool((once.rows == index).any())


def test_training_draws_among_the_nearest_and_evaluation_takes_the_nearest() -> None:
    prior, code, index = prior_of(neighbours=3), normals(4, 1, DIM), torch.tensor([3, 5, 0, 11])
    near = prior.memory.codes[prior.memory.nearest(code[:, 0], index, 3)]  # [B, K, D]
    assert torch.equal(prior.given(code, index, None).code, near[:, 0])
    seen = {tuple(self.code[0].tolist()) for self in (prior.given(code, index, Key(0, step)) for step in range(60))}
    assert seen == {tuple(one.tolist()) for one in near[0]}
    assert torch.equal(prior.given(code, index, Key(0, 9)).code, prior.given(code, index, Key(0, 9)).code)
    single = prior_of(neighbours=1)
    assert torch.equal(single.given(code, index, Key(0, 1)).code, single.given(code, index, None).code)
    assert torch.equal(prior.given(code, None, None).code, prior.given(code, HELD_OUT, None).code)


# (3)
def test_neighbours_codes_have_no_gradient_and_others_no_effect() -> None:
    objective, batch = objective_of(prior_of(neighbours=1, components=1)), batch_of(0, 1, 2)
    memory = objective.model.prior.memory  # type: ignore[union-attr]
    loss = objective(Part(batch, Key(0, 0)), "model").total
    code = objective.model.code(batch)[:, 0]
    chosen = memory.nearest(code, batch.index, 1)
    others = torch.ones(ROWS, dtype=torch.bool)
    others[chosen] = False
    memory.codes[others] *= 50  # farther away still
    assert torch.equal(memory.nearest(code, batch.index, 1), chosen)
    assert torch.equal(objective(Part(batch, Key(0, 0)), "model").total, loss)
    memory.codes[chosen[0]] += 1e-3
    assert not torch.equal(objective(Part(batch, Key(0, 0)), "model").total, loss)
    assert not memory.codes.requires_grad
    assert not objective.model.encoded(batch, Key(0, 0))[1].given.code.requires_grad


# (4)
def test_the_probability_of_all_numbers_is_1() -> None:
    prior = prior_of(dim=1, components=4)
    z = torch.linspace(-60, 60, 120_001, dtype=torch.float64)[:, None, None, None]
    step = 120 / 120_000
    given = Neighbours(torch.tensor([[0.7]], dtype=torch.float64))
    for known in (given, None):
        mass = prior.log_prob(z, known).exp().sum() * step
        assert float(mass.detach()) == pytest.approx(1, abs=1e-6)


def test_the_closed_rate_of_one_component_is_that_of_samples() -> None:
    prior, mean = prior_of(components=1), normals(2, 1, DIM)
    given, posterior = Neighbours(normals(2, DIM, seed=4)), GaussianPosterior(GaussianPosterior.Config(DIM, 1.0))
    closed = posterior.kl(mean, Setting(prior, given, torch.ones(2, 1, dtype=torch.bool)))
    assert closed is not None
    z = mean + normals(20_000, 2, 1, DIM, seed=3)
    drawn = posterior.log_prob(mean, z) - prior.log_prob(z, given)
    error = drawn.std(dim=0) / len(drawn) ** 0.5
    assert bool(((drawn.mean(dim=0) - closed).abs() < 3 * error).all())
    assert bool((closed > 0).all())
    mixture = prior_of(components=4)
    rate = posterior.log_prob(mean, z) - mixture.log_prob(z, given)
    assert bool((rate.mean(dim=0) > 0).all())
    assert posterior.kl(mean, Setting(mixture, given, torch.ones(2, 1, dtype=torch.bool))) is None
    assert prior.cross_entropy(GaussianMarginals(mean, torch.ones_like(mean))) is None  # the marginal is a mixture


# (5)
def test_the_entropy_of_codes_is_constant() -> None:
    posterior = GaussianPosterior(GaussianPosterior.Config(DIM, 1.0))
    entropy = posterior.entropy(100 * normals(5, 1, DIM))
    torch.testing.assert_close(entropy, torch.full((5, 1), DIM / 2 * math.log(2 * math.pi * math.e)).double())


# (6)
@pytest.mark.parametrize("size", [1, 4, 5, 12])
def test_where_each_row_is_a_neighbour_once_a_pass_has_all_of_them(size: int) -> None:
    prior = prior_of(once=True, neighbours=3)
    chosen, order = [], torch.arange(3 * ROWS) % ROWS
    for step, index in enumerate(order.split(size)):
        code = prior.memory.codes[index] + 0.1 * normals(len(index), DIM, seed=step)
        given = prior.given(code[:, None], index, Key(0, step))
        assert given.used is not None
        rows = torch.cdist(given.code, prior.memory.codes).argmin(dim=1)
        assert not bool((rows == index).any())
        chosen += rows.tolist()
        prior.after_update(prior.noted(prior.memory.codes[index][:, None], index, given))
        assert torch.equal(prior.memory.used, given.used)
    assert len(chosen) == 3 * ROWS
    start, passes = 0, []
    for place in range(1, len(chosen) + 1):  # the longest stretches without a repetition are the passes
        if place == len(chosen) or chosen[place] in chosen[start:place]:
            passes.append(place - start)
            start = place
    assert all(length >= ROWS - 1 for length in passes[:-1])


def test_once_couples_rows_and_an_evaluation_forgets_it() -> None:
    assert objective_of(prior_of(once=True)).couples_rows
    assert not objective_of(prior_of()).couples_rows
    prior, code = prior_of(once=True), normals(4, 1, DIM)
    prior.memory.used[:] = True
    assert torch.equal(prior.given(code, HELD_OUT, None).code, prior_of_same(prior).given(code, HELD_OUT, None).code)


def prior_of_same(prior: NeighbourPrior) -> NeighbourPrior:
    """A prior with the same codes that has chosen none."""
    made = prior_of()
    made.memory.codes.copy_(prior.memory.codes)
    return made


# (7)
def test_after_an_update_the_memory_has_the_codes_of_the_batch() -> None:
    objective, batch = objective_of(prior_of()), batch_of(2, 9, 4)
    memory = objective.model.prior.memory  # type: ignore[union-attr]
    before, code = memory.codes.clone(), objective.model.code(batch)[:, 0]
    loss = objective(Part(batch, Key(0, 0)), "model")
    assert loss.aux is not None
    objective.after_update("model", loss.aux, {})
    torch.testing.assert_close(memory.codes[[2, 9, 4]], code)
    rest = [row for row in range(ROWS) if row not in (2, 9, 4)]
    assert torch.equal(memory.codes[rest], before[rest])
    before = memory.codes.clone()
    loss = objective(Part(held_out(batch), Key(0, 0)), "model")
    assert loss.aux is not None
    objective.after_update("model", loss.aux, {})
    assert torch.equal(memory.codes, before)


# (8)
def test_no_bound_is_above_the_likelihood_given_the_neighbours() -> None:
    """Importance sampling of 30,000 codes of a row tells ``ln p(x | ĉ)`` and ``ln p(x)``."""
    objective, batch = objective_of(prior_of(), samples=2000), held_out(batch_of(0, 5, 8))
    with torch.no_grad():  # so that these tell them well
        objective.model.head.weight.mul_(0.2)
        objective.model.prior.network[-1].weight.mul_(0.2)  # type: ignore[union-attr,index]
    found = objective.measure(batch, Key(5, 0), 0)
    params, setting = objective.model.encoded(batch)
    evidence = objective.evidence(batch, params, setting, Key(6, 0), 30_000, closed=False)
    told = torch.logsumexp(evidence.log_weights(), dim=0) - math.log(30_000)
    assert bool((found["elbo"].amounts < told).all())
    log_q = objective.model.posterior.log_prob(params, evidence.z)[..., 0]
    by_itself = evidence.log_likelihood + objective.model.prior.log_prob(evidence.z)[..., 0] - log_q
    alone = torch.logsumexp(by_itself, dim=0) - math.log(30_000)
    assert bool((found["marginal_elbo"].amounts < alone).all())
    torch.testing.assert_close(found["evidence"].amounts, told, rtol=0, atol=0.2)


# (9)
def test_what_a_neighbour_saves_is_no_more_than_naming_it_costs() -> None:
    prior = prior_of(components=2)
    code = normals(4, 1, DIM)
    z = code + normals(500, 4, 1, DIM, seed=3)
    given, by_itself = prior.log_prob(z, prior.given(code, HELD_OUT, None)), prior.log_prob(z)
    assert bool((given - by_itself <= math.log(ROWS) + 1e-9).all())
    each = torch.stack([prior.log_prob(z, Neighbours(one.expand(4, DIM))) for one in prior.memory.codes])
    torch.testing.assert_close(by_itself, torch.logsumexp(each, dim=0) - math.log(ROWS))


def test_an_order_saves_no_more_than_there_are_orders() -> None:
    """Of three rows there are six orders, so that naming the set takes ln 6 nats less than naming the sequence."""
    assert 3 * ordering_credit(3) == pytest.approx(math.log(6))
    assert ordering_credit(1) == 0
    assert all(ordering_credit(rows) < math.log(rows) for rows in (2, 10, 60_000))


def test_a_marginal_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, z = prior_of(), normals(3, 2, 1, DIM)
    whole = prior.log_prob(z)
    monkeypatch.setattr("seqgen.latents.neighbour._BLOCK", 1)
    torch.testing.assert_close(prior.log_prob(z), whole)


def test_a_code_of_no_row_is_drawn_by_that_of_a_row() -> None:
    prior = constant(prior_of(components=1))
    with torch.no_grad():  # the mean is the code, the scale small
        prior.network = torch.nn.Sequential(torch.nn.Linear(DIM, 3 * DIM)).double()
        prior.network[0].weight.zero_()
        prior.network[0].bias.zero_()
        for place in range(DIM):
            prior.network[0].weight[3 * place + 1, place] = 1
            prior.network[0].bias[3 * place + 2] = -7
    u = torch.full((ROWS, 1, prior.num_uniforms), 0.5, dtype=torch.float64)
    u[:, 0, 0] = (torch.arange(ROWS) + 0.5) / ROWS
    torch.testing.assert_close(prior.sample(u)[:, 0], prior.memory.codes, rtol=0, atol=1e-6)
    code = normals(ROWS, DIM)
    torch.testing.assert_close(prior.sample(u, Neighbours(code))[:, 0], code, rtol=0, atol=1e-6)


@pytest.mark.parametrize("once", [False, True])
def test_a_training_goes_on_with_its_memory(once: bool, tmp_path: Path) -> None:
    seqgen.train.verify.check_resume(objective_of(prior_of(once=once)).float(), batch_of(3, 1, 8, 6), tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"neighbours": 0}, "give 1 or more of everything"), ({"rows": 1}, "a training set of 2 rows"),
     ({"rows": 0}, "data without end")],
)  # fmt: skip
def test_what_makes_no_prior_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        prior_of(**options)


def test_rows_without_numbers_and_codes_of_several_positions_are_refused() -> None:
    objective, batch = objective_of(prior_of()), batch_of(0, 1)
    with pytest.raises(SeqgenError, match="which row is which"):
        objective(Part(Rows(batch.x, batch.lengths), Key(0, 0)), "model")
    with pytest.raises(SeqgenError, match="an encoder that makes one column"):
        prior_of().given(normals(2, 3, DIM), None, None)
    with pytest.raises(SeqgenError, match=r"set prior.dim to 5"):
        NeighbourPrior.build(NeighbourPrior.Config(dim=2), dim=5, examples=ROWS)
