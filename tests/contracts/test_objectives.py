"""The laws of objectives, on toys that keep them and on toys that break them one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective
from seqgen.objectives.verify import check_players, check_pure
from tests.unit import train_toy as toy

BATCH = next(toy.batches(0, 1, 0, 1))


@pytest.mark.parametrize("kind", [toy.Regression, toy.Rivals])
def test_laws_hold(kind: type[Objective]) -> None:
    check_players(kind(), BATCH)
    check_pure(kind(), BATCH)


def test_forward_leaves_requires_grad_as_it_was() -> None:
    rivals = toy.Rivals()
    rivals.judge.bias.requires_grad_(False)
    rivals(BATCH, "forger", Key(0, 0))
    assert [name for name, p in rivals.named_parameters() if not p.requires_grad] == ["judge.bias"]


class Broken(toy.Rivals):
    """A parameter that nobody owns, or that its owner never uses."""

    def __init__(self, players: dict[str, tuple[str, ...]], *, extra: bool = False) -> None:
        super().__init__()
        self.players = players
        if extra:
            self.extra = nn.Linear(1, 1)


def test_an_owner_that_does_not_reach_its_parameter() -> None:
    broken = Broken({"judge": ("judge", "extra"), "forger": ("forger",)}, extra=True)
    with pytest.raises(AssertionError, match=r"'judge': no gradient reaches \['extra.bias', 'extra.weight'\]"):
        check_players(broken, BATCH)


def test_a_parameter_without_an_owner() -> None:
    with pytest.raises(AssertionError, match=r"no player owns \['forger.bias', 'forger.weight'\]"):
        check_players(Broken({"judge": ("judge",)}), BATCH)


def test_a_gradient_that_goes_too_far() -> None:
    class Leaky(toy.Rivals):
        """Switches the gradients of everything on again."""

        def loss(self, batch: toy.Batch, player: str, rng: Key) -> Loss:
            self.requires_grad_(True)
            return super().loss(batch, player, rng)

    with pytest.raises(AssertionError, match=r"'judge' also moves \['forger.bias', 'forger.weight'\]"):
        check_players(Leaky(), BATCH)


def test_prefixes_are_whole_names() -> None:
    rivals = toy.Rivals()
    assert list(rivals.owned("judge")) == ["judge.weight", "judge.bias"]
    with pytest.raises(ValueError, match="owns 'jud', which names no parameter"):
        Broken({"judge": ("jud",)}).owned("judge")
    with pytest.raises(ValueError, match="unknown player 'referee'; known: judge, forger"):
        rivals.owned("referee")


def test_impurities_are_found() -> None:
    class Counting(toy.Regression):
        def loss(self, batch: toy.Batch, player: str, rng: Key) -> Loss:
            self.seen += 1
            return super().loss(batch, player, rng)

    class Drawing(toy.Regression):
        def loss(self, batch: toy.Batch, player: str, rng: Key) -> Loss:
            loss = super().loss(batch, player, rng)
            return loss._replace(total=loss.total + torch.rand(()))

    with pytest.raises(AssertionError, match=r"changed the buffers \['seen'\]"):
        check_pure(Counting(), BATCH)
    with pytest.raises(AssertionError, match="two calls with one key differ"):
        check_pure(Drawing(), BATCH)
