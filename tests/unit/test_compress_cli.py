"""``seqgen compress`` and ``decompress``: an experiment and its bundle, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from seqgen.cli.compress import opened
from seqgen.compression.densities import units
from seqgen.compression.units import SampleUnits
from seqgen.errors import SeqgenError
from seqgen.spec import Facts
from tests.unit.cli_workspace import done, refused

CONFIG = """\
name: text
licence: CC0
task: {{name: text, data: {data}, segment: 16}}
networks:
  generator:
    name: autoregressive
    body: {{name: recurrent, vocab_size: {size}, outputs: {size}, hidden: 12, embedding: 4}}
train: {{steps: 30, batch_size: 8, learning_rate: 2e-2, validate_every: 30, checkpoint_every: 30, log_every: 30}}
"""
TEXT = "abracadabra, said the fox\n" * 60


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text with its data directory, the experiment ``exp``, its bundle ``lm``."""
    root = tmp_path_factory.mktemp("compress")
    (root / "text.txt").write_text(TEXT)
    done("data", "prepare", "text", "--corpus", root / "text.txt", "--out", root / "data", "--tokenizer", "characters")
    size = 1 + len(set(TEXT))
    (root / "run.yaml").write_text(CONFIG.format(data=root / "data", size=size))
    done("train", root / "run.yaml", "--out", root / "exp")
    done("export", root / "exp", "--out", root / "lm")
    return root


@pytest.mark.parametrize(("model", "options"), [("exp", ()), ("lm", ()), ("lm", ("--runtime", "onnx"))])
def test_files_come_back(work: Path, tmp_path: Path, model: str, options: tuple[str, ...]) -> None:
    given = tmp_path / "given"
    given.write_bytes(TEXT.encode() + b"\xff\0" + "größer".encode())
    said = done("compress", work / model, given, "-o", tmp_path / "packed.sg", *options)
    assert "bits per byte; the model claims" in said.err
    assert said.out == ""
    assert (tmp_path / "packed.sg").stat().st_size < len(TEXT) / 2
    assert "bytes in" in done("decompress", work / model, tmp_path / "packed.sg", "-o", tmp_path / "copy").err
    assert (tmp_path / "copy").read_bytes() == given.read_bytes()


def test_another_process_decodes_what_torch_encoded(work: Path, tmp_path: Path) -> None:
    done("compress", work / "exp", work / "text.txt", "-o", tmp_path / "packed.sg", "--lanes", 3, "--verify")
    command = [sys.executable, "-m", "seqgen.cli.main", "decompress", work / "exp", tmp_path / "packed.sg", "-o",
               tmp_path / "copy"]  # fmt: skip
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert (tmp_path / "copy").read_text() == TEXT


def test_one_object_says_all(work: Path, tmp_path: Path) -> None:
    said = json.loads(
        done("compress", work / "exp", work / "text.txt", "-o", tmp_path / "out", "--record", 26, "--json").out
    )
    assert said["size"] == len(TEXT)
    assert said["compressed"] == (tmp_path / "out").stat().st_size
    assert said["lanes"] == 60
    assert said["identity"]["runtime"] == "torch"
    assert said["overhead"] <= 0.005 * said["promised"] + 64


def test_what_does_not_fit_is_refused(work: Path, tmp_path: Path) -> None:
    text, out = work / "text.txt", tmp_path / "out"
    assert "give one of them" in refused("compress", work / "exp", text, "-o", out, "--lanes", 2, "--record", 3)
    assert "an experiment, which torch runs" in refused("compress", work / "exp", text, "-o", out, "--runtime", "onnx")
    assert "no experiment here" in refused("compress", tmp_path, text, "-o", out)
    assert "not a compressed file" in refused("decompress", work / "exp", text, "-o", out)
    done("compress", work / "lm", text, "-o", tmp_path / "packed", "--runtime", "onnx")
    assert "which torch runs, not onnx" in refused("decompress", work / "exp", tmp_path / "packed", "-o", out)
    done("compress", work / "exp", text, "-o", tmp_path / "packed")
    assert "runtime torch does not say" in refused("decompress", work / "lm", tmp_path / "packed", "-o", out)
    assert not out.exists()


def test_other_weights_are_another_model(work: Path, tmp_path: Path) -> None:
    done("train", work / "run.yaml", "--out", tmp_path / "other", "--set", "train.seed=5")
    done("compress", work / "exp", work / "text.txt", "-o", tmp_path / "packed")
    said = refused("decompress", tmp_path / "other", tmp_path / "packed", "-o", tmp_path / "out")
    assert "compressed by the model" in said
    one, _ = opened(work / "exp", "")
    assert one.digest in said or one.digest[:8] in said


def test_units_are_what_the_facts_say() -> None:
    assert isinstance(units(Facts(vocab_size=256, symbols_per_sample=2), 256), SampleUnits)
    assert units(Facts(), 65536).size == 65536
    for facts, values in ((Facts(vocab_size=256), 256), (Facts(vocab_size=5, unit="symbol"), 5)):
        with pytest.raises(SeqgenError, match="nothing by which a file becomes such"):
            units(facts, values)
