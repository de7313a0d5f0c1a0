"""The laws of optimisers as library code, to be run over every registered one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqgen.optim.contract import Optimiser

_STEPS, _RATE = 200, 0.05


def verify(optimiser: Optimiser) -> None:
    """Every law of an optimiser.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    check_descent(optimiser)
    check_state(optimiser)


def check_descent(optimiser: Optimiser) -> None:
    """Law of descent: on ``½ Σ (w - w*)²`` every parameter comes nearer to the minimum, at the rate that the loop
    sets."""
    parameters, goals = _parameters()
    before = _distances(parameters, goals)
    made = optimiser.make(parameters)
    owned = {id(parameter) for group in made.param_groups for parameter in group["params"]}
    assert owned == {id(parameter) for parameter in parameters}, "not all parameters that were given are followed"
    for group in made.param_groups:
        group["lr"] = 0.0
    _step(made, parameters, goals)
    assert _distances(parameters, goals) == before, "at a learning rate of 0 the parameters move"
    for _ in range(_STEPS):
        _step(made, parameters, goals, rate=_RATE)
    after = _distances(parameters, goals)
    nearer = all(new < 0.5 * old for new, old in zip(after, before, strict=True))
    assert nearer, f"after {_STEPS} steps the distances are {after}, at first they were {before}"


def check_state(optimiser: Optimiser) -> None:
    """Law of state: all of it is tensors beside the parameters, and whoever loads it goes on exactly."""
    parameters, goals = _parameters()
    made = optimiser.make(parameters)
    for _ in range(3):
        _step(made, parameters, goals, rate=_RATE)
    odd = [name for state in made.state.values() for name, value in state.items() if not isinstance(value, Tensor)]
    assert not odd, f"the state has {sorted(set(odd))}, which are no tensors: a checkpoint would lose them"
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    again = optimiser.make(copies)
    places = {id(parameter): number for number, parameter in enumerate(_ordered(made))}
    state = {
        places[id(parameter)]: {name: value.clone() for name, value in entries.items()}
        for parameter, entries in made.state.items()
    }
    again.load_state_dict({"state": state, "param_groups": again.state_dict()["param_groups"]})
    for _ in range(3):
        _step(made, parameters, goals, rate=_RATE)
        _step(again, copies, goals, rate=_RATE)
    same = all(torch.equal(one, other) for one, other in zip(parameters, copies, strict=True))
    assert same, "with the same state the parameters go another way"


def _parameters() -> tuple[list[nn.Parameter], list[Tensor]]:
    """A matrix and a vector, and where they should go."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4), (5,))
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    return parameters, [parameter.detach() + 0.5 for parameter in parameters]


def _ordered(made: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in made.param_groups for parameter in group["params"]]


def _step(
    made: torch.optim.Optimizer, parameters: list[nn.Parameter], goals: list[Tensor], rate: float | None = None
) -> None:
    for group in made.param_groups:
        group["lr"] = group["lr"] if rate is None else rate
    made.zero_grad(set_to_none=True)
    total = sum(((one - goal) ** 2).sum() for one, goal in zip(parameters, goals, strict=True))
    (0.5 * total).backward()  # type: ignore[union-attr]
    made.step()


def _distances(parameters: list[nn.Parameter], goals: list[Tensor]) -> list[float]:
    return [float((one.detach() - goal).norm()) for one, goal in zip(parameters, goals, strict=True)]
