"""Translators as bundles: an encoder's graph beside those of the decoder that its unfolded columns condition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.export.contract import Placed
from seqgen.export.graph import rename, trace
from seqgen.export.symbol_graphs import save, stored
from seqgen.export.symbol_program import Source
from seqgen.export.symbols import GOLDEN_ROWS, About, Decoder, SymbolExporter
from seqgen.generation.encoder_decoder import EncoderDecoder, Sources
from seqgen.manifest import SymbolManifest, TranslatorManifest

_GOLDEN_SOURCE = 17  # symbols


class _Columns(nn.Module):
    """Source symbols ``[B, S]`` and their lengths ``[B]`` in, unfolded columns ``[B, L, C]`` out."""

    def __init__(self, density: EncoderDecoder) -> None:
        super().__init__()
        self.density = density

    def forward(self, source: Tensor, lengths: Tensor) -> Tensor:
        return self.density.unfolding.unfold(self.density.encoder.columns(source, lengths), lengths)


class TranslatorExporter(SymbolExporter):
    """Exporter of densities of targets given sources whose decoder reads one column for each position."""

    kind = "translator"

    def decoder(self, density: EncoderDecoder) -> Decoder:
        if density.attends:
            raise SeqgenError(
                "a decoder that attends to a whole memory has no graphs: its state would be as long as the source",
                remedy="export one that reads a column for each position",
            )
        return Decoder(density.decoder, "decoder.")

    def manifest(self, density: EncoderDecoder, about: About, **every: Any) -> SymbolManifest:
        made, size = about.source_tokenizer, density.encoder.vocab_size
        if made is None or made.vocab_size != size:
            got = "no tokenizer" if made is None else f"a tokenizer of {made.vocab_size} symbols"
            raise SeqgenError(
                f"{got} for sources of {size}", remedy="train the model on what the source's tokenizer makes"
            )
        unfolding = density.unfolding
        return TranslatorManifest(
            source_vocab_size=size,
            source_tokenizer_signature=made.signature,
            unfolding=(float(unfolding.factor), float(unfolding.offset)),
            columns=density.encoder.out_dim,
            **every,
        )

    def columns(self, density: EncoderDecoder, source: Tensor, lengths: Tensor) -> Tensor:
        _, columns = density.begin(Sources(source, lengths))
        assert columns is not None
        return columns

    def sources(self, density: EncoderDecoder) -> dict[str, npt.NDArray[Any]]:
        rng = np.random.Generator(np.random.Philox(1))
        symbols = rng.integers(0, density.encoder.vocab_size, (GOLDEN_ROWS, _GOLDEN_SOURCE))
        return {"source": symbols, "lengths": np.array([_GOLDEN_SOURCE, _GOLDEN_SOURCE // 2])}

    def source(self, density: EncoderDecoder) -> Source:
        unfolding = density.unfolding
        encoder = Placed(density.encoder, "encoder")
        return Source(encoder, unfolding.factor, unfolding.offset, unfolding.stretch)

    def further_graphs(self, density: EncoderDecoder, directory: Path) -> None:
        """Write ``encoder.onnx``, the trace of a whole source of any length."""
        whole, real, value = TensorProto.INT64, TensorProto.FLOAT, helper.make_tensor_value_info
        example = {"source": torch.zeros(2, 7, dtype=torch.int64), "lengths": torch.tensor([7, 4])}
        axes = {"source": {0: "batch", 1: "symbols"}, "lengths": {0: "batch"}, "columns": {0: "batch", 1: "positions"}}
        with torch.no_grad():
            piece = trace(_Columns(density), example, ["columns"], axes)
        nodes = rename(piece, "encoder/", {name: name for name in (*piece.inputs, *piece.outputs)}).nodes
        inputs = [value("source", whole, ["batch", "symbols"]), value("lengths", whole, ["batch"])]
        outputs = [value("columns", real, ["batch", "positions", density.encoder.out_dim])]
        weights = stored(piece, directory, "density.", "")
        save(helper.make_graph(nodes, "seqgen", inputs, outputs, initializer=weights), directory, "encoder.onnx")
