"""A real exported voice, in real processes: the command line, the pipe and the server give the same bytes."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgen.audio.features import log_mel, save_features
from seqgen.audio.io import pcm16, wav_header
from seqgen.bundle import Bundle
from seqgen.runtime import open_runtime
from serving.speech.output import stream
from serving.streams.vocoder import StreamingVocoder, VoiceSettings
from tests.serving.live import message, wait_for
from tests.serving.test_vocoder import cut, streamed

# Runs the command line as an installed script would, then tells which libraries the process had loaded.
PROGRAM = """
import json, sys
from serving.cli.__main__ import main
status = main(sys.argv[1:])
sys.stderr.write(json.dumps(sorted({name.split(".")[0] for name in sys.modules})) + "\\n")
sys.exit(status)
"""
HEAVY = {"torch", "torchaudio", "librosa", "yaml", "httpx", "scipy", "matplotlib", "lightning_fabric", "pandas", "onnx"}


@pytest.fixture(scope="module")
def voice(tiny_bundle: Path) -> Path:
    """The directory of the voice."""
    return tiny_bundle


@pytest.fixture(scope="module")
def vocoder(voice) -> StreamingVocoder:
    bundle = Bundle.open(voice)
    return StreamingVocoder(bundle, open_runtime(bundle, threads=1))


@pytest.fixture(scope="module")
def speaker(vocoder) -> str | None:
    return vocoder.speakers[0] if vocoder.inputs else None


@pytest.fixture(scope="module")
def recording(vocoder, tmp_path_factory) -> Path:
    rate = vocoder.sample_rate
    t = np.arange(rate // 4 + 17) / rate
    path = tmp_path_factory.mktemp("audio") / "in.wav"
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (150 + 200 * t) * t), rate)
    return path


@pytest.fixture(scope="module")
def expected(vocoder, recording, speaker) -> bytes:
    """The recording through the stream in one piece, seed 7, as PCM."""
    audio, rate = soundfile.read(recording, dtype="float32")
    return pcm16(streamed(vocoder, [audio], VoiceSettings(7, 1.0, speaker), rate)).astype("<i2").tobytes()


def start(repository, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    # A test run started in the background ignores Ctrl-C, and so would every process it starts.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)], env=environment, **pipes)


@contextlib.contextmanager
def serving(repository, voice, *arguments):
    process = start(repository, "serve", "--voice", voice, "--port", "0", *arguments)
    try:
        line = process.stdout.readline().decode()
        found = re.search(r"ready: voice '.+' at \d+ Hz through native .+ on http://127\.0\.0\.1:(\d+)\n", line)
        if not found:
            process.kill()
        assert found, line + process.stderr.read().decode()
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def post(port, body, query="format=pcm&seed=7", *, speaker=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", f"/v1/vocode?{query}" + (f"&speaker={speaker}" if speaker else ""), body)
    return connection, connection.getresponse()


def test_any_chunking_gives_the_same_bytes_and_length(vocoder, recording, expected, speaker):
    audio, rate = soundfile.read(recording, dtype="float32")
    assert len(expected) == 2 * len(audio)
    rng = np.random.default_rng(1)
    for pieces in (3, 60):
        got = streamed(vocoder, cut(rng, audio, pieces), VoiceSettings(7, 1.0, speaker), rate)
        assert pcm16(got).astype("<i2").tobytes() == expected


def test_the_stream_equals_one_long_call_of_the_runtime(vocoder, recording, expected, speaker):
    from seqgen import noise

    audio, _ = soundfile.read(recording, dtype="float32")
    spec = vocoder.features
    silence = np.full((vocoder.alignment.look_ahead, spec.n_mels), spec.silence, np.float32)
    frames = np.concatenate([log_mel(audio, spec), silence])
    cond = np.concatenate([frames, np.tile(vocoder.speaker_one_hot(speaker), (len(frames), 1))], axis=1)
    count = vocoder.alignment.first_samples(len(frames))
    uniforms = noise.block(7, 0, 0, count * vocoder.uniforms)[None]
    made, _ = vocoder.runtime.sample(uniforms, vocoder.initial_state, cond[None], 1.0)
    assert pcm16(made[0][: len(audio)]).astype("<i2").tobytes() == expected


def test_the_server_gives_these_bytes_without_torch(repository, voice, vocoder, recording, expected, speaker):
    features = recording.with_suffix(".safetensors")
    save_features(features, log_mel(soundfile.read(recording)[0], vocoder.features), vocoder.features)
    with serving(repository, voice) as (process, port):
        for path in (recording, features):
            _, answer = post(port, path.read_bytes(), speaker=speaker)
            sound = answer.read()
            assert answer.status == 200
            # Features say how many frames there are, a recording how many samples.
            assert sound[: len(expected)] == expected
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert set(json.loads(err.decode().splitlines()[-1])) & HEAVY == set()


def test_the_pipe_gives_these_bytes_without_torch_or_a_server(repository, voice, recording, expected, speaker):
    named = ["--speaker", speaker] if speaker else []
    process = start(repository, "vocode", recording, "-o", "-", "--voice", voice, "--seed", "7", *named)
    sound, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert sound[:44] == wav_header(soundfile.info(recording).samplerate, samples=None)
    assert sound[44:] == expected
    assert set(json.loads(err.decode().splitlines()[-1])) & (HEAVY | {"starlette", "uvicorn"}) == set()


def test_the_pipe_has_each_chunk_before_the_next_is_made():
    """The order of events, not their times: a fast engine outruns any reader."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    heard = []

    def chunks():
        for value in (0.25, -0.5, 0.75):
            yield np.full(100, value, np.float32)
            heard.append(os.read(read, 1 << 16))

    with open(write, "wb") as out, open(read, "rb"):
        stream(out, chunks(), b"head")
        assert heard[0][:4] == b"head"
        assert [len(piece) for piece in heard] == [204, 200, 200]


