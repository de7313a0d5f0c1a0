"""One player's update: forward, backward over the parts of a global batch, clipping, optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective
from seqgen.train import processes
from seqgen.train.settings import TrainConfig


def rows(batch: Any, part: int, parts: int) -> Any:
    """Rows ``part, part + parts, …`` of every field of a batch dataclass (tensors batch first, tuples by row)."""
    if parts == 1:
        return batch
    names = [field.name for field in dataclasses.fields(batch)]
    return dataclasses.replace(batch, **{name: getattr(batch, name)[part::parts] for name in names})


def to_device(batch: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The batch on ``device``, its floating-point tensors as ``dtype``."""

    def moved(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype if value.is_floating_point() else value.dtype, non_blocking=True)

    names = [field.name for field in dataclasses.fields(batch)]
    return dataclasses.replace(batch, **{name: moved(getattr(batch, name)) for name in names})


class _Sealed:
    """Carries a batch through Fabric unopened: it refuses frozen dataclasses, and rounds real samples to bfloat16."""

    def __init__(self, batch: Any, player: str, rng: Key) -> None:
        self.batch, self.player, self.rng = batch, player, rng


class _Asked(nn.Module):
    """What Fabric (autocast) and DDP (gradient hooks) wrap."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, sealed: _Sealed) -> Loss:
        return self.objective(sealed.batch, sealed.player, sealed.rng)  # type: ignore[no-any-return]


class Update(NamedTuple):
    """The loss of each part, detached, and the L2 norm of the gradient before clipping."""

    losses: list[Loss]
    norm: Tensor


class Players:
    """The players of an objective with one AdamW each.

    The gradient of a player is that of the whole global batch, ``∇ Σ w_p L_p / Σ w_p`` over its parts p (micro-batches
    of each process; L_p is a mean over w_p elements), however the batch was cut.

    Raises:
        SeqgenError: if a player has nothing to train.
    """

    def __init__(self, fabric: Fabric, objective: Objective, settings: TrainConfig) -> None:
        self.fabric, self.objective, self.settings = fabric, objective, settings
        self._asked = fabric.setup_module(_Asked(objective))
        processes.share(objective.buffers())  # DDP has made the parameters equal, but buffers only from torch 2.13 on
        self._optimisers = {player: self._optimiser(player) for player in objective.players}
        # Fabric's own kind of optimiser, which knows of the loss scaler; its type is a union that mypy cannot narrow
        self._wrapped: dict[str, Any] = {
            player: fabric.setup_optimizers(optimiser) for player, optimiser in self._optimisers.items()
        }
        self.dtype = torch.float64 if settings.precision == "64-true" else torch.float32

    def _optimiser(self, player: str) -> torch.optim.AdamW:
        owned = list(self.objective.owned(player).values())
        if not owned:
            raise SeqgenError(f"player '{player}' has no trainable parameter", remedy="check what is frozen")
        matrices = [parameter for parameter in owned if parameter.ndim >= 2]
        others = [parameter for parameter in owned if parameter.ndim < 2]
        decay = self.settings.weight_decay
        groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW([group for group in groups if group["params"]], betas=self.settings.betas)

    def ask(self, batch: Any, player: str, rng: Key) -> Loss:
        """The loss of ``player`` on ``batch``, which may still be in the host's memory."""
        batch = to_device(batch, self.fabric.device, self.dtype)
        return self._asked(_Sealed(batch, player, rng))  # type: ignore[no-any-return]

    def update(self, player: str, parts: Sequence[Any], keys: Sequence[Key], *, rate: float) -> Update:
        """One update of ``player`` on the parts of a global batch, at learning rate ``rate``."""
        optimiser = self._wrapped[player]
        for group in self._optimisers[player].param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        losses = self._backward(player, parts, keys)
        limit = self.settings.clip_norm or float("inf")
        norm = self.fabric.clip_gradients(self._asked, optimiser, max_norm=limit, error_if_nonfinite=False)
        assert norm is not None  # Fabric returns it whenever max_norm is given
        optimiser.step()
        with torch.no_grad():
            self.objective.after_update(_summed(losses))
        return Update(losses, norm)

    def _backward(self, player: str, parts: Sequence[Any], keys: Sequence[Key]) -> list[Loss]:
        """Leave the gradient of the whole global batch in the player's parameters.

        Each part contributes ``w_p / r · L_p`` where r is a typical weight known to all processes, so that half
        precision meets gradients of the usual size; DDP divides the sum by the number of processes. What is left to
        do is a factor ``r · processes / Σ w_p``, which is 1 for one part.
        """
        losses: list[Loss] = []
        world = self.fabric.world_size
        typical = torch.ones((), device=self.fabric.device, dtype=torch.float64)
        for part, rng in zip(parts, keys, strict=True):
            with self.fabric.no_backward_sync(self._asked, enabled=len(losses) < len(parts) - 1):
                loss = self.ask(part, player, rng)
                weight = loss.weight.detach().double()
                if not losses:
                    typical = (processes.total(weight) / world).clamp_min(1.0)
                self.fabric.backward(loss.total * (weight / typical).to(loss.total.dtype))
            losses.append(_detached(loss))
        weight = torch.stack([loss.weight.double() for loss in losses]).sum()
        factor = typical * world / processes.total(weight).clamp_min(1.0)
        gradients = [p.grad for p in self.objective.owned(player).values() if p.grad is not None]
        if len(parts) > 1 and gradients:
            torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))
        return losses

    def optimiser_state(self) -> dict[str, Tensor]:
        """Moments and step counters as ``player/parameter/entry``."""
        return {
            f"{player}/{name}/{entry}": value
            for player, optimiser in self._optimisers.items()
            for name, parameter in self.objective.owned(player).items()
            for entry, value in optimiser.state[parameter].items()
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


def _detached(loss: Loss) -> Loss:
    terms = {name: value.detach() for name, value in loss.terms.items()}
    aux = None if loss.aux is None else {name: value.detach() for name, value in loss.aux.items()}
    return Loss(loss.total.detach(), terms, loss.weight.detach(), aux)


def _summed(losses: Sequence[Loss]) -> dict[str, Tensor]:
    """``aux`` added up over parts and processes."""
    found = [loss.aux for loss in losses if loss.aux is not None]
    if not found:
        return {}
    return {name: processes.total(torch.stack([aux[name] for aux in found]).sum(dim=0)) for name in found[0]}
