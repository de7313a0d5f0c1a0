"""Pictures that networks make: drawn from uniforms, or put together again from what they are encoded as."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.latents.variable import LatentVariable
from seqgen.tasks.pictures.batches import Batch
from seqgen.train.batch import to_device

_BLOCK = 64  # pictures that are made at once

Pixels = npt.NDArray[np.uint8]


def maker(networks: Mapping[str, nn.Module]) -> nn.Module | None:
    """The network that pictures are made by, a density or a model with latent variables; ``generator`` first."""
    first = [networks["generator"]] if "generator" in networks else []
    return next((one for one in (*first, *networks.values()) if isinstance(one, (Density, LatentVariable))), None)


@torch.no_grad()
def drawn(
    network: nn.Module, count: int, shape: tuple[int, ...], levels: int, *, seed: int, temperature: float = 1.0
) -> Pixels:
    """Pictures that a network draws, ``[count, C, H, W]`` of values below ``levels``; the noise of each is its own.

    A density does it, and a model with latent variables, whose code is drawn first.

    Raises:
        SeqgenError: where what is made is no picture of this shape.
    """
    length = int(np.prod(shape))
    each = (
        network.num_uniforms(length) if isinstance(network, LatentVariable) else length * _density(network).num_uniforms
    )
    parts = []
    for start in range(0, count, _BLOCK):
        rows = range(start, min(start + _BLOCK, count))
        u = _uniforms(rows, each, seed).to(_device(network))  # [B, uniforms]
        if isinstance(network, LatentVariable):
            elements = network.sample(u, length, temperature=temperature)
        else:
            elements = _density(network).sample(u.unflatten(1, (length, -1)), None, temperature)
        parts.append(pixels(elements, shape, levels))
    return np.concatenate(parts)


@torch.no_grad()
def reconstructed(model: LatentVariable, batch: Batch, shape: tuple[int, ...], levels: int) -> Pixels:
    """Pictures drawn from the codes that stand for those of a batch."""
    length = int(np.prod(shape))
    u = _uniforms(range(len(batch.x)), length * model.decoder.num_uniforms, 0).to(_device(model))
    moved = to_device(batch, u.device, next(model.parameters()).dtype)
    return pixels(model.reconstruct(moved, u.unflatten(1, (length, -1))), shape, levels)


@torch.no_grad()
def variations(model: LatentVariable, batch: Batch, count: int, shape: tuple[int, ...], levels: int) -> Pixels | None:
    """So many pictures ``[B, count, C, H, W]`` of codes that the prior draws given what it goes by for each of a
    batch; ``None`` where it goes by nothing."""
    length, rows = int(np.prod(shape)), len(batch.x)
    moved = to_device(batch, _device(model), next(model.parameters()).dtype)
    _, setting = model.encoded(moved)
    if setting.given is None:
        return None
    made = []
    for number in range(count):
        u = _uniforms(range(number * rows, (number + 1) * rows), model.num_uniforms(length), 0).to(_device(model))
        made.append(pixels(model.sample(u, length, given=setting.given), shape, levels))
    return np.stack(made, axis=1)


def _uniforms(rows: range, each: int, seed: int) -> Tensor:
    """Uniforms of pictures by their numbers, ``[rows, each]``."""
    return torch.from_numpy(np.stack([noise.block(seed, row, 0, each) for row in rows]))


def _density(network: nn.Module) -> Density:
    assert isinstance(network, Density)
    return network


def pixels(elements: Tensor, shape: tuple[int, ...], levels: int) -> Pixels:
    """Pictures ``[B, C, H, W]`` of elements ``[B, T]`` (or ``[B, T, 1]``): symbols, or real numbers in [-1, 1].

    Raises:
        SeqgenError: for another number of elements.
    """
    flat = elements.flatten(1).cpu()
    if flat.shape[1] != int(np.prod(shape)):
        raise SeqgenError(
            f"a network made {flat.shape[1]} elements for a picture of {int(np.prod(shape))} pixels",
            remedy="name the run of a network that makes pictures",
        )
    if flat.is_floating_point():
        flat = ((flat.float() + 1) * ((levels - 1) / 2)).round()
    made: Pixels = flat.clamp(0, levels - 1).to(torch.uint8).reshape(-1, *shape).numpy()
    return made


def _device(network: nn.Module) -> torch.device:
    return next(iter([*network.parameters(), *network.buffers()]), torch.empty(0)).device
