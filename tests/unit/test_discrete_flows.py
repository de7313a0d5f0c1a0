"""Flows of symbols against what is known of them: arithmetic modulo K, exact inverses, probabilities that only move."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from seqgen import config, noise, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.flows.modular import Modular
from seqgen.flows.one_hot import add, hardened, inverses, minus, mul, one_hot, straight_through, units
from seqgen.flows.sinkhorn import Sinkhorn
from seqgen.flows.verify import every_sequence
from seqgen.generation.flow import Flow
from seqgen.models.bipartite import Bipartite
from seqgen.nets.layers import SymbolTable
from seqgen.spec import Facts

LAYERS = (1, 2, 3, 4)
# Alphabets with the scales that can be undone of each.
ALPHABETS = ((5, "none"), (5, "free"), (4, "coprime"))


def lively(module: nn.Module, seed: int = 0, size: float = 1.0) -> Any:
    """The module in float64 with random weights, so that its maps are far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return module.double()


def bipartite(size: int, length: int, layers: int, scaling: str = "none", **options: Any) -> Component:
    net = {"name": "perceptron", "vocab_size": size, "positions": length, "hidden": 16, "layers": 1}
    made = {"vocab_size": size, "length": length, "layers": layers, "scaling": scaling, "net": net}
    return Component("bipartite", made | options)


def ordered(size: int, length: int, layers: int, scaling: str = "none", model: str = "recurrent") -> Component:
    outputs = Modular(size, scaling).num_params  # type: ignore[arg-type]
    net = {"name": model, "vocab_size": size, "outputs": outputs, "hidden": 16, "embedding": 8}
    net |= {"window": length} if model == "window-perceptron" else {}
    options = {"vocab_size": size, "length": length, "layers": layers, "scaling": scaling, "net": net}
    return Component("discrete-autoregressive", options)


def built(component: Component, seed: int = 0) -> Any:
    return lively(config.construct(component, registry.FLOWS, source="test"), seed)


def density(*bijectors: Component, size: int, length: int, seed: int = 0) -> Flow:
    base = Component("factorised", {"vocab_size": size, "length": length})
    return lively(Flow.build(Flow.Config(base, bijectors), Facts(vocab_size=size)), seed)


FLOWS = [
    pytest.param(made(size, 3, layers, scaling), id=f"{made.__name__}-{size}-{scaling}-{layers}")
    for made, (size, scaling), layers in itertools.product((bipartite, ordered), ALPHABETS, LAYERS)
]


@torch.no_grad()
@pytest.mark.parametrize("component", FLOWS)
def test_every_sequence_is_found_again_and_none_twice(component: Component) -> None:
    flow = built(component)
    every = every_sequence(flow.vocab_size, 3, torch.float64)
    x, _ = flow.forward_and_log_det(every)
    assert torch.equal(flow.inverse_and_log_det(x)[0], every)
    assert torch.equal(flow.forward_and_log_det(flow.inverse_and_log_det(every)[0])[0], every)
    assert len(x.argmax(dim=-1).unique(dim=0)) == len(every)
    assert not torch.equal(x, every)


@torch.no_grad()
@pytest.mark.parametrize("component", FLOWS)
def test_probabilities_move_and_stay_the_same(component: Component) -> None:
    size = component.options["vocab_size"]
    flow = density(component, size=size, length=3)
    every = every_sequence(size, 3).argmax(dim=-1)
    log_p, log_base = (one.log_prob(every).sum(dim=1) for one in (flow, flow.base))
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-6)
    assert not torch.allclose(log_p, log_base)
    torch.testing.assert_close(log_p.sort().values, log_base.sort().values, rtol=0, atol=1e-12)


@torch.no_grad()
def test_what_is_uniform_stays_so() -> None:
    flow = density(bipartite(5, 3, 4, "free"), size=5, length=3)
    flow.base.logits.zero_()  # type: ignore[operator, union-attr]
    every = every_sequence(5, 3).argmax(dim=-1)
    torch.testing.assert_close(flow.log_prob(every), torch.full((125, 3), -math.log(5), dtype=torch.float64))


