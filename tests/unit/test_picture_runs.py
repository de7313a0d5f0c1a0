"""The task of pictures through the command line: prepared, learnt, judged, drawn; and what networks draw and encode."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seqgen import noise as uniforms
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import language_model
from seqgen.generation.factorised import Factorised
from seqgen.latents.variable import LatentVariable
from seqgen.objectives.contract import Measure
from seqgen.pictures.directory import PICTURES, PictureData
from seqgen.pictures.sheet import sheet
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, System
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.pictures import samples
from seqgen.tasks.pictures.batches import StoredPictures
from seqgen.tasks.pictures.task import Pictures
from seqgen.tasks.verify import Probe
from seqgen.train.report import Report
from tests.unit.cli_workspace import done, refused, seqgen
from tests.unit.picture_files import archive, directory, noise

CONFIG = """\
name: pictures
task: {{name: pictures, data: {data}, real: {real}}}
networks: {{generator: {{name: autoregressive, {body}}}}}
train: {{steps: 4, batch_size: 8, learning_rate: 1e-2, validate_every: 2, checkpoint_every: 2, log_every: 2}}
"""
SYMBOLS = "body: {name: recurrent, vocab_size: 2, outputs: 2, hidden: 8}"
REAL = (
    "body: {name: wavenet, vocab_size: 0, outputs: 2, conditioned: false, layers: 2, residual_channels: 4, "
    "gate_channels: 4, skip_channels: 4, head_channels: 4}, distribution: {name: gaussian}"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over 40 binary digits, and their data."""
    root = tmp_path_factory.mktemp("pictures")
    counts = ("--train", 40, "--valid", 10, "--test", 12)
    said = done(
        "data", "prepare", "pictures", "--corpus", "digits", "--out", root / "data", "--binarise", "static", *counts
    )
    assert said.out == f"{root / 'data'}: train 40, valid 10, test 12 pictures of 8x8, 2 levels, 10 classes\n"
    write_text(root / "run.yaml", CONFIG.format(data=root / "data", real="false", body=SYMBOLS))
    trained = done("train", root / "run.yaml", "--out", root / "exp")
    assert "40 pictures of 8x8 pixels, 2 levels" in trained.err
    return root


