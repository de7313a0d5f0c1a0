"""Evaluation of texts: bits for each symbol, character and byte, with intervals over blocks of a thousand bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from seqgen import config as configs
from seqgen.noise import Key
from seqgen.objectives.contract import Measure
from seqgen.tasks.contract import Evaluation, System
from seqgen.tasks.run import RunConfig
from seqgen.tasks.table import Gathered, Table
from seqgen.tasks.text.batches import Stretches
from seqgen.tasks.text.sentences import Sentences
from seqgen.tasks.text.streams import Scored, model_of, score
from seqgen.text import directory
from seqgen.text.directory import Document, Split
from seqgen.text.scoring import BLOCK
from seqgen.text.tokenizer import Tokenizer

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step


@dataclass
class _Counted:
    """Counts of what was scored."""

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    symbols: int = 0
    unknown: int = 0
    invalid_bytes: int = 0
    rest: int = 0

    def add(self, one: Scored) -> None:
        """Take in one document."""
        self.documents += 1
        self.bytes += int(one.blocks.bytes.sum())
        self.characters += int(one.blocks.characters.sum())
        self.symbols += int(one.blocks.symbols.sum())
        self.unknown += one.unknown
        self.invalid_bytes += one.invalid
        self.rest += one.rest


def encoded(split: Split, tokenizer: Tokenizer) -> directory.Encoded:
    """Symbols of a split's documents by any tokenizer, in memory."""
    end = directory.ending(tokenizer)
    rows = [np.concatenate([tokenizer.encode(document.data).symbols, end]) for document in split]
    return directory.Encoded(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


@torch.no_grad()
def evaluate(
    run: RunConfig,
    system: System,
    tokenizer: Tokenizer,
    split: Split,
    stretches: Stretches | Sentences | None,
    options: Evaluation,
) -> Table:
    """The table of a run on a split: of the likelihood over whole documents, at a temperature, and of what else its
    method measures over ``stretches``; of both the first ``limit`` alone, where that is not 0."""
    found, counted, limit = Gathered(), _Counted(), options.limit
    model = model_of(system, options.temperature)
    if model is not None:
        for one in score(model, tokenizer, first(split, limit)):
            counted.add(one)
            found.add(measures(one, tokenizer.unit), ids(one))
    if stretches is not None:
        _further(system, stretches, run.train.seed, limit, found)
    about = {
        "config_digest": configs.digest(run),
        "checkpoint": system.label,
        "data": str(split.path),
        **(vars(counted) if counted.documents else {}),
    }
    return Table(
        title=f"{_told(counted)}checkpoint {system.label}",
        figures=found.figures,
        record=about,
        examples=found.examples,
        lines=_lines(counted, model.length if model is not None else 0, tokenizer),
    )


def first(split: Split, blocks: int) -> Iterator[Document]:
    """Documents of a split, so much of them as makes so many blocks; all for 0."""
    left = blocks * BLOCK
    for row in split.rows():
        if not blocks:
            yield split.document(row)
        elif left > 0:
            yield split.document(row._replace(end=min(row.end, row.start + left)))
            left -= row.end - row.start


def ids(one: Scored) -> list[str]:
    """Names of a document's blocks: its own, and the first byte."""
    return [f"{one.id}:{BLOCK * block}" for block in range(len(one.blocks.bits))]


def measures(one: Scored, unit: str) -> dict[str, Measure]:
    """Bits of a document's blocks, for each symbol, character and byte."""
    bits = torch.from_numpy(one.blocks.bits)
    counts = {unit: one.blocks.symbols, "character": one.blocks.characters, "byte": one.blocks.bytes}
    return {f"bits_per_{name}": Measure(bits, torch.from_numpy(count)) for name, count in counts.items()}


def _further(system: System, stretches: Stretches | Sentences, seed: int, limit: int, found: Gathered) -> None:
    """Measures of the method that are not known yet."""
    assert system.objective is not None
    known = set(found.figures)
    for index, batch in enumerate(stretches.whole(limit or None)):
        more = system.objective.measure(batch, Key(seed, _EVALUATION + index), index)
        if set(more) <= known:
            return
        found.add({name: one for name, one in more.items() if name not in known}, batch.ids)


def _told(counted: _Counted) -> str:
    if not counted.documents:
        return ""
    many = f"{counted.documents:,} documents, " if counted.documents > 1 else ""
    return f"{many}{counted.bytes:,} bytes, {counted.characters:,} characters, {counted.symbols:,} symbols, "


def _lines(counted: _Counted, length: int, tokenizer: Tokenizer) -> tuple[str, ...]:
    lines = []
    if counted.unknown:
        lines.append(
            f"{counted.unknown:,} {tokenizer.unit}s are unknown; their bytes are counted at 8 bits each, and 8 bits "
            "more for each one's number of bytes"
        )
    if counted.invalid_bytes:
        lines.append(f"{counted.invalid_bytes:,} bytes are no UTF-8, each counted as a character")
    if counted.rest:
        lines.append(
            f"{counted.rest:,} {tokenizer.unit}s behind the last whole sequence of {length} are counted at "
            f"log2 {tokenizer.vocab_size} bits"
        )
    return tuple(lines)
