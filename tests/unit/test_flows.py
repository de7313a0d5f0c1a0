"""Affine autoregressive flows against what is known of them: inverse, Jacobian, causality, composition, entropy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.flows.affine import AffineAutoregressive, Composed, logistic, logistic_log_density
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.models.wavenet import WaveNet
from seqgen.nets.layers import CausalConv1d, Dense
from seqgen.stream.combinators import Delay, Repeat, Serial
from tests.runtime.voices import lively

SIZES: dict[str, Any] = {
    "layers": (3, 2, 4),
    "dilation_cycle": 3,
    "residual_channels": 6,
    "gate_channels": 5,
    "head_channels": 7,
}


def student(dtype: torch.dtype = torch.float64, **options: Any) -> ParallelWaveNet:
    """A random student, tame enough that the inverse, which feeds on its own roundings, does not run away."""
    body = ParallelWaveNet(ParallelWaveNet.Config(**(SIZES | options)))
    lively(body, seed=3)
    with torch.no_grad():
        for flow in body.flows:
            flow.net.layers[1].out.weight.mul_(0.05)  # type: ignore[index, union-attr]
    return body.to(dtype)


def inputs(body: ParallelWaveNet, length: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Logistic noise and conditioning."""
    draw = torch.Generator().manual_seed(1)
    z = logistic(torch.rand(batch, length, 1, generator=draw, dtype=torch.float64))
    cond = torch.randn(batch, length, body.spec.cond_dim, generator=draw, dtype=torch.float64)
    return z.to(body.zeros(0)), cond.to(body.zeros(0))


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str)
def test_the_inverse_finds_the_noise(dtype: torch.dtype, tolerance: float) -> None:
    body = student(dtype)
    z, cond = inputs(body, 40)
    x, forward = body.forward_and_log_det(z, cond)
    found, backward = body.inverse_and_log_det(x, cond)
    assert (found - z).abs().max() / z.abs().max() <= tolerance
    assert forward.shape == backward.shape == (2, 40)
    assert (forward + backward).abs().max() <= tolerance * forward.abs().max()
    assert (forward + backward).sum(dim=1).abs().max() <= 40 * tolerance * forward.sum(dim=1).abs().max()
    assert (x - z).abs().max() > 1
    assert forward.std() > 0.01
    assert torch.equal(x, body(z, cond))


@torch.no_grad()
def test_the_composition_is_the_flows_one_after_the_other() -> None:
    body = student()
    z, cond = inputs(body, 30)
    x, scales, means = z, [], []
    for flow, part in zip(body.flows, cond.split(body.widths, dim=-1), strict=True):
        made, _ = flow.affine(x, flow.init_state(2), part)  # type: ignore[operator]
        x = x * made.log_scale.exp() + made.mean
        scales.append(made.log_scale.exp())
        means.append(made.mean)
    total, _ = body.affine(z, body.init_state(2), cond)
    s_tot = scales[0] * scales[1] * scales[2]
    mu_tot = means[0] * scales[1] * scales[2] + means[1] * scales[2] + means[2]
    torch.testing.assert_close(total.log_scale.exp(), s_tot, rtol=1e-12, atol=0)
    torch.testing.assert_close(total.mean, mu_tot, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(body(z, cond), x, rtol=1e-12, atol=1e-12)


def test_the_log_determinant_is_that_of_the_numeric_jacobian() -> None:
    body = student()
    z, cond = inputs(body, 6, batch=1)
    _, log_det = body.forward_and_log_det(z, cond)
    jacobian = torch.autograd.functional.jacobian(lambda flat: body(flat.view(1, 6, 1), cond).flatten(), z.flatten())
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det.sum(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(jacobian.diag().log(), log_det[0], rtol=1e-10, atol=1e-10)


def test_no_sample_depends_on_later_noise_and_its_own_is_scaled() -> None:
    body = student()
    z, cond = inputs(body, 12, batch=1)
    total, _ = body.affine(z, body.init_state(1), cond)
    jacobian = torch.autograd.functional.jacobian(lambda flat: body(flat.view(1, 12, 1), cond).flatten(), z.flatten())
    assert torch.equal(jacobian.triu(1), torch.zeros_like(jacobian))
    torch.testing.assert_close(jacobian.diag(), total.log_scale.exp().flatten(), rtol=1e-10, atol=1e-12)
    assert (jacobian.diagonal(-1) != 0).all()


@torch.no_grad()
def test_the_entropy_is_the_sum_of_log_scales_and_two_a_step() -> None:
    """``-E ln p(x) = E Σ ln s_tot + 2T``, both over the same draws; their difference has mean zero."""
    body, steps, draws = student(), 5, 20_000
    u = torch.from_numpy(noise.block(4, 0, 0, draws * steps)).double().view(draws, steps, 1)
    z = logistic(u)
    cond = inputs(body, steps, batch=1)[1].expand(draws, -1, -1)
    total, _ = body.affine(z, body.init_state(draws), cond)
    surprise = -logistic_log_density(total.of(z), total.mean, total.log_scale).sum(dim=(1, 2))
    entropy = total.log_scale.sum(dim=(1, 2)) + 2 * steps
    difference = surprise - entropy
    assert abs(float(difference.mean())) < 3 * float(difference.std()) / math.sqrt(draws)
    assert float(difference.std()) / math.sqrt(draws) < 0.02


def test_the_density_is_a_logistics() -> None:
    x = torch.linspace(-60, 60, 40_001, dtype=torch.float64)
    density = logistic_log_density(x, *torch.tensor([0.7, 0.4], dtype=torch.float64)).exp()
    assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=1e-9)
    assert float(torch.trapezoid(density * x, x)) == pytest.approx(0.7, abs=1e-6)
    spread = float(torch.trapezoid(density * (x - 0.7) ** 2, x))
    assert spread == pytest.approx(math.exp(0.8) * math.pi**2 / 3, rel=1e-5)


def test_noise_is_logistic_and_finite_at_the_ends() -> None:
    ends = logistic(torch.tensor([0.0, 2.0**-24, 0.5, 1 - 2.0**-24]))
    assert torch.isfinite(ends).all()
    assert ends.abs().max() == pytest.approx(math.log((1 - 1e-5) / 1e-5), rel=1e-3)
    u = torch.from_numpy(noise.block(4, 1, 0, 100_000)).double()
    z = logistic(u)
    torch.testing.assert_close(torch.sigmoid(z), u.clamp(1e-5, 1 - 1e-5), rtol=1e-9, atol=0)
    assert float(z.var()) == pytest.approx(math.pi**2 / 3, rel=0.02)


def test_a_fresh_student_starts_below_full_scale() -> None:
    torch.manual_seed(0)
    body = ParallelWaveNet(ParallelWaveNet.Config(**SIZES))
    z = logistic(torch.rand(2, 500, 1, generator=torch.Generator().manual_seed(0)))
    total, _ = body.affine(z, body.init_state(2), torch.zeros(2, 500, body.spec.cond_dim))
    assert -4.5 * math.log(2) < float(total.log_scale.detach().mean()) < -1.5 * math.log(2)
    assert float(total.log_scale.detach().max()) < 0


def test_scales_have_a_floor() -> None:
    """A network that wants no noise at all still leaves every sample a density."""
    body = student(floor=1e-2)
    with torch.no_grad():
        for flow in body.flows:
            flow.net.layers[1].out.bias[1] = -1e4  # type: ignore[index, union-attr]
    z, cond = inputs(body, 10)
    total, _ = body.affine(z, body.init_state(2), cond)
    torch.testing.assert_close(total.log_scale, torch.full_like(total.log_scale, 3 * math.log(1e-2)))


def test_the_default_is_the_published_size() -> None:
    config = ParallelWaveNet.Config()
    assert (config.layers, config.residual_channels, config.skip_channels) == ((10, 10, 10, 30), 64, 0)
    body = ParallelWaveNet(config)
    assert body.spec.context == 1 + 3 * (1 + 1023) + 1 + 3 * 1023
    assert body.spec.cond_dim == 60 * 2 * 64


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": ()}, "no flows"),
        ({"layers": (0,)}, "layers is 0"),
        ({"scale": 1.0}, "scale is 1.0, floor 0.001; choose 0 < floor < scale < 1"),
        ({"floor": 0.6}, "floor 0.6"),
        ({"floor": 0.0}, "floor 0.0"),
        ({"kernel": 1}, "kernel is 1"),
    ],
)
def test_what_makes_no_student_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        student(**options)


