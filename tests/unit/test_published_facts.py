"""Facts that the published descriptions state of their networks, counted or in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seqgen import registry
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.flows.affine import AffineAutoregressive, AffineStream
from seqgen.flows.independent import IndependentFlow
from seqgen.generation.contract import Density
from seqgen.generation.parallel import Parallel
from seqgen.models.frames import FrameConditioner, with_speaker
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.models.wavenet import WaveNet
from seqgen.models.wavernn import WaveRNN
from seqgen.nets.layers import Dense
from seqgen.spec import FeatureSpec
from seqgen.stream.combinators import Delay, Interpolate, Serial
from seqgen.stream.conditioning import Frames
from seqgen.stream.lazy_interpolation import LazyInterpolation
from seqgen.tasks.contract import Evaluation, System, TaskExample
from seqgen.tasks.processes.seasonal import Seasonal, SeasonalSymbols
from seqgen.train.settings import SparsityConfig
from seqgen.train.sparsity import Pruner, share

SPEC = FeatureSpec(sample_rate=8000, n_fft=64, window=12, hop=4, n_mels=6)


# --- WaveRNN, arXiv 1802.08435


class Products(TorchDispatchMode):
    """Notes the sizes of every product of a matrix that is wider than the three bytes of a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, int]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in ("mm", "addmm", "bmm", "baddbmm", "mv", "linear", "matmul"):
            matrix = args[-1] if name in ("mm", "bmm", "mv") else args[2]
            if matrix.shape[-2] > 3:
                self.found.append(tuple(sorted(matrix.shape[-2:])))  # type: ignore[arg-type]
        return function(*args, **(kwargs or {}))


@torch.no_grad()
@pytest.mark.parametrize("conditioned", [False, True])
def test_a_sample_takes_five_matrix_products(conditioned: bool) -> None:
    """Section 2.1, N = 5: R, O1 and O2 for the coarse byte, O3 and O4 for the fine one."""
    body = WaveRNN(WaveRNN.Config(hidden=24, conditioned=conditioned))
    state, cond = body.init_state(2), torch.zeros(2, 1, 72) if conditioned else None
    with Products() as coarse:
        _, state = body.step(torch.zeros(2, 1, dtype=torch.int64), state, cond)
    with Products() as fine:
        body.step(torch.zeros(2, 1, dtype=torch.int64), state, cond)
    assert coarse.found == [(24, 72), (12, 12), (12, 256)]
    assert fine.found == [(12, 12), (12, 256)]


