"""The application on Ray Serve: what its arguments mean, and two replicas that go on with each other's sound."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from seqgen.errors import SeqgenError
from serving.ray_app import Replica, application, read
from tests.serving.fakes import audio_file, tone

PROGRAM = """
    import http.client, json, sys
    import ray
    from ray import serve
    from serving.ray_app import application

    voice, secret, recording, folder, port = sys.argv[1:]
    body = open(recording, "rb").read()

    def ask(query):
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        connection.request("POST", "/v1/vocode?" + query, body)
        answer = connection.getresponse()
        return answer.status, answer.getheader("x-resume-token"), answer.read()

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20, _temp_dir=folder)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    try:
        serve.run(application({"voices": voice, "replicas": "2", "slots": "2", "secret": secret}), route_prefix="/")
        status, token, whole = ask("format=pcm&seed=5")
        rests = [ask(f"resume={token}&offset={offset}") for offset in range(0, len(whole), len(whole) // 8)]
        wrong = [len(rest) for status, _, rest in rests if not whole.endswith(rest) or status != 200]
        admitted = set()
        for _ in range(20):
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
            admitted.add(next(line for line in lines if line.startswith("seqgen_admitted_total ")))
        print(json.dumps({"status": status, "bytes": len(whole), "wrong": wrong, "replicas": len(admitted)}))
    finally:
        serve.shutdown()
        ray.shutdown()
"""


def test_arguments_are_read():
    assert read({"voices": "/v"}) == (1, Replica("/v"))
    assert read({"voices": "/v", "replicas": "3", "workers": "2", "slots": "8", "secret": "/s"}) == (
        3,
        Replica("/v", 2, 8, "/s"),
    )
    assert Path(read({"voices": "v"})[1].voices).is_absolute()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({}, "no voices are named"), ({"voices": "v", "slot": "2"}, "no argument 'slot'; known are"),
     ({"voices": "v", "slots": "0"}, "slots=0 is not a whole"), ({"voices": "v", "replicas": "x"}, "replicas=x")],
)  # fmt: skip
def test_arguments_that_cannot_be_are_named(arguments, text):
    with pytest.raises(SeqgenError, match=text):
        read(arguments)


def test_without_ray_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SeqgenError, match=r"Ray Serve is not installed; pip install '.\[serve,ray\]'"):
        application({"voices": "v"})


def test_a_replica_serves_a_store_or_one_voice(tiny_bundle, tmp_path):
    (tmp_path / "secret").write_bytes(b"s" * 32)
    app = Replica(str(tiny_bundle), workers=2, slots=3, secret=str(tmp_path / "secret")).build()
    assert list(app.cache.states()) == ["tiny"]
    assert (len(app.pool.workers), app.pool.slots) == (2, 3)
    assert Replica(str(tmp_path)).build().cache.names() == []


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[serve,ray]'")
def test_two_replicas_go_on_with_each_others_sound(tiny_bundle, tmp_path, repository):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free_port = taken.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's sockets lie in it, and their paths may not be long
    (tmp_path / "secret").write_bytes(b"s" * 32)
    (tmp_path / "in.wav").write_bytes(audio_file(tone(1.0)))
    environment = {
        **os.environ,
        "PYTHONPATH": str(repository),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    given = [tiny_bundle, tmp_path / "secret", tmp_path / "in.wav", folder, free_port]
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), *map(str, given)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told = next(line for line in done.stdout.splitlines() if line.startswith('{"status"'))
    assert json.loads(told) == {"status": 200, "bytes": 16000, "wrong": [], "replicas": 2}
