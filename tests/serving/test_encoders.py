"""Formats and rates: read back by readers that nobody here wrote, the same for any chunking, marked, and soon there."""

from __future__ import annotations

import io
import wave
import zlib

import numpy as np
import pytest
import soundfile
import soxr

from seqgen.audio.io import pcm16
from seqgen.errors import SeqgenError
from serving.sound import opus
from serving.sound.encoders import g711
from serving.sound.formats import FORMATS, byte_rate, content_type, encoder, output_rate
from serving.sound.opus import LAST_PAGE, OggPageWriter, checksum
from serving.sound.resampling import RATES, Resampler
from tests.serving.fakes import tone

MARK = 'seqgen; kind=vocoder; voice="z"; seed=1'
HERE = [form for form in FORMATS if form != "opus" or opus.library() is not None]


def coded(form, audio, rate, out_rate, cuts=()):
    """The bytes of a whole stream, and how many samples were in before the first byte of sound came out."""
    made = encoder(form, rate, out_rate, MARK)
    pieces = [made.push(piece) for piece in np.split(audio, cuts)]
    return b"".join([*pieces, made.finish()])


@pytest.mark.parametrize("form", HERE)
@pytest.mark.parametrize("out_rate", [8000, 24000, 48000])
def test_any_chunking_gives_the_same_bytes(form, out_rate):
    audio = tone(0.5, 24000)
    whole = coded(form, audio, 24000, out_rate)
    cuts = np.sort(np.random.default_rng(0).integers(0, len(audio), 12))
    assert coded(form, audio, 24000, out_rate, cuts) == whole
    assert len(whole) <= 0.6 * byte_rate(form, out_rate) + 5000


