"""The laws of distributions, over the registry: total mass one, sampling that follows it, nothing odd at the edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from seqgen import noise, registry
from seqgen.distributions.contract import Distribution, LocationScale
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.errors import SeqgenError

FLOATS = [torch.float32, torch.float64]
# The numbers that a uniform can be: multiples of 2^-24 in [0, 1).
EXTREMES = (0.0, 2.0**-24, 0.5, 0.5 + 2.0**-24, 1 - 2.0**-23, 1 - 2.0**-24)


def distribution(name: str, **options: Any) -> Distribution:
    cls = registry.DISTRIBUTIONS.load(name)
    return cls(cls.Config(**options))


def categorical(dtype: torch.dtype) -> Tensor:
    return 2 * torch.randn(4, 256, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def gaussian(dtype: torch.dtype) -> Tensor:
    return torch.tensor([[0.0, -2.0], [0.3, -4.0], [-0.2, -9.0], [0.1, -30.0]], dtype=dtype)


def mixture(dtype: torch.dtype) -> Tensor:
    """Ten components each: wide, narrow, at the edges, far outside."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(4, 10, generator=generator, dtype=torch.float64)
    means = torch.rand(4, 10, generator=generator, dtype=torch.float64) * 2 - 1
    means[2, :4] = torch.tensor([-1.0, 1.0, -5.0, 5.0])
    scales = torch.tensor([-1.0, -4.0, -6.0, -9.0], dtype=torch.float64)[:, None].expand(-1, 10)
    return torch.cat([logits, means, scales], dim=1).to(dtype)


@dataclass(frozen=True)
class Case:
    """A distribution with parameters that try it, and one value for every row of them."""

    make: Callable[[], Distribution]
    params: Callable[[torch.dtype], Tensor]
    value: Callable[[torch.dtype], Tensor]


