"""Adversarially learned inference: its two losses, whose gradient goes where, and a game that stands still where the
joint distributions are one."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from seqgen import registry
from seqgen.audio.codec import Float
from seqgen.config import Component
from seqgen.distributions.gaussian import Gaussian
from seqgen.errors import SeqgenError
from seqgen.export.distributions import distribution
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.examples import SmallEncoder
from seqgen.generation.framewise import Framewise
from seqgen.latents.examples import small
from seqgen.latents.gaussian import GaussianPosterior
from seqgen.latents.standard_normal import StandardNormal
from seqgen.latents.variable import LatentVariable
from seqgen.models.concatenated_critic import ConcatenatedCritic
from seqgen.noise import Key
from seqgen.objectives.adversarial_inference import AdversarialInference, discriminator_loss, model_loss
from seqgen.objectives.contract import Part, Rows
from seqgen.spec import Facts, FrameSpec

KEY = Key(2, 7)


def example(number: int = 0) -> tuple[AdversarialInference, Rows]:
    made = list(AdversarialInference.examples())[number]
    assert isinstance(made.objective, AdversarialInference)
    return copy.deepcopy(made.objective).double(), Rows(made.batch.x.double(), made.batch.lengths)


def test_losses_are_those_of_probabilities() -> None:
    generator = torch.Generator().manual_seed(1)
    q, p = 4 * torch.randn(2, 50, generator=generator, dtype=torch.float64)
    rho_q, rho_p = torch.sigmoid(q), torch.sigmoid(p)
    torch.testing.assert_close(discriminator_loss(q, p), -rho_q.log() - (1 - rho_p).log())
    torch.testing.assert_close(model_loss(q, p), -(1 - rho_q).log() - rho_p.log())
    torch.testing.assert_close(model_loss(q, p), discriminator_loss(-q, -p))  # the sources exchanged
    nothing = torch.zeros(3, dtype=torch.float64)
    assert discriminator_loss(nothing, nothing).tolist() == pytest.approx([2 * math.log(2)] * 3)


def test_the_models_gradient_does_not_vanish_where_it_loses() -> None:
    """Of a made pair that is found out, l = -10, the gradient is 1; that of ln (1 - D) would be 4.5e-5."""
    logit = torch.tensor(-10.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model_loss(torch.tensor(0.0), logit), logit)
    (saturating,) = torch.autograd.grad(-nn.functional.softplus(logit), logit)
    assert float(slope) == pytest.approx(-1, abs=1e-4)
    assert float(saturating) == pytest.approx(-4.54e-5, rel=1e-2)


def test_with_the_best_discriminator_the_game_is_a_jensen_shannon_divergence() -> None:
    """Tables of 4 x 4 joint probabilities: V = 2 JSD - 2 ln 2 at D* = q / (q + p), and its gradient by the tables, D*
    held, is that of 2 JSD; nothing but equal tables has none."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 16, generator=generator, dtype=torch.float64, requires_grad=True)

    def game(held: bool) -> Tensor:
        q, p = logits.softmax(dim=-1)
        best = (q.log() - p.log()).detach() if held else q.log() - p.log()
        return -(q * nn.functional.softplus(-best)).sum() - (p * nn.functional.softplus(best)).sum()

    def divergence() -> Tensor:
        q, p = logits.softmax(dim=-1)
        middle = (q + p) / 2
        return (q * (q / middle).log()).sum() / 2 + (p * (p / middle).log()).sum() / 2

    assert game(held=True).item() == pytest.approx((2 * divergence() - 2 * math.log(2)).item())
    (held,) = torch.autograd.grad(game(held=True), logits)
    (expected,) = torch.autograd.grad(2 * divergence(), logits)
    torch.testing.assert_close(held, expected)
    with torch.no_grad():
        logits[1] = logits[0]
    (none,) = torch.autograd.grad(game(held=True), logits)
    assert float(none.abs().max()) < 1e-12


