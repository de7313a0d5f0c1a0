"""Composed pictures: what is known of their information, where their drawings come from, and what is read off them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seqgen.cli.main import main
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.pictures.directory import PictureData, PictureFacts, PictureSet, write
from seqgen.pictures.prepare import Preparation, prepare
from seqgen.tasks.pairs.picture_cells import Cells, NextInCells, alphabets
from seqgen.tasks.pairs.probing import PairProbe, told
from tests.unit.cli_workspace import done, refused

KEY = Key(2, 5)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PictureData:
    out = tmp_path_factory.mktemp("digits") / "data"
    prepare(Path("digits"), out, Preparation(train=1197, valid=200, test=400))
    return PictureData.open(out)


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_of_digits_each_cell_tells_ln_10(digits: PictureData, count: int) -> None:
    process = NextInCells(digits.split("test"), digits.facts, Cells(count))
    assert process.information == pytest.approx(count * math.log(10))
    x, y, label = process.draw(KEY, 0, 2000)
    assert x.shape == y.shape == (2000, 64 * count)
    # What x says of y is its classes: they are alike often, apart from each other, and y shows the next of each.
    pixels, classes = digits.split("test").x.reshape(-1, 64), digits.split("test").y
    assert classes is not None
    known = {row.tobytes(): int(one) for row, one in zip(pixels, classes, strict=True)}
    shown_x, shown_y = (
        [[known[cell.tobytes()] for cell in _cells(row, count)] for row in np.rint((side.numpy() + 1) * 8)]
        for side in (x, y)
    )
    np.testing.assert_array_equal(shown_x, label.numpy())
    np.testing.assert_array_equal(shown_y, (label.numpy() + 1) % 10)
    shares = [np.bincount(column, minlength=10) / 2000 for column in label.numpy().T]
    assert np.allclose(shares, 0.1, atol=0.035)
    if count > 1:
        both = np.histogram2d(label[:, 0], label[:, 1], bins=10)[0] / 2000
        assert np.allclose(both, 0.01, atol=0.012)


def _cells(row: Any, count: int) -> Any:
    """Drawings of a row of cells, each as its own pixels."""
    return row.reshape(8, count, 8).swapaxes(0, 1).reshape(count, 64).astype(np.uint8)


def test_drawings_of_a_class_are_alike_often_and_those_of_x_and_y_apart(digits: PictureData) -> None:
    process = NextInCells(digits.split("test"), digits.facts, Cells(1))
    x, y, label = process.draw(KEY, 0, 20_000)
    chosen = [np.unique(side[label[:, 0] == 3].numpy(), axis=0, return_inverse=True) for side in (x, y)]
    for kinds, numbers in chosen:
        counts = np.bincount(numbers.ravel())
        assert len(kinds) > 20
        expected = len(numbers) / len(kinds)
        assert np.all(np.abs(counts - expected) < 5 * math.sqrt(expected))
    own, others = (numbers.ravel() for _, numbers in chosen)
    assert abs(np.corrcoef(own, others)[0, 1]) < 5 / math.sqrt(len(own))


def test_splits_have_drawings_of_their_own(digits: PictureData) -> None:
    seen = []
    for split in ("train", "valid", "test"):
        x, y, _ = NextInCells(digits.split(split), digits.facts, Cells(2)).draw(KEY, 0, 3000)
        drawings = torch.cat([x, y]).reshape(-1, 8, 2, 8).transpose(1, 2).reshape(-1, 64)
        seen.append({row.numpy().tobytes() for row in drawings})
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_pairs_are_functions_of_their_number(digits: PictureData) -> None:
    process = NextInCells(digits.split("train"), digits.facts, Cells(3))
    whole = process.draw(KEY, 0, 20)
    for side, part in zip(whole, process.draw(KEY, 13, 5), strict=True):
        assert torch.equal(side[13:18], part)
    assert not torch.equal(whole.x, process.draw(Key(3, 5), 0, 20).x)


def test_pixels_are_standardised_by_what_is_known(digits: PictureData) -> None:
    known = digits.split("train")
    x = NextInCells(known, digits.facts, Cells(2), known=known).draw(KEY, 0, 5000).x
    varied = x.std(dim=0) > 0
    assert float(x.mean(dim=0).abs().max()) < 0.1
    assert float(varied.float().mean()) > 0.9
    assert float(x[:, varied].std(dim=0).median()) == pytest.approx(1.0, abs=0.1)
    other = NextInCells(digits.split("test"), digits.facts, Cells(2), known=known).draw(KEY, 0, 5000).x
    assert 0 < float(other.mean(dim=0).abs().max()) < 1


def test_alphabets_go_to_cells_by_their_size(tmp_path: Path) -> None:
    """A folder of alphabets of characters, each of some drawings, as public ones are."""
    shades = {"small": 2, "large": 4, "middle": 3}
    for place, (alphabet, characters) in enumerate(shades.items()):
        for character in range(characters):
            for drawing in range(9):
                shade = 60 * place + 10 * character + drawing
                folder = tmp_path / "corpus" / alphabet / f"c{character}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((3, 3), shade, np.uint8)).save(folder / f"{drawing}.png")
    prepare(tmp_path / "corpus", tmp_path / "data", Preparation(valid=18, test=18))
    data = PictureData.open(tmp_path / "data")
    process = NextInCells(data.split("train"), data.facts, Cells(2))
    assert process.information == pytest.approx(math.log(4) + math.log(3))
    x, y, label = process.draw(KEY, 0, 200)
    shade = np.rint((x.numpy().reshape(-1, 3, 2, 3) + 1) * 127.5)
    assert (shade == shade[:, :1, :, :1]).all(), "cells lie beside each other"
    np.testing.assert_array_equal(shade[:, 0, 0, 0] // 10 - 6, label[:, 0])
    np.testing.assert_array_equal(shade[:, 0, 1, 0] // 10 - 12, label[:, 1])
    following = np.rint((y.numpy().reshape(-1, 3, 2, 3) + 1) * 127.5)[:, 0, :, 0] // 10
    np.testing.assert_array_equal(following, (label.numpy() + 1) % [4, 3] + [6, 12])
    with pytest.raises(SeqgenError, match=r"4 cells, and alphabets of 4, 3, 2 classes; give pictures with classes"):
        NextInCells(data.split("train"), data.facts, Cells(4))


def test_layouts_have_the_same_drawings_in_other_places() -> None:
    drawings = torch.arange(2 * 4 * 1 * 2 * 3).view(2, 4, 1, 2, 3)
    first = drawings[0, :, 0]
    row, grid, channels = (Cells(4, layout).composed(drawings)[0] for layout in ("row", "grid", "channels"))
    assert torch.equal(row.view(2, 12), torch.cat(list(first), dim=1))
    square = torch.cat([torch.cat([first[0], first[1]], dim=1), torch.cat([first[2], first[3]], dim=1)])
    assert torch.equal(grid.view(4, 6), square)
    assert torch.equal(channels.view(4, 2, 3), first)
    coloured = torch.arange(2 * 2 * 3 * 2 * 2).view(2, 2, 3, 2, 2)
    beside = Cells(2).composed(coloured)[1].view(3, 2, 4)
    assert torch.equal(beside, torch.cat([coloured[1, 0], coloured[1, 1]], dim=2))


@pytest.mark.parametrize("cells", [(0, "row"), (6, "grid")])
def test_cells_that_cannot_be(cells: tuple[int, Any]) -> None:
    with pytest.raises(SeqgenError, match=f"'cells' has a {cells[1]} of {cells[0]}; give 1 or more"):
        Cells(*cells)


def test_classes_that_make_no_pairs() -> None:
    with pytest.raises(SeqgenError, match="1 cells, and alphabets of no classes"):
        alphabets((), 1)
    with pytest.raises(SeqgenError, match="1 cells, and alphabets of 1 classes"):
        alphabets(("a",), 1)
    pictures = PictureSet(np.zeros((2, 1, 1, 1), np.uint8), ("one", "two"), np.array([0, 0]))
    with pytest.raises(SeqgenError, match="no drawing of the class 'b' in a split; prepare more"):
        NextInCells(pictures, PictureFacts((1, 1, 1), 2, classes=("a", "b")), Cells(1))
    with pytest.raises(SeqgenError, match=r"give 2 examples or more, and 0 steps or more"):
        PairProbe(examples=1)


def test_a_probe_tells_what_is_kept_and_what_is_not(digits: PictureData) -> None:
    """Of a representation that has the first digit alone the second is told no better than by lot."""
    process = NextInCells(digits.split("train"), digits.facts, Cells(2))
    learnt, judged = process.draw(Key(0, 0), 0, 600), process.draw(Key(0, 1), 0, 400)
    found = told(lambda x: x.view(-1, 8, 2, 8)[:, :, 0].flatten(1), learnt, [judged], "probe")
    assert found["probe_1"].value > 85
    assert found["probe_2"].value < 20
    assert found["probe_least"] == found["probe_2"]
    assert found["probe_mean"].value == pytest.approx((found["probe_1"].value + found["probe_2"].value) / 2)
    assert found["probe_mean"].unit == "%"


CONFIG = """\
name: composed
task: {{name: pairs, pictures: {data}, cells: {{count: 2}}, held_out: 64, {probe}}}
networks:
  critic: {{name: {critic}, x_dim: 128, y_dim: 128}}
