"""The laws of estimators as library code, to be run over every registered one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqgen.estimators.contract import Estimator
from seqgen.estimators.correlated_gaussians import CorrelatedGaussians
from seqgen.noise import Key

_BATCHES, _PAIRS = 4000, 8  # few pairs: what is no bound for small batches shows
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
    of_y = torch.linspace(-2, 2, 6, dtype=scores.dtype)[:, None]
    plain, moved, beside = (estimator.value(one) for one in (scores, scores + of_y, scores + of_y.T))
    same = torch.allclose(plain, moved, atol=1e-9)
    found = "the same" if same else "another"
    assert same == estimator.ignores_marginal, (
        f"ignores_marginal is {estimator.ignores_marginal}, but f + c(y) gives {found} value"
    )
    assert not torch.allclose(plain, beside, atol=1e-9), "f + c(x) gives the same value: are rows y, and columns x?"


def check_gradient(estimator: Estimator) -> None:
    """Law of the gradient: it is the value's own, by central differences of every score."""
    scores = _random(1, 5, spread=1.0)[0].requires_grad_(True)
    (found,) = torch.autograd.grad(estimator.value(scores), scores, allow_unused=True)
    assert found is not None, "the value has no gradient"
    step = 1e-5
    for place in torch.cartesian_prod(torch.arange(5), torch.arange(5)).tolist():
        nudge = torch.zeros_like(scores)
        nudge[tuple(place)] = step
        with torch.no_grad():
            expected = float(estimator.value(scores + nudge) - estimator.value(scores - nudge)) / (2 * step)
        got = float(found[tuple(place)])
        assert math.isclose(got, expected, rel_tol=1e-4, abs_tol=1e-7), (
            f"the gradient by F{place} is {got}, where the value changes by {expected}"
        )


def check_bound(estimator: Estimator) -> None:
    """Law of the bound: on correlated Gaussians the mean over batches is not above the information, with the best
    critic and with worse ones."""
    for information in _INFORMATION:
        ratio, x, y = _scored(information)
        worse = 0.5 * ratio + 0.3 * torch.sin(y @ x.transpose(-1, -2))
        for name, scores in {"the best critic": ratio, "a worse critic": worse, "no critic": 0 * ratio}.items():
            mean, error = _mean(estimator.value(scores + estimator.offset))
            assert mean <= information + _SPREAD * error, (
                f"{information} nats, {name}: the mean is {mean:.4f} ± {error:.4f}, above the information"
            )


def check_best_critic(estimator: Estimator) -> None:
    """Law of the best critic: an estimator without cap has no bias there; one with a cap comes within half of what it
    can reach; and there a critic cannot be improved by a constant factor or summand."""
    for information in _INFORMATION:
        scores = _scored(information)[0] + estimator.offset
        values = estimator.value(scores)
        mean, error = _mean(values)
        cap = estimator.cap(_PAIRS)
        if math.isinf(cap):
            assert abs(mean - information) <= _SPREAD * error, (
                f"{information} nats: the mean at the best critic is {mean:.4f} ± {error:.4f}, which is a bias"
            )
        assert mean >= 0.5 * min(information, cap), f"{information} nats: the mean at the best critic is {mean:.4f}"
        for name, other in {"0.8 f": 0.8 * scores, "f + 0.2": scores + 0.2, "f - 0.2": scores - 0.2}.items():
            more, spread = _mean(estimator.value(other) - values)
            assert more <= _SPREAD * spread + 1e-9, f"{information} nats: {name} gives {more} more than the best critic"


def check_variance(estimator: Estimator) -> None:
    """Law of the variance: what each batch says of it is in the mean what batches show, or up to twice that."""
    for information in (0.5, 1.0):
        scores = _scored(information, batches=400, pairs=32)[0] + estimator.offset
        shown = float(estimator.value(scores).var())
        said = float(torch.cat([estimator.variance(some) for some in scores.chunk(20)]).mean())
        law = f"{information} nats: the variance is {said:.3g}, but batches show {shown:.3g}"
        assert 0.8 * shown <= said <= 2.5 * shown, law


def _scored(information: float, *, batches: int = _BATCHES, pairs: int = _PAIRS) -> tuple[Tensor, Tensor, Tensor]:
    """``ln p(x, y) - ln p(x) p(y)`` of batches of correlated Gaussians, ``[batches, K, K]``, and x and y themselves,
    ``[batches, K, d]``."""
    process = CorrelatedGaussians(information=information)
    drawn = process.draw(_KEY, 0, batches * pairs)
    x, y = (one.view(batches, pairs, process.dimension) for one in drawn)
    return process.log_ratio(x, y), x, y


def _mean(values: Tensor) -> tuple[float, float]:
    """The mean over batches and its standard error."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def _random(batches: int, pairs: int, *, spread: float) -> Tensor:
    """Normal scores ``[batches, K, K]`` of a standard deviation, float64."""
    generator = torch.Generator().manual_seed(pairs)
    return spread * torch.randn(batches, pairs, pairs, dtype=torch.float64, generator=generator)
