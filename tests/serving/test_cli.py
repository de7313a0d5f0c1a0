"""The command line, with a fake voice."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from seqgen.audio.features import log_mel
from seqgen.audio.io import read, wav_header
from seqgen.errors import SeqgenError
from seqgen.files import inputs
from serving.cli import serve, vocode
from serving.cli.__main__ import main
from serving.voices import voice
from serving.voices.voice import LoadedVoice
from tests.serving.fakes import audio_file, fake_vocoder, features_file, tone


@pytest.fixture
def vocoder(monkeypatch):
    made = fake_vocoder(speakers=("a", "b"))
    monkeypatch.setattr(vocode, "open_vocoder", lambda _: made)
    return made


@pytest.fixture
def recording(tmp_path):
    """A second of sound in tmp_path/in.wav."""
    path = tmp_path / "in.wav"
    path.write_bytes(audio_file(tone(1.0)))
    return str(path)


def run(*arguments):
    return main(["vocode", *arguments, "--voice", "v", "--speaker", "b"])


def test_a_file_is_written_whole_and_correct(vocoder, recording, tmp_path, capsys):
    for name in ("out.wav", "out.flac"):
        assert run(recording, "-o", str(tmp_path / name), "--seed", "3") == 0
    wav, rate = soundfile.read(tmp_path / "out.wav")
    flac, _ = soundfile.read(tmp_path / "out.flac")
    assert (rate, len(wav)) == (8000, 8000)
    np.testing.assert_array_equal(wav, flac)
    assert "real-time factor" in capsys.readouterr().err


def test_pipes_get_a_stream_header_or_bare_samples(vocoder, recording, tmp_path, capsysbinary):
    assert run(recording, "-o", "-") == 0
    wav = capsysbinary.readouterr().out
    assert run(recording, "-o", "-", "--raw") == 0
    raw = capsysbinary.readouterr().out
    assert wav == wav_header(8000, samples=None) + raw
    assert len(raw) == 16000
    assert run(recording, "-o", str(tmp_path / "out.raw"), "--raw") == 0
    assert (tmp_path / "out.raw").read_bytes() == raw


def test_features_sound_as_the_recording_they_were_made_of(vocoder, recording, tmp_path, capsysbinary):
    path = tmp_path / "f.safetensors"
    path.write_bytes(features_file(tmp_path, log_mel(read(recording)[0], vocoder.features)))
    assert run(recording, "-o", "-", "--raw") == 0
    assert run(str(path), "-o", "-", "--raw") == 0
    both = capsysbinary.readouterr().out
    assert both[:16000] == both[16000:]


def test_json_goes_where_the_sound_does_not(vocoder, recording, tmp_path, capsys):
    assert run(recording, "-o", str(tmp_path / "out.wav"), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["samples"], report["sample_rate"], report["audio_seconds"]) == (8000, 8000, 1.0)
    assert 0 < report["first_audio_ms"] < 1000 * report["wall_seconds"] + 1
    assert report["real_time_factor"] > 0


def test_json_moves_to_standard_error_when_sound_is_piped(vocoder, recording, capsysbinary):
    assert run(recording, "-o", "-", "--json") == 0
    out, err = capsysbinary.readouterr()
    assert len(out) == 44 + 16000
    assert json.loads(err)["samples"] == 8000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.wav", "-o", "out.wav"], "none.wav: No such file"),
        (["cut.wav", "-o", "out.wav"], "cut.wav: truncated"),
        (["in.wav", "-o", "out.mp3"], "out.mp3: unknown audio format '.mp3'"),
        (["in.wav", "-o", "no/such/out.wav"], "cannot be written"),
        (["in.wav", "-o", "out.wav", "--seed", "-1"], "seed -1 is out of range"),
        (["in.wav", "-o", "out.wav", "--temperature", "7"], "temperature 7.0 is out of range"),
        (["in.wav", "-o", "out.wav", "--speaker", "x"], "no speaker 'x'; its speakers are: a, b"),
    ],
)
@pytest.mark.usefixtures("vocoder", "recording")
def test_errors_are_one_line_and_leave_nothing(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.wav").write_bytes(audio_file(tone(1.0))[:999])
    before = sorted(os.listdir(tmp_path))
    assert main(["vocode", "--voice", "v", "--speaker", "b", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("form", [[], ["--raw"]])
@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 1)])
def test_an_interruption_leaves_the_old_file(recording, capsys, vocoder, error, status, form):
    tmp_path = Path(recording).parent
    out = tmp_path / "out.wav"
    out.write_bytes(b"old")
    inner, calls = vocoder.runtime.sample, []

    def sample(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return inner(*arguments)

    vocoder.runtime.sample = sample
    assert run(recording, "-o", str(out), *form) == status
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["in.wav", "out.wav"]
    assert capsys.readouterr().err.count("\n") == 1


def test_a_voice_that_fails_is_one_line_too(vocoder, recording, tmp_path, capsys):
    vocoder.runtime.nan_after = 4000
    assert run(recording, "-o", str(tmp_path / "out.wav")) == 1
    assert capsys.readouterr().err.startswith("error: voice 'fake' gave")
    assert os.listdir(tmp_path) == ["in.wav"]


def test_a_missing_voice_is_one_line(tmp_path, capsys):
    assert main(["vocode", "a.wav", "-o", "b.wav", "--voice", str(tmp_path)]) == 1
    assert main(["serve", "--voice", str(tmp_path), "--port", "0"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") and "no bundle here" in line for line in lines] == [True, True]


def test_a_voice_that_fails_its_golden_vectors_is_not_served(tiny_bundle, monkeypatch, capsys):
    def refuse(runtime):
        assert runtime.manifest.name == "tiny"
        raise SeqgenError("voice: other audio", remedy="export it again")

    monkeypatch.setattr(voice, "require_golden", refuse)
    assert main(["serve", "--voice", str(tiny_bundle), "--port", "0"]) == 1
    assert capsys.readouterr().err == "error: voice: other audio; export it again\n"


def test_an_address_that_cannot_be_used_is_one_line(vocoder, monkeypatch, capsys):
    monkeypatch.setattr(serve, "open_voice", lambda _: LoadedVoice(vocoder))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--voice", "v", "--port", port]) == 1
    assert main(["serve", "--voice", "v", "--host", "203.0.113.1", "--port", "0"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"error: cannot listen on 127.0.0.1:{port} (Address already in use)")
    assert lines[1].startswith("error: cannot listen on 203.0.113.1:0")


@pytest.mark.parametrize(
    "arguments",
    [[], ["serve"], ["vocode", "a.wav"], ["serve", "--voice", "v", "--threads", "0"],
     ["serve", "--voice", "v", "--port", "99999"]],
)  # fmt: skip
def test_usage_mistakes_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_teaches(capsys):
    for command in ("serve", "vocode"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "examples:" in capsys.readouterr().out


def test_sound_that_comes_through_a_pipe(vocoder, recording, tmp_path, monkeypatch, capsysbinary):
    """Standard input and the shell's <(…), whose end cannot be sought: recordings and features alike."""
    sound = Path(recording).read_bytes()
    features = features_file(tmp_path, log_mel(read(recording)[0], vocoder.features))
    assert run(recording, "-o", "-", "--raw") == 0
    expected = capsysbinary.readouterr().out
    for given in (sound, features):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
        assert run("-", "-o", "-", "--raw") == 0
        assert capsysbinary.readouterr().out == expected
        reader, writer = os.pipe()
        threading.Thread(target=lambda end=writer, given=given: (os.write(end, given), os.close(end))).start()
        assert run(f"/dev/fd/{reader}", "-o", "-", "--raw") == 0
        os.close(reader)
        assert capsysbinary.readouterr().out == expected


@pytest.mark.parametrize(
    ("given", "message"), [(b"", "the file is empty"), (b"no sound", "standard input: not readable")]
)
def test_what_comes_through_a_pipe_is_named(vocoder, tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
    assert run("-", "-o", str(tmp_path / "out.wav")) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: standard input: ")
    assert message in said
    assert os.listdir(tmp_path) == []


def test_a_pipe_is_not_read_for_ever(vocoder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inputs, "LARGEST", 1 << 20)
    assert run("/dev/zero", "-o", str(tmp_path / "out.wav")) == 1
    assert "/dev/zero: gives more than" in capsys.readouterr().err