def test_directories_are_checked_and_described(work: Path, tmp_path: Path) -> None:
    assert done("data", "check", work / "data", work / "data/test").out == "2 directories, no problem\n"
    (whole,) = done("data", "stats", work / "data", "--json").json()
    assert (whole["shape"], whole["levels"], whole["classes"], whole["corpus"]) == ([1, 8, 8], 2, 10, "digits")
    mean = PictureData.open(work / "data").split("test").x.mean()
    assert whole["test"] == f"12 pictures, mean {mean:.4f} of the highest value"
    assert done("data", "stats", work / "data/test", "--json").json()[0]["test"] == whole["test"]
    data = tmp_path / "data"
    shutil.copytree(work / "data", data)
    shutil.copy(data / "train" / PICTURES, data / "test" / PICTURES)
    (data / "valid" / PICTURES).write_text("no archive")
    found = seqgen("data", "check", data)
    assert found.status == 1
    first, second = found.out.splitlines()
    assert re.match(rf"{data}/valid/pictures.npz: .*not an array", first)
    assert re.match(rf"{data}/test/pictures.npz: 40 pictures are in train too, 'digit-\d+' among them", second)
    assert "note: " in found.err
    assert "40 pictures look the same as one of another split" in found.err
    (data / "pictures.yaml").write_text("shape: [1, 8]\n")
    assert seqgen("data", "check", data).status == 1
    assert "--fix does not apply" in refused("data", "check", "--fix", data)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no pictures; give --corpus an .npz file, PNG files, or the word digits"),
        (("--corpus", "{archive}", "--side", "3"), "--side 3 for pictures of 4x4; give one of 1, 2, 4"),
        (("--corpus", "{archive}", "--valid", "0.1"), "--valid 0.1 is no number of pictures; give a whole number"),
        (("--corpus", "{archive}", "--test", "0"), "0 pictures for test; give 1 or more"),
        (("--corpus", "{archive}", "--train", "30"), "30 pictures for train, of 22; give more pictures"),
        (("--corpus", "{archive}", "--factors", "a,b"), "no factors to be named"),
        (("--corpus", "{archive}", "--levels", "4", "--binarise", "static"), "4 levels, and a binarisation"),
        (("--corpus", "{archive}", "--sample-rate", "8000"), "--sample-rate does not apply to pictures; leave it out"),
        (
            ("--corpus", "{archive}", "--tokenizer", "bytes"),
            "--tokenizer does not apply to pictures; it is for",
        ),
        (("--corpus", "nowhere.npz"), "cannot read nowhere.npz"),
        (("--corpus", ""), "error: an empty path; give one, or leave the option out"),
    ],
)
def test_a_preparation_that_makes_no_sense_is_one_line(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz")
    given = [word.format(archive=path) for word in words]
    error = refused("data", "prepare", "pictures", "--out", tmp_path / "out", *given)
    assert re.search(said, error), error
    assert not (tmp_path / "out").exists()


def test_options_of_pictures_are_refused_of_others(tmp_path: Path) -> None:
    for name in ("fsdd", "text", "pairs"):
        error = refused("data", "prepare", name, "--corpus", tmp_path, "--out", tmp_path / "out", "--side", 2)
        assert f"--side does not apply to {name}; it is for the corpus `pictures`" in error


def test_a_run_is_judged(work: Path, tmp_path: Path) -> None:
    found = done("eval", work / "exp", "--json", "--keep", tmp_path / "kept", "--samples", 5).json()
    experiment = Experiment.open(work / "exp")
    generator = experiment.load().networks["generator"]
    x = torch.from_numpy(PictureData.open(work / "data").split("test").x).flatten(1).long()
    with torch.no_grad():
        nats = -generator.log_prob(x).double().sum(dim=1)
    assert found["nats_per_picture"] == pytest.approx(nats.mean().item(), rel=1e-6)
    assert found["evidence"] == -found["nats_per_picture"]
    assert found["nats_per_picture_95"] == pytest.approx(2.20099 * nats.std().item() / math.sqrt(12), rel=1e-4)
    assert found["bits_per_pixel"] == pytest.approx(nats.mean().item() / math.log(2) / 64, rel=1e-6)
    assert found["pictures"] == len(found["examples"]["nats_per_picture"]) == 12
    size = (3 * 50 + 2, 2 * 50 + 2)  # five pictures of 48 pixels in rows of three, with edges of two
    assert {path.name: Image.open(path).size for path in (tmp_path / "kept").iterdir()} == {
        "references.png": size,
        "samples.png": size,
    }
    other = directory(tmp_path / "other", shape=(1, 8, 8), levels=2)
    less = done("eval", work / "exp", "--json", "--data", other, "--examples", 3).json()
    assert list(less["examples"]["bits_per_pixel"]) == ["test-0", "test-1", "test-2"]
    assert done("eval", work / "exp", "--json", "--data", other / "train").json()["pictures"] == 10
    assert "kept nowhere; give --keep DIR" in refused("eval", work / "exp", "--samples", 5)
    wrong = directory(tmp_path / "wrong", shape=(1, 8, 8), levels=3)
    error = refused("eval", work / "exp", "--data", wrong)
    assert "pictures of shape [1, 8, 8] with 3 levels, the run's have [1, 8, 8] and 2; prepare them alike" in error
    done("eval", work / "exp", "--likelihood-only", "--keep", tmp_path / "none")
    assert not list((tmp_path / "none").iterdir())


def test_a_run_draws(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn.png"
    said = done("sample", work / "exp", "-o", out, "--length", 3, "--seed", 7).err
    assert said.startswith(f"{out}: 3 pictures")
    generator = Experiment.open(work / "exp").load().networks["generator"]
    drawn = samples.drawn(generator, 3, (1, 8, 8), 2, seed=7)
    assert np.array_equal(np.asarray(Image.open(out)), sheet(drawn, 2))
    assert np.array_equal(samples.drawn(generator, 1, (1, 8, 8), 2, seed=7), drawn[:1])
    assert "no file for the pictures; give -o FILE.png" in refused("sample", work / "exp")
    assert "cannot be exported" in refused("export", work / "exp", "--out", tmp_path / "x")
    shown = sorted(path.name for path in (work / "exp/pictures").iterdir())
    assert shown == ["samples-00000002.png", "samples-00000004.png"]
    assert Image.open(work / "exp/pictures" / shown[0]).size == (4 * 50 + 2, 4 * 50 + 2)


def test_a_run_goes_on_over_the_same_pictures_only(work: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(work / "exp", tmp_path / "exp"))
    data = Path(shutil.copytree(work / "data", tmp_path / "data"))
    words = ("train", work / "run.yaml", "--out", out, "--resume", "--set", "train.steps=6", f"task.data={data}")
    done(*words)
    done("data", "prepare", "pictures", "--corpus", "digits", "--out", data, "--binarise", "threshold", "--train", 40,
         "--valid", 10, "--test", 12)  # fmt: skip
    error = refused(*words, "train.steps=8", quiet=False)
    assert "task.data: data " in error


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("task.real=true", r"networks\.generator is of 2 symbols, the pictures of real numbers; set vocab_size"),
        (
            "networks.generator.body.vocab_size=3 networks.generator.body.outputs=3",
            "is of 3 symbols, the pictures of 2",
        ),
        ("task.data=nowhere", "no picture data at nowhere: there is no pictures.yaml; make it with"),
    ],
)
def test_a_run_that_does_not_fit_is_one_line(work: Path, tmp_path: Path, option: str, said: str) -> None:
    error = refused("train", work / "run.yaml", "--out", tmp_path / "x", "--set", *option.split())
    assert re.search(said, error), error
    assert not (tmp_path / "x").exists()


