"""Samples per second of training, and the share of a step that is not the network's recurrence."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

from seqgen.cli import random_voices
from seqgen.presets import Preset


def measure(given: argparse.Namespace, preset: Preset) -> list[dict[str, Any]]:
    """Steps of 32 x 960 samples at 24 kHz; the recurrence alone is measured beside them on the same shapes."""
    import torch

    from seqgen.train import memory

    memory.keep_freed_pages()
    torch.set_num_threads(given.threads)
    rows, length = 32, 960
    generator = random_voices.vocoder_of(preset).generator
    step = _training_step(generator, rows, length, half=given.precision == "bf16-mixed")
    recurrence = _recurrence(generator, rows, length, half=given.precision == "bf16-mixed")
    whole, alone = [], []
    _timed(step), _timed(recurrence)
    while sum(whole) < given.seconds or len(whole) < 3:
        whole.append(_timed(step))
        alone.append(_timed(recurrence))
    middle, inside = sorted(whole)[len(whole) // 2], sorted(alone)[len(alone) // 2]
    row = {
        "preset": preset.name,
        "precision": given.precision,
        "threads": given.threads,
        "batch": f"{rows} x {length}",
        "samples_per_second": round(rows * length / middle),
        "step_seconds": round(middle, 3),
        "outside_recurrence": round(1 - inside / middle, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    return [row]


def _training_step(generator: Any, rows: int, length: int, *, half: bool) -> Callable[[], None]:
    """One update on random data of the right shapes."""
    import torch

    from seqgen.stream.conditioning import Frames

    net = generator.conditioner
    frames = generator.left + -(-length // net.spec.up) + generator.right
    x = torch.randint(256, (rows, length * generator.symbols_per_sample))
    features, speaker = torch.randn(rows, frames, net.spec.in_dim), torch.zeros(rows, dtype=torch.int64)
    cond = Frames(features, speaker, generator.left)
    optimiser = torch.optim.AdamW(generator.parameters())

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = -generator.log_prob(x, cond).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _recurrence(generator: Any, rows: int, length: int, *, half: bool) -> Callable[[], None]:
    """Forward and backward pass of the recurrence alone."""
    import torch

    from seqgen.nets.gru import gru_sequence

    weight = dict(generator.body.named_parameters())["recurrent"]
    gates = torch.randn(rows, length, weight.shape[0], requires_grad=True)
    hidden = torch.zeros(rows, weight.shape[1])

    def recurrence() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            states = gru_sequence(gates, hidden, weight, groups=2)
        states.sum().backward()

    return recurrence


def _timed(function: Any) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
