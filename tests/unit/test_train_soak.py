"""Long runs: what must not grow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from seqgen.tasks.vocoder.batches import Batch
from seqgen.tasks.run import DataConfig, RunConfig, build

from seqgen.audio.codec import Bytes16
from seqgen.config import Component
from seqgen.noise import Key
from seqgen.spec import FeatureSpec
from seqgen.train.settings import TrainConfig

FEATURES = FeatureSpec(sample_rate=8000, n_fft=128, window=80, hop=40, n_mels=8)


def _resident() -> float:
    """Megabytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_is_constant_over_a_thousand_steps() -> None:
    run = RunConfig(
        name="soak",
        data=DataConfig(train="", valid="", test="", segment=400),
        features=FEATURES,
        model=Component("wavernn", {"hidden": 64}),
        train=TrainConfig(steps=1000),
    )
    system = build(run, ("one",))
    optimiser = torch.optim.AdamW(system.objective.parameters())
    frames = system.left + 400 // FEATURES.hop + system.right
    marks = []
    for step in range(1000):
        generator = torch.Generator().manual_seed(step)
        x = torch.randint(256, (8, 400 * Bytes16.symbols_per_sample), generator=generator)
        cond = torch.randn(8, frames, FEATURES.n_mels, generator=generator)
        batch = Batch(x, torch.full((8,), 800), cond, x, torch.zeros(8, dtype=torch.int64), ("",) * 8)
        loss = system.objective(batch, "generator", Key(0, step))
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        if step in (199, 999):
            marks.append(_resident())
    assert marks[1] - marks[0] < 8, marks
