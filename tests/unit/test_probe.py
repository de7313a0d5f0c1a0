"""Linear probes: what is read off, on which utterances, beside which baselines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from seqgen.analysis.linear_probe import Examples, ProbeConfig, parted, probe
from seqgen.cli.main import main
from seqgen.data import ctm
from seqgen.data.ctm import Stretch
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError
from seqgen.tasks.speech.encoders import Cepstra, open_path
from tests.unit import spoken

CONFIG = ProbeConfig()


def examples(x: np.ndarray, labels: np.ndarray) -> Examples:
    return Examples(x.astype(np.float32), labels, np.arange(len(x)))


def clusters(seed: int, count: int, apart: float) -> Examples:
    rng = np.random.Generator(np.random.Philox(seed))
    labels = rng.integers(0, 3, count)
    x = rng.standard_normal((count, 4)) + apart * np.eye(4)[labels]
    return examples(x, np.array(["a", "b", "c"])[labels])


def test_a_probe_reads_what_is_there_and_not_what_is_not() -> None:
    seen = probe(clusters(0, 600, 6.0), clusters(1, 300, 6.0), CONFIG)
    assert seen.right.mean() > 0.98
    unseen = probe(clusters(0, 600, 0.0), clusters(1, 300, 0.0), CONFIG)
    assert 0.25 < unseen.right.mean() < 0.42


def test_scales_and_offsets_of_channels_change_nothing() -> None:
    train, test = clusters(0, 300, 2.0), clusters(1, 300, 2.0)
    scale, offset = np.array([1e-3, 1, 50, 1]), np.array([5, 0, -100, 0])
    moved = [replace(one, x=(one.x * scale + offset).astype(np.float32)) for one in (train, test)]
    assert probe(train, test, CONFIG).right.mean() == pytest.approx(probe(*moved, CONFIG).right.mean(), abs=0.01)
    flat = [replace(one, x=np.pad(one.x, ((0, 0), (0, 1)), constant_values=7)) for one in (train, test)]
    assert probe(*flat, CONFIG).right.mean() == pytest.approx(probe(train, test, CONFIG).right.mean(), abs=0.01)


def test_labels_that_were_never_trained_are_never_right() -> None:
    train, test = clusters(0, 300, 6.0), clusters(1, 90, 6.0)
    renamed = replace(test, labels=np.where(test.labels == "a", "z", test.labels))
    assert probe(train, renamed, CONFIG).right[renamed.labels == "z"].sum() == 0


def test_fewer_training_examples_are_drawn_the_same_way_each_time() -> None:
    whole = clusters(0, 300, 2.0)
    some = whole.thinned(100, seed=3)
    assert len(some.x) == 100
    np.testing.assert_array_equal(some.x, whole.thinned(100, seed=3).x)
    assert not np.array_equal(some.x, whole.thinned(100, seed=4).x)
    assert whole.thinned(300, seed=3) is whole


def test_intervals_are_over_utterances() -> None:
    """Frames of one utterance stand or fall together."""
    train = clusters(0, 300, 6.0)
    test = clusters(1, 90, 6.0)
    right, weights = probe(train, replace(test, groups=np.arange(90) // 30), CONFIG).by_group()
    assert weights.tolist() == [30, 30, 30]
    assert right.sum() == probe(train, test, CONFIG).right.sum()


def test_one_label_and_what_is_no_number_are_refused() -> None:
    train = clusters(0, 30, 1.0)
    with pytest.raises(SeqgenError, match="one label"):
        probe(replace(train, labels=np.full(30, "a")), train, CONFIG)
    with pytest.raises(SeqgenError, match="NaN"):
        probe(replace(train, x=np.full_like(train.x, np.nan)), train, CONFIG)
    with pytest.raises(SeqgenError, match="penalty"):
        ProbeConfig(penalty=0)


def utterances(count: int) -> list[Utterance]:
    return [Utterance(f"u{i}", Path("a.wav"), 8000, 0, 10, "s") for i in range(count)]


def test_utterances_are_parted_by_their_ids_alone() -> None:
    some = utterances(20)
    labels = ["a" if i % 2 else "b" for i in range(20)]
    train, test = parted(some, labels, 0.7)
    again = parted(some[::-1], labels[::-1], 0.7)
    assert (len(train), len(test)) == (14, 6)
    assert {one.id for one in train}.isdisjoint(one.id for one in test)
    assert sorted(one.id for one in train) == sorted(one.id for one in again[0])
    assert sum(labels[int(one.id[1:])] == "a" for one in train) == 7
    kept = parted([*some, Utterance("w", Path("a.wav"), 8000, 0, 10, "s")], [*labels, "a"], 0.7)
    assert len({one.id for one in test} & {one.id for one in kept[1]}) >= 4, "an utterance more moves few others"


@pytest.mark.parametrize(("count", "share", "message"), [(4, 0.0, "split"), (4, 1.0, "split"), (1, 0.5, "one")])
def test_what_leaves_nothing_for_a_test_is_refused(count: int, share: float, message: str) -> None:
    with pytest.raises(SeqgenError, match=message):
        parted(utterances(count), ["a"] * count, share)


def test_alignments_are_read_as_they_were_written(tmp_path: Path) -> None:
    given = {"u": [Stretch(0.0, 0.125, "AA"), Stretch(0.125, 0.25, "B")], "v": [Stretch(1.5, 0.001, "SIL")]}
    place = tmp_path / "a.ctm"
    place.write_text(";; comment\n" + ctm.render(given) + "\n", encoding="utf-8")
    assert ctm.read(place) == given
    for wrong in ("u 1 x 0.1 AA", "u 1 0.1", "u 1 -1 0.1 AA", "u 1 0 nan AA"):
        place.write_text(f"u 1 0 1 AA\n{wrong}\n", encoding="utf-8")
        with pytest.raises(SeqgenError, match=r"a\.ctm:2"):
            ctm.read(place)
    with pytest.raises(SeqgenError, match="absent"):
        ctm.read(tmp_path / "absent.ctm")


def test_a_frame_has_the_label_at_its_middle() -> None:
    stretches = [Stretch(0.0, 0.016, "A"), Stretch(0.016, 0.02, "B")]
    assert ctm.frame_labels(stretches, 5, 0.01).tolist() == ["A", "A", "B", "B", ""]


def test_cepstra_are_centred_on_the_middle_of_their_hop() -> None:
    extractor = Cepstra(8000, 80)
    impulse = np.zeros(4000, np.float32)
    impulse[25 * 80 + 40] = 1
    made = extractor.features(impulse)
    assert made.shape == (50, 39)
    assert made[:, 0].argmax() == 25
    assert made[24, 0] == pytest.approx(made[26, 0], abs=0.5), "the same on both sides"
    assert extractor.features(impulse[:85]).shape == (1, 39)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of three speakers and digits, and an encoder that was trained on them for a moment."""
    place = tmp_path_factory.mktemp("probe")
    spoken.record(place / "train", range(4))
    spoken.record(place / "test", range(4, 6))
    run: dict[str, Any] = {
        "name": "tiny",
        "task": {
            "name": "speech",
            **dict.fromkeys(("train", "valid"), str(place / "train" / "data")),
            "test": str(place / "test" / "data"),
            "sample_rate": spoken.RATE,
            "window": 800,
        },
        "networks": {
            "encoder": {
                "name": "waveform-encoder", "strides": [5, 4], "kernels": [10, 8], "channels": 16, "hidden": 12
            }
        },
        "objective": {"name": "cpc", "steps": 2, "candidates": 8},
        "train": {"steps": 2, "batch_size": 8, "validate_every": 0, "checkpoint_every": 0},
        "licence": "CC0",
    }  # fmt: skip
    (place / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    assert main(["train", str(place / "run.yaml"), "--out", str(place / "exp")]) == 0
    return place


def table(folder: Path, *arguments: str, capsys: pytest.CaptureFixture[str], more: str = "") -> dict[str, Any]:
    capsys.readouterr()
    models, data = [str(folder / "exp"), *([more] if more else [])], ["--data", str(folder / "test" / "data")]
    assert main(["probe", *models, *data, "--json", *arguments]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    return made


def test_speakers_and_digits_are_told_beside_all_baselines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, train = str(folder / "exp"), ("--train", str(folder / "train" / "data"))
    for target in ("digit", "speaker"):
        told = table(folder, "--target", target, *train, "--supervised", "20", capsys=capsys)
        assert list(told["probes"]) == ["mfcc", "random", "supervised", own]
        assert (told["labels"], told["training_examples"], told["test_examples"]) == (3, 36, 18)
        assert told["commonest"] == pytest.approx(100 / 3)
        assert told["untrained"] == 0
        assert told["mfcc"] > 80
        assert all(0 <= told[name] <= 100 and told[f"{name}_95"] >= 0 for name in told["probes"])
        assert told["probes"]["mfcc"]["channels"] == 39
        assert told["probes"][own]["channels"] == 12


def test_phones_are_told_frame_by_frame(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alignments = ("--ctm", str(folder / "train" / "phones.ctm"), str(folder / "test" / "phones.ctm"))
    told = table(
        folder, "--target", "phone", "--train", str(folder / "train" / "data"), *alignments, "--layer", "latent",
        capsys=capsys,
    )  # fmt: skip
    assert "supervised" not in told["probes"], "labels of frames train nobody"
    assert told["labels"] == 5
    assert told["test_examples"] == 18 * (40 - 2), "the first two see zeros from before the start"
    assert told["mfcc"] > 90
    assert told[str(folder / "exp")] > 45
    assert told["probes"][str(folder / "exp")]["channels"] == 16


def test_a_data_directory_is_parted_the_same_way_each_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--target", "speaker", "--split", "0.5", "--no-baselines")
    first, second = (table(folder, *given, capsys=capsys) for _ in range(2))
    assert (first["training_examples"], first["test_examples"]) == (9, 9)
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_bundles_and_experiments_stand_in_one_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = folder / "bundle"
    assert main(["export", str(folder / "exp"), "--out", str(exported)]) == 0
    told = table(folder, "--target", "digit", "--split", "0.5", "--no-baselines", capsys=capsys, more=str(exported))
    assert told[str(exported)] == told[str(folder / "exp")]


def test_the_table_is_shown_and_kept(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, data = tmp_path / "report.json", str(folder / "test" / "data")
    given = ["--data", data, "--target", "digit", "--split", "0.5", "--supervised", "0", "--report", str(report)]
    assert main(["probe", str(folder / "exp"), *given]) == 0
    said = capsys.readouterr().out
    assert "mean over the utterance: 3 labels, 9 training and 9 test utterances" in said
    assert "\nmfcc " in said
    assert "supervised" not in said
    assert 0 <= json.loads(report.read_text())["mfcc"] <= 100


def test_fresh_weights_are_decided_by_the_seed(folder: Path) -> None:
    opened = open_path(folder / "exp", "context")
    streams = [opened.fresh(seed).stream for seed in (0, 0, 1)]
    first, again, other = (one.state_dict()["context.recurrent"] for one in streams if one is not None)
    assert (first == again).all()
    assert (first != other).any()
    utterance = DataDir.load(folder / "test" / "data")[0]
    assert opened.extractor.features(np.zeros(utterance.samples, np.float32)).shape == (40, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "phone"), "--target phone without --ctm"),
        (("--target", "digit", "--ctm", "phones.ctm"), "--target digit with --ctm"),
        (("--target", "digit", "--supervised", "-1"), "--supervised -1"),
        (("--target", "digit", "--split", "1"), "--split 1"),
        (("--target", "digit", "--network", "decoder"), "trains no network 'decoder'"),
        (("--target", "digit", "--report", "absent/report.json"), "absent/report.json"),
    ],
)
def test_refusals(
    folder: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(folder / "test")
    assert main(["probe", str(folder / "exp"), "--data", "data", *arguments]) == 1
    assert message in capsys.readouterr().err
