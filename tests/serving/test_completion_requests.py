"""Bodies of ``POST /v1/completions``: each mistake is told in the words of the OpenAI interface, and none does more."""

from __future__ import annotations

import json

import pytest

from serving.completions.protocol import largest_body, read_completion
from serving.http.protocol import HttpError, RequestLimits
from tests.serving.live import wait_for
from tests.serving.test_completions import post, serve
from tests.serving.text_fakes import fake_text

LIMITS = RequestLimits(prompt=1000, tokens=100)
GOOD = {"model": "lm", "prompt": "a"}
WRONG = [
    ({"prompt": "a"}, "missing_required_parameter", "model"),
    ({"model": "lm"}, "missing_required_parameter", "prompt"),
    ({"model": 5, "prompt": "a"}, "invalid_type", "model"),
    (GOOD | {"prompt": 5}, "invalid_type", "prompt"),
    (GOOD | {"prompt": [1, 2]}, "invalid_type", "prompt"),
    (GOOD | {"prompt": [[1, 2]]}, "invalid_type", "prompt"),
    (GOOD | {"prompt": []}, "invalid_value", "prompt"),
    (GOOD | {"prompt": ["a"] * 17}, "invalid_value", "prompt"),
    (GOOD | {"prompt": "\ud800"}, "invalid_value", "prompt"),
    (GOOD | {"prompt": ["a", "\udfff"]}, "invalid_value", "prompt"),
    (GOOD | {"model": "\ud800"}, "invalid_value", "model"),
    (GOOD | {"prompt": "a" * 1001}, "context_length_exceeded", "prompt"),
    (GOOD | {"prompt": ["€" * 300, "€" * 300]}, "context_length_exceeded", "prompt"),
    (GOOD | {"max_tokens": 101}, "invalid_value", "max_tokens"),
    (GOOD | {"max_tokens": 10**30}, "invalid_value", "max_tokens"),
    (GOOD | {"max_tokens": -1}, "invalid_value", "max_tokens"),
    (GOOD | {"max_tokens": 1.5}, "invalid_type", "max_tokens"),
    (GOOD | {"max_tokens": "16"}, "invalid_type", "max_tokens"),
    (GOOD | {"max_tokens": True}, "invalid_type", "max_tokens"),
    (GOOD | {"temperature": 2.1}, "invalid_value", "temperature"),
    (GOOD | {"temperature": -0.1}, "invalid_value", "temperature"),
    (GOOD | {"temperature": "hot"}, "invalid_type", "temperature"),
    (GOOD | {"temperature": False}, "invalid_type", "temperature"),
    (GOOD | {"temperature": 10**400}, "invalid_value", "temperature"),
    (GOOD | {"top_p": 1.1}, "invalid_value", "top_p"),
    (GOOD | {"seed": 2**64}, "invalid_value", "seed"),
    (GOOD | {"seed": 1.5}, "invalid_type", "seed"),
    (GOOD | {"stop": ["a"] * 5}, "invalid_value", "stop"),
    (GOOD | {"stop": ""}, "invalid_value", "stop"),
    (GOOD | {"stop": ["a" * 257]}, "invalid_value", "stop"),
    (GOOD | {"stop": [5]}, "invalid_type", "stop"),
    (GOOD | {"stop": ["\udc00"]}, "invalid_value", "stop"),
    (GOOD | {"stream": "yes"}, "invalid_type", "stream"),
    (GOOD | {"stream": 1}, "invalid_type", "stream"),
    (GOOD | {"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    (GOOD | {"stream": True, "stream_options": []}, "invalid_type", "stream_options"),
    (GOOD | {"stream": True, "stream_options": {"x": 1}}, "unknown_parameter", "stream_options.x"),
    (GOOD | {"logprobs": 6}, "invalid_value", "logprobs"),
    (GOOD | {"logprobs": True}, "invalid_type", "logprobs"),
    (GOOD | {"echo": 1}, "invalid_type", "echo"),
    (GOOD | {"user": 1}, "invalid_type", "user"),
    (GOOD | {"n": 2}, "unsupported_parameter", "n"),
    (GOOD | {"n": True}, "unsupported_parameter", "n"),
    (GOOD | {"best_of": 3}, "unsupported_parameter", "best_of"),
    (GOOD | {"suffix": "b"}, "unsupported_parameter", "suffix"),
    (GOOD | {"presence_penalty": 0.5}, "unsupported_parameter", "presence_penalty"),
    (GOOD | {"frequency_penalty": -1}, "unsupported_parameter", "frequency_penalty"),
    (GOOD | {"logit_bias": {"5": 1}}, "unsupported_parameter", "logit_bias"),
    (GOOD | {"max_token": 5}, "unknown_parameter", "max_token"),
    (GOOD | {"messages": []}, "unknown_parameter", "messages"),
    ([], "invalid_json", None),
    (5, "invalid_json", None),
    (b"", "invalid_json", None),
    (b"{", "invalid_json", None),
    (b'{"model": "lm", "prompt": "a", "temperature": NaN}', "invalid_json", None),
    (b'{"model": "lm", "prompt": "a", "temperature": Infinity}', "invalid_json", None),
    (b'{"model": "lm", "prompt": "a", "temperature": 1e999}', "invalid_value", "temperature"),
    (b'{"model": "lm", "prompt": "a", "seed": %s}' % (b"9" * 5000), "invalid_json", None),
    (b'{"model": "lm", "prompt": "\xff"}', "invalid_json", None),
    (b'{"model": "lm", "prompt": ' + b"[" * 5000, "invalid_json", None),
]
RIGHT = [
    {"temperature": 0, "top_p": 0, "max_tokens": 0, "seed": -5, "stop": [], "logprobs": 0, "n": 1, "best_of": 1},
    dict.fromkeys(("temperature", "max_tokens", "seed", "stop", "logprobs", "n", "suffix", "stream", "user", "echo")),
    {"stream": True, "stream_options": {"include_usage": True}, "user": "me", "presence_penalty": 0.0, "suffix": ""},
    {"stream": True, "stream_options": None, "logit_bias": {}, "frequency_penalty": 0},
    {"prompt": ["a", ""], "stop": ["\n", "é"], "temperature": 2, "max_tokens": 100.0},
]


@pytest.mark.parametrize(("body", "code", "param"), WRONG, ids=range(len(WRONG)))
def test_a_mistake_is_told_by_its_field(body, code, param):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(HttpError) as caught:
        read_completion(data, LIMITS)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


@pytest.mark.parametrize("more", RIGHT, ids=range(len(RIGHT)))
def test_what_asks_for_nothing_unusual_is_taken(more):
    assert read_completion(json.dumps(GOOD | more).encode(), LIMITS).model == "lm"


def test_a_translator_gives_the_most_likely_target_unless_told_otherwise():
    def asked(**more):
        request = read_completion(json.dumps(GOOD | more).encode(), LIMITS).of_translator().request
        return request.settings.temperature, request.settings.seed, request.longest

    assert asked() == (0.0, 0, None)
    assert asked(temperature=None, max_tokens=None) == (0.0, 0, None)
    assert asked(temperature=0.5, seed=3, max_tokens=7) == (0.5, 3, 7)
    assert asked(seed=3, max_tokens=0) == (0.0, 3, 0)


def test_the_server_answers_each_of_them_and_goes_on():
    with serve(fake_text(), limits=LIMITS) as server:
        for body, code, param in WRONG:
            status, headers, answer = post(server, body)
            error = json.loads(answer)["error"]
            assert (status, headers["content-type"]) == (400, "application/json")
            assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
        for more in RIGHT:
            assert post(server, GOOD | more)[0] == 200
        most = largest_body(LIMITS)
        assert post(server, b" " * (most + 1))[0] == 413
        escaped = json.dumps(GOOD | {"prompt": "\0" * 1000}).encode()
        assert len(escaped) > 6000
        assert post(server, escaped)[0] == 200
        wait_for(lambda: server.app.pool.memory.held == 0)
        assert server.request("GET", "/v1/completions")[0] == 405
