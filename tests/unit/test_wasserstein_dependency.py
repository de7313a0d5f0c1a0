"""Wasserstein dependency: penalties and slopes against closed forms, duals against transport, and what stays as it is
when units, pairings and weights change."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor, nn

from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.estimators.contract import joint_mean, product_mean
from seqgen.estimators.correlated_gaussians import CorrelatedGaussians
from seqgen.models.bilinear_critic import BilinearCritic
from seqgen.models.concatenated_critic import ConcatenatedCritic
from seqgen.models.critic import Critic
from seqgen.models.separable_critic import SeparableCritic
from seqgen.nets.spectral_norm import SpectralLinear, follow
from seqgen.noise import Key
from seqgen.objectives.contract import Rows
from seqgen.objectives.information import Information
from seqgen.objectives.lipschitz import KINDS, LipschitzPenalty, derangement, gradient_norms
from seqgen.objectives.verify import check_evaluation, check_pure
from seqgen.spec import Facts
from seqgen.train.verify import check_resume

KEY = Key(3, 8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(slope: float) -> ConcatenatedCritic:
    """``f(x, y) = a·x + b·y + 7`` with ``‖(a, b)‖ = slope``, float64."""
    critic = ConcatenatedCritic(ConcatenatedCritic.Config(3, 2, layers=0)).double()
    direction = torch.randn(1, 5, dtype=torch.float64, generator=generator(1))
    with torch.no_grad():
        critic.f[0].weight.copy_(slope * direction / direction.norm())
        critic.f[0].bias.fill_(7.0)
    return critic


def pairs(count: int = 12) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 3, dtype=torch.float64, generator=generator(2))
    return x, 3 * torch.randn(count, 2, dtype=torch.float64, generator=generator(4))


@pytest.mark.parametrize("points", [*((kind,) for kind in KINDS), KINDS])
@pytest.mark.parametrize("one_sided", [True, False])
@pytest.mark.parametrize("slope", [0.0, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("target", [1.0, 0.3])
def test_of_linear_scores_the_penalty_is_exact(points: Any, one_sided: bool, slope: float, target: float) -> None:
    made = LipschitzPenalty(points=points, one_sided=one_sided, target=target)
    slopes = made.slopes(linear(slope), *pairs(), KEY)
    assert len(slopes) == 12 * len(points)
    excess = slope - target
    expected = 0.0 if one_sided and excess < 0 else excess**2
    assert made.penalty(slopes).item() == pytest.approx(expected, abs=1e-12)


def test_of_no_critic_there_is_no_penalty_and_a_gradient_that_is_finite() -> None:
    critic = SeparableCritic(SeparableCritic.Config(3, 2, hidden=4))
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
    made = LipschitzPenalty()
    x, y = (side.float() for side in pairs())
    penalty = made.penalty(made.slopes(critic, x, y, KEY))
    assert penalty.item() == 0
    for two in (penalty, dataclasses.replace(made, one_sided=False).penalty(made.slopes(critic, x, y, KEY))):
        gradients = torch.autograd.grad(two, list(critic.parameters()), allow_unused=True)
        assert all(one is None or bool(one.isfinite().all()) for one in gradients)


def test_slopes_are_of_x_and_y_together_and_of_each_pair_alone() -> None:
    """``f = yᵀ W x`` has ``∇_x = Wᵀ y`` and ``∇_y = W x``: as steep as its pair is long, other pairs or not."""
    critic = BilinearCritic(BilinearCritic.Config(3, 2)).double()
    x, y = pairs()
    expected = torch.sqrt((y @ critic.weight).square().sum(1) + (x @ critic.weight.T).square().sum(1))
    torch.testing.assert_close(gradient_norms(critic, x, y), expected.detach(), check_dtype=True)
    torch.testing.assert_close(gradient_norms(critic, x[4:5], y[4:5]), expected[4:5].detach())


class Watched(BilinearCritic):
    """Keeps the pairs that it is asked for."""

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        self.seen = (x.detach(), y.detach())
        return super().paired(x, y)


def test_pairs_are_joint_products_and_between_them() -> None:
    critic, (x, y) = Watched(BilinearCritic.Config(3, 2)).double(), pairs()
    LipschitzPenalty().slopes(critic, x, y, KEY)
    firsts, (joint, product, between) = critic.seen[0].view(3, 12, 3), critic.seen[1].view(3, 12, 2)
    assert all(torch.equal(one, x) for one in firsts)
    assert torch.equal(joint, y)
    assert torch.equal(product, y[derangement(12, KEY)])
    shares = (between - product) / (y - product)
    torch.testing.assert_close(shares[:, 0], shares[:, 1])
    assert bool(((shares >= 0) & (shares < 1)).all())
    assert float(shares[:, 0].std()) > 0.1, "each pair has a share of its own"


def test_derangements_leave_nothing_in_its_place() -> None:
    seen = set()
    for count in (2, 3, 5, 64):
        for stream in range(50):
            order = derangement(count, Key(0, stream))
            assert sorted(order.tolist()) == list(range(count))
            assert bool((order != torch.arange(count)).all())
            seen.add(tuple(order.tolist()))
    assert len([one for one in seen if len(one) == 64]) == 50
    assert len([one for one in seen if len(one) == 3]) == 2


class Smooth(Critic):
    """Two layers with tanh between them."""

    def __init__(self, x_dim: int = 3, y_dim: int = 2) -> None:
        super().__init__(x_dim, y_dim)
        self.f = nn.Sequential(nn.Linear(x_dim + y_dim, 5), nn.Tanh(), nn.Linear(5, 1)).double()

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        both = torch.cat([x[None].expand(len(y), -1, -1), y[:, None].expand(-1, len(x), -1)], dim=-1)
        scores: Tensor = self.f(both)
        return scores[..., 0]


@pytest.mark.parametrize("one_sided", [True, False])
def test_the_penalty_has_the_gradient_of_differences(one_sided: bool) -> None:
    torch.manual_seed(0)
    critic, (x, y) = Smooth(), pairs(4)
    made = LipschitzPenalty(one_sided=one_sided, target=0.2)
    names = [name for name, _ in critic.named_parameters()]
    weights = [one.detach().requires_grad_(True) for one in critic.parameters()]

    def penalty(*given: Tensor) -> Tensor:
        """Through the gradient by pairs, so that its own gradient is a second one."""
        other = copy.deepcopy(critic)
        for name, value in zip(names, given, strict=True):
            owner, _, last = name.rpartition(".")
            module = other.get_submodule(owner)
            delattr(module, last)
            setattr(module, last, value)
        return made.penalty(made.slopes(other, x, y, KEY))

    assert penalty(*weights).item() > 1e-3
    assert torch.autograd.gradcheck(penalty, weights)
    ends = (x.clone().requires_grad_(True), y.clone().requires_grad_(True))
    assert torch.autograd.gradgradcheck(critic.paired, ends)


def objective(critic: Critic, lipschitz: LipschitzPenalty | None, bound: str = "infonce") -> Information:
    return Information(Information.Config(Component(bound), lipschitz), {"critic": critic}, Facts())


def rows(x: Tensor, y: Tensor) -> Rows:
    return Rows(x, torch.ones(len(x), dtype=torch.int64), y=y)


@pytest.mark.parametrize("kind", [SeparableCritic, ConcatenatedCritic])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_the_loss_is_the_bound_and_the_penalty(kind: Any, spectral_norm: bool) -> None:
    torch.manual_seed(1)
    critic = kind(kind.Config(3, 2, hidden=8, spectral_norm=spectral_norm)).double()
    batch = rows(*pairs())
    for lipschitz in (LipschitzPenalty(3.0, target=0.05), LipschitzPenalty(0.0, target=0.05)):
        plain, made = objective(critic, None), objective(critic, lipschitz)
        alone, loss = (one.loss(batch, "critic", KEY, None) for one in (plain, made))
        slopes = lipschitz.slopes(critic, batch.x, batch.y, KEY)
        penalty = (slopes - 0.05).clamp_min(0).square().mean()
        assert penalty.item() > 0
        torch.testing.assert_close(loss.total, alone.total + lipschitz.weight * penalty)
        torch.testing.assert_close(loss.terms["penalty"], penalty.detach())
        torch.testing.assert_close(loss.terms["slope"], slopes.mean().detach())
        assert {"penalty", "slope"}.isdisjoint(alone.terms)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_with_and_without_the_penalty_the_value_is_at_most_the_cap(scale: float) -> None:
    """A critic that tells every pair apart, mildly and beyond all doubt."""
    x = scale * torch.eye(8, dtype=torch.float64)
    critic = BilinearCritic(BilinearCritic.Config(8, 8)).double()
    with torch.no_grad():
        critic.weight.copy_(torch.eye(8))
    for lipschitz in (None, LipschitzPenalty()):
        terms = objective(critic, lipschitz).loss(rows(x, x), "critic", KEY, None).terms
        assert 0 < float(terms["information"]) <= float(terms["cap"]) == pytest.approx(math.log(8))


def test_of_constrained_critics_the_dependency_is_measured_and_is_no_nats() -> None:
    torch.manual_seed(0)
    critic, batch = SeparableCritic(SeparableCritic.Config(3, 2, hidden=8)).double(), rows(*pairs())
    found = objective(critic, LipschitzPenalty()).measure(batch, KEY, 0)
    scores = critic(batch.x, batch.y)
    beside = scores[~torch.eye(12, dtype=torch.bool)]
    assert float(found["dependency"].amounts) == pytest.approx(float(scores.diagonal().mean() - beside.mean()))
    assert found["dependency"].unit == "of distance"
    assert "dependency" not in objective(critic, None).measure(batch, KEY, 0)


def dual(critic: Critic, x: Tensor, y: Tensor) -> Tensor:
    scores = critic(x, y)
    return joint_mean(scores) - product_mean(scores)


def trained(critic: Critic, draw: Callable[[int], tuple[Tensor, Tensor]], steps: int, *, weight: float = 0.0) -> Critic:
    """A critic that climbs the dual, under a penalty where one is wanted."""
    optimiser, penalty = torch.optim.Adam(critic.parameters(), lr=1e-2), LipschitzPenalty()
    for step in range(steps):
        x, y = draw(step)
        loss = -dual(critic, x, y)
        if weight:
            loss = loss + weight * penalty.penalty(penalty.slopes(critic, x, y, Key(0, step)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        follow(critic)
    for _ in range(30):  # of weights that stand still the estimates converge
        follow(critic)
    return critic


def gaussians(information: float, count: int, key: Key) -> tuple[Tensor, Tensor]:
    x, y = CorrelatedGaussians(information, dimension=2).draw(key, 0, count)
    return x.float(), y.float()


def normed(x_dim: int, y_dim: int) -> ConcatenatedCritic:
    """A critic whose slope is 1 at most, everywhere."""
    torch.manual_seed(0)
    return ConcatenatedCritic(ConcatenatedCritic.Config(x_dim, y_dim, hidden=32, spectral_norm=True))


@pytest.mark.parametrize("information", [1.0, 8.0])
def test_of_gaussians_the_dual_is_below_their_distance(information: float) -> None:
    """``W_1 ≤ W_2`` with ``W_2² = d (4 - 2√(1+ρ) - 2√(1-ρ))``, below 1.18 d whatever the information."""
    process = CorrelatedGaussians(information, dimension=2)
    rho = process.correlation
    distance = math.sqrt(2 * (4 - 2 * math.sqrt(1 + rho) - 2 * math.sqrt(1 - rho)))
    assert distance < math.sqrt(2 * 1.18)
    critic = trained(normed(2, 2), lambda step: gaussians(information, 64, Key(0, step)), 150)
    with torch.no_grad():
        found = [float(dual(critic, *gaussians(information, 256, Key(1, batch)))) for batch in range(20)]
    error = float(np.std(found)) / math.sqrt(20)
    assert 0.1 * distance + 3 * error < np.mean(found) < distance - 3 * error


def test_of_pairs_by_lot_the_dual_is_zero_within_noise() -> None:
    def strangers(count: int, key: Key) -> tuple[Tensor, Tensor]:
        x, y = gaussians(8.0, count, key)
        return x, y[derangement(count, key)]

    critic = trained(normed(2, 2), lambda step: strangers(64, Key(0, step)), 50)
    with torch.no_grad():
        found = [float(dual(critic, *strangers(256, Key(1, batch)))) for batch in range(40)]
    assert abs(np.mean(found)) < 3 * float(np.std(found)) / math.sqrt(40) + 1e-4


# Points of x and of y on a plane, and how often each x meets each y.
POINTS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
JOINT = torch.tensor(
    [[0.22, 0.02, 0.01, 0.0], [0.01, 0.2, 0.02, 0.02], [0.03, 0.01, 0.2, 0.01], [0.0, 0.04, 0.01, 0.2]],
    dtype=torch.float64,
)
PLACES = torch.cat([POINTS.repeat_interleave(4, 0), POINTS.repeat(4, 1)], dim=1)  # [16, 4], all pairs of points


def transport(joint: Tensor, places: Tensor) -> float:
    """``W_1`` of a joint distribution over 16 places to the product of its marginals, by linear programming."""
    product = (joint.sum(1, keepdim=True) * joint.sum(0)).flatten()
    rows = np.kron(np.eye(16), np.ones((1, 16)))
    columns = np.kron(np.ones((1, 16)), np.eye(16))
    cost = torch.cdist(places, places).flatten().numpy()
    amounts = np.concatenate([joint.flatten().numpy(), product.numpy()])
    found = scipy.optimize.linprog(cost, A_eq=np.concatenate([rows, columns]), b_eq=amounts)
    assert found.success
    return float(found.fun)


def weighted_dual(values: Tensor, joint: Tensor) -> float:
    product = joint.sum(1, keepdim=True) * joint.sum(0)
    return float((values * (joint - product).flatten()).sum())


def steepest(values: Tensor) -> float:
    """The largest slope between two of the 16 places."""
    apart = torch.cdist(PLACES, PLACES)
    ratios = (values[:, None] - values).abs() / apart
    return float(ratios[apart > 0].max())


def draw(step: int) -> tuple[Tensor, Tensor]:
    chosen = torch.multinomial(JOINT.flatten(), 64, replacement=True, generator=generator(step))
    return PLACES[chosen, :2].float(), PLACES[chosen, 2:].float()


def test_transport_scales_with_the_units_and_of_independent_points_is_none() -> None:
    assert transport(JOINT, PLACES) == pytest.approx(transport(JOINT, 2.5 * PLACES) / 2.5)
    assert transport(JOINT.sum(1, keepdim=True) * JOINT.sum(0), PLACES) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("constraint", ["penalty", "layers"])
def test_a_constrained_critic_comes_near_what_transport_costs_and_stays_below(constraint: str) -> None:
    least = transport(JOINT, PLACES)
    torch.manual_seed(0)
    plain = ConcatenatedCritic(ConcatenatedCritic.Config(2, 2, hidden=32))
    critic = trained(plain, draw, 250, weight=10.0) if constraint == "penalty" else trained(normed(2, 2), draw, 150)
    with torch.no_grad():
        values = critic.paired(PLACES[:, :2].float(), PLACES[:, 2:].float()).double()
    slope = steepest(values) if constraint == "penalty" else 1.0  # a penalty keeps slopes near the target alone
    assert slope < 1.3
    found = weighted_dual(values, JOINT) / slope
    assert found <= least + 1e-9
    assert found > (0.85 if constraint == "penalty" else 0.3) * least


def test_another_scale_of_the_pairs_scales_the_dual_and_no_slope() -> None:
    """``f_c(x, y) = c f(x/c, y/c)`` is as steep as f, and its dual c times as large."""
    torch.manual_seed(0)
    critic = ConcatenatedCritic(ConcatenatedCritic.Config(3, 2, hidden=8)).double()
    other, c = copy.deepcopy(critic), 2.5
    with torch.no_grad():
        other.f[0].weight.div_(c)
        other.f[-1].weight.mul_(c)
        other.f[-1].bias.mul_(c)
    x, y = pairs()
    penalty = LipschitzPenalty()
    before, after = penalty.slopes(critic, x, y, KEY), penalty.slopes(other, c * x, c * y, KEY)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(dual(other, c * x, c * y), c * dual(critic, x, y))


def test_layers_of_spectral_norm_stretch_nothing_once_their_estimate_has_followed() -> None:
    torch.manual_seed(0)
    layer = SpectralLinear(30, 20)
    with torch.no_grad():
        layer.weight.normal_(generator=generator())
    x = torch.randn(5, 30, generator=generator(1))
    before = layer(x)
    assert torch.equal(layer(x), before), "what is asked for changes nothing, in training neither"
    for _ in range(200):
        follow(nn.Sequential(layer))
    largest = torch.linalg.matrix_norm(layer.weight, 2)
    torch.testing.assert_close(layer(x), x @ layer.weight.T / largest + layer.bias)
    assert not torch.allclose(layer(x), before)


def test_critics_of_spectral_norm_keep_the_laws_and_resume_exactly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    critic = SeparableCritic(SeparableCritic.Config(3, 2, hidden=6, spectral_norm=True))
    made, (x, y) = objective(critic, LipschitzPenalty(target=0.1), "nwj"), pairs(6)
    batch = rows(x.float(), y.float())
    check_pure(made, batch)
    check_evaluation(made, batch)
    before = critic.g[0].left.clone()
    made.after_update("critic", {}, {})
    assert not torch.equal(critic.g[0].left, before)
    check_resume(made, batch, tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight": -1.0}, "a slope of 1.0 is held to with weight -1.0"),
        ({"weight": math.inf}, "with weight inf"),
        ({"target": 0.0}, "a slope of 0.0"),
        ({"points": ()}, r"'points' is \[\]; give some of joint, product, interpolated"),
        ({"points": ("joint", "joint")}, "each once"),
    ],
)
def test_constraints_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        LipschitzPenalty(**options)
