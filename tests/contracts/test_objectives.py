"""The laws of objectives over every registered method and over toys, and the contract that they stand on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective, Part
from seqgen.objectives.verify import check_accumulation, check_evaluation, check_players, check_pure
from seqgen.spec import Facts, FeatureSpec
from seqgen.stream.conditioning import Frames
from seqgen.tasks import networks
from seqgen.tasks.vocoder.batches import Batch
from seqgen.tasks.vocoder.config import facts_of
from seqgen.train.batch import rows
from tests.runtime.voices import density, tiny_run
from tests.unit import train_toy as toy

BATCH = next(toy.batches(0, 1, 0, 1))
CHECKS = (check_players, check_pure, check_evaluation)


def check(objective: Objective, batch: Any, cut: list[Any]) -> None:
    """All laws."""
    for law in CHECKS:
        law(objective, batch)
    check_accumulation(objective, batch, cut)


@pytest.mark.parametrize("kind", toy.TOYS.values(), ids=toy.TOYS)
def test_laws_hold(kind: type[Objective]) -> None:
    check(kind(), BATCH, toy.parts(BATCH, 1, 4, 3))


@dataclass(frozen=True)
class Rows:
    """Symbols, or pairs of vectors."""

    x: Tensor
    ids: tuple[str, ...]
    lengths: Tensor | None = None
    y: Tensor | None = None


IDS = ("r0", "r1", "r2", "r3")
DRAWN = torch.Generator().manual_seed(0)


def recordings(codec: str) -> tuple[Facts, Batch]:
    """Four recordings of unequal length, with two frames of look-ahead."""
    features = FeatureSpec(**tiny_run().task.options["features"])
    facts = facts_of(codec, features, ("anna", "ben"))
    length = 3 * features.hop * facts.symbols_per_sample
    symbols = torch.randint(256, (4, length), generator=DRAWN)
    x = symbols if facts.vocab_size else 0.3 * (symbols[..., None] / 128 - 1)
    lengths = torch.tensor([length, length // 2, 10, length - 2])
    cond = Frames(torch.randn(4, 5, features.n_mels, generator=DRAWN), torch.tensor([0, 1, 1, 0]))
    return facts, Batch(x, lengths, cond, IDS, ("a", "b", "b", "a"))


def sequences() -> tuple[Facts, Rows]:
    """Four sequences over four symbols."""
    x = torch.randint(4, (4, 6), generator=DRAWN)
    return Facts(vocab_size=4, unit="sequence"), Rows(x, IDS, torch.tensor([6, 3, 5, 1]))


def pairs() -> tuple[Facts, Rows]:
    """Four pairs of vectors."""
    x, y = torch.randn(4, 3, generator=DRAWN), torch.randn(4, 2, generator=DRAWN)
    return Facts(shape=(3, 2), unit="pair"), Rows(x, IDS, y=y)


class Method(NamedTuple):
    """Data, options and networks of a registered method."""

    data: Callable[[], tuple[Facts, Any]]
    networks: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any] = MappingProxyType({})


SIZES = {"residual_channels": 8, "gate_channels": 8, "head_channels": 8}
STACK = {"name": "wavenet", "layers": 2, "skip_channels": 8, "vocab_size": 0, **SIZES}
TEACHER = density({**STACK, "outputs": 6}, distribution={"name": "logistic-mixture", "mixtures": 2, "origin": -2.0})
FLOWS = {"name": "parallel-wavenet", "layers": [2, 2], **SIZES}
STUDENT = {"name": "parallel", "flow": FLOWS, "conditioner": TEACHER["conditioner"]}
LANGUAGE = {"name": "recurrent", "vocab_size": 4, "outputs": 4, "hidden": 6, "embedding": 4}
METHODS = {
    "likelihood": Method(
        functools.partial(recordings, "bytes16"), {"generator": density({"name": "wavernn", "hidden": 16})}
    ),
    "classification": Method(
        functools.partial(recordings, "float"),
        {"classifier": {**STACK, "conditioned": False, "outputs": 2}},
        {"labels": ["a", "b"]},
    ),
    "distillation": Method(
        functools.partial(recordings, "float"),
        {"generator": STUDENT, "teacher": TEACHER},
        {"samples": 2, "power": {"weight": 1.0, "windows": [16]}},
    ),
    "information": Method(pairs, {"critic": {"name": "separable-critic", "x_dim": 3, "y_dim": 2}}),
    "actual": Method(
        sequences,
        {
            "generator": {"name": "autoregressive", "body": LANGUAGE},
            "critic": LANGUAGE,
            "discriminator": {**LANGUAGE, "outputs": 1},
        },
    ),
}


def component(plain: Mapping[str, Any]) -> Component:
    return Component(plain["name"], {key: value for key, value in plain.items() if key != "name"})


@pytest.mark.parametrize("name", METHODS)
def test_a_method_as_a_run_makes_it_keeps_the_laws(name: str) -> None:
    method = METHODS[name]
    facts, batch = method.data()
    torch.manual_seed(0)
    made = networks.build({key: component(one) for key, one in method.networks.items()}, facts, source="test")
    options = config.options(Component(name, method.options), registry.OBJECTIVES, source="test")
    objective = registry.OBJECTIVES.load(name)(options, made, facts)
    check(objective, batch, [rows(batch, part, 3) for part in range(3)])


def test_forward_leaves_requires_grad_as_it_was() -> None:
    rivals = toy.Rivals()
    rivals.judge.bias.requires_grad_(False)
    rivals.asked(BATCH, "forger", Key(0, 0))
    assert [name for name, p in rivals.named_parameters() if not p.requires_grad] == ["judge.bias"]


class Misnamed(toy.Rivals):
    """A player whose prefix is no whole name."""

    players = MappingProxyType({"judge": ("jud",)})


def test_prefixes_are_whole_names() -> None:
    rivals = toy.Rivals()
    assert list(rivals.owned("judge")) == ["judge.weight", "judge.bias"]
    with pytest.raises(ValueError, match="owns 'jud', which names no parameter"):
        Misnamed().owned("judge")
    with pytest.raises(ValueError, match="unknown player 'referee'; known: judge, forger"):
        rivals.owned("referee")


def test_laws_leave_the_method_and_torch_as_they_were() -> None:
    method = toy.Regression()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    state = torch.get_rng_state()
    check(method, BATCH, toy.parts(BATCH, 8))
    assert method.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


class Needy(toy.Toy):
    """Wants one network, and may have another."""

    requires = MappingProxyType({"body": nn.Linear})
    optional = MappingProxyType({"critic": (nn.Linear, nn.Bilinear)})

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        Objective.__init__(self, None, networks, Facts())

    def loss(self, batch: Any, player: str, rng: Key, shared: Any) -> Loss:
        raise AssertionError("no loss is asked of it")


def test_networks_become_attributes_and_wrong_ones_are_refused() -> None:
    body = nn.Linear(1, 1)
    assert Needy({"body": body}).body is body
    assert Needy({"body": body}).critic is None
    assert Needy({"body": body, "critic": nn.Bilinear(1, 1, 1)}).critic is not None
    for given, message in (
        ({}, r"Needy has no network 'body'; add networks.body"),
        ({"body": nn.Tanh()}, r"network 'body' is a Tanh; give a Linear"),
        ({"body": body, "critic": nn.Tanh()}, r"network 'critic' is a Tanh; give a Linear or Bilinear"),
        ({"body": body, "judge": body}, r"Needy has no network 'judge'; it takes body, critic"),
    ):
        with pytest.raises(SeqgenError, match=message):
            Needy(given)


def test_a_part_carries_what_the_loop_gives() -> None:
    """No container that Fabric would open: it must reach the loss as it is."""
    part = Part(BATCH, Key(1, 2), "shared")
    assert (part.batch, part.rng, part.shared) == (BATCH, Key(1, 2), "shared")
    assert not hasattr(part, "__dict__")
    assert not isinstance(part, tuple)
