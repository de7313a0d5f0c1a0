"""What training with `quantization:` computes is what the engine makes of the exported int8 weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.export.rounded import int8
from seqgen.nets import quantization
from seqgen.runtime.native import NativeRuntime
from seqgen.tasks.vocoder.runtime import TorchRuntime
from tests.engine.voices import native_voice
from tests.runtime.voices import inputs


@pytest.mark.parametrize("hidden", [30, 96])
def test_rounded_logits_are_the_engines(hidden: int, tmp_path: Path) -> None:
    """But for the few states that a sum in another order rounds to the next of their 255 levels."""
    opened = native_voice(tmp_path, hidden=hidden, hop=40)
    engine, torch_runtime = NativeRuntime(opened, format="int8"), TorchRuntime(opened)
    generator = torch_runtime.vocoder.generator
    _, x, cond = inputs(engine, 3, 9, seed=1)
    expected, _ = engine.step(x, engine.init(3), cond)
    with torch.no_grad():  # the engine's conditioning network has bfloat16 weights beside an int8 cell
        for parameter in generator.conditioner.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.bfloat16().float())
    plain, _ = torch_runtime.step(x, torch_runtime.init(3), cond)
    generator.body.fake_quantized = True
    fake_quantized, _ = torch_runtime.step(x, torch_runtime.init(3), cond)
    cost = np.abs(expected - plain).mean()
    assert cost > 5e-3
    assert np.median(np.abs(expected - fake_quantized)) < 1e-5
    assert np.abs(expected - fake_quantized).mean() < 0.03 * cost


def test_an_export_rounds_what_is_rounded_to_itself() -> None:
    """The numbers that training multiplies are a fixed point of the export."""
    matrix = torch.randn(40, 48, generator=torch.Generator().manual_seed(2))
    once = quantization.weights(matrix)
    stored = int8("w", once.values.numpy())
    assert np.array_equal(stored["w"], once.whole.numpy())
    np.testing.assert_allclose(stored["w.peak"], once.absmax[:, 0].numpy(), rtol=1e-6)
