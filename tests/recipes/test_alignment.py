"""The recipes of one reader in their tiny forms: alignment, and an acoustic model of what is aligned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seqgen.audio import io
from seqgen.bundle import Bundle
from seqgen.data import ctm
from tests.recipes.conftest import Run


@pytest.fixture(scope="module")
def voice(run: Run, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a voice is made of, from twelve recordings of a reader."""
    folder = tmp_path_factory.mktemp("reader") / "corpus"
    folder.mkdir()
    lines = (shared_data / "kathleen/metadata.csv").read_text(encoding="utf-8").splitlines()[:12]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for line in lines:
        shutil.copy(shared_data / f"kathleen/{line.split('|')[0]}.flac", folder)
    out = folder.parent / "exp"
    given = {"DICTIONARY": str(shared_data / "text/cmudict.dict.gz"), "SPLIT": "--valid 0.35 --test 0.3"}
    run("kathleen/tts", "--conf", "tiny", "--out", out, "--corpus", folder, **given)
    return out


def test_recordings_become_times_of_words(voice: Path) -> None:
    """Every word of them has its time, in the order of the transcript."""
    out, words = voice / "alignment", {}
    for part in ("train", "valid", "test"):
        for name, found in ctm.read(out / part / "words.ctm").items():
            words[name] = [one.label for one in found if one.label != "SIL"]
    assert len(words) == 12
    said = "for the twentieth time that evening the two men shook hands"
    assert " ".join(words["corpus-arctic_a0003"]) == said
    assert len(list((out / "train/textgrid").iterdir())) == len(ctm.read(out / "train/phones.ctm"))


def test_text_becomes_sound(voice: Path) -> None:
    """From recordings to sentences that nobody has read: each of them is a sound of some length, by the vocoder that
    the same recordings have made."""
    assert Bundle.open(voice / "vocoder/voice-int8").manifest.kind == "vocoder"
    assert Bundle.open(voice / "voice").manifest.kind == "voice"
    for name in ("acoustic/1", "acoustic/2", "acoustic/3", "said"):
        audio, rate = io.read(voice / f"{name}.wav")
        assert rate == 24000
        assert len(audio) >= 30 * 240
        assert audio.std() > 0