objective: {{name: information, lipschitz: {{weight: 1.0}}}}
train: {{steps: 4, batch_size: 16, validate_every: 2, checkpoint_every: 2}}
"""


def test_a_run_is_trained_measured_and_probed(digits: PictureData, tmp_path: Path) -> None:
    config, out = tmp_path / "run.yaml", tmp_path / "exp"
    probe = "probe: {examples: 100, baseline_steps: 20}"
    config.write_text(CONFIG.format(data=digits.path, probe=probe, critic="separable-critic"))
    done("train", str(config), "--out", str(out), "--evaluate")
    found = json.loads((out / "eval.json").read_text())
    assert found["known_information"] == pytest.approx(2 * math.log(10))
    assert found["pairs"] == 64
    for kind in ("probe", "pixels", "supervised"):
        values = [found[f"{kind}_{name}"] for name in ("1", "2", "mean", "least")]
        assert min(values[:2]) == values[3] <= values[2] == pytest.approx(sum(values[:2]) / 2)
    assert found["pixels_mean"] > 60
    assert {"dependency", "penalty", "slope"} <= set(found)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"penalty", "slope"} <= set(lines[-1])
    assert main(["train", str(config), "--out", str(out), "--resume", "--set", "train.steps=6"]) == 0


def test_other_drawings_are_other_data(digits: PictureData, tmp_path: Path) -> None:
    """A directory that was moved is the same; one of other drawings is not gone on with."""
    config, out = tmp_path / "run.yaml", tmp_path / "exp"
    config.write_text(CONFIG.format(data=digits.path, probe="", critic="separable-critic"))
    done("train", str(config), "--out", str(out))
    parts = {name: digits.split(name) for name in ("train", "valid", "test")}
    write(tmp_path / "same", digits.facts, parts)
    parts["train"] = parts["train"].rows(slice(0, 1000))
    write(tmp_path / "other", digits.facts, parts)
    again = ("train", str(config), "--out", str(out), "--resume", "--set", "train.steps=6")
    assert "task.pictures" in refused(*again, f"task.pictures={tmp_path / 'other'}")
    done(*again, f"task.pictures={tmp_path / 'same'}")


def test_what_has_no_representation_is_not_probed(digits: PictureData, tmp_path: Path) -> None:
    config, out = tmp_path / "run.yaml", tmp_path / "exp"
    config.write_text(CONFIG.format(data=digits.path, probe="probe: {examples: 100}", critic="bilinear-critic"))
    done("train", str(config), "--out", str(out))
    assert "BilinearCritic has no encoder of x alone; take a critic that has one" in refused("eval", str(out))
    config.write_text(CONFIG.replace("pictures: {data}, cells: {{count: 2}}", "gaussian: {{information: 1.0}}").format(
        probe="probe: {examples: 100}", critic="bilinear-critic"))  # fmt: skip
    assert "cells or a probe, and no pictures; leave them out" in refused("train", str(config), "--out", str(out))
