"""Magnitude pruning on a cubic schedule: training to block-sparse weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.train.settings import SparsityConfig


def share(config: SparsityConfig, target: float, step: int) -> float:
    """Share of blocks that is zero after ``step`` updates: ``Z·(1 - (1 - (t - t0)/S)³)`` from 0 to its end, ``Z``.

    Source: Zhu & Gupta 2017, "To prune, or not to prune", equation 1; Kalchbrenner et al. 2018, section 3.1.
    """
    done = min(max((step - config.start) / config.ramp, 0.0), 1.0)
    return target * (1 - (1 - done) ** 3)


def block_mask(weight: Tensor, zeros: float, block: tuple[int, int]) -> Tensor:
    """1 where a block of ``weight [R, C]`` stays, 0 where it is among the ``⌊zeros · blocks⌋`` of least mean magnitude.

    Shapes: bool ``[R, C]``; R and C are multiples of the block's sides. Among equal blocks the first ones go.
    """
    high, wide = block
    scores = weight.detach().abs().unflatten(0, (-1, high)).unflatten(2, (-1, wide)).mean(dim=(1, 3))
    flat = scores.flatten()
    gone = flat.argsort(stable=True)[: int(zeros * flat.numel() + 1e-9)]
    kept = torch.ones_like(flat, dtype=torch.bool)
    kept[gone] = False
    return kept.reshape(scores.shape).repeat_interleave(high, dim=0).repeat_interleave(wide, dim=1)


class Pruner:
    """Pruner that holds the masks of a module's sparse matrices, and makes them sparser as training goes on.

    A matrix whose module says (``row_groups``) that it is several stacked ones, as the gates of a recurrent layer are,
    has each of them pruned by itself, so that no gate starves.

    Args:
        module: what is trained. config: see :class:`SparsityConfig`; its names are those of parameters of ``module``,
            or their ends where only one parameter ends so.

    Raises:
        SeqgenError: for a name that is no matrix, or one that blocks do not tile.

    Example:
        >>> pruner = Pruner(objective, SparsityConfig(matrices={"body.recurrent": 0.95}))  # doctest: +SKIP
        >>> pruner.update(2000)  # after the 2000th update                                # doctest: +SKIP
    """

    def __init__(self, module: nn.Module, config: SparsityConfig) -> None:
        self.config = config
        self.parameters: dict[str, nn.Parameter] = {}
        self.targets: dict[str, float] = {}
        self.groups: dict[str, tuple[Tensor, ...]] = {}
        for name, target in config.matrices.items():
            full, parameter = _find(module, name)
            groups = _groups(module, full, parameter)
            for rows in groups:
                _require_tiles(name, (len(rows), parameter.shape[1]), config.block)
            self.parameters[full], self.targets[full], self.groups[full] = parameter, target, groups
        self.masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the ``step``-th update: prune where the schedule says so, and hold what is pruned at zero."""
        config = self.config
        if config.start < step <= config.start + config.ramp and (step - config.start) % config.every == 0:
            for name, parameter in self.parameters.items():
                zeros = share(config, self.targets[name], step)
                for rows in self.groups[name]:
                    self.masks[name][rows] = block_mask(parameter[rows], zeros, config.block)
        self.hold(self.parameters)

    @torch.no_grad()
    def hold(self, tensors: dict[str, nn.Parameter] | dict[str, Tensor]) -> None:
        """Set what is pruned to zero in tensors of the same names (the parameters, or their averages)."""
        for name, mask in self.masks.items():
            tensors[name].mul_(mask)

    def zeros(self) -> float:
        """The share of zeros over all matrices pruned."""
        kept = sum(int(mask.sum()) for mask in self.masks.values())
        return 1 - kept / sum(mask.numel() for mask in self.masks.values())

    def load(self, masks: dict[str, Tensor]) -> None:
        """Continue from saved masks."""
        for name, mask in self.masks.items():
            mask.copy_(masks[name])


def _find(module: nn.Module, name: str) -> tuple[str, nn.Parameter]:
    matrices = {full: parameter for full, parameter in module.named_parameters() if parameter.dim() == 2}
    found = [full for full in matrices if full == name or full.endswith(f".{name}")]
    if len(found) != 1:
        raise SeqgenError(
            f"sparsity: '{name}' names {len(found) or 'no'} matrices", remedy=f"choose from {', '.join(matrices)}"
        )
    return found[0], matrices[found[0]]


def _groups(module: nn.Module, full: str, parameter: nn.Parameter) -> tuple[Tensor, ...]:
    owner, _, leaf = full.rpartition(".")
    declared = getattr(module.get_submodule(owner), "row_groups", {})
    return tuple(declared.get(leaf, (torch.arange(parameter.shape[0]),)))


def _require_tiles(name: str, shape: tuple[int, int], block: tuple[int, int]) -> None:
    if shape[0] % block[0] or shape[1] % block[1]:
        raise SeqgenError(
            f"sparsity: '{name}' is pruned in pieces of {shape[0]} x {shape[1]}, which blocks of "
            f"{block[0]} x {block[1]} do not tile",
            remedy="choose another block, or a size of the model that is a multiple of it",
        )