def test_pixels_as_real_numbers(work: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "run.yaml", CONFIG.format(data=work / "data", real="true", body=REAL))
    assert (
        "40 pictures of 8x8 pixels, real numbers" in done("train", tmp_path / "run.yaml", "--out", tmp_path / "exp").err
    )
    found = done("eval", tmp_path / "exp", "--json").json()
    generator = Experiment.open(tmp_path / "exp").load().networks["generator"]
    x = torch.from_numpy(PictureData.open(work / "data").split("test").x).flatten(1)[..., None].float() * 2 - 1
    with torch.no_grad():
        nats = -generator.log_prob(x).double().sum(dim=1)
    assert found["nats_per_picture"] == pytest.approx(nats.mean().item(), rel=1e-6)
    done("sample", tmp_path / "exp", "-o", tmp_path / "drawn.png", "--length", 4)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "drawn.png")))) <= {0, 96, 255}
    task = Experiment.open(tmp_path / "exp").task()
    with pytest.raises(SeqgenError, match=r"there was trained on .* \[1, 8, 8\] with 2 levels, these have .* and 0"):
        task.adopt(generator, Experiment.open(work / "exp").facts, "there")


def latent() -> LatentVariable:
    """A small model over three symbols."""
    return next(iter(LatentVariable.examples()))


def test_networks_that_draw() -> None:
    model, other, density = latent(), latent(), language_model(3)
    assert samples.maker({"a": nn.Linear(1, 1)}) is None
    assert samples.maker({"a": nn.Linear(1, 1), "b": model, "c": other}) is model
    assert samples.maker({"other": other, "generator": density}) is density
    for network in (model, density):
        made = samples.drawn(network, 70, (2, 3, 2), 3, seed=3)
        assert made.shape == (70, 2, 3, 2)
        assert np.array_equal(samples.drawn(network, 66, (2, 3, 2), 3, seed=3), made[:66])
        assert len(np.unique(made, axis=0)) > 60
        cold = samples.drawn(network, 2, (2, 3, 2), 3, seed=3, temperature=0)
        assert not np.array_equal(cold, made[:2])
    with pytest.raises(SeqgenError, match="a network made 12 elements for a picture of 16 pixels"):
        samples.pixels(torch.zeros(2, 12), (1, 4, 4), 3)


