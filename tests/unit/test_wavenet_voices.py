"""WaveNet voices, over µ-law symbols and over real samples: one distribution, the same audio everywhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen import noise
from seqgen.audio.codec import MuLaw8
from seqgen.bundle import Bundle
from seqgen.distributions.contract import LocationScale
from seqgen.distributions.gaussian import Gaussian
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.errors import SeqgenError
from seqgen.export import program
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.gain import SPREAD, GainFlow, GainNormalized
from seqgen.generation.vocoder import Vocoder
from seqgen.models.wavenet import WaveNet
from seqgen.models.wavenet_context import ContextWaveNet
from seqgen.runtime import open_runtime
from seqgen.runtime.native_library import built
from seqgen.runtime.replay import check
from seqgen.stream.conditioning import Frames
from seqgen.tasks.run import RunConfig
from seqgen.tasks.vocoder.task import Vocoding
from tests.parity.draws import parted_rows
from tests.runtime.voices import density, export, run_of, tiny_system

VOICES: dict[str, dict[str, Any]] = {
    "mulaw": {"codec": "mulaw8", "distribution": {"name": "categorical"}, "vocab_size": 256, "outputs": 256},
    "mixture": {
        "codec": "float",
        "distribution": {"name": "logistic-mixture", "mixtures": 2, "origin": -4.0},
        "vocab_size": 0,
        "outputs": 6,
        "kernel": 3,
    },
    "context": {
        "codec": "mulaw8",
        "distribution": {"name": "categorical"},
        "context": {"rate": 3, "channels": 6, "layers": 2, "embedding": 4},
        "vocab_size": 256,
        "outputs": 256,
    },
    "gain-normalized": {
        "codec": "float",
        "distribution": {"name": "logistic-mixture", "mixtures": 2, "origin": -2.0},
        "vocab_size": 0,
        "outputs": 6,
        "gain_normalized": True,
    },
    "gaussian": {
        "codec": "float",
        "distribution": {"name": "gaussian", "origin": -4.0},
        "vocab_size": 0,
        "outputs": 2,
    },
}
VOICES["gain-normalized context"] = VOICES["gain-normalized"] | {"context": VOICES["context"]["context"]}
SLOW = {"rate": 4097, "channels": 1, "layers": 1, "embedding": 1}  # reads more at a time than the engine does
VOICES["wide"] = VOICES["mixture"] | {"kernel": 9}  # more taps than the native engine has


def voice_run(
    *,
    codec: str,
    distribution: dict[str, Any],
    context: dict[str, Any] | None = None,
    gain_normalized: bool = False,
    **options: Any,
) -> RunConfig:
    sizes = {"layers": 4, "dilation_cycle": 3, "residual_channels": 8, "gate_channels": 8}
    wavenet = sizes | {"skip_channels": 12, "head_channels": 12} | options
    body: dict[str, Any] = {"name": "wavenet", **wavenet}
    if context is not None:
        body = {"name": "wavenet-context", **context, "wavenet": wavenet}
    generator = density(body, distribution=distribution, gain_normalized=gain_normalized)
    return run_of(generator, hop=20, codec=codec)


def generator_of(vocoder: Vocoder) -> AutoRegressive:
    assert isinstance(vocoder.generator, AutoRegressive)
    return vocoder.generator


def tiny_voice(kind: str) -> tuple[Vocoder, Vocoding]:
    """A random voice; one of real numbers with narrow distributions, which would else lie beyond full scale."""
    vocoder, task = tiny_system(voice_run(**VOICES[kind]), ("ann", "bo"), seed=2)
    body: Any = vocoder.generator.body
    if body.spec.in_dim:
        with torch.no_grad():
            inner = body.body if isinstance(body, GainNormalized) else body
            (inner.wavenet if isinstance(inner, ContextWaveNet) else inner).out.weight.mul_(0.3)
    return vocoder, task


@pytest.fixture(scope="module", params=VOICES)
def generator(request: pytest.FixtureRequest) -> AutoRegressive:
    return generator_of(tiny_voice(request.param)[0])


def stream(generator: AutoRegressive, batch: int, frames: int) -> tuple[Tensor, Tensor]:
    """Uniforms ``[B, T, num_uniforms]`` for all that a fresh stream can make, and frames with a one-hot."""
    samples, width = generator.alignment.first_samples(frames), generator.num_uniforms
    mel = torch.randn(batch, frames, 10, generator=torch.Generator().manual_seed(3)) * 2 - 5
    hot = F.one_hot(torch.arange(batch) % 2, 2).float()[:, None].expand(-1, frames, -1)
    u = np.stack([noise.block(5, row, 0, samples * width) for row in range(batch)])
    return torch.from_numpy(u).unflatten(1, (-1, width)), torch.cat([mel, hot], dim=2)


def first_difference(first: Any, second: Any) -> float:
    """The largest difference with which two rows of real numbers part; what follows is other audio."""
    apart = np.abs(np.asarray(first) - np.asarray(second))
    return max(float(row[row > 0][0]) if row.any() else 0.0 for row in apart)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(2, 3, 4, 5, 6, 7, 8), (5,)], ids=str)
def test_samples_are_the_same_in_chunks(generator: AutoRegressive, cuts: tuple[int, ...]) -> None:
    u, frames = stream(generator, 2, 9)
    whole, _ = generator.generate(u, generator.init_state(2), frames)
    state, made = generator.init_state(2), []
    for first, stop in zip((0, *cuts), (*cuts, 9), strict=True):
        begin, end = (max(0, k * 20 - generator.latency) for k in (first, stop))
        values, state = generator.generate(u[:, begin:end], state, frames[:, first:stop])
        made.append(values)
    assert len(whole.unique()) > 50
    values = torch.cat(made, dim=1)
    # The frame network's sums are ordered by the length of a chunk; nothing else depends on it.
    if generator.distribution.vocab_size:
        params, _ = generator.step(whole, generator.init_state(2), frames)
        assert parted_rows(whole.numpy(), values.numpy(), params.numpy(), u[..., 0].numpy()) == 0
    else:
        assert first_difference(whole, values) <= 2.1 / 65535


def test_likelihood_in_blocks_is_that_of_one_pass(generator: AutoRegressive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation streams the recording through ``step``; training runs it at once."""
    u, frames = stream(generator, 2, 9)
    cond = Frames(frames[..., :10], torch.tensor([0, 1]))
    with torch.no_grad():
        values, _ = generator.generate(u, generator.init_state(2), frames)
    x = values if generator.distribution.vocab_size else values[..., None]
    once = generator.log_prob(x, cond)
    monkeypatch.setattr("seqgen.generation.autoregressive.AutoRegressive.block", 40)
    with torch.no_grad():
        streamed = generator.log_prob(x, cond)
        params, _ = generator.step(values, generator.init_state(2), frames)
    torch.testing.assert_close(streamed, once.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(generator.distribution.log_prob(params, values), once.detach(), rtol=1e-4, atol=1e-4)
    assert once.std() > 0.1


# Voices


@pytest.fixture(scope="module", params=VOICES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    vocoder, task = tiny_voice(request.param)
    return export(vocoder.generator, task, tmp_path_factory.mktemp(request.param) / "voice")


def test_a_voice_is_reproduced_by_every_runtime(bundle: Bundle) -> None:
    verdicts = check(bundle.directory)
    native = "kernel: 9" not in bundle.path("config.yaml").read_text() and built()
    assert [verdict.runtime.split()[0] for verdict in verdicts] == ["native"] * native + ["onnx", "torch"]
    for verdict in verdicts:
        assert verdict.ok
        assert verdict.params_error <= 1e-5
    golden = bundle.tensors("golden.safetensors")
    assert len(np.unique(golden["audio"])) > 50
    assert np.abs(golden["audio"]).max(axis=1).min() > 0.01


def test_a_voice_stores_every_weight_once(bundle: Bundle) -> None:
    for name in ("step.onnx", "loop.onnx"):
        graph = onnx.load(str(bundle.path(name)), load_external_data=False).graph
        inside = [len(tensor.raw_data) for tensor in graph.initializer]
        assert sum(inside) < 4096


@pytest.mark.parametrize("cuts", [(2, 3, 4, 5, 6, 7, 8), (5,)], ids=str)
def test_a_voice_sounds_the_same_in_chunks_and_continues_elsewhere(bundle: Bundle, cuts: tuple[int, ...]) -> None:
    first, second = open_runtime(bundle, "onnx"), open_runtime(bundle, "torch")
    golden, spec = bundle.tensors("golden.safetensors"), bundle.manifest.spec
    per, frames = bundle.manifest.uniforms_per_sample, golden["features"].shape[1]
    whole, last = first.sample(golden["uniforms"], first.init(2), golden["features"])
    for runtimes in ((first, first), (first, second)):
        state, made = first.init(2), []
        for index, (start, stop) in enumerate(zip((0, *cuts), (*cuts, frames), strict=True)):
            begin, end = (max(0, k * spec.up - spec.latency) * per for k in (start, stop))
            part = runtimes[index % 2].sample(
                golden["uniforms"][:, begin:end], state, golden["features"][:, start:stop]
            )
            made.append(part[0])
            state = part[1]
        audio = np.concatenate(made, axis=1)
        if runtimes[1] is first:
            assert np.array_equal(audio, whole)
            assert all(np.array_equal(a, b) for a, b in zip(state, last, strict=True))
        elif bundle.manifest.codec == "mulaw8":
            elements = MuLaw8().encode(whole)
            params, _ = first.step(elements, first.init(2), golden["features"])
            assert parted_rows(elements, MuLaw8().encode(audio), params, golden["uniforms"]) <= 1
        else:
            assert first_difference(whole, audio) <= 2.1 / 65535


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("mulaw", {"codec": "float"}, "reads 256 symbols, 1 to a sample; .* 'float' .* set task.codec to mulaw8"),
        ("mulaw", {"codec": "bytes16"}, "1 to a sample; task.codec 'bytes16' gives others; set task.codec to mulaw8"),
        ("mixture", {"codec": "mulaw8"}, "reads real numbers, 1 to a sample; .* 'mulaw8' .* set task.codec to float"),
        ("mulaw", {"vocab_size": 5, "outputs": 5}, "reads 5 symbols, .*; choose a model that reads what it gives"),
        ("mulaw", {"vocab_size": 5}, "the body gives 256 outputs, the distribution takes 5"),
        ("mulaw", {"vocab_size": 0}, "reads real numbers, the distribution draws 256 symbols"),
        ("mulaw", {"outputs": 30}, "the body gives 30 outputs, the distribution takes 256"),
        ("mulaw", {"outputs": 2, "distribution": {"name": "gaussian"}}, "reads 256 symbols, the distribution draws"),
        ("mixture", {"outputs": 256, "distribution": {"name": "categorical"}}, "real numbers, .* draws 256 symbols"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(kind: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        tiny_system(voice_run(**(VOICES[kind] | change)))


@pytest.mark.parametrize(
    "distribution", [Gaussian(Gaussian.Config()), LogisticMixture(LogisticMixture.Config(mixtures=1))]
)
def test_a_generator_of_symbols_does_not_draw_real_numbers(distribution: Any) -> None:
    body = WaveNet(WaveNet.Config(layers=1, vocab_size=9, outputs=distribution.num_params, conditioned=False))
    with pytest.raises(SeqgenError, match="a distribution over what the model reads"):
        AutoRegressive(body, distribution, None, start=0, symbols_per_sample=1)


def test_a_model_that_the_engine_lacks_is_exported_in_float32_only(tmp_path: Path) -> None:
    vocoder, task = tiny_voice("wide")
    slow = tiny_system(voice_run(**VOICES["context"] | {"context": SLOW}), ("ann", "bo"))[0]
    assert not program.runnable(slow)
    with pytest.raises(SeqgenError, match="cannot run an AutoRegressive density over WaveNet; export it in float32"):
        export(vocoder.generator, task, tmp_path / "voice", precision="int8")
    assert list(tmp_path.iterdir()) == []
    made = export(vocoder.generator, task, tmp_path / "voice")
    assert "program.json" not in {entry.name for entry in made.manifest.files}
    assert str(open_runtime(made)) == "onnx"


def test_what_has_no_gain_is_refused() -> None:
    problem = "'gain_normalized' is set for a model of symbols or without conditioning; remove"
    for kind, change in (("mulaw", {}), ("mixture", {"conditioned": False})):
        with pytest.raises(SeqgenError, match=problem):
            tiny_system(voice_run(**VOICES[kind] | change | {"gain_normalized": True}), ("ann", "bo"))
    with pytest.raises(SeqgenError, match="gain-normalized: got no conditioning; give cond"):
        tiny_voice("gain-normalized")[0].generator.body(torch.zeros(1, 3, 1))
    with pytest.raises(SeqgenError, match="gain: got no conditioning; give cond"):
        GainFlow()(torch.zeros(1, 3, 1))


def test_a_gain_scales_what_is_read_and_what_is_drawn() -> None:
    """Samples g times as loud under a gain g times as high are as likely as before, less ln g each."""
    body = tiny_voice("gain-normalized")[0].generator.body.double()
    assert isinstance(body, GainNormalized)
    distribution = body.distribution
    assert isinstance(distribution, LocationScale)
    generator = torch.Generator().manual_seed(4)
    cond = torch.randn(1, 30, body.spec.cond_dim, generator=generator, dtype=torch.float64)
    cond[..., -1:] = torch.linspace(-0.3, 0.1, 30)[None, :, None]
    louder, gain = cond.clone(), 0.9
    louder[..., -1] += gain / SPREAD
    x = 0.05 * torch.randn(1, 30, 1, generator=generator, dtype=torch.float64)
    before = distribution.log_density(body(x, cond), x[..., 0])
    after = distribution.log_density(body(x * math.exp(gain), louder), x[..., 0] * math.exp(gain))
    torch.testing.assert_close(after, before - gain, rtol=1e-9, atol=1e-9)
