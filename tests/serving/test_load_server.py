"""The load generator in C, which shares no code with ours, hears what ours hears."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from serving.app import App
from serving.client import bench
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live
from tools.check_load import compiled, other

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("load"))


def test_it_hears_everything_and_counts_who_is_turned_away(program):
    with Live(App(fake_vocoder(batch=16, speakers=("a", "b")), threads=1, slots=2)) as server:
        url = f"http://127.0.0.1:{server.port}"
        told = other(program, url, 3, 1.2)
        ours = bench.report(bench.run_listeners(bench.BenchTarget.of(url), 3, 1.2))
        text = server.request("GET", "/metrics")[2].decode()
    assert told.keys() == ours.keys()
    assert (told["refused"], told["failed"]) == (1, 0)
    assert 0 < told["first_audio_ms_p50"] <= told["first_audio_ms_p99"] < 1000
    assert (ours["refused"], ours["failed"]) == (1, 0)
    assert told["first_audio_count"] >= 2
    assert told["audio_seconds"] >= 2 * bench.AHEAD
    made = told["audio_seconds"] + ours["audio_seconds"]
    assert f'seqgen_audio_seconds_total{{voice="fake"}} {made:.1f}' in text


def test_it_counts_the_gaps_of_a_voice_that_is_too_slow(program):
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.delay = 0.01  # twice as long as what it makes
    with Live(App(vocoder, threads=1)) as server:
        told = other(program, f"http://127.0.0.1:{server.port}", 1, 1.0)
        metrics = server.request("GET", "/metrics")[2].decode()
    assert told["underruns"] > 3
    assert told["longest_silence_ms"] > 5
    assert 'seqgen_underruns_total{voice="fake"} 0' not in metrics


def test_it_tells_that_nothing_answers(program):
    done = subprocess.run([str(program), "127.0.0.1", "1", "1", "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2, "load_server: nothing answers on 127.0.0.1:1; start seqgen-serve first\n",
    )  # fmt: skip
