"""The weights of a module as named tensors, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.train import checkpoint
from seqgen.train.checkpoint import Damaged, Snapshot
from seqgen.train.identity import CheckpointIdentity

_DELETIONS = 5  # of the best checkpoint, while it is read
Accept = Callable[[CheckpointIdentity, Path], None]


def of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; a tensor shared by two modules stands once, under its first name."""
    saved = module.state_dict()
    tensors: dict[str, Tensor] = {name: value.detach() for name, value in module.named_parameters()}
    tensors.update({name: value for name, value in module.named_buffers() if name in saved})
    return tensors


def digest(module: nn.Module, *, without: Collection[str] = ()) -> str:
    """16 hexadecimal digits of all that :func:`of` gives, names and values, but for the parts of these names."""
    whole = hashlib.sha256()
    for name, value in sorted(of(module).items()):
        if name.partition(".")[0] in without:
            continue
        whole.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        whole.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return whole.hexdigest()[:16]


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


def load(path: Path, module: nn.Module, *, accept: Accept, prefix: str = "", fresh: Collection[str] = ()) -> Path:
    """Load weights alone into ``module``: the averaged ones where a checkpoint has them.

    Args:
        path: an experiment directory (its best checkpoint is taken), or a checkpoint directory.
        module: the module the weights belong to. accept: refuses weights that were trained as something else.
        prefix: of the names that are its own, in a checkpoint of more. fresh: parts of the module that stay as they
            are, whatever the checkpoint has in their place.

    Returns:
        What was read: the checkpoint directory.

    Raises:
        SeqgenError: if there is no whole checkpoint, it is not accepted, or it belongs to a module of another shape.

    Example:
        >>> load(Path("exp/demo"), objective, accept=partial(require_same_run, expected=mine))  # doctest: +SKIP
        PosixPath('exp/demo/checkpoints/step-004000')
    """
    if path.is_file():
        raise SeqgenError(
            f"{path} is a file, which does not tell what its weights were trained as",
            remedy="give an experiment, or one of its checkpoints",
        )
    path, snapshot = _read(path)
    accept(snapshot.identity, path)
    tensors = snapshot.tensors
    found = {**tensors["model"], **tensors.get("ema", {})}
    mine = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    taken = {name: value for name, value in mine.items() if name.partition(".")[0] not in fresh}
    kept = {name: value for name, value in of(module).items() if name.partition(".")[0] in fresh}
    assign(module, taken | kept, source=str(path))
    return path


def _read(path: Path) -> tuple[Path, Snapshot]:
    """A checkpoint, or the best one of an experiment, which may be in training and delete it for a better one."""
    if (path / checkpoint.STATE).is_file():
        return path, checkpoint.read(path, only=("model", "ema"))
    for _ in range(_DELETIONS):
        best = checkpoint.Checkpoints(path).best()
        try:
            return best, checkpoint.read(best, only=("model", "ema"))
        except Damaged:
            if best.exists():
                raise
    raise SeqgenError(f"{path} deletes its checkpoints faster than they can be read", remedy="raise train.keep")
