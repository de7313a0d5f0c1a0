"""Bundles of models that draw symbols: written from a density as it stands, golden vectors included."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file
from torch import Tensor

from seqgen import bundle, noise, registry
from seqgen.bundle import Bundle
from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.export import symbol_program
from seqgen.export.symbol_graphs import export_graphs
from seqgen.export.symbol_program import Source
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import Density, GeneratorState
from seqgen.manifest import SOURCE_TOKENIZER, TOKENIZER, SymbolManifest
from seqgen.runtime.symbol_replay import columns_for
from seqgen.stream.state import leaves, table
from seqgen.text.tokenizer import Tokenizer, written
from seqgen.train import weights

GOLDEN_ROWS, GOLDEN_POSITIONS = 2, 40
_MOST_LOGITS = 1 << 18  # numbers of the golden logits: those of fewer positions are kept where the alphabet is large


@dataclass(frozen=True)
class About:
    """Description of a model in its bundle.

    Attributes:
        name, licence, provenance: as in the manifest; the versions of torch and platform are added.
        config: resolved configuration of the run, YAML.
        tokenizer: of its symbols. source_tokenizer: of a translator's source.
    """

    name: str
    licence: str
    config: str
    tokenizer: Tokenizer
    source_tokenizer: Tokenizer | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)


class Decoder(NamedTuple):
    """The part of a density that draws the symbols, and what the names of its weights begin with."""

    generator: AutoRegressive
    at: str = ""


class SymbolExporter(ABC):
    """Exporter of a kind of density over symbols into a bundle.

    Registered in ``SYMBOL_EXPORTERS`` under the density's name.

    Attributes:
        kind: of the bundles that it makes.
    """

    kind: ClassVar[str]

    @abstractmethod
    def decoder(self, density: Any) -> Decoder:
        """Ops that draw the symbols."""

    @abstractmethod
    def manifest(self, density: Any, about: About, **every: Any) -> SymbolManifest:
        """The manifest, of which ``every`` is what all kinds of bundles of symbols say."""

    def columns(self, density: Any, source: Tensor, lengths: Tensor) -> Tensor:
        """Columns of sources, one for each target position: ``[B, S], [B] → [B, L, C]``.

        Raises:
            SeqgenError: where nothing is translated.
        """
        raise SeqgenError("a language model has no source", remedy="give none")

    def sources(self, density: Any) -> dict[str, npt.NDArray[Any]]:
        """Golden sources ``source [B, S]`` with their ``lengths [B]``; by default none."""
        return {}

    def source(self, density: Any) -> Source | None:
        """Ops that read sources, for the native engine; by default none."""
        return None

    def further_graphs(self, density: Any, directory: Path) -> None:
        """Write graphs beside those of the decoder; by default none."""

    @final
    def checked(self, density: Any) -> Decoder:
        """The decoder, where it is one of which there are graphs.

        Raises:
            SeqgenError: for one that draws no symbols, or reads frames.
        """
        found = self.decoder(density)
        spec = found.generator.body.spec
        fits = isinstance(found.generator.distribution, Categorical) and found.generator.symbols_per_sample == 1
        if not fits or (spec.up, spec.down, spec.latency, spec.block, spec.cond_every) != (1, 1, 0, 1, 1):
            raise SeqgenError(
                f"there are no graphs of symbols for {type(found.generator.body).__name__} over "
                f"{type(found.generator.distribution).__name__}",
                remedy="export a density that draws one symbol after the other",
            )
        return found


def exporter_for(density: Density) -> SymbolExporter:
    """The exporter of a density over symbols.

    Raises:
        SeqgenError: where its kind has none.
    """
    name = registry.DENSITIES.name_of(type(density))
    if name not in registry.SYMBOL_EXPORTERS:
        raise SeqgenError(
            f"there are no graphs of symbols for {type(density).__name__}",
            remedy=f"register its exporter; there are those of {', '.join(registry.SYMBOL_EXPORTERS)}",
        )
    made: SymbolExporter = registry.SYMBOL_EXPORTERS.load(name)()
    return made


def write(
    density: Density,
    about: About,
    out: Path,
    precision: symbol_program.Precision = "float32",
    *,
    engine_only: bool = False,
) -> Bundle:
    """Write a model as it stands as a bundle, golden vectors included.

    ``precision`` is how the native engine holds the weights when the bundle is opened, where it can run the model. With
    ``engine_only`` the bundle has what that engine reads and no more, its weights rounded to ``precision``.

    Raises:
        SeqgenError: where ``out`` cannot be written, the density is one of which there are no graphs, the tokenizer has
            another number of symbols, or the engine cannot run what it is asked to.
    """
    exporter = exporter_for(density)
    density.eval()
    generator, at = exporter.checked(density)
    size = generator.body.spec.vocab_size
    if about.tokenizer.vocab_size != size:
        raise SeqgenError(
            f"a tokenizer of {about.tokenizer.vocab_size} symbols for a model of {size}",
            remedy="train the model on what this tokenizer makes",
        )
    program = _program(exporter, density, generator, at, precision, engine_only)
    with torch.no_grad():
        state = generator.init_state(1)

    def fill(directory: Path) -> None:
        write_text(directory / "config.yaml", about.config)
        for name, made in ((TOKENIZER, about.tokenizer), (SOURCE_TOKENIZER, about.source_tokenizer)):
            if made is not None:
                write_text(directory / name, written(made))
        parameters = {name: tensor.contiguous() for name, tensor in weights.of(density).items()}
        if not engine_only:
            save_file(parameters, directory / "weights.safetensors")
            save_numpy({name: leaf.numpy().copy() for name, leaf in leaves(state)}, directory / "initial.safetensors")
            export_graphs(generator, directory, at=at)
            exporter.further_graphs(density, directory)
        golden = _golden(exporter, density, generator)
        if program is not None:
            alone = {name: tensor.numpy() for name, tensor in parameters.items()} if engine_only else None
            symbol_program.write(program, directory, alone)
            golden |= symbol_program.golden(directory, golden, precision) if precision != "float32" else {}
        save_numpy(_compared(golden, precision) if engine_only else golden, directory / "golden.safetensors")

    return bundle.write(out, _manifest(exporter, density, generator, about, state), fill)


def _manifest(
    exporter: SymbolExporter, density: Density, generator: AutoRegressive, about: About, state: GeneratorState
) -> SymbolManifest:
    versions = {"torch": torch.__version__, "platform": f"{platform.system()} {platform.machine()}"}
    return exporter.manifest(
        density,
        about,
        name=about.name,
        kind=exporter.kind,
        spec=generator.body.spec,
        state=table(state),
        licence=about.licence,
        provenance={**versions, **about.provenance},
        vocab_size=generator.body.spec.vocab_size,
        tokenizer_signature=about.tokenizer.signature,
    )


def _program(
    exporter: SymbolExporter,
    density: Density,
    generator: AutoRegressive,
    at: str,
    precision: symbol_program.Precision,
    needed: bool,
) -> dict[str, Any] | None:
    """The native engine's program, where that runs the model.

    Raises:
        SeqgenError: where it does not, and is to hold rounded weights or is needed all the same.
    """
    source = exporter.source(density)
    if symbol_program.runnable(generator, source):
        return symbol_program.program(generator, at, source, precision)
    if precision != "float32" or needed:
        remedy = "leave out --engine-only" if needed else "export it in float32"
        raise SeqgenError(f"the native engine cannot run {type(generator.body).__name__} over symbols", remedy=remedy)
    return None


def _compared(golden: dict[str, npt.NDArray[Any]], precision: str) -> dict[str, npt.NDArray[Any]]:
    """Golden vectors that a bundle for the engine alone is compared with."""
    suffix = "" if precision == "float32" else f".{precision}"
    made = {f"{name}{suffix}" for name in ("logits", "drawn", "columns")}
    kept = {"given", "uniforms", "source", "lengths", *made}
    return {name: value for name, value in golden.items() if name in kept}


@torch.no_grad()
def _golden(exporter: SymbolExporter, density: Density, generator: AutoRegressive) -> dict[str, npt.NDArray[Any]]:
    """Given symbols with their logits, noise, and what torch makes of it."""
    given, columns = exporter.sources(density), None
    if given:
        made = exporter.columns(density, *(torch.from_numpy(given[name]) for name in ("source", "lengths")))
        given["columns"] = made.numpy()
        columns = torch.from_numpy(columns_for(given["columns"], GOLDEN_POSITIONS))
    rng, size = np.random.Generator(np.random.Philox(0)), generator.body.spec.vocab_size
    x = rng.integers(0, size, (GOLDEN_ROWS, GOLDEN_POSITIONS))
    uniforms = np.stack([noise.block(0, row, 0, GOLDEN_POSITIONS) for row in range(GOLDEN_ROWS)])
    state = generator.init_state(GOLDEN_ROWS)
    logits, _ = generator.step(torch.from_numpy(x), state, columns)
    drawn, after = generator.generate(torch.from_numpy(uniforms)[..., None], state, columns)
    kept = max(1, min(GOLDEN_POSITIONS, _MOST_LOGITS // (GOLDEN_ROWS * size)))
    golden = {
        **given,
        "given": x,
        "logits": logits[:, :kept].numpy(),
        "uniforms": uniforms,
        "drawn": drawn.numpy(),
        **{f"state.{name}": leaf.numpy() for name, leaf in leaves(after)},
    }
    return {name: np.ascontiguousarray(value) for name, value in golden.items()}
