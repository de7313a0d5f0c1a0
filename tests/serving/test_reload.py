"""A running server reads keys, certificates, voices and limits anew; what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from seqgen.errors import SeqgenError
from serving.app import App
from serving.cli.__main__ import parser
from serving.client import Client, ServerError
from serving.edge.origin import OriginPolicy
from serving.http.keys import ApiKeys, add_key, read_keys, remove_key
from serving.reload import FIXED, Reload, require_certificate
from serving.streams.sound import SoundRequest
from serving.voices.directory import VoiceDirectory
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live, wait_for
from tests.serving.test_real_voice import start
from tests.serving.test_websocket import INIT, hear, push, say

BODY = audio_file(tone(0.1))
OPENSSL = shutil.which("openssl")
TABLE = 'voices = "voices"\ntls-cert = "tls.pem"\ntls-key = "tls.key"\nport = 0\nthreads = 1\n'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two certificates with their keys, and one with a key that wants a password."""
    if OPENSSL is None:
        pytest.skip("there is no openssl here")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("one", "two", "locked"):
        files = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
        secret = ["-passout", "pass:x"] if name == "locked" else ["-nodes"]
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command = [OPENSSL, "req", "-x509", *curve, *secret, "-days", "2", "-subj", f"/CN={name}", *files]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return folder


