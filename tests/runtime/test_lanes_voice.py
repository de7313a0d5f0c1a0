"""A voice whose lanes run side by side, exported: every runtime, any chunks, and the server stream the same audio."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.bundle import Bundle
from seqgen.cli import bench_generation
from seqgen.errors import SeqgenError
from seqgen.export import program
from seqgen.runtime import native_library, open_runtime, runnable
from seqgen.runtime.contract import Runtime
from seqgen.runtime.replay import check
from seqgen.stream.conditioning import Frames
from seqgen.tasks.vocoder import evaluation
from seqgen.tasks.vocoder.batches import Batch
from seqgen.tasks.vocoder.runtime import TorchRuntime
from serving.streams.vocoder import StreamingVocoder, VoiceSettings
from tests.runtime.voices import export, export_tiny, inputs, subscale_run, tiny_run, tiny_system

RUN = subscale_run(lanes=4, horizon=2, channels=6, blocks=1)
SPEAKERS = ("ann", "bo")
AHEAD = 36
RUNTIMES = [*(["native"] if native_library.built() else []), "onnx", "torch"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_tiny(tmp_path_factory.mktemp("lanes") / "voice", RUN, SPEAKERS, seed=1)


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, bundle: Bundle) -> Runtime:
    return open_runtime(bundle, request.param)


def test_it_proves_itself_and_says_how_far_it_is_ahead(bundle: Bundle) -> None:
    assert runnable(bundle) == RUNTIMES
    assert bundle.manifest.ahead == AHEAD
    assert bundle.manifest.feeds_back
    verdicts = check(bundle.directory)
    assert [verdict.flips for verdict in verdicts] == [0] * len(RUNTIMES)
    assert max(verdict.params_error for verdict in verdicts) < 1e-5


def test_a_voice_without_lanes_says_nothing_of_it(tmp_path: Path) -> None:
    """Manifests of before, which are signed, stay what they are."""
    made = export_tiny(tmp_path / "voice", tiny_run())
    assert made.manifest.ahead == 0
    assert '"ahead"' not in (made.directory / "manifest.json").read_text()


@pytest.mark.parametrize("cuts", [(3, 4, 5), (1, 1, 1, 1, 1, 1, 1, 5), (6, 0, 6)])
def test_chunks_make_the_same_audio_and_distributions(runtime: Runtime, cuts: tuple[int, ...]) -> None:
    """Also where the first frames make no sample yet."""
    uniforms, x, cond = ahead_of(runtime, 2, 12)
    spec = runtime.manifest.spec
    whole, after = runtime.sample(uniforms, runtime.init(2), cond)
    told, _ = runtime.step(x, runtime.init(2), cond)
    state, scoring, first, audio, params = runtime.init(2), runtime.init(2), 0, [], []
    for frames in cuts:
        start, stop = (max(0, k * spec.up - spec.latency) for k in (first, first + frames))
        part = slice(2 * start, 2 * (stop + AHEAD))
        made, state = runtime.sample(uniforms[:, part], state, cond[:, first : first + frames])
        scored, scoring = runtime.step(x[:, part], scoring, cond[:, first : first + frames])
        first += frames
        audio.append(made)
        params.append(scored)
    assert np.array_equal(np.concatenate(audio, axis=1), whole)
    assert len(np.unique(whole)) > 50
    np.testing.assert_allclose(np.concatenate(params, axis=1), told, rtol=0, atol=2e-5)
    assert all(np.allclose(one, other, atol=2e-5) for one, other in zip(state, after, strict=True))


def ahead_of(runtime: Runtime, rows: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise, elements and conditioning of fresh streams, what lies ahead included."""
    _, _, cond = inputs(runtime, rows, frames)
    samples = frames * runtime.manifest.spec.up - runtime.manifest.spec.latency + AHEAD
    uniforms = np.stack([runtime.uniforms(4, row, 0, 2 * samples) for row in range(rows)])
    quiet = np.random.Generator(np.random.Philox(3)).integers(0, 256, (rows, 2 * samples))
    quiet[:, ::2] = 126 + quiet[:, ::2] % 4
    return uniforms, quiet, cond


def test_runtimes_make_the_same_audio(bundle: Bundle) -> None:
    *others, torch_runtime = [open_runtime(bundle, name) for name in RUNTIMES]
    uniforms, _, cond = ahead_of(torch_runtime, 3, 10)
    expected, _ = torch_runtime.sample(uniforms, torch_runtime.init(3), cond, 0.8)
    for each in others:
        made, _ = each.sample(uniforms, each.init(3), cond, 0.8)
        assert (made == expected).all(axis=1).sum() >= 2  # a row may part where rounding decides


