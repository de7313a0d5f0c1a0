"""The multi-band body: what it looks at, group by group, as its equations say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from seqgen.errors import SeqgenError
from seqgen.models.multiband import CLEAR, UNCLEAR, MultiBand

SIZES: dict[str, Any] = {"hidden": 6, "bands": 4, "inner": 3, "groups": 2, "longest": 12, "outputs": 3}


def body(**options: Any) -> MultiBand:
    torch.manual_seed(0)
    made = MultiBand(MultiBand.Config(**{**SIZES, "taps": 1, **options})).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def conditioned(made: MultiBand, period: float, clarity: float, groups: int) -> torch.Tensor:
    cond = torch.randn(1, groups, made.spec.cond_dim, dtype=torch.float64) * 0.1
    cond[..., 0], cond[..., 1] = math.log(period), clarity
    return cond


def moved(made: MultiBand, x: torch.Tensor, cond: torch.Tensor, place: int, output: int) -> bool:
    """Whether a number in the place of input `place` moves an output."""
    other = x.clone()
    other[0, place] += 1.0
    return bool((made(x, cond)[0, output] != made(other, cond)[0, output]).any())


def test_it_hears_one_period_back() -> None:
    """With a recurrence that forgets, and one group before, a group hears of the past what lies a period back."""
    made = body(groups=1)
    with torch.no_grad():
        made.recurrent.zero_()
        made.lower.zero_()
    groups, period = 10, 6
    x = torch.randn(1, 4 * groups, 1, dtype=torch.float64)
    cond = conditioned(made, 4.0 * period, 1.0, groups)
    with torch.no_grad():  # z = σ(-∞): nothing of the state before
        cond[..., 2 + 6 : 2 + 12] = -1e4
    heard = {(place - 1) // 4 for place in range(1, 4 * groups) if moved(made, x, cond, place, 4 * 9)}
    assert heard == {8, 9 - period - 1, 9 - period, 9 - period + 1}
    lower = {(place - 1) % 4 for place in range(1, 4 * 6) if moved(made, x, cond, place, 4 * 9)}
    assert lower == {0, 1}  # of two bands of four


def test_a_band_hears_the_lower_ones_of_its_group_alone() -> None:
    made = body()
    x = torch.randn(1, 12, 1, dtype=torch.float64)
    cond = conditioned(made, 24.0, 1.0, 3)
    for band in range(4):
        # The input of place t is number t - 1: of group 2 places 9, 10, 11 bring its bands 0, 1, 2.
        heard = [place for place in range(9, 12) if moved(made, x, cond, place, 8 + band)]
        assert heard == [9, 10, 11][:band]


@pytest.mark.parametrize(("clarity", "share"), [(0.0, 0.0), (UNCLEAR, 0.0), ((UNCLEAR + CLEAR) / 2, 0.5), (1.0, 1.0)])
def test_bands_cool_where_the_sound_is_clear(clarity: float, share: float) -> None:
    made = body(cold=(0.5, 0.25, 0.0, 1.0))
    x = torch.randn(1, 8, 1, dtype=torch.float64)
    outputs = made(x, conditioned(made, 20.0, clarity, 2))
    assert made.spec.cools
    assert outputs.shape[2] == 4
    expected = [1 - cold * share for cold in (0.5, 0.25, 0.0, 1.0)] * 2
    assert outputs[0, :, -1].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "options", [{"bands": 1}, {"hidden": 0}, {"longest": 1}, {"taps": -2}, {"cold": (0.5,)}, {"cold": (2.0,) * 4}]
)
def test_sizes_that_make_no_network_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SeqgenError, match="multiband"):
        MultiBand(MultiBand.Config(**{**SIZES, "taps": 1, **options}))


def test_cold_takes_a_look_back() -> None:
    with pytest.raises(SeqgenError, match="looks one period back"):
        MultiBand(MultiBand.Config(**SIZES, taps=-1, cold=(0.5,) * 4))
