"""Long runs: what must not grow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from seqgen.noise import Key
from seqgen.objectives.contract import Part
from seqgen.stream.conditioning import Frames
from seqgen.tasks import experiment
from seqgen.tasks.vocoder.batches import Batch
from tests.runtime.voices import run_of, task_of

HOP, LENGTH = 40, 400


def _resident() -> float:
    """Megabytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_is_constant_over_a_thousand_steps() -> None:
    task = task_of(run_of({"name": "autoregressive", "body": {"name": "wavernn", "hidden": 64}}, hop=HOP), ("one",))
    system = experiment.build(task, source="test")
    objective, voice = system.objective, task.vocoder(system.networks).generator
    assert objective is not None
    symbols, bands = LENGTH * voice.symbols_per_sample, task.options.features.n_mels
    optimiser = torch.optim.AdamW(objective.parameters())
    frames = voice.left + LENGTH // HOP + voice.right
    marks = []
    for step in range(1000):
        generator = torch.Generator().manual_seed(step)
        x = torch.randint(256, (8, symbols), generator=generator)
        mel = torch.randn(8, frames, bands, generator=generator)
        cond = Frames(mel, torch.zeros(8, dtype=torch.int64), voice.left)
        batch = Batch(x, torch.full((8,), symbols), cond, ("",) * 8)
        loss = objective(Part(batch, Key(0, step)), "generator")
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        if step in (199, 999):
            marks.append(_resident())
    assert marks[1] - marks[0] < 8, marks
