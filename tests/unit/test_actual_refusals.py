"""What actor-critic training says of a discriminator that cannot be followed, of collapse, and of what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqgen.distributions.categorical import Categorical
from seqgen.distributions.gaussian import Gaussian
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.recurrent import Recurrent
from seqgen.noise import Key
from seqgen.objectives.actual import Actual
from seqgen.objectives.contract import Part
from seqgen.spec import Facts, StreamSpec
from seqgen.stream.contract import Streamable
from tests.unit.enumerated import EVERY, T, batch, made, probabilities, rewards, rollout, sums


def test_rewards_are_limited() -> None:
    objective = made(reward_limit=0.25)
    found = rollout(objective, EVERY).reward[:, -1]
    assert torch.equal(found, rewards(objective).clamp(-0.25, 0.25))
    assert float(found.max()) == 0.25
    assert float(found.min()) == -0.25


def test_an_actor_that_cannot_win_goes_on_with_likelihood() -> None:
    """Above the ceiling, and no longer; the log says what was done."""
    objective = made(likelihood=0.0, ceiling=0.9)
    part = Part(batch(EVERY), Key(0, 0), rollout(objective, EVERY))
    nats = -probabilities(objective).log().mean()
    (alone,) = torch.autograd.grad(nats, [objective.generator.body.rows])

    def gradient() -> tuple[Tensor, float]:
        loss = objective(part, "actor")
        (found,) = torch.autograd.grad(loss.total, [objective.generator.body.rows])
        return found, float(loss.terms["likelihood_alone"])

    usual, share = gradient()
    assert share == 0
    assert not any(map(objective.frozen, objective.players))
    assert not torch.allclose(usual, alone, atol=1e-3)
    objective.after_update("discriminator", sums(accuracy=1.0), {})
    found, share = gradient()
    assert share == 1
    assert [player for player in objective.players if objective.frozen(player)] == ["discriminator"]
    torch.testing.assert_close(found, alone, atol=1e-12, rtol=1e-10)
    for _ in range(3):
        objective.after_update("discriminator", sums(accuracy=0.5), {})
    assert torch.equal(gradient()[0], usual)
    said = {"discriminator/accuracy": 0.995, "actor/likelihood_alone": 0.25}
    well = {"actor/entropy_per_sequence": 5.0, "actor/nats_per_sequence": 6.0}
    assert objective.remarks(said | well) == [
        "the discriminator tells 99.5% of the sequences apart: 25% of the actor's updates followed the likelihood alone"
    ]
    assert objective.remarks({"discriminator/accuracy": 0.995, "critic/loss": 1.0}) == []


def test_collapsed_samples_are_reported() -> None:
    objective = made()
    well = {
        "actor/entropy_per_sequence": 5.0, "actor/nats_per_sequence": 6.0,
        "actor/duplicates": 0.55, "actor/duplicates_given": 0.1,
    }  # fmt: skip
    assert objective.remarks(well) == []
    for badly in ({"actor/duplicates": 0.65}, {"actor/entropy_per_sequence": 2.9}):
        (said,) = objective.remarks(well | badly)
        assert said.startswith("samples collapse: ")
        assert "raise objective.likelihood" in said
    y = torch.tensor([[0, 1, 2], [0, 1, 0], [0, 2, 2], [0, 1, 1]])
    lengths = torch.tensor([2, 2, 3, 3])
    real = (torch.arange(T)[None] < lengths[:, None]).double()
    loss = objective(Part(batch(EVERY[:4], lengths), Key(0, 0), objective.rollout(y, real)), "actor")
    assert float(loss.terms["duplicates"]) == 0.25
    assert float(loss.terms["duplicates_given"]) == 0.25


def body(vocab_size: int, outputs: int) -> Recurrent:
    return Recurrent(Recurrent.Config(vocab_size=vocab_size, outputs=outputs, hidden=4, embedding=2))


def actor(vocab_size: int) -> AutoRegressive:
    distribution = Categorical(Categorical.Config(vocab_size))
    return AutoRegressive(body(vocab_size, vocab_size), distribution, None, start=0, symbols_per_sample=1)


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        ({"critic": body(3, 1)}, "the critic reads 3 symbols and gives 1 outputs; give it vocab_size 3 and outputs 3"),
        ({"discriminator": body(4, 1)}, "the discriminator reads 4 symbols and gives 1 outputs; give it vocab_size 3"),
        ({"critic": nn.Linear(3, 3)}, "network 'critic' is a Linear; give a Streamable"),
    ],
)
def test_networks_that_do_not_fit_are_refused(networks: dict[str, nn.Module], said: str) -> None:
    given = {"generator": actor(3), "critic": body(3, 3), "discriminator": body(3, 1), **networks}
    with pytest.raises(SeqgenError, match=said):
        Actual(Actual.Config(), given, Facts(vocab_size=3))


def test_a_generator_of_real_numbers_is_refused() -> None:
    class Real(Streamable[Any]):
        def __init__(self) -> None:
            super().__init__()
            self.spec = StreamSpec(in_dim=1, out_dim=2)

        def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
            return ()

        def step(self, x: Tensor, state: Any, cond: Any = None) -> tuple[Tensor, Any]:
            return torch.cat([x, x], dim=-1), state

    given = AutoRegressive(Real(), Gaussian(Gaussian.Config()), None, start=0, symbols_per_sample=1)
    with pytest.raises(SeqgenError, match="its distribution is not over symbols; give a body without conditioning"):
        Actual(Actual.Config(), {"generator": given, "critic": body(3, 3), "discriminator": body(3, 1)}, Facts())


@pytest.mark.parametrize(
    "options", [{"discount": 1.5}, {"target_rate": 0.0}, {"spread": -1.0}, {"reward_limit": 0.0}, {"ceiling": 0.4}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(SeqgenError, match="give discount and target_rate up to 1"):
        Actual.Config(**options)
