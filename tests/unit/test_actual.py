"""Actor-critic under adversarial learning on a problem of 27 sequences, where everything is known by enumeration."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqgen.noise import Key
from seqgen.objectives import verify
from seqgen.objectives.actual import Actual, Rollout, discounted
from seqgen.objectives.contract import Part
from seqgen.objectives.targets import Target
from tests.unit.enumerated import (
    ESTIMATORS,
    EVERY,
    A,
    T,
    actor_gradient,
    batch,
    exact_q,
    expected_reward_gradient,
    know,
    made,
    place,
    probabilities,
    rewards,
    rollout,
    sums,
)


@pytest.mark.parametrize("gradient", ESTIMATORS)
def test_the_actor_ascends_the_expected_reward(gradient: str) -> None:
    """``Σ_t Σ_a ∇p Q = ∇ E[Σ_t r_t]``, and the score with returns has the same mean, whatever is their baseline."""
    objective = made()
    objective.mean_reward.value.fill_(1.75)
    know(objective, exact_q(objective))
    expected = expected_reward_gradient(objective)
    assert float(expected.abs().max()) > 0.01
    torch.testing.assert_close(actor_gradient(objective, gradient), expected, atol=1e-12, rtol=1e-10)


def test_only_estimators_with_all_actions_need_the_critic() -> None:
    """With a critic that knows nothing, scores with returns are right all the same, and the sum over actions is not."""
    objective = made()
    expected = expected_reward_gradient(objective)
    for gradient in ("reinforce", "advantage"):
        torch.testing.assert_close(actor_gradient(objective, gradient), expected, atol=1e-12, rtol=1e-10)
    assert not torch.allclose(actor_gradient(objective), expected, atol=1e-3)


def test_temporal_differences_settle_at_the_exact_values() -> None:
    objective = made()
    for _ in range(T):
        objective.target_critic.follow(objective.critic, 1.0)
        target = rollout(objective, EVERY).target
        with torch.no_grad():
            for y, values in zip(EVERY.tolist(), target, strict=True):
                for t in range(T):
                    objective.critic.rows[place(0, *y[:t]), y[t]] = values[t]
    for prefix, values in exact_q(objective).items():
        torch.testing.assert_close(objective.critic.rows[place(0, *prefix)].detach(), values, atol=1e-12, rtol=1e-12)


def test_the_critic_learns_the_exact_values() -> None:
    objective, steps = made(spread=0.0, target_rate=0.3), 500
    optimiser = torch.optim.Adam(objective.critic.parameters())
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * (1 - step / steps)
        optimiser.zero_grad()
        objective(Part(batch(EVERY), Key(0, 0), rollout(objective, EVERY)), "critic").total.backward()
        optimiser.step()
        objective.after_update("critic", sums(), {})
    for prefix, values in exact_q(objective).items():
        torch.testing.assert_close(objective.critic.rows[place(0, *prefix)].detach(), values, atol=1e-3, rtol=0)


def test_targets_take_the_mean_over_all_next_actions() -> None:
    """``q_t = γ Σ_a p'(a | Y_t) Q'(a; Y_t)``, whatever comes next, with the weights of the target networks."""
    objective = made(discount=0.9)
    with torch.no_grad():
        for parameter in (*objective.generator.parameters(), *objective.critic.parameters()):
            parameter += 1.0 + torch.rand(parameter.shape, dtype=torch.float64)
    p = objective.target_generator.network.body.rows.softmax(dim=1)
    q = objective.target_critic.network.rows
    target, r = rollout(objective, EVERY).target, rewards(objective)
    for y, values, reward in zip(EVERY.tolist(), target, r, strict=True):
        for t in (1, 2):
            row = place(0, *y[:t])
            assert float(values[t - 1]) == pytest.approx(float(0.9 * (p[row] @ q[row])), abs=1e-12)
        assert float(values[T - 1]) == pytest.approx(float(reward), abs=1e-12)


def test_without_a_future_the_value_is_the_reward() -> None:
    objective = made(discount=0.0)
    found = rollout(objective, EVERY)
    assert torch.equal(found.target, found.reward)
    assert torch.equal(found.reward[:, -1], rewards(objective))
    assert not found.reward[:, :-1].any()


@pytest.mark.parametrize("gradient", ESTIMATORS)
def test_nothing_is_foreseen_behind_an_end(gradient: str) -> None:
    objective, lengths = made(likelihood=0.5, spread=0.1, gradient=gradient), torch.tensor([1, 2, 3])
    real = (torch.arange(T)[None] < lengths[:, None]).double()
    y, x = EVERY[[5, 14, 25]], EVERY[[11, 7, 3]]
    found = objective.rollout(y, real)
    for row, length in enumerate(lengths.tolist()):
        reward = float(objective.discriminator(y)[row, length - 1, 0].detach())
        assert float(found.reward[row, length - 1]) == float(found.target[row, length - 1]) == reward
        assert int(found.reward[row].ne(0).sum()) == 1
    behind = ~real.bool()
    for player in objective.players:
        losses = []
        for other in (0, 1, 2):  # what lies behind the end
            y_other, x_other = y.masked_fill(behind, other), x.masked_fill(behind, other)
            shared = objective.rollout(y_other, real)
            losses.append(objective(Part(batch(x_other, lengths), Key(0, 0), shared), player).total)
        assert losses[0] == losses[1] == losses[2]
    judged = [objective.discriminator(one)[..., 0].detach() for one in (x, y)]
    errors = torch.log1p(torch.exp(-judged[0])) + torch.log1p(torch.exp(judged[1]))
    expected = torch.stack([row[:length].mean() for row, length in zip(errors, lengths.tolist(), strict=True)]).mean()
    loss = objective(Part(batch(x, lengths), Key(0, 0), found), "discriminator")
    assert float(loss.total.detach()) == pytest.approx(float(expected), abs=1e-12)
    last = lengths[:, None] - 1
    right = [*(judged[0].gather(1, last) > 0), *(judged[1].gather(1, last) <= 0)]
    assert float(loss.terms["accuracy"]) == pytest.approx(sum(map(float, right)) / 6)


def test_free_running_sequences_are_the_generators() -> None:
    """As many of each as is likely, the same for the same key, as long as the rows of the batch."""
    objective, rows = made(), 20_000
    lengths = torch.full((rows,), T)
    found = objective.begin(batch(torch.zeros(rows, T, dtype=torch.int64), lengths), Key(3, 4))
    again = objective.begin(batch(torch.ones(rows, T, dtype=torch.int64), lengths), Key(3, 4))
    other = objective.begin(batch(torch.ones(rows, T, dtype=torch.int64), lengths), Key(3, 5))
    assert torch.equal(found.y, again.y)
    assert not torch.equal(found.y, other.y)
    shorter = objective.begin(batch(torch.zeros(3, T, dtype=torch.int64), torch.tensor([1, 3, 2])), Key(3, 4))
    assert torch.equal(shorter.y, found.y[:3])
    assert shorter.real.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert not found.target.requires_grad
    counts = torch.bincount((found.y * torch.tensor([9, 3, 1])).sum(dim=1), minlength=27) / rows
    p = probabilities(objective).detach()
    assert float(((counts - p) / (p * (1 - p) / rows).sqrt()).abs().max()) < 4.5


@pytest.mark.parametrize("player", ["discriminator", "critic", "actor"])
@pytest.mark.parametrize("gradient", ESTIMATORS)
def test_a_loss_reaches_its_player_alone(player: str, gradient: str) -> None:
    """``loss`` itself, without the contract's guard: what is a target or a weight is cut off in the formula."""
    objective = made(likelihood=0.5, gradient=gradient)
    shared = objective.begin(batch(EVERY), Key(0, 0))
    objective.loss(batch(EVERY), player, Key(0, 0), shared).total.backward()
    reached = {name for name, parameter in objective.named_parameters() if parameter.grad is not None}
    assert reached == set(objective.owned(player))


