"""Terms of the distillation loss on ragged batches: what they are of, how rows count, where gradients go."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from seqgen import noise
from seqgen.noise import Key
from seqgen.objectives.distillation import Distillation, another
from seqgen.objectives.levels import band_levels, level
from seqgen.objectives.power import PowerConfig, power_loss, spectrum
from seqgen.objectives.style import StyleConfig, style_loss
from tests.unit.test_distillation import KEY, asked, batch_of, objective

SILENT = PowerConfig(weight=0.0, windows=(16,))


def built(**options: Any) -> Distillation:
    return objective(style=StyleConfig(weight=0.5), **options).double()


def ragged() -> Any:
    batch = batch_of(4)
    return replace(
        batch, x=batch.x.double(), cond=replace(batch.cond, features=batch.cond.features.double())
    )  # lengths 40, 35, 12 and 11 of 40


def tails_cut(batch: Any, audio: Tensor) -> Tensor:
    cut = audio.clone()
    for row, length in enumerate(batch.lengths.tolist()):
        cut[row, length:] = 0
    return cut


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("spectrum", ["power", "magnitude"])
def test_power_and_style_compare_what_is_real_of_both(spectrum: Any, pooled: bool) -> None:
    """What the student makes behind the end of a recording is no more heard than what the batch has there."""
    options = PowerConfig(windows=(8, 16), spectrum=spectrum, pooled=pooled)
    made, batch = built(power=options), ragged()
    drawn, _ = made.draw(batch, KEY)
    student, recorded = (tails_cut(batch, x[..., 0]) for x in (drawn.x, batch.x))
    assert not torch.equal(student, drawn.x[..., 0])
    heard = [made.classifier.observe(x[..., None], made.classifier.init_state(4))[2] for x in (student, recorded)]
    share = batch.lengths.double() / batch.lengths.sum()
    terms = asked(made, batch).terms
    torch.testing.assert_close(terms["power"], (power_loss(student, recorded, options) * share).sum())
    torch.testing.assert_close(terms["style"], (style_loss(*heard) * share).sum())


def test_divergences_are_means_over_what_is_real() -> None:
    made, batch = built(contrast=0.25, power=SILENT), ragged()
    drawn, epsilon = made.draw(batch, KEY)
    parts = made.divergence(drawn, epsilon, batch)[1]
    terms = asked(made, batch).terms
    for name in ("kl", "cross_entropy", "entropy"):
        kept = [parts[name][row, :length] for row, length in enumerate(batch.lengths.tolist())]
        torch.testing.assert_close(terms[name], torch.cat(kept).mean())


def test_what_the_teacher_judges_by_is_drawn_apart_from_what_the_student_is_made_of() -> None:
    made, batch = built(), ragged()
    drawn, epsilon = made.draw(batch, KEY)
    assert epsilon.shape == (4, 40, 3)
    numbers = torch.cat([drawn.z, epsilon], dim=2).flatten()
    assert len(numbers.unique()) == len(numbers)
    torch.testing.assert_close(drawn.x, drawn.z * drawn.map.log_scale.exp() + drawn.map.mean)


@torch.no_grad()
def test_figures_of_a_recording_are_of_its_samples_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is behind its end, or before what counts, nothing: the same figures when all that is cut away."""
    made, alone = built(), batch_of(1, 12)
    alone = replace(
        alone, x=alone.x.double(), cond=replace(alone.cond, features=alone.cond.features.double()),
        lengths=torch.tensor([32]), texts=(), ids=("a",),
    )  # fmt: skip
    short = replace(alone, x=alone.x[:, :32], cond=replace(alone.cond, features=alone.cond.features[:, :8]))
    long, brief = (made.heard(one, KEY) | made.own(one, KEY) for one in (alone, short))
    assert long.keys() == brief.keys()
    for name, (value, _) in long.items():
        assert value == pytest.approx(brief[name][0], abs=1e-9), name
    skipped = made.heard(replace(alone, skip=torch.tensor([8])), KEY)
    drawn, _ = made.draw(alone, KEY)
    assert skipped["level"][0] == pytest.approx(level(drawn.x[:, 8:32], alone.x[:, 8:32]))
    bands = band_levels(drawn.x[:, 8:32], alone.x[:, 8:32])
    assert skipped["bands"][0] == pytest.approx(float(bands.abs().mean()))
    assert [skipped[f"band_{band}"][0] for band in range(1, 9)] == pytest.approx(bands.tolist())


@torch.no_grad()
def test_the_teachers_own_samples_are_drawn_from_noise_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made, alone, streams = built(), batch_of(1, 12), []
    alone = replace(alone, x=alone.x.double(), cond=replace(alone.cond, features=alone.cond.features.double()))
    block = noise.block

    def noted(seed: int, stream: int, start: int, count: int) -> Any:
        streams.append((seed, stream))
        return block(seed, stream, start, count)

    monkeypatch.setattr(noise, "block", noted)
    own = made.own(alone, KEY)
    made.draw(alone, KEY)
    assert len(set(streams)) == 2
    teacher = made.teacher
    u = torch.from_numpy(block(KEY.seed, ~KEY.stream, 0, 48 * teacher.num_uniforms)).double().view(1, 48, -1)
    x = teacher.sample(u, alone.cond)
    assert own["level_own"][0] == pytest.approx(level(x[..., None], alone.x))
    params = teacher.distributions(x[..., None], alone.cond)
    nll = -teacher.distribution.log_density(params, x).mean()  # type: ignore[attr-defined]
    assert own["teacher_nll_own"][0] == pytest.approx(float(nll))


