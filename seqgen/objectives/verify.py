"""The laws of the objective contract as library code, to be run over every registered method."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqgen.generation.contract import Generator
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective, Part

_KEY = Key(0, 0)
_GRADIENT, _SUM, _WEIGHT = "the gradient of", "aux", "the weight"
_TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-10}


def verify(objective: Objective, batch: Any, parts: Sequence[Any] = ()) -> None:
    """Every law of a method on a batch, which ``parts`` are the parts of, where it was cut.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    check_players(objective, batch)
    check_pure(objective, batch)
    check_padding(objective, batch)
    check_evaluation(objective, batch)
    if parts:
        check_accumulation(objective, batch, parts)


def check_players(objective: Objective, batch: Any, rng: Key = _KEY) -> None:
    """Law of players: gradients, or directions, reach all that a player owns and nothing else, and all has an owner.

    The law is checked on a copy with perturbed parameters, for a layer that starts at zero hides what lies before it.

    Raises:
        AssertionError: naming the player and the parameters at fault.
    """
    objective = _perturbed(objective)
    trainable = {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}
    orphans = set(trainable).difference(*(objective.owned(player) for player in objective.players))
    assert not orphans, f"no player owns {sorted(orphans)}"
    for player in objective.players:
        objective.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):
            loss = objective(_part(objective, batch, rng), player)
        loss.total.backward()
        gradients = {
            name
            for name, parameter in objective.named_parameters()
            if parameter.grad is not None and bool(parameter.grad.ne(0).any())
        }
        directions = loss.directions or {}
        owned, reached = set(objective.owned(player)), gradients.union(directions)
        assert reached >= owned, f"player '{player}': no gradient reaches {sorted(owned - reached)}"
        assert reached <= owned, f"player '{player}' also moves {sorted(reached - owned)}"
        apart = [name for name in directions if trainable[name].grad is None]
        assert not apart, f"player '{player}': the loss has no gradient by {apart}, whose directions it gives"
        misshapen = [name for name, direction in directions.items() if direction.shape != trainable[name].shape]
        assert not misshapen, f"player '{player}': directions of {misshapen} have other shapes than the parameters"


def check_pure(objective: Objective, batch: Any, rng: Key = _KEY) -> None:
    """Law of purity: a loss is a finite scalar over some elements, the same each time, and changes nothing.

    Randomness that is not keyed by ``rng`` shows as two different losses, so values are compared in evaluation mode
    (dropout draws from torch's generator by design); that nothing changes is looked at in both modes.

    Raises:
        AssertionError: naming the player and what does not hold.
    """
    objective = copy.deepcopy(objective)
    parameters = dict(objective.named_parameters())
    before = {name: value.detach().clone() for name, value in {**parameters, **dict(objective.named_buffers())}.items()}
    for player in objective.players:
        _in_training(objective, batch, player, rng)
        objective.eval()
        first, second = (objective(_part(objective, batch, rng), player) for _ in range(2))
        assert first.total.ndim == 0, f"player '{player}': total has shape {list(first.total.shape)}, expected a scalar"
        assert bool(first.total.isfinite()), f"player '{player}': total is {first.total.item()}"
        assert bool(first.weight > 0), f"player '{player}': weight is {first.weight.item()}, expected above 0"
        assert torch.equal(first.total, second.total), f"player '{player}': two calls with one key differ"
    after = {**parameters, **dict(objective.named_buffers())}
    changed = [name for name, value in after.items() if not torch.equal(value.detach(), before[name])]
    moved = [name for name in changed if name in parameters]
    assert not moved, f"loss changed the parameters {moved}; only an optimiser may"
    assert not changed, f"loss changed the buffers {changed}; only after_update may"


def check_padding(objective: Objective, batch: Any, rng: Key = _KEY) -> None:
    """Law of padding: what lies behind the end of a row counts in no loss, no term, no weight and no figure.

    Exempt are batches without ends and those of vectors, and densities that make samples side by side: to them what
    comes later is known.

    Raises:
        AssertionError: naming the player, or the figure, and what differs.
    """
    lanes = any(network.ahead for network in objective.children() if isinstance(network, Generator))
    if lanes or not hasattr(batch, "lengths") or (batch.x.dim() == 2 and batch.x.is_floating_point()):
        return
    objective = copy.deepcopy(objective).eval()
    beyond = torch.arange(batch.x.shape[1], device=batch.x.device) >= batch.lengths[:, None]
    beyond = beyond.view(*beyond.shape, *[1] * (batch.x.dim() - 2))
    other = dataclasses.replace(batch, x=torch.where(beyond, batch.x.flip(0, 1), batch.x))
    with torch.no_grad():
        for player in objective.players:
            expected, found = (_values(objective(_part(objective, one, rng), player)) for one in (batch, other))
            for name, value in expected.items():
                law = f"player '{player}': {name} changes with what lies behind the ends"
                _require_close(law, found[name], value, _largest(value))
        if len(batch.x) > objective.evaluation_rows:
            return
        figures, again = (objective.measure(one, rng, 0) for one in (batch, other))
    for name, one in figures.items():
        for amounts, value in ((again[name].amounts, one.amounts), (again[name].weights, one.weights)):
            _require_close(f"the figure {name} changes with what lies behind the ends", amounts, value, _largest(value))