def shown(context):
    """Certificate that a server shows in a handshake."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(*pipes)
    server = context.wrap_bio(*reversed(pipes), server_side=True)
    for side in (client, server) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ssl.DER_cert_to_PEM_cert(client.getpeercert(True))


@pytest.fixture
def place(tmp_path, certificates):
    """Files of a server, the options that name them, and what is in force: an app and a configuration."""
    (tmp_path / "voices").mkdir()
    for end in ("key", "pem"):
        shutil.copyfile(certificates / f"one.{end}", tmp_path / f"tls.{end}")
    add_key(tmp_path / "keys", "me", 1)
    config = tmp_path / "serve.toml"
    config.write_text(
        'voices = "voices"\nkeys = "keys"\ntls-cert = "tls.pem"\ntls-key = "tls.key"\nport = 0\nthreads = 1\n'
    )
    options = parser().parse_args(["serve", "--config", str(config), "--slots", "4"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    app = App(fake_vocoder(), threads=1, slots=4, keys=ApiKeys(read_keys(tmp_path / "keys")))
    return tmp_path, app, SimpleNamespace(ssl=context, timeout_graceful_shutdown=options.drain), options


def reload(app, config, options):
    """Reload once; gives the parts that stayed as they were."""

    async def main():
        made = Reload(app, config, options, options.parser.read_again,
                      lambda given: OriginPolicy(given.allow_host, given.allow_origin))  # fmt: skip
        made.ask()
        made.ask()  # both are the same one
        await made._task

    asyncio.run(main())
    return set(app.metrics._old)


def known(app, secret):
    try:
        app._keys.identify({"headers": [(b"authorization", b"Bearer " + secret.encode())]})
    except Exception:
        return False
    return True


def test_everything_is_read_anew(place, certificates):
    folder, app, config, options = place
    limits = app._streams[0].limits
    secret = add_key(folder / "keys", "you", 2)
    for end in ("key", "pem"):
        shutil.copyfile(certificates / f"two.{end}", folder / f"tls.{end}")
    with (folder / "serve.toml").open("a") as file:
        file.write('max-body = 7\nmax-seconds = 9\ndrain = 3\nslots = 99\nmax-connections = 50\nrequest-memory = 100\n'
                   'max-utterance = 33\nmemory = 5\n'
                   'default-voice = "zoe"\nallow-origin = "https://a.example"\n')  # fmt: skip
    assert known(app, secret) is False
    assert reload(app, config, options) == set()
    assert known(app, secret)
    assert shown(config.ssl) == (certificates / "two.pem").read_text()
    for endpoint in app._streams:
        assert (endpoint.limits.body, endpoint.limits.sound, endpoint.limits.idle) == (7 << 20, 9.0, limits.idle)
        assert endpoint.limits.utterance == 33
    assert (config.timeout_graceful_shutdown, app.connections.limits.total) == (3, 50)
    assert (app.pool.memory.total, app.cache._memory, app.cache.default) == (100 << 20, 5 << 20, "zoe")
    assert app.pool.slots == 4  # --slots 4 of the command line wins
    assert 'seqgen_reloads_total{outcome="ok"} 1' in app.metrics.text()
    remove_key(folder / "keys", "you")
    assert reload(app, config, options) == set()
    assert not known(app, secret)


def garbage(name):
    return lambda folder, _: (folder / name).write_bytes(b"\xff\x00garbage")


def gone(name):
    return lambda folder, _: (folder / name).unlink()


def written(text):
    return lambda folder, _: (folder / "serve.toml").write_text(text)


def with_line(line):
    def spoil(folder, _):
        with (folder / "serve.toml").open("a") as file:
            file.write(line + "\n")

    return spoil


def other(end, name):
    return lambda folder, certificates: shutil.copyfile(certificates / f"{name}.{end}", folder / f"tls.{end}")


def locked(folder, certificates):
    for end in ("key", "pem"):
        other(end, "locked")(folder, certificates)


WRONG = {
    "keys of garbage": (garbage("keys"), "keys"),
    "keys with a line that is none": (lambda folder, _: (folder / "keys").write_text('{"name": "x"}'), "keys"),
    "keys whose name is none": (
        lambda folder, _: (folder / "keys").write_text(
            json.dumps({"name": ["x"], "sha256": "0" * 64, "streams": 1, "per_minute": 1})
        ),
        "keys",
    ),
    "no keys": (gone("keys"), "keys"),
    "keys that are a directory": (lambda folder, _: ((folder / "keys").unlink(), (folder / "keys").mkdir()), "keys"),
    "a certificate of garbage": (garbage("tls.pem"), "certificate"),
    "a key of garbage": (garbage("tls.key"), "certificate"),
    "an empty certificate": (lambda folder, _: (folder / "tls.pem").write_bytes(b""), "certificate"),
    "no certificate": (gone("tls.pem"), "certificate"),
    "no key": (gone("tls.key"), "certificate"),
    "a certificate of another key": (other("pem", "two"), "certificate"),
    "a key of another certificate": (other("key", "two"), "certificate"),
    "a key that wants a password": (locked, "certificate"),
    "no file of options": (gone("serve.toml"), "options"),
    "options of garbage": (garbage("serve.toml"), "options"),
    "an empty file of options": (written(""), "options"),
    "an unknown option": (with_line("max-bodies = 1"), "options"),
    "a value that cannot be": (with_line("max-body = 0"), "options"),
    "a value of another kind": (with_line('drain = "soon"'), "options"),
    "another port": (with_line("host = '0.0.0.0'"), "options"),
    "no keys any more": (written(TABLE), "options"),
    "an origin that is none": (with_line("allow-origin = 'nowhere'"), "origins"),
}  # fmt: skip


@pytest.mark.parametrize("how", WRONG)
def test_what_is_wrong_leaves_in_force_what_was(place, certificates, how, caplog):
    folder, app, config, options = place
    spoil, part = WRONG[how]
    limits, before = app._streams[0].limits, shown(config.ssl)
    keys, policy = app._keys._keys, app._origins
    spoil(folder, certificates)
    assert reload(app, config, options) == {part}
    assert app._keys._keys == keys
    assert shown(config.ssl) == before
    assert (app._streams[0].limits.idle, config.timeout_graceful_shutdown) == (limits.idle, options.drain)
    assert part != "origins" or app._origins is policy
    assert f"{part} cannot be reloaded and stay as they were" in caplog.text
    assert f'seqgen_reload_failed{{part="{part}"}} 1' in app.metrics.text()
    assert 'seqgen_reloads_total{outcome="failed"} 1' in app.metrics.text()


def test_a_part_that_fails_in_any_way_keeps_no_other_from_being_reloaded(place, monkeypatch):
    folder, app, config, options = place
    secret = add_key(folder / "keys", "you", 2)
    for error in (MemoryError(), OSError(24, "Too many open files"), KeyError("x"), RecursionError()):
        with monkeypatch.context() as patch:
            patch.setattr("serving.reload.require_certificate", lambda *_, error=error: (_ for _ in ()).throw(error))
            assert reload(app, config, options) == {"certificate"}
    assert known(app, secret)


def test_options_are_fixed_or_reloaded(place):
    """None is forgotten: whoever adds an option says which it is."""
    reloaded = {"keys", "tls_cert", "tls_key", "allow_host", "allow_origin", "drain", "max_connections", "slots",
                "max_connections_each", "max_body", "max_seconds", "request_memory", "memory"}  # fmt: skip
    reloaded |= {"default_voice", "alias", "max_utterance", "max_prompt", "max_tokens", "watermark"}
    plumbing = {"config", "command", "parser", "words"}
    assert set(vars(place[3])) == {*FIXED, *reloaded, *plumbing}


@pytest.mark.parametrize("given", [("x.pem", "x.key"), ("x.key", "x.pem")])
def test_a_certificate_that_cannot_be_used_is_told_at_the_start(certificates, tmp_path, given, capsys):
    names = {"x.pem": certificates / "one.pem", "x.key": certificates / "two.key"}
    with pytest.raises(SeqgenError, match="cannot be used"):
        require_certificate(*(str(names[name]) for name in given))


def test_a_key_that_is_removed_stops_at_once_and_no_other(tmp_path, caplog):
    """In every state that a request can be in: its body half sent, before and amid its sound, a socket idle or busy."""
    path, vocoder = tmp_path / "keys", fake_vocoder(batch=16)
    mine, yours = add_key(path, "me", 9), add_key(path, "you", 9)
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), 8
    long = audio_file(tone(1.0))
    app = App(vocoder, threads=1, slots=16, keys=ApiKeys(read_keys(path)))
    with Live(app) as server:
        with shown_to(server, mine) as idle, shown_to(server, mine) as ready, shown_to(server, mine) as busy:
            say(ready, **INIT)
            hear(ready, "ready")
            say(busy, **INIT)
            hear(busy, "ready")
            push(busy, np.full((2, SPEC.n_mels), SPEC.silence))
            amid = asked(server, mine, long)
            begun = amid.getresponse()
            assert begun.status == 200
            wait_for(lambda: len(vocoder.runtime.blocks) >= 8)
            before, theirs = asked(server, mine, long), asked(server, yours, long)
            half = server.connect()
            head = f"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mine}\r\nContent-Length: 9\r\n\r\nR"
            half.sendall(head.encode())
            wait_for(lambda: app.pool.busy == 7)
            remove_key(path, "me")
            app._loop.call_soon_threadsafe(app.replace_keys, read_keys(path))
            for sock in (idle, ready, busy):
                with pytest.raises(ConnectionClosed) as caught:
                    list(sock)  # to its end
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "this API key has been removed")
            told = http.client.HTTPResponse(half)
            told.begin()
            assert told.status == 401
            assert before.getresponse().status == 401
            with pytest.raises(http.client.IncompleteRead):
                begun.read()
        vocoder.runtime.gate.set()
        cut = [record for record in caplog.records if record.name == "uvicorn.error"]
        assert [(one.getMessage(), one.exc_info) for one in cut] == [
            ("an answer was cut: this API key has been removed", None)
        ]
        assert (
            b"".join(everything(fake_vocoder(batch=16), SoundRequest(form="pcm"), long)) == theirs.getresponse().read()
        )
        half.close()
        assert server.post("", BODY, Authorization=f"Bearer {mine}")[0] == 401
        assert server.post("", BODY, Authorization=f"Bearer {yours}")[0] == 200


def shown_to(server, secret):
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    return connect(url, compression=None, open_timeout=30, additional_headers={"Authorization": f"Bearer {secret}"})


def asked(server, secret, body):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/v1/vocode?format=pcm", body, {"Authorization": f"Bearer {secret}"})
    return connection


EARLY = """
import os, signal, sys, threading
from serving.cli import serve
from serving.cli.__main__ import main
threading.Thread(target=threading.Event().wait, daemon=True).start()  # as numerical libraries have: it blocks no signal
serve.require_tls = lambda options: os.kill(os.getpid(), signal.SIGHUP)
sys.exit(main(sys.argv[1:]))
"""


def test_a_reload_that_comes_before_the_server_can_is_done_when_it_can(repository, tmp_path):
    command = [sys.executable, "-c", EARLY, "serve", "--voices", str(tmp_path), "--port", "0", "--threads", "1"]
    with subprocess.Popen(
        command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            assert "not ready: there is no voice" in process.stdout.readline()
            assert any("reloaded; as they were: none" in line for line in process.stderr)
        finally:
            guard.cancel()
            process.kill()


def test_reloads_under_load_cut_no_stream(repository, tiny_bundle, tmp_path):
    """Keys, voices and limits change, the server is asked to reload again and again, and everybody hears it all."""
    store, keys, config = VoiceDirectory(tmp_path / "voices"), tmp_path / "keys", tmp_path / "serve.toml"
    store.install(tiny_bundle, "zoe")
    mine, gone = add_key(keys, "me", 99), add_key(keys, "gone", 9)
    config.write_text('voices = "voices"\nkeys = "keys"\nport = 0\nthreads = 2\n')
    body, samples = audio_file(tone(4.5)), (tone(4.5) * 32767).astype("<i2")
    process = start(repository, "serve", "--config", config, stderr=subprocess.DEVNULL)
    try:
        client = Client(process.stdout.readline().decode().split(" on ")[1].strip(), key=mine, timeout=60)
        want = b"".join(client.vocode(body, form="pcm", voice="zoe"))
        everybody, reloaded = threading.Barrier(17, timeout=60), threading.Event()

        def over_http():
            sound = client.vocode(body, form="pcm", voice="zoe")
            heard = [next(sound)]
            everybody.wait()
            assert reloaded.wait(60)
            return b"".join([*heard, *sound])

        def over_a_socket():
            with client.stream(voice="zoe", rate=8000) as stream:
                stream.send(samples[:16000])
                heard, sound = [next(iter(stream))], iter(stream)
                everybody.wait()
                assert reloaded.wait(60)
                stream.send(samples[16000:])
                stream.finish()
                return b"".join([*heard, *sound])

        with ThreadPoolExecutor(16) as pool:
            listeners = [pool.submit(listen) for _ in range(8) for listen in (over_http, over_a_socket)]
            everybody.wait()
            new = add_key(keys, "new", 1)
            remove_key(keys, "gone")
            store.install(tiny_bundle, "zoe")  # another version
            store.install(tiny_bundle, "amy")
            with config.open("a") as file:
                file.write("max-body = 1\nmax-seconds = 2\nmax-connections = 64\ndefault-voice = 'amy'\n")
            for _ in range(5):
                process.send_signal(signal.SIGHUP)
            wait_for(lambda: list(listed(client, new)) == ["amy", "zoe"])
            (tmp_path / "keys").write_text("garbage")
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: b'seqgen_reload_failed{part="keys"} 1' in numbers(client, new))
            reloaded.set()
            heard = [listener.result(60) for listener in listeners]
        assert [sound == want for sound in heard[::2]] == [True] * 8
        assert [sound == heard[1] and len(sound) == len(want) for sound in heard[1::2]] == [True] * 8
        with pytest.raises(ServerError, match="API key"):
            list(Client(client.url, key=gone).vocode(body))
        with pytest.raises(ServerError, match="2 s") as caught:  # the new limit
            list(Client(client.url, key=new).vocode(body))
        assert caught.value.status == 422
        assert b"".join(Client(client.url, key=new).vocode(BODY))
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def listed(client, key):
    try:
        return {row["id"]: row for row in Client(client.url, key=key).voices()}
    except ServerError:  # the key is not known yet
        return {}


def numbers(client, key):
    with Client(client.url, key=key)._request("GET", "/metrics") as answer:
        return answer.read()
