"""Networks over symbols with random weights in a preset's shape, as programs of the native engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from seqgen import config, registry
from seqgen.config import Component
from seqgen.distributions.categorical import Categorical
from seqgen.export import symbol_program
from seqgen.export.contract import Placed
from seqgen.export.program import WEIGHTS
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.nets.layers import Identity
from seqgen.presets import SymbolPreset


def _constructed(options: Any) -> Any:
    given = dict(options)
    return config.construct(Component(given.pop("name"), given), registry.MODELS, source="preset")


def density_of(preset: SymbolPreset) -> AutoRegressive:
    """The autoregressive density of a preset, of random weights, in torch."""
    body = _constructed(preset.model)
    spec = body.spec
    conditioner = Identity(spec.cond_dim) if spec.cond_dim else None
    distribution = Categorical(Categorical.Config(spec.vocab_size))
    return AutoRegressive(body, distribution, conditioner, start=0, symbols_per_sample=1)


def write(preset: SymbolPreset, directory: Path) -> AutoRegressive:
    """Write a preset's program and weights for the engine; returns its density in torch."""
    density = density_of(preset)
    every, source = nn.ModuleDict({"decoder": density}), None
    if preset.encoder is not None:
        every["encoder"] = encoder = _constructed(preset.encoder)
        source = symbol_program.Source(Placed(encoder, "encoder"), factor=1.2, offset=1.0, stretch=False)
    every.eval()
    save_file({name: value.contiguous() for name, value in every.state_dict().items()}, directory / WEIGHTS)
    symbol_program.write(symbol_program.program(density, "decoder.", source, preset.format), directory)
    return density
