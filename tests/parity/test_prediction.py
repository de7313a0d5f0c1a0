"""Linear prediction from the features: against scipy, and the same samples in every runtime, chunking and batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch

from seqgen import noise
from seqgen.audio import io
from seqgen.audio.codec import Bytes16
from seqgen.audio.features import log_mel, mel_filters
from seqgen.audio.prediction import UNIT, LinearPrediction, prediction_for
from seqgen.bundle import Bundle
from seqgen.data import directory
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError
from seqgen.nets.synthesis import FrameCoefficients, LinearSynthesis
from seqgen.runtime import open_runtime
from seqgen.runtime.replay import check
from seqgen.spec import FeatureSpec
from seqgen.tasks.vocoder.batches import SegmentBatches, UtteranceBatches
from tests.runtime.voices import export_tiny, tiny_run

SPEC = FeatureSpec(16000, 512, 320, 160, 40)


def speech(samples: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """A buzz through three resonances, with some noise: 16-bit, no silence."""
    rng = np.random.default_rng(seed)
    source = (np.arange(samples) % 133 == 0) * 40.0 + rng.normal(0, 0.3, samples)
    for hz, width in ((500, 80), (1500, 100), (2500, 160)):
        radius, angle = np.exp(-np.pi * width / 16000), 2 * np.pi * hz / 16000
        source = scipy.signal.lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], source)
    source *= 0.4 / np.abs(source).max()
    return (np.round(source * 32768) / 32768).astype(np.float32)


@pytest.mark.parametrize("order", [1, 16, 24])
def test_coefficients_solve_the_normal_equations_of_the_envelope(order: int) -> None:
    mel = log_mel(speech(3200), SPEC)[5:12].astype(np.float64)
    got = LinearPrediction(SPEC, order).coefficients(torch.from_numpy(mel)).numpy()
    bank = mel_filters(SPEC)
    centres = np.arange(257) @ bank / bank.sum(axis=0)
    for row, one in zip(mel, got, strict=True):
        envelope = np.exp(np.interp(np.arange(257), centres, row - np.log(bank.sum(axis=0))))
        r = np.fft.irfft(envelope**2, 512)[: order + 1]
        r *= np.exp(-0.5 * (2 * np.pi * 40 / 16000 * np.arange(order + 1)) ** 2)
        r[0] *= 1 + 1e-5
        expected = scipy.linalg.solve_toeplitz(r[:-1], r[1:])
        assert np.abs(one - expected * UNIT).max() <= 0.5 + 1e-6
        assert np.array_equal(one, np.round(one))
        roots = np.roots(np.concatenate([[1], -one / UNIT]))
        assert np.abs(roots).max() < 1  # the synthesis filter is stable


def test_excitation_is_lossless_and_much_weaker_than_speech() -> None:
    audio, prediction = speech(16000), LinearPrediction(SPEC, 16)
    mel = log_mel(audio, SPEC)
    rest = prediction.excite(np.pad(audio, (16, 0))[None], mel[None])
    coefficients = prediction.coefficients(torch.from_numpy(mel))[None].repeat_interleave(160, dim=1).float()
    back = LinearSynthesis(16)(torch.from_numpy(rest)[..., None] * 32768, coefficients)
    assert np.array_equal(back[0, :, 0].numpy(), audio * 32768)
    assert 10 * np.log10(np.square(audio).sum() / np.square(rest).sum()) > 8


def test_loud_predictions_are_clipped_to_sixteen_bits() -> None:
    synthesis = LinearSynthesis(1)
    made = synthesis(torch.full((1, 4, 1), 30000.0), torch.full((1, 4, 1), float(UNIT)))
    assert made[0, :, 0].tolist() == [30000, 32767, 32767, 32767]


@pytest.mark.parametrize("latency", [0, 160, 250])
def test_coefficients_as_a_stream(latency: int) -> None:
    """Its output is whole numbers, so it has no gradient to measure its reach by: frames are moved instead."""
    stream = FrameCoefficients(LinearPrediction(SPEC, 4), speakers=2, latency=latency)
    mel = torch.from_numpy(np.pad(log_mel(speech(1600), SPEC), ((0, 0), (0, 2))))[None]
    whole = stream(mel)
    expected = stream.prediction.coefficients(mel[..., :40])[0]
    for v in range(latency, 1600):
        assert torch.equal(whole[0, v], expected[(v - latency) // 160].float())
    first, state = stream.step(mel[:, :3], stream.init_state(1))
    second, _ = stream.step(mel[:, 3:], state)
    assert torch.equal(torch.cat([first, second], dim=1), whole)
    changed = torch.cat([mel[:, :4], mel[:, 4:5] + torch.randn(42), mel[:, 5:]], dim=1)
    moved = (stream(changed) != whole).any(dim=2)[0].nonzero()[:, 0]
    assert (int(moved[0]), int(moved[-1])) == (4 * 160 + latency, 5 * 160 + latency - 1)


@pytest.mark.parametrize(("order", "codec"), [(-1, "bytes16"), (33, "bytes16"), (8, "mulaw8")])
def test_what_cannot_be_predicted_is_refused(order: int, codec: str) -> None:
    with pytest.raises(SeqgenError):
        prediction_for(SPEC, order, codec)
    assert prediction_for(SPEC, 0, codec) is None


def test_segments_hold_the_excitation_of_the_whole_recording(recordings: DataDir) -> None:
    features = FeatureSpec(8000, 256, 160, 40, 20)
    prediction = LinearPrediction(features, 10)
    options: dict[str, Any] = {"features": features, "codec": Bytes16(), "prediction": prediction, "left": 2}
    whole = UtteranceBatches(recordings, batch_size=1, **options)
    excitations = {one.ids[0]: one.x[0] for one in whole}
    assert any(len(one.unique()) > 20 for one in excitations.values())
    segments = SegmentBatches(recordings, segment=160, batch_size=4, seed=3, **options)
    for step in range(4):
        for (utterance, offset), row in zip(segments.draws(step), segments[step].x, strict=True):
            expected = excitations[utterance.id][2 * offset :][:320]
            assert torch.equal(row[: len(expected)], expected)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    folder = tmp_path_factory.mktemp("data")
    made = []
    for index in range(3):
        path, samples = folder / f"u{index}.wav", 4000 + 333 * index
        io.write(path, speech(samples, seed=index), 8000)
        made.append(Utterance(f"u{index}", path, 8000, 0, samples, f"u{index}"))
    directory.write(folder / "data", made)
    return DataDir.load(folder / "data")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_tiny(tmp_path_factory.mktemp("voice") / "voice", tiny_run(hop=20, prediction=6), seed=2)


def given(bundle: Bundle, rows: int, frames: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    spec = bundle.manifest.spec
    samples = frames * spec.up - spec.latency
    uniforms = np.stack([noise.block(1, row, 0, samples * 2) for row in range(rows)])
    rng = np.random.Generator(np.random.Philox(1))
    return uniforms, rng.normal(-5, 1, (rows, frames, spec.in_dim)).astype(np.float32)


@pytest.mark.parametrize("name", ["native", "onnx", "torch"])
def test_runtimes_make_the_filtered_elements(bundle: Bundle, name: str) -> None:
    """The audio of a bundle with prediction is the all-pole filter's answer to the audio of the one without."""
    runtime, golden = open_runtime(bundle, name), bundle.tensors("golden.safetensors")
    rows = len(golden["features"])
    audio, _ = runtime.sample(golden["uniforms"], runtime.init(rows), golden["features"])
    prediction = LinearPrediction(bundle.manifest.features, 6)
    c = prediction.coefficients(torch.from_numpy(golden["features"])).repeat_interleave(20, dim=1).numpy() / UNIT
    rest = Bytes16().decode(golden["elements"]) * 32768
    for row in range(rows):
        history = np.zeros(6)
        for t in range(audio.shape[1]):
            guess = np.floor((history * c[row, t]).sum() + 0.5)
            expected = min(max(rest[row, t] + guess, -32768), 32767)
            assert audio[row, t] * 32768 == expected
            history = np.concatenate([[expected], history[:-1]])


