"""Agreement of the processes of one run, on the few things that need it."""

from __future__ import annotations

import inspect
import os
import platform
import warnings
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from seqgen.errors import SeqgenError
from seqgen.noise import name_to_stream
from seqgen.train.settings import TrainConfig


def start(settings: TrainConfig, *, device: str = "auto", players: int = 1) -> Fabric:
    """A launched Fabric: one process, or one of many where ``torchrun`` (or alike) has set ``WORLD_SIZE``.

    Args:
        settings: the precision and the batch size are read. A processor without products of bfloat16 computes
            bf16-mixed in float32, and a warning says so.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        players: with more than one, some parameters take no part in each backward pass, which DDP has to be told.

    Raises:
        SeqgenError: for a device that is not there, arithmetic it cannot do, or fewer rows than there are parts.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise SeqgenError("torch sees no CUDA device", remedy="use --device cpu, or install a CUDA build of torch")
    if device == "cpu" and settings.precision == "16-mixed":
        raise SeqgenError("train.precision 16-mixed needs a GPU", remedy="use bf16-mixed or 32-true")
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if world * settings.accumulate > settings.batch_size:
        raise SeqgenError(
            f"train.batch_size {settings.batch_size} is less than {world} process(es) x {settings.accumulate} parts",
            remedy="raise batch_size or lower accumulate",
        )
    strategy = _ddp(players) if world > 1 else "auto"
    fabric = Fabric(
        accelerator=device,
        devices=local if world > 1 else 1,
        num_nodes=world // local if world > 1 else 1,
        strategy=strategy,
        precision="32-true" if device == "cpu" and _emulated(settings.precision) else settings.precision,
    )
    fabric.launch()
    return fabric


def _emulated(precision: str) -> bool:
    """Test for products of bfloat16 that this processor has no instruction for; then a warning says so. Emulated, they
    take more than twice the time of those of float32, which lose less."""
    if precision != "bf16-mixed" or bfloat16_products():
        return False
    warnings.warn("this processor has no products of bfloat16; training computes in float32", stacklevel=3)
    return True


def bfloat16_products() -> bool:
    """Test for a processor that multiplies numbers of bfloat16; of another kind than x86 it is taken for granted."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def stop() -> None:
    """Part from the other processes; whose threads still listen when Python ends may abort it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _ddp(players: int) -> DDPStrategy:
    """DDP that leaves buffers alone: ``after_update`` keeps them equal, and validation shares may differ in length."""
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # torch before 2.13
    options: dict[str, Any] = {"find_unused_parameters": players > 1, buffers: False}
    return DDPStrategy(**options)


def share(tensors: Iterable[Tensor]) -> None:
    """Overwrite ``tensors`` with those of the first process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.broadcast(tensor, 0)


def total(value: Tensor) -> Tensor:
    """``value`` summed over the processes; ``value`` itself is left as it is."""
    return _reduce(value, torch.distributed.ReduceOp.SUM)


def smallest(value: Tensor) -> Tensor:
    """The smallest ``value`` of all processes."""
    return _reduce(value, torch.distributed.ReduceOp.MIN)


def _reduce(value: Tensor, operation: torch.distributed.ReduceOp.RedOpType) -> Tensor:
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return value
    value = value.clone()
    torch.distributed.all_reduce(value, op=operation)
    return value


def any_of(fabric: Fabric, flag: bool) -> bool:
    """Whether ``flag`` holds in any process, so that all of them turn the same way."""
    if fabric.world_size == 1:
        return flag
    return bool(total(torch.tensor(int(flag), device=fabric.device)))


def reseed(fabric: Fabric, seed: int, step: int, share: int) -> None:
    """Give torch's generators a state that depends on nothing but (seed, step, share of the global batch).

    What a step draws from them (dropout) is then the same after a resumption, whatever was drawn before it, and in all
    processes that work on the same rows.
    """
    key = name_to_stream(f"{seed}/{step}/{share}")
    # torch.manual_seed would also queue a stack trace for every kind of accelerator that is not there
    torch.default_generator.manual_seed(key)
    if fabric.device.type == "cuda":
        torch.cuda.manual_seed(key)