def test_gradients_reach_the_encoder_by_its_codes_and_the_decoder_by_its_data() -> None:
    made, batch = example()
    inferred, drawn = made.pairs(batch, KEY)
    encoder, decoder = (
        [one for name, one in made.model.named_parameters() if name.startswith(prefixes)]
        for prefixes in (("encoder.", "head."), ("decoder.",))
    )
    assert not inferred.x.requires_grad
    assert not drawn.z.requires_grad
    for value, owners, others in ((inferred.z, encoder, decoder), (drawn.x, decoder, encoder)):
        assert all(one is not None for one in torch.autograd.grad(value.sum(), owners, retain_graph=True))
        reached = torch.autograd.grad(value.sum(), others, retain_graph=True, allow_unused=True)
        assert all(one is None for one in reached)


def test_a_game_at_its_end_moves_nobody() -> None:
    """z ~ N(0, 1), x = 0.6 z + 0.8 ε, and the exact posterior for an encoder, N(0.6 x, 0.8²): pairs of both kinds have
    one distribution, and a fitted discriminator is as often right as wrong. Codes half a unit beside are told."""
    made = exact()
    right, loss = told_apart(made)
    assert abs(right - 0.5) < 3 * 0.5 / math.sqrt(40_000)
    assert loss == pytest.approx(2 * math.log(2), abs=5e-3)
    with torch.no_grad():
        made.model.head.bias[0] += 0.5
    assert told_apart(made)[0] > 0.55


@torch.no_grad()
def told_apart(made: AdversarialInference) -> tuple[float, float]:
    """How often a logistic discriminator of squares and products is right of fresh pairs, and its loss."""
    (seen, kind), (fresh, truth) = (features(made, count, seed) for seed, count in enumerate((4000, 20_000)))
    judge = nn.Linear(5, 1).double()
    fit = torch.optim.LBFGS(judge.parameters(), max_iter=50)

    def loss() -> Tensor:
        fit.zero_grad()
        with torch.enable_grad():
            value = nn.functional.binary_cross_entropy_with_logits(judge(seen)[:, 0], kind)
        value.backward()
        return value

    fit.step(loss)
    logits = judge(fresh)[:, 0]
    right = ((logits > 0) == (truth > 0.5)).double().mean()
    return float(right), float(2 * nn.functional.binary_cross_entropy_with_logits(logits, truth))


