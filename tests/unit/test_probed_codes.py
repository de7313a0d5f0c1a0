"""Codes of latent-variable models and pitch under linear probes: what is read off, and of which frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from seqgen.analysis.linear_probe import Examples, ProbeConfig
from seqgen.analysis.ridge_probe import ridge
from seqgen.audio import io
from seqgen.audio.pitch import frame_pitch
from seqgen.cli.main import main
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.speech.encoders import open_path
from tests.unit import spoken

CONFIG = ProbeConfig(penalty=1e6)
FEATURES = {"sample_rate": spoken.RATE, "n_fft": 256, "window": 160, "hop": 80, "n_mels": 5}
FRAMES: dict[str, Any] = {
    "name": "latent-variable",
    "encoder": {"name": "framewise-encoder", "frame": 5, "hidden": [4]},
    "posterior": {"name": "gaussian", "dim": 3},
    "prior": {"name": "standard-normal", "dim": 3},
    "decoder": {"name": "framewise", "hidden": [4]},
}
SAMPLES: dict[str, Any] = {
    "name": "latent-variable",
    "encoder": {"name": "strided-encoder", "vocab_size": 256, "channels": 8, "look_ahead": 1, "normalization": "layer"},
    "posterior": {"name": "vector-quantised", "dim": 6, "classes": 8, "learning": "averages"},
    "prior": {"name": "uniform", "groups": 1, "classes": 8},
    "decoder": {
        "name": "autoregressive",
        "body": {"name": "wavenet", "layers": 2, "dilation_cycle": 2, "residual_channels": 4, "gate_channels": 4,
                 "skip_channels": 4, "head_channels": 4},
        "conditioner": {"name": "frames", "channels": 4, "blocks": 1, "look_ahead": 1},
    },
}  # fmt: skip
TASKS = {
    "frames": {"name": "features", "features": FEATURES, "longest": 6},
    "samples": {"name": "vocoder", "codec": "mulaw8", "segment": 400, "features": FEATURES},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of three speakers and digits, a model of log-mel frames and a speech codec, trained for a moment."""
    place = tmp_path_factory.mktemp("codes")
    spoken.record(place / "train", range(3))
    spoken.record(place / "test", range(3, 5))
    data = dict.fromkeys(("train", "valid"), str(place / "train" / "data")) | {"test": str(place / "test" / "data")}
    for name, model in (("frames", FRAMES), ("samples", SAMPLES)):
        run = {
            "name": name,
            "task": TASKS[name] | data,
            "networks": {"model": model},
            "objective": {"name": "evidence"},
            "players": {"model": {"optimiser": "adam", "learning_rate": 1e-3}},
            "train": {"steps": 1, "batch_size": 4, "validate_every": 0, "checkpoint_every": 0},
            "licence": "CC0",
        }
        (place / f"{name}.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
        assert main(["train", str(place / f"{name}.yaml"), "--out", str(place / name)]) == 0
    assert main(["export", str(place / "samples"), "--out", str(place / "codec")]) == 0
    return place


def spoken_audio(folder: Path) -> np.ndarray:
    return io.read(DataDir.load(folder / "test" / "data")[0].path)[0]


def test_codes_of_frames_are_posterior_means_of_the_tasks_own_stretches(folder: Path) -> None:
    audio, opened = spoken_audio(folder), open_path(folder / "frames")
    made = opened.extractor.features(audio)
    assert (opened.extractor.hop, opened.extractor.layer, made.shape) == (80, "code", (10, 3))
    experiment = Experiment.open(folder / "frames")
    model, _ = experiment.network("model")
    own = DataDir.load(folder / "test" / "data")[0].id
    found = []
    with torch.no_grad():
        for batch in experiment.task().source("test", {}).whole():
            means = model.posterior.marginals(model.encoded(batch)[0]).mean
            counts = (batch.lengths // 5).tolist()
            rows = zip(batch.ids, means, counts, strict=True)
            found += [row[:count] for name, row, count in rows if name.rpartition(":")[0] == own]
    expected = torch.cat(found)
    assert len(found) == 2
    assert made == pytest.approx(expected.numpy(), abs=1e-5)
    assert open_path(folder / "frames", "columns").extractor.features(audio).shape == (10, 4 + 5)


def test_codes_of_samples_are_entries_of_the_codebook_and_those_of_the_bundle(folder: Path) -> None:
    audio, opened = spoken_audio(folder), open_path(folder / "samples")
    hop = opened.extractor.hop
    made = opened.extractor.features(audio)
    assert made.shape == (len(audio) // hop, 6)
    entries = opened.extractor.model.posterior.books[0].entries.detach().numpy()
    apart = np.abs(made[:, None] - entries[None]).max(axis=-1)
    assert (apart.min(axis=1) == 0).all()
    through = open_path(folder / "codec")
    np.testing.assert_array_equal(through.extractor.features(audio), made)
    fresh, again, other = (through.fresh(seed).features(audio) for seed in (0, 0, 1))
    assert (fresh == again).all()
    assert (fresh != other).any()
    with pytest.raises(SeqgenError, match=r"no layer 'latent'.*code"):
        open_path(folder / "codec", "latent")
    with pytest.raises(SeqgenError, match=r"no layer 'context'.*code or columns"):
        open_path(folder / "samples", "context")


def test_models_of_several_tasks_stand_in_one_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [str(folder / name) for name in ("frames", "samples", "codec")]
    data = ["--data", str(folder / "test" / "data"), "--train", str(folder / "train" / "data")]
    capsys.readouterr()
    assert main(["probe", *models, *data, "--target", "digit", "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert list(told["probes"]) == ["mfcc", "random", *models], "labels train streams alone"
    assert "no row 'supervised'" in said.err
    assert told[models[1]] == told[models[2]]
    assert {one["layer"] for one in told["probes"].values()} == {"", "code"}
    assert told["mfcc"] > 80


def test_what_was_probed_is_kept_a_row_for_each_recording(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(folder / "test" / "data"), "--train", str(folder / "train" / "data")]
    given = ["probe", str(folder / "frames"), *data, "--vectors", str(tmp_path / "kept")]
    assert main([*given, "--target", "digit"]) == 0
    kept = {place.stem: np.load(place) for place in (tmp_path / "kept").iterdir()}
    assert {name: one.shape for name, one in kept.items()} == {
        "mfcc": (45, 39), "random": (45, 3), "frames": (45, 3), "label": (45, 3), "signal": (45, 80)
    }  # fmt: skip
    utterances = [one for side in ("train", "test") for one in DataDir.load(folder / side / "data")]
    extractor = open_path(folder / "frames").extractor
    for row, one in enumerate(utterances):
        audio, _ = io.read(one.path)
        np.testing.assert_allclose(kept["frames"][row], extractor.features(audio).mean(axis=0), rtol=1e-5)
        assert kept["label"][row].tolist() == [one.text == digit for digit in sorted(spoken.DIGITS)]
    first, second = (kept["signal"][0].reshape(4, 20)[number] for number in (0, 3))
    assert first.argmax() < second.argmax(), "the first recording rises from 300 to 900 Hz"
    out = str(tmp_path / "information.json")
    pair = [str(tmp_path / "kept" / f"{name}.npy") for name in ("mfcc", "label")]
    assert main(["information", *pair, "--batch", "6", "--steps", "60", "--bound", "infonce", "--report", out]) == 0
    assert 0.3 < json.loads(Path(out).read_text())["information"] <= np.log(6)
    capsys.readouterr()
    assert main([*given, "--target", "pitch"]) == 1
    assert "no independent pairs" in capsys.readouterr().err
    assert main([given[0], given[1], *given[1:], "--target", "digit"]) == 1
    assert "2 files would become" in capsys.readouterr().err


def test_pitch_is_told_of_voiced_frames(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(folder / "test" / "data"), "--train", str(folder / "train" / "data")]
    capsys.readouterr()
    assert main(["probe", str(folder / "frames"), *data, "--target", "pitch", "--report", str(folder / "p.json")]) == 0
    assert "share of its variance" in capsys.readouterr().out
    told = json.loads((folder / "p.json").read_text())
    assert set(told["probes"]) == {"mfcc", "random", str(folder / "frames")}
    assert 0 < told["test_examples"] <= 18 * 10
    assert told["octaves"] > 0.3
    assert told["mfcc"] > 50
    assert told["mfcc_95"] > 0


def test_pitch_at_the_middle_of_frames() -> None:
    """Tracks have a value every 40 samples of 8 kHz, the first centred on sample 0."""
    hz = np.array([0.0, 128.0, 0.0, 256.0, 0.0, 512.0])
    assert frame_pitch((hz, hz > 0), 3, 80, 8000).tolist() == [7, 8, 9]
    unvoiced = frame_pitch((hz, hz > 200), 5, 80, 8000)
    assert np.isnan(unvoiced).tolist() == [True, False, False, True, True], "unvoiced, or behind the end"


def numbers(seed: int, count: int, noise: float) -> Examples:
    rng = np.random.Generator(np.random.Philox(seed))
    x = rng.standard_normal((count, 3))
    y = 7 + x @ [1.0, -2.0, 0.0] + noise * rng.standard_normal(count)
    return Examples((5 + x * [1, 100, 0.01]).astype(np.float32), y, np.arange(count) // 10)


def test_a_regression_explains_what_is_there_and_not_the_noise() -> None:
    for noise in (0.0, 1.0, 2.0):
        found = ridge(numbers(0, 4000, noise), numbers(1, 4000, noise), CONFIG)
        explained, spread = found.by_group()
        share = 5 / (5 + noise**2)
        assert len(spread) == 400
        assert explained.sum() / spread.sum() == pytest.approx(share, abs=0.02)
        assert found.training == pytest.approx(share, abs=0.02)


def test_a_regression_of_nothing_explains_nothing_of_others() -> None:
    train, test = numbers(0, 300, 1.0), numbers(1, 300, 1.0)
    blind = [Examples(np.zeros_like(one.x), one.labels, one.groups) for one in (train, test)]
    explained, _ = ridge(*blind, CONFIG).by_group()
    assert explained.sum() == pytest.approx(0, abs=1e-6)
    heavy = ridge(train, test, ProbeConfig(penalty=1e-9)).by_group()
    assert heavy[0].sum() / heavy[1].sum() == pytest.approx(0, abs=1e-3), "an infinite penalty leaves the mean"
    with pytest.raises(SeqgenError, match="one number"):
        ridge(Examples(train.x, np.ones(300), train.groups), test, CONFIG)
    with pytest.raises(SeqgenError, match="NaN"):
        ridge(train, Examples(test.x, np.full(300, np.nan), test.groups), CONFIG)
