"""A language model or translator as ``program.json``: the ops that the native engine runs over the bundle's tensors.

As a vocoder's (:mod:`seqgen.export.program`), with ``sample_rate`` 0 and one frame for each symbol. A translator's
encoder stands first, with the numbers of its unfolding; then the decoder or language model, its distribution, and
``symbols`` in the place of a codec. ``channels`` are those of a column, 0 where there is none.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from seqgen.errors import SeqgenError
from seqgen.export import rounded
from seqgen.export.contract import NetworkExporter, Placed, network_exporter
from seqgen.export.network import Network, Op
from seqgen.export.program import FILE, FORMAT, WEIGHTS, Precision
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.runtime.native import Engine
from seqgen.runtime.native_symbols import draw, score


@dataclass(frozen=True)
class Source:
    """The part of a translator that reads sources.

    Attributes:
        encoder: the network, and where its weights are. factor, offset, stretch: of the unfolding of its columns.
    """

    encoder: Placed
    factor: float
    offset: float
    stretch: bool

    @property
    def op(self) -> Op:
        """The encoder's op."""
        return {**_op(self.encoder), "factor": self.factor, "offset": self.offset, "stretch": int(self.stretch)}


def runnable(generator: AutoRegressive, source: Source | None = None) -> bool:
    """Test that the engine has ops for what draws the symbols, and for the encoder where there is one."""
    networks = [generator.body, *([] if source is None else [source.encoder.network])]
    found = [(network_exporter(network), network) for network in networks]
    return all(exporter is not None and exporter.fits(network) for exporter, network in found)


def program(
    generator: AutoRegressive, at: str = "", source: Source | None = None, precision: Precision = "float32"
) -> dict[str, Any]:
    """The program of what draws symbols, whose weights' names begin with ``at``.

    Raises:
        SeqgenError: for a network that the engine cannot run (see :func:`runnable`).

    Example:
        >>> [op["op"] for op in program(density)["ops"]]              # doctest: +SKIP
        ['gru-stack', 'categorical', 'symbols']
    """
    if not runnable(generator, source):
        raise SeqgenError(
            f"the native engine has no ops for {type(generator.body).__name__} over symbols, or for its encoder",
            remedy="run this model through onnxruntime",
        )
    body = Placed(generator.body, f"{at}body", start=int(generator.start))
    ops = [] if source is None else [source.op]
    ops += [_op(body), {"op": "categorical", "classes": generator.body.spec.vocab_size}, {"op": "symbols"}]
    return {
        "format": FORMAT,
        "byte_order": "little",
        "sample_rate": 0,
        "channels": generator.body.spec.cond_dim,
        "hop": 1,
        "latency": 0,
        "precision": precision,
        "tensors": [WEIGHTS],
        "ops": ops,
    }


def _op(placed: Placed) -> Op:
    exporter = network_exporter(placed.network)
    assert isinstance(exporter, NetworkExporter)
    return exporter.described(placed, functools.partial(Network, nn.Module(), None))


def write(document: dict[str, Any], directory: Path, alone: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
    """Write ``directory/program.json`` of a :func:`program`.

    Where no other runtime reads the bundle, ``alone`` has its tensors by name: they are written rounded, see
    :mod:`seqgen.export.rounded`.
    """
    if alone is not None:
        document = {**document, "tensors": [rounded.FILE]}
        rounded.write(document, alone, directory / rounded.FILE)
    write_text(directory / FILE, json.dumps(document, indent=1) + "\n")


def golden(
    directory: Path, vectors: Mapping[str, npt.NDArray[Any]], precision: Precision
) -> dict[str, npt.NDArray[Any]]:
    """Outputs of the engine's generic kernels, which define the others, for golden vectors and rounded weights."""
    engine = Engine(directory, format=precision, isa="generic")
    given, uniforms = vectors["given"], vectors["uniforms"]
    rows, positions = given.shape
    columns = np.zeros((rows, positions, engine.info.channels), np.float32)
    made: dict[str, npt.NDArray[Any]] = {}
    if "source" in vectors:
        own = engine.columns(vectors["source"], vectors["lengths"])
        columns[:, : own.shape[1]] = own[:, :positions]
        made["columns"] = own
    made["logits"] = score(engine, given, engine.init(rows), columns)[:, : vectors["logits"].shape[1]]
    made["drawn"] = draw(engine, uniforms, engine.init(rows), columns)
    return {f"{name}.{precision}": np.ascontiguousarray(value) for name, value in made.items()}
