"""Samples of text, passed on symbol by symbol as they are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.files.outputs import passing_on
from seqgen.generation.contract import Density, Generator
from seqgen.runtime.symbols import SymbolRuntime, Symbols
from seqgen.tasks.contract import Sampling
from seqgen.tasks.text.streams import device_of
from seqgen.text.tokenizer import Tokenizer

Model = Density | SymbolRuntime
"""What makes text: a density in torch, or a bundle's model in a runtime."""
_UNIFORMS = 256  # elements whose uniforms are drawn at once


class Piece(NamedTuple):
    """Piece of a text: whole characters, and the number of symbols that were drawn for it."""

    text: str
    symbols: int


def write(model: Model, tokenizer: Tokenizer, options: Sampling) -> int:
    """Write the prompt and what follows it, as it is made; the number of symbols that were made."""
    made = pieces(model, tokenizer, options)
    first = next(made)  # what is refused is refused before anything is written
    count = first.symbols
    with passing_on(options.out) as show:
        show(options.prompt)
        show(first.text)
        for piece in made:
            show(piece.text)
            count += piece.symbols
        if options.out is None:
            show("\n")
    return count


@torch.no_grad()
def pieces(model: Model, tokenizer: Tokenizer, options: Sampling) -> Iterator[Piece]:
    """Continuation of the prompt, in pieces of whole characters: a function of the seed. It ends with the symbol that
    ends a sequence, where the tokenizer has one and it is drawn, else after as many symbols as were asked for.

    Raises:
        SeqgenError: for a prompt, where the model does not go on from what is given.
    """
    decoder = tokenizer.decoder()
    if isinstance(model, (Generator, SymbolRuntime)):
        going_on = _executed if isinstance(model, SymbolRuntime) else _continued
        drawn = going_on(model, tokenizer, options)
        if options.prompt:  # what precedes a symbol may decide how it is written
            decoder.feed(_prompt(tokenizer, options))
            decoder.finish()
    else:
        if options.prompt:
            raise SeqgenError("this density does not go on from a prompt", remedy="leave --prompt out")
        drawn = _sequences(model, options)
    for symbols in drawn:
        ends = np.flatnonzero(symbols == (-1 if tokenizer.stop is None else tokenizer.stop))
        own = symbols[: ends[0] + 1] if len(ends) else symbols
        yield Piece(decoder.feed(own), len(own))
        if len(ends):
            break
    yield Piece(decoder.finish(), 0)


def _prompt(tokenizer: Tokenizer, options: Sampling) -> Symbols:
    return tokenizer.encode(options.prompt.encode("utf-8", "surrogateescape")).symbols


def _executed(runtime: SymbolRuntime, tokenizer: Tokenizer, options: Sampling) -> Iterator[Symbols]:
    """Symbols one after the other as a runtime draws them, ``[1]``, from the state behind the prompt."""
    state = runtime.init(1)
    if options.prompt:
        _, state = runtime.step(_prompt(tokenizer, options)[None], state)
    for start in range(0, options.elements, _UNIFORMS):
        uniforms = noise.block(options.seed, 0, start, min(_UNIFORMS, options.elements - start))
        for u in uniforms.reshape(-1, 1, 1):
            values, state = runtime.sample(u, state, temperature=options.temperature)
            yield values[0]


def _continued(generator: Generator, tokenizer: Tokenizer, options: Sampling) -> Iterator[Symbols]:
    """Symbols one after the other, ``[1]``, from the state behind the prompt."""
    device = device_of(generator)
    state = generator.init_state(1)
    if options.prompt:
        prompt = torch.from_numpy(_prompt(tokenizer, options)).to(device)
        _, state = generator.step(prompt[None], state, None)
    for start in range(0, options.elements, _UNIFORMS):
        count = min(_UNIFORMS, options.elements - start)
        for u in _uniforms(generator, start, count, options.seed).to(device):  # [num_uniforms]
            values, state = generator.generate(u[None, None], state, None, options.temperature)
            yield values[0].cpu().numpy()


def _sequences(density: Density, options: Sampling) -> Iterator[Symbols]:
    """Symbols of whole sequences one after the other; of the last as many as are wanted."""
    length = density.length or options.elements
    for start in range(0, options.elements, length):
        uniforms = _uniforms(density, start, length, options.seed).to(device_of(density))
        values = density.sample(uniforms[None], None, options.temperature)[0]
        yield values[: options.elements - start].cpu().numpy()


def _uniforms(density: Density, start: int, count: int, seed: int) -> Tensor:
    """Uniforms of so many elements from a place on, ``[count, num_uniforms]``."""
    each = density.num_uniforms
    return torch.from_numpy(noise.block(seed, 0, start * each, count * each)).view(count, each)
