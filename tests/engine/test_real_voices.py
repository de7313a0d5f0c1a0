"""Exported WaveNets over real numbers: torch, onnxruntime and the engine have one distribution and one audio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import program
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.replay import replay
from seqgen.tasks.vocoder.runtime import TorchRuntime
from tests.runtime.voices import export
from tests.unit.test_wavenet_voices import first_difference, tiny_voice

KINDS = ("mixture", "gain-normalized", "gaussian", "gain-normalized context")
TOLERANCE = 1e-5  # of parameters, relative to the largest
LEVEL = 2 / 65535
# What parameters within TOLERANCE move a cumulative probability by, with a margin; as tests/parity/draws.py has it.
BOUND = 4e-5
Array = Any


@pytest.fixture(scope="module", params=KINDS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Exported for int8 weights; other runtimes read the float32 ones beside them."""
    vocoder, task = tiny_voice(request.param)
    if request.param.startswith("gain-normalized"):
        with torch.no_grad():  # a gain of some e^±2: a random one is e^±20
            vocoder.generator.conditioner.rest.layers[-2].linear.weight[-1] *= 0.1
    return export(vocoder.generator, task, tmp_path_factory.mktemp(request.param) / "voice", precision="int8")


@pytest.fixture(scope="module")
def runtimes(bundle: Bundle) -> dict[str, Runtime]:
    named = {name: open_runtime(bundle, name) for name in ("onnx", "torch")}
    return {"native": NativeRuntime(bundle, format="float32"), **named}


def stream(bundle: Bundle, rows: int, frames: int, seed: int = 6) -> tuple[Array, Array]:
    """Uniforms and features, two speakers in turn, of fresh streams."""
    spec = bundle.manifest.spec
    samples = frames * spec.up - spec.latency
    features = np.zeros((rows, frames, spec.in_dim), np.float32)
    features[..., :-2] = np.random.default_rng(seed).normal(-5, 2, (rows, frames, spec.in_dim - 2))
    features[np.arange(rows), :, spec.in_dim - 2 + np.arange(rows) % 2] = 1
    width = bundle.manifest.uniforms_per_sample
    return np.stack([noise.block(seed, row, 0, samples * width) for row in range(rows)]), features