def test_noise_without_what_lies_ahead_is_refused(runtime: Runtime) -> None:
    uniforms, _, cond = ahead_of(runtime, 1, 10)
    with pytest.raises(SeqgenError, match=r"10 frames do not make 268 samples; .* and give the noise of 36 more"):
        runtime.sample(uniforms[:, : -2 * AHEAD], runtime.init(1), cond)


@pytest.mark.parametrize("block", [1, 5, 40])
def test_the_server_streams_what_the_voice_makes_offline(runtime: Runtime, bundle: Bundle, block: int) -> None:
    """Frames arriving in any blocks; the same seed as a whole recording through torch."""
    frames = np.random.Generator(np.random.Philox(6)).normal(-5, 2, (23, 10)).astype(np.float32)
    vocoder = StreamingVocoder(bundle, runtime)
    stream = vocoder.start(VoiceSettings(seed=5, stream=2, speaker="bo"), rate=None)
    parts = []
    for start in range(0, 23, block):
        stream.push(frames[start : start + block])
        parts += stream.chunks()
    stream.finish()
    parts += stream.chunks()
    streamed = np.concatenate(parts)
    made = TorchRuntime(bundle).vocoder
    ahead = np.full((made.generator.right, 10), bundle.manifest.features.silence, np.float32)
    u = torch.from_numpy(vocoder.runtime.uniforms(5, 2, 0, 2 * (23 * 40 + AHEAD))).reshape(1, -1, 1)
    heard = Frames(torch.from_numpy(np.concatenate([frames, ahead]))[None], torch.tensor([1]))
    whole = made.make(u, heard)[0].numpy()
    assert len(streamed) == 23 * 40
    assert np.array_equal(streamed, whole)


def test_recordings_side_by_side_are_what_each_is_alone(runtime: Runtime, bundle: Bundle) -> None:
    """As evaluation vocodes them, of different lengths; the same as the stream of the server."""
    rng = np.random.Generator(np.random.Philox(8))
    features = [rng.normal(-5, 2, (frames, 10)).astype(np.float32) for frames in (9, 14)]
    made = evaluation.vocode(runtime, features, ["ann", "bo"], [3, 4], seed=6)
    for stream, (frames, speaker, audio) in enumerate(zip(features, SPEAKERS, made, strict=True), 3):
        alone = StreamingVocoder(bundle, runtime).start(
            VoiceSettings(seed=6, stream=stream, speaker=speaker), rate=None
        )
        alone.push(frames)
        alone.finish()
        assert np.array_equal(np.concatenate(list(alone.chunks())), audio)


def test_likelihood_through_a_runtime_is_that_of_training(runtime: Runtime, bundle: Bundle) -> None:
    """Recordings end: what lanes would hear of beyond is silence, to a runtime too."""
    vocoder = TorchRuntime(bundle).vocoder
    rng = np.random.Generator(np.random.Philox(9))
    x = torch.from_numpy(np.stack([126 + rng.integers(0, 4, (2, 130)), rng.integers(0, 256, (2, 130))], 2)).flatten(1)
    features = torch.from_numpy(rng.normal(-5, 2, (2, 4 + vocoder.generator.right, 10)).astype(np.float32))
    cond = Frames(features, torch.tensor([1, 0]))
    batch = Batch(x, torch.tensor([260, 200]), cond, ("a", "b"))
    scored = -evaluation._judged(runtime, vocoder, batch)["nats"]
    with torch.no_grad():
        expected = vocoder.generator.log_prob(x, cond)
    torch.testing.assert_close(scored, expected, rtol=0, atol=1e-3)
    assert float(expected.std()) > 1
    examples = evaluation.measured_by(runtime, vocoder, [batch]).examples["bits_per_sample"]
    for row, (name, samples) in enumerate((("a", 130), ("b", 100))):
        bits = -float(expected[row, : 2 * samples].sum()) / math.log(2)
        assert examples[name] == (pytest.approx(bits, abs=0.05), samples)


def test_more_lanes_than_the_engine_takes_stay_with_the_others(tmp_path: Path) -> None:
    vocoder, task = tiny_system(subscale_run(lanes=20, horizon=0, channels=2, blocks=0))
    assert runnable(export(vocoder.generator, task, tmp_path / "voice")) == ["onnx", "torch"]
    with pytest.raises(SeqgenError, match=r"run a Subscale density over WaveRNN of 20 lanes; export it in float32"):
        export(vocoder.generator, task, tmp_path / "other", precision="int8")
    with pytest.raises(SeqgenError, match=r"over bytes, of up to 16 lanes, .* through onnxruntime"):
        program.program(vocoder, 8000)


def test_bench_streams_it(bundle: Bundle) -> None:
    for name in RUNTIMES[:-1]:
        chunks, samples = bench_generation._paced(open_runtime(bundle, name), 1, 1, 1e-9)
        assert len(chunks) == 3
        assert samples == 80