@pytest.mark.parametrize("block", [(16, 1), (4, 4), (16, 4)])
def test_after_every_pruning_each_gate_has_its_zeros_and_none_comes_back(block: tuple[int, int]) -> None:
    """Section 3: within a block of ``z(t)`` for each gate alone, the same number in each, whole blocks, for good;
    whatever an optimiser does in between."""
    config = SparsityConfig(matrices={"recurrent": 0.9}, block=block, start=3, ramp=24, every=2)
    body = WaveRNN(WaveRNN.Config(hidden=32, conditioned=False))
    pruner, generator = Pruner(body, config), torch.Generator().manual_seed(0)
    gone, blocks = torch.zeros_like(body.recurrent, dtype=torch.bool), 32 * 32 // (block[0] * block[1])
    for step in range(1, 35):
        with torch.no_grad():  # an optimiser with momentum would move what is pruned too
            body.recurrent += 0.3 * torch.randn(body.recurrent.shape, generator=generator)
        pruner.update(step)
        zero = body.recurrent == 0
        assert bool((zero | ~gone).all()), "what was pruned came back"
        gates = zero.view(2, 3, 16, 32).transpose(0, 1).reshape(3, 32, 32)
        counts = gates.flatten(1).sum(dim=1) // (block[0] * block[1])
        pruned = min(max(step - 3, 0) // 2 * 2, 24) + 3  # the last step at which the schedule was heeded
        expected = share(config, 0.9, pruned) * blocks
        assert counts.tolist() == [math.floor(expected + 1e-9)] * 3
        whole = gates.unflatten(1, (-1, block[0])).unflatten(3, (-1, block[1])).sum(dim=(2, 4))
        assert set(whole.unique().tolist()) <= {0, block[0] * block[1]}
        gone = zero
    assert pruner.zeros() == pytest.approx(math.floor(0.9 * blocks) / blocks)


# --- WaveNet, arXiv 1609.03499


@torch.no_grad()
def test_speaker_weights_of_zero_are_no_speakers() -> None:
    """Section 2.5: of global conditioning with V = 0 nothing is left, whoever speaks; with any other V something is."""
    options = FrameConditioner.Config(channels=5, blocks=1, look_ahead=1)
    alone = FrameConditioner(options, features=SPEC, speakers=0, out_dim=4)
    several = FrameConditioner(options, features=SPEC, speakers=3, out_dim=4)
    nothing = several.load_state_dict(alone.state_dict(), strict=False)
    assert nothing.missing_keys == ["speaker.weight"]
    features = torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(0))
    expected, _ = alone.step(features, alone.init_state(3))
    given = with_speaker(features, torch.arange(3), 3)
    assert not torch.allclose(several.step(given, several.init_state(3))[0], expected)
    assert several.speaker is not None
    nn.init.zeros_(several.speaker.weight)
    torch.testing.assert_close(several.step(given, several.init_state(3))[0], expected)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("up", [1, 2, 3, 4, 5, 80])
def test_an_impulse_lands_on_its_frame(up: int, lazy: bool) -> None:
    """A frame is heard as a triangle about the middle of its hop, two hops wide, of area ``up``."""
    net, frames, at = Interpolate(up, dim=2).double(), 6, 3
    x = torch.zeros(1, frames, 2, dtype=torch.float64)
    x[0, at] = torch.tensor([1.0, -2.0])
    if lazy:
        heard = net.lazy(x, net.init_state(1), 0, frames * up)[0].dense()
    else:
        heard, _ = net.step(x, net.init_state(1))
    heard = heard[0, net.spec.latency :]  # what waits for the next frame answers none
    place = torch.arange(len(heard), dtype=torch.float64)
    triangle = (1 - (place - (at * up + (up - 1) / 2)).abs() / up).clamp_min(0)
    torch.testing.assert_close(heard, triangle[:, None] * x[0, at], rtol=0, atol=1e-7)  # weights are float32
    assert float(triangle.sum()) == pytest.approx(up if up > 1 else 1)
    assert int(heard[:, 0].argmax()) // up == at


@torch.no_grad()
def test_a_frame_conditions_its_own_samples_and_its_neighbours() -> None:
    """Through convolutions and a generator's alignment: without look-ahead nothing before half a hop ahead of it."""
    options = FrameConditioner.Config(channels=8, blocks=0, look_ahead=0)
    net = FrameConditioner(options, features=SPEC, speakers=0, out_dim=2)
    generator = Parallel(IndependentFlow(IndependentFlow.Config()), net)
    features = torch.randn(1, 9, 6)
    other = features.clone()
    other[0, 4] += 3
    made = [generator.condition(Frames(one, torch.zeros(1, dtype=torch.int64)), 28) for one in (features, other)]
    first, second = (one.dense() if isinstance(one, LazyInterpolation) else one for one in made)
    assert first is not None
    assert second is not None
    differ = ((first - second).abs().sum(dim=2)[0] > 1e-6).nonzero()[:, 0]
    assert differ.tolist() == list(range(14, 22))  # hops of 4: frame 4 is samples 16 to 19


def seasonal(**options: Any) -> SeasonalSymbols:
    example = SeasonalSymbols.example(options, {})
    assert isinstance(example, TaskExample)
    assert isinstance(example.task, SeasonalSymbols)
    return example.task


