"""The bench counts what listeners hear; its voices of random weights have the shape that they name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from seqgen import presets
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from serving.app import App
from serving.cli.__main__ import main
from serving.client import bench
from serving.completions.load import TEXT
from serving.speech.load import read_texts
from serving.streams.vocoder import VoiceSettings
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice, open_preset
from tests.runtime.speaking import TEXT as SAID
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live, wait_for
from tests.serving.reading_fakes import fake_voice
from tests.serving.text_fakes import fake_text


@pytest.mark.parametrize(("kind", "share"), [("dense", 1.0), ("sparse75", 0.25)])
def test_a_preset_has_the_units_and_the_blocks_of_its_name(tmp_path, kind, share):
    bundle = presets.write(f"wavernn-64-{kind}-int8", tmp_path / "voice")
    weights = Bundle.open(bundle.directory).tensors("weights.safetensors")
    matrix = weights["body.recurrent"]
    assert matrix.shape == (192, 64)
    blocks = matrix.reshape(12, 16, 16, 4).any(axis=(1, 3))
    assert blocks.mean() == share
    assert (matrix != 0).mean() == share
    again = presets.write(f"wavernn-64-{kind}-int8", tmp_path / "again")
    assert again.manifest.files == bundle.manifest.files


def test_a_preset_speaks_without_torch(tmp_path):
    voice = open_preset("wavernn-64-sparse75-bf16", tmp_path / "voice")
    assert voice.model.sample_rate == 24000
    assert voice.model.runtime.format == "bf16"
    assert voice.capacity.alone > 0
    assert voice.capacity.batch == 16
    stream = voice.model.start(VoiceSettings(seed=1), rate=None)
    stream.push(np.zeros((10, 80), np.float32))
    stream.finish()
    assert sum(map(len, stream.chunks())) == 3000


@pytest.mark.parametrize(
    "name", ["", "wavernn", "wavernn-896", "wavernn-70-dense-int8", "wavernn-64-sparse999-int8", "x"]
)
def test_other_presets_are_refused(tmp_path, name):
    with pytest.raises(SeqgenError, match="unknown preset"):
        presets.write(name, tmp_path / "voice")
    assert not (tmp_path / "voice").exists()


def test_listeners_hear_everything_and_those_turned_away_are_counted():
    with Live(App(fake_vocoder(batch=16, speakers=("a", "b")), threads=1, slots=2)) as server:
        target = bench.BenchTarget.of(f"http://127.0.0.1:{server.port}")
        assert (target.voice, target.speaker, target.sample_rate) == ("fake", "a", 8000)
        heard = bench.run_listeners(target, 3, 1.2)
    assert (heard.refused, heard.failed) == (1, [])
    assert len(heard.first) >= 2
    assert heard.seconds >= 2 * bench.AHEAD
    report = bench.report(heard)
    assert 0 < report["first_audio_ms_p50"] <= report["first_audio_ms_p99"]


def test_readers_are_measured_where_there_is_no_voice():
    with Live(App(fake_text(), threads=1, slots=2)) as server:
        name, load = bench._load(f"http://127.0.0.1:{server.port}", [])
        assert name == "lm"
        wait_for(lambda: server.app.pool.busy == 0)
        got = load(3, 0.5)
    assert (got.refused, got.failed) == (1, [])
    assert got.symbols == TEXT * len(got.first) > TEXT
    figures = got.figures()
    assert figures["tokens_per_second"] == round(got.symbols / got.seconds, 1)
    assert 0 < figures["first_text_ms_p50"] <= figures["first_text_ms_p99"]


def test_a_target_has_to_be_there_and_have_the_voice():
    with Live(App(fake_vocoder(), threads=1)) as server:
        url = f"http://127.0.0.1:{server.port}"
        with pytest.raises(SeqgenError, match="no voice 'x'; voices: fake"):
            bench.BenchTarget.of(url, "x")
    with pytest.raises(SeqgenError, match="no seqgen-serve answers there"):
        bench.BenchTarget.of(url)


def test_a_voice_slower_than_its_listener_is_heard_to_break_off():
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.delay = 0.01  # twice as long as what it makes
    with Live(App(vocoder, threads=1)) as server:
        heard = bench.run_listeners(bench.BenchTarget.of(f"http://127.0.0.1:{server.port}"), 1, 1.0)
        metrics = server.request("GET", "/metrics")[2].decode()
    assert heard.underruns > 3
    assert heard.late > 0
    assert 'seqgen_underruns_total{voice="fake"} 0' not in metrics


def test_the_command_starts_a_server_and_tells_its_figures(repository):
    command = [sys.executable, "-m", "serving.cli", "bench", "--preset", "wavernn-64-sparse75-int8", "--streams", "2",
               "--seconds", "1", "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(repository)})  # fmt: skip
    report = json.loads(done.stdout)
    asked = {"streams", "seconds", "underruns", "first_audio_ms_p50", "first_audio_ms_p99", "refused", "cpu_percent",
             "rss_mb", "pss_mb", "per_stream_mb"}  # fmt: skip
    assert asked <= set(report)
    assert (report["refused"], report["failed"]) == (0, 0)
    assert len(report["pss_mb_each"]) == 3  # the server, what its workers are forked from, and one of them
    assert report["rss_mb"] > report["pss_mb"] > 20
    assert sum(report["pss_mb_each"]) == pytest.approx(report["pss_mb"], abs=0.2)
    assert report["cpu_percent"] > 0


def test_texts_are_read_to_listeners_and_those_turned_away_are_counted():
    voice = fake_voice()
    voice.runtime.gate, voice.runtime.gate_from = threading.Event(), 1  # until the third was turned away
    with Live(App(FixedVoices(LoadedVoice(voice), LoadedVoice(fake_vocoder())), threads=1, slots=2)) as server:
        target = bench.BenchTarget.of(f"http://127.0.0.1:{server.port}")
        assert (target.voice, target.reads) == ("ann", True)
        threading.Timer(1.0, voice.runtime.gate.set).start()
        heard = bench.run_readings(target, ["a" * 40, "b" * 20], 3, 2.0)
    assert (heard.refused, heard.failed) == (1, [])
    assert len(heard.first) > 2
    assert {"a" * 40, "b" * 20} == set(voice.reader.texts)
    least = 0.1 * (len(heard.first) - 2)  # the last of each listener may have been cut by the end
    assert least <= heard.seconds <= 0.2 * len(heard.first)


def test_texts_want_a_voice_that_reads_and_a_file_that_holds_some(tmp_path):
    with (
        Live(App(fake_vocoder(), threads=1)) as server,
        pytest.raises(SeqgenError, match="voice 'fake' does not read"),
    ):
        bench._load(f"http://127.0.0.1:{server.port}", ["a"])
    (tmp_path / "texts").write_text(" One.  \n\n Two.\n")
    assert read_texts(tmp_path / "texts") == ["One.", "Two."]
    for content, told in ((b" \n", "holds no text"), (b"\xff", "not UTF-8"), (None, "No such file")):
        (tmp_path / "texts").unlink()
        if content is not None:
            (tmp_path / "texts").write_bytes(content)
        with pytest.raises(SeqgenError, match=told):
            read_texts(tmp_path / "texts")
        (tmp_path / "texts").touch()


def test_the_command_measures_speech(tmp_path, reading_voice, capsys):
    (tmp_path / "texts").write_text(f"{SAID}\n")
    words = ["--voice", str(reading_voice), "--text", str(tmp_path / "texts"), "--streams", "1", "--seconds", "1"]
    assert main(["bench", *words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["refused"], report["failed"]) == (0, 0)
    assert report["audio_seconds"] > 0
    assert report["real_time_factor"] > 0
    assert report["first_audio_count"] > 0
