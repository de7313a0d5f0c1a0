"""Reading and writing good recordings."""

from __future__ import annotations

import io as standard_io
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgen.audio import io


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """16-bit values, so that PCM keeps them exactly."""
    return np.random.default_rng(seed).integers(-20000, 20000, samples).astype(np.float32) / 32768


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_pcm_round_trip_is_exact(tmp_path: Path, suffix: str) -> None:
    path, audio = tmp_path / f"a.{suffix}", noise(70_000)
    audio[:2] = -1, 32767 / 32768
    io.write(path, audio, 22050)
    back, rate = io.read(path)
    assert rate == 22050
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, audio)
    assert io.info(path) == io.AudioInfo(22050, 70_000, 1)


def test_vorbis_keeps_the_length_and_the_tone(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(200_000) / 16000).astype(np.float32) / 2
    io.write(tmp_path / "a.ogg", tone, 16000)
    back, rate = io.read(tmp_path / "a.ogg")
    assert rate == 16000
    assert back.shape == tone.shape
    assert np.sqrt(np.square(back - tone).mean()) < 0.01


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_segment_is_the_same_part_of_the_whole(tmp_path: Path, suffix: str) -> None:
    path, audio = tmp_path / f"a.{suffix}", noise(30_000)
    io.write(path, audio, 8000)
    for start, count in [(0, 10), (12_345, 6_789), (29_999, 1), (100, 0)]:
        np.testing.assert_array_equal(io.read(path, start=start, count=count)[0], audio[start : start + count])
    np.testing.assert_array_equal(io.read(path, start=20_000)[0], audio[20_000:])


@pytest.mark.parametrize("size", [1, 999, 5000, 10_000])
def test_blocks_make_the_whole(tmp_path: Path, size: int) -> None:
    path, audio = tmp_path / "a.flac", noise(5_000)
    io.write(path, audio, 8000)
    parts = list(io.blocks(path, size))
    assert all(len(part) == size for part in parts[:-1])
    np.testing.assert_array_equal(np.concatenate(parts), audio)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = noise(1000, 1), noise(1000, 2)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], 1), 8000, "FLOAT")
    assert io.info(tmp_path / "s.wav").channels == 2
    np.testing.assert_allclose(io.read(tmp_path / "s.wav")[0], (left + right) / 2, atol=1e-7)
    np.testing.assert_allclose(np.concatenate(list(io.blocks(tmp_path / "s.wav", 300))), (left + right) / 2, atol=1e-7)


def test_values_beyond_full_scale_are_clamped_on_both_ways(tmp_path: Path) -> None:
    loud = np.float32([1.5, -1.5, 1.0, 0.25])
    soundfile.write(tmp_path / "f.wav", loud, 8000, "FLOAT")
    back = io.read(tmp_path / "f.wav")[0]
    assert back.max() < 1
    assert back.min() == -1
    assert back[3] == 0.25
    io.write(tmp_path / "p.wav", loud, 8000)
    np.testing.assert_array_equal(io.read(tmp_path / "p.wav")[0] * 32768, [32767, -32768, 32767, 8192])


def test_silence_is_a_recording(tmp_path: Path) -> None:
    io.write(tmp_path / "z.flac", np.zeros(800), 8000)
    assert not io.read(tmp_path / "z.flac")[0].any()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_stream_in_memory_is_read_like_a_file(tmp_path: Path, suffix: str) -> None:
    io.write(tmp_path / f"a.{suffix}", noise(5_000), 8000)
    stream = standard_io.BytesIO((tmp_path / f"a.{suffix}").read_bytes())
    assert io.info(stream).samples == 5_000
    np.testing.assert_array_equal(io.read(stream)[0], io.read(tmp_path / f"a.{suffix}")[0])


def test_header_of_known_length_equals_the_written_file(tmp_path: Path) -> None:
    audio = noise(4_000)
    io.write(tmp_path / "a.wav", audio, 16000)
    assert (tmp_path / "a.wav").read_bytes() == io.wav_header(16000, samples=4_000) + io.pcm16(audio).tobytes()


def test_header_of_unknown_length_is_readable(tmp_path: Path) -> None:
    audio = noise(4_000)
    (tmp_path / "a.wav").write_bytes(io.wav_header(16000, samples=None) + io.pcm16(audio).tobytes())
    np.testing.assert_array_equal(io.read(tmp_path / "a.wav")[0], audio)


def test_a_changed_file_is_checked_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"")
    with pytest.raises(io.SeqgenError):
        io.info(path)
    io.write(path, noise(100), 8000)
    assert io.info(path).samples == 100


def test_long_recordings_pass_in_constant_memory(tmp_path: Path) -> None:
    block = noise(80_000)
    tracemalloc.start()
    total = io.write_blocks(tmp_path / "long.wav", (block for _ in range(360)), 8000)
    seen = sum(len(part) for part in io.blocks(tmp_path / "long.wav", 80_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == seen == 28_800_000  # one hour; 115 MB as float32
    assert peak < 8e6


def test_written_files_have_ordinary_rights(tmp_path: Path) -> None:
    io.write(tmp_path / "a.wav", noise(10), 8000)
    (tmp_path / "b").touch()
    assert stat.S_IMODE((tmp_path / "a.wav").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_no_torch_and_no_librosa_behind_the_torch_free_face() -> None:
    modules = ", ".join(f"seqgen.audio.{name}" for name in ("io", "features", "mulaw", "codec", "resample"))
    probe = f"import sys, {modules}; print(sorted({{'torch', 'librosa', 'scipy', 'torchaudio'}} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_real_recordings_are_read(shared_data: Path) -> None:
    for folder in ("fsdd", "ljspeech-mini", "yesno"):
        files = sorted(p for p in (shared_data / folder).rglob("*") if p.suffix in {".wav", ".flac", ".ogg"})[:5]
        assert files, folder
        for path in files:
            audio, rate = io.read(path)
            assert rate >= 8000
            assert audio.ndim == 1
            assert 0 < abs(audio).max() <= 1