def test_symbols_and_real_numbers_become_pixels() -> None:
    real = torch.tensor([[-1.0, -0.1, 0.1, 3.0], [-9.0, 0.5, 0.99, 1.0]])
    expected = [[[[0, 1], [1, 2]]], [[[0, 2], [2, 2]]]]
    assert samples.pixels(real[..., None], (1, 2, 2), 3).tolist() == expected
    assert samples.pixels(torch.tensor([[0, 1, 2, 1]]), (1, 2, 2), 3).tolist() == [[[[0, 1], [2, 1]]]]


def test_pictures_are_shown_as_they_come_back(tmp_path: Path) -> None:
    data, model = directory(tmp_path / "data"), latent()
    task = next(iter(Pictures.examples(tmp_path))).task
    task = Pictures(task.run, Pictures.Config(str(data)))
    task.require_fit({"model": model})
    system = System({"model": model}, Probe(None, {}, task.facts), "fresh")
    task.evaluate(system, Evaluation(keep=tmp_path, samples=3))
    test = PictureData.open(data).split("test")
    batch = StoredPictures(test, 3, rows=8, seed=0).first(3)
    again = samples.reconstructed(model, batch, (1, 4, 4), 3)
    u = torch.from_numpy(np.stack([uniforms.block(0, row, 0, 16) for row in range(3)]))[..., None]
    assert np.array_equal(again.reshape(3, 16), model.reconstruct(batch, u))
    together = np.stack([test.x[:3], again], axis=1).reshape(6, 1, 4, 4)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "reconstructions.png")), sheet(together, 3))
    drawn = samples.drawn(model, 3, (1, 4, 4), 3, seed=0)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "samples.png")), sheet(drawn, 3))
    with Report(tmp_path / "report", steps=1) as report:
        task.previews(system, report, 1)
        report.picture("in/colour", sheet(noise(3, 3, 5, 4), 256), 1)
    with Report(tmp_path / "silent", steps=1, active=False) as report:
        task.previews(system, report, 1)
    names = {f"{name}-00000001.png" for name in ("in-colour", "samples", "reconstructions")}
    assert {path.name for path in (tmp_path / "report/pictures").iterdir()} == names
    assert not (tmp_path / "silent").exists()


def neighbourly(examples: int) -> LatentVariable:
    """A small model over three symbols whose prior remembers the codes of so many pictures of 4x4 pixels."""
    parts = {
        "encoder": Component("block-perceptron", {"vocab_size": 3, "length": 16, "hidden": [5]}),
        "posterior": Component("gaussian", {"dim": 2}),
        "prior": Component("neighbour", {"dim": 2, "hidden": [4]}),
        "decoder": Component("conditionally-independent", {"length": 16, "hidden": []}),
    }
    return LatentVariable.build(LatentVariable.Config(**parts), Facts(examples=examples, vocab_size=3, shape=(1, 4, 4)))


def test_variations_are_drawn_by_what_the_prior_goes_by(tmp_path: Path) -> None:
    data = directory(tmp_path / "data")
    batch = StoredPictures(PictureData.open(data).split("test"), 3, rows=8, seed=0).first(3)
    assert samples.variations(latent(), batch, 2, (1, 4, 4), 3) is None
    model = neighbourly(10)
    made = samples.variations(model, batch, 2, (1, 4, 4), 3)
    assert made is not None
    assert made.shape == (3, 2, 1, 4, 4)
    each = model.num_uniforms(16)
    u = torch.from_numpy(np.stack([uniforms.block(0, row, 0, each) for row in range(3, 6)]))
    given = model.encoded(batch)[1].given
    assert np.array_equal(made[:, 1].reshape(3, 16), model.sample(u, 16, given=given))
    model.prior.memory.codes += 100  # type: ignore[operator,union-attr]
    assert not np.array_equal(samples.variations(model, batch, 2, (1, 4, 4), 3), made)
    task = Pictures(next(iter(Pictures.examples(tmp_path))).task.run, Pictures.Config(str(data)))
    task.evaluate(System({"model": model}, Probe(None, {}, task.facts), "fresh"), Evaluation(keep=tmp_path, samples=3))
    assert Image.open(tmp_path / "variations.png").size == (5 * 50 + 2, 5 * 50 + 2)  # three rows of eight, in fives


