"""The demo page's script without a browser: it heeds credit, has texts spoken, and tells of ends too early."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import serving.http

SCRIPT = (Path(serving.http.__file__).parent / "demo.js").read_text()
NODE = shutil.which("node")
READY = {"type": "ready", "context": 0, "synthetic": "by a machine", "credit": 256_000}
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node here")


def played(seconds, *events, rate=16000):
    """What the page sends and shows while such things happen, with a recording of that length."""
    return told({"samples": seconds * rate, "rate": rate, "events": events})


def spoken(*pieces, rate=16000, **answer):
    """What the page asks and plays where a text is answered by such pieces of bytes."""
    return told({"rate": rate, "speech": {"pieces": pieces, **answer}})


def told(story):
    story = {"script": SCRIPT, **story}
    harness = Path(__file__).parent / "demo_page.js"
    done = subprocess.run(
        [NODE, harness], input=json.dumps(story), capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def sizes(sent):
    return [size for size in sent if isinstance(size, int)]


def test_no_more_is_sent_than_there_is_credit_for():
    sent = played(60)["sent"]
    assert json.loads(sent[0])["credit"] is True
    assert 60_000 < sum(sizes(sent)) <= 65_536
    assert 250_000 < sum(sizes(played(60, READY)["sent"])) <= 256_000
    credits = [{"type": "credit", "context": 0, "bytes": 256_000 + step} for step in range(0, 4_000_000, 64_000)]
    sent = played(60, READY, *credits)["sent"]
    assert sum(sizes(sent)) == 60 * 16000 * 4
    assert [json.loads(text)["type"] for text in sent if isinstance(text, str)] == ["init", "close"]
    assert sent[-1] == '{"type":"close"}'


def closed(code, reason=""):
    return {"close": {"code": code, "reason": reason}}


SOME = [READY, {"sound": 8000}]
FLUSHED = {"type": "flushed", "context": 0}
ERROR = {"type": "error", "context": 0, "message": "NaN in frame 3"}


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([closed(1006)], "before the first sound (code 1006): the server refused or went away"),
        ([*SOME, closed(1011, "ping timeout")], "after 0.50 s of sound (code 1011): ping timeout."),
        ([*SOME, closed(1012)], "(code 1012): no reason was given."),
        ([*SOME, closed(1000)], "(code 1000): no reason was given."),
        ([READY, FLUSHED, closed(1000)], "(code 1000)"),
        ([READY, ERROR, closed(1008, "x")], "NaN in frame 3"),
    ],
)
def test_an_end_before_the_end_is_told_with_its_code_and_reason(events, told):
    page = played(2, *events)
    assert told in page["error"]
    assert page["ended"] >= 1  # what has come is played, and the buttons come back


def test_an_end_that_was_wished_is_no_error():
    last = {"type": "closed", "context": 0}
    assert played(1, READY, {"sound": 16000}, FLUSHED, last, closed(1000))["error"] == ""
    assert played(1, READY, {"stop": True}, closed(1005))["error"] == ""


def test_a_text_is_asked_for_and_its_sound_played_however_it_is_cut():
    page = spoken(4, 3, 2, 1, 402)
    assert page["heard"] == [1, 1, 101]
    assert (page["error"], page["ended"], page["mark"]) == ("", 1, "by a machine")
    (asked,) = page["sent"]
    fields = json.loads(asked["body"])
    assert fields == {"model": "v", "voice": "v", "input": "A tea.", "speed": 2, "response_format": "f32"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status": 503}, "no slot"),
        ({"breaks": "network error"}, "The sound ended after 0.50 s of sound: network error."),
    ],
)
def test_a_text_that_is_not_spoken_to_its_end_is_told(answer, error):
    page = spoken(*([] if "status" in answer else [32_000]), **answer)
    assert (page["error"], page["ended"]) == (error, 1)


def test_a_text_may_be_stopped():
    page = spoken(32_000, stop=True)
    assert (page["error"], page["heard"]) == ("", [])
