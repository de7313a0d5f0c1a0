"""Containers of every kind: a length that is declared is held against what is there, and none is read in part."""

from __future__ import annotations

import io as standard_io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.audio import io
from seqgen.errors import SeqgenError
from tests.unit.containers import MADE, RATE, aiff, pcm, rf64, wav

SAMPLES = 90
CODECS = {
    "flac": ("FLAC", "PCM_16", RATE),
    "mp3": ("MP3", "MPEG_LAYER_III", RATE),
    "mp3 at 44.1 kHz": ("MP3", "MPEG_LAYER_III", 44100),
    "vorbis": ("OGG", "VORBIS", RATE),
    "opus": ("OGG", "OPUS", 16000),
}
UNKNOWN = [0, 0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0x7FFFFFDA, 0xFFFFFFFF, 0xFFFFFFDA]
LONG = [(1 << 63) - 1, (1 << 64) - 1]
HOLDS_LONG = ("rf64", "w64", "caf")


def read(data: bytes) -> np.ndarray | None:
    """The samples of an upload, or ``None`` where it is refused with one clear line."""
    try:
        return io.read(standard_io.BytesIO(data))[0]
    except SeqgenError as error:
        refusal = error
    assert "\n" not in str(refusal)
    assert refusal.remedy
    return None


def samples(audio: bytes, order: str) -> np.ndarray:
    return np.frombuffer(audio, f"{order}i2").astype(np.float32) / 32768


def compressed(codec: str, count: int = 12_000) -> bytes:
    container, subtype, rate = CODECS[codec]
    made = standard_io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).standard_normal(count)
    soundfile.write(made, noise, rate, format=container, subtype=subtype)
    return made.getvalue()


@pytest.mark.parametrize("name", MADE)
def test_a_container_cut_anywhere_is_whole_or_refused(name: str) -> None:
    make, order = MADE[name]
    audio = pcm(SAMPLES, order)
    data = make(audio)
    np.testing.assert_array_equal(read(data), samples(audio, order))
    assert [cut for cut in range(len(data)) if read(data[:cut]) is not None] == []


@pytest.mark.parametrize("name", MADE)
def test_a_declared_length_that_is_not_there_is_refused(name: str) -> None:
    make, order = MADE[name]
    audio = pcm(SAMPLES, order)
    for declared in (len(audio) + 6, 3 * len(audio), 1 << 20, 0x60000000, 0x7EFFFFFE, 0xA0000000, 0xFFFE0000):
        assert read(make(audio, declared)) is None, declared


@pytest.mark.parametrize("name", MADE)
def test_a_length_that_means_unknown_is_what_is_there(name: str) -> None:
    make, order = MADE[name]
    audio = pcm(SAMPLES, order)
    for declared in UNKNOWN + (LONG if name in HOLDS_LONG else []):
        found = read(make(audio, declared))
        assert found is not None, hex(declared)
        np.testing.assert_array_equal(found, samples(audio, order), err_msg=hex(declared))


@pytest.mark.parametrize("name", MADE)
def test_an_empty_container_holds_nothing(name: str) -> None:
    with pytest.raises(SeqgenError, match=r"0 samples|truncated|not readable"):
        io.read(standard_io.BytesIO(MADE[name][0](b"")))


def test_what_a_file_says_of_its_length_elsewhere() -> None:
    audio = pcm(SAMPLES, ">")
    whole = samples(audio, ">")
    assert read(aiff(audio, frames=2 * SAMPLES)) is None
    for frames in (0, 0x7F000000, 0xFFFFFFFF):
        np.testing.assert_array_equal(read(aiff(audio, frames=frames)), whole)
    little = pcm(SAMPLES)
    np.testing.assert_array_equal(read(b"BW64" + rf64(little)[4:]), samples(little, "<"))
    assert read(b"BW64" + rf64(little)[4:-20]) is None
    notes = b"LIST" + struct.pack("<I", 4) + b"INFO"
    np.testing.assert_array_equal(read(wav(little, tail=notes)), samples(little, "<"))
    assert read(wav(b"", tail=notes)) is None  # a length of 0 that is meant
    many = wav(little)[:12] + (b"junk" + bytes(4)) * 100_000 + wav(little)[12:]
    assert read(many) is None


