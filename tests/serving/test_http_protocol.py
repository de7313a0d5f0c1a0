"""Requests and bodies, good and bad, without a socket."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from seqgen.audio.features import log_mel
from seqgen.audio.io import pcm16, wav_header
from seqgen.errors import SeqgenError
from serving.http import protocol
from serving.http.protocol import HttpError, read_query, read_request
from serving.sound.body import BODY
from serving.sound.encoders import wav_head
from serving.sound.source import from_path, sniff
from serving.streams.vocoder import VoiceSettings, provenance
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, features_file, opened_body, tone


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        (b"sed=1", 422, "unknown parameter 'sed'; did you mean 'seed'?"),
        (b"vox=1", 422, "unknown parameter 'vox'; known are voice, seed, temperature, speaker, format, rate"),
        (b"seed=1&seed=2", 422, "parameter 'seed' is given twice"),
        (b"seed=", 422, "seed '' is not a whole number"),
        (b"seed=1.5", 422, "seed '1.5' is not a whole number"),
        (b"seed=-1", 422, "seed -1 is out of range"),
        (b"seed=18446744073709551616", 422, "out of range"),
        (b"seed=" + b"9" * 5000, 422, "is not a whole number"),
        (b"seed=%D9%A3", 422, "is not a whole number"),
        (b"temperature=warm", 422, "temperature 'warm' is not a number; write it as 0.8"),
        (b"temperature=nan", 422, "temperature 'nan' is not a number"),
        (b"temperature=1e999", 422, "temperature inf is out of range"),
        (b"temperature=.", 422, "temperature '.' is not a number"),
        (b"temperature=3", 422, "temperature 3.0 is out of range; choose 0 to 2"),
        (b"speaker=x", 422, "voice 'fake' has no speaker 'x'; its speakers are: a, b"),
        (b"", 422, "voice 'fake' needs a speaker; choose one of: a, b"),
        (b"speaker=a&format=mp3", 422, "format 'mp3' is not offered; choose one of: wav, pcm, f32, ulaw, flac, opus"),
        (b"speaker=a&rate=0", 422, "rate 0 Hz is not offered"),
        (b"speaker=%ff", 400, "percent-encode"),
        (b"speaker=\xff", 400, "percent-encode"),
        (b"&".join(b"k%d=1" % i for i in range(50)), 400, "percent-encode"),
    ],
)
def test_bad_queries_are_refused_in_one_line(query, status, message):
    with pytest.raises(HttpError) as caught:
        read_request(read_query(query), fake_vocoder(speakers=("a", "b")))
    assert caught.value.status == status
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


def test_a_query_says_what_to_make():
    query = read_query(b"seed=18446744073709551615&temperature=0.5&speaker=b&format=pcm")
    request = read_request(query, fake_vocoder(speakers="ab"))
    assert (request.settings, request.form, request.input.kind) == (VoiceSettings(2**64 - 1, 0.5, "b"), "pcm", "file")
    request = read_request({}, fake_vocoder())
    assert (request.settings, request.form) == (VoiceSettings(), "wav")


def test_the_mark_of_synthetic_sound_survives_any_voice_name():
    request = read_request(read_query(b"seed=4"), fake_vocoder())
    headers = dict(protocol.sound_headers(request, fake_vocoder(name='Zoë "1"\r\nX: y')))
    assert headers[b"x-synthetic"] == b'seqgen; kind=vocoder; voice="Zo%C3%AB%20%221%22%0D%0AX%3A%20y"; seed=4'
    assert headers[b"content-type"] == b"audio/wav"


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 65, b"a\r\nb", b"\xff"])
def test_harmful_request_ids_are_replaced(given):
    assert protocol.request_id({b"x-request-id": b"req-1.a_B"}) == "req-1.a_B"
    assert len(protocol.request_id({b"x-request-id": given})) == 16


def test_errors_are_json():
    said = {"message": "später", "type": "overloaded_error", "param": None, "code": "full"}
    assert json.loads(protocol.error_body(503, "später", "full")) == {"error": said}
    assert json.loads(protocol.error_body(422, ""))["error"]["type"] == "invalid_request_error"
    assert json.loads(protocol.error_body(500, ""))["error"]["type"] == "server_error"


def opened(body, content_type="", longest=600.0):
    source = opened_body(body, content_type, longest=longest)
    return source, np.concatenate(list(source.blocks))


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", None)])
@pytest.mark.parametrize("content_type", ["audio/wav", "application/octet-stream", ""])
def test_audio_is_known_by_its_first_bytes(form, subtype, content_type):
    audio = tone(1.3, 16000)
    source, got = opened(audio_file(audio, 16000, form, subtype), content_type)
    assert (source.rate, source.seconds) == (16000, 1.3)
    assert got.shape == audio.shape
    assert form == "OGG" or np.abs(got - audio).max() < 1e-4


def test_a_streamed_wav_may_be_sent_back():
    audio = tone(0.5)
    _, got = opened(wav_header(8000, samples=None) + pcm16(audio).tobytes())
    np.testing.assert_allclose(got, audio, atol=1e-4)


def test_stereo_is_mixed_down():
    left, right = tone(0.2), tone(0.2)[::-1]
    _, got = opened(audio_file(np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(got, (left + right) / 2, atol=1e-6)


def test_features_come_as_safetensors(tmp_path):
    features = log_mel(tone(1.0), SPEC)
    source, got = opened(features_file(tmp_path, features), "application/x-safetensors")
    assert source.rate is None
    np.testing.assert_array_equal(got, features)


def bad_bodies(folder):
    wav, flac, ogg = (audio_file(tone(0.5), form=form) for form in ("WAV", "FLAC", "OGG"))
    good = np.zeros((4, 10), np.float32)
    other = replace(SPEC, fmax=3000.0)
    nan = tone(0.1).copy()
    nan[17] = np.nan
    safetensors = features_file(folder, good)
    return {
        "empty": (b"", f"{BODY} is empty"),
        "text": (b"hello, this is no audio", "is neither audio nor features"),
        "one byte": (b"R", "is neither audio nor features"),
        "riff only": (wav[:12], "truncated"),
        "header only": (wav[:44], "truncated: 0 of 8000 bytes"),
        "truncated wav": (wav[:5000], "truncated: 4956 of 8000 bytes"),
        "truncated flac": (flac[: len(flac) // 2], "truncated or corrupt|not readable"),
        "truncated ogg": (ogg[: len(ogg) // 2], "truncated"),
        "corrupt flac": (flac[:4] + os.urandom(500), "not readable as audio|truncated or corrupt"),
        "no samples": (audio_file(np.zeros(0, np.float32)), "holds 0 samples"),
        "nan": (audio_file(nan, subtype="FLOAT"), f"{BODY}: NaN or infinity at sample 17"),
        "too long": (audio_file(np.zeros(8000 * 11, np.float32), form="FLAC"), "holds 11.0 s, more than the 10 s"),
        "a low rate": (audio_file(tone(0.1), 1000), "unsupported sample rate 1000 Hz"),
        "other features": (features_file(folder, good, other), f"{other.signature} does not match {SPEC.signature}"),
        "nan features": (features_file(folder, good * np.nan), f"{BODY}: not finite"),
        "no frames": (features_file(folder, good[:0]), "holds 0 frames"),
        "too many frames": (features_file(folder, np.zeros((2001, 10))), "holds 10.0 s, more than"),
        "truncated features": (safetensors[:-5], f"{BODY}: not a features file"),
        "corrupt features": (safetensors[:20] + os.urandom(50), "not a features file"),
    }


BAD = ["empty", "text", "one byte", "riff only", "header only", "truncated wav", "truncated flac", "truncated ogg",
       "corrupt flac", "no samples", "nan", "too long", "a low rate", "other features", "nan features", "no frames",
       "too many frames", "truncated features", "corrupt features"]  # fmt: skip


@pytest.mark.parametrize("which", BAD)
def test_bad_bodies_are_refused_in_one_line(which, tmp_path):
    bodies = bad_bodies(tmp_path)
    assert sorted(bodies) == sorted(BAD)
    body, message = bodies[which]
    request = read_request({}, fake_vocoder(), content_type="audio/wav", longest=10.0)
    with pytest.raises(SeqgenError, match=message) as caught:
        everything(fake_vocoder(), request, body)
    assert "\n" not in str(caught.value)
    assert "/tmp" not in str(caught.value)


def test_random_bytes_never_end_in_anything_but_a_refusal():
    rng, heads = np.random.default_rng(0), (b"", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS\0\2", b"\x20\0\0\0\0\0\0\0{")
    whole = [audio_file(tone(0.1), form=form) for form in ("WAV", "FLAC", "OGG")]
    for turn in range(300):
        if turn % 2:
            body = heads[turn % 5] + rng.bytes(int(rng.integers(0, 200)))
        else:
            damaged = bytearray(whole[turn % 3])
            for _ in range(3):
                damaged[int(rng.integers(0, len(damaged)))] = int(rng.integers(0, 256))
            body = bytes(damaged)
        with contextlib.suppress(SeqgenError):
            opened(body)


def test_a_silent_flac_of_hours_is_refused_by_its_header():
    body = audio_file(np.zeros(8000 * 3600, np.int16), form="FLAC")
    assert len(body) < 200_000
    with pytest.raises(SeqgenError, match=r"holds 3600\.0 s, more than the 600 s"):
        opened(body)


def test_no_temporary_file_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    opened(features_file(tmp_path, np.zeros((4, 10), np.float32)))
    with pytest.raises(SeqgenError):
        opened(b"\x20\0\0\0\0\0\0\0{")
    assert list((tmp_path / "t").iterdir()) == []


def test_files_of_any_length_are_taken_from_disk(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(audio_file(np.zeros(8000 * 700, np.int16), form="FLAC"))
    assert from_path(str(path), SPEC).seconds == 700
    with pytest.raises(SeqgenError, match=str(tmp_path / "none.wav")):
        from_path(str(tmp_path / "none.wav"), SPEC)


@pytest.mark.parametrize("spec", ["[" * 100_000, '{"sample_rate": 1' + "0" * 400 + "}", "[]", "null", '{"x": 1}'])
def test_hostile_feature_metadata_is_refused(spec):
    header = json.dumps(
        {
            "__metadata__": {"signature": SPEC.signature, "spec": spec},
            "features": {"dtype": "F32", "shape": [1, 10], "data_offsets": [0, 40]},
        }
    ).encode()
    with pytest.raises(SeqgenError, match=f"{BODY}: "):
        opened(len(header).to_bytes(8, "little") + header + bytes(40))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", ""),
        (b"fLaC", "audio"),
        (b"OggS", "audio"),
        (b"RIFFxxxxWAVE", "audio"),
        (b"RIFFxxxxAVI ", ""),
        (b"\7\0\0\0\0\0\0\0{", "features"),
    ],
)
def test_sniffing(head, kind):
    assert sniff(head) == kind


def test_the_answer_is_a_wav_stream_or_its_bare_samples():
    vocoder, body = fake_vocoder(), audio_file(tone(0.3))
    wav, pcm = (everything(vocoder, read_request({"format": form}, vocoder), body) for form in ("wav", "pcm"))
    assert wav[0] == wav_head(8000, provenance(vocoder, VoiceSettings())) + pcm[0]
    assert wav[1:] == pcm[1:]
    assert len(b"".join(pcm)) == 2 * 2400
