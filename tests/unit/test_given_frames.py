"""Frames that a vocoder is given: in the place of the recordings' own, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.audio.codec import Bytes16, Float
from seqgen.audio.features import log_mel, save_features
from seqgen.audio.filter_bank import FilterBank
from seqgen.audio.prediction import LinearPrediction
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.tasks.vocoder.batches import UtteranceBatches, _samples
from seqgen.tasks.vocoder.given_frames import GivenFrames, frames_digest
from tests.unit.test_data_batches import SPEC, data, same, segments

__all__ = ["data"]  # a fixture
KINDS = {
    "bytes": {},
    "excitation": {"prediction": LinearPrediction(SPEC, 8)},
    "bands": {"codec": Float(), "prediction": LinearPrediction(SPEC, 8), "bank": FilterBank(4)},
}


@pytest.fixture
def own(data: DataDir, tmp_path: Path) -> Path:
    """The recordings' own frames as files."""
    folder = tmp_path / "frames" / "train"
    folder.mkdir(parents=True)
    for one in data:
        save_features(folder / f"{one.id}.safetensors", log_mel(_samples(one, 0, one.samples), SPEC), SPEC)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_recordings_own_frames_change_nothing(data: DataDir, own: Path, kind: str) -> None:
    given = GivenFrames(own, SPEC)
    ours, theirs = segments(data, **KINDS[kind]), segments(data, **KINDS[kind], given=given)
    assert all(same(ours[step], theirs[step]) for step in range(6))
    options = {"features": SPEC, "codec": Bytes16(), "batch_size": 2, "left": 2, "right": 1, **KINDS[kind]}
    whole = UtteranceBatches(data, **options), UtteranceBatches(data, **options, given=given)
    assert all(same(a, b) for a, b in zip(*whole, strict=True))


def test_other_frames_are_what_is_conditioned_on(data: DataDir, own: Path) -> None:
    """And what linear prediction is of; the recordings stay."""
    for one in data:
        frames = np.full((SPEC.frames(one.samples), SPEC.bands), -3.0, np.float32)
        save_features(own / f"{one.id}.safetensors", frames, SPEC)
    plain = segments(data)[0], segments(data, given=GivenFrames(own, SPEC))[0]
    assert torch.equal(plain[0].x, plain[1].x)
    inside = plain[1].cond.features
    assert bool(((inside == -3) | (inside == np.float32(SPEC.silence))).all())
    assert bool((inside == -3).any())
    filtered = (
        segments(data, **KINDS["excitation"])[0],
        segments(data, **KINDS["excitation"], given=GivenFrames(own, SPEC))[0],
    )
    assert not torch.equal(filtered[0].x, filtered[1].x)


def test_frames_that_do_not_fit_are_refused(data: DataDir, own: Path, tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match="no folder of frames"):
        GivenFrames(tmp_path / "nowhere", SPEC)
    one = data.utterances[0]
    count = SPEC.frames(one.samples)
    save_features(own / f"{one.id}.safetensors", np.zeros((count + 1, SPEC.bands), np.float32), SPEC)
    with pytest.raises(SeqgenError, match=rf"has {count + 1} frames, its recording {count}"):
        GivenFrames(own, SPEC).of(one.id, count)
    other = replace(SPEC, n_mels=4)
    save_features(own / f"{one.id}.safetensors", np.zeros((count, 4), np.float32), other)
    with pytest.raises(SeqgenError, match="signature"):
        GivenFrames(own, SPEC).of(one.id, count)
    (own / f"{one.id}.safetensors").unlink()
    with pytest.raises(SeqgenError, match="cannot be opened"):
        GivenFrames(own, SPEC).of(one.id, count)


def test_a_digest_tells_files_and_names(own: Path) -> None:
    before = frames_digest(own.parent)
    assert before == frames_digest(own.parent)
    first = sorted(own.iterdir())[0]
    first.rename(own / "another.safetensors")
    renamed = frames_digest(own.parent)
    (own / "another.safetensors").write_bytes(b"x")
    assert len({before, renamed, frames_digest(own.parent)}) == 3
