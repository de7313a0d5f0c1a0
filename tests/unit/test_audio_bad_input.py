"""Bad recordings and bad places: one clear line that names the file and the remedy, and nothing half-written."""

from __future__ import annotations

import io as standard_io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgen.audio import features, io
from seqgen.audio.resample import resample, resample_blocks
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

SPEC = FeatureSpec(8000, 512, 320, 80, 40)
AUDIO = np.random.default_rng(0).integers(-9000, 9000, 20_000).astype(np.float32) / 32768


def refused(path: Path, act: Callable[[Path], object] = io.read) -> str:
    """The message with which ``act`` refuses the file."""
    with pytest.raises(SeqgenError) as caught:
        act(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.remedy
    return message


def whole(suffix: str, tmp_path: Path) -> bytes:
    io.write(tmp_path / f"whole.{suffix}", AUDIO, 8000)
    return (tmp_path / f"whole.{suffix}").read_bytes()


@pytest.mark.parametrize("act", [io.info, io.read, lambda path: list(io.blocks(path, 100))])
def test_missing_empty_and_foreign_files(tmp_path: Path, act: Callable[[Path], object]) -> None:
    assert "No such file" in refused(tmp_path / "none.wav", act)
    (tmp_path / "empty.wav").touch()
    assert "empty" in refused(tmp_path / "empty.wav", act)
    (tmp_path / "text.flac").write_text("not audio at all " * 100)
    assert "not readable as audio" in refused(tmp_path / "text.flac", act)
    assert "directory" in refused(tmp_path, act)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("share", [0.002, 0.1, 0.5, 0.999])
def test_truncated_files(tmp_path: Path, suffix: str, share: float) -> None:
    data = whole(suffix, tmp_path)
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    assert "truncated" in refused(path)
    refused(path, lambda p: list(io.blocks(p, 1000)))


def test_a_wav_without_its_audio_chunk(tmp_path: Path) -> None:
    (tmp_path / "head.wav").write_bytes(io.wav_header(8000, samples=100)[:36])
    assert "truncated: the audio is missing" in refused(tmp_path / "head.wav", io.info)


def test_an_ogg_that_ends_between_two_pages(tmp_path: Path) -> None:
    data = whole("ogg", tmp_path)
    (tmp_path / "cut.ogg").write_bytes(data[: data.rindex(b"OggS")])
    assert "its last Ogg page is missing" in refused(tmp_path / "cut.ogg", io.info)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    whole("wav", tmp_path)
    path = tmp_path / "whole.wav"

    def shrinking(target: Path) -> None:
        for _ in io.blocks(target, 5000):
            os.truncate(target, 44 + 2 * 7000)

    assert "of 20000" in refused(path, shrinking)


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_corrupt_files(tmp_path: Path, suffix: str, share: float) -> None:
    data = bytearray(whole(suffix, tmp_path))
    at = int(len(data) * share)
    data[at : at + 8] = bytes(byte ^ 0x5A for byte in data[at : at + 8])
    (tmp_path / f"bad.{suffix}").write_bytes(data)
    assert "corrupt" in refused(tmp_path / f"bad.{suffix}")


def test_corrupt_wav_header(tmp_path: Path) -> None:
    data = bytearray(whole("wav", tmp_path))
    data[20:28] = b"\xff" * 8
    (tmp_path / "bad.wav").write_bytes(data)
    refused(tmp_path / "bad.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_zero_samples(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"zero.{suffix}", np.zeros(0), 8000)
    refused(tmp_path / f"zero.{suffix}")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_name_the_first_bad_sample(tmp_path: Path, value: float) -> None:
    audio = np.zeros((5000, 2), np.float32)
    audio[3210, 1] = audio[4000] = value
    path = tmp_path / "nan.wav"
    soundfile.write(path, audio, 8000, "FLOAT")
    assert "sample 3210" in refused(path)
    assert "sample 3210" in refused(path, lambda p: io.read(p, start=3000, count=500))
    assert "sample 3210" in refused(path, lambda p: list(io.blocks(p, 1000)))
    assert not io.read(path, start=0, count=3210)[0].any()


@pytest.mark.parametrize("rate", [1, 1999, 400_000])
def test_unsupported_rate(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "r.wav", AUDIO, rate)
    assert f"{rate} Hz" in refused(tmp_path / "r.wav")
    with pytest.raises(SeqgenError, match=f"{rate} Hz"):
        resample(AUDIO, rate, 8000)
    with pytest.raises(SeqgenError, match=f"{rate} Hz"):
        list(resample_blocks([AUDIO], 8000, rate))


def test_ten_hours_are_refused_whole_and_read_in_parts(tmp_path: Path) -> None:
    path, samples = tmp_path / "day.wav", 10 * 3600 * 16000
    with path.open("wb") as file:
        file.write(io.wav_header(16000, samples=samples))
        file.truncate(44 + 2 * samples)  # sparse: takes no room on the disk
    assert "10.0 hours" in refused(path)
    assert io.info(path).samples == samples
    assert len(io.read(path, start=samples - 10, count=10)[0]) == 10
    assert len(next(io.blocks(path, 16000))) == 16000


@pytest.mark.parametrize(("start", "count"), [(-1, 5), (0, 20_001), (19_999, 2), (20_001, None), (5, -1)])
def test_ranges_outside_the_recording(tmp_path: Path, start: int, count: int | None) -> None:
    whole("wav", tmp_path)
    assert "20000" in refused(tmp_path / "whole.wav", lambda p: io.read(p, start=start, count=count))


def test_a_bad_upload_is_named_as_a_stream() -> None:
    with pytest.raises(SeqgenError, match="the audio stream: the file is empty"):
        io.read(standard_io.BytesIO())


# Writing


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 16 KiB: the write fails as on a full disk, with another error number.

    Not a fixture: pytest writes its progress before fixtures end, and its output may be a file too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def writers() -> list[tuple[str, Callable[[Path], object]]]:
    noise = np.random.default_rng(1).uniform(-1, 1, 300_000)
    return [
        ("x.wav", lambda path: io.write(path, noise, 8000)),
        ("x.flac", lambda path: io.write(path, noise, 8000)),
        ("x.ogg", lambda path: io.write(path, noise, 8000)),
        ("x.safetensors", lambda path: features.save_features(path, np.zeros((900, 40), np.float32), SPEC)),
    ]


@pytest.mark.parametrize(("name", "act"), writers())
def test_a_full_disk_leaves_nothing_and_keeps_the_old_file(
    tmp_path: Path, name: str, act: Callable[[Path], object]
) -> None:
    with full_disk():
        message = refused(tmp_path / name, act)
    assert "cannot be written" in message
    assert os.listdir(tmp_path) == []
    (tmp_path / name).write_text("old")
    with full_disk():
        refused(tmp_path / name, act)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "old"


@pytest.mark.parametrize(("name", "act"), writers())
def test_a_place_that_takes_no_files(tmp_path: Path, name: str, act: Callable[[Path], object]) -> None:
    assert "cannot be written" in refused(tmp_path / "absent" / name, act)
    refused(Path("/proc") / name, act)  # read-only even for root
    (tmp_path / name).mkdir()
    refused(tmp_path / name, act)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_not_written(tmp_path: Path, value: float) -> None:
    audio = AUDIO.copy()
    audio[7] = value
    for subtype in ("PCM_16", "FLOAT"):
        with pytest.raises(SeqgenError, match="sample 7"):
            io.write(tmp_path / "a.wav", audio, 8000, subtype=subtype)
    assert os.listdir(tmp_path) == []


def test_unknown_suffix_and_subtype(tmp_path: Path) -> None:
    assert ".wav, .flac or .ogg" in refused(tmp_path / "a.mp4", lambda p: io.write(p, AUDIO, 8000))
    refused(tmp_path / "a.flac", lambda p: io.write(p, AUDIO, 8000, subtype="DOUBLE"))
    assert os.listdir(tmp_path) == []


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stopped() -> Iterator[np.ndarray]:
        yield AUDIO
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        io.write_blocks(tmp_path / "a.wav", stopped(), 8000)
    assert os.listdir(tmp_path) == []


def test_too_long_for_a_wav_header() -> None:
    with pytest.raises(SeqgenError, match="FLAC"):
        io.wav_header(16000, samples=1 << 31)


# Features


def test_features_of_another_definition_are_refused_with_both_signatures(tmp_path: Path) -> None:
    other = FeatureSpec(8000, 512, 320, 80, 40, fmin=20.0)
    features.save_features(tmp_path / "f.safetensors", np.zeros((3, 40)), SPEC)
    message = refused(tmp_path / "f.safetensors", lambda p: features.load_features(p, other))
    assert SPEC.signature in message
    assert other.signature in message
    assert "fmin" in message


def test_damaged_and_foreign_feature_files(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "f.safetensors"
    refused(path, features.load_features)
    features.save_features(path, np.zeros((3, 40)), SPEC)
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    refused(path, features.load_features)
    path.write_bytes(data.replace(SPEC.signature.encode(), b"0" * 16))
    assert "signature" in refused(path, features.load_features)
    save_file({"features": np.zeros((3, 40), np.float32)}, path)
    refused(path, features.load_features)
    features.save_features(path, np.full((3, 40), np.nan), SPEC)
    assert "finite" in refused(path, features.load_features)


def test_a_front_end_with_empty_bands_is_refused() -> None:
    with pytest.raises(SeqgenError, match="bands"):
        features.log_mel(AUDIO, FeatureSpec(8000, 128, 128, 64, 128))
