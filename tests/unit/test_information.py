"""Estimation of mutual information: bounds against plain formulas, Gaussians that are known, critics, the objective."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen import registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.estimators.contract import Estimator
from seqgen.estimators.correlated_gaussians import CorrelatedGaussians
from seqgen.estimators.infonce import InfoNCE
from seqgen.estimators.interpolated import Interpolated
from seqgen.estimators.nwj import NWJ
from seqgen.models.concatenated_critic import ConcatenatedCritic
from seqgen.models.critic import Critic
from seqgen.models.separable_critic import SeparableCritic
from seqgen.noise import Key
from seqgen.objectives.information import Information
from seqgen.objectives.verify import check_evaluation, check_players, check_pure
from seqgen.spec import Facts
from seqgen.tasks.pairs.batches import Batch


def plain_infonce(f: Tensor) -> Tensor:
    count = len(f)
    rows = [f[i, i] - torch.log(sum(torch.exp(f[i, j]) for j in range(count)) / count) for i in range(count)]
    return sum(rows) / count


def plain_nwj(f: Tensor) -> Tensor:
    count = len(f)
    joint = sum(f[i, i] for i in range(count)) / count
    beside = [torch.exp(f[i, j] - 1) for i in range(count) for j in range(count) if i != j]
    return joint - sum(beside) / len(beside)


def plain_interpolated(f: Tensor, alpha: float) -> Tensor:
    count = len(f)

    def baseline(i: int, j: int) -> Tensor:
        mean = sum(torch.exp(f[i, k]) for k in range(count) if k != j) / (count - 1)
        return torch.log(alpha * mean + 1 - alpha)

    places = [(i, j) for i in range(count) for j in range(count) if i != j]
    terms = [f[i, i] - baseline(i, j) - torch.exp(f[i, j] - baseline(i, i)) for i, j in places]
    return 1 + sum(terms) / len(places)


REFERENCES: dict[str, tuple[Estimator, Callable[[Tensor], Tensor]]] = {
    "infonce": (InfoNCE(InfoNCE.Config()), plain_infonce),
    "nwj": (NWJ(NWJ.Config()), plain_nwj),
    **{
        f"interpolated-{alpha}": (Interpolated(Interpolated.Config(alpha)), lambda f, a=alpha: plain_interpolated(f, a))
        for alpha in (0.0, 0.01, 0.5, 1.0)
    },
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("spread", [0.3, 5.0])
def test_values_and_gradients_are_those_of_the_plain_formula(name: str, spread: float) -> None:
    estimator, plain = REFERENCES[name]
    f = spread * torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    f.requires_grad_(True)
    found, expected = estimator.value(f), plain(f)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(one, f)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_references_are_of_registered_estimators() -> None:
    assert {name.split("-")[0] for name in REFERENCES} <= set(registry.ESTIMATORS)


@pytest.mark.parametrize("pairs", [2, 5, 64])
def test_infonce_reaches_its_cap_and_no_more(pairs: int) -> None:
    estimator = REFERENCES["infonce"][0]
    assert estimator.cap(pairs) == math.log(pairs)
    for good in (5.0, 50.0, 500.0):
        value = float(estimator.value(good * torch.eye(pairs, dtype=torch.float64)))
        assert value <= math.log(pairs)
    assert value == pytest.approx(math.log(pairs))


def test_interpolation_ends_in_the_other_bounds() -> None:
    f = torch.randn(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    unnormalised, normalised = (REFERENCES[f"interpolated-{alpha}"][0] for alpha in (0.0, 1.0))
    torch.testing.assert_close(unnormalised.value(f), REFERENCES["nwj"][0].value(f + 1))
    # At α = 1 the partitions are those of the rows themselves: their mean is one, whatever the scores.
    own = torch.eye(7, dtype=torch.bool)
    others = torch.logsumexp(f.masked_fill(own, -math.inf), dim=1) - math.log(6)
    assert float(torch.exp(f - others[:, None])[~own].mean()) == pytest.approx(1.0)
    assert float(normalised.value(f)) <= 1 + math.log(6)
    with pytest.raises(SeqgenError, match=r"'alpha' is 1.5; give a share from 0 to 1"):
        Interpolated.Config(1.5)


def test_a_score_that_outweighs_its_row_has_a_gradient() -> None:
    """Float32 loses what else is in the sum; it is not taken as a difference."""
    estimator = REFERENCES["interpolated-0.01"][0]
    f = torch.zeros(4, 4)
    f[0, 2] = 60.0
    f.requires_grad_(True)
    (gradient,) = torch.autograd.grad(estimator.value(f - f.detach().clamp(max=30)), f)
    assert bool(gradient.isfinite().all())


# Exact critic, 20 dimensions, 64 pairs: mean and deviation over batches, computed apart from this code.
EXACT = {
    ("infonce", 2.0): (1.82, 0.19),
    ("infonce", 4.0): (3.07, 0.19),
    ("infonce", 6.0): (3.74, 0.12),
    ("infonce", 10.0): (4.12, 0.03),
    ("nwj", 2.0): (2.01, 0.25),
    ("nwj", 4.0): (4.04, 0.47),
    ("interpolated-0.01", 6.0): (5.81, 0.48),
    ("interpolated-0.5", 10.0): (5.56, 0.09),
}


@pytest.mark.parametrize(("name", "information"), EXACT)
def test_bounds_at_the_exact_critic(name: str, information: float) -> None:
    estimator, process = REFERENCES[name][0], CorrelatedGaussians(information)
    x, y = (side.view(200, 64, 20) for side in process.draw(Key(1, 0), 0, 200 * 64))
    values = estimator.value(process.log_ratio(x, y) + estimator.offset)
    mean, deviation = EXACT[name, information]
    assert float(values.mean()) == pytest.approx(mean, abs=5 * deviation / math.sqrt(200) + 0.005)
    assert float(values.std()) == pytest.approx(deviation, rel=0.4)
    if information <= 4:
        assert float(values.mean()) <= information + 3 * float(values.std()) / math.sqrt(200)


@pytest.mark.parametrize("cubic", [False, True])
def test_the_information_of_the_gaussians_is_what_is_said(cubic: bool) -> None:
    process = CorrelatedGaussians(information=1.0, dimension=3, cubic=cubic)
    assert -1.5 * math.log(1 - process.correlation**2) == pytest.approx(1.0)
    x, y = process.draw(Key(0, 1), 0, 40_000)
    ratio = torch.stack([process.log_ratio(x[i : i + 1], y[i : i + 1])[0, 0] for i in range(4000)])
    assert float(ratio.mean()) == pytest.approx(1.0, abs=4 * float(ratio.std()) / math.sqrt(4000))
    strangers = torch.stack([process.log_ratio(x[i : i + 1], y[i + 1 : i + 2])[0, 0] for i in range(20_000)]).exp()
    assert float(strangers.mean()) == pytest.approx(1.0, abs=0.1)
    root = y.sign() * y.abs() ** (1 / 3) if cubic else y
    correlations = [torch.corrcoef(torch.stack([x[:, k], root[:, k]]))[0, 1] for k in range(3)]
    assert [float(one) for one in correlations] == pytest.approx([process.correlation] * 3, abs=0.01)
    assert float(root.std()) == pytest.approx(1.0, abs=0.01)


def test_log_ratio_is_that_of_densities() -> None:
    process = CorrelatedGaussians(information=2.0, dimension=2)
    x, y = process.draw(Key(0, 2), 0, 5)
    rho, normal = process.correlation, torch.distributions.Normal
    for i in range(5):
        for j in range(5):
            given = normal(rho * x[j], math.sqrt(1 - rho**2)).log_prob(y[i]).sum()
            expected = given - normal(0.0, 1.0).log_prob(y[i]).sum()
            assert float(process.log_ratio(x, y)[i, j]) == pytest.approx(float(expected), abs=1e-9)


def test_draws_are_functions_of_their_number() -> None:
    process = CorrelatedGaussians(information=2.0, dimension=3)
    whole = process.draw(Key(4, 7), 0, 20)
    for side, part in zip(whole, process.draw(Key(4, 7), 13, 5), strict=True):
        assert torch.equal(side[13:18], part)
    assert not torch.equal(whole[0], process.draw(Key(5, 7), 0, 20)[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"information": -1.0}, "'information' is -1.0; give nats"),
        ({"information": math.inf}, "'information' is inf; give nats"),
        ({"information": 1.0, "dimension": 0}, "'dimension' is 0; give 1 or more"),
    ],
)
def test_gaussians_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        CorrelatedGaussians(**options)


torch.manual_seed(0)  # whatever other modules drew before: a critic's largest score must be above 0
CRITICS: list[Critic] = [
    SeparableCritic(SeparableCritic.Config(x_dim=3, y_dim=2, hidden=8, layers=1, embedding=4)),
    ConcatenatedCritic(ConcatenatedCritic.Config(x_dim=3, y_dim=2, hidden=8, layers=2)),
]


@pytest.mark.parametrize("critic", CRITICS, ids=lambda critic: type(critic).__name__)
def test_rows_are_y_and_columns_are_x(critic: Critic) -> None:
    """What is added to one x changes one column; dimensions that differ could not be exchanged anyway."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, 3, generator=generator), torch.randn(5, 2, generator=generator)
    before = critic(x, y)
    assert before.shape == (5, 4)
    x[2] += 1
    changed = (critic(x, y) - before).abs() > 1e-6
    assert changed[:, 2].all()
    assert not changed[:, [0, 1, 3]].any()


