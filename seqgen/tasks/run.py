"""One run: the configuration that a YAML file holds, whatever its task, networks and method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.train.identity import NEUTRAL
from seqgen.train.settings import PlayerConfig, QuantizationConfig, SparsityConfig, TrainConfig

# Keys of the configuration before tasks came, and what stands in their place.
FORMER = {
    "data": "put its keys under `task:`, beside `name: vocoder`",
    "features": "put it under `task:`",
    "model": "name it as the body of a density: networks: {generator: {name: autoregressive, body: {name: …}}}",
    "conditioner": "put it into the density, beside `body:`",
    "emission": "put it into the density as `distribution:`",
    "levelled": "put it into the density as `gain_normalized: true`",
    "quantise": "call it `quantization:`",
}


@dataclass(frozen=True)
class RunConfig:
    """Configuration of a run, one YAML file: everything that decides it.

    Attributes:
        name: label in reports and of what is exported.
        task: registered task: what is learnt from and judged by, with its options.
        networks: networks of the objective by name: a registered density, model or flow with its options, or one that
            another run has trained, ``{name: pretrained, experiment: DIRECTORY}``: frozen, or with ``frozen: false``
            trained further.
        objective: registered training method and its options.
        players: how single players are trained, where it differs from ``train``.
        train: settings of the loop.
        sparsity: which weights are pruned while training, and how far; none by default.
        quantization: whether training meets the rounding of an int8 export; not by default.
        licence: what an exported bundle says of its use.
    """

    name: str = field(metadata=NEUTRAL)
    task: Component
    networks: Mapping[str, Component]
    train: TrainConfig
    objective: Component = field(default_factory=lambda: Component("likelihood"))
    players: Mapping[str, PlayerConfig] = field(default_factory=dict)
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    licence: str = field(default="not stated", metadata=NEUTRAL)

    def __post_init__(self) -> None:
        rounds = self.quantization.precision != "float32"
        if rounds and self.quantization.after >= self.train.steps:
            raise SeqgenError(
                f"'quantization.after' is {self.quantization.after} with 'train.steps' {self.train.steps}: nothing is "
                "rounded",
                remedy="begin before the last step, or remove `quantization:`",
            )


def load(path: Path, overrides: tuple[str, ...] | list[str] = ()) -> RunConfig:
    """Read a run's YAML file.

    Raises:
        SeqgenError: naming file, line, key and the remedy, for anything that does not fit; keys of former versions are
            named with their present place.
    """
    densities = {
        name: f"make it a network: networks: {{generator: {{name: {name}, …}}}}, with its options beside `body:`"
        for name in registry.DENSITIES
    }
    return config.load(path, RunConfig, overrides, former=densities | FORMER)
