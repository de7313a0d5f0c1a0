"""The laws of a Streamable over every registered model, flow, conditioner and layer, in float32 and float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen import registry
from seqgen.distributions.gaussian import Gaussian
from seqgen.errors import SeqgenError
from seqgen.flows.affine import Composed
from seqgen.generation.gain import GainFlow, GainNormalized
from seqgen.generation.subscale.context import LaneContext
from seqgen.models.frames import FrameConditioner
from seqgen.models.wavenet import WaveNet
from seqgen.nets.downsample_hold import DownsampleHold
from seqgen.nets.gru import GRU
from seqgen.nets.layers import Activation, CausalConv1d, Dense, Embedding
from seqgen.nets.synthesis import LinearSynthesis
from seqgen.registry import Registry
from seqgen.spec import Facts, FeatureSpec, StreamSpec
from seqgen.stream.combinators import (
    Conditioned,
    Delay,
    Fold,
    Interpolate,
    Repeat,
    Residual,
    Serial,
    Unfold,
)
from seqgen.stream.contract import Streamable
from seqgen.stream.observed import Observed
from seqgen.stream.verify import LawBroken, inputs, verify

FEATURES = FeatureSpec(sample_rate=8000, n_fft=64, window=12, hop=4, n_mels=6)


def _made(table: Registry, name: str, **options: Any) -> Streamable[Any]:
    cls = table.load(name)
    return cls(cls.Config(**options))


def _wavernn(conditioned: bool) -> Streamable[Any]:
    cls = registry.MODELS.load("wavernn")
    return cls(cls.Config(hidden=8, conditioned=conditioned))


def _wavenet(**options: Any) -> Streamable[Any]:
    cls = registry.MODELS.load("wavenet")
    sizes = {
        "layers": 4,
        "dilation_cycle": 3,
        "residual_channels": 5,
        "gate_channels": 4,
        "skip_channels": 6,
        "head_channels": 7,
        "outputs": 3,
    }
    return cls(cls.Config(**(sizes | options)))


def _parallel_wavenet(**options: Any) -> Streamable[Any]:
    cls = registry.FLOWS.load("parallel-wavenet")
    sizes = {"layers": (2, 3), "dilation_cycle": 2, "residual_channels": 5, "gate_channels": 4, "head_channels": 6}
    return cls(cls.Config(**(sizes | options)))


def _recurrent(**options: Any) -> Streamable[Any]:
    cls = registry.MODELS.load("recurrent")
    return cls(cls.Config(vocab_size=7, outputs=6, hidden=5, embedding=3, **options))


def _conditioner(name: str, speakers: int, *, out_dim: int = 4, **options: Any) -> Streamable[Any]:
    cls = registry.CONDITIONERS.load(name)
    facts = Facts(features=FEATURES, speakers=tuple("abc"[:speakers]))
    return cls.build(cls.Config(**options), facts, out_dim=out_dim)


def _frames(speakers: int) -> Streamable[Any]:
    return _conditioner("frames", speakers, channels=5, blocks=1, look_ahead=1)


def _wavenet_context(**options: Any) -> Streamable[Any]:
    cls = registry.MODELS.load("wavenet-context")
    sizes = {
        "layers": 3,
        "dilation_cycle": 2,
        "residual_channels": 5,
        "gate_channels": 4,
        "skip_channels": 6,
        "head_channels": 7,
        "outputs": 3,
    }
    return cls(cls.Config(wavenet=WaveNet.Config(**(sizes | options)), rate=3, channels=4, layers=2, embedding=3))


MODELS: dict[str, list[Callable[[], Streamable[Any]]]] = {
    "wavenet-context": [
        lambda: _wavenet_context(vocab_size=9),
        lambda: _wavenet_context(vocab_size=0, conditioned=False, kernel=3),
    ],
    "wavenet": [
        lambda: _wavenet(vocab_size=9, conditioned=False),
        lambda: _wavenet(vocab_size=9, kernel=3, input_kernel=1),
        lambda: _wavenet(vocab_size=0, input_kernel=3),
        lambda: _wavenet(vocab_size=0, skip_channels=0),
    ],
    "wavernn": [lambda: _wavernn(False), lambda: _wavernn(True)],
    "recurrent": [lambda: _recurrent(), lambda: _recurrent(layers=2)],
    "resonance": [lambda: _made(registry.MODELS, "resonance", radius=0.7)],
}
FLOWS: dict[str, list[Callable[[], Streamable[Any]]]] = {
    "parallel-wavenet": [
        lambda: _parallel_wavenet(conditioned=False, layers=(1, 2, 1)),
        lambda: _parallel_wavenet(kernel=3),
        lambda: _parallel_wavenet(skip_channels=7, layers=(4,)),
    ],
    "independent": [lambda: _made(registry.FLOWS, "independent", scale=0.5)],
}
CONDITIONERS: dict[str, list[Callable[[], Streamable[Any]]]] = {
    "frames": [lambda: _frames(0), lambda: _frames(3)],
    "repeat": [lambda: _conditioner("repeat", 0, out_dim=6), lambda: _conditioner("repeat", 3, out_dim=9)],
    "perceptron": [
        lambda: _conditioner("perceptron", 3, hidden=()),
        lambda: _conditioner("perceptron", 0, hidden=(5, 3), activation="gelu"),
    ],
}
LAYERS: dict[str, Callable[[], Streamable[Any]]] = {
    "conv": lambda: CausalConv1d(3, 4, kernel=3, dilation=2),
    "conv-look-ahead": lambda: CausalConv1d(3, 3, kernel=5, look_ahead=2),
    "conv-stride": lambda: CausalConv1d(3, 4, kernel=5, stride=3),
    "conv-stride-dilation": lambda: CausalConv1d(3, 4, kernel=3, dilation=2, stride=5),
    "dense": lambda: Dense(3, 4),
    "activation": lambda: Activation("gelu", dim=3),
    "embedding": lambda: Embedding(7, 3),
    "gru": lambda: GRU(3, 4),
    "delay": lambda: Delay(2, dim=3, fill=0.5),
    "delay-symbols": lambda: Delay(1, dim=0, fill=2, vocab_size=5),
    "repeat": lambda: Repeat(3, dim=2),
    "interpolate-even": lambda: Interpolate(4, dim=2),
    "interpolate-odd": lambda: Interpolate(5, dim=2),
    "fold": lambda: Fold(3, dim=2),
    "unfold": lambda: Unfold(3, dim=2),
    "residual": lambda: Residual(CausalConv1d(3, 3, kernel=5, look_ahead=2)),
    "serial": lambda: Serial(CausalConv1d(3, 4, kernel=2), Repeat(2, dim=4), CausalConv1d(4, 2, kernel=4)),
    "serial-fold": lambda: Serial(CausalConv1d(2, 2, kernel=3), Fold(2, dim=2), Delay(1, dim=4)),
    "fold-unfold": lambda: Serial(Fold(2, dim=3), Dense(6, 6), Unfold(2, dim=3)),
    "lane-context": lambda: LaneContext(lanes=3, horizon=2, channels=4, blocks=1, out_dim=3),
    "gain-normalized": lambda: GainNormalized(_wavenet(vocab_size=0, outputs=2, layers=2), Gaussian(Gaussian.Config())),
    "gain-flow": lambda: Composed([_parallel_wavenet(), GainFlow()]),
    "downsample-hold": lambda: DownsampleHold(Serial(CausalConv1d(6, 4, kernel=2), Dense(4, 3)), down=3, dim=2),
    "downsample-hold-recurrent": lambda: DownsampleHold(GRU(4, 3), down=2, dim=2),
    "linear-synthesis": lambda: LinearSynthesis(3),
    "conditioned": lambda: Conditioned(Serial(Dense(3, 24), Repeat(2, dim=24)), _wavernn(True)),
}
ALL = {
    **{f"{name}-{i}": make for name, makes in (MODELS | FLOWS | CONDITIONERS).items() for i, make in enumerate(makes)},
    **LAYERS,
}


def test_cases_are_of_registered_models_flows_and_conditioners() -> None:
    """A new row of a registry needs no case here: test_laws.py holds it to the laws."""
    for rows, table in ((MODELS, registry.MODELS), (FLOWS, registry.FLOWS), (CONDITIONERS, registry.CONDITIONERS)):
        assert set(rows) <= set(table)
        for name, makes in rows.items():
            assert makes, name
            assert all(type(make()) is table.load(name) for make in makes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ALL)
def test_laws(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    model = ALL[name]().to(dtype)
    for parameter in model.parameters():  # zero biases would hide what they break
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    verify(model, length=30)


@pytest.mark.parametrize("make", [make for makes in MODELS.values() for make in makes])
def test_what_a_model_shows_of_its_inside_keeps_the_laws(make: Callable[[], Streamable[Any]]) -> None:
    torch.manual_seed(1)
    model = make().double()
    x, cond = inputs(model, 2, 12, seed=3)
    y, _, inside = model.observe(x, model.init_state(2), cond)
    assert torch.equal(y, model(x, cond))
    assert [one.shape for one in inside] == [(2, 12, channels) for channels in model.observed_dims]
    if model.observed_dims:
        verify(Observed(model), length=30)
    else:
        with pytest.raises(SeqgenError, match="shows no inner activations"):
            Observed(model)


class _Broken(Streamable[Tensor]):
    """A first-order filter with one law broken at a time."""

    def __init__(self, law: str) -> None:
        super().__init__()
        self.law = law
        self.kept = torch.zeros(1)
        self.spec = StreamSpec(in_dim=2, out_dim=2, context=3 if law == "context" else 2)

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, 1, 2)

    def step(self, x: Tensor, state: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        line = torch.cat([state, x], dim=1)
        y, after = line[:, 1:] + 0.5 * line[:, :-1], line[:, -1:]
        if self.law == "chunking":
            y = y - y.mean(dim=1, keepdim=True)
        if self.law == "closure":
            after = line[:, -2:]
        if self.law == "rows":
            y = y + 0.01 * y.mean(dim=0, keepdim=True)
        if self.law == "purity":
            self.kept = self.kept + 1
            y = y + self.kept
        if self.law == "future":
            y = torch.nn.functional.conv1d(x.transpose(1, 2), torch.ones(2, 1, 3), groups=2, padding=1).transpose(1, 2)
        if self.law == "mutation":
            y = y.clone()
            state.add_(1)
        return y, after


@pytest.mark.parametrize("law", ["chunking", "closure", "rows", "purity", "context", "future", "mutation"])
def test_a_broken_law_is_found(law: str) -> None:
    with pytest.raises(LawBroken):
        verify(_Broken(law))


def test_the_filter_itself_keeps_every_law() -> None:
    verify(_Broken("none"))


@pytest.mark.parametrize("up", [2, 4, 5, 7])
def test_interpolation_answers_what_it_says_after_its_latency(up: int) -> None:
    """A straight line stays the same straight line, shifted by the declared latency."""
    line = Interpolate(up, dim=1)
    frames = torch.arange(6.0)[None, :, None]
    y = line(frames)[0, :, 0]
    answered = torch.arange(len(y)) - line.spec.latency
    expected = (answered - (up - 1) / 2) / up  # the centre of frame i lies at i·up + (up-1)/2
    inside = (expected >= 0) & (expected <= 5)
    assert inside.sum() > 4 * up
    torch.testing.assert_close(y[inside], expected[inside].float())


def test_conditioning_is_a_layer_whose_look_ahead_is_its_latency() -> None:
    conv = CausalConv1d(2, 2, kernel=5, look_ahead=2)
    torch.nn.init.zeros_(conv.weight)
    with torch.no_grad():
        conv.weight[[0, 1], [0, 1], 2] = 1.0
    x = torch.randn(1, 9, 2)
    torch.testing.assert_close(conv(x)[:, conv.spec.latency :], x[:, : -conv.spec.latency])


def test_frames_start_from_silence() -> None:
    """A fresh stream is what a stream becomes after much silence."""
    net: FrameConditioner = _frames(0)  # type: ignore[assignment]
    silence = torch.full((1, 20, 6), FEATURES.silence)
    speech = torch.randn(1, 5, 6)
    fresh = net(speech)
    warmed = net(torch.cat([silence, speech], dim=1))[:, 20 * 4 :]
    torch.testing.assert_close(warmed, fresh)
