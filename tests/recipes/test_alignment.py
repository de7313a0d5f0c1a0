"""The recipes of one reader in their tiny forms: alignment, and an acoustic model of what is aligned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seqgen.audio import io
from seqgen.data import ctm
from tests.recipes.conftest import Tiny


@pytest.fixture
def corpus(shared_data: Path, tmp_path: Path) -> Path:
    """Twelve recordings of a reader."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    lines = (shared_data / "kathleen/metadata.csv").read_text(encoding="utf-8").splitlines()[:12]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for line in lines:
        shutil.copy(shared_data / f"kathleen/{line.split('|')[0]}.flac", folder)
    return folder


def given(shared_data: Path) -> dict[str, str]:
    return {"DICTIONARY": str(shared_data / "text/cmudict.dict.gz"), "SPLIT": "--valid 0.35 --test 0.3"}


def test_recordings_become_times_of_words(tiny: Tiny, shared_data: Path, corpus: Path, tmp_path: Path) -> None:
    """Every word of them has its time, in the order of the transcript."""
    out = tmp_path / "exp"
    tiny("kathleen/alignment", out, "--corpus", corpus, **given(shared_data))
    words = {}
    for part in ("train", "valid", "test"):
        for name, found in ctm.read(out / part / "words.ctm").items():
            words[name] = [one.label for one in found if one.label != "SIL"]
    assert len(words) == 12
    said = "for the twentieth time that evening the two men shook hands"
    assert " ".join(words["corpus-arctic_a0003"]) == said
    assert len(list((out / "train/textgrid").iterdir())) == len(ctm.read(out / "train/phones.ctm"))


def test_text_becomes_sound(tiny: Tiny, shared_data: Path, corpus: Path, tmp_path: Path) -> None:
    """From recordings to sentences that nobody has read: each of them is a sound of some length."""
    out = tmp_path / "exp"
    tiny("kathleen/acoustic", out, "--corpus", corpus, **given(shared_data))
    for number in (1, 2, 3):
        audio, rate = io.read(out / f"{number}.wav")
        assert rate == 24000
        assert len(audio) >= 30 * 240
        assert audio.std() > 0
