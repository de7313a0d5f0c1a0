"""One player's update: forward, backward over the parts of a global batch, clipping, optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective, Part
from seqgen.train import processes
from seqgen.train.batch import to_device
from seqgen.train.schedule import learning_rate
from seqgen.train.settings import PlayerConfig, TrainConfig


class Update(NamedTuple):
    """Record of an update: the loss of each part, detached, and the L2 norm of the gradient before clipping."""

    losses: list[Loss]
    norm: Tensor


class Players:
    """The players of an objective, each with its optimiser.

    The gradient of a player is that of the whole global batch, ``∇ Σ w_p L_p / Σ w_p`` over its parts p (micro-batches
    of each process; L_p is a mean over w_p elements), however the batch was cut.

    Raises:
        SeqgenError: if a player has nothing to train, or a player is configured that the objective does not have.
    """

    def __init__(
        self,
        fabric: Fabric,
        objective: Objective,
        settings: TrainConfig,
        configured: Mapping[str, PlayerConfig] | None = None,
    ) -> None:
        self.fabric, self.objective, self.settings = fabric, objective, settings
        self.configs = _configs(objective, configured or {})
        self._module = fabric.setup_module(objective)
        processes.share(objective.buffers())  # DDP has made the parameters equal, but buffers only from torch 2.13 on
        self._optimisers = {player: self._optimiser(player) for player in objective.players}
        # Fabric's own kind of optimiser, which knows of the loss scaler; its type is a union that mypy cannot narrow
        self._wrapped: dict[str, Any] = {
            player: fabric.setup_optimizers(optimiser) for player, optimiser in self._optimisers.items()
        }
        self.dtype = torch.float64 if settings.precision == "64-true" else torch.float32

    def _optimiser(self, player: str) -> torch.optim.Optimizer:
        owned = list(self.objective.owned(player).values())
        if not owned:
            raise SeqgenError(f"player '{player}' has no trainable parameter", remedy="check what is frozen")
        common = {"betas": list(self.settings.betas), "weight_decay": self.settings.weight_decay}
        component = self.configs[player].optimiser or Component("adamw", common)
        made = config.construct(component, registry.OPTIMISERS, source=f"players.{player}")
        optimiser: torch.optim.Optimizer = made.make(owned)
        return optimiser

    @property
    def batches_per_step(self) -> int:
        """Batches that a step takes: one for each repetition of the player that repeats most."""
        return max(one.repeat for one in self.configs.values())

    def turns(self, player: str, step: int) -> int:
        """Updates of ``player`` in a step."""
        one = self.configs[player]
        waited = step - one.after
        return one.repeat if waited >= 0 and waited % one.every == 0 else 0

    def learning_rate(self, player: str, step: int) -> float:
        """The rate of an update of ``player`` in a step."""
        return learning_rate(self.settings, step, self.configs[player].learning_rate)

    def begin(self, batch: Any, rng: Key) -> Part:
        """A batch, which may still be in the host's memory, with what the players share of it."""
        batch = to_device(batch, self.fabric.device, self.dtype)
        with torch.no_grad(), self.fabric.autocast():
            return Part(batch, rng, self.objective.begin(batch, rng))

    def ask(self, part: Part, player: str) -> Loss:
        """The loss of ``player`` on a part."""
        return self._module(part, player)  # type: ignore[no-any-return]

    def update(self, player: str, parts: Sequence[Part], step: int) -> Update:
        """One update of ``player`` on the parts of a global batch, with the learning rate of ``step``.

        Each part contributes ``w_p / r · L_p`` where r is a typical weight known to all processes, so that half
        precision meets gradients of the usual size; DDP divides the sum by the number of processes. What is left to
        do is a factor ``r · processes / Σ w_p``, which is 1 for one part.
        """
        if self.objective.frozen(player):
            return self._look(player, parts)
        losses: list[Loss] = []
        self._optimisers[player].zero_grad(set_to_none=True)
        typical = torch.ones((), device=self.fabric.device, dtype=torch.float64)
        for part in parts:
            with self.fabric.no_backward_sync(self._module, enabled=len(losses) < len(parts) - 1):
                loss: Loss = self._module(part, player)
                weight = loss.weight.detach().double()
                if not losses:
                    typical = (processes.total(weight) / self.fabric.world_size).clamp_min(1.0)
                self.fabric.backward(loss.total * (weight / typical).to(loss.total.dtype))
            losses.append(_detached(loss))
        self._weigh(player, losses, typical)
        self._direct(player, losses, self.learning_rate(player, step))
        return Update(losses, self._move(player, losses, step))

    @torch.no_grad()
    def _look(self, player: str, parts: Sequence[Part]) -> Update:
        """An update that moves nothing, the optimiser's moments included."""
        losses = [_detached(self.ask(part, player)) for part in parts]
        moved = {name: torch.zeros_like(place) for name, place in self._positions(player).items()}
        self.objective.after_update(player, self._summed(losses), moved)
        return Update(losses, torch.zeros((), device=self.fabric.device))

    def _weigh(self, player: str, losses: Sequence[Loss], typical: Tensor) -> None:
        """Make the gradient the mean over all elements of the global batch."""
        weight = torch.stack([loss.weight.double() for loss in losses]).sum()
        factor = typical * self.fabric.world_size / processes.total(weight).clamp_min(1.0)
        gradients = [p.grad for p in self.objective.owned(player).values() if p.grad is not None]
        if len(losses) > 1 and gradients:
            torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))

    def _direct(self, player: str, losses: Sequence[Loss], rate: float) -> None:
        """Put the directions that an objective gives in the place of the gradients of their parameters."""
        owned, directions = self.objective.owned(player), {}
        weights = [loss.weight.double() for loss in losses]
        for name in sorted({name for loss in losses for name in loss.directions or {}}):
            shares = [loss.directions[name] * w for loss, w in zip(losses, weights, strict=True) if loss.directions]
            total = processes.total(torch.stack(weights).sum()).clamp_min(1.0)
            directions[name] = processes.total(torch.stack(shares).sum(dim=0)) / total
        for name, direction in self.objective.limited(player, directions, rate).items():
            owned[name].grad = (direction * self._loss_scale()).to(owned[name].dtype)

    def _loss_scale(self) -> float:
        """Scale that half precision's loss scaler will divide gradients by."""
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        return 1.0 if scaler is None else float(scaler.get_scale())

    def _move(self, player: str, losses: Sequence[Loss], step: int) -> Tensor:
        """Clip the gradient and let the optimiser follow it; returns the norm before clipping."""
        one = self.configs[player]
        for group in self._optimisers[player].param_groups:
            group["lr"] = self.learning_rate(player, step)
        limit = (self.settings.clip_norm if one.clip_norm is None else one.clip_norm) or float("inf")
        norm = self.fabric.clip_gradients(self._module, self._wrapped[player], max_norm=limit, error_if_nonfinite=False)
        assert norm is not None  # Fabric returns it whenever max_norm is given
        before = self._positions(player)
        self._wrapped[player].step()
        with torch.no_grad():
            after = self._parameters(player) if before else {}
            moved = {name: after[name] - place for name, place in before.items()}
            self.objective.after_update(player, self._summed(losses), moved)
        return norm

    def _parameters(self, player: str) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.objective.owned(player).items()}

    def _positions(self, player: str) -> dict[str, Tensor]:
        """The player's parameters as they are, where the objective follows their motion."""
        if not self.objective.tracks_motion:
            return {}
        return {name: parameter.clone() for name, parameter in self._parameters(player).items()}

    def _summed(self, losses: Sequence[Loss]) -> dict[str, Tensor]:
        """``aux`` added up over the parts of the global batch."""
        found = [loss.aux for loss in losses if loss.aux is not None]
        if not found:
            return {}
        sums = {name: torch.stack([aux[name] for aux in found]).sum(dim=0) for name in found[0]}
        if self.objective.couples_rows:  # every process has seen the whole batch
            return sums
        return {name: processes.total(value) for name, value in sums.items()}

    def optimiser_state(self) -> dict[str, Tensor]:
        """Moments and step counters as ``player/parameter/entry``."""
        return {
            f"{player}/{name}/{entry}": value
            for player, optimiser in self._optimisers.items()
            for name, parameter in self.objective.owned(player).items()
            for entry, value in optimiser.state[parameter].items()
            if isinstance(value, Tensor)
        }

    def load_optimiser_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from the tensors of :meth:`optimiser_state`."""
        for player, optimiser in self._optimisers.items():
            names = {id(parameter): name for name, parameter in self.objective.owned(player).items()}
            ordered = [parameter for group in optimiser.param_groups for parameter in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for index, parameter in enumerate(ordered):
                prefix = f"{player}/{names[id(parameter)]}/"
                entries = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
                if entries:
                    state[index] = entries
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _configs(objective: Objective, configured: Mapping[str, PlayerConfig]) -> dict[str, PlayerConfig]:
    for player in configured:
        if player not in objective.players:
            raise SeqgenError(
                f"players: {type(objective).__name__} has no player '{player}'",
                remedy=f"configure {', '.join(objective.players)}",
            )
    return {player: configured.get(player, PlayerConfig()) for player in objective.players}


def _detached(loss: Loss) -> Loss:
    terms = {name: value.detach() for name, value in loss.terms.items()}
    aux, directions = (
        None if named is None else {name: value.detach() for name, value in named.items()}
        for named in (loss.aux, loss.directions)
    )
    return Loss(loss.total.detach(), terms, loss.weight.detach(), aux, directions)