def test_sound_flows_while_it_is_made(repository, voice, vocoder, speaker):
    """The answer begins while its end does not exist yet: the rest waits until somebody reads."""
    rate = vocoder.sample_rate
    body = io.BytesIO()
    soundfile.write(body, np.zeros(100 * rate, np.float32), rate, format="FLAC")
    with serving(repository, voice) as (_, port):

        def busy():
            plain = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            plain.request("GET", "/readyz")
            return json.loads(plain.getresponse().read())["busy"]

        connection, answer = post(port, body.getvalue(), speaker=speaker)
        assert answer.read(2 * vocoder.features.hop // 4)
        assert busy() == 1
        # The listener hangs up; the server notices and is free again.
        answer.close()
        connection.close()
        wait_for(lambda: busy() == 0, 60)


def test_sigterm_lets_the_sound_finish(repository, voice, recording, expected, speaker):
    with serving(repository, voice) as (process, port):
        _, answer = post(port, recording.read_bytes(), speaker=speaker)
        process.send_signal(signal.SIGTERM)
        assert answer.read() == expected
        process.wait(120)
        assert process.returncode == -signal.SIGTERM


def test_features_of_another_signature_are_refused_by_both_names(repository, voice, vocoder, speaker, tmp_path):
    from dataclasses import replace

    other = replace(vocoder.features, floor=1e-4)
    path = tmp_path / "other.safetensors"
    save_features(path, np.zeros((5, other.n_mels), np.float32), other)
    with serving(repository, voice) as (_, port):
        _, answer = post(port, path.read_bytes(), speaker=speaker)
        text = message(answer.read())
        assert answer.status == 422
        assert f"signature {other.signature} does not match {vocoder.features.signature}" in text
        assert "floor 0.0001 instead of 1e-05" in text


def test_a_reader_that_leaves_the_pipe_ends_the_work(repository, voice, recording, speaker):
    named = ["--speaker", speaker] if speaker else []
    read, write = os.pipe()
    os.close(read)
    process = start(repository, "vocode", recording, "-o", "-", "--voice", voice, *named, stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0  # it has read what it wanted
    assert b"error" not in err


def test_the_engine_draws_a_listeners_uniform_numbers_as_numpy_does(vocoder):
    from seqgen import noise

    for place in [(0, 0, 0, 9), (7, 3, 5, 1000), (2**64 - 1, 2**63, 2**40 + 3, 4), (1, 1, 1, 0)]:
        got = vocoder.runtime.uniforms(*place)
        np.testing.assert_array_equal(got, noise.block(*place))
        assert got.dtype == np.float32


def test_neighbours_in_a_call_change_no_sample_of_a_real_voice(vocoder, speaker):
    """The batcher's random schedules, with the engine in place of the fake."""
    from tests.serving.test_batcher import require_the_same_bytes

    assert vocoder.batch == 16
    require_the_same_bytes(range(10), vocoder, speaker)
