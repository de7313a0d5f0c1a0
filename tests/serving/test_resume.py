"""A sound that was cut goes on where it was, on another server, to the byte."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from serving.app import App
from serving.http.protocol import HttpError
from serving.http.resume import ResumeClaim, ResumeTokens, read_resumption, read_secret
from serving.scheduling.batcher import MAX_LEAD, Batcher
from serving.scheduling.events import FlowControl
from serving.sound import opus
from serving.sound.formats import FORMATS
from serving.streams.sound import InputFormat, SoundRequest
from serving.workers.process_worker import process_workers
from tests.serving.fakes import SPEC, audio_file, everything, fake_opener, fake_reference, fake_vocoder, tone
from tests.serving.live import Live, message

SECRET = b"s" * 32
CLAIM = ResumeClaim(None, "0" * 64, "native int8", 2**64 - 1, 0.3, "ä", "flac", 8000, "1" * 64, 7)


@pytest.fixture(scope="module")
def servers():
    """Two servers that share a secret, one with a worker process; and one that shares nothing."""
    assert fake_opener(fake_reference(fake_vocoder(batch=16))).batch == 16
    make = process_workers("tests.serving.fakes:fake_opener", fake_reference)
    with (
        Live(App(fake_vocoder(batch=16), threads=1, secret=SECRET)) as one,
        Live(App(fake_vocoder(batch=16), threads=1, secret=SECRET, make=make)) as other,
        Live(App(fake_vocoder(batch=16), threads=1)) as stranger,
    ):
        yield one, other, stranger


@pytest.mark.parametrize("form", FORMATS)
def test_the_rest_of_the_bytes_comes_from_another_server(servers, form):
    if form == "opus" and opus.library() is None:
        pytest.skip("there is no libopus here")
    one, other, _ = servers
    body = audio_file(tone(1.0))
    status, headers, whole = one.post(f"format={form}&seed=9&temperature=0.7", body)
    if status == 422:
        pytest.skip(message(whole))
    token = headers["x-resume-token"]
    for offset in (0, 1, 43, 44, len(whole) // 2, len(whole) - 1, len(whole)):
        status, headers, rest = other.post(f"resume={token}&offset={offset}", body)
        assert status == 200
        assert rest == whole[offset:]
    # Cut twice: what came with the second token counts from where that answer began.
    _, headers, _ = other.post(f"resume={token}&offset=1000", body)
    status, _, rest = one.post(f"resume={headers['x-resume-token']}&offset=500", body)
    assert rest == whole[1500:]
    assert headers["content-type"] == one.post(f"format={form}", body)[1]["content-type"]


def test_what_would_not_be_the_same_sound_is_refused(servers):
    one, other, stranger = servers
    body = audio_file(tone(0.2))
    _, headers, whole = one.post("format=pcm", body)
    token = headers["x-resume-token"]
    turned = token[:-1] + ("A" if token[-1] != "A" else "B")
    for server, query, given, status, text in [
        (stranger, f"resume={token}&offset=0", body, 422, "not written by this server"),
        (other, f"resume={turned}&offset=0", body, 422, "not written by this server"),
        (other, "resume=x&offset=0", body, 422, "not written by this server"),
        (other, f"resume={token}", body, 422, "come together"),
        (other, f"resume={token}&offset=1&seed=3", body, 422, "come together"),
        (other, "offset=1", body, 422, "come together"),
        (other, f"resume={token}&offset=-1", body, 422, "offset is not a number"),
        (other, f"resume={token}&offset=99999999999", body, 422, "offset is not a number"),
        (other, f"resume={token}&offset={len(whole) + 3}", body, 422, "is 3 bytes behind the end"),
        (other, f"resume={token}&offset=0", body + b"x", 409, "the body is not the one"),
    ]:
        got, _, answer = server.post(query, given)
        assert (got, text in message(answer)) == (status, True), answer
    assert json.loads(other.post(f"resume={token}&offset=0", b"x")[2])["error"]["code"] == "input_changed"


def test_another_voice_under_the_same_name_is_refused():
    body, vocoder = audio_file(tone(0.2)), fake_vocoder()
    with Live(App(vocoder, threads=1)) as server:
        token = server.post("format=pcm", body)[1]["x-resume-token"]
        vocoder.manifest.digest = "1" * 64
        status, _, answer = server.post(f"resume={token}&offset=0", body)
        assert status == 409
        assert "is not what it was" in message(answer)


def test_tokens_keep_every_field_and_no_other_secret_reads_them():
    tokens = ResumeTokens(SECRET)
    assert tokens.read(tokens.write(CLAIM)) == CLAIM
    values, claim = read_resumption({"resume": tokens.write(CLAIM), "offset": "5"}, tokens)
    assert claim == replace(CLAIM, offset=12)
    assert values == {
        "seed": str(2**64 - 1),
        "temperature": "0.3",
        "format": "flac",
        "rate": "8000",
        "speaker": "ä",
    }
    for token in ("", ".", "a.b.c", "é.é", "AA.AA", tokens.write(CLAIM) * 10):
        with pytest.raises(HttpError):
            tokens.read(token)
    with pytest.raises(HttpError):
        ResumeTokens().read(tokens.write(CLAIM))


def test_a_secret_is_long_and_readable(tmp_path):
    (tmp_path / "short").write_bytes(b"s" * 31 + b"\n")
    (tmp_path / "good").write_bytes(SECRET + b"\n")
    assert read_secret(tmp_path / "good") == SECRET
    with pytest.raises(SeqgenError, match="31 bytes, at least 32"):
        read_secret(tmp_path / "short")
    with pytest.raises(SeqgenError, match="No such file"):
        read_secret(tmp_path / "none")


def test_catching_up_waits_for_listeners_who_would_run_dry():
    vocoder = fake_vocoder(batch=1)
    frames = np.full((2000, SPEC.n_mels), SPEC.silence, "<f4").tobytes()
    request = SoundRequest(form="pcm", input=InputFormat("features"))
    whole = b"".join(everything(vocoder, request, frames))
    batcher, flows = Batcher(slots=2), [FlowControl(), FlowControl()]
    skip = 100_000
    for slot, chosen in enumerate((request, replace(request, skip=skip))):
        batcher.open((slot, 0), vocoder, chosen, 0.0, flows[slot])
        batcher.push((slot, 0), frames)
        batcher.finish((slot, 0))
    turns, heard = [], [b"", b""]
    while flows[1].sent == 0:
        batch = batcher.plan(0.0)
        turns.append(batch.keys[0][0])
        batch.run()
        batcher.commit(batch, 0.0)
        for event in batcher.events():
            heard[event.key[0]] += event.data
    # First the listener, until he has half a second in hand; then the other in one go, with no sound on the way.
    assert turns == sorted(turns)
    assert 0.4 * 16000 <= len(heard[0]) < MAX_LEAD * 16000
    assert whole.startswith(heard[0])
    assert whole[skip:].startswith(heard[1])
    assert heard[1]
