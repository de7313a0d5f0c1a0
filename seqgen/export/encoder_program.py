"""A feature extractor as ``program.json``: one op, which draws nothing.

As a vocoder's (:mod:`seqgen.export.program`), with ``sample_rate`` 0. A frame of ``channels`` samples goes in, and its
parameters are the vectors of all layers side by side, the outputs first.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from seqgen.export import rounded
from seqgen.export.contract import Placed, network_exporter
from seqgen.export.network import Network
from seqgen.export.program import FILE, FORMAT, WEIGHTS, Precision
from seqgen.files.outputs import write_text
from seqgen.runtime.native import Engine
from seqgen.runtime.native_encoder import extract
from seqgen.stream.contract import Streamable


def runnable(encoder: Streamable[Any]) -> bool:
    """Test that the engine has an op for an encoder."""
    exporter = network_exporter(encoder)
    return exporter is not None and exporter.fits(encoder)


def write(
    encoder: Streamable[Any],
    directory: Path,
    precision: Precision = "float32",
    alone: Mapping[str, npt.NDArray[Any]] | None = None,
) -> None:
    """Write ``directory/program.json`` of an encoder that is :func:`runnable`.

    Where no other runtime reads the bundle, ``alone`` has its tensors by name: they are written rounded, see
    :mod:`seqgen.export.rounded`.
    """
    exporter = network_exporter(encoder)
    assert exporter is not None
    op = exporter.described(Placed(encoder, ""), functools.partial(Network, nn.Module(), None))
    document = {
        "format": FORMAT,
        "byte_order": "little",
        "sample_rate": 0,
        "channels": encoder.spec.down,
        "hop": 1,
        "latency": 0,
        "precision": precision,
        "tensors": [WEIGHTS if alone is None else rounded.FILE],
        "ops": [op],
    }
    if alone is not None:
        rounded.write(document, alone, directory / rounded.FILE)
    write_text(directory / FILE, json.dumps(document, indent=1) + "\n")


def golden(
    directory: Path, vectors: Mapping[str, npt.NDArray[Any]], precision: Precision, layers: Mapping[str, int]
) -> dict[str, npt.NDArray[Any]]:
    """Outputs of the engine's generic kernels, which define the others, for golden audio and rounded weights."""
    engine = Engine(directory, format=precision, isa="generic")
    made = extract(engine, vectors["audio"], engine.init(len(vectors["audio"])))
    parts = np.split(made, np.cumsum(list(layers.values()))[:-1], axis=2)
    return {f"{name}.{precision}": np.ascontiguousarray(part) for name, part in zip(layers, parts, strict=True)}
