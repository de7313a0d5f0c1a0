"""Contrastive predictive coding: its loss, and the negatives that it draws."""

from __future__ import annotations

import math
import typing
from typing import Any

import pytest
import torch

from seqgen.errors import SeqgenError
from seqgen.estimators.infonce import contrast
from seqgen.models.waveform_encoder import WaveformEncoder
from seqgen.noise import Key
from seqgen.objectives import negatives
from seqgen.objectives.contract import Rows
from seqgen.objectives.cpc import ContrastivePrediction
from seqgen.objectives.negatives import Kind
from seqgen.spec import Facts

KINDS = typing.get_args(Kind)
VOICES = Facts(speakers=("ann", "bo"))
KEY = Key(3, 5)


def method(steps: int = 3, candidates: int = 8, kind: Kind = "mixed", facts: Facts = VOICES) -> ContrastivePrediction:
    torch.manual_seed(1)
    sizes = WaveformEncoder.Config(strides=(3, 2), kernels=(5, 4), channels=4, hidden=3)
    config = ContrastivePrediction.Config(steps, candidates, kind)
    made = ContrastivePrediction(config, {"encoder": WaveformEncoder(sizes)}, facts).double()
    assert not made.predictors.any()  # latents are not made alike to silence the noise of random weights
    torch.nn.init.normal_(made.predictors)
    return made


