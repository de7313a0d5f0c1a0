"""A vocoder as two ONNX graphs: ``step.onnx`` (given elements → distributions) and ``loop.onnx`` (features → audio).

Each kind of density assembles its own (its exporter, :mod:`seqgen.export.contract`) from traces of the vocoder's own
modules; what they share is in :mod:`seqgen.export.loops`.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from seqgen.export.contract import density_exporter
from seqgen.files.inputs import in_utf8
from seqgen.generation.vocoder import Vocoder


def export_graphs(vocoder: Vocoder, directory: Path) -> None:
    """Write ``step.onnx`` and ``loop.onnx`` beside the safetensors files of ``directory``, which they point into.

    Raises:
        SeqgenError: for a density of which there are no graphs.
        onnx.checker.ValidationError: where a graph is malformed (our own mistake).
    """
    vocoder.generator.eval()
    exporter = density_exporter(vocoder.generator)
    for name, score in (("step.onnx", True), ("loop.onnx", False)):
        path = directory / name
        with torch.no_grad():
            onnx.save(exporter.assemble(vocoder, directory, score), path)
        with in_utf8(directory) as folder:
            onnx.checker.check_model(f"{folder}/{name}")
