"""Voices with random weights that are measured: 24 kHz, frames of 12.5 ms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgen.train.run import RunConfig

HOP = 300
WAVENET = r"wavenet-(?P<layers>\d+)x(?P<residual>\d+)(?P<mixture>-mol)?"


def configured(name: str) -> RunConfig:
    """The run of a preset that every runtime has.

    Raises:
        SeqgenError: for an unknown name.

    Example:
        >>> configured("wavenet-20x64").model.options["skip"]
        256
    """
    from seqgen.config import Component
    from seqgen.errors import SeqgenError
    from seqgen.models.wavernn import PRESETS

    if found := re.fullmatch(WAVENET, name):
        return wavenet(name, int(found["layers"]), int(found["residual"]), mixture=bool(found["mixture"]))
    if name == "pwn-student":
        return run_of(name, Component("parallel-wavenet"), codec="float")
    if name == "pwn-teacher":
        teacher = Component("wavenet", {"layers": 30, "vocab_size": 0, "outputs": 30})
        return run_of(name, teacher, codec="float", distribution=Component("logistic-mixture", {"origin": -4.0}))
    if name in PRESETS:
        return run_of(name, Component("wavernn", {"hidden": PRESETS[name]}))
    known = ", ".join((*PRESETS, "pwn-student", "pwn-teacher"))
    raise SeqgenError(f"unknown preset '{name}'", remedy=f"known: {known}, and e.g. wavenet-20x64")


def wavenet(name: str, layers: int, residual: int, *, mixture: bool) -> RunConfig:
    """A WaveNet of four times as many skip channels, over µ-law or, levelled, over ten logistics."""
    from seqgen.config import Component

    sizes = {"residual_channels": residual, "gate_channels": residual, "skip_channels": 4 * residual, "head_channels": 4 * residual}
    real = {"vocab_size": 0, "outputs": 30} if mixture else {}
    model = Component("wavenet", {"layers": layers, "dilation_cycle": 10, **sizes, **real})
    if not mixture:
        return run_of(name, model, codec="mulaw8")
    distribution = Component("logistic-mixture", {"origin": -2.0})
    return run_of(name, model, codec="float", distribution=distribution, levelled=True)


def run_of(name: str, model: Any, *, codec: str = "bytes16", hop: int = HOP, **options: Any) -> RunConfig:
    """A run of ``model``, of which nothing is trained."""
    from seqgen.spec import FeatureSpec
    from seqgen.train.run import DataConfig, RunConfig
    from seqgen.train.settings import TrainConfig

    return RunConfig(
        name=name,
        data=DataConfig(train="", valid="", test="", segment=3 * hop, codec=codec),
        features=FeatureSpec(sample_rate=24000, n_fft=2048, window=1200, hop=hop, n_mels=80),
        model=model,
        train=TrainConfig(steps=1),
        **options,
    )