def windows(frames: int = 9, rows: int = 4) -> Rows:
    drawn = torch.randn(rows, 6 * frames, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return Rows(drawn, torch.full((rows,), 6 * frames), speaker=torch.arange(rows) % 2)


@pytest.mark.parametrize("kind", KINDS)
def test_without_weights_the_loss_is_ln_n_and_the_accuracy_one_in_n(kind: Kind) -> None:
    made = method(candidates=7, kind=kind)
    torch.nn.init.zeros_(made.predictors)
    loss = made.loss(windows(frames=12), "model", KEY, None)
    assert loss.total.item() == pytest.approx(math.log(7), abs=1e-12)
    for k in (1, 2, 3):
        assert loss.terms[f"accuracy_{k}"].item() == pytest.approx(1 / 7, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_cross_entropy_of_every_choice_one_by_one(kind: Kind) -> None:
    """Negatives are the drawn candidates but the right one, or but the last where the right one is not among them."""
    made, batch, n = method(kind=kind, candidates=6), windows(), 6
    made.requires_grad_(False)
    c, z = made._encoded(batch)
    real = made._real(batch, z)
    given = negatives.draw(kind, real, batch.speaker, n, KEY)
    flat, frames, first = z.flatten(0, 1), z.shape[1], made.encoder.spec.latency
    losses, hits = [], []
    for row in range(len(z)):
        for t in range(first, frames - 3):
            for k in (1, 2, 3):
                right = row * frames + t + k
                kept = [int(one) for one in given[row] if int(one) != right][: n - 1]
                assert len(kept) == len(set(kept)) == n - 1
                assert right not in kept
                scores = torch.stack([flat[one] @ made.predictors[k - 1] @ c[row, t] for one in (right, *kept)])
                losses.append(torch.nn.functional.cross_entropy(scores[None], torch.tensor([0])))
                ties = int((scores == scores[0]).sum())  # latents of zeros score the same
                hits.append(float(scores[0] == scores.max()) / ties)
    found = made.loss(batch, "model", KEY, None)
    assert found.total.item() == pytest.approx(float(torch.stack(losses).mean()), abs=1e-12)
    accuracy = sum(float(found.terms[f"accuracy_{k}"]) for k in (1, 2, 3)) / 3
    assert accuracy == pytest.approx(sum(hits) / len(hits), abs=1e-12)
    assert found.weight.item() == len(hits) // 3


def test_a_function_of_the_context_added_to_all_scores_changes_nothing() -> None:
    scores = torch.randn(5, 8, dtype=torch.float64)
    offset = 10 * torch.randn(5, 1, dtype=torch.float64)
    torch.testing.assert_close(contrast((scores + offset)[:, 2], scores + offset), contrast(scores[:, 2], scores))
    expected = math.log(8) - torch.nn.functional.cross_entropy(scores, torch.full((5,), 2), reduction="none")
    torch.testing.assert_close(contrast(scores[:, 2], scores), expected)


def test_at_the_optimal_score_the_bound_rises_to_the_information_and_never_above_ln_n() -> None:
    """x and c of three values each with a known joint; f(x, c) = p(x | c) / p(x) scores iid candidates from p(x)."""
    joint = torch.tensor([[0.28, 0.02, 0.02], [0.03, 0.27, 0.03], [0.02, 0.02, 0.31]], dtype=torch.float64)
    p_x, p_c = joint.sum(dim=1), joint.sum(dim=0)
    ratio = joint / (p_x[:, None] * p_c[None])
    information = float((joint * ratio.log()).sum())
    generator, draws = torch.Generator().manual_seed(0), 40_000
    pairs = torch.multinomial(joint.flatten(), draws, replacement=True, generator=generator)
    x, c = pairs // 3, pairs % 3
    found = []
    for n in (2, 16, 256):
        others = torch.multinomial(p_x, draws * (n - 1), replacement=True, generator=generator).view(draws, n - 1)
        scores = ratio.log()[torch.cat([x[:, None], others], dim=1), c[:, None]]  # [draws, N]
        values = contrast(scores[:, 0], scores)
        found.append(float(values.mean()))
        assert float(values.max()) <= math.log(n)
        assert found[-1] <= information + 3 * float(values.std()) / math.sqrt(draws)
        assert 0 <= found[-1] <= math.log(n)
    assert found == sorted(found)
    assert found[2] == pytest.approx(information, abs=0.01)
    assert found[0] < information - 0.2


def test_step_k_pairs_a_context_with_the_latent_k_frames_later() -> None:
    """An impulse: with W_k the identity of one channel, the score of step k sees the latent k later, and no other W."""
    made, batch = method(steps=3, candidates=2), windows()
    c, z = torch.zeros(4, 9, 3, dtype=torch.float64), torch.zeros(4, 9, 4, dtype=torch.float64)
    c[0, 3, 1], z[0, 5, 2] = 1.0, 4.0  # frame 3 asks; what it asks for lies 2 later
    made._encoded = lambda batch: (c, z)  # type: ignore[method-assign]
    for k, seen in ((1, False), (2, True), (3, False)):
        torch.nn.init.zeros_(made.predictors)
        with torch.no_grad():
            made.predictors[k - 1, 2, 1] = 1.0
        anchor = 3 - made.encoder.spec.latency
        moved = made.choices(batch, KEY).bound[0, anchor, k - 1] != 0
        assert bool(moved) is seen, k


def test_every_step_has_weights_of_its_own_and_labels_have_no_gradient() -> None:
    made, batch = method(), windows()
    made.loss(batch, "model", KEY, None).total.backward()
    gradient = made.predictors.grad
    assert gradient is not None
    assert bool((gradient.flatten(1).abs().sum(dim=1) > 0).all())
    assert not torch.allclose(gradient[0], gradient[1])
    assert not made.choices(batch, KEY).right.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_of_the_rows_that_their_kind_allows(kind: Kind) -> None:
    rows, frames = 6, 7
    speaker = torch.tensor([0, 1, 0, 2, 1, 2])
    real = torch.arange(frames)[None].expand(rows, -1) >= 2
    seen = set()
    for stream in range(40):
        given = negatives.draw(kind, real, speaker, 5, Key(0, stream))
        assert given.shape == (rows, 5)
        for row in range(rows):
            assert len(set(given[row].tolist())) == 5
            for place in given[row].tolist():
                other, frame = divmod(place, frames)
                assert frame >= 2
                assert ("same-speaker" not in kind) or speaker[other] == speaker[row]
                assert (kind != "sequence") or other == row
                assert ("excluding" not in kind) or other != row
                seen.add((row, other))
    allowed = negatives.pool(kind, real, speaker).view(rows, rows, frames).any(dim=2)
    assert seen == {tuple(pair) for pair in allowed.nonzero().tolist()}


def test_candidates_are_a_function_of_the_key() -> None:
    real = torch.ones(3, 8, dtype=torch.bool)
    one, again = (negatives.draw("mixed", real, None, 6, KEY) for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, negatives.draw("mixed", real, None, 6, Key(3, 6)))


def test_frames_that_see_padding_count_nowhere() -> None:
    """They are no contexts, are not asked for, and are not drawn."""
    made, batch = method(), windows()
    z = made._encoded(batch)[1]
    latency = made.encoder.spec.latency
    assert latency == 2
    real = made._real(batch, z)
    assert not real[:, :latency].any()
    assert real[:, latency:].all()
    assert made.choices(batch, KEY).bound.shape == (4, 9 - latency - 3, 3)
    drawn = negatives.draw("mixed", real, None, 28, KEY) % 9
    assert set(drawn.flatten().tolist()) == set(range(latency, 9))


@pytest.mark.parametrize("kind", ["same-speaker", "same-speaker-excluding"])
def test_negatives_of_one_speaker_among_one_are_refused(kind: Kind) -> None:
    with pytest.raises(SeqgenError, match="no two speakers"):
        method(kind=kind, facts=Facts(speakers=("ann",)))
    nobody = windows()
    with pytest.raises(SeqgenError, match="name no speaker"):
        method(kind=kind).choices(Rows(nobody.x, nobody.lengths), KEY)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"candidates": 29}, "29 candidates of kind 'mixed', but for row 0 of the batch there are 28"),
        ({"candidates": 8, "kind": "sequence"}, "there are 7; lower objective.candidates, or give longer rows"),
        ({"candidates": 8, "kind": "same-speaker-excluding"}, "there are 7"),
        ({"steps": 8, "candidates": 2}, "rows of 9 frames, of which 2 see padding, for 8 steps ahead; give rows of 11"),
        ({"steps": 0}, "give 1 step or more"),
        ({"candidates": 1}, "2 candidates and rows or more"),
    ],
)
def test_questions_that_the_batch_cannot_answer_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        method(**options).loss(windows(), "model", KEY, None)


def test_figures_say_what_they_cannot_pass() -> None:
    found = method(candidates=8).measure(windows(), KEY, 0)
    assert {"loss", "information", "information_3", "accuracy", "accuracy_1"} <= set(found)
    one = found["information_2"]
    assert (one.cap, one.cap_formula) == (math.log(8), "ln N, N = 8 candidates of each choice")
    total = found["loss"].amounts / found["loss"].weights
    assert total.item() == pytest.approx(math.log(8) - (found["information"].amounts / one.weights).item())
