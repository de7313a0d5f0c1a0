"""Exported language models, in real processes: the command line and servers of either isolation give the same text."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.runtime import runnable
from serving.app import App
from serving.cli.__main__ import main
from serving.streams.completion import TextRequest, completed
from serving.streams.text import TextSettings, require_text
from serving.voices.directory import VoiceDirectory
from serving.voices.store import FixedVoices, SingleVoice
from serving.voices.voice import LoadedVoice, served
from serving.workers.process_worker import process_workers
from tests.runtime.text_bundles import BODIES, ENCODERS, export, export_translator, translating
from tests.serving.live import Live, wait_for
from tests.serving.test_completions import post

ASKED = {"model": "tiny", "prompt": "cafe \N{SNOWMAN}", "max_tokens": 80, "seed": 5, "temperature": 0.8}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("text") / "tiny", BODIES["one-layer"]).directory


def complete(capsys, *arguments):
    """Text that the command writes, and what it tells on standard error."""
    assert main(["complete", *map(str, arguments)]) == 0
    return capsys.readouterr()


@pytest.fixture
def text(bundle, capsys):
    return complete(capsys, ASKED["prompt"], "--model", bundle, "--max-tokens", 80, "--seed", 5, "--temperature", 0.8)[
        0
    ]


def choice(server, **more):
    status, _, body = post(server, ASKED | more)
    assert status == 200, body
    return json.loads(body)["choices"][0]["text"]


def test_the_command_reads_a_pipe_and_tells_its_speed(bundle, text, capsys, monkeypatch):
    assert len(text) == 80
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(str(ASKED["prompt"]).encode())))
    options = ["--model", bundle, "--max-tokens", 80, "--seed", 5, "--temperature", 0.8]
    echoed, told = complete(capsys, "-", *options, "--echo")
    assert echoed == str(ASKED["prompt"]) + text
    assert told.startswith("80 characters after 6, ")
    stop = text[40:44]
    report = json.loads(complete(capsys, ASKED["prompt"], *options, "--stop", stop, "--json")[0])
    assert (report["text"], report["finish_reason"]) == (text[: text.index(stop)], "stop")
    assert report["tokens_per_second"] > 0


@pytest.mark.parametrize("more", [["--temperature", "3"], ["--max-tokens", "-1"], ["--stop", ""], ["--seed", "-1"]])
def test_the_command_refuses_in_one_line_what_cannot_be_asked_for(bundle, more, capsys):
    assert main(["complete", "a", "--model", str(bundle), *more]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_loads_no_training_library(bundle):
    program = (
        "import sys\nfrom serving.cli.__main__ import main\nstatus = main(sys.argv[1:])\n"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "complete", "abc", "--model", str(bundle), "--max-tokens", "5"]
    assert len(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout.decode()) == 5


@pytest.mark.parametrize("make", [None, process_workers()], ids=["thread", "process"])
def test_servers_give_the_text_of_the_command(bundle, text, make):
    with Live(App(SingleVoice(bundle), threads=2, make=make)) as server:
        assert choice(server) == text
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: choice(server), range(16))) == {text}


def test_a_store_holds_voices_and_text_models(bundle, text, tmp_path, tiny_bundle, capsys):
    store = VoiceDirectory(tmp_path / "voices")
    store.install(bundle, "writer")
    store.install(tiny_bundle, "speaker")
    assert main(["voices", "list", "--voices", str(store.directory)]) == 0
    assert "language-model, 14 symbols" in capsys.readouterr().out
    assert store.verify("writer") == store.describe("writer")
    with Live(App(store, threads=1)) as server:
        assert choice(server, model="writer") == text
        row = json.loads(server.request("GET", "/v1/models/writer")[2])
        assert (row["kind"], row["symbols"], row["licence"]) == ("language-model", 14, "CC0")
        store.remove("writer")
        assert post(server, ASKED | {"model": "writer"})[0] == 404


def test_a_damaged_text_model_is_quarantined_alone(bundle, tmp_path, tiny_bundle):
    store = VoiceDirectory(tmp_path / "voices")
    store.install(bundle, "writer")
    store.install(tiny_bundle, "speaker")
    path = store.directory / "writer" / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"characters", b"charakters"))
    with Live(App(store, threads=1)) as server:
        status, _, body = post(server, ASKED | {"model": "writer"})
        assert (status, json.loads(body)["error"]["code"]) == (503, "model_unavailable")
        assert server.app.cache.names() == ["speaker"]


def test_a_lost_worker_ends_its_texts_and_is_started_again(bundle, text):
    with Live(App(SingleVoice(bundle), threads=1, make=process_workers())) as server:
        asked = ASKED | {"max_tokens": 4000, "stream": True}
        sock, body = server.connect(receive_buffer=4096), json.dumps(asked).encode()
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        data = sock.recv(500)
        os.kill(server.app.pool.workers[0].pid, signal.SIGKILL)
        while b'"error"' not in data and (more := sock.recv(1 << 16)):
            data += more
        sock.close()
        assert b'"code": "worker_lost"' in data or b"[DONE]" in data
        wait_for(lambda: server.request("GET", "/readyz")[0] == 200)
        assert choice(server) == text


@pytest.mark.parametrize("runtime", ["native", "onnx"])
def test_a_translator_gives_what_its_runtime_draws(tmp_path, runtime):
    bundle = export_translator(tmp_path / "tiny", translating(ENCODERS["convolutions"]))
    if runtime not in runnable(bundle):
        pytest.skip(f"there is no {runtime} runtime here")
    model = require_text(served(bundle, runtime))
    source = model.runtime.source_tokenizer.encode(b"31415926").symbols
    columns = model.runtime.columns(source[None], np.array([len(source)]))
    cond = np.concatenate([columns, np.zeros((1, 30, columns.shape[2]), np.float32)], 1)[:, :30]
    u = noise.block(7, 0, 0, 30)[None]
    symbols, _ = model.runtime.sample(u, model.runtime.init(1), cond, 0.9)
    *lines, last = completed(model, TextRequest(TextSettings(7, 0.9), longest=30), b"31415926")
    text = "".join(line["text"] for line in [*lines, last])
    assert text == model.tokenizer.decode(symbols[0]).decode("utf-8", "replace")
    assert last["usage"] == [8, 30]
    with Live(App(FixedVoices(LoadedVoice(model)), threads=1)) as server:
        assert choice(server, prompt="31415926", max_tokens=30, seed=7, temperature=0.9) == text
        likely = [choice(server, prompt="1", temperature=None, seed=None, max_tokens=None) for _ in range(2)]
        assert likely[0] == likely[1]


def test_the_fastest_runtime_is_taken(bundle):
    assert SingleVoice(bundle).load("tiny").model.runtime.name == runnable(Bundle.open(bundle))[0]
