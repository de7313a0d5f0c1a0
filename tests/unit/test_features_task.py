"""The task of features: log-mel frames of recordings, whole or cut up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen import config, registry
from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.spec import Facts, FeatureSpec
from seqgen.tasks import networks
from seqgen.tasks.features.batches import FrameStretches
from seqgen.tasks.features.task import FeatureFrames, FeaturesConfig
from seqgen.tasks.run import RunConfig
from seqgen.tasks.vocoder.examples import record

SPEC = FeatureSpec(sample_rate=8000, n_fft=256, window=160, hop=80, n_mels=5)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Recordings of 12, 14, 16, 18 (and 20) frames in each split."""
    return record(tmp_path_factory.mktemp("features"))


def test_rows_are_frames_after_frames(places: dict[str, str]) -> None:
    data = DataDir.load(Path(places["test"]))
    source = FrameStretches(data, SPEC, longest=0, centred=True, rows=4, learnt=True)
    (batch,) = source.whole()
    assert batch.x.shape == (4, 18 * 5, 1)
    assert batch.lengths.tolist() == [60, 80, 70, 90]  # speaker by speaker
    for number, one in enumerate(data):
        frames = log_mel(io.read(one.path)[0], SPEC)
        expected = (frames - frames.mean(axis=0)).ravel()
        np.testing.assert_array_equal(batch.x[number, : len(expected), 0].numpy(), expected)
        assert not batch.x[number, len(expected) :].any()
    assert batch.ids == tuple(f"{one.id}:0" for one in data)
    assert batch.index.tolist() == [0, 1, 2, 3]


def test_stretches_of_a_recording_are_the_recording(places: dict[str, str]) -> None:
    data = DataDir.load(Path(places["test"]))
    source = FrameStretches(data, SPEC, longest=5, centred=False, rows=3)
    found: dict[str, list[torch.Tensor]] = {}
    for batch in source.whole():
        assert batch.index.tolist() == [-1] * len(batch.ids)
        for name, row, count in zip(batch.ids, batch.x, batch.lengths.tolist(), strict=True):
            utterance, _, start = name.rpartition(":")
            assert int(start) == 5 * len(found.setdefault(utterance, []))
            found[utterance].append(row[:count, 0])
    for one in data:
        whole = log_mel(io.read(one.path)[0], SPEC)
        np.testing.assert_array_equal(torch.cat(found[one.id]).numpy(), whole.ravel())
    seen = [name for batch in source.batches(0, 14, 0, 1) for name in batch.ids]
    assert {seen.count(name) for name in seen} == {3}  # fourteen stretches, three at a time: three passes


def task(places: dict[str, str], **options: object) -> FeatureFrames:
    """A task over these recordings."""
    features = {"sample_rate": 8000, "n_fft": 256, "window": 160, "hop": 80, "n_mels": 5}
    plain = {"name": "features", **places, "features": features, **options}
    run = config.from_plain({"name": "x", "task": plain, "networks": {}, "train": {"steps": 1}}, RunConfig, source="x")
    return FeatureFrames(run, config.options(run.task, registry.TASKS, source="x"))


def test_facts_count_stretches(places: dict[str, str]) -> None:
    assert task(places).facts == Facts(examples=5, shape=(5,), unit="number")
    assert task(places, longest=16).facts.examples == 7
    assert task(places, longest=16).describe() == "7 stretches of frames of 5 numbers"


def model(frame: int, encoder: str = "framewise-encoder") -> dict[str, object]:
    sizes = {"frame": frame} if encoder == "framewise-encoder" else {"length": 60, "vocab_size": 3}
    return {
        "name": "latent-variable",
        "encoder": {"name": encoder, "hidden": [4], **sizes},
        "posterior": {"name": "gaussian", "dim": 2},
        "prior": {"name": "standard-normal", "dim": 2},
        "decoder": {"name": "framewise", "hidden": [4]},
    }


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (model(5), ""),
        (model(10), ""),
        (model(4), "a position of the code stands for 4 numbers, a frame has 5; make it 5"),
        (model(5, "block-perceptron"), "reads 3 symbols, frames are real numbers"),
    ],
)
def test_networks_read_whole_frames(places: dict[str, str], made: dict[str, object], said: str) -> None:
    here = task(places)
    plain = {"name": "x", "task": {"name": "features"}, "networks": {"model": made}, "train": {"steps": 1}}
    run = config.from_plain(plain, RunConfig, source="x")
    built = networks.build(run.networks, here.facts, source="x")
    if not said:
        here.require_fit(built)
        return
    with pytest.raises(SeqgenError, match=said):
        here.require_fit(built)


def test_other_recordings_and_frames_are_refused(places: dict[str, str]) -> None:
    with pytest.raises(SeqgenError, match="give 1 or more, or 0"):
        FeaturesConfig("a", "b", "c", SPEC, longest=-1)
    with pytest.raises(SeqgenError, match="has 8000 Hz, but 16000 Hz is configured"):
        task(places, features={"sample_rate": 16000, "n_fft": 512, "window": 320, "hop": 160, "n_mels": 5})
    with pytest.raises(SeqgenError, match=r"frames of shape \[7\], these have \[5\]"):
        task(places).adopt(torch.nn.Linear(1, 1), Facts(shape=(7,)), "exp/other")
