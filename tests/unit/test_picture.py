"""Spectrograms side by side: a picture that shows its sounds, and refusals in words."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile

from seqgen.metrics.picture import main


def tone(path: Path, hertz: float, rate: int = 8000) -> Path:
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate), rate)
    return path


def test_a_tone_is_a_line_where_it_belongs(tmp_path: Path) -> None:
    low, high = tone(tmp_path / "low.wav", 300), tone(tmp_path / "high.wav", 3000)
    assert main([str(tmp_path / "made.png"), f"low={low}", f"high={high}"]) == 0
    picture = plt.imread(tmp_path / "made.png")[..., :3].sum(axis=2)
    height, width = picture.shape
    quarters = [picture[:, width // 4 - 9 : width // 4 + 9], picture[:, 3 * width // 4 - 9 : 3 * width // 4 + 9]]
    # The brightest row inside the axes, below the title and above the ticks; a low tone lies further down.
    rows = [int(part[height // 6 : -height // 4].mean(axis=1).argmax()) for part in quarters]
    assert rows[0] > rows[1] + height // 8


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = tone(tmp_path / "a.wav", 300), tone(tmp_path / "b.wav", 300, 16000)
    assert main([str(tmp_path / "made.png"), f"a={one}", f"b={other}"]) == 1
    assert "2 files at [8000, 16000] Hz; give one file or more, of one rate" in capsys.readouterr().err
    assert main([str(tmp_path / "made.png"), "a.wav"]) == 2
    assert not (tmp_path / "made.png").exists()
