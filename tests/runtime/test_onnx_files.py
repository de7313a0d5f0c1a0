"""A voice for those who have onnxruntime alone: programs without seqgen, and graphs as single files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import soundfile
from onnx import TensorProto, numpy_helper

from seqgen.audio.features import log_mel
from seqgen.bundle import Bundle
from seqgen.cli.main import main
from seqgen.errors import SeqgenError
from seqgen.export import single
from seqgen.runtime.onnx import OnnxRuntime
from tests.runtime.voices import export_tiny, subscale_run, tiny_run

SEED = 7
RUNS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "one": (tiny_run(), ()),
    "speakers": (tiny_run(), ("ann", "bo")),
    "lanes": (subscale_run(lanes=4, horizon=2, channels=6, blocks=1), ()),
    "prediction": (tiny_run(prediction=4), ()),
}


@pytest.fixture(scope="module", params=RUNS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    run, speakers = RUNS[request.param]
    return export_tiny(tmp_path_factory.mktemp("voice") / "voice", run, speakers)


@pytest.fixture(scope="module")
def heard(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, npt.NDArray[Any], npt.NDArray[Any]]:
    """A recording, its frames with those that the end needs, and what the voice makes of them."""
    manifest = bundle.manifest
    path = tmp_path_factory.mktemp("heard") / "in.wav"
    samples = np.random.default_rng(0).normal(0, 0.2, 1_111).astype(np.float32)
    soundfile.write(path, samples, manifest.sample_rate, subtype="FLOAT")
    frames = log_mel(samples, manifest.features)
    beyond = np.full((manifest.spec.alignment.look_ahead, frames.shape[1]), manifest.features.silence, np.float32)
    frames = np.concatenate([frames, beyond])
    speaker = np.zeros((len(frames), len(manifest.speakers)), np.float32)
    speaker[:, :1] = 1
    frames = np.concatenate([frames, speaker], axis=1)
    runtime = OnnxRuntime(bundle)
    count = manifest.spec.alignment.first_samples(len(frames)) + manifest.ahead
    noise = runtime.uniforms(SEED, 0, 0, count * manifest.uniforms_per_sample)[None]
    audio, _ = runtime.sample(noise, runtime.init(1), frames[None])
    return path, frames, audio[0]


def test_the_python_program_makes_the_same_samples(
    bundle: Bundle, heard: tuple[Path, Any, Any], repository: Path, tmp_path: Path
) -> None:
    recording, _, expected = heard
    words = [sys.executable, "-I", repository / "examples" / "onnx_vocode.py", bundle.directory, recording]
    subprocess.run([*words, tmp_path / "out.wav", str(SEED)], check=True, timeout=60)
    soundfile.write(tmp_path / "expected.wav", expected[:1_111], bundle.manifest.sample_rate, subtype="PCM_16")
    (got, rate), (wanted, _) = (soundfile.read(tmp_path / name, dtype="int16") for name in ("out.wav", "expected.wav"))
    assert rate == bundle.manifest.sample_rate
    assert np.array_equal(got, wanted)
    assert len(np.unique(got)) > 100


def test_the_python_program_refuses_another_rate(repository: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(100), 44_100)
    words = [sys.executable, "-I", repository / "examples" / "onnx_vocode.py", tiny_bundle, tmp_path / "in.wav", "out"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'in.wav'}: give a mono recording at 8000 Hz\n")


@pytest.fixture(scope="module")
def compiled(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``examples/onnx_vocode.cpp``, compiled against onnxruntime's headers and the library in its wheel."""
    places = [os.environ.get("ONNXRUNTIME_INCLUDE", ""), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime"]
    headers = next((place for place in places if Path(place, "onnxruntime_cxx_api.h").is_file()), None)
    libraries = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if headers is None or not libraries or compiler is None:
        pytest.skip("no C++ compiler, or no headers of onnxruntime (set ONNXRUNTIME_INCLUDE to where they are)")
    work = tmp_path_factory.mktemp("compiled")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (work / name).symlink_to(libraries[-1])
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", "-isystem", headers]
    command += [str(repository / "examples" / "onnx_vocode.cpp"), f"-L{work}", f"-Wl,-rpath,{work}", "-lonnxruntime"]
    subprocess.run([*command, "-o", str(work / "onnx_vocode")], check=True, timeout=120)
    return work / "onnx_vocode"


def test_the_cpp_program_makes_the_same_samples(
    bundle: Bundle, heard: tuple[Path, Any, Any], compiled: Path, tmp_path: Path
) -> None:
    _, frames, expected = heard
    frames.tofile(tmp_path / "features.f32")
    words = [compiled, bundle.directory, tmp_path / "features.f32", tmp_path / "out.f32", str(SEED)]
    subprocess.run(words, check=True, timeout=60)
    assert np.array_equal(np.fromfile(tmp_path / "out.f32", np.float32), expected)


def run(path: Path, bundle: Bundle, graph: str) -> npt.NDArray[Any]:
    """The golden inputs through one file alone."""
    golden, options = bundle.tensors("golden.safetensors"), onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    given: dict[str, Any] = {"features": golden["features"]}
    given |= {"x": golden["elements"]} if graph == "step" else {"uniforms": golden["uniforms"]}
    given |= {"temperature": np.ones((), np.float32)} if graph == "loop" else {}
    state = bundle.initial_state(len(golden["features"]))
    given |= {f"state.{leaf.name}": value for leaf, value in zip(bundle.manifest.state, state, strict=True)}
    made: npt.NDArray[Any] = session.run(None, given)[0]
    return made


@pytest.mark.parametrize("ending", single.FORMS)
@pytest.mark.parametrize(("graph", "golden"), [("loop", "audio"), ("step", "params")])
def test_a_single_file_reproduces_the_golden_vectors(
    bundle: Bundle, ending: str, graph: str, golden: str, tmp_path: Path
) -> None:
    path = tmp_path / f"voice{ending}"
    written = single.write(bundle, graph, path)
    expected = bundle.tensors("golden.safetensors")[golden]
    assert (written.size, written.rounded) == (path.stat().st_size, 0)
    assert np.allclose(run(path, bundle, graph)[:, : expected.shape[1]], expected, rtol=0, atol=1e-4)


def test_the_file_says_what_it_is_of(bundle: Bundle, tmp_path: Path) -> None:
    single.write(bundle, "loop", tmp_path / "voice.onnx")
    model = onnx.load(tmp_path / "voice.onnx", load_external_data=False)
    assert not any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["seqgen.digest"] == bundle.manifest.digest
    assert said["seqgen.sample_rate"] == "8000"
    assert said["seqgen.licence"] == "CC0"
    assert '"hop": 40' in said["seqgen.features"]


def test_in_8_bits_every_product_is_that_of_rounded_rows(bundle: Bundle, tmp_path: Path) -> None:
    """The numbers lie in the loops' bodies, each row of the voice's own weights over its peak."""
    single.write(bundle, "loop", tmp_path / "voice.onnx", int8=True)
    model = onnx.load(tmp_path / "voice.onnx")
    held = {tensor.name: numpy_helper.to_array(tensor) for body in single._bodies(model.graph)
            for tensor in body.initializer}  # fmt: skip
    matrices = [value for value in bundle.tensors("weights.safetensors").values() if value.ndim == 2]
    whole = [name for name in held if name.endswith(".whole")]
    assert len(whole) >= 6
    for name in whole:
        restored = held[name].astype(np.float64) * held[name.removesuffix("whole") + "unit"]
        same = [one for one in matrices if one.shape == restored.T.shape and np.abs(one - restored.T).max() < 0.04]
        assert len(same) == 1, name
        assert (np.abs(same[0] - restored.T) <= np.abs(same[0]).max(axis=1, keepdims=True) / 126.9).all()
        pairs = held[name].astype(np.int64).reshape(-1, 2, held[name].shape[1])
        for sign in (1, -1):
            # Else processors without VNNI cut sums off.
            assert 255 * (sign * pairs).clip(min=0).sum(axis=1).max() < 2**15
        assert np.abs(pairs).max(axis=(0, 1)).min() >= 63
    left = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    assert not any(numpy_helper.to_array(tensor).shape == one.shape for tensor in left for one in matrices
                   if one.shape in {held[name].T.shape for name in whole})  # fmt: skip


@pytest.mark.parametrize("ending", single.FORMS)
def test_8_bits_cost_little_likelihood(bundle: Bundle, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"voice{ending}"
    written = single.write(bundle, "step", path, int8=True)
    assert 0.3 < written.rounded / written.weights < 1
    expected = bundle.tensors("golden.safetensors")["params"].astype(np.float64)
    got = run(path, bundle, "step")[:, : expected.shape[1]].astype(np.float64)
    logs = [value - np.logaddexp.reduce(value, axis=-1, keepdims=True) for value in (expected, got)]
    divergence = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1).mean()
    assert 0 < divergence < 0.04  # nats an element


def test_what_cannot_be_is_refused(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Bundle.open(tiny_bundle)
    with pytest.raises(SeqgenError, match="the ending says no form"):
        single.write(opened, "loop", tmp_path / "voice.bin")
    assert main(["onnx", str(tiny_bundle), "--out", str(tmp_path / "no" / "voice.onnx")]) == 1
    assert "error: " in capsys.readouterr().err
    monkeypatch.setattr(single, "_bodies", lambda graph: iter(()))
    with pytest.raises(SeqgenError, match="no matrix product inside a loop"):
        single.write(opened, "loop", tmp_path / "voice.onnx", int8=True)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_one_file(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["onnx", str(tiny_bundle), "--out", str(tmp_path / "voice.onnx"), "--int8"]) == 0
    assert "in 8 bits" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["voice.onnx"]
