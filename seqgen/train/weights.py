"""The weights of a module as named tensors, and back."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.train import checkpoint


def of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; a tensor shared by two modules stands once, under its first name."""
    saved = module.state_dict()
    tensors: dict[str, Tensor] = {name: value.detach() for name, value in module.named_parameters()}
    tensors.update({name: value for name, value in module.named_buffers() if name in saved})
    return tensors


@torch.no_grad()
def assign(module: nn.Module, tensors: dict[str, Tensor], *, source: str) -> None:
    """Copy ``tensors`` into ``module``; names and shapes must be exactly those of :func:`of`.

    Raises:
        SeqgenError: naming the first tensor that is missing, unknown or of another shape.
    """
    target = of(module)
    remedy = "build the model with the configuration the weights were trained with"
    for name in [*target, *tensors]:
        if name not in tensors or name not in target:
            lacks = source if name not in tensors else "the model"
            raise SeqgenError(f"{lacks} has no tensor '{name}' (loading {source})", remedy=remedy)
        if tensors[name].shape != target[name].shape:
            there, here = list(tensors[name].shape), list(target[name].shape)
            raise SeqgenError(f"{source}: '{name}' has shape {there}, the model has {here}", remedy=remedy)
    for name, value in target.items():
        value.copy_(tensors[name])


def load(path: Path, module: nn.Module, *, prefix: str = "") -> Path:
    """Load weights alone into ``module``: the averaged ones where a checkpoint has them.

    Args:
        path: an experiment directory (its best checkpoint is taken), a checkpoint directory, or a .safetensors file.
        module: the module the weights belong to. prefix: of the names that are its own, in a checkpoint of more.

    Returns:
        What was read: the checkpoint directory or the file.

    Raises:
        SeqgenError: if there is no whole checkpoint, or it belongs to a module of another shape.

    Example:
        >>> load(Path("exp/demo"), objective)  # doctest: +SKIP
        PosixPath('exp/demo/checkpoints/step-004000')
    """
    if path.is_file():
        try:
            assign(module, safetensors.torch.load(path.read_bytes()), source=str(path))
        except (OSError, SafetensorError) as error:
            raise SeqgenError(f"cannot read the weights {path}: {error}", remedy="give a safetensors file") from None
        return path
    if not (path / checkpoint.STATE).is_file():
        path = checkpoint.Checkpoints(path).best()
    tensors = checkpoint.read(path, only=("model", "ema")).tensors
    found = {**tensors["model"], **tensors.get("ema", {})}
    mine = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    assign(module, mine, source=str(path))
    return path