def test_a_flow_needs_a_network_of_its_shape() -> None:
    for net in (
        Dense(1, 3),
        Dense(2, 2),
        Serial(Dense(1, 2), Repeat(2, dim=2)),
        CausalConv1d(1, 2, kernel=3, look_ahead=1),
    ):
        with pytest.raises(SeqgenError, match="a flow over a network of"):
            AffineAutoregressive(net)
    with pytest.raises(SeqgenError, match="choose 0 < floor < scale"):
        AffineAutoregressive(Dense(1, 2), scale=0.5, floor=0.5)


@torch.no_grad()
def test_flows_of_any_network_compose() -> None:
    """A recurrent or convolutional network serves as well: only the contract is used."""
    body = Composed([AffineAutoregressive(Serial(Delay(1, dim=1), CausalConv1d(1, 2, kernel=4))) for _ in range(2)])
    body = body.double()
    z = torch.randn(1, 20, 1, dtype=torch.float64)
    assert body.spec.context == 1 + 4 + 4
    assert torch.allclose(body.inverse_and_log_det(body(z))[0], z, atol=1e-10)


def test_a_wavenet_without_skip_connections_reads_its_last_layer() -> None:
    """Against the definition: the head sees the residual stream behind the last layer, and every layer has a W_r."""
    sizes: dict[str, Any] = {
        "layers": 3,
        "dilation_cycle": 2,
        "residual_channels": 4,
        "gate_channels": 3,
        "skip_channels": 0,
        "head_channels": 5,
        "outputs": 2,
    }
    body = WaveNet(WaveNet.Config(vocab_size=0, input_kernel=1, conditioned=False, **sizes)).double()
    lively(body, seed=5)
    x = torch.randn(1, 9, 1, dtype=torch.float64)
    a = x @ body.front.weight[:, :, 0].t() + body.front.bias
    for layer, dilation in enumerate((1, 2, 1)):
        before = torch.cat([torch.zeros(1, dilation, 4, dtype=torch.float64), a[:, :-dilation]], dim=1)
        inner = body.gates[layer](torch.cat([before, a], dim=2))
        a = a + body.residuals[layer](torch.tanh(inner[..., :3]) * torch.sigmoid(inner[..., 3:]))
    expected = body.out(torch.relu(body.head(torch.relu(a))))
    torch.testing.assert_close(body(x), expected, rtol=1e-12, atol=1e-12)
    assert "skip.weight" not in dict(body.named_parameters())