@pytest.mark.parametrize("size", [2, 4, 5, 9, 27])
def test_hard_arithmetic_is_that_of_integers(size: int) -> None:
    x, s = torch.cartesian_prod(torch.arange(size), torch.arange(size)).T
    one, other = one_hot(x, size), one_hot(s, size)
    assert torch.equal(hardened(add(one, other)), one_hot((x + s) % size, size))
    assert torch.equal(hardened(minus(one, other)), one_hot((x - s) % size, size))
    torch.testing.assert_close(minus(add(one, other), other), one, rtol=0, atol=1e-6)
    factors = tuple(range(1, size))
    scaled = s > 0
    found = mul(one[scaled], other[scaled][:, 1:], factors)
    assert torch.equal(found, one_hot(x * s % size, size)[scaled])
    if size == 2:
        assert torch.equal(hardened(add(one, other)).argmax(dim=-1), x ^ s)


def test_soft_arithmetic_is_the_expectation_over_independent_choices() -> None:
    size, generator = 6, torch.Generator().manual_seed(0)
    x, s = torch.rand(2, 3, size, generator=generator, dtype=torch.float64)
    factors = (1, 2, 5)
    added, less, times = torch.zeros(3, size).double(), torch.zeros(3, size).double(), torch.zeros(3, size).double()
    for v, w in itertools.product(range(size), range(size)):
        added[:, (v + w) % size] += x[:, v] * s[:, w]
        less[:, (v - w) % size] += x[:, v] * s[:, w]
        if w < len(factors):
            times[:, factors[w] * v % size] += x[:, v] * s[:, w]
    torch.testing.assert_close(add(x, s), added)
    torch.testing.assert_close(minus(x, s), less)
    torch.testing.assert_close(mul(x, s[:, : len(factors)], factors), times)


def test_nothing_is_multiplied_by_zero() -> None:
    with pytest.raises(SeqgenError, match="a factor of 0 modulo 5"):
        mul(one_hot(torch.arange(5), 5), torch.ones(5, 2), (0, 1))


@pytest.mark.parametrize("size", [2, 4, 5, 12, 27, 79])
def test_inverses_undo_what_can_be_undone(size: int) -> None:
    factors = units(size)
    assert all(one * other % size == 1 for one, other in zip(factors, inverses(factors, size), strict=True))
    assert len(factors) == sum(math.gcd(one, size) == 1 for one in range(size))
    if size == 27:
        assert all(factor % 3 for factor in factors)
        with pytest.raises(SeqgenError, match="6 has no inverse modulo 27: they have the divisor 3"):
            inverses((6,), 27)


