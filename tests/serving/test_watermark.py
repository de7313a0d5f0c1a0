"""The watermark on its way out: on speech unless the operator says no, on vocoders' sound where told, found again."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seqgen.audio.features import log_mel
from seqgen.audio.io import pcm16, read, write
from seqgen.audio.resample import resample
from seqgen.audio.watermark import watermarked
from seqgen.errors import SeqgenError
from serving import ray_app
from serving.app import App
from serving.cli import vocode
from serving.cli.__main__ import main, parser
from serving.http.protocol import RequestLimits
from serving.reload import request_limits
from serving.sound.formats import encoder
from serving.streams.capacity import SoundCosts, sound_costs
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import WATERMARKED, bears_watermark
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live
from tests.serving.test_websocket import INIT, dial, hear, push, say

ALL = RequestLimits(watermark="all")


@pytest.fixture
def speech(repository: Path) -> np.ndarray:
    """3.9 s of a vocoder's speech at 16 kHz."""
    return read(repository / "docs" / "demo-voice.flac")[0]


def test_samples_are_marked_before_all_else_and_any_cut_gives_the_same_bytes(speech):
    """At the voice's rate, so that all formats and rates of a sound bear the same mark."""
    marked = watermarked(speech, 16000)
    for form, rate in (("pcm", 16000), ("f32", 16000), ("wav", 24000), ("ulaw", 8000), ("flac", 16000)):
        plain, made, cut = (encoder(form, 16000, rate, "m", watermark=on) for on in (False, True, True))
        whole = made.push(speech) + made.finish()
        assert whole == plain.push(marked) + plain.finish()
        pieces = [cut.push(piece) for piece in np.split(speech, range(333, len(speech), 333))]
        assert b"".join([*pieces, cut.finish()]) == whole
    first = encoder("pcm", 16000, 16000, watermark=True).push(speech[:1])
    assert len(first) == 2  # nothing is held back


def test_which_voices_bear_it():
    vocoder, voice = (SimpleNamespace(reader=reader) for reader in (None, object()))
    assert [bears_watermark(voice, wanted) for wanted in WATERMARKED] == [True, True, False]
    assert [bears_watermark(vocoder, wanted) for wanted in WATERMARKED] == [False, True, False]


@pytest.mark.parametrize(("words", "wanted"), [([], "speech"), (["--no-mark"], "none"), (["--mark-all"], "all")])
def test_the_operator_chooses(words, wanted, tmp_path):
    """On the command line or in the file of options; both at once is refused."""
    assert request_limits(parser().parse_args(["serve", "--voice", "v", *words])).watermark == wanted
    config = tmp_path / "serve.toml"
    config.write_text("".join(f"{word[2:]} = true\n" for word in words) + 'voice = "v"\n')
    options = parser().parse_args(["serve", "--config", str(config)])
    assert request_limits(options).watermark == wanted
    config.write_text('voice = "v"\nno-mark = true\n')  # read again by SIGHUP
    assert request_limits(options.parser.read_again(options)).watermark == "none"
    with pytest.raises(SystemExit):
        parser().parse_args(["serve", "--voice", "v", "--no-mark", "--mark-all"])


def test_a_replica_of_ray_takes_the_choice(tiny_bundle):
    _, replica = ray_app.read({"voices": str(tiny_bundle), "watermark": "none"})
    assert replica.build()._streams[0].limits.watermark == "none"
    with pytest.raises(SeqgenError, match=r"watermark=some is no choice; choose one of speech"):
        ray_app.read({"voices": "v", "watermark": "some"})


def test_a_vocoder_bears_it_over_http_where_the_operator_says_so():
    vocoder, body = fake_vocoder(batch=16), audio_file(tone(1.0))
    plain = b"".join(everything(vocoder, SoundRequest(form="pcm"), body))
    marked = b"".join(everything(vocoder, SoundRequest(form="pcm", watermark=True), body))
    sound = np.frombuffer(b"".join(everything(vocoder, SoundRequest(form="f32"), body)), "<f4")
    assert marked == pcm16(watermarked(sound, SPEC.sample_rate)).astype("<i2").tobytes() != plain
    with Live(App(vocoder, threads=1)) as usual, Live(App(vocoder, threads=1, limits=ALL)) as server:
        _, headers, answer = usual.post("format=pcm", body)
        assert (answer, "watermark" in headers["x-synthetic"]) == (plain, False)
        _, headers, answer = server.post("format=pcm", body)
        assert (answer, headers["x-synthetic"][-13:]) == (marked, "; watermark=1")
        assert b"; watermark=1" in server.post("format=wav", body)[2]


