"""Language models as bundles: densities over symbols that nothing conditions."""

from __future__ import annotations

from typing import Any

from seqgen.errors import SeqgenError
from seqgen.export.symbols import About, Decoder, SymbolExporter
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.manifest import LanguageModelManifest, SymbolManifest


class LanguageModelExporter(SymbolExporter):
    """Exporter of autoregressive densities over symbols, whatever their body."""

    kind = "language-model"

    def decoder(self, density: AutoRegressive) -> Decoder:
        if density.conditioner is not None:
            raise SeqgenError("a model conditioned on frames is no language model", remedy="export it as a voice")
        return Decoder(density)

    def manifest(self, density: AutoRegressive, about: About, **every: Any) -> SymbolManifest:
        return LanguageModelManifest(**every)
