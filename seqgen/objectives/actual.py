"""Actor-critic under adversarial learning: a generator follows a critic that foresees what a discriminator will say.

ACtuAL-style: the losses are a reconstruction from the abstract and from the actor-critic paper that the method builds
on.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen import noise
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.contract import full
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.generation.examples import body
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows
from seqgen.objectives.running_mean import RunningMean
from seqgen.objectives.targets import Target
from seqgen.spec import Facts
from seqgen.stream.contract import Streamable

Gradient = Literal["all-actions", "reinforce", "advantage"]
_MEASURED = 4  # batches of an evaluation whose gradients are taken row by row
_FORGETTING = 0.05  # rate of the running means
_COLLAPSED = 0.5  # share of duplicates beyond the data's own, and of the data's surprise that is left to samples


class Rollout(NamedTuple):
    """Rollout of the generator: free-running sequences with rewards and TD targets, every part ``[B, T]``.

    Attributes:
        y: drawn symbols. real: 1 where a sequence still goes on, 0 behind its end.
        reward: r_t, at the last symbol alone. target: q_t, what the critic is to say of y_t.
    """

    y: Tensor
    real: Tensor
    reward: Tensor
    target: Tensor


class Actual(Objective):
    """Adversarial actor-critic training: three players over sequences Y of symbols, Y_t being the first t of them.

        discriminator  L_D = E_data softplus(-D(Y)) + E_p softplus(D(Y))                 means over the prefixes of Y
        reward         r_T = D(Y_T), limited; r_t = 0 before
        TD target      q_t = r_t + γ Σ_a p'(a | Y_t) Q'(a; Y_t),    q_T = r_T            p', Q': target networks
        critic         L_Q = E_p Σ_t (Q(y_t; Y_{t-1}) - q_t)² + λ_C Σ_a (Q(a; Y_{t-1}) - mean_b Q(b; Y_{t-1}))²
        actor          L_A = -E_p Σ_t Σ_a p(a | Y_{t-1}) sg[Q(a; Y_{t-1})] - λ_LL E_data ln p(Y)

    D is a logit; at its best it is ``ln p_data(Y) / p(Y)``, so that the actor ascends ``-KL(p ‖ p_data)``. The
    discriminator judges every prefix, but rewards the whole alone: a sum over prefixes would reward early confidence.
    Sequences are as long as the rows of the batch; what lies behind an end counts nothing, and nothing is foreseen
    there.

    ``gradient: reinforce`` has the drawn symbol's score in the place of the sum over actions, with the return G_t for
    Q, of rewards less their running mean; ``advantage`` subtracts ``Σ_a p Q`` from the return.

    A discriminator that tells nearly all sequences apart says nothing of where to go. While the running mean of its
    accuracy is above ``ceiling``, it stands still and the actor learns by likelihood alone, and the log says so; it
    says too where drawn sequences collapse.

    Terms: ``accuracy`` of the discriminator on whole sequences; ``td_error``, a mean over symbols; ``reward`` of a
    sequence; ``nats_per_sequence``, ``-ln p`` of given ones; ``entropy_per_sequence``, ``-ln p`` of drawn ones;
    ``duplicates`` and ``duplicates_given``, the share of drawn and of given sequences that the batch has already;
    ``likelihood_alone``, the share of updates.
    Checkpoints are ranked by ``nats_per_sequence``, which no other player's progress moves. Adversarial training gives
    some of it for better samples, so a run that is after its samples validates at its end only.

    Networks: ``generator`` (the actor), ``critic`` with an output for each symbol, ``discriminator`` with one.
    Batches have ``x`` and ``lengths``.

    Raises:
        SeqgenError: for networks over other alphabets, of other numbers of outputs, or conditioned ones.

    Source: Goyal et al., "ACtuAL: Actor-critic under adversarial learning", arXiv 1711.04755 (abstract); Bahdanau et
    al., "An actor-critic algorithm for sequence prediction", arXiv 1607.07086, section 3 (target networks, λ_C).
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            gradient: how the actor's gradient is estimated. discount: γ.
            spread: λ_C, weight of the critic's spread over actions, which holds those that are seldom drawn.
            likelihood: λ_LL, weight of the negative log-likelihood of the data in the actor's loss.
            target_rate: τ, share of the way that target networks go after an update.
            reward_limit: largest magnitude of a reward.
            ceiling: accuracy of the discriminator above which the actor does not follow it (1: it always does).
        """

        gradient: Gradient = "all-actions"
        discount: float = 1.0
        spread: float = 1e-3
        likelihood: float = 0.1
        target_rate: float = 1e-2
        reward_limit: float = 10.0
        ceiling: float = 0.99

        def __post_init__(self) -> None:
            shares = 0 <= self.discount <= 1 and 0 < self.target_rate <= 1
            weights = min(self.spread, self.likelihood) >= 0 and self.reward_limit > 0
            if not (shares and weights and 0.5 <= self.ceiling <= 1):
                raise SeqgenError(
                    f"actual: {self}",
                    remedy="give discount and target_rate up to 1, weights from 0, a reward_limit above 0 and a "
                    "ceiling from 0.5 to 1",
                )

    players: Mapping[str, tuple[str, ...]] = MappingProxyType(
        {"discriminator": ("discriminator",), "critic": ("critic",), "actor": ("generator",)}
    )
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType(
        {"generator": AutoRegressive, "critic": Streamable, "discriminator": Streamable}
    )
    evaluation_rows: ClassVar[int] = 64
    config: Config
    generator: AutoRegressive
    critic: Streamable[Any]
    discriminator: Streamable[Any]

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        batch = Rows(torch.tensor([[0, 3, 1, 2, 0], [2, 2, 1, 0, 3], [1, 0, 3, 3, 1]]), torch.tensor([5, 2, 4]))
        for gradient in typing.get_args(Gradient):
            judges = {"critic": body(4, 4), "discriminator": body(4, 1)}
            networks = {"generator": language_model(4), **judges}
            yield ObjectiveExample(cls(cls.Config(gradient), networks, Facts(vocab_size=4)), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        if not isinstance(self.generator.distribution, Categorical) or self.generator.conditioner is not None:
            raise SeqgenError(
                "actual: the generator is conditioned, or its distribution is not over symbols",
                remedy="give a body without conditioning and distribution categorical",
            )
        symbols = self.generator.distribution.vocab_size
        for name, network, outputs in (("critic", self.critic, symbols), ("discriminator", self.discriminator, 1)):
            spec = network.spec
            if (spec.in_dim, spec.vocab_size, spec.cond_dim, spec.out_dim) != (0, symbols, 0, outputs):
                raise SeqgenError(
                    f"actual: the {name} reads {spec.vocab_size} symbols and gives {spec.out_dim} outputs",
                    remedy=f"give it vocab_size {symbols} and outputs {outputs}, without conditioning",
                )
        self.target_generator, self.target_critic = Target(self.generator), Target(self.critic)
        self.mean_reward, self.mean_accuracy = RunningMean(_FORGETTING), RunningMean(_FORGETTING)

    @property
    def monitor(self) -> str:
        return "actor/nats_per_sequence"

    def begin(self, batch: Any, rng: Key) -> Rollout:
        rows, length = batch.x.shape
        u = noise.block(rng.seed, rng.stream, 0, rows * length * self.generator.num_uniforms)
        like = self.generator.body.zeros(0)
        y = self.generator.sample(torch.from_numpy(u).view(rows, length, -1).to(like))
        real = torch.arange(length, device=y.device)[None] < batch.lengths[:, None]
        return self.rollout(y, real.to(like.dtype))

    @torch.no_grad()
    def rollout(self, y: Tensor, real: Tensor) -> Rollout:
        """Rewards and TD targets of sequences ``y [B, T]``, which are ``real [B, T]`` up to their ends."""
        last, limit = _last(real), self.config.reward_limit
        reward = self.discriminator(y)[..., 0].clamp(-limit, limit) * last  # [B, T]
        policy = full(self.target_generator.network.distributions(y)).softmax(dim=-1)  # [B, T, A], p'(a | Y_{t-1})
        value = (policy * self.target_critic.network(self._prefixes(y))).sum(dim=-1)  # [B, T], of Y_{t-1}
        following = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], dim=1)  # [B, T], of Y_t
        return Rollout(y, real, reward, reward + self.config.discount * (real - last) * following)

    def loss(self, batch: Any, player: str, rng: Key, shared: Rollout) -> Loss:
        losses = {"discriminator": self._discriminate, "critic": self._evaluate, "actor": self._act}
        total, terms = losses[player](batch, shared)
        rows = total.new_tensor(len(total))
        sums = {name: terms[name].detach() * rows for name in ("accuracy", "reward") if name in terms}
        return Loss(total.mean(), {name: value.detach() for name, value in terms.items()}, rows, {**sums, "rows": rows})

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        if player == "discriminator":
            self.mean_accuracy.follow(aux["accuracy"], aux["rows"])
        if player == "critic":
            self.target_critic.follow(self.critic, self.config.target_rate)
        if player == "actor":
            self.target_generator.follow(self.generator, self.config.target_rate)
            self.mean_reward.follow(aux["reward"], aux["rows"])

    @property
    def lost(self) -> bool:
        """State of a discriminator that tells too many sequences apart to be followed."""
        return bool(self.mean_accuracy.value > self.config.ceiling)

    def frozen(self, player: str) -> bool:
        return player == "discriminator" and self.lost

    def remarks(self, means: Mapping[str, float]) -> list[str]:
        found = []
        if (share := means.get("actor/likelihood_alone", 0.0)) > 0:
            found.append(
                f"the discriminator tells {means['discriminator/accuracy']:.1%} of the sequences apart: {share:.0%} of "
                "the actor's updates followed the likelihood alone"
            )
        drawn, given = (means.get(f"actor/{name}", 0.0) for name in ("duplicates", "duplicates_given"))
        entropy, nats = (means.get(f"actor/{name}_per_sequence", 0.0) for name in ("entropy", "nats"))
        if drawn > given + _COLLAPSED or entropy < _COLLAPSED * nats:
            found.append(
                f"samples collapse: {drawn:.0%} are duplicates (of the data {given:.0%}), with an entropy of "
                f"{entropy:.2f} nats; raise objective.likelihood, or lower the actor's learning rate"
            )
        return found

    def _discriminate(self, batch: Any, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D of each row, ``[B]``."""
        real, last = rollout.real, (batch.lengths - 1).clamp_min(0)[:, None]
        given, drawn = (self.discriminator(one)[..., 0] for one in (batch.x, rollout.y))  # [B, T]
        error = (F.softplus(-given) + F.softplus(drawn)) * real
        right = (given.gather(1, last) > 0).float() + (drawn.gather(1, last) <= 0).float()
        return error.sum(dim=1) / real.sum(dim=1).clamp_min(1), {"accuracy": right.mean() / 2}

    def _evaluate(self, batch: Any, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """L_Q of each row, ``[B]``."""
        q = full(self.critic(self._prefixes(rollout.y)))  # [B, T, A]
        error = (_chosen(q, rollout.y) - rollout.target) ** 2  # [B, T]
        spread = ((q - q.mean(dim=-1, keepdim=True)) ** 2).sum(dim=-1)
        total = ((error + self.config.spread * spread) * rollout.real).sum(dim=1)
        return total, {"td_error": (error * rollout.real).sum() / rollout.real.sum().clamp_min(1)}

    def _act(self, batch: Any, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """L_A of each row, ``[B]``."""
        lost = self.lost
        weight = 1.0 if lost else self.config.likelihood
        with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
            nats = -(self.generator.log_prob(batch.x) * rollout.real).sum(dim=1)
        with torch.no_grad():
            surprise = -(self.generator.log_prob(rollout.y) * rollout.real).sum(dim=1)
        terms = {
            "reward": rollout.reward.sum(dim=1).mean(),
            "nats_per_sequence": nats.mean(),
            "entropy_per_sequence": surprise.mean(),
            "duplicates": duplicates(rollout.y, rollout.real),
            "duplicates_given": duplicates(batch.x, rollout.real),
            "likelihood_alone": nats.new_tensor(float(lost)),
        }
        gain = 0.0 if lost else self._gain(rollout, self.config.gradient)
        return weight * nats - gain, terms

    def _gain(self, rollout: Rollout, gradient: Gradient) -> Tensor:
        """Surrogate loss whose gradient is the policy gradient of each row, ``[B]``."""
        log_p = full(self.generator.distributions(rollout.y)).log_softmax(dim=-1)  # [B, T, A]
        with torch.no_grad():
            q = full(self.critic(self._prefixes(rollout.y)))  # [B, T, A]
        expected = (log_p.exp() * q).sum(dim=-1)  # [B, T]
        if gradient == "all-actions":
            return (expected * rollout.real).sum(dim=1)
        if gradient == "advantage":
            gains = discounted(rollout.reward, self.config.discount) - expected.detach()
        else:
            gains = discounted(rollout.reward - self.mean_reward.value * _last(rollout.real), self.config.discount)
        return (_chosen(log_p, rollout.y) * gains * rollout.real).sum(dim=1)

    def _prefixes(self, y: Tensor) -> Tensor:
        """Input of a network that has Y_{t-1} at position t: every symbol one later."""
        delay = self.generator.delay
        return delay.step(y, delay.init_state(len(y)))[0]

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """Figures of the policy gradient: ``gradient_variance_*``, of a single sequence's by each estimator, ``E ‖g - E
        g‖²`` with the same networks and sequences; and ``critic_error``, the share of the rewards' variance that the
        critic misses at the last symbol, where the reward is settled (0: it knows the discriminator, 1: no better than
        the mean)."""
        if index >= _MEASURED or len(batch.x) < 2:
            return {}
        with torch.no_grad():
            rollout = self.begin(batch, rng)
            q = full(self.critic(self._prefixes(rollout.y)))
        reward, last = rollout.reward.sum(dim=1), (batch.lengths - 1).clamp_min(0)[:, None]
        missed = (_chosen(q, rollout.y).gather(1, last)[:, 0] - reward) ** 2
        found = {"critic_error": Measure(missed, (reward - reward.mean()) ** 2)}
        for gradient in ("all-actions", "reinforce", "advantage"):
            distances = self._distances(rollout, gradient)
            found[f"gradient_variance_{gradient.replace('-', '_')}"] = Measure(distances, torch.ones_like(distances))
        return found

    @torch.enable_grad()
    def _distances(self, rollout: Rollout, gradient: Gradient) -> Tensor:
        """Squared distance of each row's policy gradient to the mean over rows, ``[B]``, without bias."""
        parameters, rows = list(self.owned("actor").values()), len(rollout.y)
        each = []
        for row in range(rows):
            gain = self._gain(Rollout(*(part[row : row + 1] for part in rollout)), gradient)
            gradients = torch.autograd.grad(gain.sum(), parameters)
            each.append(torch.cat([one.flatten() for one in gradients]))
        stacked = torch.stack(each)  # [B, parameters]
        return ((stacked - stacked.mean(dim=0)) ** 2).sum(dim=1) * rows / (rows - 1)


def discounted(reward: Tensor, discount: float) -> Tensor:
    """Returns ``G_t = Σ_{s>=t} γ^{s-t} r_s`` of rewards ``[B, T]``.

    Example:
        >>> discounted(torch.tensor([[0.0, 0.0, 4.0]]), 0.5)
        tensor([[1., 2., 4.]])
    """
    returns, ahead = [], torch.zeros_like(reward[:, 0])
    for one in reversed(reward.unbind(dim=1)):
        ahead = one + discount * ahead
        returns.append(ahead)
    return torch.stack(returns[::-1], dim=1)


def duplicates(y: Tensor, real: Tensor) -> Tensor:
    """Share of the rows ``y [B, T]``, up to their ends, that others before them are equal to; a scalar.

    Example:
        >>> duplicates(torch.tensor([[1, 2], [1, 2], [1, 3], [1, 2]]), torch.ones(4, 2))
        tensor(0.5000)
    """
    kinds = torch.where(real > 0, y, -1).unique(dim=0)
    return real.new_tensor(1 - len(kinds) / max(len(y), 1))


def _last(real: Tensor) -> Tensor:
    """1 at the last symbol of each row of ``real [B, T]``."""
    return real - torch.cat([real[:, 1:], torch.zeros_like(real[:, :1])], dim=1)


def _chosen(table: Tensor, y: Tensor) -> Tensor:
    """Entries of the symbols themselves: ``[B, T, A]``, ``[B, T] → [B, T]``."""
    return table.gather(-1, y[..., None])[..., 0]