@pytest.mark.parametrize("gradient", ESTIMATORS)
def test_laws_hold(gradient: str) -> None:
    objective = made(likelihood=0.5, gradient=gradient)
    whole = batch(EVERY)
    verify.check_players(objective, whole)
    verify.check_pure(objective, whole)
    verify.check_evaluation(objective, whole)
    verify.check_accumulation(objective, whole, [batch(EVERY[:7]), batch(EVERY[7:])])


@pytest.mark.parametrize("player", ["discriminator", "critic", "actor"])
def test_parts_of_a_batch_weigh_by_their_rows(player: str) -> None:
    """The law of accumulation with what is drawn taken apart too (other parts would draw other numbers)."""
    objective = made(likelihood=0.5)
    shared = objective.begin(batch(EVERY), Key(0, 0))
    losses = []
    for rows in (slice(0, 7), slice(7, 27)):
        part = Part(batch(EVERY[rows]), Key(0, 0), Rollout(*(one[rows] for one in shared)))
        losses.append(objective(part, player))
    whole = objective(Part(batch(EVERY), Key(0, 0), shared), player).total
    weight = sum(loss.weight for loss in losses)
    mean = float((sum(loss.weight * loss.total for loss in losses) / weight).detach())
    assert mean == pytest.approx(float(whole.detach()), abs=1e-12)


