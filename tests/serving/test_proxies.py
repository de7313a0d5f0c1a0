"""nginx and Caddy in front of a server, by the example configurations: the same bytes, at once, and nothing hidden."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading

import numpy as np
import pytest
import uvicorn
from websockets.sync.client import connect

from serving.app import App
from serving.edge.origin import OriginPolicy
from serving.http.keys import ApiKeys, add_key, read_keys
from serving.http.protocol import RequestLimits
from tests.serving.fakes import SPEC, audio_file, fake_vocoder, tone
from tests.serving.live import Live, wait_for

NAME = "voices.example"
BODY = audio_file(tone(0.5))
NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/errors warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    include {site};
}}
"""
CADDY = """	admin off
	auto_https disable_redirects
	storage file_system {folder}
	log {{
		output file {folder}/errors
	}}
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("there is no openssl here")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run(
        [openssl, "req", "-x509", *curve, *names, "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that knows its name, with keys; the key stands in ``server.key``."""
    path = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    key = add_key(path, "radio", 16)
    app = App(fake_vocoder(), threads=2, keys=ApiKeys(read_keys(path)), origins=OriginPolicy(hosts=[NAME]))
    with Live(app) as live:
        live.key = key
        yield live


def replaced(text: str, **pieces: tuple[str, str]) -> str:
    """Text with each of these pieces replaced, every one of which must be there."""
    for old, new in pieces.values():
        assert old in text
        text = text.replace(old, new)
    return text


def nginx_files(text, folder, ports, cert, key):
    port, metrics, upstream = ports
    site = folder / "site.conf"
    site.write_text(
        replaced(
            text,
            listen=("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
            metrics=("127.0.0.1:9103", f"127.0.0.1:{metrics}"),
            upstream=("unix:/run/seqgen-serve/http.sock", f"127.0.0.1:{upstream}"),
            cert=("/etc/ssl/voices.example/cert.pem", str(cert)),
            key=("/etc/ssl/voices.example/key.pem", str(key)),
        )
    )
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, site=site))
    return ["nginx", "-p", str(folder), "-e", str(folder / "errors"), "-c", str(config)], ["-t"]


def caddy_files(text, folder, ports, cert, key):
    port, metrics, upstream = ports
    site = replaced(
        text,
        options=("\tservers {", CADDY.format(folder=folder) + "\tservers {"),
        site=(f"{NAME} {{", f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {cert} {key}"),
        metrics=("127.0.0.1:9103", f"127.0.0.1:{metrics}"),
        upstream=("unix//run/seqgen-serve/http.sock", f"127.0.0.1:{upstream}"),
    )
    config = folder / "Caddyfile"
    config.write_text(site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)], None


PROXIES = {"nginx": ("nginx.conf", nginx_files), "caddy": ("Caddyfile", caddy_files)}