class Asking(Probe):
    """Keeps the numbers of the rows that it is asked of last."""

    def measure(self, batch: Any, rng: Any, index: int) -> dict[str, Any]:
        self.facts = batch.index.tolist()
        return super().measure(batch, rng, index)


def test_pictures_that_were_learnt_from_keep_their_numbers_and_tell_classes(tmp_path: Path) -> None:
    task = next(iter(Pictures.examples(tmp_path))).task
    system = System({"model": latent()}, Asking(None, {}, task.facts), "fresh")
    for place, expected in ((tmp_path / "full/train", [4, 5]), (tmp_path / "full/test", [-1, -1])):
        task.evaluate(system, Evaluation(data=place))
        assert system.objective is not None
        assert system.objective.facts == expected
    assert "class_by_linear_probe" not in task.evaluate(system, Evaluation()).figures
    probed = Pictures(task.run, Pictures.Config(task.config.data, probed=6))
    found = probed.evaluate(system, Evaluation()).figures
    assert {"class_by_linear_probe", "class_by_nearest_codes", "seen"} <= set(found)
    with pytest.raises(SeqgenError, match="'probed' is -1"):
        Pictures.Config("", probed=-1)


def test_sheets() -> None:
    pictures = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(30, axis=2).repeat(60, axis=3)
    made = sheet(pictures, 5)  # enlarged by two: three columns and two rows of 60x120
    assert made.shape == (2 * 62 + 2, 3 * 122 + 2)
    assert [made[20, 10], made[20, 130], made[20, 260], made[80, 10], made[80, 130]] == [0, 64, 128, 191, 255]
    assert made[80, 260] == made[0, 0] == 96
    colours = noise(2, 3, 50, 60)
    shown = sheet(colours, 256, columns=1)
    assert shown.shape == (2 * 52 + 2, 64, 3)
    assert np.array_equal(shown[2:52, 2:62], colours[0].transpose(1, 2, 0))
    assert np.array_equal(sheet(colours[:, :2], 256), sheet(colours[:, :1], 256))


def test_parts_of_other_elements_or_length_are_refused(tmp_path: Path) -> None:
    task = Pictures(
        next(iter(Pictures.examples(tmp_path))).task.run, Pictures.Config(str(directory(tmp_path / "data")))
    )
    block = Factorised(Factorised.Config(vocab_size=3, length=15))
    with pytest.raises(
        SeqgenError, match=r"generator takes sequences of 15 elements, a picture has 16; set its length"
    ):
        task.require_fit({"generator": block})
    task.require_fit({"generator": Factorised(Factorised.Config(vocab_size=3, length=16)), "other": language_model(7)})
    model = latent()
    model.encoder.vocab_size = 0
    with pytest.raises(SeqgenError, match=r"networks\.model\.encoder is of real numbers, the pictures of 3 symbols"):
        task.require_fit({"model": model})
    model = latent()
    model.decoder.vocab_size = 2
    with pytest.raises(SeqgenError, match=r"networks\.model\.decoder is of 2 symbols, the pictures of 3 symbols"):
        task.require_fit({"model": model})


class Counting(Probe):
    """Counts how often it is asked."""

    asked = 0
    known: ClassVar[dict[str, Any]] = {}

    def measure(self, batch: Any, rng: Any, index: int) -> dict[str, Any]:
        Counting.asked += 1
        return self.known or super().measure(batch, rng, index)


def test_a_method_is_asked_for_what_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = next(iter(Pictures.examples(tmp_path)))
    task, networks = example.task, example.networks
    system = System(networks, Counting(None, {}, task.facts), "fresh")
    found = task.evaluate(system, Evaluation())
    assert set(found.figures) == {"bits_per_pixel", "nats_per_picture", "evidence", "seen"}
    assert Counting.asked == 2
    ones = torch.ones(4)
    monkeypatch.setattr(Counting, "known", {"bits_per_pixel": Measure(ones, ones)})
    again = task.evaluate(system, Evaluation())
    assert Counting.asked == 3
    assert again.figures["bits_per_pixel"] == found.figures["bits_per_pixel"]
    without = task.evaluate(System({}, Probe(None, {}, task.facts), "fresh"), Evaluation())
    assert set(without.figures) == {"seen"}