def test_check_passes(bundle: Bundle) -> None:
    assert [verdict.ok for verdict in check(bundle.directory)] == [True, True, True]
    assert "prediction.safetensors" in {entry.name for entry in bundle.manifest.files}


@pytest.mark.parametrize("name", ["native", "onnx", "torch"])
def test_chunks_and_batches_make_the_same_samples(bundle: Bundle, name: str) -> None:
    runtime = open_runtime(bundle, name)
    uniforms, features = given(bundle, 3, 9)
    whole, end = runtime.sample(uniforms, runtime.init(3), features)
    state, parts, taken, first = runtime.init(3), [], 0, 0
    spec = bundle.manifest.spec
    for last in (1, 2, 5, 9):  # the first chunks only fill the look-ahead
        count = max(0, last * spec.up - spec.latency) - taken
        chunk = uniforms[:, 2 * taken : 2 * (taken + count)]
        made, state = runtime.sample(chunk, state, features[:, first:last])
        parts.append(made)
        taken, first = taken + count, last
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    for leaf, expected in zip(state, end, strict=True):
        assert np.allclose(leaf, expected, atol=1e-5)
    alone, _ = runtime.sample(uniforms[1:2], runtime.init(1), features[1:2])
    assert np.array_equal(alone, whole[1:2])


def test_scoring_elements_moves_the_filter_too(bundle: Bundle) -> None:
    golden = bundle.tensors("golden.safetensors")
    for name in ("onnx", "torch"):
        runtime = open_runtime(bundle, name)
        _, drawn = runtime.sample(golden["uniforms"], runtime.init(2), golden["features"])
        _, scored = runtime.step(golden["elements"], runtime.init(2), golden["features"])
        for one, other in zip(drawn, scored, strict=True):
            assert np.allclose(one, other, atol=1e-4)
