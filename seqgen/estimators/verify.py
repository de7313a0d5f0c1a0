"""The laws of estimators as library code, to be run over every registered one."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from seqgen.estimators.contract import Estimator
from seqgen.estimators.correlated_gaussians import CorrelatedGaussians
from seqgen.noise import Key

_BATCHES, _PAIRS = 4000, 8  # few pairs: what is no bound for small batches shows
_MORE_BATCHES, _MORE_PAIRS = 200, 96
_INFORMATION = (0.5, 2.0, 4.0)  # nats; beyond, tails are too heavy for means of so many batches
_SPREAD = 3.0  # standard errors that a mean may be off
_ROUNDING = 1e-12
_KEY = Key(0, 0)


def verify(estimator: Estimator) -> None:
    """Every law of an estimator.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    check_shapes(estimator)
    check_pairs(estimator)
    check_cap(estimator)
    check_marginal(estimator)
    check_gradient(estimator)
    check_bound(estimator)
    check_best_critic(estimator)
    check_bias(estimator)
    check_variance(estimator)


def check_shapes(estimator: Estimator) -> None:
    """Law of shapes: a value for each batch, that of the batch alone, in the scores' precision."""
    for dtype in (torch.float32, torch.float64):
        scores = _random(6, 5, spread=1.0).to(dtype).view(2, 3, 5, 5)
        kept, values = scores.clone(), estimator.value(scores)
        assert values.shape == (2, 3), f"scores [2, 3, 5, 5] give values {list(values.shape)}, expected [2, 3]"
        assert values.dtype == dtype, f"{dtype} scores give {values.dtype} values"
        assert torch.equal(scores, kept), "the scores were changed"
        alone = torch.stack([estimator.value(one) for one in scores.flatten(0, 1)]).view(2, 3)
        assert torch.allclose(values, alone, atol=1e-5), "a batch's value depends on the batches beside it"


def check_pairs(estimator: Estimator) -> None:
    """Law of pairs: their order means nothing."""
    scores = _random(1, 7, spread=2.0)[0]
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    values = [float(estimator.value(one)) for one in (scores, scores[order][:, order])]
    assert math.isclose(*values, abs_tol=1e-9), f"the same pairs in another order give {values[1]}, not {values[0]}"


def check_cap(estimator: Estimator) -> None:
    """Law of the cap: no scores give more, however wild or however good; and a cap has words."""
    assert bool(estimator.cap_formula) == math.isfinite(estimator.cap(2)), "a cap and its formula belong together"
    for pairs in (2, 5, 64):
        cap = estimator.cap(pairs)
        for spread in (0.1, 1.0, 10.0, 40.0):
            wild = _random(50, pairs, spread=spread)
            for good in (0.0, spread, 10 * spread):
                value = float(estimator.value(wild + good * torch.eye(pairs, dtype=wild.dtype)).max())
                assert value <= cap + _ROUNDING, f"{pairs} pairs give {value}, more than the cap of {cap}"


def check_marginal(estimator: Estimator) -> None:
    """Law of the marginal: a function of y that is added to the critic changes nothing, or does, as declared; of a
    function of x nothing is declared, so rows and columns are not mistaken for each other."""
    scores = _random(20, 6, spread=1.0)
    of_y = torch.linspace(-1, 2, 6, dtype=scores.dtype)[:, None]
    plain, moved, beside = (estimator.value(one) for one in (scores, scores + of_y, scores + of_y.T))
    same = torch.allclose(plain, moved, atol=1e-9)
    found = "the same" if same else "another"
    assert same == estimator.ignores_marginal, (
        f"ignores_marginal is {estimator.ignores_marginal}, but f + c(y) gives {found} value"
    )
    assert not torch.allclose(plain, beside, atol=1e-9), "f + c(x) gives the same value: are rows y, and columns x?"


def check_gradient(estimator: Estimator) -> None:
    """Law of the gradient: a critic climbs what it is said to climb, by central differences of every score; that is
    the value, or another function, as declared; and the value is the value either way."""
    scores = _random(1, 5, spread=1.0)[0].requires_grad_(True)
    mean = 1.5 * estimator.followed(scores).detach() if estimator.forgetting else None
    value = estimator.trained(scores, mean)
    assert torch.allclose(value, estimator.value(scores)), f"{value.item()} is trained, which is not the value"
    (found,) = torch.autograd.grad(value, scores, allow_unused=True)
    assert found is not None, "the value has no gradient"
    step, same = 1e-5, True
    for place in torch.cartesian_prod(torch.arange(5), torch.arange(5)).tolist():
        nudge = torch.zeros_like(scores)
        nudge[tuple(place)] = step
        with torch.no_grad():
            climbed = float(estimator.climbed(scores + nudge, mean) - estimator.climbed(scores - nudge, mean))
            valued = float(estimator.value(scores + nudge) - estimator.value(scores - nudge))
        got, expected = float(found[tuple(place)]), climbed / (2 * step)
        assert _near(got, expected), f"the gradient by F{place} is {got}, where what is climbed changes by {expected}"
        same = same and _near(got, valued / (2 * step))
    told = f"own_gradient is {estimator.own_gradient}, but the gradient is {'' if same else 'not '}the value's"
    assert same == estimator.own_gradient, told