def version(program: str) -> tuple[int, ...]:
    """Version that a program tells of itself."""
    told = subprocess.run([program, "version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return tuple(int(number) for number in re.findall(r"\d+", told)[:3])


class Proxy:
    """A proxy that runs: connections to it by the server's name."""

    def __init__(self, port: int, metrics: int, trust: ssl.SSLContext, key: str) -> None:
        self.port, self.metrics, self.trust, self.key = port, metrics, trust, key

    def socket(self, *, encrypted: bool = True) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self.trust.wrap_socket(sock, server_hostname=NAME) if encrypted else sock

    @contextlib.contextmanager
    def asked(self, method: str, target: str, body: bytes | None = None, **headers: str):
        """An answer whose body is not read yet; headers given as ``None`` are left out."""
        connection = http.client.HTTPConnection(NAME)
        connection.sock = self.socket()
        given = {"Authorization": f"Bearer {self.key}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        try:
            with contextlib.suppress(OSError):  # who is refused may be told before all is sent
                connection.request(method, target, body, {k: v for k, v in given.items() if v is not None})
            yield connection.getresponse()
        finally:
            connection.close()

    def request(self, *words, **headers):
        with self.asked(*words, **headers) as answer:
            return answer.status, answer.headers, answer.read()


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request, repository, server, certificate, tmp_path_factory):
    name, write = PROXIES[request.param]
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param} here")
    if request.param == "caddy" and version("caddy") < (2, 7, 6):
        pytest.skip("this Caddy is older than the Caddyfile asks for: it ends what broke off as if it were whole")
    folder = tmp_path_factory.mktemp(request.param)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, metrics = one.getsockname()[1], other.getsockname()[1]
    text = (repository / "serving" / "deploy" / name).read_text()
    command, _ = write(text, folder, (port, metrics, server.port), *certificate)
    told = (folder / "told").open("wb")
    process = subprocess.Popen(command, stdout=told, stderr=told, env=os.environ | {"HOME": str(folder)})
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    made = Proxy(port, metrics, trust, server.key)

    def listens() -> bool:
        assert process.poll() is None, (folder / "told").read_text()
        with contextlib.suppress(OSError):
            made.socket(encrypted=False).close()
            return True
        return False

    try:
        wait_for(listens)
        yield made
    finally:
        process.terminate()
        process.wait(30)
        told.close()


@pytest.mark.parametrize("query", ["format=pcm", "format=wav&rate=48000", "format=flac", "format=ulaw&seed=3"])
def test_the_same_bytes_as_from_the_server_itself(server, proxy, query):
    status, headers, heard = proxy.request("POST", f"/v1/vocode?{query}", BODY)
    direct = server.post(query, BODY, Authorization=f"Bearer {server.key}")
    assert (status, heard) == (direct[0], direct[2]) == (200, direct[2])
    assert headers["X-Resume-Token"]
    assert headers["Content-Type"] == direct[1]["content-type"]


def test_sound_goes_on_as_it_is_made(server, proxy):
    """The voice stands still after its first calls; what it made until then has to be there."""
    (voice,) = server.app.cache.open.values()
    runtime = voice.model.runtime
    runtime.gate, runtime.gate_from = threading.Event(), len(runtime.blocks) + 2
    try:
        with proxy.asked("POST", "/v1/vocode?format=pcm", BODY) as answer:
            assert answer.status == 200
            first = answer.read1(1 << 16)
            assert 0 < len(first) < 8000
            runtime.gate.set()
            assert len(first + answer.read()) == 8000
    finally:
        runtime.gate.set()
        runtime.gate = None


def test_a_sound_that_breaks_off_is_no_whole_one(server, proxy):
    (voice,) = server.app.cache.open.values()
    runtime = voice.model.runtime
    runtime.fail_after = 2000
    try:
        with proxy.asked("POST", "/v1/vocode?format=pcm", BODY) as answer:
            assert answer.status == 200
            with pytest.raises((http.client.HTTPException, OSError)):
                answer.read()
    finally:
        runtime.fail_after = 1 << 60


def test_a_websocket_through_it(server, proxy):
    frames = np.full((40, SPEC.n_mels), SPEC.silence, "<f4").tobytes()
    headers = {"Authorization": f"Bearer {proxy.key}", "Origin": f"https://{NAME}"}
    init = {"type": "init", "input": "features", "signature": SPEC.signature, "format": "pcm"}
    heard = b""
    with connect(f"ws://{NAME}/v1/stream", sock=proxy.socket(), additional_headers=headers) as stream:
        stream.send(json.dumps(init))
        assert json.loads(stream.recv(60))["type"] == "ready"
        stream.send(bytes(4) + frames)
        stream.send('{"type": "close"}')
        for message in stream:
            heard += message[4:] if isinstance(message, bytes) else b""
    assert len(heard) == 2 * 40 * SPEC.hop


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": f"https://{NAME}"}, 200),
        ({"Origin": f"http://{NAME}"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer x"}, 401),
        ({"Content-Length": str((32 << 20) + 1)}, 413),
    ],
)
def test_the_server_s_own_refusals_come_through(proxy, headers, status):
    body = BODY if "Content-Length" not in headers else bytes((32 << 20) + 1)
    got, _, answer = proxy.request("POST", "/v1/vocode?format=pcm", body, **headers)
    assert got == status
    assert status == 200 or json.loads(answer)["error"]["message"]


def test_a_large_recording_that_is_refused_hears_why(proxy):
    status, _, answer = proxy.request("POST", "/v1/vocode?format=pcm", bytes(8 << 20), Authorization=None)
    assert status == 401
    assert json.loads(answer)["error"]["code"] == "invalid_api_key"


def test_who_asks_is_told_by_the_proxy_alone(proxy, caplog):
    with caplog.at_level(logging.INFO, "seqgen.access"):
        assert proxy.request("GET", "/v1/audio/voices", X_Forwarded_For="192.0.2.7")[0] == 200
        wait_for(lambda: caplog.records)
    assert {record.fields["client"] for record in caplog.records if record.name == "seqgen.access"} == {"127.0.0.1"}


def test_metrics_are_for_this_machine_and_not_for_the_world(proxy):
    assert proxy.request("GET", "/metrics")[0] == 404
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.metrics, timeout=60)) as connection:
        for target, key, status in (
            ("/metrics", proxy.key, 200),
            ("/metrics", "x", 401),
            ("/v1/models", proxy.key, 404),
        ):
            connection.request("GET", target, headers={"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == status
            assert ("seqgen_slots_free " in text) is (status == 200)


def test_proxies_close_idle_connections_before_the_server_does(repository):
    """A request sent on a connection that the server is closing would be lost, and is not sent twice."""
    deploy = repository / "serving" / "deploy"
    (nginx,) = re.findall(r"keepalive_timeout (\d+)s;", (deploy / "nginx.conf").read_text())
    (caddy,) = re.findall(r"keepalive (\d+)s", (deploy / "Caddyfile").read_text())
    assert max(int(nginx), int(caddy)) < uvicorn.Config("app").timeout_keep_alive


def test_an_idle_stream_outlasts_the_proxy_s_patience(repository):
    """The server's own limit comes first, so that its reason is what a client hears."""
    text = (repository / "serving" / "deploy" / "nginx.conf").read_text()
    patience = {int(seconds) for seconds in re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", text)}
    limits = RequestLimits()
    assert min(patience) > max(limits.idle, limits.stall, limits.upload)
    (largest,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(largest) << 20 > limits.body


@pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx here")
def test_nginx_finds_nothing_wrong_with_the_example(repository, certificate, tmp_path):
    text = (repository / "serving" / "deploy" / "nginx.conf").read_text()
    command, test = nginx_files(text, tmp_path, (1, 2, 3), *certificate)
    done = subprocess.run([*command, *test], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr.replace('the "user" directive', "")
