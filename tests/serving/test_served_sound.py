"""Sound as it is served: whatever the format and rate, decoded it has every sample that the voice made, to the last."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import soxr

from seqgen.audio.io import pcm16
from serving.sound import opus
from serving.sound.encoders import g711
from serving.sound.formats import FORMATS
from serving.streams.sound import SoundRequest
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, tone

HERE = [form for form in FORMATS if form != "opus" or opus.library() is not None]
RATE = SPEC.sample_rate
LENGTHS = (0.005, 0.3, 0.5125)  # one frame; no whole packet, block or piece; more than FLAC's block of 4,096


def served(form: str, rate: int, sound: np.ndarray) -> bytes:
    return b"".join(everything(fake_vocoder(), SoundRequest(form=form, rate=rate), audio_file(sound)))


def made(sound: np.ndarray) -> np.ndarray:
    """What the voice makes of it: samples as they are served in floats, at the voice's own rate."""
    return np.frombuffer(served("f32", RATE, sound), "<f4")


def decoded(form: str, data: bytes, length: int) -> tuple[np.ndarray, int]:
    """Samples of a body and their rate; by libsndfile, or by reading plain numbers."""
    if form == "pcm":
        return np.frombuffer(data, "<i2") / np.float32(32768), 0
    if form == "f32":
        return np.frombuffer(data, "<f4"), 0
    if form == "ulaw":
        return np.frombuffer(data, np.uint8), 0
    body = bytearray(data)
    if form == "flac":  # a stream says nothing of its length; libsndfile reads no further than it says
        body[22:26] = length.to_bytes(4, "big")
    return soundfile.read(io.BytesIO(bytes(body)), dtype="float32")


@pytest.mark.parametrize("seconds", LENGTHS)
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("form", HERE)
def test_every_sample_is_served(form: str, rate: int, seconds: float) -> None:
    sound = made(tone(seconds))
    assert len(sound) == round(seconds * RATE)
    length = -(-len(sound) * rate // RATE)
    found, told = decoded(form, served(form, rate, tone(seconds)), length)
    if form == "opus":
        length = -(-len(sound) * told // RATE)  # read at a rate of the reader's choice
    assert len(found) == length
    assert told in (0, rate) or form == "opus"
    if rate == RATE and form != "opus":
        whole = {"f32": sound, "ulaw": g711(pcm16(sound))}.get(form, pcm16(sound) / np.float32(32768))
        assert np.array_equal(found, whole)


@pytest.mark.parametrize("form", [form for form in ("wav", "flac", "opus") if form in HERE])
@pytest.mark.parametrize("rate", [8000, 48000])
def test_the_end_is_the_voice_s_own_and_no_silence(form: str, rate: int) -> None:
    """The last 20 ms, where an encoder's last block or packet would be missing, sound as the voice made them."""
    sound = made(tone(0.5125))
    found, told = decoded(form, served(form, rate, tone(0.5125)), -(-len(sound) * rate // RATE))
    told = told or rate
    want = sound if told == RATE else soxr.resample(sound, RATE, told)
    ends = [np.sqrt(np.mean(np.square(x[-told // 50 :], dtype=np.float64))) for x in (found, want)]
    assert ends[0] == pytest.approx(ends[1], rel=0.05 if form != "opus" else 0.5)
    assert ends[1] > 0.05


@pytest.mark.parametrize("form", HERE)
def test_a_listener_who_resumes_gets_the_same_end(form: str) -> None:
    whole = served(form, 16000, tone(0.3))
    for skip in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        request = SoundRequest(form=form, rate=16000, skip=skip)
        assert b"".join(everything(fake_vocoder(), request, audio_file(tone(0.3)))) == whole[skip:]
