"""The laws of distributions as library code, to be run over every registered one.

A law takes the distribution alone: any numbers that a network gives are parameters, so it draws its own. Randomness is
spread evenly (Kronecker sequences of the golden ratio's kind), so that a law holds or does not, every time.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from seqgen.distributions.contract import Distribution, LocationScale
from seqgen.errors import SeqgenError

_ROWS = 5
_DRAWS = 1 << 14
_MASS, _FOLLOWS, _ROUNDED = 1e-6, 0.01, 1e-9
_SMALLEST, _LARGEST = 0.0, 1 - 2.0**-24  # uniforms


def verify(distribution: Distribution) -> None:
    """Every law of a distribution.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    check_shapes(distribution)
    check_mass(distribution)
    check_cumulative(distribution)
    check_sampling(distribution)
    check_temperature(distribution)
    check_divergence(distribution)
    if isinstance(distribution, LocationScale):
        check_scaled(distribution)


def check_shapes(distribution: Distribution) -> None:
    """Law of shapes: a value and a log-probability for each row, those of the row alone, whatever torch's generator
    says; nothing that is given changes."""
    params, u = parameters(distribution, 6), evenly(6, distribution.num_uniforms)
    kept = params.clone(), u.clone()
    value = distribution.sample(params, u)
    score = distribution.log_prob(params, value)
    assert value.shape == score.shape == (6,), f"6 rows give values {list(value.shape)} and scores {list(score.shape)}"
    symbols = not value.is_floating_point()
    alphabet = distribution.vocab_size
    assert symbols == bool(alphabet), f"vocab_size is {alphabet}, values are {value.dtype}"
    assert bool(score.isfinite().all()), "a drawn value has no finite log-probability"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(distribution.sample(params, u), value), "the same uniforms give another value"
    square = distribution.sample(params.view(2, 3, -1), u.view(2, 3, -1))
    alone = torch.stack([distribution.sample(params[row], u[row]) for row in range(6)])
    assert torch.equal(square.flatten(), value), "rows laid out otherwise have other values"
    assert torch.equal(alone, value), "a row's value depends on the rows beside it"
    assert torch.equal(params, kept[0]), "the parameters were changed"
    assert torch.equal(u, kept[1]), "the uniforms were changed"
    for edge in (_SMALLEST, _LARGEST):
        extreme = distribution.sample(params, torch.full_like(u, edge))
        inside = _inside(distribution, extreme)
        assert inside, f"uniforms of {edge} draw {extreme.tolist()}, which is no value"
        assert bool(distribution.log_prob(params, extreme).isfinite().all()), f"what {edge} draws is impossible"


def check_mass(distribution: Distribution) -> None:
    """Law of mass: the probabilities of all values add up to 1, by enumeration, or by quadrature of a density; the
    density behind levels has an integral of 1 too."""
    for params in parameters(distribution, _ROWS):
        values = support(distribution)
        mass = _probabilities(distribution, params).sum() if values is not None else _integral(distribution, params)
        assert abs(float(mass) - 1) <= _MASS, f"the mass of all values is {float(mass)}"
        if isinstance(distribution, LocationScale):
            density = _integral(distribution, params)
            assert abs(float(density) - 1) <= _MASS, f"the density's integral is {float(density)}"


