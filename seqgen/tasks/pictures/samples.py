"""Pictures that networks make: drawn from uniforms, or put together again from what they are encoded as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.errors import SeqgenError

_BLOCK = 64  # pictures that are made at once

Pixels = npt.NDArray[np.uint8]


def maker(networks: Mapping[str, nn.Module], method: str) -> nn.Module | None:
    """The network that pictures are made by: the first one with such a method, ``generator`` before others."""
    first = [networks["generator"]] if "generator" in networks else []
    return next((one for one in (*first, *networks.values()) if callable(getattr(one, method, None))), None)


@torch.no_grad()
def drawn(
    network: nn.Module, count: int, shape: tuple[int, ...], levels: int, *, seed: int, temperature: float = 1.0
) -> Pixels:
    """Pictures that a network draws, ``[count, C, H, W]`` of values below ``levels``; the noise of each is its own.

    Any network does that has ``sample(u, cond, temperature)``, which makes elements ``[B, T]`` of uniforms ``u [B, L,
    num_uniforms]``: a density, where L is T, or a model with latent variables, which says as ``num_latents`` how many
    of these there are.

    Raises:
        SeqgenError: where what is made is no picture of this shape.
    """
    made: Any = network
    length = int(np.prod(shape))
    places = int(getattr(made, "num_latents", length))
    each = places * made.num_uniforms
    parts = []
    for start in range(0, count, _BLOCK):
        rows = range(start, min(start + _BLOCK, count))
        u = np.stack([noise.block(seed, row, 0, each) for row in rows]).reshape(len(rows), places, -1)
        elements = made.sample(torch.from_numpy(u).to(_device(network)), None, temperature)
        parts.append(pixels(elements, shape, levels))
    return np.concatenate(parts)


@torch.no_grad()
def reconstructed(network: nn.Module, x: Tensor, shape: tuple[int, ...], levels: int) -> Pixels:
    """Pictures put together again by a network that has ``reconstruct``, from elements to elements ``[B, T]``."""
    function: Callable[[Tensor], Tensor] = network.reconstruct  # type: ignore[assignment]
    return pixels(function(x.to(_device(network))), shape, levels)


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
