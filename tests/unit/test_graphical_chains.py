"""Chains against what is known in another way: Gaussian ones against one dense Gaussian, discrete ones against every
path."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.hidden_markov import DiscreteChain
from seqgen.graphical.linear_dynamical import GaussianChain
from seqgen.graphical.transition import TransitionFactor
from tests.unit.graphical_models import Drawn, dense

B, T, N, K = 3, 5, 2, 3
EXACT = {"rtol": 1e-10, "atol": 1e-10}
SHAPES = {"one": ((), ()), "each sequence's": ((B,), (B, 1)), "each frame's": ((B,), (B, T - 1))}


def gaussian_chain(initial: tuple[int, ...] = (), pairs: tuple[int, ...] = (), frames: int = T) -> GaussianChain:
    drawn = Drawn(0)
    return GaussianChain(drawn.gaussian(*initial, n=N), drawn.transition(*pairs, n=N), drawn.evidence(B, frames, n=N))


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_a_gaussian_chain_is_the_dense_gaussian(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    chain = gaussian_chain(*shapes)
    whole = dense(chain)
    mean, covariance = whole.standard()
    second = (covariance + mean[:, :, None] * mean[:, None, :]).view(B, T, N, T, N)
    found, total = chain.inferred()
    torch.testing.assert_close(total, whole.log_normaliser(), **EXACT)
    torch.testing.assert_close(chain.log_normaliser(), total, rtol=0, atol=0)
    torch.testing.assert_close(found.first, mean.view(B, T, N), **EXACT)
    for t in range(T):
        torch.testing.assert_close(found.second[:, t], second[:, t, :, t], **EXACT)
    for t in range(T - 1):
        torch.testing.assert_close(found.across[:, t], second[:, t, :, t + 1], **EXACT)


def test_smoothed_statistics_are_gradients_of_the_log_normaliser() -> None:
    chain = gaussian_chain((B,), (B, T - 1))
    factors = (chain.initial, chain.pairs, chain.nodes)
    leaves = [tuple(each.detach().requires_grad_() for each in factor.natural) for factor in factors]
    made = GaussianChain(GaussianFactor(*leaves[0]), TransitionFactor(*leaves[1]), GaussianFactor(*leaves[2]))
    found = chain.expected()
    for mine, statistics in zip(leaves, (found.initial, found.pairs, found.nodes), strict=True):
        gradients = torch.autograd.grad(made.log_normaliser().sum(), mine)
        for gradient, statistic in zip(gradients, statistics, strict=True):
            torch.testing.assert_close(gradient, statistic, rtol=1e-8, atol=1e-8)


def test_backward_draws_have_the_dense_moments() -> None:
    chain = gaussian_chain()
    mean, covariance = dense(chain).standard()
    x = chain.sample(Drawn(1).normal(100_000, B, T, N)).flatten(2)  # [100000, B, T N]
    torch.testing.assert_close(x.mean(dim=0), mean, rtol=0, atol=0.02)
    for row in range(B):
        torch.testing.assert_close(torch.cov(x[:, row].T), covariance[row], rtol=0, atol=0.03)


def test_draws_run_a_gradient_to_the_evidence() -> None:
    """Where evidence h moves by δ, the mean moves by Σ δ, and so does every draw."""
    chain = gaussian_chain()
    linear = chain.nodes.linear.clone().requires_grad_()
    x = replace(chain, nodes=replace(chain.nodes, linear=linear)).sample(Drawn(2).normal(B, T, N))
    (found,) = torch.autograd.grad(x[0, 1, 0], linear)
    _, covariance = dense(chain).standard()
    torch.testing.assert_close(found[0].flatten(), covariance[0, N], **EXACT)


def test_one_frame_is_a_gaussian() -> None:
    chain = gaussian_chain(frames=1)
    alone = chain.initial + chain.nodes[:, 0]
    torch.testing.assert_close(chain.log_normaliser(), alone.log_normaliser(), **EXACT)
    torch.testing.assert_close(chain.expected().first[:, 0], alone.standard()[0], **EXACT)
    assert chain.expected().across.shape == (B, 0, N, N)
    normals = Drawn(3).normal(B, 1, N)
    torch.testing.assert_close(chain.sample(normals)[:, 0], alone.sample(normals[:, 0]))


def unseen(chain: GaussianChain, frames: slice) -> GaussianChain:
    """The chain without the evidence of some frames."""
    nodes = GaussianFactor(*(each.clone() for each in chain.nodes.natural))
    for parameter in nodes.natural:
        parameter[:, frames] = 0
    return replace(chain, nodes=nodes)


def test_without_evidence_a_chain_is_the_prior() -> None:
    chain = unseen(gaussian_chain(), slice(None))
    torch.testing.assert_close(chain.log_normaliser(), torch.zeros(B, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(chain.kl(), torch.zeros(B, dtype=torch.float64), **EXACT)
    matrix, noise = chain.pairs.standard()
    mean, covariance = chain.initial.standard()
    found = chain.expected()
    for t in range(T):
        torch.testing.assert_close(found.first[0, t], mean, **EXACT)
        torch.testing.assert_close(found.second[0, t] - torch.outer(mean, mean), covariance, **EXACT)
        mean, covariance = matrix @ mean, matrix @ covariance @ matrix.T + noise


def test_frames_that_were_not_seen_are_predicted() -> None:
    """The last two frames without evidence follow from the third by the dynamics alone."""
    chain = unseen(gaussian_chain(), slice(3, None))
    found = chain.expected()
    matrix, _ = chain.pairs.standard()
    torch.testing.assert_close(found.first[:, 3], found.first[:, 2] @ matrix.T, **EXACT)
    torch.testing.assert_close(found.first[:, 4], found.first[:, 3] @ matrix.T, **EXACT)
    short = replace(chain, nodes=chain.nodes[:, :3])
    torch.testing.assert_close(chain.log_normaliser(), short.log_normaliser(), **EXACT)


def test_divergence_of_a_chain_from_its_prior_is_that_of_dense_gaussians() -> None:
    chain = gaussian_chain()
    prior = dense(unseen(chain, slice(None)))
    torch.testing.assert_close(chain.kl(), dense(chain).kl(prior), **EXACT)
    assert (chain.kl() > 0.1).all()


def test_a_sequence_that_ends_is_as_it_is_alone() -> None:
    chain = unseen(gaussian_chain(), slice(3, None))
    inside = (torch.arange(T) < 3).expand(B, T)
    ended = replace(chain, pairs=chain.pairs.where(inside[:, 1:]))
    short = replace(chain, nodes=chain.nodes[:, :3])
    torch.testing.assert_close(ended.log_normaliser(), short.log_normaliser(), **EXACT)
    torch.testing.assert_close(ended.kl(), short.kl(), **EXACT)
    torch.testing.assert_close(ended.expected().first[:, :3], short.expected().first, **EXACT)
    torch.testing.assert_close(ended.expected().first[:, 3:], torch.zeros(B, 2, N, dtype=torch.float64), **EXACT)


def discrete_chain(frames: int = 6, pairs: tuple[int, ...] = ()) -> DiscreteChain:
    drawn = Drawn(4)
    return DiscreteChain(drawn.normal(K), drawn.normal(*pairs, K, K), 2 * drawn.normal(B, frames, K))


def paths(frames: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(K), repeat=frames)))  # [K^T, T]


def scores(chain: DiscreteChain) -> Tensor:
    """Log-potential of every path, [B, K^T]."""
    batch, frames, _ = chain.nodes.shape
    every = paths(frames)
    pairs = chain.pairs.expand(batch, frames - 1, K, K)
    total = chain.initial[every[:, 0]] + sum(chain.nodes[:, t, every[:, t]] for t in range(frames))
    return total + sum(pairs[:, t, every[:, t], every[:, t + 1]] for t in range(frames - 1))


@pytest.mark.parametrize("pairs", [(), (B, 5)], ids=["one transition", "each frame's"])
def test_a_discrete_chain_is_the_sum_over_all_paths(pairs: tuple[int, ...]) -> None:
    chain = discrete_chain(pairs=pairs)
    every, log_weights = paths(6), scores(chain)
    weights = log_weights.softmax(dim=-1)
    one_hot = torch.nn.functional.one_hot(every, K).double()  # [K^T, T, K]
    torch.testing.assert_close(chain.log_normaliser(), log_weights.logsumexp(dim=-1), **EXACT)
    found = chain.expected()
    torch.testing.assert_close(found.nodes, torch.einsum("bp,ptk->btk", weights, one_hot), **EXACT)
    joint = torch.einsum("bp,ptj,ptk->btjk", weights, one_hot[:, :-1], one_hot[:, 1:])
    torch.testing.assert_close(found.pairs, joint, **EXACT)
    assert torch.equal(chain.viterbi(), every[log_weights.argmax(dim=-1)])


def test_marginals_are_gradients_of_the_log_normaliser() -> None:
    chain = discrete_chain(pairs=(B, 5))
    leaves = [chain.initial.expand(B, K), chain.pairs, chain.nodes]
    leaves = [each.detach().clone().requires_grad_() for each in leaves]
    gradients = torch.autograd.grad(DiscreteChain(*leaves).log_normaliser().sum(), leaves)
    found = chain.expected()
    for gradient, statistic in zip(gradients, (found.nodes[:, 0], found.pairs, found.nodes), strict=True):
        torch.testing.assert_close(gradient, statistic, rtol=1e-8, atol=1e-8)


def test_drawn_paths_are_as_frequent_as_probable() -> None:
    chain = discrete_chain(frames=3)
    drawn = chain.sample(Drawn(5).uniform(100_000, B, 3))  # [100000, B, T]
    number = drawn[..., 0] * K * K + drawn[..., 1] * K + drawn[..., 2]
    for row in range(B):
        found = torch.bincount(number[:, row], minlength=K**3) / 100_000
        torch.testing.assert_close(found.double(), scores(chain)[row].softmax(dim=-1), rtol=0, atol=0.01)


def test_shares_of_the_normaliser_are_those_of_shorter_chains() -> None:
    chain = discrete_chain()
    shares = chain.predictive()
    for frames in range(1, 7):
        short = DiscreteChain(chain.initial, chain.pairs, chain.nodes[:, :frames])
        torch.testing.assert_close(shares[:, :frames].sum(dim=-1), short.log_normaliser())


def test_one_draw_needs_no_batch_of_draws() -> None:
    chain, u = discrete_chain(), Drawn(6).uniform(2, B, 6)
    assert torch.equal(chain.sample(u[1]), chain.sample(u)[1])


def test_one_frame_of_states_is_categorical() -> None:
    chain = discrete_chain(frames=1)
    known = (chain.initial + chain.nodes[:, 0]).softmax(dim=-1)
    torch.testing.assert_close(chain.expected().nodes[:, 0], known, **EXACT)
    assert torch.equal(chain.viterbi()[:, 0], known.argmax(dim=-1))
    assert chain.expected().pairs.shape == (B, 0, K, K)