class Known(Density):
    """The process itself as a density: of each symbol the probability of its cell, given that of ``lag`` before."""

    num_uniforms = 1

    def __init__(self, process: Seasonal, lag: int) -> None:
        super().__init__()
        self.process, self.lag = process, lag

    def log_prob(self, x: Tensor, cond: Any = None) -> Tensor:
        value, half = x.double().numpy() * 2 / (self.process.levels - 1) - 1, 1 / (self.process.levels - 1)
        mean, deviation = np.zeros_like(value), np.full(value.shape[1], self.process.deviation)
        if self.lag:
            mean[:, self.lag :] = self.process.coefficient * value[:, : -self.lag]
            deviation[self.lag :] *= math.sqrt(1 - self.process.coefficient**2)
        edges = np.stack([value - half, value + half])
        below, above = stats.norm.cdf(np.where(np.abs(edges) > 1, np.inf * edges, edges), mean, deviation)
        return torch.from_numpy(np.log(np.maximum(above - below, 1e-300)))

    def sample(self, u: Tensor, cond: Any = None, temperature: Tensor | float = 1.0) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(("lag", "excess"), [(64, 0.0), (0, 1.6793), (63, None)])
def test_a_season_of_64_is_worth_what_is_said(lag: int, excess: float | None) -> None:
    """The default process: 7.05 bits, of which what lies 64 symbols back tells 1.68; an evaluation finds both of models
    that know them, and a model that looks one symbol beside does worse than one that looks nowhere."""
    task = seasonal(length=512, held_out=64)
    process = task.config.process
    assert (process.season, process.coefficient, process.deviation, process.levels) == (64, 0.95, 0.25, 256)
    assert (process.marginal_entropy, process.entropy_rate) == pytest.approx((7.0415, 5.3622), abs=1e-4)
    table = task.evaluate(System({"generator": Known(process, lag)}, label="known"), Evaluation())
    bits, found = table.figures["bits_per_symbol"], table.figures["excess"].value
    assert bits.value - found == pytest.approx(process.entropy_rate, abs=1e-12)
    if excess is None:
        assert found > 3
    else:
        assert found == pytest.approx(excess, abs=max(0.01, 1.5 * bits.half_width))
        assert bits.half_width < 0.05