def check_cumulative(distribution: Distribution) -> None:
    """Law of cumulative probabilities: they rise from 0 to 1, by each value's own probability; values are numbered in
    ascending order. Real numbers have none, and are refused."""
    values, count = support(distribution), distribution.num_values
    assert count == (0 if values is None else len(values)), f"num_values is {count}"
    params = parameters(distribution, _ROWS)
    if values is None:
        try:
            distribution.cumulative(params, torch.zeros(_ROWS, 1, dtype=torch.int64))
        except SeqgenError:
            return
        raise AssertionError("a density over the real numbers gives probabilities")
    index = torch.arange(count + 1)
    named = distribution.values(index[:-1])
    assert torch.allclose(named.double(), values.double(), atol=1e-6), f"values by number are {named.tolist()[:9]}"
    below = distribution.cumulative(params, index.expand(_ROWS, -1))
    assert below.shape == (_ROWS, count + 1), f"cumulative probabilities have shape {list(below.shape)}"
    ends = bool((below[:, 0] == 0).all()) and bool((below[:, -1] - 1).abs().max() <= _ROUNDED)
    assert ends, f"cumulative probabilities run from {below[:, 0].tolist()} to {below[:, -1].tolist()}"
    own = torch.stack([_probabilities(distribution, one) for one in params])
    worst = float((below.diff(dim=1) - own).abs().max())
    assert worst <= _ROUNDED, f"cumulative probabilities rise by {worst} more or less than a value's probability"


def check_sampling(distribution: Distribution) -> None:
    """Law of sampling: values are drawn as often as they are probable. Largest distance of the two distribution
    functions, over evenly spread uniforms."""
    u = evenly(_DRAWS, distribution.num_uniforms)
    for params in parameters(distribution, _ROWS):
        drawn = distribution.sample(params.expand(_DRAWS, -1), u)
        points, below = _cumulative(distribution, params)
        found = torch.searchsorted(drawn.double().sort().values, points + 1e-9, right=True) / _DRAWS
        worst = float((found - below).abs().max())
        assert worst <= _FOLLOWS, f"draws are {worst:.4f} away from the probabilities"


def check_temperature(distribution: Distribution) -> None:
    """Law of temperature: 1 changes nothing; the colder, the narrower; at 0 a symbol is the likeliest one (near-ties
    aside)."""
    u = evenly(1 << 10, distribution.num_uniforms)
    heats = (0.0, 0.5, 1.0) if distribution.vocab_size else (0.0, 1.0)
    for params in parameters(distribution, _ROWS):
        each = params.expand(len(u), -1)
        plain = torch.equal(distribution.sample(each, u, 1.0), distribution.sample(each, u))
        assert plain, "temperature 1 is not plain"
        spreads = [_spread(distribution, params, distribution.sample(each, u, heat)) for heat in heats]
        falls = all(cold <= warm + _FOLLOWS for cold, warm in pairwise(spreads))
        colder = spreads[0] < spreads[-1] or spreads[-1] == 0
        assert falls, f"at temperatures {heats} the spread is {spreads}"
        assert colder, f"at temperatures {heats} the spread is {spreads}"
        if distribution.vocab_size:
            probabilities = _probabilities(distribution, params)
            least = float(probabilities[distribution.sample(each, u, 0.0)].min())
            assert least > 0.98 * float(probabilities.max()), "at temperature 0 not only the likeliest symbol is drawn"


def check_divergence(distribution: Distribution) -> None:
    """Law of divergence: where it is closed it is the mean of the log-ratio, 0 from itself."""
    params = parameters(distribution, 2 * _ROWS)
    try:
        found = distribution.kl(params[:_ROWS], params[_ROWS:])
    except SeqgenError:
        return
    assert found.shape == (_ROWS,), f"{_ROWS} rows give divergences {list(found.shape)}"
    same = distribution.kl(params, params)
    assert bool((same.abs() < 1e-9).all()), f"the divergence from itself is {same.tolist()}"
    for p, q, got in zip(params[:_ROWS], params[_ROWS:], found, strict=True):
        points, weights = _points(distribution)
        of_p, of_q = (distribution.log_prob(one.expand(len(points), -1), points) for one in (p, q))
        terms = torch.where(of_p > -700, of_p.exp() * (of_p - of_q), 0.0)
        expected = float((terms * weights).sum())
        near = math.isclose(float(got), expected, rel_tol=1e-5, abs_tol=1e-8)
        assert near, f"the divergence is {got}, not {expected}"


