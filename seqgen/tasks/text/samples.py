"""Samples of a language model beside stretches of a text: what another model says of both, and what repeats itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.metrics.diversity import distinct, duplicates, self_bleu
from seqgen.tasks import drawn
from seqgen.tasks.drawn import Symbols
from seqgen.tasks.table import Figure, ratio
from seqgen.text.directory import Encoded

_ORDER = 4  # of n-grams


@dataclass(frozen=True)
class Drawing:
    """Drawing of samples: how many, of how many symbols, with which noise, at which temperature."""

    count: int
    length: int
    seed: int
    temperature: float


def stretches(encoded: Encoded, length: int, count: int) -> Symbols:
    """Stretches of the documents that do not overlap, at most so many and spread evenly, ``[N, length]``.

    Raises:
        SeqgenError: where there are fewer than two.
    """
    bounds = encoded.bounds.tolist()
    firsts = [start for first, end in pairwise(bounds) for start in range(first, end - length + 1, length)]
    if len(firsts) < 2:
        raise SeqgenError(
            f"the text has {len(firsts)} stretches of {length} symbols", remedy="judge shorter samples, or more text"
        )
    chosen = np.linspace(0, len(firsts) - 1, min(count, len(firsts))).round().astype(np.int64)
    return np.stack([encoded.symbols[firsts[one] : firsts[one] + length].astype(np.int64) for one in chosen])


def judged(
    generator: Density, oracle: Density | None, given: Symbols, drawing: Drawing, unit: str
) -> dict[str, Figure]:
    """Figures of samples, and under names in ``_given`` the same of stretches of a text.

    ``sample_bits`` are those of the generator itself, its entropy at the temperature; ``oracle_bits`` those of another
    model, which begins each sample afresh. Self-BLEU and shares of distinct n-grams depend on the number of sequences:
    they are of as many samples as there are stretches.

    Raises:
        SeqgenError: at another temperature than 1, for a generator whose likelihood is known at 1 alone; for samples of
            fewer than four symbols.
    """
    if drawing.length < _ORDER:
        raise SeqgenError(f"samples of {drawing.length} symbols", remedy=f"give --length {_ORDER} or more")
    made = drawn.drawn(generator, drawing.count, drawing.length, seed=drawing.seed, temperature=drawing.temperature)
    figures = {f"sample_bits_per_{unit}": _bits(generator, made, drawing.temperature)}
    for name, rows in (("", made), ("_given", given)):
        if oracle is not None:
            figures[f"oracle_bits_per_{unit}{name}"] = _bits(oracle, rows)
    count = min(len(made), len(given))
    for name, rows in (("", made[:count]), ("_given", given[:count])):
        figures[f"duplicates{name}"] = Figure(duplicates(rows))
        figures[f"distinct_{_ORDER}grams{name}"] = Figure(distinct(rows, _ORDER))
        figures[f"self_bleu{name}"] = Figure(self_bleu(rows, _ORDER))
    return figures


def _bits(density: Density, rows: Symbols, temperature: float = 1.0) -> Figure:
    bits = -drawn.scored(density, rows, temperature) / math.log(2)
    return ratio(bits, np.full(len(rows), rows.shape[1]))