@pytest.mark.parametrize(("cycle", "reaches"), [(7, True), (1, False)])
def test_seven_dilated_layers_reach_a_season_of_64_and_seven_plain_ones_do_not(cycle: int, reaches: bool) -> None:
    sizes = {"residual_channels": 8, "gate_channels": 8, "skip_channels": 16, "head_channels": 16, "vocab_size": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = WaveNet(
            WaveNet.Config(layers=7, dilation_cycle=cycle, input_kernel=1, conditioned=False, outputs=2, **sizes)
        )
        x = torch.randn(8, 200, 1, requires_grad=True)
    assert net.spec.context == (128 if reaches else 8)
    (slope,) = torch.autograd.grad(net(x)[:, 190].sum(), x)
    first = 190 - (127 if reaches else 7)
    assert bool(slope[:, 190 - 63].any()) is reaches  # x_{t-64}, as the input is the element before
    assert slope[:, first].any()
    assert not slope[:, :first].any()


# --- Parallel WaveNet, arXiv 1711.10433


MEANS = (0.0, 0.9, -0.999, 1.2)


@torch.no_grad()
@pytest.mark.parametrize("log_scale", [-14.0, -12.0, -10.0, -7.0, -4.0, -2.0, 0.0])
def test_the_mass_of_a_mixture_is_one_in_single_precision(log_scale: float) -> None:
    """Over all 65,536 levels to 1e-5, where formulas that take more than the last level for the tail have up to 16.8.

    Levels are no numbers of float32: nearest ones lie up to 3e-8 beside, as much as 0.2 % of a bin. What that makes of
    the mass, 1.5e-5 where a scale is near the width of a bin, is none of the mixture's, and is known from float64.
    """
    mixture = LogisticMixture(LogisticMixture.Config(mixtures=2))
    exact = torch.arange(65536, dtype=torch.float64) * (2 / 65535) - 1
    for mean in MEANS:
        params = torch.tensor([0.3, -0.2, mean, -mean / 2, log_scale, log_scale + 0.5], dtype=torch.float64)
        each = params.expand(65536, 6)
        ideal, rounded = (mixture.log_prob(each, one).exp().sum() for one in (exact, exact.float().double()))
        found = mixture.log_prob(each.float(), exact.float()).double().exp().sum()
        assert float(ideal) == pytest.approx(1, abs=1e-10)
        assert float(found) == pytest.approx(float(rounded), abs=1e-5)
        assert float(found) == pytest.approx(1, abs=1e-5 if log_scale >= -7 else 2e-5)


@torch.no_grad()
def test_a_mixture_of_16_bits_can_be_sure_of_one_level() -> None:
    """With the bound of 8 bits, a log-scale of -7, no level could have more than a sixtieth."""
    mixture = LogisticMixture(LogisticMixture.Config(mixtures=1))
    level = torch.tensor(12345 * (2 / 65535) - 1, dtype=torch.float64)
    for log_scale in (-30.0, -14.0):
        params = torch.stack([torch.zeros_like(level), level, torch.full_like(level, log_scale)])
        assert float(mixture.log_prob(params, level).exp()) > 0.9999
    held = mixture.log_prob(torch.stack([torch.zeros_like(level), level, torch.full_like(level, -7.0)]), level)
    expected = stats.logistic.cdf(1 / 65535, scale=math.exp(-7)) - stats.logistic.cdf(-1 / 65535, scale=math.exp(-7))
    assert float(held.exp()) == pytest.approx(expected, rel=1e-6)
    assert float(held.exp()) < 1 / 60


def quiet(flow: nn.Module) -> AffineStream[Any]:
    for name, parameter in flow.named_parameters():
        if "out." in name or "linear" in name:
            nn.init.zeros_(parameter)
    assert isinstance(flow, AffineStream)
    return flow.double()


@torch.no_grad()
@pytest.mark.parametrize(("scale", "floor"), [(0.5, 1e-3), (0.5, 0.4), (0.25, 0.2), (0.9, 0.01)])
def test_a_fresh_flow_has_the_scale_that_was_asked_for(scale: float, floor: float) -> None:
    """Floor included, whatever it is: of one flow, of one without memory, and of a composition their product."""
    z = torch.randn(2, 6, 1, dtype=torch.float64)
    one = quiet(AffineAutoregressive(Serial(Delay(1, dim=1), Dense(1, 2)), scale=scale, floor=floor))
    alone = quiet(IndependentFlow(IndependentFlow.Config(scale=scale, floor=floor)))
    sizes = {"residual_channels": 3, "gate_channels": 3, "head_channels": 3, "conditioned": False}
    three = quiet(ParallelWaveNet(ParallelWaveNet.Config(layers=(1, 2, 1), scale=scale, floor=floor, **sizes)))
    for flow, cond, expected in (
        (one, None, scale), (alone, torch.zeros(2, 6, 2, dtype=torch.float64), scale), (three, None, scale**3)
    ):  # fmt: skip
        x, log_det = flow.forward_and_log_det(z, cond)
        torch.testing.assert_close(x, expected * z, rtol=1e-12, atol=0)
        torch.testing.assert_close(log_det, torch.full_like(log_det, math.log(expected)), rtol=0, atol=1e-12)


def test_every_registered_flow_with_a_scale_is_held_to_it() -> None:
    named = {name for name in registry.FLOWS if "scale" in registry.FLOWS.load(name).Config.__dataclass_fields__}
    assert named == {"independent", "parallel-wavenet"}