def test_one_distribution(bundle: Bundle, runtimes: dict[str, Runtime]) -> None:
    uniforms, features = stream(bundle, 3, 9)
    width = bundle.manifest.uniforms_per_sample
    x = np.random.default_rng(0).normal(0, 0.05, (3, uniforms.shape[1] // width)).astype(np.float32)
    got = {name: runtime.step(x, runtime.init(3), features)[0] for name, runtime in runtimes.items()}
    for name in ("onnx", "torch"):
        assert got["native"].shape == got[name].shape
        assert got["native"].dtype == got[name].dtype
        assert np.abs(got["native"] - got[name]).max() <= TOLERANCE * np.abs(got[name]).max()
    assert got["torch"].std(axis=1).max() > 0.01


def excused(bundle: Bundle, params: Array, uniforms: Array, wrong: Array) -> bool:
    """Whether the first uniform of each wrong sample lies at an edge between two components of its mixture."""
    distribution = TorchRuntime(bundle).generator.distribution  # type: ignore[attr-defined]
    if distribution.num_params == 2:
        return not wrong.any()
    logits = params[wrong][:, : distribution.mixtures].astype(np.float64)
    mass = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
    edges = mass[:, :-1] / mass[:, -1:]
    return bool((np.abs(edges - uniforms.reshape(*wrong.shape, 2)[wrong][:, :1]).min(axis=1, initial=1) < BOUND).all())


def test_a_second_of_samples(bundle: Bundle, runtimes: dict[str, Runtime]) -> None:
    """Each of 8,000 is what torch's distribution draws from torch's distribution, given the engine's samples before it.

    Free runs part where rounding moves a sample over the edge of a level, and drift from there; onnxruntime's, of the
    same seed, first parts by one level.
    """
    uniforms, features = stream(bundle, 1, 403)
    width, spec = bundle.manifest.uniforms_per_sample, bundle.manifest.spec
    native, parts, state = runtimes["native"], [], runtimes["native"].init(1)
    for first in range(0, 403, 31):
        begin, end = (width * max(0, k * spec.up - spec.latency) for k in (first, first + 31))
        made, state = native.sample(uniforms[:, begin:end], state, features[:, first : first + 31])
        parts.append(made)
    audio = np.concatenate(parts, axis=1)
    params, _ = runtimes["torch"].step(audio, runtimes["torch"].init(1), features)
    u = torch.from_numpy(uniforms).unflatten(1, (-1, width))
    distribution = TorchRuntime(bundle).generator.distribution  # type: ignore[attr-defined]
    expected = distribution.sample(torch.from_numpy(params), u).numpy()
    apart = np.abs(audio - expected)
    assert audio.shape[1] >= 8000
    assert len(np.unique(audio)) > 1000
    assert excused(bundle, params, uniforms, apart > 1.05 * LEVEL)
    if width == 2:
        assert (apart > 0).mean() < 0.02
    beginning, _ = runtimes["onnx"].sample(uniforms[:, : width * (60 * spec.up - spec.latency)],
                                           runtimes["onnx"].init(1), features[:, :60])  # fmt: skip
    assert first_difference(audio[:, : beginning.shape[1]], beginning) <= 1.05 * LEVEL


def test_golden_vectors(bundle: Bundle, runtimes: dict[str, Runtime]) -> None:
    """In float32 within rounding; in int8 every instruction set has the bits that the bundle names."""
    verdict = replay(runtimes["native"])
    assert verdict.ok
    assert verdict.params_error <= TOLERANCE
    rounded = NativeRuntime(bundle)
    assert rounded.format == "int8"
    verdict = replay(rounded)
    assert (verdict.params_error, verdict.flips, verdict.unexplained, verdict.chunked) == (0, 0, 0, True)


def test_what_8_bits_cost(bundle: Bundle, runtimes: dict[str, Runtime]) -> None:
    """Nats per sample on what the float32 voice draws, where the difference is the divergence. Random weights: a
    trained voice's cost is in its RESULTS.md."""
    uniforms, features = stream(bundle, 4, 60)
    audio, _ = runtimes["native"].sample(uniforms, runtimes["native"].init(4), features)
    distribution = TorchRuntime(bundle).generator.distribution  # type: ignore[attr-defined]

    def nats(runtime: Runtime) -> Array:
        params, _ = runtime.step(audio, runtime.init(4), features)
        return distribution.log_prob(torch.from_numpy(params), torch.from_numpy(audio)).numpy()

    inside = np.abs(audio) < 1  # at full scale a Gaussian's density is no probability
    full = nats(runtimes["native"])
    assert np.abs(full - nats(runtimes["torch"]))[inside].mean() < 1e-4
    small = nats(NativeRuntime(bundle))
    assert not np.array_equal(small, full)
    assert abs((full - small)[inside].mean()) < 0.01


def test_elements_out_of_range_are_refused(bundle: Bundle, runtimes: dict[str, Runtime]) -> None:
    uniforms, features = stream(bundle, 1, 4)
    x = np.zeros((1, uniforms.shape[1] // bundle.manifest.uniforms_per_sample), np.float32)
    x[0, 3] = 1.25
    with pytest.raises(SeqgenError, match=r"elements lie in \[0\.0, 1\.25\]; give values in \[-1, 1\]"):
        runtimes["native"].step(x, runtimes["native"].init(1), features)


def test_what_the_engine_lacks_is_named(tmp_path: Path) -> None:
    vocoder, _ = tiny_voice("wide")
    with pytest.raises(SeqgenError, match=r"no ops for WaveNet with LogisticMixture; it runs .* logistic mixtures"):
        program.write(vocoder, tmp_path, 8000)
    assert list(tmp_path.iterdir()) == []