def test_straight_through_is_hard_forwards_and_soft_backwards() -> None:
    logits = torch.randn(4, 7, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    made, weights = straight_through(logits, 0.1), torch.randn(4, 7, dtype=torch.float64)
    assert torch.equal(made, one_hot(logits.argmax(dim=-1), 7, torch.float64))
    (found,) = torch.autograd.grad((made * weights).sum(), logits)
    soft = torch.softmax(logits.detach() / 0.1, dim=-1)
    jacobian = (torch.diag_embed(soft) - soft[:, :, None] * soft[:, None]) / 0.1
    torch.testing.assert_close(found, (jacobian @ weights[..., None])[..., 0])


@pytest.mark.parametrize("model", ["recurrent", "window-perceptron"])
def test_a_layer_moves_symbols_by_those_before(model: str) -> None:
    """Elements become what they and all before them say; the second layer reads from the end."""
    flow, generator = built(ordered(7, 6, 1, "free", model)), torch.Generator().manual_seed(0)
    symbols = torch.randint(7, (60, 6), generator=generator)
    before, (net,) = one_hot(symbols, 7, torch.float64), flow.nets
    given = before.clone().requires_grad_()
    logits = net(torch.cat([torch.zeros_like(given[:, :1]), given[:, :-1]], dim=1))
    for place in range(6):
        (reached,) = torch.autograd.grad(logits[:, place].square().sum(), given, retain_graph=True)
        assert not reached[:, place:].any()
        assert place == 0 or bool(reached[:, :place].abs().sum(dim=(0, 2)).gt(0).all())
    with torch.no_grad():
        for place in range(6):
            other = before.clone()
            other[:, place] = before[:, place].roll(1, dims=-1)
            changed = (flow.inverse_and_log_det(other)[0] != flow.inverse_and_log_det(before)[0]).any(dim=-1).any(dim=0)
            assert not changed[:place].any()
            assert changed[place:].all()


@torch.no_grad()
def test_halves_move_each_other_in_turn() -> None:
    x = one_hot(torch.randint(5, (40, 6), generator=torch.Generator().manual_seed(0)), 5, torch.float64)
    for layers, still in ((1, slice(0, None, 2)), (2, slice(0, 0))):
        z, _ = built(bipartite(5, 6, layers)).inverse_and_log_det(x)
        assert torch.equal(z[:, still], x[:, still])
        moved = (z != x).any(dim=-1).any(dim=0)
        assert int(moved.sum()) == (3 if layers == 1 else 6)


def test_a_composite_alphabet_has_no_free_scale() -> None:
    with pytest.raises(SeqgenError, match="modulo 27 is not invertible: times 3, symbol 9 becomes 0 as 0 does"):
        Modular(27, "free")
    assert Modular(27, "coprime").factors == tuple(factor for factor in range(1, 27) if factor % 3)
    assert Modular(5, "free").factors == Modular(5, "coprime").factors == (1, 2, 3, 4)
    assert Modular(2, "free").num_params == 3


def test_a_fresh_flow_leaves_most_symbols_as_they_are() -> None:
    torch.manual_seed(0)
    x = one_hot(torch.randint(5, (200, 6)), 5)
    flow = config.construct(bipartite(5, 6, 4, identity=1.0), registry.FLOWS, source="test")
    assert float((flow.inverse_and_log_det(x)[0] == x).all(dim=-1).float().mean()) > 0.9


@torch.no_grad()
def test_permutations_are_learned_per_position() -> None:
    flow = lively(Sinkhorn(Sinkhorn.Config(vocab_size=5, length=3, iterations=2000)), 2)
    matrices = flow.permutations()
    assert bool((matrices.round().sum(dim=1) == 1).all() and (matrices.round().sum(dim=2) == 1).all())
    soft = flow.soft_permutations()
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(3, 5).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(soft.sum(dim=2), torch.ones(3, 5).double(), atol=1e-3, rtol=0)
    fresh = Sinkhorn(Sinkhorn.Config(vocab_size=5, length=3))
    assert torch.equal(fresh.permutations().round(), torch.eye(5).repeat(3, 1, 1))
    x = every_sequence(5, 3, torch.float64)
    z, _ = flow.inverse_and_log_det(x)
    expected = torch.stack([matrices[place].argmax(dim=1)[x[:, place].argmax(dim=-1)] for place in range(3)], dim=1)
    assert torch.equal(z.argmax(dim=-1), expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", [bipartite, ordered])
def test_samples_are_drawn_as_they_are_scored(kind: Any) -> None:
    count, flow = 200_000, density(kind(4, 3, 2, "coprime"), size=4, length=3)
    u = torch.from_numpy(noise.block(1, 0, 0, count * 3)).double().view(count, 3, 1)
    drawn = flow.sample(u) @ 4 ** torch.arange(2, -1, -1)
    expected = count * flow.log_prob(every_sequence(4, 3).argmax(dim=-1)).sum(dim=1).exp()
    found = torch.bincount(drawn, minlength=64)
    often = expected > 5
    statistic = float(((found - expected)[often] ** 2 / expected[often]).sum())
    assert chi2.sf(statistic, int(often.sum()) - 1) > 1e-3
    assert int(found[~often].sum()) < 2 * float(expected[~often].sum()) + 30


TARGET = torch.rand(25, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 3
TARGET /= TARGET.sum()


def test_the_bases_gradient_is_exact() -> None:
    """Of the expected log-likelihood of a known distribution, whose noise z = f⁻¹(x) is gone through."""
    flow, every = density(bipartite(5, 2, 2), size=5, length=2), every_sequence(5, 2).argmax(dim=-1)
    (TARGET[:, None] * flow.log_prob(every)).sum().backward()
    logits: Tensor = flow.base.logits  # type: ignore[assignment]
    z = flow.bijectors[0].inverse_and_log_det(one_hot(every, 5, torch.float64))[0].detach()  # type: ignore[operator]
    expected = torch.einsum("n,ndk->dk", TARGET, z) - torch.softmax(logits.detach(), dim=1)
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize(("layers", "least", "most"), [(1, 1 - 1e-9, 1 + 1e-9), (2, 0.7, 0.95), (4, 0.4, 0.8)])
def test_straight_through_gradients_are_exact_for_one_layer_only(layers: int, least: float, most: float) -> None:
    """Hard choices have a gradient of zero almost everywhere; what is followed instead is held against the gradient of
    the expectation over shifts drawn from softmax(logits / τ), enumerated over all of them. The likelihood is linear in
    the choices of one layer, so there the two are one; through the networks of further layers the estimate is biased.
    Measured: mean cosines of 1, 0.85, 0.75 and 0.60 for one to four layers."""
    found = [_cosine(layers, seed) for seed in range(20)]
    assert least < float(np.mean(found)) < most, found


def _cosine(layers: int, seed: int) -> float:
    """Cosine of the straight-through gradient by the flow's parameters and the exact one of drawn shifts."""
    flow, every = density(bipartite(5, 2, layers, temperature=0.5), size=5, length=2, seed=seed), every_sequence(5, 2)
    part: Bipartite = flow.bijectors[0]  # type: ignore[assignment]
    for head in part.heads:
        head.weight.data.mul_(0.1)  # choices that are not sure
    exact = _expected(part, torch.log_softmax(flow.base.logits.detach(), dim=1), every.double(), 0)  # type: ignore[arg-type]
    parameters = list(part.parameters())
    gradients = (
        torch.autograd.grad((TARGET * value).sum(), parameters)
        for value in (exact, flow.log_prob(every.argmax(dim=-1)).sum(dim=1))
    )
    one, other = (torch.cat([gradient.flatten() for gradient in each]) for each in gradients)
    return float((one @ other) / (one.norm() * other.norm()))


def _expected(part: Bipartite, table: Tensor, x: Tensor, layer: int) -> Tensor:
    """``E ln p(x)`` of sequences ``[N, 2, K]`` over the shifts that the layers from this one on may choose, ``[N]``."""
    if layer == len(part.nets):
        return (x * table).sum(dim=(1, 2))
    moved, (_, given) = 1 - layer % 2, part._given(x, layer)
    raised = given[:, moved] + part.map.identity * one_hot(torch.tensor(0), 5, x.dtype)
    chosen = torch.softmax(raised / part.map.temperature, dim=-1)  # [N, K]
    total = torch.zeros(len(x), dtype=x.dtype)
    for shift in range(5):
        other = x.clone()
        other[:, moved] = x[:, moved].roll(shift, dims=-1)
        total = total + chosen[:, shift] * _expected(part, table, other, layer + 1)
    return total


READERS = [
    name for name in registry.MODELS
    if any(isinstance(part, SymbolTable) for one in registry.MODELS.load(name).examples() for part in one.modules())
]  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_models_read_one_hots_as_they_read_symbols(name: str) -> None:
    for model in registry.MODELS.load(name).examples():
        if hasattr(model, "spec") and model.spec.cond_dim:
            continue
        size = model.spec.vocab_size if hasattr(model, "spec") else model.vocab_size
        if not size:  # it reads real numbers
            continue
        symbols = torch.randint(size, (2, 6), generator=torch.Generator().manual_seed(0))
        further = () if hasattr(model, "spec") else (torch.tensor([6, 4]),)
        torch.testing.assert_close(model(one_hot(symbols, size), *further), model(symbols, *further))


def test_an_autoregressive_base_is_scored_by_one_hots_too() -> None:
    body = {"name": "recurrent", "vocab_size": 5, "outputs": 5, "hidden": 6}
    kind = registry.DENSITIES.load("autoregressive")
    base = kind.build(kind.Config(Component("recurrent", {k: v for k, v in body.items() if k != "name"})), Facts())
    x = torch.randint(5, (3, 7), generator=torch.Generator().manual_seed(0))
    hard = one_hot(x, 5).requires_grad_()
    scores = base.log_prob(hard)
    torch.testing.assert_close(scores, base.log_prob(x))
    (reached,) = torch.autograd.grad(scores[:, -1].sum(), hard)
    assert bool(reached.abs().sum(dim=(0, 2)).gt(0).all())


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (bipartite(4, 3, 1, "free"), "set scaling to coprime"),
        (bipartite(5, 3, 0), "0 layers"),
        (bipartite(5, 1, 1), "blocks of 1"),
        (bipartite(5, 3, 1, net={"name": "recurrent", "vocab_size": 5, "outputs": 5}), "give an encoder"),
        (bipartite(1, 3, 1), "a flow over 1 symbols"),
        (bipartite(5, 3, 1, temperature=0.0), "'temperature' is 0.0"),
        (Component("discrete-autoregressive", {**ordered(5, 3, 1).options, "scaling": "free"}), "its outputs to 9"),
        (Component("sinkhorn", {"vocab_size": 5, "length": 0}), "give 1 or more"),
    ],
)
def test_what_makes_no_flow_is_refused(component: Component, said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        built(component)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SeqgenError, match="Bipartite maps 4 symbols, the base draws 5"):
        density(bipartite(4, 3, 1), size=5, length=3)
    with pytest.raises(SeqgenError, match=r"parts of blocks of \[3, 4\]"):
        density(bipartite(5, 3, 1), size=5, length=4)
    flow = density(bipartite(5, 3, 1), size=5, length=3)
    with pytest.raises(SeqgenError, match="a sequence of 4 elements, the density is one of blocks of 3"):
        flow.log_prob(torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(SeqgenError, match="a sequence of 4 elements, the flow takes 3"):
        built(bipartite(5, 3, 1)).forward_and_log_det(one_hot(torch.zeros(1, 4, dtype=torch.int64), 5))


@torch.no_grad()
def test_one_layer_over_two_positions_is_a_table_of_shifts() -> None:
    """Its best can be found by going through the tables."""
    flow = built(bipartite(5, 2, 1), seed=1)
    every = every_sequence(5, 2, torch.float64)
    z = flow.inverse_and_log_det(every)[0].argmax(dim=-1)
    first, second = every.argmax(dim=-1).T
    shifts = (z[:, 1] - second) % 5
    assert torch.equal(z[:, 0], first)
    assert all(len(shifts[first == symbol].unique()) == 1 for symbol in range(5))
    assert np.unique(shifts.numpy()).size > 1


def test_real_numbers_go_through_affine_flows() -> None:
    """The same density over a base of real numbers: what the base says of the noise, and the volume's share."""
    kind = registry.DENSITIES.load("autoregressive")
    body = Component("wavenet", {"vocab_size": 0, "outputs": 2, "layers": 2, "conditioned": False, "head_channels": 4,
                                 "residual_channels": 4, "gate_channels": 4, "skip_channels": 4})  # fmt: skip
    base = kind.build(kind.Config(body, Component("gaussian")), Facts()).double()
    affine = registry.FLOWS.load("parallel-wavenet")
    sizes = {"layers": (2,), "residual_channels": 4, "gate_channels": 4, "head_channels": 4, "conditioned": False}
    bijector = affine(affine.Config(**sizes)).double()
    flow, x = Flow(base, [bijector]), torch.randn(2, 5, 1, dtype=torch.float64)
    z, log_det = bijector.inverse_and_log_det(x)
    torch.testing.assert_close(flow.log_prob(x), base.log_prob(z) + log_det)
    u = torch.rand(2, 5, 1, dtype=torch.float64)
    made = flow.sample(u)
    torch.testing.assert_close(made, bijector.forward_and_log_det(base.sample(u)[..., None])[0][..., 0])


def test_most_models_of_symbols_read_one_hots() -> None:
    assert set(READERS) >= {"recurrent", "window-perceptron", "perceptron", "transformer-encoder"}