def test_critics_of_equal_dimensions_do_not_confuse_them() -> None:
    """A critic that is not symmetric: f(x, y) = x alone, where both have one dimension."""
    critic = ConcatenatedCritic(ConcatenatedCritic.Config(x_dim=1, y_dim=1, hidden=1, layers=0))
    with torch.no_grad():
        critic.f[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
        critic.f[0].bias.zero_()
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])
    assert critic(x, y).tolist() == [[1.0, 2.0], [1.0, 2.0]]


def objective(bound: str = "infonce", critic: Critic = CRITICS[0], **options: Any) -> Information:
    made = Information.Config(bound=Component(bound, options))
    return Information(made, {"critic": critic}, Facts(shape=(3, 2), unit="pair"))


def batch(pairs: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(pairs, 3, generator=generator)
    y = x[:, :2] + 0.5 * torch.randn(pairs, 2, generator=generator)
    return Batch(x, y, tuple(map(str, range(pairs))))


ANY = [name for name in registry.ESTIMATORS if registry.ESTIMATORS.load(name).takes == "any"]


@pytest.mark.parametrize("critic", CRITICS, ids=lambda critic: type(critic).__name__)
@pytest.mark.parametrize("bound", ANY)
def test_laws_of_the_objective(bound: str, critic: Critic) -> None:
    made = objective(bound, critic)
    assert made.couples_rows
    if not made.bound.ignores_marginal:  # else the critic's last bias moves nothing
        check_players(made, batch())
    check_pure(made, batch())
    check_evaluation(made, batch())


def test_the_loss_is_the_bound_turned_over() -> None:
    made, pairs = objective(), batch()
    loss = made.loss(pairs, "critic", Key(0, 0), None)
    expected = plain_infonce(made.critic(pairs.x, pairs.y).double())
    torch.testing.assert_close(-loss.total, expected)
    torch.testing.assert_close(loss.terms["information"], expected.detach())
    assert float(loss.terms["cap"]) == pytest.approx(math.log(16))
    assert "cap" not in objective("nwj").loss(pairs, "critic", Key(0, 0), None).terms


def test_scores_that_float32_cannot_exponentiate() -> None:
    made, pairs = objective("nwj", copy.deepcopy(CRITICS[0])), batch()
    with torch.no_grad():
        most = float(made.critic(pairs.x, pairs.y).max())
        for parameter in made.critic.g[-1].parameters():
            parameter.mul_(200 / most)
        assert float(made.critic(pairs.x, pairs.y).max()) == pytest.approx(200)
    assert not made.bound.value(made.critic(pairs.x, pairs.y)).isfinite()
    assert made.loss(pairs, "critic", Key(0, 0), None).total.isfinite()


def test_measures_are_of_whole_batches() -> None:
    measures = objective().measure(batch(), Key(0, 0), 0)
    information = measures["information"]
    assert len(information.amounts) == len(information.weights) == 1
    assert (information.unit, information.cap) == ("nats", math.log(16))
    assert information.cap_formula == "ln K, K = 16 pairs of a batch"
    assert measures["variance_of_a_batch"].amounts.item() > 0


def test_a_bound_that_nobody_knows() -> None:
    with pytest.raises(SeqgenError, match=r"objective\.bound: unknown estimator 'infonec'; did you mean 'infonce'"):
        objective("infonec")
    with pytest.raises(SeqgenError, match=r"objective\.bound: estimator interpolated: unknown key 'alhpa'"):
        objective("interpolated", alhpa=0.5)
    with pytest.raises(SeqgenError, match="network 'critic' is a Linear; give a Critic"):
        Information(Information.Config(), {"critic": torch.nn.Linear(1, 1)}, Facts())
