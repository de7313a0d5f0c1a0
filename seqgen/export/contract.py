"""The contracts of export: what a kind of density and a kind of network say of themselves in a bundle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import onnx
from torch import nn

from seqgen import registry
from seqgen.audio.codec import Codec
from seqgen.errors import SeqgenError
from seqgen.export.network import Network, Op
from seqgen.generation.contract import Generator
from seqgen.generation.gain import SPREAD, TYPICAL
from seqgen.generation.vocoder import Vocoder
from seqgen.registry import Registry

MOST_SYMBOLS = 1 << 16
"""Symbols of the largest alphabet that the native engine knows."""


@dataclass(frozen=True)
class Matrices:
    """Precisions in which the engine's own file holds the matrices of an op, by their names.

    Attributes:
        int8: those of 8 bits, with how many each is of, side by side. bfloat16: those of 16 bits.
    """

    int8: Mapping[str, int] = field(default_factory=dict)
    bfloat16: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Placed:
    """The network inside a generator.

    Attributes:
        network: what is exported. at: what the names of its weights begin with. state: of a fresh stream.
        gained: whether its samples are divided by a gain (:mod:`seqgen.generation.gain`).
        start: the element before the first one.
    """

    network: nn.Module
    at: str
    state: Any = None
    gained: bool = False
    start: float = 0

    def gain(self) -> list[Op]:
        """The op before the network's own, where there is a gain."""
        return [{"op": "levelled", "spread": SPREAD, "typical": TYPICAL}] if self.gained else []


class DensityExporter(ABC):
    """Exporter of a kind of density: its ONNX graphs, and its part of the native engine's program.

    Registered in ``DENSITY_EXPORTERS`` under the density's name.

    Attributes:
        op: the op that is the density's own, "" where it has none.
    """

    op: ClassVar[str] = ""

    @abstractmethod
    def assemble(self, vocoder: Vocoder, directory: Path, score: bool) -> onnx.ModelProto:
        """``step.onnx`` where ``score``, else ``loop.onnx``; ``directory`` has the weights that it points into."""

    @abstractmethod
    def placed(self, generator: Generator, state: Any = None) -> Placed:
        """The network inside; ``state`` is that of a fresh generator."""

    @abstractmethod
    def drawing(self, generator: Generator, codec: Codec) -> list[Op] | None:
        """The ops between network and codec; None where the engine has none."""

    def conditioner_state(self, state: Any) -> Any:
        """State of the conditioning network within a fresh generator's."""
        return state.conditioner

    def matrices(self, op: Op) -> Matrices:
        """The matrices of the density's own op."""
        return Matrices()


class NetworkExporter(ABC):
    """Exporter of a kind of network (a registered model or flow) into the native engine's program, as one op.

    Registered in ``NETWORK_EXPORTERS`` under the network's name.

    Attributes:
        op: its op. runs: what the engine runs of the kind, for a refusal of others. codecs: of the samples that it
            makes; none where it makes symbols that stand alone.
    """

    op: ClassVar[str]
    runs: ClassVar[str]
    codecs: ClassVar[tuple[type[Codec], ...]]

    @abstractmethod
    def fits(self, network: Any) -> bool:
        """Test for the engine to run a network."""

    @abstractmethod
    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        """The op; ``layers`` begins the ops of layers inside it that run at a lower rate."""

    @abstractmethod
    def matrices(self, op: Op) -> Matrices:
        """The matrices of the op."""


def density_exporter(generator: Generator) -> DensityExporter:
    """The exporter of a density.

    Raises:
        SeqgenError: where its kind has none.
    """
    kind = _registered(type(generator), (registry.DENSITIES,), registry.DENSITY_EXPORTERS)
    if kind is None:
        raise SeqgenError(
            f"there is no graph for {type(generator).__name__}",
            remedy=f"register its exporter; there are those of {', '.join(registry.DENSITY_EXPORTERS)}",
        )
    made: DensityExporter = kind()
    return made


def network_exporter(network: nn.Module) -> NetworkExporter | None:
    """The exporter of a network, None where its kind has none."""
    kind = _registered(type(network), (registry.MODELS, registry.FLOWS), registry.NETWORK_EXPORTERS)
    made: NetworkExporter | None = None if kind is None else kind()
    return made


def exporters() -> dict[str, DensityExporter | NetworkExporter]:
    """Every exporter by its op."""
    every = [table.load(name)() for table in (registry.DENSITY_EXPORTERS, registry.NETWORK_EXPORTERS) for name in table]
    return {one.op: one for one in reversed(every) if one.op}


def _registered(kind: type[Any], tables: tuple[Registry, ...], exporters: Registry) -> Any:
    """The exporter under the name of a class, or of the nearest registered one that it derives from."""
    names = [table.name_of(one) for one in kind.__mro__ for table in tables]
    return next((exporters.load(name) for name in names if name in exporters), None)