CASES = {
    "categorical": Case(lambda: distribution("categorical"), categorical, lambda _: torch.tensor([0, 7, 128, 255])),
    "gaussian": Case(
        lambda: distribution("gaussian"), gaussian, lambda d: torch.tensor([-1.0, 0.31, -0.2, 1.0], dtype=d)
    ),
    "logistic-mixture": Case(
        lambda: distribution("logistic-mixture"), mixture,
        lambda d: torch.tensor([0, 40000, 65535, 32768], dtype=torch.float64).mul(2 / 65535).sub(1).to(d),
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def draws(model: Distribution, count: int, stream: int = 0) -> Tensor:
    u = noise.block(1, stream, 0, count * model.num_uniforms).reshape(count, model.num_uniforms)
    return torch.from_numpy(u)


def levels(count: int, dtype: torch.dtype) -> Tensor:
    return (2 * torch.arange(count, dtype=torch.float64) / (count - 1) - 1).to(dtype)


def test_cases_are_of_registered_distributions() -> None:
    """A new row of the registry needs no case here: test_laws.py holds it to the laws."""
    assert set(CASES) <= set(registry.DISTRIBUTIONS)


def test_shapes_follow_the_leading_axes(case: Case) -> None:
    model, params = case.make(), case.params(torch.float32)
    assert params.shape[-1] == model.num_params
    u = draws(model, 4)
    value = model.sample(params, u)
    score = model.log_prob(params, value)
    assert value.shape == score.shape == (4,)
    assert value.dtype == (torch.int64 if model.vocab_size else torch.float32)
    square = model.sample(params.view(2, 2, -1), u.view(2, 2, -1))
    assert torch.equal(square, value.view(2, 2))
    assert torch.equal(model.log_prob(params.view(2, 2, -1), square), score.view(2, 2))


def test_sampling_depends_on_nothing_but_what_is_given(case: Case) -> None:
    model, params = case.make(), case.params(torch.float32)
    u = draws(model, 4)
    kept = params.clone(), u.clone()
    first = model.sample(params, u)
    torch.manual_seed(99)
    torch.rand(10)
    assert torch.equal(model.sample(params, u), first)
    assert torch.equal(params, kept[0])
    assert torch.equal(u, kept[1])
    alone = torch.stack([model.sample(params[i], u[i]) for i in range(4)])
    assert torch.equal(alone, first)


def test_scaling_is_a_change_of_variables(case: Case) -> None:
    """What is g times as large has the density of what it was, less ln g; symbols have no scale."""
    model, params = case.make(), case.params(torch.float64)[:3]
    gain = torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.float64)
    assert isinstance(model, LocationScale) == (model.vocab_size == 0)
    if not isinstance(model, LocationScale):
        return
    params[..., -1] = params[..., -1].clamp_min(-6)  # above the least scale before and after
    value = case.value(torch.float64)[:3] / 16
    larger = model.log_density(model.scaled(params, gain), value * gain[:, 0].exp())
    torch.testing.assert_close(larger, model.log_density(params, value) - gain[:, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("dtype", FLOATS)
def test_extreme_uniforms_give_lawful_values(case: Case, dtype: torch.dtype, temperature: float) -> None:
    """Every uniform that the noise can be must give a value that is no rarer than 2^-24 can make it."""
    model, params = case.make(), case.params(dtype)
    u = torch.cartesian_prod(*[torch.tensor(EXTREMES, dtype=torch.float32)] * model.num_uniforms).view(
        -1, model.num_uniforms
    )
    each = params.repeat_interleave(len(u), dim=0)
    value = model.sample(each, u.repeat(len(params), 1), temperature)
    if value.is_floating_point():
        assert torch.isfinite(value).all()
        assert value.abs().max() <= 1
    else:
        assert value.min() >= 0
        assert value.max() < model.vocab_size
    assert torch.isfinite(model.log_prob(each, value)).all()
    if temperature:
        score = model.log_prob(each, value)
        # The last component of a mixture may itself have a small weight.
        assert score.min() > -24 * np.log(2) - 20


def test_the_divergence_is_the_mean_difference_of_log_probabilities(case: Case) -> None:
    """Of draws, within their noise; nothing from a distribution to itself; refused where there is no closed form."""
    model, params = case.make(), case.params(torch.float64)[:2]
    if isinstance(model, LogisticMixture):
        with pytest.raises(SeqgenError, match="two LogisticMixture distributions has no closed form; estimate it"):
            model.kl(params, params)
        return
    p, q = params
    assert model.kl(params, params).abs().max() <= 1e-12
    count = 40_000
    drawn = model.sample(p.expand(count, -1), draws(model, count))
    difference = model.log_prob(p.expand(count, -1), drawn) - model.log_prob(q.expand(count, -1), drawn)
    found, error = float(model.kl(p, q)), float(difference.std()) / count**0.5
    assert abs(float(difference.mean()) - found) < 4 * error < 0.05 * found
    assert found > 0.1
    square = model.kl(params.view(2, 1, -1), params.view(1, 2, -1))
    assert square.shape == (2, 2)
    assert float(square[0, 1]) == pytest.approx(found, rel=1e-12)


def quantile(u: float) -> float:
    return float(np.log(u) - np.log1p(-u))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_uniform_is_not_an_infinite_draw(dtype: torch.dtype) -> None:
    """At 2^-24 from one a logistic is 16.6 scales and a normal 5.3 deviations from its mean; no further."""
    top = torch.tensor([1 - 2.0**-24])
    mixed = distribution("logistic-mixture", mixtures=1)
    drawn = mixed.sample(torch.tensor([0.0, 0.1, -6.0], dtype=dtype), torch.cat([torch.zeros(1), top]))
    assert abs(float(drawn) - 0.1) < np.exp(-6) * (abs(quantile(2.0**-24)) + 1)
    normal = distribution("gaussian").sample(torch.tensor([0.1, -6.0], dtype=dtype), top)
    assert abs(float(normal) - 0.1) < np.exp(-6) * 6


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniforms_in_the_lower_and_upper_half_mirror_each_other(dtype: torch.dtype) -> None:
    """Symmetric distributions, sampled at u and 1 - u, give values symmetric about the mean."""
    u = torch.tensor([2.0**-20, 0.001, 0.1, 0.25, 0.4])
    pair = torch.stack([u, 1 - u], dim=1)[..., None]
    normal = distribution("gaussian").sample(torch.tensor([0.0, -3.0], dtype=dtype), pair)
    torch.testing.assert_close(normal[:, 0], -normal[:, 1], rtol=2e-2, atol=1e-6)
    mixed = distribution("logistic-mixture", mixtures=1)
    both = torch.cat([torch.zeros_like(pair), pair], dim=-1)
    logistic = mixed.sample(torch.tensor([0.0, 0.0, -4.0], dtype=dtype).expand(5, 2, 3), both)
    torch.testing.assert_close(logistic[:, 0], -logistic[:, 1], rtol=2e-2, atol=4 / 65535)


@pytest.mark.parametrize("dtype", FLOATS)
def test_categorical_probabilities_sum_to_one(dtype: torch.dtype) -> None:
    model, params = distribution("categorical"), categorical(dtype)
    params[3] *= 100  # nearly one-hot
    every = torch.arange(256).expand(4, 256)
    total = model.log_prob(params[:, None].expand(4, 256, 256), every).double().exp().sum(dim=1)
    assert (total - 1).abs().max() <= 1e-6


MEANS = [0.0, 0.1234567, -1.0, 1.0, 0.99999, -1.00001, 3.0, -7.0, 1 / 65535, 2 * 40000.5 / 65535 - 1]
SCALES = [2.0, 0.0, -2.0, -5.0, -9.0, -10.4, -11.5, -13.0, -14.0, -40.0]


@pytest.mark.parametrize("log_scale", SCALES)
def test_mixture_mass_over_all_levels_is_one(log_scale: float) -> None:
    """In float32 the bins' edges are off by 2^-24 each, which weighs in once the scale is near the width of a bin."""
    model = distribution("logistic-mixture", mixtures=1)
    for mean in MEANS:
        params = torch.tensor([0.3, mean, log_scale], dtype=torch.float64)
        for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 3e-4)):
            each = params.to(dtype).expand(65536, 3)
            score = model.log_prob(each, levels(65536, dtype))
            assert torch.isfinite(score).all()
            assert abs(float(score.double().exp().sum()) - 1) <= tolerance, (mean, dtype)


def test_mixture_mass_of_several_components() -> None:
    params = mixture(torch.float64)
    model = distribution("logistic-mixture")
    total = [model.log_prob(row.expand(65536, 30), levels(65536, row.dtype)).exp().sum() for row in params[1:3]]
    assert max(abs(float(t) - 1) for t in total) <= 1e-6


def test_mixture_is_the_definition_at_few_levels() -> None:
    """The definition with plain sigmoids, 16 levels, float64."""
    model = distribution("logistic-mixture", mixtures=3, levels=16)
    params = torch.tensor([0.1, -0.4, 0.9, -0.95, 0.2, 1.3, -2.0, -1.0, -1.5], dtype=torch.float64)
    weight, mean, scale = torch.softmax(params[:3], 0), params[3:6], params[6:].exp()
    for j, value in enumerate(levels(16, torch.float64)):
        above = torch.ones(3) if j == 15 else torch.sigmoid((value + 1 / 15 - mean) / scale)
        below = torch.zeros(3) if j == 0 else torch.sigmoid((value - 1 / 15 - mean) / scale)
        expected = (weight * (above - below)).sum()
        assert float(model.log_prob(params, value).exp()) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("row", range(3))
def test_gaussian_density_integrates_to_one(row: int) -> None:
    params = gaussian(torch.float64)[row]
    mean, scale = float(params[0]), float(params[1].exp())
    x = torch.linspace(mean - 12 * scale, mean + 12 * scale, 4001, dtype=torch.float64)
    density = distribution("gaussian").log_prob(params.expand(4001, 2), x).exp()
    assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=1e-9)
    expected = stats.norm.logpdf(x.numpy(), mean, scale)
    np.testing.assert_allclose(density.log().numpy(), expected, rtol=1e-9)


