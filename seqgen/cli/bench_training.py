"""Samples per second of training, and the share of a step that is not the network's recurrence, where it has one."""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from seqgen.cli import random_symbols, random_voices
from seqgen.errors import SeqgenError
from seqgen.presets import Preset, SymbolPreset

_GIGA = 1e9
_LARGE, _TURNS = 2048, 5
Ways = dict[str, Callable[[], AbstractContextManager[None]]]


def measure(given: argparse.Namespace, preset: Preset | SymbolPreset) -> list[dict[str, Any]]:
    """Steps of the preset's batch, or of the one given; a recurrence is measured alone beside them on the same shapes.

    A comparison has a row for the engine's kernels, one for torch's, and where that is asked for one for torch's after
    `torch.compile`; their steps take turns.
    """
    import torch

    from seqgen.nets import training_library
    from seqgen.train import memory

    memory.keep_freed_pages()
    torch.set_num_threads(given.threads)
    half = given.precision == "bf16-mixed"
    generator = _generator(preset)
    ways: Ways = {"engine": nullcontext} if training_library.available() else {}
    if given.compare or not ways:
        ways["torch"] = training_library.by_torch
    if given.compiled:
        ways["compiled"] = _compiled(generator)
    rows, samples = given.batch or preset.batch
    step = _training_step(generator, rows, samples, half=half)
    _in_turn(ways, step)
    peak_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    measured = [step, *filter(None, [_recurrence(generator, rows, samples, half=half)])]
    for function in measured[1:]:
        _in_turn(ways, function)
    turns: list[list[dict[str, float]]] = []
    while sum(sum(turn[0].values()) for turn in turns) < given.seconds * len(ways) or len(turns) < 3:
        turns.append([_in_turn(ways, function) for function in measured])
    work, peak = (_work(step), _peak(half=half)) if given.compare else (0.0, 0.0)
    made = []
    for way in ways:
        middle, *inside = (statistics.median(turn[part][way] for turn in turns) for part in range(len(measured)))
        row = {
            "preset": preset.name,
            "runtime": way,
            "precision": given.precision,
            "threads": given.threads,
            "batch": f"{rows} x {samples}",
            "samples_per_second": round(rows * samples / middle),
            "step_seconds": round(middle, 3),
        }
        if inside:
            row["outside_recurrence"] = round(1 - inside[0] / middle, 3)
        if given.compare:
            row |= {"gflops": round(work / middle / _GIGA, 1), "share_of_peak": round(work / middle / peak, 3)}
        else:  # the most memory that the process had is that of both ways together
            row["peak_mb"] = peak_mb
        made.append(row)
    return made


def _compiled(generator: Any) -> Callable[[], AbstractContextManager[None]]:
    """Way of torch whose body `torch.compile` has made one program, which takes a minute the first time.

    Raises:
        SeqgenError: for a recurrence, whose steps would be a program of thousands, and inside it where torch finds no
            compiler.
    """
    import torch
    from torch._dynamo.exc import TorchDynamoException

    from seqgen.nets import training_library

    body = generator.body
    if "recurrent" in dict(body.named_parameters()) or body.spec.context is None:
        raise SeqgenError(
            "--compiled of a recurrence", remedy="leave it out: its steps would be a program of thousands"
        )
    plain, made = body.step, torch.compile(body.step, dynamic=False)

    @contextmanager
    def entered() -> Iterator[None]:
        body.step = made
        try:
            with training_library.by_torch():
                yield
        except TorchDynamoException as error:
            problem = str(error).partition("\n")[0]
            raise SeqgenError(
                f"torch.compile: {problem}", remedy="install a C++ compiler, or leave --compiled out"
            ) from None
        finally:
            body.step = plain

    return entered


def _generator(preset: Preset | SymbolPreset) -> Any:
    return (
        random_symbols.density_of(preset)
        if isinstance(preset, SymbolPreset)
        else random_voices.vocoder_of(preset).generator
    )


def _in_turn(ways: Ways, function: Callable[[], None]) -> dict[str, float]:
    """Seconds of a call, each way once."""
    found = {}
    for way, entered in ways.items():
        with entered():
            found[way] = _timed(function)
    return found


def _work(step: Callable[[], None]) -> float:
    """Floating-point operations of the products of a step, forward and back, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    from seqgen.nets import training_library

    with training_library.by_torch(), FlopCounterMode(display=False) as counted:
        step()
    return float(counted.get_total_flops())


def _peak(*, half: bool) -> float:
    """Operations a second of torch's product of two large square matrices, the best of some."""
    import torch

    one = torch.randn(_LARGE, _LARGE, dtype=torch.bfloat16 if half else torch.float32)
    best = min(_timed(lambda: one @ one) for _ in range(_TURNS))
    return float(2 * _LARGE**3 / best)


def _training_step(generator: Any, rows: int, length: int, *, half: bool) -> Callable[[], None]:
    """One update on random data of the right shapes."""
    import torch

    from seqgen.stream.conditioning import Frames

    net, cond = generator.conditioner, None
    elements = length * generator.symbols_per_sample
    of_symbols = torch.randint(max(generator.vocab_size, 1), (rows, elements))
    x = of_symbols if generator.vocab_size else 0.2 * torch.rand(rows, elements, 1) - 0.1
    if net is not None:
        frames = generator.left + -(-length // net.spec.up) + generator.right
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


def _recurrence(generator: Any, rows: int, length: int, *, half: bool) -> Callable[[], None] | None:
    """Forward and backward pass of the recurrence alone; None for a network that has none."""
    import torch

    from seqgen.nets.gru import gru_sequence

    weight = dict(generator.body.named_parameters()).get("recurrent")
    if weight is None:
        return None
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
