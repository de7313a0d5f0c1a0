"""Bounds of mutual information against plain formulas, against each other, and against what is known of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.estimators.barber_agakov import BarberAgakov
from seqgen.estimators.contract import Estimator
from seqgen.estimators.correlated_gaussians import CorrelatedGaussians
from seqgen.estimators.donsker_varadhan import DonskerVaradhan
from seqgen.estimators.infonce import InfoNCE
from seqgen.estimators.interpolated import Interpolated
from seqgen.estimators.jensen_shannon import JensenShannon
from seqgen.estimators.leave_one_out import LeaveOneOut
from seqgen.estimators.nwj import NWJ
from seqgen.estimators.tuba import TUBA
from seqgen.models.baseline_critic import BaselineCritic
from seqgen.models.critic import Critic
from seqgen.models.gaussian_channel import GaussianChannel
from seqgen.models.gaussian_conditional import GaussianConditional
from seqgen.models.separable_critic import SeparableCritic
from seqgen.noise import Key
from seqgen.objectives.information import Information
from seqgen.objectives.verify import check_evaluation, check_players, check_pure
from seqgen.spec import Facts
from seqgen.tasks.pairs.batches import Batch
from seqgen.train.verify import check_resume

INFONCE, NWJ_BOUND, JS = InfoNCE(InfoNCE.Config()), NWJ(NWJ.Config()), JensenShannon(JensenShannon.Config())
UPPER, DV = LeaveOneOut(LeaveOneOut.Config()), DonskerVaradhan(DonskerVaradhan.Config())


def tuba(log_baseline: float = 0.0) -> TUBA:
    return TUBA(TUBA.Config(log_baseline))


def beside(f: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over what does not belong together, place by place."""
    count = len(f)
    found = [function(f[i, j]) for i in range(count) for j in range(count) if i != j]
    return sum(found) / len(found)


def joint(f: Tensor) -> Tensor:
    return sum(f[i, i] for i in range(len(f))) / len(f)


def plain_leave_one_out(f: Tensor) -> Tensor:
    count, total = len(f), torch.zeros((), dtype=f.dtype)
    for i in range(count):
        mixture = sum(torch.exp(f[i, j]) for j in range(count) if j != i) / (count - 1)
        total = total + f[i, i] - torch.log(mixture)
    return total / count


