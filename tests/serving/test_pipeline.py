"""The pipeline of a stream: refused in time, and built once, by the worker that runs it."""

from __future__ import annotations

import threading
from itertools import product

import pytest

from seqgen.errors import SeqgenError
from serving.scheduling.batcher import Batcher
from serving.sound import opus
from serving.sound.formats import FORMATS
from serving.streams.sound import InputFormat, SoundPipeline, SoundRequest
from serving.streams.vocoder import VoiceSettings
from tests.serving.fakes import SPEC, everything, fake_vocoder
from tests.serving.test_isolation import isolated
from tests.serving.test_worker_pool import FRAMES, SILENCE, listen, pool_test

UNFIT = SoundRequest(form="pcm", input=InputFormat("audio", rate=1))


def said(action):
    """What a refusal says; nothing where there is none."""
    try:
        action()
    except SeqgenError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("library", ["there", "missing"])
def test_a_request_is_refused_for_what_its_pipeline_would_be(library, monkeypatch):
    if library == "missing":
        monkeypatch.setattr(opus, "library", lambda: None)
    elif opus.library() is None:
        pytest.skip("there is no libopus here")
    vocoder = fake_vocoder(speakers=("a", "b"))
    settings = [VoiceSettings(speaker=speaker, temperature=heat) for speaker in ("a", "c", None) for heat in (1, 9)]
    inputs = [InputFormat("features"), *(InputFormat("audio", rate=rate) for rate in (1, 16000, 1 << 20))]
    refused = 0
    for choice, form, given, rate in product(settings, FORMATS, inputs, (0, 8000, 44100, 12345)):
        request = SoundRequest(choice, form, given, rate=rate)
        want = said(lambda request=request: SoundPipeline(vocoder, request))
        assert said(lambda request=request: request.check(vocoder)) == want, request
        refused += bool(want)
    assert 0 < refused < len(settings) * len(FORMATS) * len(inputs) * 4


def test_a_pipeline_that_cannot_be_built_ends_its_stream_and_takes_no_slot():
    batcher = Batcher(slots=1)
    batcher.open((0, 1), fake_vocoder(), UNFIT, 0.0)
    (event,) = batcher.events()
    assert (event.key, event.over, event.data, len(batcher)) == ((0, 1), True, b"", 0)
    with pytest.raises(SeqgenError, match="unsupported sample rate 1 Hz"):
        raise event.failure
    batcher.push((0, 1), SILENCE)  # what was on its way finds nobody
    batcher.open((0, 2), fake_vocoder(), FRAMES, 0.0)
    assert len(batcher) == 1


@pytest.fixture
def built(monkeypatch):
    """Names of the threads of this process that have built pipelines."""
    names, inner = [], SoundPipeline.__init__

    def noted(self, *given):
        names.append(threading.current_thread().name)
        inner(self, *given)

    monkeypatch.setattr(SoundPipeline, "__init__", noted)
    return names


def serve_two(pool, vocoder):
    async def main():
        with pool.admit(vocoder) as lease:
            for _ in range(2):
                FRAMES.check(lease.model)
                lease.start(FRAMES)
                lease.push(SILENCE)
                lease.finish()
                assert len(await listen(lease)) == 2 * SPEC.hop * (len(SILENCE) // (4 * SPEC.n_mels))

    return main()


def test_a_thread_builds_one_pipeline_for_each_stream(built):
    vocoder = fake_vocoder()
    pool_test(lambda pool: serve_two(pool, vocoder), workers=1)
    assert built == ["worker-0", "worker-0"]


def test_the_server_builds_none_where_workers_are_processes(built):
    vocoder = fake_vocoder()
    isolated(lambda pool: serve_two(pool, vocoder), vocoder, workers=1)
    assert built == []
    assert everything(vocoder, FRAMES, SILENCE)
    assert len(built) == 1
