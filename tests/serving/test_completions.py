"""``POST /v1/completions`` as the official ``openai`` client sees it, beside voices and under the same limits."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest

from serving.app import App
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live
from tests.serving.text_fakes import LETTERS, fake_text


def client(server, key="none"):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0, timeout=30)


def serve(*models, **options):
    return Live(App(FixedVoices(*map(LoadedVoice, models)), threads=1, **options))


def post(server, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.request("POST", "/v1/completions", data, **headers)


@pytest.fixture(scope="module")
def server():
    scripted = fake_text(name="bytes", script="süß, €5. ".encode())
    with serve(fake_text(letters=LETTERS), scripted, fake_vocoder()) as live:
        yield live


@pytest.fixture(scope="module")
def api(server):
    with client(server) as made:
        yield made


def test_a_completion_is_what_the_client_expects(api):
    made = api.completions.create(model="lm", prompt="hello", max_tokens=40, seed=3)
    assert (made.object, made.model, made.id[:5]) == ("text_completion", "lm", "cmpl-")
    (choice,) = made.choices
    assert (choice.index, choice.finish_reason, choice.logprobs, len(choice.text)) == (0, "length", None, 40)
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (5, 40, 45)
    assert abs(made.created - time.time()) < 100
    assert len(api.completions.create(model="lm", prompt="").choices[0].text) == 16


def test_a_stream_is_the_same_text_in_pieces(api):
    options = {"model": "lm", "prompt": "hello", "max_tokens": 200, "seed": 3}
    whole = api.completions.create(**options)
    events = list(api.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(event.choices[0].text for event in events[:-1]) == whole.choices[0].text
    assert {event.id for event in events} == {events[0].id}
    assert [event.choices[0].finish_reason for event in events[:-2]] == [None] * (len(events) - 2)
    assert events[-2].choices[0].finish_reason == "length"
    assert (events[-1].choices, events[-1].usage) == ([], whole.usage)
    assert len(events) > 6
    plain = list(api.completions.create(**options, stream=True))
    assert "".join(event.choices[0].text for event in plain) == whole.choices[0].text


def test_events_are_framed_as_the_interface_says(server):
    asked = {"model": "lm", "prompt": "a", "stream": True, "max_tokens": 3, "seed": 1}
    status, headers, body = post(server, asked)
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "text/event-stream", "no-store")
    assert headers["x-synthetic"] == 'seqgen; kind=language-model; model="lm"; seed=1'
    *events, done, end = body.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all(event.startswith("data: {") and "usage" not in json.loads(event[6:]) for event in events)


def test_seeds_reproduce_and_differ(api):
    def made(**options):
        return api.completions.create(model="lm", prompt="x", max_tokens=30, **options).choices[0].text

    assert made(seed=7) == made(seed=7) != made(seed=8)
    assert made(seed=-1) == made(seed=2**64 - 1)
    assert made() != made()  # as the interface says, without one any will do
    assert made(temperature=0) == made(temperature=0)
    assert made(seed=7, top_p=0.3) == made(seed=7, top_p=0.3) != made(seed=7)


def test_several_prompts_are_several_choices_with_noise_of_their_own(api):
    prompts = ["a", "b", "a"]
    made = api.completions.create(model="lm", prompt=prompts, max_tokens=20, seed=7)
    texts = [choice.text for choice in made.choices]
    assert [choice.index for choice in made.choices] == [0, 1, 2]
    assert texts[0] == api.completions.create(model="lm", prompt="a", max_tokens=20, seed=7).choices[0].text
    assert len(set(texts)) == 3
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (3, 60)
    streamed = ["", "", ""]
    for event in api.completions.create(model="lm", prompt=prompts, max_tokens=20, seed=7, stream=True):
        streamed[event.choices[0].index] += event.choices[0].text
    assert streamed == texts


SCRIPT = "süß, €5. " * 3


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (["€5"], "süß, "),
        ([". s"], "süß, €5"),
        (["ß, €5. süß, €6", "5"], "süß, €"),
        (["5. s", "€5."], "süß, "),
        (["s"], ""),
        (["nowhere", ". süß, €5. sü!"], (SCRIPT * 9).encode()[:40].decode(errors="replace")),
        ("ü", "s"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_stops_end_a_text_across_symbols_and_characters(api, stop, text, stream):
    made = api.completions.create(model="bytes", prompt="", max_tokens=40, stop=stop, stream=stream)
    events = list(made) if stream else [made]
    assert "".join(event.choices[0].text for event in events) == text
    assert events[-1].choices[0].finish_reason == ("length" if "nowhere" in stop else "stop")


def test_characters_are_whole_in_every_event(server):
    for most in range(1, 14):
        asked = {"model": "bytes", "prompt": "", "max_tokens": most, "stream": True}
        _, _, body = post(server, asked)
        texts = [json.loads(event[6:])["choices"][0]["text"] for event in body.decode().split("\n\n")[:-2]]
        want = SCRIPT.encode()[:most].decode(errors="ignore")
        assert "".join(texts) in (want, want + "�")  # one that was begun when the last symbol came
        assert not any("�" in text for text in texts[:-1])


def test_scores_are_those_of_the_model_and_change_nothing(api):
    options = {"model": "lm", "prompt": "ab", "max_tokens": 12, "seed": 5}
    plain = api.completions.create(**options).choices[0].text
    scored = api.completions.create(**options, logprobs=3, echo=True).choices[0]
    assert scored.text == "ab" + plain
    told = scored.logprobs
    assert "".join(told.tokens) == scored.text
    assert told.text_offset == list(range(14))
    assert all(len(top) == 3 and max(top.values()) == next(iter(top.values())) for top in told.top_logprobs)
    model = fake_text(letters=LETTERS)
    symbols = model.tokenizer.encode(scored.text.encode()).symbols
    logits, _ = model.runtime.step(symbols[None], model.runtime.init(1))
    rows = logits[0].astype(np.float64)
    want = rows[np.arange(14), symbols] - np.log(np.exp(rows).sum(1))
    assert np.allclose(told.token_logprobs, want, atol=1e-5)
    nothing = api.completions.create(model="lm", prompt="ab", max_tokens=0, echo=True, logprobs=0).choices[0]
    assert (nothing.text, nothing.logprobs.token_logprobs) == ("ab", told.token_logprobs[:2])
    events = list(api.completions.create(**options, logprobs=3, stream=True))
    assert [one for event in events if event.choices[0].logprobs for one in event.choices[0].logprobs.tokens] == list(
        plain
    )


def test_scores_of_the_most_likely_symbols_are_those_of_the_whole_distribution(api):
    made = api.completions.create(model="lm", prompt="ab", max_tokens=30, seed=5, top_p=0.4, logprobs=2).choices[0]
    model = fake_text(letters=LETTERS)
    symbols = model.tokenizer.encode(("ab" + made.text).encode()).symbols
    rows = model.runtime.step(symbols[None], model.runtime.init(1))[0][0, 2:].astype(np.float64)
    probabilities = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    drawn = probabilities[np.arange(30), symbols[2:]]
    assert np.allclose(made.logprobs.token_logprobs, np.log(drawn), atol=1e-5)
    likelier = np.where(probabilities > drawn[:, None], probabilities, 0).sum(1)
    assert likelier.max() < 0.4  # those before each of them do not reach that share
    assert (likelier > 0).mean() > 0.5


def test_bytes_that_are_no_characters_are_named_in_scores(api):
    made = api.completions.create(model="bytes", prompt="", max_tokens=4, logprobs=1).choices[0]
    assert made.text == "sü�"
    assert made.logprobs.tokens == ["s", "bytes:\\xc3", "bytes:\\xbc", "bytes:\\xc3"]
    assert made.logprobs.text_offset == [0, 1, 1, 2]


def test_readers_side_by_side_get_what_each_gets_alone(server):
    def read(number):
        with client(server) as own:
            options = {"model": "lm", "prompt": "abc"[: number % 4] * 40, "max_tokens": 100 + number}
            heat = (1.0, 0.7)[number % 2]
            events = own.completions.create(**options, seed=number, temperature=heat, stream=True)
            return "".join(event.choices[0].text for event in events)

    alone = [read(number) for number in range(16)]
    model = server.app.cache.open["lm"].model
    model.runtime.calls.clear()
    model.runtime.delay = 0.002
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(read, range(16))) == alone
    model.runtime.delay = 0.0
    assert max(rows for _, rows, _ in model.runtime.calls) > 4  # they shared calls


def test_long_prompts_are_read_in_blocks_between_which_others_go_on(api, server):
    model = server.app.cache.open["lm"].model
    model.runtime.calls.clear()
    prompt = "ab" * 3000
    made = api.completions.create(model="lm", prompt=prompt, max_tokens=5, seed=1)
    assert made.usage.prompt_tokens == 6000
    reads = [count for what, _, count in model.runtime.calls if what == "step"]
    assert max(reads) == 32
    assert sum(reads) == 6000
    model.runtime.delay = 0.005  # then it takes half a second to read it
    with ThreadPoolExecutor(2) as pool, client(server) as other:
        long = pool.submit(api.completions.create, model="lm", prompt=prompt, max_tokens=5, seed=1)
        time.sleep(0.1)
        began = time.monotonic()
        other.completions.create(model="lm", prompt="a", max_tokens=8)
        assert time.monotonic() - began < 0.25
        assert not long.done()
        assert long.result().choices[0].text == made.choices[0].text
    model.runtime.delay = 0.0


def test_a_translator_reads_its_prompt_as_the_source():
    with serve(fake_text(name="copy", translator=True)) as server, client(server) as api:
        made = api.completions.create(model="copy", prompt="guten tag", max_tokens=9)
        assert (made.choices[0].text, made.choices[0].finish_reason) == ("guten tag", "length")
        assert made.usage.prompt_tokens == 9
        open_ended = [api.completions.create(model="copy", prompt="guten tag").choices[0].text for _ in range(2)]
        assert open_ended[0] == open_ended[1]  # the most likely one, unless a temperature is given
        assert (len(open_ended[0]), open_ended[0][:9]) == (18, "guten tag")  # a copier does not stop by itself
        with pytest.raises(openai.BadRequestError, match="nothing to translate"):
            api.completions.create(model="copy", prompt="")


def test_models_are_listed_beside_voices(api, server):
    assert {model.id: model.kind for model in api.models.list()} == {
        "lm": "language-model", "bytes": "language-model", "fake": "vocoder"
    }  # fmt: skip
    _, _, body = server.request("GET", "/v1/audio/voices")
    assert [row["id"] for row in json.loads(body)["voices"]] == ["fake"]


def test_voices_and_texts_keep_apart(api, server):
    with pytest.raises(openai.BadRequestError, match="makes sound"):
        api.completions.create(model="fake", prompt="a")
    with pytest.raises(openai.NotFoundError) as caught:
        api.completions.create(model="gpt-2", prompt="a")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="no sound"):
        api.audio.speech.create(model="lm", voice="lm", input="Hello.")
    body = audio_file(tone(0.1))
    assert server.post("format=pcm", body)[0] == 200  # the only voice needs no name
    assert server.post("format=pcm&voice=lm", body)[0] == 400


def test_voices_and_texts_are_streamed_at_once_and_neither_changes(server):
    body = audio_file(tone(0.5))
    sound = server.post("format=pcm&seed=1&voice=fake", body)[2]
    asked = {"model": "lm", "prompt": "hello", "max_tokens": 300, "seed": 2}
    text = json.loads(post(server, asked)[2])["choices"]
    with ThreadPoolExecutor(8) as pool:
        sounds = [pool.submit(server.post, "format=pcm&seed=1&voice=fake", body) for _ in range(4)]
        texts = [pool.submit(post, server, asked) for _ in range(4)]
        assert {one.result()[2] for one in sounds} == {sound}
        assert all(json.loads(one.result()[2])["choices"] == text for one in texts)


def test_symbols_are_counted_by_model():
    with serve(fake_text(letters=LETTERS), fake_vocoder()) as server:
        post(server, {"model": "lm", "prompt": "hello", "max_tokens": 20})
        server.post("format=pcm", audio_file(tone(0.1)))
        text = server.request("GET", "/metrics")[2].decode()
    assert 'seqgen_tokens_total{voice="lm"} 20\n' in text
    assert 'seqgen_prompt_tokens_total{voice="lm"} 5\n' in text
    assert 'seqgen_first_text_seconds_count{voice="lm"} 1\n' in text
    assert 'seqgen_streams_total{voice="lm"} 1\n' in text
    assert 'seqgen_audio_seconds_total{voice="fake"} 0.1\n' in text
    assert 'seqgen_audio_seconds_total{voice="lm"}' not in text
    assert 'seqgen_tokens_total{voice="fake"}' not in text
