"""Phones by pocketsphinx: aligned where a transcript fits, heard where not, and refused where it is absent."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seqgen.cli.main import main
from seqgen.data import ctm
from seqgen.data.ctm import Stretch
from tests.unit import spoken


class FakeDecoder:
    """Decoder that aligns "one" and "two", knows no other word, and hears one phone in everything."""

    def __init__(self, **options: Any) -> None:
        self.loop, self.text, self.samples = "allphone" in options, "", 0

    def set_align_text(self, text: str) -> None:
        if text not in ("one", "two"):
            raise RuntimeError("no such word")
        self.text = text

    def set_alignment(self) -> None:
        pass

    def start_utt(self) -> None:
        pass

    def process_raw(self, audio: bytes, *, full_utt: bool) -> None:
        assert full_utt
        self.samples = len(audio) // 2

    def end_utt(self) -> None:
        pass

    def get_alignment(self) -> Any:
        named = zip("WAN" if self.text == "one" else "TU", (0, 3, 7), (3, 4, 2), strict=False)
        return [[SimpleNamespace(name=n, start=s, duration=d) for n, s, d in named]]

    def seg(self) -> Any:
        assert self.loop
        return [SimpleNamespace(word="SIL", start_frame=0, end_frame=self.samples // 160 - 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("phones")
    spoken.record(place, [0])
    return place


def test_phones_are_aligned_or_heard(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = SimpleNamespace(Decoder=FakeDecoder, get_model_path=lambda name="": f"/models/{name}")
    monkeypatch.setitem(sys.modules, "pocketsphinx", fake)
    out = folder / "made.ctm"
    assert main(["data", "phones", str(folder / "data"), "-o", str(out)]) == 0
    assert "6 utterances aligned to their transcripts, 3 heard without" in capsys.readouterr().err
    made = ctm.read(out)
    assert made["ann-one-0"] == [Stretch(0, 0.03, "W"), Stretch(0.03, 0.04, "A"), Stretch(0.07, 0.02, "N")]
    assert made["bo-three-0"] == [Stretch(0, 0.1, "SIL")], "0.1 s, whose audio was resampled to 16 kHz"


def test_its_absence_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    assert main(["data", "phones", str(folder / "data"), "-o", str(folder / "none.ctm")]) == 1
    assert "pip install 'seqgen[phones]'" in capsys.readouterr().err
    assert not (folder / "none.ctm").exists()


def test_the_real_one_aligns_and_hears(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    out = tmp_path / "real.ctm"
    assert main(["data", "phones", str(folder / "data"), "-o", str(out)]) == 0
    made = ctm.read(out)
    assert all(stretch.label for stretches in made.values() for stretch in stretches)
    assert all(stretches[-1].start + stretches[-1].duration <= 0.11 for stretches in made.values() if stretches)
