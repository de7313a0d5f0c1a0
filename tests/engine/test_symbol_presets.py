"""Presets of networks over symbols: each name's network runs in the engine, and is measured beside torch."""

from __future__ import annotations

import json

import pytest

from seqgen import presets
from seqgen.cli.main import main

SMALL = ("recurrent-2x16-int8", "bytenet-5x16-f32", "bytenet-5x16-gated-bf16", "spelling-8-int8")


@pytest.mark.parametrize("name", SMALL)
def test_a_preset_is_measured_beside_torch(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--preset", name, "--seconds", "0.01", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    preset = presets.find_symbols(name)
    assert preset is not None
    assert (row["preset"], row["runtime"], row["format"]) == (name, "native", preset.format)
    assert row["x_torch"] == pytest.approx(row["symbols_per_second"] / row["torch_symbols_per_second"], rel=0.01)
    if preset.encoder is None:
        read = row["weight_mb"] * row["symbols_per_second"] / 1000
        assert row["read_gb_per_second"] == pytest.approx(read, rel=0.2, abs=0.06)
    else:
        assert row["words_per_second"] == pytest.approx(1000 / row["word_ms_p50"], rel=0.1)


def test_formats_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--preset", "recurrent-1x16-int8", "--seconds", "0.01", "--compare"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in table[1:]] == [
        ["native", "int8"], ["native", "bf16"], ["native", "float32"], ["torch", "float32"]
    ]  # fmt: skip
    assert "symbols/s" in table[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--runtime", "onnx"], "says how weights are held"),
        (["--format", "bf16"], "says how weights are held"),
        (["--batch", "2x8"], "--batch is of training"),
        (["--precision", "bf16-mixed"], "is of training"),
        (["--train", "--compiled"], "--compiled is of a comparison"),
        (["--streams", "0"], "must be positive"),
    ],
)
def test_options_without_use_are_refused(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--preset", "bytenet-5x16-int8", *options]) != 0
    assert words in capsys.readouterr().err


def test_every_example_is_listed_and_means_a_network() -> None:
    names = list(presets.symbol_examples())
    assert all(presets.find_symbols(name) is not None for name in names)
    assert all(name in presets.listing(presets.SYMBOL_TABLE) for name in names)
    assert presets.find_symbols("bytenet-20x256") is None
