"""Translator of texts: a trained density of targets given sources with the tokenizers of both, and how it decodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.generation import decoding
from seqgen.generation.decoding import Choice, Ending
from seqgen.generation.encoder_decoder import SourceDensity, Sources
from seqgen.tasks.translation.batches import padded
from seqgen.text.pairs import require_stop
from seqgen.text.tokenizer import Tokenizer

LONGEST_SOURCE = 4000
"""Symbols of the longest source that is translated; memory grows with it, and attention's with its product by the
target's."""


@dataclass(frozen=True)
class Decoding:
    """Options of decoding targets.

    Attributes:
        beam: sequences that go on side by side (1: greedy, or by chance). normalization: α of their score, see
            :mod:`seqgen.generation.decoding`. longest: symbols of the longest target, the stop symbol included.
        temperature: of what is drawn (0: nothing is, the likeliest is taken). seed: of the noise.

    Raises:
        SeqgenError: for values that make no sense, or not together.
    """

    beam: int = 1
    normalization: float = 0.0
    longest: int = 200
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.beam < 1 or self.normalization < 0 or self.longest < 1 or not 0 <= self.temperature <= 2:
            raise SeqgenError(
                f"decoding with a beam of {self.beam}, normalization {self.normalization:g}, at most {self.longest} "
                f"symbols, temperature {self.temperature:g}",
                remedy="give a beam and a length of 1 or more, a normalization from 0, a temperature from 0 to 2",
            )
        if self.beam > 1 and self.temperature:
            raise SeqgenError(
                f"a beam of {self.beam} at temperature {self.temperature:g}: a beam draws nothing",
                remedy="choose one of them",
            )


class Line(NamedTuple):
    """Source line as symbols.

    Attributes:
        symbols: int64 ``[S]``. unknown: how many of them stand for what the table does not have.
    """

    symbols: npt.NDArray[np.int64]
    unknown: int


class Translator:
    """Translator of lines of text.

    Args:
        model: density of targets given sources. source, target: tokenizers. how: it decodes.

    Raises:
        SeqgenError: for a target's tokenizer without a symbol that ends a sequence.
    """

    def __init__(self, model: SourceDensity, source: Tokenizer, target: Tokenizer, how: Decoding) -> None:
        self.model, self.source, self.target, self.how = model, source, target, how
        self.ending = Ending(require_stop(target, "the target"), how.longest)

    def line(self, text: bytes) -> Line:
        """A line as the source's symbols.

        Raises:
            SeqgenError: for a line of more than :data:`LONGEST_SOURCE` symbols.
        """
        symbols, literals = self.source.encode(text)
        if len(symbols) > LONGEST_SOURCE:
            raise SeqgenError(
                f"{len(symbols):,} symbols, more than the {LONGEST_SOURCE:,} that are translated at once",
                remedy="cut the line",
            )
        return Line(symbols, len(literals))

    @torch.no_grad()
    def symbols(self, sources: Sequence[npt.NDArray[np.int64]]) -> list[list[int]]:
        """Targets of sources, without their stop symbols."""
        begun = self.model.begin(self._sources(sources))
        if self.how.beam > 1:
            width, alpha = self.how.beam, self.how.normalization
            found = decoding.beam(self.model.decoder, *begun, self.ending, width=width, normalization=alpha)
        else:
            found = decoding.decode(self.model.decoder, *begun, self._choice(len(sources)), self.ending)
        rows = zip(found.symbols[:, 0].tolist(), found.lengths[:, 0].tolist(), strict=True)
        return [[symbol for symbol in row[:length] if symbol != self.target.stop] for row, length in rows]

    def text(self, target: Sequence[int]) -> str:
        """Text of a target's symbols."""
        return self.target.decode(target).decode("utf-8", "replace")

    @torch.no_grad()
    def pieces(self, line: Line) -> Iterator[str]:
        """The target of a line piece by piece: as symbols are chosen, or whole where a beam chooses."""
        if self.how.beam > 1:
            yield self.text(self.symbols([line.symbols])[0])
            return
        begun = self.model.begin(self._sources([line.symbols]))
        decoder = self.target.decoder()
        for symbols, _ in decoding.stream(self.model.decoder, *begun, self._choice(1), self.ending):
            if piece := decoder.feed(symbols.cpu().numpy()):
                yield piece
        if piece := decoder.finish():
            yield piece

    def _sources(self, sources: Sequence[npt.NDArray[np.int64]]) -> Sources:
        device = self.model.decoder.body.zeros(0).device
        symbols, lengths = padded(sources)
        return Sources(symbols.to(device), lengths.to(device))

    def _choice(self, rows: int) -> Choice:
        if self.how.temperature == 0:
            return decoding.greedy
        decoder, longest = self.model.decoder, self.how.longest
        u = noise.block(self.how.seed, 0, 0, rows * longest * decoder.num_uniforms)
        uniforms: Tensor = torch.from_numpy(u).view(rows, longest, -1)
        return decoding.drawn(decoder, uniforms.to(decoder.body.zeros(0).device), self.how.temperature)