def chi_square(counts: np.ndarray, probability: np.ndarray) -> float:
    """p-value; cells that expect fewer than five draws are counted as one."""
    expected = probability * counts.sum()
    rare = expected < 5
    pooled = [np.append(cells[~rare], cells[rare].sum()) for cells in (counts, expected)]
    if pooled[1][-1] < 1:
        pooled = [cells[:-1] for cells in pooled]
    return float(stats.chisquare(pooled[0], pooled[1] * (pooled[0].sum() / pooled[1].sum())).pvalue)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_categorical_samples_follow_the_probabilities(temperature: float) -> None:
    model, params = distribution("categorical"), categorical(torch.float32)[0]
    value = model.sample(params.expand(40_000, -1), draws(model, 40_000), temperature)
    probability = torch.softmax(params.double() / temperature, 0).numpy()
    assert chi_square(np.bincount(value.numpy(), minlength=256), probability) > 1e-3


def test_mixture_samples_follow_the_probabilities_at_few_levels() -> None:
    """Sixteen levels: the edges hold the tails."""
    model = distribution("logistic-mixture", mixtures=3, levels=16)
    params = torch.tensor([0.1, -0.4, 0.9, -0.95, 0.2, 1.3, -2.0, -1.0, -1.5])
    value = model.sample(params.expand(100_000, -1), draws(model, 100_000))
    index = torch.round((value + 1) * 7.5).long()
    torch.testing.assert_close(value, levels(16, torch.float32)[index], rtol=0, atol=2e-7)
    probability = model.log_prob(params.double().expand(16, -1), levels(16, torch.float64)).exp().numpy()
    assert chi_square(np.bincount(index.numpy(), minlength=16), probability) > 1e-3


def test_mixture_samples_lie_on_levels_and_follow_the_mixture() -> None:
    model, params = distribution("logistic-mixture"), mixture(torch.float32)[1]
    value = model.sample(params.expand(50_000, -1), draws(model, 50_000)).double()
    index = (value + 1) * 65535 / 2
    assert (index - index.round()).abs().max() < 0.01
    logits, mean, scale = params.double().chunk(3)
    weight = torch.softmax(logits, 0)
    middle = value[value.abs() < 1].numpy()

    def below(x: np.ndarray) -> np.ndarray:
        return (weight * torch.sigmoid((torch.as_tensor(x)[:, None] - mean) / scale.exp())).sum(1).numpy()

    low, high = below(np.array([-1.0, 1.0]))
    assert stats.kstest(middle, lambda x: (below(x) - low) / (high - low)).pvalue > 1e-3


