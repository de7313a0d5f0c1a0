"""Laws of the objective contract, to be run over every registered one."""

from __future__ import annotations

import copy
from typing import Any

import torch

from seqgen.noise import Key
from seqgen.objectives.contract import Objective

_KEY = Key(0, 0)


def check_players(objective: Objective, batch: Any, rng: Key = _KEY) -> None:
    """Gradients reach every parameter that a player owns and no other; every trainable parameter has an owner.

    The law is checked on a copy with perturbed parameters, for a layer that starts at zero hides what lies before it.

    Raises:
        AssertionError: naming the player and the parameters at fault.
    """
    objective = _perturbed(objective)
    trainable = {name for name, parameter in objective.named_parameters() if parameter.requires_grad}
    orphans = trainable.difference(*(objective.owned(player) for player in objective.players))
    assert not orphans, f"no player owns {sorted(orphans)}"
    for player in objective.players:
        objective.zero_grad(set_to_none=True)
        objective(batch, player, rng).total.backward()
        reached = {
            name
            for name, parameter in objective.named_parameters()
            if parameter.grad is not None and bool(parameter.grad.ne(0).any())
        }
        owned = set(objective.owned(player))
        assert reached >= owned, f"player '{player}': no gradient reaches {sorted(owned - reached)}"
        assert reached <= owned, f"player '{player}' also moves {sorted(reached - owned)}"


def check_pure(objective: Objective, batch: Any, rng: Key = _KEY) -> None:
    """A loss is a finite scalar over a positive number of elements, the same each time, and changes no buffer.

    Randomness that is not keyed by ``rng`` shows as two different losses, so the law is checked in evaluation mode
    (dropout draws from torch's generator by design).

    Raises:
        AssertionError: naming the player and what does not hold.
    """
    objective = copy.deepcopy(objective).eval()
    before = {name: buffer.clone() for name, buffer in objective.named_buffers()}
    for player in objective.players:
        first, second = objective(batch, player, rng), objective(batch, player, rng)
        assert first.total.ndim == 0, f"player '{player}': total has shape {list(first.total.shape)}, expected a scalar"
        assert bool(first.total.isfinite()), f"player '{player}': total is {first.total.item()}"
        assert bool(first.weight > 0), f"player '{player}': weight is {first.weight.item()}, expected above 0"
        assert torch.equal(first.total, second.total), f"player '{player}': two calls with one key differ"
    changed = [name for name, buffer in objective.named_buffers() if not torch.equal(buffer, before[name])]
    assert not changed, f"loss changed the buffers {changed}; only after_update may"


def _perturbed(objective: Objective) -> Objective:
    objective = copy.deepcopy(objective)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.05)
    return objective
