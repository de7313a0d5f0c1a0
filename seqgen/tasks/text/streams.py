"""Likelihood of whole documents: each is one stream from a fresh state, and nothing of it is forgotten."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.generation.tempered import tempered_log_prob
from seqgen.runtime.symbols import SymbolRuntime
from seqgen.tasks.contract import System
from seqgen.text import scoring, utf8
from seqgen.text.directory import Document
from seqgen.text.scoring import Blocks, Floats
from seqgen.text.tokenizer import Encoded, Symbols, Tokenizer

_SYMBOLS = 1 << 14  # in a batch of short documents
_ROWS = 64
_BLOCK = 1 << 11  # symbols that a runtime reads at once


class Scored(NamedTuple):
    """Scored document: its id, what its blocks cost and hold, and counts.

    Attributes:
        unknown: symbols that the tokenizer does not have. invalid: bytes that are no UTF-8.
        rest: symbols behind the last whole sequence of a model that needs sequences of one length.
    """

    id: str
    blocks: Blocks
    unknown: int
    invalid: int
    rest: int


class _Read(NamedTuple):
    document: Document
    encoded: Encoded


class Model(ABC):
    """Model that says how probable symbols are.

    Attributes:
        length: symbols that every sequence must have; 0 where it may have any number.
    """

    length: int = 0

    @abstractmethod
    def bits(self, x: Symbols) -> Floats:
        """``-log2 p(x_t | x_<t)`` from a fresh state, ``[B, T] → [B, T]``."""


class Trained(Model):
    """A density in torch, at a temperature."""

    def __init__(self, density: Density, temperature: float = 1.0) -> None:
        self.density, self.length, self.temperature = density, density.length, temperature

    @torch.no_grad()
    def bits(self, x: Symbols) -> Floats:
        x_there = torch.from_numpy(x).to(device_of(self.density))
        log_prob = tempered_log_prob(self.density, x_there, self.temperature)
        found: Floats = (-log_prob.double() / math.log(2)).cpu().numpy()
        return found


class Exported(Model):
    """A bundle's language model in a runtime, read in blocks."""

    def __init__(self, runtime: SymbolRuntime) -> None:
        self.runtime = runtime

    def bits(self, x: Symbols) -> Floats:
        state, made = self.runtime.init(len(x)), []
        for start in range(0, x.shape[1], _BLOCK):
            piece = x[:, start : start + _BLOCK]
            logits, state = self.runtime.step(piece, state)
            params = torch.from_numpy(logits).double()  # [B, n, V]
            log_prob = torch.log_softmax(params, dim=-1).gather(-1, torch.from_numpy(piece)[..., None])
            made.append(-log_prob[..., 0].numpy() / math.log(2))
        return np.concatenate(made, axis=1)


def model_of(system: System, temperature: float = 1.0) -> Model | None:
    """The language model of a system, trained or exported; ``None`` where it has none.

    Raises:
        SeqgenError: for an exported one at another temperature than 1.
    """
    if isinstance(system.runtime, SymbolRuntime):
        if temperature != 1:
            raise SeqgenError(
                f"a bundle has no likelihood at temperature {temperature:g}", remedy="name the experiment instead"
            )
        return Exported(system.runtime)
    generator = system.networks.get("generator")
    return Trained(generator, temperature) if isinstance(generator, Density) else None


def score(model: Model, tokenizer: Tokenizer, documents: Iterable[Document]) -> Iterator[Scored]:
    """Bits of every document, in order.

    Documents that follow each other are scored side by side where they are short, which changes nothing but roundings.
    A model of a ``length`` scores consecutive sequences of so many symbols, each by itself; what is left of a
    document behind the last whole one costs ``log2 vocab_size`` bits a symbol.

    Raises:
        SeqgenError: where a document is empty.
    """
    for group in _groups(documents, tokenizer):
        if model.length:
            bits = [_in_sequences(model, one.encoded.symbols, tokenizer.vocab_size) for one in group]
        else:
            bits = _side_by_side(model, [one.encoded.symbols for one in group])
        for one, cost in zip(group, bits, strict=True):
            data, encoded = one.document.data, one.encoded
            made = scoring.blocks(data, encoded, cost, tokenizer)
            rest = len(cost) % model.length if model.length else 0
            yield Scored(one.document.id, made, len(encoded.literals), utf8.count(data)[1], rest)


def _groups(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[list[_Read]]:
    """Documents with their symbols, in groups that are padded to no more than so many symbols."""
    group: list[_Read] = []
    longest = 0
    for document in documents:
        if not document.data:
            raise SeqgenError(f"the document {document.id} is empty", remedy="leave it out")
        read = _Read(document, tokenizer.encode(document.data))
        longest = max(longest, len(read.encoded.symbols))
        if group and (len(group) == _ROWS or longest * (len(group) + 1) > _SYMBOLS):
            yield group
            group, longest = [], len(read.encoded.symbols)
        group.append(read)
    if group:
        yield group


def _side_by_side(model: Model, rows: list[Symbols]) -> list[Floats]:
    longest = max(len(row) for row in rows)
    bits = model.bits(np.stack([np.pad(row, (0, longest - len(row))) for row in rows]))  # [B, T]
    return [one[: len(row)] for one, row in zip(bits, rows, strict=True)]


def _in_sequences(model: Model, symbols: Symbols, vocab_size: int) -> Floats:
    length = model.length
    count = len(symbols) // length
    rows = symbols[: count * length].reshape(count, length)
    step = max(1, _SYMBOLS // length)
    made = [model.bits(rows[start : start + step]).reshape(-1) for start in range(0, count, step)]
    return np.concatenate([*made, np.full(len(symbols) - count * length, math.log2(vocab_size))])


def device_of(density: Density) -> torch.device:
    """Device of a density's weights."""
    return next((one.device for one in density.parameters()), torch.device("cpu"))