def gradient(made: Distillation, batch: Any) -> Tensor:
    owned = list(made.owned("student").values())
    return torch.cat([one.flatten() for one in torch.autograd.grad(asked(made, batch).total, owned)])


def test_the_contrastive_term_is_learnt_from() -> None:
    """Under the same conditioning with γ = 1 nothing is left of the gradient; under another it is linear in γ."""
    batch = ragged()
    same = replace(batch, cond=replace(batch.cond, features=batch.cond.features[:1].expand(4, -1, -1)))
    options: dict[str, Any] = {"power": SILENT, "style": StyleConfig()}
    none, half, all_ = (objective(contrast=share, **options).double() for share in (0.0, 0.5, 1.0))
    assert gradient(none, same).abs().max() > 1e-3
    assert gradient(all_, same).abs().max() < 1e-12
    plain, less, least = (gradient(one, batch) for one in (none, half, all_))
    torch.testing.assert_close(less, (plain + least) / 2)
    assert (plain - least).abs().max() > 1e-3


def test_another_row_s_conditioning_is_never_the_row_s_own() -> None:
    """Over many keys: the rows are turned by every number but their own count's multiples."""
    batch = ragged()
    batch = replace(batch, cond=replace(batch.cond, speaker=torch.arange(4)))
    turned = {tuple(another(batch, Key(0, stream)).cond.speaker.tolist()) for stream in range(60)}
    assert turned == {(3, 0, 1, 2), (2, 3, 0, 1), (1, 2, 3, 0)}


# --- values known in closed form


@pytest.mark.parametrize("kind", ["power", "magnitude"])
def test_spectra_are_of_windows_a_quarter_apart(kind: str) -> None:
    """A click is heard in the four windows that hold it, where a Hann window is above zero."""
    click = torch.zeros(1, 512, dtype=torch.float64)
    click[0, 200] = 1.0
    heard = spectrum(click, 64, kind)[0]
    assert heard.shape == (33, 1 + (512 - 64) // 16)
    places = torch.arange(heard.shape[1]) * 16
    inside = (places < 200) & (places + 64 > 200)
    assert (heard[5] > 1e-5).tolist() == inside.tolist()
    assert int(inside.sum()) == 4


def test_pooled_spectra_compare_kinds_of_sound_and_others_the_sounds() -> None:
    draw = torch.Generator().manual_seed(0)
    one, other = (0.1 * torch.randn(1, 20_000, generator=draw, dtype=torch.float64) for _ in range(2))
    kept, pooled = (PowerConfig(windows=(64,), spectrum="power", pooled=pooled) for pooled in (False, True))
    assert float(power_loss(one, other, kept)) > 0.8  # twice the variance of an exponential, over its second moment
    assert float(power_loss(one, other, pooled)) < 0.02


@pytest.mark.parametrize(("kind", "degree"), [("magnitude", 1), ("power", 2)])
def test_the_power_loss_of_a_gain_is_known(kind: Any, degree: int) -> None:
    """``(g^d - 1)²`` of a recording far above the floor, of either sign; 1 where nothing is made."""
    options = PowerConfig(windows=(32, 64), spectrum=kind, floor=1e-4)
    y = 0.3 * torch.randn(2, 2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for gain in (0.0, 0.5, 0.9, 1.0, 2.0):
        expected = (gain**degree - 1) ** 2
        assert power_loss(gain * y, y, options).tolist() == pytest.approx([expected] * 2, rel=1e-4, abs=1e-9)
        assert power_loss(-gain * y, y, options).tolist() == pytest.approx([expected] * 2, rel=1e-4, abs=1e-9)


def test_the_style_loss_of_known_features_is_known() -> None:
    """Of features g times as large ``(g² - 1)²``; time does not matter, nor how long the recording is."""
    y = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for gain in (0.0, 0.5, 2.0):
        expected = (gain**2 - 1) ** 2
        assert style_loss([gain * y], [y]).tolist() == pytest.approx([expected] * 2, rel=1e-5)
        assert style_loss([gain * y, y], [y, y]).tolist() == pytest.approx([expected / 2] * 2, rel=1e-5)
    assert style_loss([y.flip(1).repeat(1, 3, 1)], [y]).tolist() == pytest.approx([0, 0], abs=1e-9)


@torch.no_grad()
def test_what_a_runtime_s_distributions_miss_is_the_difference_of_known_logistics() -> None:
    made = objective().generator
    z = torch.tensor([[-2.0, 0.0, 1.5]])
    reference = torch.tensor([0.3, -1.0]).expand(1, 3, 2)
    other = torch.tensor([0.1, -0.5]).expand(1, 3, 2)
    x = 0.3 + math.exp(-1) * z.double().numpy()
    expected = stats.logistic.logpdf(x, 0.3, math.exp(-1)) - stats.logistic.logpdf(x, 0.1, math.exp(-0.5))
    assert made.judge(other, reference, z)["divergence"].numpy() == pytest.approx(expected, abs=1e-6)
    assert made.judge(reference, reference, z)["divergence"].tolist() == [[0.0, 0.0, 0.0]]