@pytest.mark.parametrize(("form", "error"), [("wav", 2**-15), ("flac", 2**-15), ("opus", 0.05)])
@pytest.mark.parametrize("out_rate", [8000, 24000, 48000])
def test_containers_are_read_back_at_their_length_and_carry_the_mark(form, error, out_rate):
    if form not in HERE:
        pytest.skip("there is no libopus here")
    audio = tone(0.7, 24000)
    data = bytearray(coded(form, audio, 24000, out_rate))
    if form == "flac":
        # A stream does not know its length and says 0, which libsndfile cannot read to the end.
        assert data[22:26] == bytes(4)
        data[22:26] = (-(-len(audio) * out_rate // 24000)).to_bytes(4, "big")
    with soundfile.SoundFile(io.BytesIO(bytes(data))) as file:
        got, rate = file.read(dtype="float32"), file.samplerate  # Opus is read at a rate of the reader's choice
        tags = file.copy_metadata()
    assert MARK in (tags.get("comment"), tags.get("synthetic")) or form == "opus"
    want = audio if rate == 24000 else soxr.resample(audio, 24000, rate)
    assert abs(len(got) - len(want)) <= (1 if form != "opus" else rate // 400)
    size = min(len(got), len(want))
    middle = slice(size // 5, -size // 5)
    assert np.sqrt(np.mean((got[:size] - want[:size])[middle] ** 2)) < max(
        error, 1e-3
    )  # the two resamplers end at slightly different places


def test_pythons_own_reader_takes_the_wav():
    data = coded("wav", tone(0.1, 8000), 8000, 8000)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert np.array_equal(np.frombuffer(file.readframes(10**6), "<i2"), pcm16(tone(0.1, 8000)))


@pytest.mark.skipif(opus.library() is None, reason="there is no libopus here")
def test_opus_pages_hold_20_ms_and_come_as_soon_as_they_are_full():
    made = encoder("opus", 24000, 24000, MARK)
    first = made.push(tone(0.0199, 24000))
    assert [page[:4] for page in pages(first)] == [b"OggS", b"OggS"]  # the heads
    assert MARK.encode() in first
    data = first + made.push(tone(0.0002, 24000))
    assert len(pages(data)) == 3
    data += made.push(tone(1.0, 24000)) + made.finish()
    positions = [int.from_bytes(page[6:14], "little") for page in pages(data)]
    assert positions[2:6] == [960, 1920, 2880, 3840]
    assert [page[5] for page in pages(data)][-1] == LAST_PAGE
    for page in pages(data):
        assert checksum(page[:22] + bytes(4) + page[26:]) == int.from_bytes(page[22:26], "little")


def pages(data):
    return [b"OggS" + page for page in data.split(b"OggS")[1:]]


def test_the_checksum_of_ogg_is_the_plain_crc_32():
    def slow(data):
        register = 0
        for byte in data:
            register ^= byte << 24
            for _ in range(8):
                register = (register << 1 ^ 0x04C11DB7 if register & 0x80000000 else register << 1) & 0xFFFFFFFF
        return register

    for data in (b"", b"\0", b"a", b"123456789", bytes(range(256))):
        assert checksum(data) == slow(data)
    assert checksum(b"123456789") != zlib.crc32(b"123456789")


def test_long_packets_fill_a_page_and_no_more():
    page = OggPageWriter(1).page(bytes(510), position=0)
    assert page[26:30] == bytes([3, 255, 255, 0])
    with pytest.raises(ValueError, match="does not fit a page"):
        OggPageWriter(1).page(bytes(255 * 255), position=0)


def test_mu_law_is_that_of_libsndfile():
    samples = np.arange(-32768, 32768).astype(np.int16)
    out = io.BytesIO()
    soundfile.write(out, samples, 8000, format="RAW", subtype="ULAW")
    assert np.array_equal(np.frombuffer(out.getvalue(), np.uint8), g711(samples))


def test_rates_and_types():
    assert output_rate("wav", 16000) == 16000
    assert output_rate("opus", 22050) == 48000
    assert output_rate("opus", 22050, 16000) == 16000
    for form, rate in [("wav", 7999), ("wav", 96000), ("opus", 44100)]:
        with pytest.raises(SeqgenError, match=r"choose one of"):
            output_rate(form, 16000, rate)
    assert {content_type(form, 8000).split(";")[0] for form in FORMATS} == {
        "audio/wav", "audio/pcm", "audio/basic", "audio/flac", "audio/ogg",
    }  # fmt: skip


@pytest.mark.parametrize("source", [8000, 16000, 22050, 24000])
@pytest.mark.parametrize("target", RATES)
def test_resampling_keeps_tones_times_and_length_in_any_chunking(source, target):
    rng = np.random.default_rng(target)
    t = np.arange(source // 2) / source
    frequency = 0.3 * min(source, target)
    audio = (0.5 * np.sin(2 * np.pi * frequency * t)).astype(np.float32)
    resampler, pieces = Resampler(source, target), np.split(audio, np.sort(rng.integers(0, len(audio), 9)))
    got = np.concatenate([*(resampler.push(piece) for piece in pieces), resampler.finish()])
    assert len(got) == -(-len(audio) * target // source)
    want = 0.5 * np.sin(2 * np.pi * frequency * np.arange(len(got)) / target)
    edge = int(0.01 * target)
    assert np.abs(got - want)[edge:-edge].max() < 0.5 * 10 ** (-80 / 20)
    whole = Resampler(source, target)
    np.testing.assert_array_equal(np.concatenate([whole.push(audio), whole.finish()]), got)


def test_resampling_stops_what_the_lower_rate_cannot_hold_and_lags_as_declared():
    resampler = Resampler(48000, 8000)
    t = np.arange(48000) / 48000
    alias = np.concatenate([resampler.push(np.sin(2 * np.pi * 5000 * t).astype(np.float32)), resampler.finish()])
    assert np.abs(alias[100:-100]).max() < 1e-4
    for source, target in [(24000, 48000), (24000, 8000)]:
        resampler = Resampler(source, target)
        given = len(resampler.push(np.zeros(source, np.float32)))
        assert given / target == pytest.approx(1 - resampler.delay, abs=1.5 / target)
        assert resampler.delay <= 0.0031
        assert len(resampler._held) < 200