def check_accumulation(objective: Objective, whole: Any, parts: Sequence[Any], rng: Key = _KEY) -> None:
    """Law of accumulation: a global batch that is cut into parts moves a player as the whole would.

        g = Σ_p w_p g_p / Σ_p w_p,    weight = Σ_p w_p,    aux = Σ_p aux_p

    with g the gradient of the loss, its directions, its value and its terms. Exempt are methods whose rows see each
    other, which declare ``couples_rows``, and those that draw, since other parts draw other numbers.

    Args:
        whole: a batch. parts: the batches that its rows were cut into; unequal ones show more.

    Raises:
        AssertionError: naming the player and what differs.
    """
    if objective.couples_rows:
        return
    objective = _perturbed(objective).eval()
    for player in objective.players:
        if _draws(objective, whole, player, rng):
            continue
        expected = _moved(objective, whole, player, rng)
        found = [_moved(objective, part, player, rng) for part in parts]
        largest = max(_largest(value) for name, value in expected.items() if name.startswith(_GRADIENT))
        for name, value in expected.items():
            scale = largest if name.startswith(_GRADIENT) else _largest(value)
            law = f"player '{player}': {name} of the parts is not that of the whole"
            _require_close(law, _combined(found, name), value, scale)


def check_evaluation(objective: Objective, batch: Any, rng: Key = _KEY) -> None:
    """Law of evaluation: what is validated is what is trained, so neither the mode nor gradients change a loss.

    The modes of a method whose training draws from torch's generator (dropout) are not compared.

    Raises:
        AssertionError: naming the player and what differs.
    """
    objective = copy.deepcopy(objective)
    for player in objective.players:
        trained, drawn = _in_training(objective, batch, player, rng)
        objective.eval()
        evaluated = _values(objective(_part(objective, batch, rng), player))
        with torch.no_grad():
            plain = _values(objective(_part(objective, batch, rng), player))
        for name, value in evaluated.items():
            law, scale = f"player '{player}': {name} is another one", _largest(value)
            _require_close(f"{law} without gradients", plain[name], value, scale)
            if not drawn:
                _require_close(f"{law} in evaluation mode", value, trained[name], scale)


def _part(objective: Objective, batch: Any, rng: Key) -> Part:
    """A whole batch as the loop would give it."""
    with torch.no_grad():
        return Part(batch, rng, objective.begin(batch, rng))


def _values(loss: Loss) -> dict[str, Tensor]:
    """The numbers of a loss, by name."""
    named = {"the loss": loss.total, _WEIGHT: loss.weight}
    named |= {f"the term {name}": value for name, value in loss.terms.items()}
    named |= {f"{_SUM} {name}": value for name, value in (loss.aux or {}).items()}
    return {name: value.detach().clone() for name, value in named.items()}


def _moved(objective: Objective, batch: Any, player: str, rng: Key) -> dict[str, Tensor]:
    """The numbers of a loss with its gradients and directions."""
    objective.zero_grad(set_to_none=True)
    loss = objective(_part(objective, batch, rng), player)
    loss.total.backward()
    found = _values(loss)
    for name, parameter in objective.owned(player).items():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        found[f"{_GRADIENT} {name}"] = gradient.detach().clone()
    found |= {f"the direction of {name}": value.detach().clone() for name, value in (loss.directions or {}).items()}
    return found


def _combined(parts: Sequence[dict[str, Tensor]], name: str) -> Tensor:
    """A number of the global batch from those of its parts: sums of weights and aux, means of all else."""
    if name == _WEIGHT or name.startswith(_SUM):
        return torch.stack([part[name] for part in parts]).sum(dim=0)
    shares = torch.stack([part[name] * part[_WEIGHT] for part in parts])
    return shares.sum(dim=0) / torch.stack([part[_WEIGHT] for part in parts]).sum()


def _draws(objective: Objective, batch: Any, player: str, rng: Key) -> bool:
    """Whether another key gives another loss."""
    other = Key(rng.seed, rng.stream + 1)
    one, another = (objective(_part(objective, batch, key), player).total for key in (rng, other))
    return not torch.equal(one, another)


def _in_training(objective: Objective, batch: Any, player: str, rng: Key) -> tuple[dict[str, Tensor], bool]:
    """The numbers of a loss in training mode, and whether torch's generator was drawn from."""
    objective.train()
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        values = _values(objective(_part(objective, batch, rng), player))
        return values, not torch.equal(torch.get_rng_state(), before)


def _largest(value: Tensor) -> float:
    return float(value.abs().max()) if value.numel() else 0.0


def _require_close(law: str, got: Tensor, expected: Tensor, scale: float) -> None:
    """Equality up to rounding of numbers as large as ``scale``."""
    worst = _largest(got.double() - expected.double())
    allowed = _TOLERANCE.get(expected.dtype, 1e-3) * max(scale, 1e-3)
    assert worst <= allowed, f"{law}: they differ by {worst:.2g} where {allowed:.2g} is allowed"


def _perturbed(objective: Objective) -> Objective:
    objective = copy.deepcopy(objective)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.05)
    return objective
