"""Judgement of decoded targets against references: exact matches, errors of symbols, overlap of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from seqgen.generation.encoder_decoder import SourceDensity
from seqgen.metrics import sequences
from seqgen.tasks.table import Figure, ratio
from seqgen.tasks.translation.batches import EncodedPairs
from seqgen.tasks.translation.translator import Translator
from seqgen.text.pairs import Pair
from seqgen.text.tokenizer import Tokenizer

_ROWS = 64  # sources that are decoded at once
_PERCENT = "%"

Examples = dict[str, dict[str, tuple[float, float]]]


class Judgement(NamedTuple):
    """Judgement of what was decoded: figures, and of each that has them every source's amount and weight."""

    figures: dict[str, Figure]
    examples: Examples


def judged(translator: Translator, pairs: Sequence[Pair], ignoring: str, overlap: Sequence[str]) -> Judgement:
    """Figures of what a translator makes of every source.

    ``exact_match`` counts targets that are one of the references, ``sequence_error`` the others (of spellings: word
    errors). ``<unit>_error`` is edits over symbols of the reference that is nearest. Where characters are to be
    ignored, the same again of symbols without them.
    """
    made = decoded(translator, pairs)
    target = translator.target
    references = [[target.encode(text.encode()).symbols.tolist() for text in pair.targets] for pair in pairs]
    figures, examples = _errors(made, references, target.unit, "")
    if ignoring:
        alike = _alike(target, ignoring)
        fewer = [[alike[symbol] for symbol in one] for one in made]
        others = [[[alike[symbol] for symbol in one] for one in each] for each in references]
        more, further = _errors(fewer, others, target.unit, f"_ignoring_{ignoring}")
        figures, examples = figures | more, examples | further
    texts = [translator.text(one) for one in made]
    for name in overlap:
        found = sequences.overlap(name, texts, [pair.targets for pair in pairs])
        figures[name] = Figure(found.value, found.half_width)
    return Judgement(figures, examples)


def expected(model: SourceDensity, pairs: EncodedPairs) -> Figure | None:
    """Share of targets that are no longer than is expected of their sources, stop symbols included; ``None`` where
    nothing is expected."""
    if model.attends:
        return None
    sources = torch.tensor([len(pairs.sources[owner]) for owner in pairs.owner.tolist()])
    targets = torch.tensor([len(target) for target in pairs.targets])
    within = (targets <= model.unfolding.expected(sources)).double().numpy() * 100
    return ratio(within, np.ones(len(within)), _PERCENT)


def decoded(translator: Translator, pairs: Sequence[Pair]) -> list[list[int]]:
    """Symbols that a translator makes of each source; those of like lengths are decoded together."""
    lines = [translator.line(pair.source.encode()).symbols for pair in pairs]
    order = sorted(range(len(lines)), key=lambda number: len(lines[number]))
    made: dict[int, list[int]] = {}
    for first in range(0, len(order), _ROWS):
        numbers = order[first : first + _ROWS]
        made |= dict(zip(numbers, translator.symbols([lines[number] for number in numbers]), strict=True))
    return [made[number] for number in range(len(lines))]


def _errors(
    made: Sequence[list[int]], references: Sequence[Sequence[list[int]]], unit: str, suffix: str
) -> tuple[dict[str, Figure], Examples]:
    exact = [one in each for one, each in zip(made, references, strict=True)]
    errors = [sequences.nearest(one, each) for one, each in zip(made, references, strict=True)]
    rows: Mapping[str, list[tuple[float, float]]] = {
        f"exact_match{suffix}": [(100.0 * one, 1.0) for one in exact],
        f"sequence_error{suffix}": [(100.0 * (not one), 1.0) for one in exact],
        f"{unit}_error{suffix}": [(100.0 * one.edits, float(one.symbols)) for one in errors],
    }
    figures = {name: _figure(values) for name, values in rows.items()}
    return figures, {name: {f"{n:07d}": row for n, row in enumerate(values, 1)} for name, values in rows.items()}


def _figure(rows: Sequence[tuple[float, float]]) -> Figure:
    amounts, weights = (np.array(column) for column in zip(*rows, strict=True))
    return ratio(amounts, weights, _PERCENT) if weights.sum() else Figure(math.nan)


def _alike(target: Tokenizer, ignoring: str) -> list[int]:
    """For each symbol the first one of the same text, but for characters that are ignored."""
    dropped = str.maketrans("", "", ignoring)
    first: dict[str, int] = {}
    texts = [
        target.decode([symbol]).decode("utf-8", "replace").translate(dropped) for symbol in range(target.vocab_size)
    ]
    return [first.setdefault(text, symbol) for symbol, text in enumerate(texts)]
