"""The demo page in headless Chromium, driven over its own debugging protocol: a recording or a text is heard."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.request

import pytest
from websockets.sync.client import connect

from serving.app import App
from serving.edge.origin import OriginPolicy
from serving.http.keys import ApiKeys, add_key, read_keys
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live, wait_for
from tests.serving.reading_fakes import fake_voice

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0")  # fmt: skip


class Page:
    """A tab: commands go out, their results come back; what the page complains of is kept."""

    def __init__(self, socket):
        self._socket, self._number, self.complaints = socket, 0, []

    def do(self, method, **parameters):
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(message["params"])
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def ask(self, expression):
        return self.do("Runtime.evaluate", expression=expression, awaitPromise=True)["result"].get("value")

    def text(self, name):
        return self.ask(f"document.getElementById('{name}').textContent")


@contextlib.contextmanager
def browser(folder, url):
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        place = folder / "DevToolsActivePort"
        wait_for(lambda: place.is_file() and len(place.read_text().splitlines()) == 2, 60)
        port = place.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
            tab = next(tab for tab in json.load(answer) if tab["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None, compression=None) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log", "DOM"):
                page.do(f"{domain}.enable")
            page.do("Page.navigate", url=url)
            yield page
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def open_page(tmp_path, vocoder, keys=None):
    """A server and a tab with its page, where a recording of a second can be chosen."""
    (tmp_path / "in.wav").write_bytes(audio_file(tone(1.0)))
    with (
        Live(App(vocoder, threads=1, keys=keys, origins=OriginPolicy())) as server,
        browser(tmp_path / "profile", f"http://127.0.0.1:{server.port}/") as page,
    ):
        yield server, page


def hear_all(page, path):
    choose(page, path)
    wait(lambda: not page.ask("document.getElementById('play').disabled"))
    page.ask("document.getElementById('play').click()")
    wait(lambda: page.text("received") == "1.00 s of 1.00 s" or page.text("error"))
    assert page.text("error") == ""


def choose(page, path):
    root = page.do("DOM.getDocument")["root"]["nodeId"]
    node = page.do("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.do("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


def wait(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_recording_is_chosen_and_heard(tmp_path):
    with open_page(tmp_path, fake_vocoder(speakers=("ann", "bob"), batch=16)) as (server, page):
        wait(lambda: page.ask("document.querySelectorAll('#speaker option').length") == 2)
        assert page.ask("document.getElementById('guarded').hidden")
        page.ask("document.getElementById('speaker').value = 'bob'")
        hear_all(page, tmp_path / "in.wav")
        assert page.text("first").endswith(" ms")
        assert page.text("underruns").isdigit()
        assert page.text("mark") == 'seqgen; kind=vocoder; voice="fake"; seed=0'
        wait(lambda: not page.ask("document.getElementById('play').disabled"))  # it was played to its end
        wait_for(lambda: server.app.pool.busy == 0)
        (tmp_path / "no.wav").write_bytes(b"no sound at all")
        choose(page, tmp_path / "no.wav")
        wait(lambda: page.ask("recording.byteLength") == len(b"no sound at all"))
        page.ask("document.getElementById('play').click()")
        wait(lambda: page.text("error"))
        assert page.complaints == []


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_text_is_typed_and_heard(tmp_path):
    with open_page(tmp_path, fake_voice()) as (server, page):
        wait(lambda: page.ask("document.getElementById('reading').hidden") is False)
        page.ask("document.getElementById('text').value = 'a'.repeat(200)")  # a second of the fake voice
        page.ask("document.getElementById('say').click()")
        wait(lambda: page.text("received") == "1.00 s" or page.text("error"))
        assert page.text("error") == ""
        assert page.text("first").endswith(" ms")
        assert page.text("mark") == 'seqgen; kind=vocoder; voice="ann"; seed=0'
        wait(lambda: not page.ask("document.getElementById('say').disabled"))  # it was played to its end
        wait_for(lambda: server.app.pool.busy == 0)
        assert page.complaints == []


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_server_with_keys_asks_for_one(tmp_path):
    secret = add_key(tmp_path / "keys", "me", 1)

    def enter(key):
        page.ask(f"document.getElementById('key').value = {json.dumps(key)}")
        page.ask("document.querySelector('#guarded button').click()")

    with open_page(tmp_path, fake_vocoder(batch=16), ApiKeys(read_keys(tmp_path / "keys"))) as opened:
        server, page = opened
        wait(lambda: "API key" in str(page.text("error")))  # which is there once the page is
        assert not page.ask("document.getElementById('guarded').hidden")
        assert page.ask("document.querySelectorAll('#voice option').length") == 0
        enter("sk-wrong")
        # Chromium itself notes each such answer, and tells when it is next spoken to.
        wait(lambda: page.ask("1") and sum("401" in str(said) for said in page.complaints) == 2)
        enter(secret)
        wait(lambda: page.ask("document.querySelectorAll('#voice option').length") == 1)
        hear_all(page, tmp_path / "in.wav")
        wait_for(lambda: server.app.pool.busy == 0)
        assert secret not in page.ask(
            "JSON.stringify([location.href, document.cookie, {...localStorage}, {...sessionStorage}])"
        )
        assert len(page.complaints) == 2