def check_scaled(distribution: LocationScale) -> None:
    """Law of scale: values g times as large have the density of what they were, less ln g."""
    params, value = parameters(distribution, _ROWS), torch.linspace(-0.7, 0.9, _ROWS, dtype=torch.float64)
    for log_gain in (-1.0, 0.5, 1.5):
        gain = torch.full((_ROWS, 1), log_gain, dtype=torch.float64)
        found = distribution.log_density(distribution.scaled(params, gain), value * math.exp(log_gain))
        expected = distribution.log_density(params, value) - log_gain
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), (
            f"e^{log_gain} times as large: log-densities are {found.tolist()}, expected {expected.tolist()}"
        )


def parameters(distribution: Distribution, rows: int) -> Tensor:
    """Numbers as a network might give them, ``[rows, num_params]`` float64, from nearly alike to far apart."""
    generator = torch.Generator().manual_seed(distribution.num_params)
    drawn = torch.randn(rows, distribution.num_params, dtype=torch.float64, generator=generator)
    return drawn * torch.linspace(0.2, 1.5, rows, dtype=torch.float64)[:, None]


def evenly(count: int, numbers: int) -> Tensor:
    """Points of a Kronecker sequence, ``[count, numbers]`` float64 in [0, 1): any stretch of one fills the cube.

    Source: Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018 (generalised golden ratios).
    """
    ratio = 2.0
    for _ in range(60):  # the root of x^(numbers + 1) = x + 1
        ratio = (1 + ratio) ** (1 / (numbers + 1))
    steps = torch.tensor([ratio ** -(number + 1) for number in range(numbers)], dtype=torch.float64)
    return (0.5 + steps * torch.arange(1, count + 1, dtype=torch.float64)[:, None]) % 1.0


def support(distribution: Distribution) -> Tensor | None:
    """Every value of an element; ``None`` where they are the real numbers."""
    if distribution.vocab_size:
        return torch.arange(distribution.vocab_size)
    levels = distribution.levels if isinstance(distribution, LocationScale) else 0
    return torch.linspace(-1, 1, levels, dtype=torch.float64) if levels else None


def real_line(points: int = 20_001) -> tuple[Tensor, Tensor]:
    """Points over the real line, dense about 0, and the weights that make a sum over them an integral."""
    place = torch.linspace(-9, 9, points, dtype=torch.float64)
    return torch.sinh(place), torch.cosh(place) * (place[1] - place[0])


def _points(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """Values and their weights in a sum over all of them."""
    values = support(distribution)
    return real_line() if values is None else (values, torch.ones(len(values), dtype=torch.float64))


def _probabilities(distribution: Distribution, params: Tensor) -> Tensor:
    values = support(distribution)
    assert values is not None
    return distribution.log_prob(params.expand(len(values), -1), values).exp()


def _integral(distribution: Distribution, params: Tensor) -> Tensor:
    assert isinstance(distribution, LocationScale), "a distribution of real numbers without density"
    points, weights = real_line()
    return (distribution.log_density(params.expand(len(points), -1), points).exp() * weights).sum()


def _cumulative(distribution: Distribution, params: Tensor) -> tuple[Tensor, Tensor]:
    """Some values, and the probability of what is not above them. Of real values those inside [-1, 1], where samples
    are held."""
    points, weights = _points(distribution)
    mass = distribution.log_prob(params.expand(len(points), -1), points).exp() * weights
    below = mass.cumsum(dim=0)
    if support(distribution) is None:
        below = below - mass / 2  # half of a point's share lies above it
        inside = points.abs() < 1
        return points[inside], below[inside]
    return points.double(), below


def _spread(distribution: Distribution, params: Tensor, drawn: Tensor) -> float:
    """Spread of draws: of symbols the share that are not the likeliest, of numbers the share that are new."""
    if distribution.vocab_size:
        return float((drawn != _probabilities(distribution, params).argmax()).double().mean())
    return (len(drawn.unique()) - 1) / len(drawn)


def _inside(distribution: Distribution, value: Tensor) -> bool:
    if distribution.vocab_size:
        return bool(((value >= 0) & (value < distribution.vocab_size)).all())
    return bool((value.isfinite() & (value.abs() <= 1)).all())
