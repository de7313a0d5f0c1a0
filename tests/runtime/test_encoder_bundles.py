"""Bundles of feature extractors: every runtime makes what torch makes, in any blocks; damage is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file, save_file

from seqgen import config, presets
from seqgen.bundle import Bundle
from seqgen.cli.main import main
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.export import encoder, encoder_program
from seqgen.manifest import EncoderManifest
from seqgen.models.context_encoder import ContextEncoder
from seqgen.runtime import open_encoder, open_symbols, runnable
from seqgen.runtime.encoder import EncoderRuntime
from seqgen.runtime.replay import check, replay, require_golden
from seqgen.spec import Facts
from seqgen.tasks import networks
from seqgen.tasks.run import RunConfig
from tests.runtime.encoder_bundles import ENCODERS, RATE, export, network_of, run_of
from tests.runtime.test_bundle import resign

NOISE = np.random.Generator(np.random.Philox(5))


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(tmp_path_factory.mktemp("encoders") / request.param, request.param)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(tmp_path_factory.mktemp("encoders") / "plain")


def audio(rows: int, frames: int, runtime: EncoderRuntime) -> np.ndarray:
    return NOISE.uniform(-1, 1, (rows, frames * runtime.manifest.hop)).astype(np.float32)


def test_a_bundle_explains_itself(made: Bundle) -> None:
    manifest = made.require(EncoderManifest)
    options = ENCODERS[made.directory.name]
    assert (manifest.kind, manifest.sample_rate) == ("encoder", RATE)
    assert manifest.hop == np.prod(options["strides"])
    assert manifest.layers == {"context": options["hidden"], "latent": options["channels"]}
    assert runnable(made) == ["native", "onnx", "torch"]
    graph = onnx.load(str(made.path("encoder.onnx")), load_external_data=False).graph
    assert [value.name for value in graph.output[:2]] == ["context", "latent"]
    large = [tensor.name for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    assert len(large) >= len(made.tensors("weights.safetensors")) - 2, "weights are stored once"


def test_every_runtime_reproduces_the_golden_vectors(made: Bundle) -> None:
    assert [verdict.ok for verdict in check(made.directory)] == [True] * len(runnable(made))


def test_runtimes_agree_on_other_audio_in_any_blocks(made: Bundle) -> None:
    reference = open_encoder(made, "torch")
    x = audio(3, 23, reference)
    hop = reference.manifest.hop
    for layer, width in reference.manifest.layers.items():
        expected, _ = reference.step(x, reference.init(3), layer)
        assert expected.shape == (3, 23, width)
        for name in runnable(made):
            runtime = open_encoder(made, name)
            state, parts = runtime.init(3), []
            for start, stop in ((0, 2), (2, 2), (2, 3), (3, 23)):
                before = [leaf.copy() for leaf in state]
                part, after = runtime.step(x[:, start * hop : stop * hop], state, layer)
                assert all(np.array_equal(*pair) for pair in zip(before, state, strict=True)), "a state was changed"
                state = after
                parts.append(part)
            np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=2e-5, err_msg=f"{name} {layer}")


def test_streams_are_cut_anywhere(plain: Bundle) -> None:
    runtime = open_encoder(plain)
    x = audio(1, 250, runtime)
    cut = np.split(np.concatenate([x[0], x[0, :7]]), [1, 8, 900, 901, 2100])
    whole, _ = runtime.step(x, runtime.init(1))
    streamed = np.concatenate(list(runtime.stream(cut)))
    np.testing.assert_allclose(streamed, whole[0], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 15), "audio has shape"), ((30,), "audio has shape"), ((2, 30), "2 row.s. of audio for a state of 1")],
)
def test_audio_that_does_not_fit_is_refused(plain: Bundle, shape: tuple[int, ...], message: str) -> None:
    for name in runnable(plain):
        runtime = open_encoder(plain, name)
        with pytest.raises(SeqgenError, match=message):
            runtime.step(np.zeros(shape, np.float32), runtime.init(1))


def test_what_is_no_number_and_no_layer_is_refused(plain: Bundle) -> None:
    runtime = open_encoder(plain)
    with pytest.raises(SeqgenError, match="NaN"):
        runtime.step(np.full((1, 10), np.nan, np.float32), runtime.init(1))
    with pytest.raises(SeqgenError, match="no layer 'phones'"):
        runtime.step(np.zeros((1, 10), np.float32), runtime.init(1), "phones")


def test_a_bundle_of_another_kind_is_refused(plain: Bundle) -> None:
    with pytest.raises(SeqgenError, match="a bundle of the kind 'encoder'"):
        open_symbols(plain)


def test_damaged_weights_are_seen(plain: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(plain.directory, tmp_path / "copy"))
    file = copy / "weights.safetensors"
    tensors = load_file(file)
    tensors["context.recurrent"][0, 0] += 1
    save_file(tensors, file)
    with pytest.raises(SeqgenError, match="sha256"):
        Bundle.open(copy)
    resign(copy, lambda plain: None)
    opened = Bundle.open(copy)
    with pytest.raises(SeqgenError, match="does not reproduce the golden vectors"):
        require_golden(open_encoder(opened, "onnx"))
    assert not replay(open_encoder(opened, "torch")).ok


def test_a_manifest_that_contradicts_itself_is_refused(plain: Bundle) -> None:
    manifest = plain.require(EncoderManifest)
    for wrong in (
        replace(manifest, sample_rate=0),
        replace(manifest, latent_dim=-1),
        replace(manifest, spec=replace(manifest.spec, in_dim=2)),
        replace(manifest, spec=replace(manifest.spec, up=2)),
    ):
        with pytest.raises(SeqgenError, match="do not fit"):
            wrong.require_sense()


def test_what_is_no_encoder_of_audio_is_refused(tmp_path: Path) -> None:
    other = networks.network(
        Component("recurrent", {"vocab_size": 3, "outputs": 3, "hidden": 4, "embedding": 2}), Facts(), source="test"
    )
    about = encoder.Described("tiny", "CC0", config.dump(run_of(ENCODERS["plain"])), RATE)
    with pytest.raises(SeqgenError, match="Recurrent is no encoder of audio"):
        encoder.write(other, about, tmp_path / "out")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("name", ["plain", "normalized"])
def test_rounded_weights_reproduce_their_own_vectors(tmp_path: Path, name: str, precision: Any) -> None:
    made = export(tmp_path / "rounded", name, precision=precision)
    verdicts = check(made.directory)
    assert [verdict.ok for verdict in verdicts] == [True] * 3
    runtime = open_encoder(made, "native")
    assert runtime.format == precision
    assert verdicts[0].params_error == 0, "to the bit"
    golden = made.tensors("golden.safetensors")
    for layer in ("context", "latent"):
        away = np.abs(golden[f"{layer}.{precision}"] - golden[layer]).max()
        assert 0 < away < 0.05 * np.abs(golden[layer]).max(), layer
    with pytest.raises(SeqgenError, match="no golden vectors for int8 weights"):
        replay(open_encoder(export(tmp_path / "plain", name), "native", format="int8"))


@pytest.mark.parametrize("precision", ["int8", "bf16", "float32"])
def test_a_bundle_for_the_engine_only_is_smaller_and_makes_the_same(tmp_path: Path, precision: Any) -> None:
    whole = export(tmp_path / "whole", "normalized", precision=precision)
    small = export(tmp_path / "small", "normalized", precision=precision, engine_only=True)
    names = {entry.name for entry in small.manifest.files}
    assert names == {"config.yaml", "engine.safetensors", "golden.safetensors", "program.json"}
    sizes = [sum(entry.size for entry in one.manifest.files) for one in (whole, small)]
    assert sizes[1] < 0.7 * sizes[0]
    bundles = [open_encoder(one) for one in (whole, small)]
    assert [(runtime.name, runtime.format) for runtime in bundles] == [("native", precision)] * 2
    x = audio(2, 21, bundles[0])
    for layer in small.require(EncoderManifest).layers:
        assert np.array_equal(*(runtime.step(x, runtime.init(2), layer)[0] for runtime in bundles)), layer
    assert [(verdict.runtime.split()[0], verdict.ok) for verdict in check(small.directory)] == [("native", True)]
    for name, missing in (("onnx", r"encoder\.onnx"), ("torch", r"weights\.safetensors")):
        with pytest.raises(SeqgenError, match=missing):
            open_encoder(small, name)


@pytest.mark.parametrize(
    ("options", "remedy"), [({"engine_only": True}, "--engine-only"), ({"precision": "int8"}, "float32")]
)
def test_what_the_engine_cannot_run_has_no_form_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], remedy: str
) -> None:
    monkeypatch.setattr(encoder_program, "runnable", lambda net: False)
    with pytest.raises(SeqgenError, match=f"the native engine cannot run WaveformEncoder; .*{remedy}"):
        export(tmp_path / "none", **options)


def test_latents_are_what_contexts_are_made_of() -> None:
    net = network_of(ENCODERS["plain"])
    assert isinstance(net, ContextEncoder)
    made, _ = encoder.every_layer(net, torch.randn(1, 50), net.init_state(1))
    again, _ = net.context.step(made["latent"], net.context.init_state(1))
    torch.testing.assert_close(again, made["context"])


def test_info_and_check_know_the_kind(plain: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(plain.directory)]) == 0
    said = capsys.readouterr().out
    assert "encoder" in said
    assert "10 samples (1.25 ms)" in said
    assert "context 7, latent 20" in said
    assert main(["check", str(plain.directory)]) == 0
    assert capsys.readouterr().out.count("reproduces the golden vectors") == len(runnable(plain))


def test_its_speed_is_measured(plain: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["bench", str(plain.directory), "--seconds", "0.01"]
    assert main([*given, "--json", "--streams", "2"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["runtime"], row["format"], row["streams"]) == ("native", "float32", 2)
    assert row["frames_per_second"] > 0
    assert row["x_real_time"] == pytest.approx(row["frames_per_second"] * 10 / RATE, rel=0.1)
    assert main([*given, "--compare"]) == 0
    said = capsys.readouterr().out
    assert [said.count(name) for name in ("frames/s", "native", "onnx", "torch")] == [1, 3, 1, 1]
    assert main([*given, "--train"]) == 1


def test_presets_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["bench", "--seconds", "0.01", "--preset", "waveform-encoder-6x4-normalized"]
    assert main([*given, "--json", "--format", "int8"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["preset"], row["runtime"], row["format"]) == (given[-1], "native", "int8")
    assert row["x_real_time"] == pytest.approx(row["frames_per_second"] / 100, rel=0.1)
    assert main([*given, "--compare"]) == 0
    said = capsys.readouterr().out
    assert [said.count(name) for name in ("frames/s", "native", "onnx", "torch")] == [1, 3, 1, 1]
    for options, words in (
        (["--train"], "of a feature extractor"),
        (["--runtime", "onnx", "--format", "int8"], "leave one out"),
    ):
        assert main([*given, *options]) == 1
        assert words in capsys.readouterr().err


def test_every_example_of_a_preset_is_listed_and_means_a_network() -> None:
    for name in presets.encoder_examples():
        preset = presets.find_encoder(name)
        assert preset is not None
        assert name in presets.listing(presets.ENCODER_TABLE)
        made = networks.network(
            config.from_plain(preset.settings, RunConfig, source="test").networks["encoder"], Facts(), source="test"
        )
        assert isinstance(made, ContextEncoder)
        assert made.spec.down * 100 == preset.sample_rate
        assert (made.observed_dims[0], made.spec.out_dim) == tuple(map(int, name.split("-")[2].split("x")))
    assert presets.find_encoder("wavernn-896") is None


def test_the_graph_is_taken_out(plain: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "one.onnx"
    assert main(["onnx", str(plain.directory), "--out", str(out), "--graph", "encoder"]) == 0
    told = {entry.key: entry.value for entry in onnx.load(str(out)).metadata_props}
    assert (told["seqgen.kind"], told["seqgen.sample_rate"], told["seqgen.hop"]) == ("encoder", str(RATE), "10")
