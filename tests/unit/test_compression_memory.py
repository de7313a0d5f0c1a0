"""Memory of compression: that of a block, whatever the size of a file."""

from __future__ import annotations

import filecmp
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from seqgen.compression import lanes
from seqgen.compression.coder import Values
from seqgen.compression.compress import compress
from seqgen.compression.container import Container
from seqgen.compression.contract import Mask, Predictor
from seqgen.compression.decompress import decompress
from seqgen.compression.frequencies import Probabilities
from seqgen.compression.identity import NumericIdentity
from tests.unit.compression import TEXT, byte_model, there_and_back


class Even(Predictor):
    """A model to which all bytes are alike."""

    radices = (256,)
    identity = NumericIdentity("none", "1", "any", 1, "float64")
    digest, label = "0" * 16, ""

    def init(self, rows: int) -> int:
        return rows

    def predict(self, state: int) -> tuple[None, int]:
        return None, state

    def probabilities(self, params: None, rows: npt.NDArray[np.intp], above: Values, digit: int) -> Probabilities:
        return np.ones((len(rows), 256))

    def feed(self, state: int, values: Values) -> int:
        return state

    def chosen(self, mask: Mask, state: int, other: int) -> int:
        return state


def peak(size: int, folder: Path) -> tuple[int, int]:
    """Bytes that were allocated at most while a file of ``size`` bytes was compressed, and decompressed."""
    original, packed, copy = (folder / name for name in ("original", "packed", "copy"))
    original.write_bytes((TEXT * (size // len(TEXT) + 1))[:size])
    units, found = byte_model().units, []
    for work in (
        lambda: compress(original, packed, Even(), units, number=128),
        lambda: decompress(Container(packed), copy, Even(), units),
    ):
        tracemalloc.start()
        work()
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert copy.read_bytes() == original.read_bytes()
    return found[0], found[1]


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PIECE", 64)
    peak(9_000, tmp_path)  # what is loaded once
    small, large = (peak(size, tmp_path) for size in (30_000, 110_000))
    for before, behind in zip(small, large, strict=True):
        assert behind < before + 50_000, f"{before} bytes for a file, {behind} for one that is four times as long"


@pytest.mark.soak
def test_twenty_megabytes_come_back(tmp_path: Path) -> None:
    """Minutes: all lanes that there are, ten blocks; what memory they take beyond that of a small file is told."""
    original, packed, copy = (tmp_path / name for name in ("original", "packed", "copy"))
    model = byte_model(60)
    there_and_back(TEXT, model, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = np.random.default_rng(0)
    with original.open("wb") as file:
        for _ in range(20):
            file.write(generator.integers(97, 123, 1 << 20, dtype=np.uint8).tobytes())
    report = compress(original, packed, model.predictor, model.units)
    with Container(packed) as container:
        decompress(container, copy, model.predictor, model.units)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000, "kilobytes"
    assert report.lanes == lanes.MOST
    assert report.compressed <= report.promised * 1.005 + 64
    assert filecmp.cmp(original, copy, shallow=False)