def test_gaussian_samples_follow_the_normal_distribution() -> None:
    model, params = distribution("gaussian"), torch.tensor([0.1, -3.0])
    value = model.sample(params.expand(100_000, -1), draws(model, 100_000)).numpy()
    assert stats.kstest(value, stats.norm(0.1, np.exp(-3)).cdf).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [0.0, 1e-9, 1e-4])
def test_categorical_without_heat_gives_the_mode(temperature: float) -> None:
    model, params = distribution("categorical"), categorical(torch.float32)
    for u in EXTREMES:
        value = model.sample(params, torch.full((4, 1), u), temperature)
        assert torch.equal(value, params.argmax(dim=1))


def test_categorical_never_draws_the_impossible() -> None:
    params = torch.full((256,), -1e4)
    params[[3, 200]] = 1.0
    for u, expected in zip(EXTREMES, (3, 3, 200, 200, 200, 200), strict=True):
        assert int(distribution("categorical").sample(params, torch.tensor([u]))) == expected


@pytest.mark.parametrize("name", ["gaussian", "logistic-mixture"])
def test_real_valued_distributions_without_heat_give_a_mean(name: str) -> None:
    model = distribution(name, **({"mixtures": 1} if name == "logistic-mixture" else {}))
    params = torch.tensor([0.3, -2.0] if name == "gaussian" else [0.0, 0.3, -2.0])
    for u in EXTREMES:
        assert float(model.sample(params, torch.full((model.num_uniforms,), u), 0.0)) == pytest.approx(
            0.3, abs=1 / 65535
        )


EDGE = {
    "categorical": (torch.tensor([[1e4] + [0.0] * 255, [-1e4] * 255 + [1e4]]), torch.tensor([255, 0])),
    "gaussian": (torch.tensor([[5.0, -30.0], [-5.0, 10.0]]), torch.tensor([-1.0, 1.0])),
    "logistic-mixture": (
        torch.tensor([[30.0, -30.0, 5.0, -5.0, -40.0, 20.0], [0.0, 0.0, -1.0, 1.0, -14.0, 3.0]]).repeat(2, 1),
        torch.tensor([-1.0, 1.0, 1.0, -1.0]),
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", EDGE)
def test_log_probability_and_its_gradient_are_finite_at_the_edges(name: str, dtype: torch.dtype) -> None:
    model = distribution(name, **({"mixtures": 2} if name == "logistic-mixture" else {}))
    params, value = EDGE[name]
    params = params.to(dtype, copy=True).requires_grad_()
    score = model.log_prob(params, value if not value.is_floating_point() else value.to(dtype))
    assert torch.isfinite(score).all()
    (gradient,) = torch.autograd.grad(score.sum(), params)
    assert torch.isfinite(gradient).all()


def test_log_probability_has_the_right_gradient(case: Case) -> None:
    model = case.make()
    params = case.params(torch.float64)[:2].requires_grad_()
    value = case.value(torch.float64)[:2]
    assert torch.autograd.gradcheck(lambda p: model.log_prob(p, value), params, fast_mode=True)


def test_float32_follows_float64(case: Case) -> None:
    model = case.make()
    exact = model.log_prob(case.params(torch.float64), case.value(torch.float64))
    rounded = model.log_prob(case.params(torch.float32), case.value(torch.float32))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_scored_in_full_precision(case: Case, half: torch.dtype) -> None:
    """Mixed precision hands over rounded parameters; their likelihood must not be rounded once more."""
    model, params, value = case.make(), case.params(torch.float32).to(half), case.value(torch.float32)
    torch.testing.assert_close(
        model.log_prob(params, value).float(), model.log_prob(params.float(), value), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", ["gaussian", "logistic-mixture"])
def test_the_origin_is_the_log_scale_of_an_output_of_zero(name: str) -> None:
    plain, moved = distribution(name), distribution(name, origin=-4.0)
    params = torch.zeros(plain.num_params, dtype=torch.float64)
    lower = params.clone()
    lower[1 if name == "gaussian" else slice(20, 30)] = -4.0
    value = levels(65536, torch.float64)[[30000, 40001]]
    both = [model.log_prob(given.expand(2, -1), value) for model, given in ((moved, params), (plain, lower))]
    assert torch.equal(*both)
    u = torch.full((plain.num_uniforms,), 0.7)
    assert torch.equal(moved.sample(params, u), plain.sample(lower, u))
    assert not torch.equal(moved.sample(params, u), plain.sample(params, u))
