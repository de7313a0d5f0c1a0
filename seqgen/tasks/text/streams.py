"""Likelihood of whole documents: each is one stream from a fresh state, and nothing of it is forgotten."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.text import scoring, utf8
from seqgen.text.directory import Document
from seqgen.text.scoring import Blocks
from seqgen.text.tokenizer import Encoded, Tokenizer

_SYMBOLS = 1 << 14  # in a batch of short documents
_ROWS = 64


class Scored(NamedTuple):
    """Scored document: its id, what its blocks cost and hold, and counts.

    Attributes:
        unknown: symbols that the tokenizer does not have. invalid: bytes that are no UTF-8.
        rest: symbols behind the last whole sequence of a density that needs sequences of one length.
    """

    id: str
    blocks: Blocks
    unknown: int
    invalid: int
    rest: int


class _Read(NamedTuple):
    document: Document
    encoded: Encoded


@torch.no_grad()
def score(density: Density, tokenizer: Tokenizer, documents: Iterable[Document]) -> Iterator[Scored]:
    """Bits of every document, in order.

    Documents that follow each other are scored side by side where they are short, which changes nothing but roundings.
    A density of a ``length`` scores consecutive sequences of so many symbols, each by itself; what is left of a
    document behind the last whole one costs ``log2 vocab_size`` bits a symbol.

    Raises:
        SeqgenError: where a document is empty.
    """
    for group in _groups(documents, tokenizer):
        if density.length:
            bits = [_in_sequences(density, one.encoded.symbols, tokenizer.vocab_size) for one in group]
        else:
            bits = _side_by_side(density, [one.encoded.symbols for one in group])
        for one, cost in zip(group, bits, strict=True):
            data, encoded = one.document.data, one.encoded
            made = scoring.blocks(data, encoded, cost, tokenizer)
            rest = len(cost) % density.length if density.length else 0
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


def _side_by_side(density: Density, rows: list[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.float64]]:
    longest = max(len(row) for row in rows)
    x = torch.from_numpy(np.stack([np.pad(row, (0, longest - len(row))) for row in rows]))  # [B, T]
    bits = _bits(density, x)
    return [one[: len(row)] for one, row in zip(bits, rows, strict=True)]


def _in_sequences(density: Density, symbols: npt.NDArray[np.int64], vocab_size: int) -> npt.NDArray[np.float64]:
    length = density.length
    count = len(symbols) // length
    made = [np.zeros(0)]
    rows = symbols[: count * length].reshape(count, length)
    step = max(1, _SYMBOLS // length)
    for start in range(0, count, step):
        made.append(_bits(density, torch.from_numpy(rows[start : start + step])).reshape(-1))
    made.append(np.full(len(symbols) - count * length, math.log2(vocab_size)))
    return np.concatenate(made)


def _bits(density: Density, x: Tensor) -> npt.NDArray[np.float64]:
    """``-log2 p`` of every symbol, ``[B, T]``."""
    log_prob = density.log_prob(x.to(device_of(density)))
    found: npt.NDArray[np.float64] = (-log_prob.double() / math.log(2)).cpu().numpy()
    return found


def device_of(density: Density) -> torch.device:
    """Where a density's weights are."""
    return next((one.device for one in density.parameters()), torch.device("cpu"))
