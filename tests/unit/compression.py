"""Small models for the tests of compression: a trained one, a fresh one, one that is sure of nonsense."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from seqgen.compression.compress import CompressionReport, compress
from seqgen.compression.container import Container
from seqgen.compression.contract import Predictor
from seqgen.compression.decompress import decompress
from seqgen.compression.densities import Stepped
from seqgen.compression.units import TextUnits, Units
from seqgen.config import Component
from seqgen.distributions.categorical import Categorical
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.recurrent import Recurrent
from seqgen.text.tokenizer import Tokenizer, tokenizer
from seqgen.train import weights

TEXT = (b"the quick brown fox jumps over the lazy dog, and the lazy dog looks at the quick brown fox\n" * 40)[:3000]


class Coded(NamedTuple):
    """Model with which files are coded."""

    predictor: Predictor
    units: Units
    density: AutoRegressive


def language_model(size: int, *, hidden: int = 24, layers: int = 1, seed: int = 0) -> AutoRegressive:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = Recurrent.Config(vocab_size=size, outputs=size, hidden=hidden, layers=layers, embedding=8)
        return AutoRegressive(
            Recurrent(config), Categorical(Categorical.Config(size)), None, start=0, symbols_per_sample=1
        ).eval()


def coded(made: Tokenizer, density: AutoRegressive) -> Coded:
    return Coded(Stepped(density, digest=weights.digest(density), label="fresh"), TextUnits(made), density)


@cache
def byte_model(steps: int = 0, seed: int = 0) -> Coded:
    """Model of bytes, trained for some steps on ``TEXT``."""
    made = tokenizer(Component("bytes"))
    density = language_model(made.vocab_size, seed=seed)
    if steps:
        optimiser = torch.optim.Adam(density.parameters(), lr=2e-2)
        symbols = torch.from_numpy(np.array(made.encode(TEXT).symbols))
        for step in range(steps):
            starts = [(997 * (8 * step + row)) % (len(symbols) - 64) for row in range(8)]
            x = torch.stack([symbols[start : start + 64] for start in starts])
            loss = -density.log_prob(x).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return coded(made, density)


def there_and_back(given: bytes, model: Coded, folder: Path, **options: int) -> tuple[CompressionReport, bytes]:
    """Compress and decompress; the report and what was compressed."""
    original, packed, copy = folder / "original", folder / "packed.sg", folder / "copy"
    original.write_bytes(given)
    report = compress(original, packed, model.predictor, model.units, **options)
    with Container(packed) as container:
        assert decompress(container, copy, model.predictor, model.units) == len(given)
    assert copy.read_bytes() == given
    assert report.compressed == packed.stat().st_size
    return report, packed.read_bytes()