def check_bound(estimator: Estimator) -> None:
    """Law of the bound, on correlated Gaussians: over batches the mean of a lower bound is not above the information,
    and that of an upper one not below it, with the best critic and with worse ones. What is neither is found on both
    sides; if not, it should be called a bound."""
    above, below = False, False
    for information in _INFORMATION:
        for name, scores in _critics(estimator, information).items():
            mean, error = _mean(estimator.value(scores))
            over, under = mean > information + _SPREAD * error, mean < information - _SPREAD * error
            told = f"{information} nats, {name}: the mean is {mean:.4f} ± {error:.4f}"
            assert not over or estimator.kind != "lower bound", f"{told}, above the information"
            assert not under or estimator.kind != "upper bound", f"{told}, below the information"
            above, below = above or over, below or under
    if estimator.kind == "neither":
        sides = [side for side, seen in {"above": above, "below": below}.items() if seen]
        assert len(sides) == 2, f"no bound, it is said, but means are {sides or 'on neither side'} of the information"


def check_best_critic(estimator: Estimator) -> None:
    """Law of the best critic: a lower bound without cap has no bias there; with a cap it comes within half of what it
    can reach; and there no factor or summand improves a critic, by its value or by what it climbs."""
    for information in _INFORMATION:
        scores = _critics(estimator, information)["the best critic"]
        values, cap = estimator.value(scores), estimator.cap(_PAIRS)
        mean, error = _mean(values)
        if math.isinf(cap) and estimator.kind == "lower bound":
            assert abs(mean - information) <= _SPREAD * error, (
                f"{information} nats: the mean at the best critic is {mean:.4f} ± {error:.4f}, which is a bias"
            )
        assert mean >= 0.5 * min(information, cap), f"{information} nats: the mean at the best critic is {mean:.4f}"
        if estimator.takes != "any":  # what is changed is no density any more
            continue
        follows = estimator.followed(scores).mean() if estimator.forgetting else None
        climbed = estimator.climbed(scores, follows)
        for name, other in {"0.8 f": 0.8 * scores, "f + 0.2": scores + 0.2, "f - 0.2": scores - 0.2}.items():
            for gains in (estimator.value(other) - values, estimator.climbed(other, follows) - climbed):
                more, spread = _mean(gains)
                law = f"{information} nats: {name} gives {more} more than the best critic"
                assert more <= _SPREAD * spread + 1e-9, law


def check_bias(estimator: Estimator) -> None:
    """Law of many pairs: what is no lower bound is near the information with many pairs and the best critic."""
    if estimator.kind == "lower bound":
        return
    for information in _INFORMATION[:2]:
        few, many = (
            _mean(estimator.value(_critics(estimator, information, batches=batches, pairs=pairs)["the best critic"]))
            for batches, pairs in ((_BATCHES, _PAIRS), (_MORE_BATCHES, _MORE_PAIRS))
        )
        means = f"{few[0]:.4f} with {_PAIRS} pairs and {many[0]:.4f} with {_MORE_PAIRS}"
        law = f"{information} nats: the mean at the best critic is {means}"
        assert abs(many[0] - information) <= 0.5 * abs(few[0] - information) + _SPREAD * many[1], law
        assert abs(many[0] - information) <= 0.1 * information + _SPREAD * many[1], law


def check_variance(estimator: Estimator) -> None:
    """Law of the variance: what each batch says of it is in the mean what batches show, or up to twice that."""
    for information in (0.5, 1.0):
        scores = _critics(estimator, information, batches=400, pairs=32)["the best critic"]
        shown = float(estimator.value(scores).var())
        said = float(torch.cat([estimator.variance(some) for some in scores.chunk(20)]).mean())
        law = f"{information} nats: the variance is {said:.3g}, but batches show {shown:.3g}"
        assert 0.8 * shown <= said <= 2.5 * shown, law


def _critics(
    estimator: Estimator, information: float, *, batches: int = _BATCHES, pairs: int = _PAIRS
) -> dict[str, Tensor]:
    """Scores of batches of correlated Gaussians ``[batches, K, K]``, by the best critic that an estimator can be given
    and, unless it has to be that one, by worse ones."""
    process = CorrelatedGaussians(information=information)
    ratio, x, y = _scored(process, batches, pairs)
    if estimator.takes == "any":
        worse = 0.5 * ratio + 0.3 * torch.sin(y @ x.transpose(-1, -2))
        every = {"the best critic": ratio, "a worse critic": worse, "no critic": 0 * ratio}
        return {name: scores + estimator.offset for name, scores in every.items()}
    marginal = -0.5 * (y * y).sum(dim=-1, keepdim=True) - 0.5 * process.dimension * math.log(2 * math.pi)  # ln p(y)
    if estimator.takes == "known density":
        return {"the best critic": ratio + marginal}
    other = CorrelatedGaussians(information=0.5 * information).log_ratio(x, y) + marginal
    return {"the best critic": ratio + marginal, "a worse critic": other, "no critic": 0 * ratio + marginal}


@functools.lru_cache(maxsize=2 * len(_INFORMATION) + 2)
def _scored(process: CorrelatedGaussians, batches: int, pairs: int) -> tuple[Tensor, Tensor, Tensor]:
    """``ln p(x, y) - ln p(x) p(y)`` of batches of pairs, ``[batches, K, K]``, and x and y themselves, ``[batches, K,
    d]``; the same for every estimator."""
    drawn = process.draw(_KEY, 0, batches * pairs)
    x, y = (one.view(batches, pairs, process.dimension) for one in drawn)
    return process.log_ratio(x, y), x, y


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-7)


def _mean(values: Tensor) -> tuple[float, float]:
    """The mean over batches and its standard error."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def _random(batches: int, pairs: int, *, spread: float) -> Tensor:
    """Normal scores ``[batches, K, K]`` of a standard deviation, float64."""
    generator = torch.Generator().manual_seed(pairs)
    return spread * torch.randn(batches, pairs, pairs, dtype=torch.float64, generator=generator)
