"""Speech codecs: bundles, streams, files of symbols, and the commands over them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen import noise
from seqgen.audio import io
from seqgen.audio.codec import MuLaw8
from seqgen.bundle import Bundle
from seqgen.cli.main import main
from seqgen.compression import code_file
from seqgen.compression.code_file import CodeFile, CodeHeader
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.export import speech_codec as export
from seqgen.latents.variable import LatentVariable
from seqgen.objectives.contract import Rows
from seqgen.runtime import open_speech_codec, replay
from seqgen.runtime.speech_codec import SpeechCodec
from seqgen.spec import Facts

SPEAKERS = ("ann", "bo")
DECODER = {
    "body": {"name": "wavenet", "layers": 3, "dilation_cycle": 3, "residual_channels": 8, "gate_channels": 8,
             "skip_channels": 8, "head_channels": 8},
    "conditioner": {"name": "frames", "channels": 8, "blocks": 1, "look_ahead": 1},
}  # fmt: skip
ENCODER = {"vocab_size": 256, "strides": (4, 4), "kernels": (6, 5), "channels": 8, "blocks": 1, "look_ahead": 2}
FACTS = Facts(vocab_size=256, start=128.0, speakers=SPEAKERS, sample_rate=8000)


def model(
    facts: Facts = FACTS, decoder: dict[str, Any] = DECODER, *, seed: int = 0, **quantised: Any
) -> LatentVariable:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"dim": 6, "classes": 12} | quantised
    groups = sizes.get("groups", 1)
    options = LatentVariable.Config(
        Component("strided-encoder", ENCODER),
        Component("vector-quantised", sizes),
        Component("uniform", {"groups": groups, "classes": sizes["classes"]}),
        Component("autoregressive", decoder),
    )
    made = LatentVariable.build(options, facts).eval()
    with torch.no_grad():
        for book in made.posterior.books:  # type: ignore[union-attr]
            book.entries.normal_(0, 0.3)  # type: ignore[union-attr,operator]
        for part in made.decoder.parameters():
            part.mul_(1.5)
    return made


def written(made: LatentVariable, out: Path, speakers: tuple[str, ...] = SPEAKERS) -> Bundle:
    about = export.About("codec", "mulaw8", 8000, speakers, "none", "name: codec\n")
    return export.write(made, about, out)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> SpeechCodec:
    return open_speech_codec(written(model(groups=2, residual=True), tmp_path_factory.mktemp("codec") / "bundle"))


def sound(samples: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (noise.block(3, 0, 0, samples) - 0.5).astype(np.float32)


@pytest.mark.parametrize("samples", [0, 1, 15, 16, 17, 131, 2 * 8 * 16, 1000])
def test_symbols_are_the_models_own_however_a_recording_is_cut(codec: SpeechCodec, samples: int) -> None:
    audio = sound(samples)
    whole = np.concatenate([np.zeros((0, 2), np.int64), *codec.encode([audio])])
    assert whole.shape == (-(-samples // 16), 2)
    for cuts in ([], [1], [5, 6, 200], list(range(0, samples, 7))):
        pieces = np.concatenate([np.zeros((0, 2), np.int64), *codec.encode(np.split(audio, cuts))])
        assert np.array_equal(pieces, whole)
    if samples:
        made = model(groups=2, residual=True)
        batch = Rows(torch.from_numpy(MuLaw8().encode(audio))[None], torch.tensor([samples]))
        code = made.code(batch).unflatten(-1, (2, 12)).argmax(dim=-1)[0].numpy()
        assert (code == whole).mean() > 0.99
        assert len(np.unique(code)) > 1 or samples < 32


def test_audio_is_the_models_own_however_symbols_are_cut(codec: SpeechCodec) -> None:
    made, count = model(groups=2, residual=True), 230
    symbols = (noise.block(1, 0, 0, 2 * count) * 12).astype(np.int64).reshape(count, 2)
    whole = np.concatenate(list(codec.decode([symbols], speaker="bo", seed=4)))[: 16 * count]
    parts = np.concatenate(list(codec.decode(np.array_split(symbols, 7), speaker="bo", seed=4)))[: 16 * count]
    assert np.array_equal(parts, whole)
    hot = torch.nn.functional.one_hot(torch.from_numpy(symbols), 12).float().flatten(-2)[None]
    u = torch.from_numpy(noise.block(4, 0, 0, 16 * count)).view(1, -1, 1)
    for speaker, alike in ((1, 1.0), (0, 0.5)):
        drawn = made.decoded(hot[:, :20], u[:, : 16 * 20], torch.tensor([speaker]))
        share = (MuLaw8().decode(drawn.numpy())[0] == whole[: 16 * 20]).mean()
        # the last frames are conditioned on what comes behind, where the twenty stand alone on their last one
        assert (share > 0.85) == (alike == 1), share


def test_a_bundle_is_sound(codec: SpeechCodec) -> None:
    (verdict,) = replay.check(codec.bundle.directory)
    assert verdict.ok, verdict
    assert codec.manifest.bit_rate == 2 * 4 * 8000 / 16
    assert codec.manifest.latencies == (48 / 8000, codec.manifest.spec.latency / 8000)
    assert codec.manifest.spec.latency == 16 + 8  # a position of look-ahead, and what is interpolated


@pytest.mark.parametrize("facts", [FACTS, replace(FACTS, speakers=("ann",))])
def test_one_voice_needs_no_name(tmp_path: Path, facts: Facts) -> None:
    speakers = facts.speakers if facts.num_speakers else ()
    made = open_speech_codec(written(model(facts), tmp_path / "codec", speakers))
    if speakers:
        with pytest.raises(SeqgenError, match="several speakers; give --speaker, one of ann, bo"):
            made.frames(np.zeros((1, 1), np.int64))
    else:
        assert made.frames(np.zeros((1, 1), np.int64)).shape == (1, 6)
    with pytest.raises(SeqgenError, match="no speaker 'eve'"):
        made.require_speaker("eve")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "gumbel-softmax", "classes": 12}, "no symbols that an encoder is sure of"),
        ({"name": "gaussian", "dim": 4}, "no symbols that an encoder is sure of"),
    ],
)
def test_codes_that_are_drawn_make_no_codec(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    name = changed.pop("name")
    prior = Component("standard-normal", {"dim": 4}) if "dim" in changed else Component("uniform", {"classes": 12})
    options = LatentVariable.Config(
        Component("strided-encoder", ENCODER), Component(name, changed), prior, Component("autoregressive", DECODER)
    )
    with pytest.raises(SeqgenError, match=said):
        written(LatentVariable.build(options, FACTS), tmp_path / "codec")


def test_a_decoder_that_the_engine_cannot_run_makes_no_codec(tmp_path: Path) -> None:
    decoder = {**DECODER, "conditioner": {"name": "perceptron"}}
    with pytest.raises(SeqgenError, match="with its conditioner; choose a body"):
        written(model(decoder=decoder), tmp_path / "codec")


@pytest.mark.parametrize(("groups", "classes", "samples"), [(1, 512, 16 * 1000), (3, 5, 1601), (1, 2, 7), (2, 300, 0)])
def test_files_hold_symbols(tmp_path: Path, groups: int, classes: int, samples: int) -> None:
    header = CodeHeader(8000, samples, 16, groups, classes, "0123456789abcdef")
    drawn = noise.block(0, 0, 0, header.positions * groups) * classes
    symbols = drawn.astype(np.int64).reshape(-1, groups)
    path = tmp_path / "codes.sgc"
    with path.open("wb") as file:
        report = code_file.write(file, header, np.array_split(symbols, 5))
    assert path.stat().st_size == report.size == len(header.written()) + header.payload + 4
    assert report.claimed == header.positions * groups * header.bits
    with CodeFile(path) as found:
        assert found.header == header
        assert np.array_equal(np.concatenate([np.zeros((0, groups), np.int64), *found.symbols()]), symbols)


@pytest.fixture(scope="module")
def spoken(codec: SpeechCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording and its symbols."""
    folder = tmp_path_factory.mktemp("spoken")
    io.write(folder / "in.wav", 0.5 * sound(1500), 8000)
    assert main(["encode", str(codec.bundle.directory), str(folder / "in.wav"), "-o", str(folder / "in.sgc")]) == 0
    return folder