PLAIN: dict[str, tuple[Estimator, Callable[[Tensor], Tensor]]] = {
    "tuba": (tuba(0.7), lambda f: 1 + joint(f) - 0.7 - beside(f, lambda s: torch.exp(s) / math.exp(0.7))),
    "donsker-varadhan": (DV, lambda f: joint(f) - torch.log(beside(f, torch.exp))),
    "leave-one-out": (UPPER, plain_leave_one_out),
    "barber-agakov": (BarberAgakov(BarberAgakov.Config(2.5)), lambda f: joint(f) + 2.5),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("spread", [0.3, 5.0])
def test_values_and_gradients_are_those_of_the_plain_formula(name: str, spread: float) -> None:
    estimator, plain = PLAIN[name]
    f = scores(6, spread=spread).requires_grad_(True)
    found, expected = estimator.trained(f), plain(f)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(one, f)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def scores(pairs: int, *, spread: float = 1.0, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(pairs, pairs, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_jensen_shannon_has_the_value_of_one_function_and_the_gradient_of_another(spread: float) -> None:
    f = scores(6, spread=spread).requires_grad_(True)
    found = JS.trained(f)
    assert found.item() == pytest.approx(NWJ_BOUND.value(f + 1).item())
    divergence = -joint(functional.softplus(-f)) - beside(f, functional.softplus)
    gradients = [torch.autograd.grad(one, f)[0] for one in (found, divergence)]
    torch.testing.assert_close(*gradients)


def test_the_gradient_of_mine_has_a_running_mean_below_it() -> None:
    estimator = DonskerVaradhan(DonskerVaradhan.Config(forgetting=0.1))
    f, mean = scores(6).requires_grad_(True), torch.tensor(3.0, dtype=torch.float64)
    (found,) = torch.autograd.grad(estimator.trained(f, mean), f)
    expected = torch.exp(f.detach()) / -(30 * mean)
    expected.diagonal().copy_(torch.full((6,), 1 / 6))
    torch.testing.assert_close(found, expected)
    own = estimator.followed(f).detach()  # a mean that is the batch's own gives the value's own gradient
    torch.testing.assert_close(*(torch.autograd.grad(one, f)[0] for one in (estimator.trained(f, own), DV.value(f))))


def test_tuba_of_e_is_nwj() -> None:
    f = scores(7)
    torch.testing.assert_close(tuba(1.0).value(f), NWJ_BOUND.value(f))
    torch.testing.assert_close(tuba(0.0).value(f), Interpolated(Interpolated.Config(0.0)).value(f))


@pytest.mark.parametrize("log_baseline", [-2.0, 0.0, 0.5, 1.0, 4.0])
def test_no_constant_baseline_beats_the_partition_itself(log_baseline: float) -> None:
    for seed in range(20):
        f = scores(6, spread=2.0, seed=seed)
        assert float(tuba(log_baseline).value(f)) <= float(DV.value(f)) + 1e-12
    best = math.log(float(beside(f, torch.exp)))
    assert float(tuba(best).value(f)) == pytest.approx(float(DV.value(f)))


def test_a_baseline_of_y_is_part_of_the_critic() -> None:
    """TUBA, and the interpolated bound, written with q(y), are what they are of scores less its logarithm."""
    f, log_q, alpha = scores(5), scores(5, seed=8)[0], 0.3
    written = 1 + joint(f) - log_q.mean()
    written = written - sum(torch.exp(f[i, j] - log_q[i]) for i in range(5) for j in range(5) if i != j) / 20
    torch.testing.assert_close(tuba().value(f - log_q[:, None]), written)

    def baseline(i: int, j: int) -> Tensor:
        mean = sum(torch.exp(f[i, k]) for k in range(5) if k != j) / 4
        return torch.log(alpha * mean + (1 - alpha) * torch.exp(log_q[i]))

    places = [(i, j) for i in range(5) for j in range(5) if i != j]
    terms = [f[i, i] - baseline(i, j) - torch.exp(f[i, j] - baseline(i, i)) for i, j in places]
    found = Interpolated(Interpolated.Config(alpha)).value(f - log_q[:, None])
    torch.testing.assert_close(found, 1 + sum(terms) / 20)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 1.0])
def test_the_interpolated_bound_has_its_cap(alpha: float) -> None:
    estimator = Interpolated(Interpolated.Config(alpha))
    assert estimator.cap(6) == pytest.approx(1 + math.log(5 / alpha))
    for spread in (0.1, 2.0, 30.0):
        for good in (0.0, 30.0, 300.0):
            f = scores(6, spread=spread) + good * torch.eye(6, dtype=torch.float64)
            assert float(estimator.value(f)) <= estimator.cap(6)
    assert float(estimator.value(1000 * torch.eye(6, dtype=torch.float64))) > estimator.cap(6) - 1.01


def drawn(information: float, *, batches: int = 200, pairs: int = 64) -> tuple[Tensor, Tensor, CorrelatedGaussians]:
    process = CorrelatedGaussians(information)
    x, y = (side.view(batches, pairs, 20) for side in process.draw(Key(2, 0), 0, batches * pairs))
    return x, y, process


def channel(process: CorrelatedGaussians) -> GaussianChannel:
    config = GaussianChannel.Config(20, 20, process.correlation, math.exp(process.log_scale))
    return GaussianChannel(config)


# A known density, 20 dimensions, 64 pairs: the mean of the upper bound over batches, computed apart from this code.
@pytest.mark.parametrize(("information", "above"), [(2.0, 2.18), (4.0, 4.73)])
def test_a_known_density_encloses_the_information(information: float, above: float) -> None:
    x, y, process = drawn(information, batches=100)
    known = channel(process)
    made = torch.stack([known(one, other) for one, other in zip(x, y, strict=True)])
    lower, upper = INFONCE.value(made), UPPER.value(made)
    error = 3 * float(upper.std()) / 10
    assert float(lower.max()) <= math.log(64)
    assert float(lower.mean()) < information < float(upper.mean())
    assert float(upper.mean()) == pytest.approx(above, abs=error + 0.005)
    entropy = BarberAgakov(BarberAgakov.Config(process.entropy)).value(made)
    assert float(entropy.mean()) == pytest.approx(information, abs=3 * float(entropy.std()) / 10)


@pytest.mark.parametrize("cubic", [False, True])
def test_the_entropy_of_the_gaussians(cubic: bool) -> None:
    process = CorrelatedGaussians(information=1.0, dimension=2, cubic=cubic)
    root = torch.randn(200_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    density = torch.distributions.Normal(0.0, 1.0).log_prob(root) - (torch.log(3 * root**2) if cubic else 0)
    surprise = -density.sum(dim=1)
    assert process.entropy == pytest.approx(float(surprise.mean()), abs=4 * float(surprise.std()) / math.sqrt(200_000))


@pytest.mark.parametrize(("information", "mean"), [(2.0, 2.02), (4.0, 4.08)])
def test_the_partition_of_a_batch_is_no_bound(information: float, mean: float) -> None:
    x, y, process = drawn(information)
    values = DV.value(process.log_ratio(x, y))
    assert float(values.mean()) == pytest.approx(mean, abs=3 * float(values.std()) / math.sqrt(200) + 0.005)


@pytest.mark.parametrize("bound", [NWJ_BOUND, tuba(), INFONCE, JS, Interpolated(Interpolated.Config())])
def test_a_critic_at_random_gives_no_more_than_there_is(bound: Estimator) -> None:
    x, y, _ = drawn(2.0, batches=100)
    torch.manual_seed(4)
    critic = SeparableCritic(SeparableCritic.Config(20, 20, hidden=16, layers=1, embedding=4)).double()
    with torch.no_grad():
        values = torch.stack([bound.value(4 * critic(one, other)) for one, other in zip(x, y, strict=True)])
    assert float(values.mean()) <= 2.0 + 3 * float(values.std()) / 10


def test_moments_of_the_ratio_decide_the_variance() -> None:
    """Of strangers E r = 1 and E r² = e^{2I}, so the partition of n independent ones varies by (e^{2I} - 1)/n."""
    process = CorrelatedGaussians(information=0.5, dimension=4)
    x, y = process.draw(Key(3, 0), 0, 400_000)
    root, scale = process.correlation, math.exp(process.log_scale)
    normal = torch.distributions.Normal
    other = x.roll(1, dims=0)
    ratio = (normal(root * other, scale).log_prob(y) - normal(0.0, 1.0).log_prob(y)).sum(dim=1).exp()
    for power, expected in ((1, 1.0), (2, math.exp(1.0))):
        error = float((ratio**power).std()) / math.sqrt(400_000)
        assert float((ratio**power).mean()) == pytest.approx(expected, abs=4 * error)
    means = ratio.view(4000, 100).mean(dim=1)
    assert float(means.var()) == pytest.approx((math.e - 1) / 100, rel=0.15)


def objective(bound: Component, critic: Critic) -> Information:
    return Information(Information.Config(bound), {"critic": critic}, Facts(unit="pair"))


def batch(pairs: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(pairs, 2, generator=generator)
    return Batch(x, x + 0.5 * torch.randn(pairs, 2, generator=generator), tuple(map(str, range(pairs))))


def test_the_running_mean_is_a_buffer_that_updates_alone_change() -> None:
    critic = SeparableCritic(SeparableCritic.Config(2, 2, hidden=8, layers=1, embedding=4))
    made, pairs = objective(Component("donsker-varadhan", {"forgetting": 0.25}), critic), batch()
    first = made.bound.followed(critic(pairs.x, pairs.y).double()).item()
    loss = made.loss(pairs, "critic", Key(0, 0), None)
    assert float(made.followed.value) == 0
    assert loss.aux is not None
    made.after_update("critic", {name: value.detach() for name, value in loss.aux.items()}, {})
    assert float(made.followed.value) == pytest.approx(first)  # the first batch is the mean
    made.after_update("critic", {"followed": torch.tensor(5.0), "batches": torch.tensor(1.0)}, {})
    assert float(made.followed.value) == pytest.approx((first + 5) / 2)
    for _ in range(3):
        made.after_update("critic", {"followed": torch.tensor(5.0), "batches": torch.tensor(1.0)}, {})
    before = float(made.followed.value)
    again = made.loss(pairs, "critic", Key(0, 0), None)
    gradients = torch.autograd.grad(again.total, list(critic.parameters()))
    mean = torch.tensor(0.75 * before + 0.25 * first, dtype=torch.float64)  # this batch is in it
    f = critic(pairs.x, pairs.y).double()
    expected = torch.autograd.grad(-made.bound.climbed(f, mean), list(critic.parameters()))
    torch.testing.assert_close(gradients, expected)
    assert "followed.value" in made.state_dict()
    torch.testing.assert_close(again.total, -DV.value(f))


def test_a_resumed_run_knows_its_running_mean(tmp_path: Path) -> None:
    critic = SeparableCritic(SeparableCritic.Config(2, 2, hidden=8, layers=1, embedding=4))
    check_resume(objective(Component("donsker-varadhan", {"forgetting": 0.2}), critic), batch(), tmp_path)


def test_a_density_is_trained_by_likelihood() -> None:
    critic, pairs = GaussianConditional(GaussianConditional.Config(2, 2, hidden=6, layers=1)), batch()
    made = objective(Component("barber-agakov", {"entropy": 3.0}), critic)
    mean, log_deviation = critic.net(pairs.x).chunk(2, dim=-1)
    likelihood = torch.distributions.Normal(mean, log_deviation.exp()).log_prob(pairs.y).sum(dim=1).mean()
    assert made.loss(pairs, "critic", Key(0, 0), None).total.item() == pytest.approx(-likelihood.item() - 3.0)
    check_players(made, pairs)
    check_pure(made, pairs)
    check_evaluation(made, pairs)


def test_a_critic_that_is_no_density_is_refused() -> None:
    critic, learnt = (
        SeparableCritic(SeparableCritic.Config(2, 2, hidden=4, layers=1)),
        GaussianConditional(GaussianConditional.Config(2, 2, hidden=4, layers=1)),
    )
    entropy = Component("barber-agakov", {"entropy": 0.0})
    with pytest.raises(
        SeqgenError, match="barber-agakov takes a density of y given x, which SeparableCritic is not; give the critic g"
    ):
        objective(entropy, critic)
    for other in (critic, learnt, with_baseline("gaussian-channel")):
        with pytest.raises(
            SeqgenError, match=f"leave-one-out takes a known density of y .* {type(other).__name__} is not; give"
        ):
            objective(Component("leave-one-out"), other)
    with pytest.raises(SeqgenError, match="which BaselineCritic is not"):
        objective(entropy, with_baseline("gaussian-channel"))
    known = objective(Component("leave-one-out"), GaussianChannel(GaussianChannel.Config(2, 2)))
    assert known.owned("critic") == {}
    with pytest.raises(SeqgenError, match="'entropy' is nan; give a finite number of nats"):
        BarberAgakov.Config(math.nan)
    with pytest.raises(SeqgenError, match="'log_baseline' is inf; give a finite number of nats"):
        TUBA.Config(math.inf)
    with pytest.raises(SeqgenError, match=r"'forgetting' is 1\.0; give a share from 0 to below 1"):
        DonskerVaradhan.Config(1.0)


def with_baseline(name: str) -> BaselineCritic:
    return BaselineCritic(
        BaselineCritic.Config(Component(name, {"x_dim": 2, "y_dim": 2, "noise": 0.5}), hidden=8, layers=1)
    )


def test_a_structured_critic_learns_the_marginal_alone() -> None:
    critic, pairs = with_baseline("gaussian-channel"), batch(4)
    assert {name.split(".")[0] for name, _ in critic.named_parameters()} == {"log_baseline"}
    normal = torch.distributions.Normal
    for i in range(4):
        for j in range(4):
            given = normal(pairs.x[j], 0.5).log_prob(pairs.y[i]).sum() - critic.log_baseline(pairs.y[i]).squeeze()
            assert float(critic(pairs.x, pairs.y)[i, j]) == pytest.approx(float(given), abs=1e-4)
    with pytest.raises(SeqgenError, match="baseline-critic: 'recurrent' is no critic; name a critic"):
        BaselineCritic(BaselineCritic.Config(Component("recurrent", {"vocab_size": 3, "outputs": 2})))
    with pytest.raises(SeqgenError, match=r"'gain' is 1\.0, 'noise' 0\.0; give finite numbers, noise above 0"):
        GaussianChannel.Config(2, 2, noise=0.0)
