"""The recipes of lossless compression in their tiny form: speech against FLAC, pictures against PNG."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.conftest import Tiny


@pytest.mark.parametrize(("recipe", "corpus", "others"), [
    ("fsdd/lossless", "fsdd", {"xz -9", "FLAC -8"}),
    ("mnist/lossless", "images", {"xz -9", "PNG, one sheet", "PNG, each alone"}),
])  # fmt: skip
def test_a_model_compresses_what_it_has_not_seen(
    recipe: str, corpus: str, others: set[str], tiny: Tiny, shared_data: Path, tmp_path: Path
) -> None:
    place = _few(shared_data / corpus, tmp_path / "corpus")
    tiny(recipe, tmp_path / "out", "--corpus", place, TRAIN="50", TEST="20")
    rows = [line.split("|")[1:] for line in (tmp_path / "out" / "table.md").read_text().splitlines() if "|" in line][2:]
    sizes = {row[0].strip(): int(row[1].replace(",", "")) for row in rows}
    assert others < sizes.keys()
    (ours,) = (size for name, size in sizes.items() if "over its claim" in name)
    assert ours > 1000


def _few(source: Path, out: Path) -> Path:
    """A few recordings of a corpus, or all of its pictures."""
    if not (source / "recordings").is_dir():
        return source
    (out / "recordings").mkdir(parents=True)
    for path in sorted((source / "recordings").glob("[0-3]_theo_*.wav")):
        if int(path.stem.split("_")[2]) < 12:
            (out / "recordings" / path.name).symlink_to(path)
    return out