def test_commands_go_there_and_back(
    codec: SpeechCodec, spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, codes = str(codec.bundle.directory), str(spoken / "in.sgc")
    assert main(["encode", bundle, str(spoken / "in.wav"), "-o", str(tmp_path / "again.sgc")]) == 0
    said = capsys.readouterr().err
    assert (tmp_path / "again.sgc").read_bytes() == (spoken / "in.sgc").read_bytes()
    assert "94 positions of 0.19 s" in said
    assert "4000 bits a second" in said
    assert "latency 6.0 + 3.0 ms" in said
    for name in ("ann", "bo"):
        out = tmp_path / f"{name}.wav"
        assert main(["decode", bundle, codes, "-o", str(out), "--speaker", name]) == 0
        audio, rate = io.read(out)
        assert (len(audio), rate) == (1500, 8000)
    assert not np.array_equal(io.read(tmp_path / "ann.wav")[0], io.read(tmp_path / "bo.wav")[0])
    assert main(["info", bundle, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "speech-codec"


def test_what_does_not_belong_together_is_one_clear_line(
    codec: SpeechCodec, spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, codes, out = str(codec.bundle.directory), spoken / "in.sgc", str(tmp_path / "out.wav")
    other = written(model(groups=2, residual=True, seed=1), tmp_path / "other").directory
    data = codes.read_bytes()
    for name, changed in (("cut", data[:-9]), ("flipped", data[:30] + bytes([data[30] ^ 4]) + data[31:]),
                          ("longer", data + b"x"), ("none", b"RIFF" + data)):  # fmt: skip
        (tmp_path / f"{name}.sgc").write_bytes(changed)
    io.write(tmp_path / "fast.wav", sound(3000), 16000)
    encoded = str(tmp_path / "out.sgc")
    cases = (
        (["decode", str(other), str(codes), "-o", out, "--speaker", "bo"], "made by the model"),
        (["decode", bundle, str(tmp_path / "cut.sgc"), "-o", out, "--speaker", "bo"], "it was cut or changed"),
        (["decode", bundle, str(tmp_path / "flipped.sgc"), "-o", out, "--speaker", "bo"], "it was cut or changed"),
        (["decode", bundle, str(tmp_path / "longer.sgc"), "-o", out, "--speaker", "bo"], "it was cut or changed"),
        (["decode", bundle, str(tmp_path / "none.sgc"), "-o", out, "--speaker", "bo"], "no file of symbols"),
        (["decode", bundle, str(codes), "-o", out], "several speakers; give --speaker"),
        (["decode", bundle, str(codes), "-o", out, "--speaker", "eve"], "no speaker 'eve'"),
        (["encode", bundle, str(tmp_path / "fast.wav"), "-o", encoded], "16000 Hz, the codec has 8000 Hz"),
        (["encode", str(tmp_path), str(spoken / "in.wav"), "-o", encoded], "no bundle"),
    )
    for arguments, said in cases:
        assert main(arguments) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert said in lines[0], lines
        assert not Path(out).exists()
        assert not Path(encoded).exists()
    assert main(["encode", bundle, str(tmp_path / "fast.wav"), "-o", encoded, "--resample"]) == 0