def test_a_target_moves_by_its_share_exactly() -> None:
    online, rate = nn.BatchNorm1d(4).double(), 0.3
    target = Target(online)
    before = {name: value.clone() for name, value in target.network.named_parameters()}
    with torch.no_grad():
        for parameter in online.parameters():
            parameter += torch.rand(parameter.shape, dtype=torch.float64)
        online.running_mean += 2.0
    target.follow(online, rate)
    for name, parameter in target.network.named_parameters():
        expected = (1 - rate) * before[name] + rate * online.get_parameter(name)
        torch.testing.assert_close(parameter, expected, atol=1e-15, rtol=1e-15)
    assert torch.equal(target.network.running_mean, online.running_mean)
    assert not target.train().network.training
    assert not any(parameter.requires_grad for parameter in target.parameters())
    target.follow(online, 1.0)
    assert all(map(torch.equal, target.network.parameters(), online.parameters()))


@pytest.mark.parametrize(("player", "moves"), [("critic", "target_critic"), ("actor", "target_generator")])
def test_each_target_follows_its_own_player(player: str, moves: str) -> None:
    objective = made(target_rate=0.25)
    with torch.no_grad():
        for parameter in (*objective.generator.parameters(), *objective.critic.parameters()):
            parameter += 1.0
    before = {name: value.clone() for name, value in objective.named_parameters() if name.startswith("target_")}
    objective.after_update("discriminator", sums(), {})
    assert all(torch.equal(objective.get_parameter(name), value) for name, value in before.items())
    objective.after_update(player, sums(), {})
    for name, value in before.items():
        shift = 0.25 if name.startswith(moves) else 0.0
        torch.testing.assert_close(objective.get_parameter(name).detach(), value + shift, atol=1e-12, rtol=0)


def test_what_the_critic_adds_to_all_actions_moves_no_actor() -> None:
    objective = made()
    before = actor_gradient(objective).clone()
    with torch.no_grad():
        objective.critic.rows += torch.randn(len(objective.critic.rows), 1, dtype=torch.float64)
    torch.testing.assert_close(actor_gradient(objective), before, atol=1e-12, rtol=1e-10)


def test_the_critic_s_spread_is_zero_only_where_actions_are_equal() -> None:
    def penalty(objective: Actual) -> float:
        objective.target_critic.follow(objective.critic, 1.0)
        shared, found = rollout(objective, EVERY), []
        for weight in (1.0, 0.0):
            objective.config = Actual.Config(spread=weight, reward_limit=100.0)
            loss = objective(Part(batch(EVERY), Key(0, 0), shared), "critic")
            found.append(float(loss.total.detach()))
        return found[0] - found[1]

    objective = made()
    rows = objective.critic.rows.detach()
    used = [place(0, *y[:t]) for y in EVERY.tolist() for t in range(T)]
    expected = ((rows - rows.mean(dim=1, keepdim=True)) ** 2).sum(dim=1)[used].sum() / len(EVERY)
    assert penalty(objective) == pytest.approx(float(expected), abs=1e-10)
    with torch.no_grad():
        rows[:] = torch.randn(len(rows), 1, dtype=torch.float64)
    assert penalty(objective) == 0
    with torch.no_grad():
        rows[place(0, 2), 1] += 0.01
    assert penalty(objective) > 0