def features(made: AdversarialInference, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers that tell of each pair, of either kind in turn, and its kind."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 1, 1, generator=generator, dtype=torch.float64)
    both = made.pairs(Rows(x, torch.ones(count, dtype=torch.int64)), Key(seed, 0))
    told = [torch.cat([one.x, one.z, one.x**2, one.z**2, one.x * one.z], dim=1) for one in both]
    return torch.cat(told), torch.cat([torch.ones(count), torch.zeros(count)]).double()


def exact() -> AdversarialInference:
    """A linear model of one number with the exact posterior as its encoder."""
    encoder = SmallEncoder(vocab_size=0, out_dim=1)
    encoder.table, encoder.convolution = _Row(), nn.Conv1d(1, 1, 1)
    posterior, prior = GaussianPosterior(GaussianPosterior.Config(dim=1)), StandardNormal(StandardNormal.Config(dim=1))
    options = Framewise.Config(hidden=(), distribution=Component("gaussian", {"limit": math.inf}))
    model = LatentVariable(
        encoder, posterior, prior, Framewise.build(options, Facts(frames=FrameSpec(channels=1, hop=1)))
    )
    judge = ConcatenatedCritic(ConcatenatedCritic.Config(x_dim=1, y_dim=1, hidden=3))
    made = AdversarialInference(
        AdversarialInference.Config(), {"model": model, "discriminator": judge}, Facts()
    ).double()
    with torch.no_grad():
        for one in made.model.parameters():
            one.zero_()
        encoder.convolution.weight.fill_(1)
        made.model.head.weight[0] = 0.6
        made.model.head.bias[1] = 2 * math.log(0.8)
        assert isinstance(made.model.decoder, Framewise)
        linear = made.model.decoder.numbers.linear
        assert isinstance(linear, nn.Linear)
        linear.weight[0] = 0.6
        last = made.model.decoder.numbers.network
        assert isinstance(last, nn.Sequential)
        assert isinstance(last[-1], nn.Linear)
        last[-1].bias[1] = math.log(0.8)
    return made


class _Row(nn.Module):
    """What stands where an encoder embeds its numbers: they pass as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_shorter_rows_end_in_zeros_in_both_kinds_of_pairs() -> None:
    made, batch = example()
    for one in made.pairs(batch, KEY):
        beyond = torch.arange(6)[None] >= batch.lengths[:, None]
        assert bool((one.x[beyond] == 0).all())
        assert bool((one.x[~beyond] != 0).all())
        assert (one.z.unflatten(1, (3, 2)).abs().sum(dim=-1) > 0).sum(dim=1).tolist() == [3, 2, 1]
    shorter = Rows(batch.x[1:, :3], batch.lengths[1:])
    assert bool(made(Part(shorter, KEY), "discriminator").total.isfinite())


def test_reconstruction_is_the_distance_from_what_a_code_makes_one_expect() -> None:
    made, batch = example(1)
    loss = made(Part(batch, KEY), "model")
    half = torch.full((3, 6, 1), 0.5, dtype=torch.float64)
    squares = (made.model.reconstruct(batch, half) - batch.x[..., 0]).square()
    rows = torch.stack([squares[row, :count].mean() for row, count in enumerate(batch.lengths.tolist())])
    torch.testing.assert_close(loss.terms["reconstruction"], rows.mean())
    found = made.measure(batch, KEY, 0)["reconstruction"]
    assert float(found.amounts.sum() / found.weights.sum()) == pytest.approx(
        float(sum(squares[row, :count].sum() for row, count in enumerate(batch.lengths.tolist())) / 10)
    )


def test_parts_that_do_not_fit_are_refused() -> None:
    made, batch = example()
    networks = {"model": made.model, "discriminator": made.discriminator}
    symbols = small(LatentVariable, GaussianPosterior(GaussianPosterior.Config(dim=2)))
    assert isinstance(symbols.decoder, AutoRegressive)
    with pytest.raises(SeqgenError, match="real numbers"):
        AdversarialInference(AdversarialInference.Config(), {**networks, "model": symbols}, Facts())
    categorical = next(iter(registry.POSTERIORS.load("categorical").examples()))
    drawn = LatentVariable(made.model.encoder, categorical, made.model.prior, made.model.decoder)
    with pytest.raises(SeqgenError, match="no gradient passes through codes of CategoricalPosterior"):
        AdversarialInference(AdversarialInference.Config(), {**networks, "model": drawn}, Facts())
    learnt = registry.PRIORS.load("normal-mixture")
    options = next(iter(learnt.options_for(made.model.posterior)))
    moving = LatentVariable(
        made.model.encoder, made.model.posterior, learnt.build(options, dim=2, examples=7), made.model.decoder
    )
    with pytest.raises(SeqgenError, match="is learnt"):
        AdversarialInference(AdversarialInference.Config(), {**networks, "model": moving}, Facts())
    judge = ConcatenatedCritic(ConcatenatedCritic.Config(x_dim=5, y_dim=6, hidden=7)).double()
    tight = AdversarialInference(AdversarialInference.Config(), {**networks, "discriminator": judge}, Facts())
    with pytest.raises(SeqgenError, match="a row of 6 numbers and a code of 6, the discriminator reads 5 and 6"):
        tight(Part(batch, KEY), "discriminator")


def test_numbers_that_are_no_audio_are_drawn_without_a_limit() -> None:
    params = torch.tensor([[5.0, 0.0], [-7.0, 0.0]], requires_grad=True)
    u = torch.full((2, 1), 0.5)
    audio, features = (Gaussian(Gaussian.Config(limit=limit)) for limit in (1.0, math.inf))
    assert audio.sample(params, u).tolist() == [1, -1]
    drawn = features.sample(params, u)
    assert drawn.tolist() == pytest.approx([5, -7])
    (slope,) = torch.autograd.grad(drawn.sum(), params)
    assert slope[:, 0].tolist() == [1, 1]
    assert distribution(audio, Float()) == [{"op": "gaussian", "origin": 0.0, "min_log_scale": -9.0}]
    assert distribution(features, Float()) is None  # the engine draws audio
    with pytest.raises(SeqgenError, match="an amplitude of 0"):
        Gaussian(Gaussian.Config(limit=0.0))
