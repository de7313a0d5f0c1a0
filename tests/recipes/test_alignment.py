"""The recipe of alignment in its tiny form."""

from __future__ import annotations

import shutil
from pathlib import Path

from seqgen.data import ctm
from tests.recipes.conftest import Tiny


def test_recordings_become_times_of_words(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    """Twelve recordings of a reader: every word of them has its time, in the order of the transcript."""
    lines = (shared_data / "kathleen/metadata.csv").read_text(encoding="utf-8").splitlines()[:12]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for line in lines:
        name = line.split("|")[0]
        shutil.copy(shared_data / f"kathleen/{name}.flac", tmp_path / "corpus")
    dictionary = shared_data / "text/cmudict.dict.gz"
    out = tmp_path / "exp"
    given = {"DICTIONARY": str(dictionary), "SPLIT": "--valid 0.35 --test 0.3"}
    tiny("kathleen/alignment", out, "--corpus", tmp_path / "corpus", **given)
    words = {}
    for part in ("train", "valid", "test"):
        for name, found in ctm.read(out / part / "words.ctm").items():
            words[name] = [one.label for one in found if one.label != "SIL"]
    assert len(words) == 12
    said = "for the twentieth time that evening the two men shook hands"
    assert " ".join(words["corpus-arctic_a0003"]) == said
    assert len(list((out / "train/textgrid").iterdir())) == len(ctm.read(out / "train/phones.ctm"))
