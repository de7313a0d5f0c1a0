"""Refusals of compression: damaged files, other models and machines, full disks."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seqgen.compression.compress import compress
from seqgen.compression.container import Container
from seqgen.compression.decompress import decompress
from seqgen.compression.densities import Stepped
from seqgen.compression.units import SampleUnits
from seqgen.errors import SeqgenError
from tests.unit.compression import TEXT, Coded, byte_model, there_and_back

BOUND, SHARE = 64, 0.005  # bytes, and of what the model claims


def random_bytes(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


# --- what is refused


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return there_and_back(TEXT[:300], byte_model(60), tmp_path_factory.mktemp("packed"))[1]


def refused(data: bytes, model: Coded, folder: Path, match: str) -> None:
    place, copy = folder / "broken.sg", folder / "copy"
    place.write_bytes(data)
    with pytest.raises(SeqgenError, match=match), Container(place) as container:
        decompress(container, copy, model.predictor, model.units)
    assert not copy.exists()


def test_every_flipped_bit_is_found(packed: bytes, tmp_path: Path) -> None:
    for at in range(len(packed)):
        data = bytearray(packed)
        data[at] ^= 1 << at % 8
        refused(bytes(data), byte_model(60), tmp_path, "damaged|not a compressed file")


def test_missing_and_appended_bytes_are_found(packed: bytes, tmp_path: Path) -> None:
    for data in (*(packed[:stop] for stop in range(len(packed))), packed + b"\0", packed + packed):
        refused(data, byte_model(60), tmp_path, "damaged|not a compressed file")


def test_another_model_tokenizer_or_runtime_is_refused(packed: bytes, tmp_path: Path) -> None:
    model = byte_model(60)
    refused(packed, byte_model(0), tmp_path, "compressed by the model .*give the model that compressed it")
    other = Coded(model.predictor, SampleUnits(coarse=True), model.density)
    refused(packed, other, tmp_path, "compressed with the tokenizer")
    for change in ({"runtime": "onnx"}, {"version": "1"}, {"instructions": "x"}, {"threads": 2}, {"precision": "int8"}):
        other_one = Stepped(model.density, digest=model.predictor.digest, label="")
        other_one.identity = replace(other_one.identity, **change)
        refused(packed, Coded(other_one, model.units, model.density), tmp_path, f"otherwise.*{next(iter(change))}")


def test_what_comes_out_otherwise_is_not_given_out(packed: bytes, tmp_path: Path) -> None:
    """A model of the same name that computes something else: the checksum of the original finds it."""
    other = Stepped(byte_model(0).density, digest=byte_model(60).predictor.digest, label="")
    refused(packed, Coded(other, byte_model(0).units, byte_model(0).density), tmp_path, "not the original|damaged")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(TEXT)
    model = byte_model()
    with pytest.raises(SeqgenError, match="cannot be written"):
        compress(tmp_path / "a", Path("/dev/full"), model.predictor, model.units)
    compress(tmp_path / "a", tmp_path / "a.sg", model.predictor, model.units)
    with pytest.raises(SeqgenError, match="cannot be written"), Container(tmp_path / "a.sg") as container:
        decompress(container, Path("/dev/full"), model.predictor, model.units)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    model = byte_model()
    for place in (tmp_path / "absent", tmp_path, Path("/dev/null")):
        with pytest.raises(SeqgenError, match=r"cannot read|no regular file"):
            compress(place, tmp_path / "out", model.predictor, model.units)
    with pytest.raises(SeqgenError, match="cannot read"):
        Container(tmp_path / "absent")


def test_torch_is_left_as_it_was() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with byte_model().predictor.session():
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_inference_mode_enabled()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