def test_a_sound_that_was_begun_otherwise_is_not_gone_on_with():
    vocoder, body, secret = fake_vocoder(batch=16), audio_file(tone(0.5)), b"s" * 32
    with (
        Live(App(vocoder, threads=1, secret=secret)) as one,
        Live(App(vocoder, threads=1, secret=secret, limits=ALL)) as other,
    ):
        token = other.post("format=pcm", body)[1]["x-resume-token"]
        whole = other.post("format=pcm", body)[2]
        assert other.post(f"resume={token}&offset=2000", body)[2] == whole[2000:]
        assert one.post(f"resume={token}&offset=2000", body)[0] == 409


def test_utterances_of_a_websocket_bear_it_each_from_its_beginning():
    vocoder, frames = fake_vocoder(batch=16), log_mel(tone(0.6), SPEC)
    body = frames.astype("<f4").tobytes()
    with Live(App(vocoder, threads=1, limits=ALL)) as server, dial(server) as sock:
        say(sock, **INIT, seed=5)
        assert hear(sock, "ready")[1]["synthetic"].endswith("; watermark=1")
        for number in range(2):
            push(sock, frames)
            say(sock, type="flush")
            request = SoundRequest(form="pcm", input=InputFormat("features"), watermark=True)
            request = replace(request, settings=replace(request.settings, seed=5, stream=number))
            assert hear(sock, "flushed")[0] == b"".join(everything(vocoder, request, body))


def test_what_it_costs_is_admitted_by():
    vocoder = fake_vocoder()
    request = SoundRequest(form="pcm", input=InputFormat("features"))
    assert request.surcharge(vocoder, SoundCosts(watermark=0.004)) == 0
    assert replace(request, watermark=True).surcharge(vocoder, SoundCosts(watermark=0.004)) == 0.004
    ticks = iter(range(1000))
    assert sound_costs(SPEC, lambda: next(ticks)).watermark > 0


def test_a_vocoded_file_bears_it_where_asked(tmp_path, monkeypatch):
    vocoder = fake_vocoder()
    monkeypatch.setattr(vocode, "open_vocoder", lambda _: vocoder)
    (tmp_path / "in.wav").write_bytes(audio_file(tone(1.0)))
    made = {}
    for word in ("", "--no-mark", "--mark"):
        given = ["vocode", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav"), "--voice", "v", *word.split()]
        assert main(given) == 0
        made[word] = read(tmp_path / "out.wav")[0]
    assert np.array_equal(made[""], made["--no-mark"])
    np.testing.assert_allclose(made["--mark"], watermarked(made[""], SPEC.sample_rate), atol=2**-14)
    assert not np.array_equal(made[""], made["--mark"])


def test_it_is_detected_from_the_command_line(speech, tmp_path, capsys, monkeypatch):
    """In a file or what comes through a pipe; the status says whether it is there."""
    for name, audio in (("marked", watermarked(speech, 16000)), ("plain", speech)):
        write(tmp_path / f"{name}.wav", resample(audio, 16000, 8000), 8000)
    assert main(["detect", str(tmp_path / "marked.wav")]) == 0
    assert capsys.readouterr().out.startswith("marked: score ")
    assert main(["detect", str(tmp_path / "plain.wav")]) == 1
    assert capsys.readouterr().out.startswith("no mark found: score ")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((tmp_path / "marked.wav").read_bytes())))
    assert main(["detect", "-", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["present"] is True
    assert told["score"] > told["threshold"] > 6
    assert told["false_alarm"] < told["false_alarms"] == 1e-6
    assert (told["start"], told["seconds"]) == (0.0, 3.875)


def test_what_cannot_be_looked_at_is_named(tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no sound")
    write(tmp_path / "empty.wav", np.zeros(0), 8000)
    for name in ("text.wav", "missing.wav", "empty.wav"):
        assert main(["detect", str(tmp_path / name)]) == 1
        assert name in capsys.readouterr().err
