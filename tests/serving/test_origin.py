"""Pages of other sites and names made to point here: a table of what browsers send, and what they are told."""

from __future__ import annotations

import contextlib
import http.client
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from seqgen.errors import SeqgenError
from serving.app import App
from serving.cli.__main__ import main
from serving.edge.origin import Authority, OriginPolicy
from serving.http.keys import ApiKeys, add_key, read_keys
from serving.http.protocol import HttpError
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live, message

OWN = "localhost:8080"
ALLOWING = OriginPolicy(
    ["voices.example", "Half.Example:99", "::2"], ["https://radio.example", "http://[::3]:81", "null"]
)


def scope_of(headers, *, kind="http", scheme="http", method="GET", server=("127.0.0.1", 8080), version="1.1"):
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {
        "type": kind,
        "scheme": scheme,
        "method": method,
        "server": server,
        "http_version": version,
        "headers": pairs,
    }


def verdict(policy, headers, **given):
    """Status of the refusal, or the origin that may read the answer, or ``ok`` for who needs no leave."""
    try:
        told = dict(policy.check(scope_of(headers, **given)))
    except HttpError as error:
        return error.status
    return told.get(b"access-control-allow-origin", b"ok").decode()


@pytest.mark.parametrize(
    ("host", "want"),
    [
        ("localhost:8080", "ok"), ("localhost", "ok"), ("LOCALHOST:1", "ok"), ("localhost.", "ok"),
        ("localhost.:80", "ok"),
        ("127.0.0.1:8080", "ok"), ("127.9.8.7", "ok"), ("[::1]:8080", "ok"), ("[0:0:0:0:0:0:0:1]", "ok"),
        ("[::ffff:127.0.0.1]:80", "ok"), ("10.0.0.5:8080", "ok"), ("[::ffff:10.0.0.5]", "ok"),
        ("evil.example", 421), ("localhost.evil.example", 421), ("evil-localhost", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.6", 421), ("127.1", 421), ("2130706433", 421), ("0x7f.0.0.1", 421), ("0.0.0.0", 421), ("[::]", 421),
        ("localhost:8080@evil.example", 400), ("evil@localhost", 400), ("localhost:99999", 400), ("localhost:", 400),
        ("localhost:8080:1", 400), ("", 400), (" ", 400), ("::1", 400), ("[::1", 400), ("[zz]", 400),
        ("lo calhost", 400),
        ("localhost/x", 400), ("localhost,evil.example", 400), ("l\xf6calhost", 400), ("*", 400),
        ("[fe80::1%25eth0]", 400),
    ],
)  # fmt: skip
def test_a_host_is_the_servers_own_or_refused(host, want):
    assert verdict(OriginPolicy(), [("host", host)], server=("10.0.0.5", 8080)) == want
    assert verdict(OriginPolicy(), [("host", host)], kind="websocket", scheme="ws", server=("10.0.0.5", 8080)) == want
    if want != 400:
        assert verdict(OriginPolicy(["*"]), [("host", host)]) == "ok"


@pytest.mark.parametrize(
    ("host", "want"),
    [("voices.example", "ok"), ("VOICES.example.:8443", "ok"), ("half.example:99", "ok"), ("half.example", 421),
     ("half.example:98", 421), ("[::2]:7", "ok"), ("voices.example.evil.example", 421), ("xvoices.example", 421)],
)  # fmt: skip
def test_an_operator_gives_the_server_names(host, want):
    assert verdict(ALLOWING, [("host", host)]) == want


def test_who_names_no_host_or_two():
    assert verdict(OriginPolicy(), [], version="1.0") == "ok"
    assert verdict(OriginPolicy(), []) == 400
    assert verdict(OriginPolicy(), [("host", OWN), ("host", OWN)]) == 400
    assert verdict(OriginPolicy(), [("origin", "http://localhost")], version="1.0") == 403
    assert verdict(OriginPolicy(), [("host", OWN)], server=("/run/x.sock", None)) == "ok"
    assert verdict(OriginPolicy(), [("host", "10.0.0.5")], server=("/run/x.sock", None)) == 421
    assert verdict(OriginPolicy(), [("host", "10.0.0.5")], server=None) == 421


ORIGINS = [
    ("http://localhost:8080", "ok"), ("HTTP://LOCALHOST:8080", "ok"),
    ("https://localhost:8080", 403), ("http://localhost", 403), ("http://localhost:8081", 403),
    ("http://127.0.0.1:8080", 403),
    ("http://localhost.:8080", 403), ("http://user@localhost:8080", 403), ("http://localhost:8080/", 403),
    ("http://evil.example", 403), ("http://localhost:8080.evil.example", 403), ("null", 403), ("", 403),
    ("localhost:8080", 403),
    ("file://", 403), ("chrome-extension://abc", 403), ("http://localhost:8080 http://evil.example", 403), ("*", 403),
    ("http://localhost:8080, http://evil.example", 403), ("http://localhost:080", 403), ("https://radio.example", 403),
]  # fmt: skip


@pytest.mark.parametrize(("origin", "want"), ORIGINS)
@pytest.mark.parametrize(("kind", "scheme"), [("http", "http"), ("websocket", "ws")])
def test_an_origin_is_the_servers_own_or_refused(kind, scheme, origin, want):
    headers = [("host", OWN), ("origin", origin)]
    assert verdict(OriginPolicy(), headers, kind=kind, scheme=scheme) == want
    assert verdict(OriginPolicy(origins=["*"]), headers, kind=kind, scheme=scheme) == "*"


@pytest.mark.parametrize(
    ("origin", "want"),
    [("https://radio.example", "https://radio.example"), ("https://radio.example:443", "https://radio.example:443"),
     ("http://radio.example", 403), ("https://x.radio.example", 403), ("null", "null"), ("http://[::3]:81",
     "http://[::3]:81"),
     ("http://[0:0::3]:81", "http://[0:0::3]:81"), ("http://localhost:8080", "ok")],
)  # fmt: skip
def test_an_operator_lets_other_origins_in(origin, want):
    assert verdict(ALLOWING, [("host", OWN), ("origin", origin)]) == want


@pytest.mark.parametrize(
    ("host", "scheme", "origin", "want"),
    [("localhost", "http", "http://localhost:80", "ok"), ("localhost:443", "https", "https://localhost", "ok"),
     ("localhost", "wss", "https://localhost", "ok"), ("localhost", "ws", "https://localhost", 403),
     ("[::1]:8080", "http", "http://[::1]:8080", "ok"), ("[::1]", "ws", "http://[0::1]", "ok")],
)  # fmt: skip
def test_ports_that_are_not_said_are_the_schemes(host, scheme, origin, want):
    kind = "websocket" if scheme.startswith("ws") else "http"
    assert verdict(OriginPolicy(), [("host", host), ("origin", origin)], kind=kind, scheme=scheme) == want


def test_two_origins_are_none():
    assert verdict(OriginPolicy(), [("host", OWN), *[("origin", "http://localhost:8080")] * 2]) == 403


@pytest.mark.parametrize(
    ("site", "mode", "dest", "method", "want"),
    [("none", "navigate", "document", "GET", "ok"), ("same-origin", "cors", "empty", "POST", "ok"),
     ("cross-site", "navigate", "document", "GET", "ok"), ("cross-site", "navigate", "iframe", "GET", 403),
     ("cross-site", "no-cors", "image", "GET", 403), ("same-site", "no-cors", "audio", "GET", 403),
     ("cross-site", "navigate", "document", "POST", 403), ("cross-site", "no-cors", "script", "GET", 403)],
)  # fmt: skip
def test_pages_that_bear_no_origin_are_known_by_their_site(site, mode, dest, method, want):
    headers = [("host", OWN), ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
    assert verdict(OriginPolicy(), headers, method=method) == want
    assert verdict(OriginPolicy(origins=["*"]), headers, method=method) == "ok"


def test_a_websocket_from_another_site_without_an_origin_is_refused():
    headers = [("host", OWN), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "websocket")]
    assert verdict(OriginPolicy(), headers, kind="websocket", scheme="ws") == 403


@given(st.text(max_size=30))
def test_no_text_is_read_as_two_hosts(text):
    read = Authority.read(text)
    if read is not None:
        assert text.lower().startswith((read.host, "["))
        assert not set(read.host) & set("@/\\,;?# \t\r\n")


@pytest.mark.parametrize(
    ("hosts", "origins", "told"),
    [(["http://x"], [], "'http://x' is no host"), (["a b"], [], "is no host"), ([""], [], "is no host"),
     ([], ["radio.example"], "is no origin"), ([], ["https://radio.example/"], "is no origin"), ([], ["ftp://x"],
     "is no origin")],
)  # fmt: skip
def test_what_cannot_be_a_name_is_told_at_the_start(hosts, origins, told):
    with pytest.raises(SeqgenError, match=told):
        OriginPolicy(hosts, origins)
    options = [*(f"--allow-host={host}" for host in hosts), *(f"--allow-origin={origin}" for origin in origins)]
    assert main(["serve", "--voices", "none", "--port", "0", *options]) == 1


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with keys that one other origin may use."""
    path = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    secret = add_key(path, "radio", 2)
    policy = OriginPolicy(origins=["https://radio.example"])
    app = App(fake_vocoder(batch=16), threads=1, keys=ApiKeys(read_keys(path)), origins=policy)
    with Live(app) as server:
        yield server, secret


PATHS = ["/", "/livez", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/v1/vocode", "/none", "/v1/vocode%0A"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
     ({"Sec-Fetch-Site": "cross-site"}, 403)],
)  # fmt: skip
def test_every_path_is_guarded_before_its_key_is_asked_for(served, path, headers, status):
    server, secret = served
    for method in ("GET", "POST", "OPTIONS", "HEAD"):
        for auth in ({}, {"Authorization": f"Bearer {secret}"}):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
                connection.request(method, path, headers={**headers, **auth})
                answer = connection.getresponse()
                told = {name.lower() for name, _ in answer.getheaders()}
            assert answer.status == status
            assert not any(name.startswith("access-control") for name in told)


def test_the_remedy_is_named(served):
    server, _ = served
    assert message(server.request("GET", "/livez", Host="mine.example:80")[2]).endswith("--allow-host mine.example")
    assert message(server.request("GET", "/livez", Origin="https://a.example")[2]).endswith(
        "--allow-origin https://a.example"
    )


def test_a_websocket_of_another_origin_is_refused_and_of_an_allowed_one_not(served):
    server, secret = served
    url, auth = f"ws://127.0.0.1:{server.port}/v1/stream", {"Authorization": f"Bearer {secret}"}
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{server.port}", "http://127.0.0.1"):
        with pytest.raises(InvalidStatus) as caught:
            connect(url, origin=origin, additional_headers=auth).__enter__()
        assert caught.value.response.status_code == 403
        assert json.loads(caught.value.response.body)["error"]["code"] == "origin_not_allowed"
    for origin in ("https://radio.example", f"http://127.0.0.1:{server.port}"):
        with connect(url, origin=origin, additional_headers=auth):
            pass


def test_an_allowed_origin_asks_first_and_may_read_whatever_comes(served):
    server, secret = served
    origin = {"Origin": "https://radio.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    status, headers, _ = server.request("OPTIONS", "/v1/vocode", **origin, **asked)
    assert (status, headers["access-control-allow-origin"]) == (204, "https://radio.example")
    assert headers["access-control-allow-methods"] == "POST"
    assert "authorization" in headers["access-control-allow-headers"]
    assert "access-control-allow-private-network" not in headers
    body = audio_file(tone(0.1))
    for auth, want in ((f"Bearer {secret}", 200), ("Bearer x", 401)):
        status, headers, _ = server.post("", body, Authorization=auth, **origin)
        assert (status, headers["access-control-allow-origin"]) == (want, "https://radio.example")
        assert headers["cross-origin-resource-policy"] == "cross-origin"
        assert "x-resume-token" in headers["access-control-expose-headers"]
    status, headers, _ = server.post("", body, Authorization=f"Bearer {secret}")
    assert (status, headers["cross-origin-resource-policy"]) == (200, "same-origin")
    assert "access-control-allow-origin" not in headers
    status, headers, _ = server.request("OPTIONS", "/none", **origin, **asked)
    assert status == 401  # a preflight is answered for what there is
