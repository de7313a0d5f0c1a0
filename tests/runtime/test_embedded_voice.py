"""The voice of the package: whole, small, of nobody's machine, and it speaks without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgen.audio.periodicity import periodicity
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import VoiceManifest
from seqgen.runtime import embedded as place
from seqgen.runtime import open_runtime
from seqgen.runtime.embedded import embedded
from seqgen.runtime.replay import check
from seqgen.runtime.voice import Voice

TEXT = "Mary may run all morning, more or less."


@pytest.fixture(scope="module")
def voice() -> Voice:
    return Voice(open_runtime(embedded()))


def test_it_is_small_and_proves_itself() -> None:
    bundle = embedded()
    manifest = bundle.require(VoiceManifest)
    assert manifest.licence.startswith("CC0-1.0")
    assert sum(one.size for one in manifest.files) < 6_000_000
    assert [verdict.runtime.split()[0] for verdict in check(bundle.directory)] == ["native"]


def test_it_names_no_place_of_the_machine_that_made_it() -> None:
    for name in ("config.yaml", "speech.yaml", "manifest.json"):
        text = embedded().directory.joinpath(name).read_text(encoding="utf-8")
        assert "/work" not in text
        assert "/home" not in text


def test_it_has_a_voice(voice: Voice) -> None:
    """Words of voiced sounds are periodic, at the pitch of the reader; it would be half as much of a whisper."""
    sound = np.concatenate(list(voice.speak(TEXT, 0.0)))
    windows = np.lib.stride_tricks.sliding_window_view(sound, 960)[::240]
    loud = np.square(windows).mean(axis=1) > 1e-4
    octaves, clarity = periodicity(windows[loud], voice.spec.sample_rate).T
    assert (clarity > 0.8).mean() > 0.6
    pitch = 60 * 10 ** (octaves / np.square(clarity).clip(1e-3))[clarity > 0.8]
    assert 120 < np.median(pitch) < 260


def test_say_takes_it_where_no_other_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; from serving.cli.__main__ import main; status = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    out = tmp_path / "out.wav"
    subprocess.run([sys.executable, "-c", code, "say", TEXT, "-o", str(out)], check=True, timeout=60)
    sound, rate = soundfile.read(out)
    assert rate == 24000
    assert 1.5 < len(sound) / rate < 6


def test_a_package_without_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(place, "_PLACE", tmp_path)
    with pytest.raises(SeqgenError, match="installed without its voice"):
        embedded()


def test_the_card_tells_of_what_is_there() -> None:
    card = (embedded().directory.parent / "kathleen.md").read_text(encoding="utf-8")
    bundle = Bundle.open(embedded().directory)
    assert f"{sum(one.size for one in bundle.manifest.files) / 1e6:.1f} MB" in card
    assert "Carnegie Mellon University" in card
