"""Symbols of a speech codec, coded by the prior in its bundle."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from seqgen import noise
from seqgen.audio import io
from seqgen.bundle import Bundle
from seqgen.cli.main import main
from seqgen.compression import code_file, coded_symbols
from seqgen.compression.code_file import CodeFile, CodeHeader
from seqgen.compression.symbols import OfCodes
from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.latents.density_prior import DensityPrior
from seqgen.runtime import open_speech_codec, replay, speech_codec_replay
from seqgen.runtime.speech_codec import SpeechCodec
from tests.runtime.test_speech_codec import model, sound, written
from tests.unit.compression import language_model

Symbols = npt.NDArray[np.int64]


def prior(seed: int = 0) -> DensityPrior:
    """A prior of two symbols of twelve that has learnt :func:`phrase`."""
    made = DensityPrior(language_model(12, seed=seed), groups=2)
    line = torch.from_numpy(np.stack([phrase(20, shift).reshape(-1) for shift in range(6)]))
    optimiser = torch.optim.Adam(made.parameters(), lr=2e-2)
    for _ in range(25):
        loss = -made.density.log_prob(line).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made.eval()


def phrase(positions: int, shift: int = 0) -> Symbols:
    """Two symbols of a position that go up and down, with one in eight of no order."""
    at = np.arange(shift, shift + positions)
    tidy = np.stack([at % 6, 11 - at % 6], axis=1)
    drawn = noise.block(5, 0, 0, 4 * positions).reshape(positions, 4)
    return np.where(drawn[:, :2] < 0.125, (12 * drawn[:, 2:]).astype(np.int64), tidy)


def bundle(out: Path, seed: int = 0) -> Bundle:
    made = model(groups=2, residual=True)
    made.prior = prior(seed)
    return written(made, out)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> SpeechCodec:
    return open_speech_codec(bundle(tmp_path_factory.mktemp("codec") / "bundle"))


def file_of(symbols: list[Symbols], codec: SpeechCodec, path: Path) -> code_file.CodeReport:
    predictor = OfCodes(codec)
    header = CodeHeader.of(codec.manifest, 16 * sum(map(len, symbols)), predictor)
    with path.open("wb") as file:
        return code_file.write(file, header, symbols, predictor)


def read(path: Path, codec: SpeechCodec) -> Symbols:
    with CodeFile(path) as found:
        return np.concatenate([np.zeros((0, 2), np.int64), *found.symbols(OfCodes(codec))])


@pytest.mark.parametrize("positions", [0, 1, 40, 80, 95])
def test_symbols_come_back_from_the_bits_that_the_prior_claims(
    codec: SpeechCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, positions: int
) -> None:
    monkeypatch.setattr(coded_symbols, "POSITIONS", 40)
    symbols, path = phrase(positions), tmp_path / "codes.sgc"
    report = file_of(np.array_split(symbols, 4), codec, path)
    assert np.array_equal(read(path, codec), symbols)
    hot = one_hot(torch.from_numpy(symbols), 12, torch.float32).flatten(-2)[None, None]
    claimed = -float(prior().log_prob(hot).detach().sum()) / math.log(2)
    assert report.claimed == pytest.approx(claimed, rel=1e-4, abs=1e-6)
    blocks = -(-positions // 40)
    # a word that the coder does not fill, the check and the length of each block
    assert 0 <= report.code - report.claimed / 8 <= 0.005 * report.claimed / 8 + blocks * (4 + 4 + 1)
    assert report.size == path.stat().st_size
    whole = tmp_path / "whole.sgc"
    file_of([symbols], codec, whole)
    assert whole.read_bytes() == path.read_bytes()


def test_a_file_is_within_half_a_percent_and_64_bytes_of_the_claim(codec: SpeechCodec, tmp_path: Path) -> None:
    report = file_of([phrase(300)], codec, tmp_path / "codes.sgc")
    assert report.size <= 1.005 * report.claimed / 8 + 64
    assert report.claimed < 0.75 * 300 * 2 * 4  # of fixed width there would be 4 bits a symbol


def test_the_bundle_replays_its_prior(codec: SpeechCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    (verdict,) = replay.check(codec.bundle.directory)
    assert verdict.ok, verdict
    exact = speech_codec_replay._nats
    monkeypatch.setattr(speech_codec_replay, "_nats", lambda *given: exact(*given) + 0.1)
    with pytest.raises(SeqgenError, match="does not reproduce the golden vectors"):
        replay.check(codec.bundle.directory)


def test_commands_go_there_and_back(codec: SpeechCodec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, recording = str(codec.bundle.directory), str(tmp_path / "in.wav")
    io.write(Path(recording), 0.5 * sound(1500), 8000)
    for name, options in (("plain", []), ("coded", ["--prior"])):
        assert main(["encode", where, recording, "-o", str(tmp_path / f"{name}.sgc"), *options]) == 0
        said = capsys.readouterr().err
        assert ("by the prior, which claims" in said) == (name == "coded")
        assert "4000" in said  # bits a second of fixed width
        out = str(tmp_path / f"{name}.wav")
        assert main(["decode", where, str(tmp_path / f"{name}.sgc"), "-o", out, "--speaker", "bo"]) == 0
    assert (tmp_path / "plain.wav").read_bytes() == (tmp_path / "coded.wav").read_bytes()


def test_what_would_come_out_wrong_is_refused(
    codec: SpeechCodec, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols, path = phrase(60), tmp_path / "codes.sgc"
    file_of([symbols], codec, path)
    other = open_speech_codec(bundle(tmp_path / "other", seed=1))
    plain = open_speech_codec(written(model(groups=2, residual=True), tmp_path / "plain"))
    assert other.manifest.model == plain.manifest.model == codec.manifest.model  # symbols mean the same
    with pytest.raises(SeqgenError, match=r"coded by the prior .*, this is .*; give the bundle that encoded it"):
        read(path, other)
    for model_given, said in ((other, "coded by the prior"), (plain, "a codec without a prior of its symbols")):
        arguments = ["decode", str(model_given.bundle.directory), str(path), "-o", str(tmp_path / "out.wav")]
        assert main([*arguments, "--speaker", "bo"]) == 1
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out.wav").exists()
    predictor = OfCodes(codec)
    monkeypatch.setattr(predictor, "identity", replace(predictor.identity, version="1.0"))
    with CodeFile(path) as found, pytest.raises(SeqgenError, match=r"round otherwise .* version 1\.0 instead of"):
        found.symbols(predictor)
    wrong = OfCodes(other)
    monkeypatch.setattr(wrong, "digest", codec.manifest.prior)
    with CodeFile(path) as found, pytest.raises(SeqgenError, match="what comes out is not the original"):
        list(found.symbols(wrong))


@pytest.mark.parametrize("at", [3, 20, 40, -6, -1])
def test_a_flipped_bit_is_found(codec: SpeechCodec, tmp_path: Path, at: int) -> None:
    path = tmp_path / "codes.sgc"
    file_of([phrase(60)], codec, path)
    data: Any = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    with pytest.raises(SeqgenError, match=r"format 06|it was cut or changed"):
        read(path, codec)


def test_as_many_positions_as_the_header_says(codec: SpeechCodec) -> None:
    predictor = OfCodes(codec)
    codes = [one.code for one in coded_symbols.encoded(predictor, [phrase(60)])]
    for given, positions, said in ((codes, 70, "not the original"), (codes, 0, "more blocks")):
        with pytest.raises(SeqgenError, match=said):
            list(coded_symbols.decoded(predictor, given, positions, 2))
    with pytest.raises(SeqgenError, match="60 positions are missing"):
        list(coded_symbols.decoded(predictor, [], 60, 2))
