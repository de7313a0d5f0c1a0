"""Vector quantisation: its facts one by one, on codebooks small enough to be gone through."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import language_model
from seqgen.latents.codebook import Codebook, Learning
from seqgen.latents.contract import Setting
from seqgen.latents.density_prior import DensityPrior
from seqgen.latents.examples import ELEMENTS, SYMBOLS, small
from seqgen.latents.uniform import UniformPrior
from seqgen.latents.variable import LatentVariable
from seqgen.latents.vector_quantised import VectorQuantised
from seqgen.noise import Key
from seqgen.objectives.code_prior import CodePrior
from seqgen.objectives.contract import Part, Rows
from seqgen.objectives.evidence import MaximumEvidence
from seqgen.objectives.latent_objective import perplexity
from seqgen.spec import Facts

ROWS, POSITIONS = 3, 5
NOTHING = torch.zeros(1, ROWS, POSITIONS, 0)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def made(**options: Any) -> VectorQuantised:
    posterior = VectorQuantised(VectorQuantised.Config(**({"dim": 4, "classes": 6} | options))).double()
    with torch.no_grad():
        for book in posterior.books:
            book.entries.normal_()
    return posterior


def setting(posterior: VectorQuantised, lengths: tuple[int, ...] = (POSITIONS,) * ROWS) -> Setting:
    real = torch.arange(POSITIONS) < torch.tensor(lengths)[:, None]
    return Setting(UniformPrior(UniformPrior.Config(posterior.groups, posterior.classes)), None, real)


def outputs(posterior: VectorQuantised) -> Tensor:
    return torch.randn(ROWS, POSITIONS, posterior.num_params, dtype=torch.float64)


# (1)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_entry_is_the_nearest_of_all(dtype: torch.dtype) -> None:
    posterior = made(classes=50).float()
    z = outputs(posterior).to(dtype)
    chosen = posterior.code(z, setting(posterior)).argmax(dim=-1)
    distances = (z.double()[..., None, :] - posterior.books[0].entries.double()).square().sum(dim=-1)  # written out
    assert torch.equal(chosen, distances.argmin(dim=-1))


def test_of_entries_that_are_as_near_the_first_is_taken() -> None:
    book = made(classes=40).books[0]
    with torch.no_grad():
        book.entries[7::8] = book.entries[3]
    assert book.nearest(book.entries[[39, 7, 3]]).tolist() == [3, 3, 3]


# (2)
@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"groups": 2, "residual": True}])
def test_the_decoder_reads_entries_and_the_encoder_gets_its_gradient(options: Mapping[str, Any]) -> None:
    posterior = made(**options)
    z = outputs(posterior).requires_grad_()
    drawn = posterior.draw(z, NOTHING.expand(2, -1, -1, -1), setting(posterior))
    assert drawn.frames is not None
    assert torch.equal(drawn.frames, posterior.frames(drawn.z))
    drawn.frames.retain_grad()
    (drawn.frames[0] ** 3 + drawn.frames[1].sin()).sum().backward()
    assert drawn.frames.grad is not None
    assert z.grad is not None
    assert torch.equal(z.grad, drawn.frames.grad.sum(dim=0))
    assert all(one.grad is None for one in posterior.parameters())


def test_the_penalty_moves_encoder_and_codebook_each_by_its_own_term() -> None:
    """``2 β (z - e) / n`` and, for each entry, the sum of ``2 (e - z) / n`` over what is nearest to it, n being the
    positions inside a row."""
    posterior, lengths = made(commitment=0.3), (5, 2, 1)
    z = outputs(posterior).requires_grad_()
    posterior.penalty(z, setting(posterior, lengths)).sum().backward()
    code = posterior.code(z, setting(posterior))
    apart = (z - posterior.frames(code)).detach() * setting(posterior, lengths).inside[..., None]
    apart = apart / torch.tensor(lengths)[:, None, None]
    assert z.grad is not None
    assert torch.allclose(z.grad, 2 * 0.3 * apart)
    entries = posterior.books[0].entries
    assert torch.allclose(entries.grad, -2 * torch.einsum("bnk,bnd->kd", code, apart))


def test_with_averages_the_encoder_alone_is_penalised() -> None:
    posterior = made(commitment=0.3, learning="averages")
    z = outputs(posterior)
    error = (z - posterior.frames(posterior.code(z, setting(posterior)))).square().sum(dim=-1)
    assert torch.allclose(posterior.penalty(z, setting(posterior)), 0.3 * error.mean(dim=1))
    assert list(posterior.parameters()) == []


def test_what_is_left_over_goes_to_the_next_codebook() -> None:
    posterior = made(groups=3, residual=True)
    z = outputs(posterior)
    symbols = posterior.code(z, setting(posterior)).unflatten(-1, (3, 6)).argmax(dim=-1)
    rest = z
    for number, book in enumerate(posterior.books):
        assert torch.equal(symbols[..., number], torch.cdist(rest, book.entries.expand(ROWS, -1, -1)).argmin(dim=-1))
        rest = rest - book.entries[symbols[..., number]]
    assert rest.square().mean() < z.square().mean()


# (3)
def book(learning: Learning = "averages", *, decay: float = 0.0, revival: float = 0.0, classes: int = 6) -> Codebook:
    one = Codebook(classes, 2, learning=learning, decay=decay, revival=revival).double()
    one.started.fill_(True)
    with torch.no_grad():
        one.entries.normal_()
    return one


def taken_in(one: Codebook, z: Tensor) -> None:
    one.after_update(one.noted(z, one.nearest(z)))


def test_without_memory_an_update_is_a_step_of_k_means() -> None:
    one, z = book(), torch.randn(8, 2, dtype=torch.float64)
    before, chosen = one.entries.clone(), one.nearest(z)
    taken_in(one, z)
    hit = torch.zeros(6, dtype=torch.bool).index_fill(0, chosen, True)
    assert 0 < hit.sum() < 6
    for number in range(6):
        expected = z[chosen == number].mean(dim=0) if hit[number] else before[number]
        assert torch.allclose(one.entries[number], expected, atol=1e-14)


def test_averages_forget_as_fast_as_they_are_told_to() -> None:
    one, z = book(decay=0.05), torch.randn(2, 20, 2, dtype=torch.float64)
    numbers, sums = torch.zeros(6, dtype=torch.float64), torch.zeros(6, 2, dtype=torch.float64)
    for batch in z:
        hot = nn.functional.one_hot(one.nearest(batch), 6).double()
        numbers = 0.05 * numbers + 0.95 * hot.sum(dim=0)
        sums = 0.05 * sums + 0.95 * hot.T @ batch
        taken_in(one, batch)
    live = numbers > 0
    assert torch.allclose(one.entries[live], (sums / numbers[:, None])[live])


def test_processes_that_saw_a_part_each_agree_with_one_that_saw_all() -> None:
    z = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    inside = torch.ones(8, 4, dtype=torch.bool)
    whole, parts = (made(groups=2, revival=0.2, decay=0.5) for _ in range(2))
    parts.load_state_dict(whole.state_dict())
    for batch in z:
        halves = [parts.sums(batch[half::2], inside[half::2]) for half in range(2)]
        parts.after_update({name: halves[0][name] + halves[1][name] for name in halves[0]})
        whole.after_update(whole.sums(batch, inside))
    for name, value in whole.state_dict().items():
        assert torch.allclose(parts.state_dict()[name].double(), value.double()), name


def test_entries_begin_where_the_first_outputs_lie() -> None:
    posterior = VectorQuantised(VectorQuantised.Config(dim=3, classes=400)).double()
    plane = torch.randn(60, 10, 2, dtype=torch.float64) @ torch.tensor([[3.0, 0, 0], [0, 0.5, 0]], dtype=torch.float64)
    z = plane + torch.tensor([5.0, -7, 2])
    posterior.after_update(posterior.sums(z, torch.ones(60, 10, dtype=torch.bool)))
    entries = posterior.books[0].entries.detach()
    assert torch.allclose(entries.mean(dim=0), z.flatten(0, 1).mean(dim=0), atol=0.5)
    assert entries.std(dim=0)[:2].tolist() == pytest.approx([3, 0.5], rel=0.15)
    assert entries[:, 2].tolist() == pytest.approx([2] * 400)


def clusters(count: int, rng: np.random.Generator) -> Tensor:
    """Points about the places of a lattice, 0.05 from them in each direction."""
    side = math.isqrt(count)
    places = np.array(list(itertools.product(range(side), repeat=2)), float)
    return torch.from_numpy(places[rng.integers(count, size=200)] + 0.05 * rng.standard_normal((200, 2)))


@pytest.mark.parametrize("learning", ["averages", "gradient"])
def test_the_dead_are_placed_where_the_distortion_is(learning: Learning) -> None:
    """All entries begin in one corner of sixteen clusters. With revivals each cluster gets one, without few do."""
    used, distortion = {}, {}
    for revival in (0.5, 0.0):
        one, rng = book(learning, decay=0.9, revival=revival, classes=16), np.random.default_rng(0)
        optimiser = torch.optim.SGD(list(one.parameters()), lr=0.1) if learning == "gradient" else None
        with torch.no_grad():
            one.entries.mul_(0.02)
        for _ in range(300):
            z = clusters(16, rng)
            if optimiser is not None:
                optimiser.zero_grad()
                (z - one.entries[one.nearest(z)]).square().sum(dim=-1).mean().mul(4).backward()
                optimiser.step()
            taken_in(one, z)
        used[revival] = float(one.perplexity)
        distortion[revival] = float((z - one.entries.detach()[one.nearest(z)]).square().sum(dim=-1).mean())
    assert used[0.5] > 15
    assert distortion[0.5] < 1.1 * 2 * 0.05**2
    assert used[0.0] < 13
    assert distortion[0.0] > 5 * distortion[0.5]


# (4)
@pytest.mark.parametrize("groups", [1, 2])
def test_what_is_quantised_stays_as_it_is(groups: int) -> None:
    posterior = made(groups=groups)
    once = posterior.code(outputs(posterior), setting(posterior))
    assert torch.equal(posterior.code(posterior.frames(once), setting(posterior)), once)


# (5)
def model_of(posterior: VectorQuantised, prior: Any = None) -> LatentVariable:
    return small(LatentVariable, posterior, prior).double().eval()


def batch_of(rows: int = ROWS) -> Rows:
    x = torch.randint(SYMBOLS, (rows, ELEMENTS))
    return Rows(x, torch.tensor([ELEMENTS, 4, 1][:rows]))


def figures(objective: Any, batch: Rows) -> dict[str, Tensor]:
    found = objective.measure(batch, Key(0, 0), 0)
    return {name: one.amounts for name, one in found.items()}


@pytest.mark.parametrize("groups", [1, 2])
def test_the_bound_is_the_reconstruction_and_n_ln_k(groups: int) -> None:
    model, batch = model_of(made(groups=groups)), batch_of()
    found = figures(MaximumEvidence(MaximumEvidence.Config(), {"model": model}, Facts(vocab_size=SYMBOLS)), batch)
    params, where = model.encoded(batch)
    scores = model.log_likelihood(batch, model.posterior.code(params, where)[None])[0]
    real = torch.arange(ELEMENTS) < batch.lengths[:, None]
    reconstruction = -(scores * real).sum(dim=1)
    rate = torch.tensor([2, 2, 1]) * groups * math.log(6)  # positions of the rows
    assert torch.allclose(found["rate"], rate.double())
    assert torch.allclose(found["elbo"], -(reconstruction + rate).detach())
    assert torch.equal(found["evidence"], found["elbo"])  # further samples are the same ones


def test_with_a_fitted_prior_the_rate_is_what_it_says_of_the_codes() -> None:
    prior = DensityPrior(language_model(6), groups=2)
    model, batch = model_of(made(groups=2), prior), batch_of()
    objective = CodePrior(CodePrior.Config(), {"model": model}, Facts(vocab_size=SYMBOLS)).double()
    found = figures(objective, batch)
    params, where = model.encoded(batch)
    symbols = model.posterior.code(params, where).unflatten(-1, (2, 6)).argmax(dim=-1).flatten(1)  # [B, N·G]
    each = prior.density.log_prob(symbols)
    told = -(each * (torch.arange(4) < torch.tensor([4, 4, 2])[:, None])).sum(dim=1)
    assert torch.allclose(found["rate"], told)
    assert torch.allclose(found["elbo"], -(found["distortion"] + told))
    loss = objective(Part(batch, Key(0, 0)), "prior")
    assert torch.allclose(loss.total, told.mean())
    assert set(objective.owned("prior")) == {name for name, _ in objective.named_parameters() if ".prior." in name}


def test_a_prior_of_nothing_to_be_fitted_is_refused() -> None:
    with pytest.raises(SeqgenError, match="has nothing to be fitted"):
        CodePrior(CodePrior.Config(), {"model": model_of(made())}, Facts())


# (6)
def test_symbols_lead_the_decoder_to_what_outputs_lead_it_to() -> None:
    model, batch = model_of(made(groups=2, residual=True)), batch_of()
    params, where = model.encoded(batch)
    drawn = model.posterior.draw(params, torch.zeros(1, ROWS, 2, 0), where)
    assert torch.equal(model.log_likelihood(batch, drawn.z, drawn.frames), model.log_likelihood(batch, drawn.z))
    u = torch.rand(ROWS, ELEMENTS, 1, dtype=torch.float64)
    symbols = drawn.z[0].unflatten(-1, (2, 6)).argmax(dim=-1)
    again = nn.functional.one_hot(symbols, 6).double().flatten(-2)
    assert torch.equal(model.decoded(again, u), model.decoded(drawn.z[0], u))


# (7)
def test_perplexity_is_1_for_one_entry_and_k_for_all_alike() -> None:
    assert perplexity(np.array([[0.0, 1.0, 0.0]])) == 1
    assert perplexity(np.full((1, 6), 1 / 6)) == pytest.approx(6)
    assert perplexity(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(math.sqrt(2))
    one = book("gradient")
    one.counts.fill_(2.0)
    assert one.perplexity == pytest.approx(6)
    one.counts[1:] = 0
    assert one.perplexity == pytest.approx(1)
    posterior = made(groups=2)
    usage = posterior.usage(outputs(posterior), setting(posterior, (5, 2, 1)))
    assert usage.sum(dim=-1).tolist() == [[5, 5], [2, 2], [1, 1]]
    assert 1 <= float(posterior.terms(outputs(posterior), setting(posterior))["perplexity"]) <= 6


@pytest.mark.parametrize("residual", [False, True])
def test_the_spread_is_about_the_averaged_output(residual: bool) -> None:
    posterior = made(groups=2, residual=residual, decay=0.0, revival=0.0)
    z = outputs(posterior)
    assert float(posterior.terms(z, setting(posterior))["spread"]) == pytest.approx(float(z.square().sum(-1).mean()))
    for _ in range(3):
        posterior.after_update(posterior.sums(z, torch.ones(ROWS, POSITIONS, dtype=torch.bool)))
    spread = float(posterior.terms(z, setting(posterior))["spread"])
    assert spread == pytest.approx(float(z.flatten(0, 1).var(dim=0, correction=0).sum()), rel=1e-3)
    other = posterior.terms(z + 1, setting(posterior))["spread"]
    assert float(other) == pytest.approx(spread + posterior.num_params, rel=1e-3)


# (8)
def test_probabilities_of_all_sequences_add_up_and_no_bound_is_above_them() -> None:
    """Three symbols, six elements, two positions of a codebook of four: 729 sequences, 16 codes."""
    model = model_of(made(dim=2, classes=4))
    x = torch.tensor(list(itertools.product(range(SYMBOLS), repeat=ELEMENTS)))
    every = Rows(x, torch.full((len(x),), ELEMENTS))
    codes = nn.functional.one_hot(torch.tensor(list(itertools.product(range(4), repeat=2))), 4).double()  # [16, 2, 4]
    with torch.no_grad():
        joint = torch.stack([model.log_likelihood(every, one.expand(1, len(x), 2, 4))[0].sum(dim=1) for one in codes])
        evidence = torch.logsumexp(joint, dim=0) - 2 * math.log(4)  # [729]
        objective = MaximumEvidence(MaximumEvidence.Config(), {"model": model}, Facts(vocab_size=SYMBOLS))
        bound = figures(objective, every)["elbo"]
    assert torch.logsumexp(evidence, dim=0).exp() == pytest.approx(1)
    assert (bound <= evidence + 1e-12).all()
    assert (bound > evidence - 2 * math.log(4) - 3).any()


# (9)
def test_the_decoder_hears_nothing_of_what_comes_later_but_the_code() -> None:
    model, batch = model_of(made()), batch_of()
    z = model.posterior.code(model.encoded(batch)[0], setting(model.posterior))[None]  # type: ignore[arg-type]
    before = model.log_likelihood(batch, z)
    for element in range(ELEMENTS):
        other = batch.x.clone()
        other[:, element] = (other[:, element] + 1) % SYMBOLS
        after = model.log_likelihood(Rows(other, batch.lengths), z)
        assert torch.equal(after[..., :element], before[..., :element])
        assert not torch.equal(after[..., element:], before[..., element:])
    moved = model.log_likelihood(batch, z.roll(1, dims=-1))
    assert not torch.allclose(moved, before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": 1}, "give 2 entries or more"),
        ({"dim": 5, "groups": 2}, "share evenly"),
        ({"commitment": -1.0}, "a commitment from 0"),
        ({"decay": 1.0}, "give both from 0, below 1"),
        ({"revival": -0.5}, "give both from 0, below 1"),
    ],
)
def test_what_makes_no_codebook_is_refused(options: Mapping[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        VectorQuantised(VectorQuantised.Config(**options))


def test_a_density_over_other_symbols_is_no_prior() -> None:
    kind = DensityPrior
    (options,) = kind.options_for(made(groups=2))
    assert kind.build(options, dim=12, examples=0).groups == 2
    with pytest.raises(SeqgenError, match="give it the vocab_size of one group"):
        kind.build(options, dim=13, examples=0)