@pytest.mark.parametrize("codec", CODECS)
def test_compressed_recordings_cut_anywhere_are_refused(codec: str) -> None:
    data = compressed(codec)
    whole = read(data)
    assert whole is not None
    assert abs(len(whole) - 12_000) < 1200
    cuts = [*range(0, 300, 7), *range(300, len(data), len(data) // 60), *range(len(data) - 20, len(data))]
    assert [cut for cut in cuts if read(data[:cut]) is not None] == []


@pytest.mark.parametrize("name", [*MADE, *CODECS])
def test_two_recordings_in_one_file_are_not_read_as_one(name: str) -> None:
    if name in MADE:
        make, order = MADE[name]
        first, second = make(pcm(SAMPLES, order)), make(pcm(3 * SAMPLES, order))
    else:
        first, second = compressed(name), compressed(name, 20_000)
    assert read(first + second) is None
    assert read(second + first) is None


@pytest.mark.parametrize("name", ["wav", "rifx", "rf64", "w64", "aiff", "caf", "au", "sph"])
def test_what_follows_the_audio_is_no_audio(name: str) -> None:
    make, order = MADE[name]
    audio = pcm(SAMPLES, order)
    for tail in (b"id3 " + struct.pack(f"{order}I", 8) + b"abcdefgh", b"\0\0\0\0", b"x" * 50):
        np.testing.assert_array_equal(read(make(audio) + tail), samples(audio, order))


def test_a_flac_of_unknown_length() -> None:
    data = bytearray(compressed("flac"))
    whole = read(bytes(data))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    np.testing.assert_array_equal(read(bytes(data)), whole)
    tag = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)
    np.testing.assert_array_equal(read(tag + bytes(data)), whole)
    np.testing.assert_array_equal(read(bytes(data) + b"TAG" + bytes(125)), whole)
    assert read(tag + bytes(data[:-9])) is None


@pytest.mark.parametrize("codec", ["mp3", "mp3 at 44.1 kHz"])
def test_an_mp3_whose_table_is_lost(codec: str) -> None:
    data = compressed(codec)
    whole = read(data)
    bare = data[data.index(data[:2], 4) :]
    for form in (bare, b"ID3\x04\0\0\0\0\x01\x00" + bytes(128) + bare, bare + b"TAG" + bytes(125), bare + bytes(200)):
        found = read(form)
        assert found is not None
        assert whole is not None
        assert 0 <= len(found) - len(whole) < 3 * 1152  # the decoder's delay is told by the table alone
    assert read(bare[:5000] + bytes(9000) + bare[5000:]) is None


@pytest.mark.parametrize("codec", CODECS)
def test_a_stretch_is_that_of_the_whole(codec: str) -> None:
    data = compressed(codec, 60_000)
    whole = read(data)
    assert whole is not None
    for start in (0, 1, 4000, 31_000, len(whole) - 3000, len(whole) - 500, len(whole) - 10):
        part, _ = io.read(standard_io.BytesIO(data), start=start, count=min(400, len(whole) - start))
        np.testing.assert_allclose(part, whole[start : start + 400], atol=1e-6, err_msg=str(start))


WHOLE = {name: make(pcm(SAMPLES, order)) for name, (make, order) in MADE.items()}
WHOLE |= {codec: compressed(codec, 3000) for codec in CODECS}
CHANGES = st.lists(st.tuples(st.integers(0, 140), st.sampled_from([0, 1, 17, 127, 128, 255])), min_size=1, max_size=6)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), CHANGES, st.integers(0, 2000))
def test_changed_bytes_are_no_traceback(name: str, changes: list[tuple[int, int]], lost: int) -> None:
    data = bytearray(WHOLE[name])
    for place, byte in changes:
        data[place % len(data)] = byte
    read(bytes(data[: len(data) - lost * (lost > 1000)]))


@pytest.mark.parametrize("old", [b"   1024", b"channel_count -i 1", b"sample_n_bytes -i 2"])
def test_numbers_of_a_sphere_that_are_longer_than_any(old: bytes) -> None:
    word = old.rstrip(b"0123456789")
    assert read(WHOLE["sph"].replace(old, word + b"9" * 5000, 1)) is None


@pytest.mark.parametrize("length", [0, 7, 8])
def test_a_short_chunk_of_an_aiff(length: int) -> None:
    data = bytearray(WHOLE["aiff"])
    data[16:20] = struct.pack(">I", length)
    assert read(bytes(data)) is None


def test_containers_whose_lengths_are_not_checked_are_not_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.voc", np.zeros(900), RATE, format="VOC", subtype="PCM_16")
    with pytest.raises(SeqgenError, match=r"a\.voc: VOC files are not read.*convert it to WAV"):
        io.info(tmp_path / "a.voc")


@pytest.mark.parametrize("scale", [32768.0, 8388608.0, 255.0])
def test_integers_in_a_float_file_are_refused(tmp_path: Path, scale: float) -> None:
    tone = np.sin(np.arange(900) / 9) * scale
    soundfile.write(tmp_path / "a.wav", tone, RATE, "FLOAT")
    for act in (io.read, io.level, lambda path: list(io.blocks(path, 100))):
        with pytest.raises(SeqgenError, match=r"a\.wav: float samples of up to .*where full scale is 1; divide"):
            act(tmp_path / "a.wav")


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16", "PCM_24", "PCM_U8", "ULAW", "ALAW"])
def test_full_scale_is_counted(tmp_path: Path, subtype: str) -> None:
    quiet = 0.4 * np.sin(np.arange(900) / 9)
    for gain, full in ((1.0, 0), (5.0, int((np.abs(5 * quiet) >= 0.999).sum()))):
        loud = gain * quiet if subtype == "FLOAT" else np.clip(gain * quiet, -1, 1)
        soundfile.write(tmp_path / "a.wav", loud, RATE, subtype)
        level = io.level(tmp_path / "a.wav")
        assert level.samples == 900
        assert abs(level.full - full) <= 0.05 * full
        beyond = subtype == "FLOAT" and gain > 1
        assert level.peak == pytest.approx(2.0 if beyond else min(1.0, 0.4 * gain), rel=0.05)
    assert io.info(tmp_path / "a.wav").floating == (subtype == "FLOAT")