def test_the_best_discriminator_leads_down_the_divergence() -> None:
    """``σ(D) = p_data / (p_data + p)`` on every prefix; rewarded by its logit the actor descends KL(p ‖ p_data).

    All probabilities are multiples of 1/64, so that a batch of 64 rows has every sequence as often as is likely.
    """
    objective, generator = made(), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for row in objective.generator.body.rows:
            row[:] = torch.tensor([0.25, 0.5, 0.25]).log()[torch.randperm(A, generator=generator)]
    p = probabilities(objective).detach()
    p_data = (1 + torch.bincount(torch.randint(27, (64 - 27,), generator=generator), minlength=27)).double() / 64
    given, drawn = (EVERY.repeat_interleave((64 * one).round().long(), dim=0) for one in (p_data, p))
    assert len(given) == len(drawn) == 64
    part = Part(batch(given), Key(0, 0), rollout(objective, drawn))

    def closure() -> Tensor:
        optimiser.zero_grad()
        total: Tensor = objective(part, "discriminator").total
        total.backward()
        return total

    optimiser = torch.optim.LBFGS(
        objective.discriminator.parameters(), max_iter=300, tolerance_grad=1e-12, tolerance_change=0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    optimiser.step(closure)
    torch.testing.assert_close(rewards(objective), (p_data / p).log(), atol=1e-6, rtol=0)
    for symbol in range(A):
        inside = EVERY[:, 0] == symbol
        judged = float(objective.discriminator.rows[place(symbol), 0].detach())
        assert judged == pytest.approx(float((p_data[inside].sum() / p[inside].sum()).log()), abs=1e-6)
    know(objective, exact_q(objective))
    every = probabilities(objective)
    divergence = (every * (every.log() - p_data.log())).sum()
    (expected,) = torch.autograd.grad(divergence, [objective.generator.body.rows])
    torch.testing.assert_close(actor_gradient(objective), -expected, atol=1e-6, rtol=0)


def test_likelihood_is_a_part_of_the_actor_s_loss() -> None:
    shared = rollout(made(), EVERY)
    part = Part(batch(EVERY[:4]), Key(0, 0), Rollout(*(one[:4] for one in shared)))
    none, some = (made(likelihood=weight)(part, "actor") for weight in (0.0, 0.5))
    nats = -probabilities(made())[:4].log().mean()
    assert float(some.total - none.total) == pytest.approx(0.5 * float(nats), abs=1e-12)
    assert float(none.terms["nats_per_sequence"]) == pytest.approx(float(nats), abs=1e-12)


def test_measured_variances_are_those_of_single_sequences() -> None:
    objective = made()
    found = objective.measure(batch(EVERY), Key(0, 0), 0)
    y, parameters = objective.begin(batch(EVERY), Key(0, 0)).y, [objective.generator.body.rows]
    for gradient in ESTIMATORS:
        objective.config = Actual.Config(likelihood=0.0, gradient=gradient, reward_limit=100.0)
        each = []
        for row in y:
            part = Part(batch(row[None]), Key(0, 0), rollout(objective, row[None]))
            each.append(torch.autograd.grad(objective(part, "actor").total, parameters)[0].flatten())
        expected = torch.stack(each).var(dim=0).sum()
        measure = found[f"gradient_variance_{gradient.replace('-', '_')}"]
        assert float(measure.amounts.mean()) == pytest.approx(float(expected), rel=1e-9)
    know(objective, exact_q(objective))
    assert float(objective.measure(batch(EVERY), Key(0, 0), 0)["critic_error"].amounts.sum()) < 1e-20


def test_the_running_mean_of_rewards_is_what_single_returns_are_held_against() -> None:
    objective = made(gradient="reinforce", discount=0.5)
    for reward, expected in ((3.0, 3.0), (1.0, 2.0)):
        objective.after_update("actor", sums(reward=reward), {})
        assert float(objective.mean_reward.value) == expected
    for _ in range(100):
        objective.after_update("actor", sums(reward=5.0), {})
    before = float(objective.mean_reward.value)
    objective.after_update("actor", sums(reward=25.0), {})
    assert float(objective.mean_reward.value) == pytest.approx(before + 0.05 * (25 - before), rel=1e-6)
    objective.mean_reward.value.fill_(float(rewards(objective).mean()))
    shared, weights = rollout(objective, EVERY), torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    (found,) = torch.autograd.grad(
        objective(Part(batch(EVERY), Key(0, 0), shared), "actor").total, [objective.generator.body.rows]
    )
    gains = (rewards(objective) - objective.mean_reward.value)[:, None] * weights
    score = (objective.generator.log_prob(EVERY) * gains).sum() / len(EVERY)
    (expected,) = torch.autograd.grad(-score, [objective.generator.body.rows])
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


def test_returns_are_discounted() -> None:
    reward = torch.tensor([[1.0, 0.0, 2.0]])
    assert discounted(reward, 0.5).tolist() == [[1.5, 1.0, 2.0]]
