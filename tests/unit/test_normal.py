"""The normal quantile against scipy's."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from seqgen.distributions.normal_quantile import SMALLEST, quantile


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-15), (torch.float32, 4e-7)])
def test_it_is_scipys(dtype: torch.dtype, tolerance: float) -> None:
    steps = torch.arange(1, 2**24, 997, dtype=torch.float64) / 2**24
    u = torch.cat([steps, 2.0 ** -torch.arange(1, 25, dtype=torch.float64), 1 - 2.0 ** -torch.arange(1, 25).double()])
    expected = torch.from_numpy(stats.norm.ppf(u.numpy()))
    torch.testing.assert_close(quantile(u.to(dtype)).double(), expected, rtol=tolerance, atol=tolerance)


def test_halves_mirror_each_other_exactly() -> None:
    u = torch.arange(1, 2**24, 1009) / 2**24
    assert torch.equal(quantile(1 - u), -quantile(u))
    assert quantile(torch.tensor(0.5)) == 0


def test_it_rises_across_the_branches() -> None:
    for edge in (0.075, 0.925):
        near = edge + torch.arange(-200, 201, dtype=torch.float64) * 1e-9
        assert (quantile(near).diff() > 0).all()


def test_the_ends_are_finite() -> None:
    assert float(quantile(torch.tensor(0.0, dtype=torch.float64))) == pytest.approx(stats.norm.ppf(SMALLEST), rel=1e-12)
    assert float(quantile(torch.tensor(1 - 2.0**-24))) == pytest.approx(stats.norm.isf(2.0**-24), rel=1e-6)
