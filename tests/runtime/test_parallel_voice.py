"""A voice that makes whole chunks at once: the same audio in torch, in onnxruntime, in chunks, and from the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
from torch import Tensor

from seqgen import config, noise
from seqgen.audio.features import log_mel
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import program
from seqgen.flows.affine import logistic, logistic_log_density
from seqgen.generation.parallel import Parallel
from seqgen.generation.vocoder import Vocoder
from seqgen.runtime import onnx as onnx_runtime
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.replay import check, replay
from seqgen.stream.conditioning import Frames
from seqgen.stream.state import leaves
from seqgen.tasks import experiment
from seqgen.tasks.run import RunConfig
from seqgen.tasks.vocoder.evaluation import vocode
from seqgen.tasks.vocoder.task import Vocoding
from tests.runtime.test_replay import Altered
from tests.runtime.voices import CONDITIONER, density, export, run_of, task_of, tiny_system

HOP = 20
SPEAKERS = ("ann", "bo")
TOLERANCE = 1e-5


CHANNELS = {"residual_channels": 8, "gate_channels": 8, "head_channels": 8}


def student(*, gain_normalized: bool = False, **sizes: Any) -> dict[str, Any]:
    flow = {"name": "parallel-wavenet", "layers": [3, 4], "dilation_cycle": 3, "kernel": 3, **CHANNELS, **sizes}
    return {"name": "parallel", "flow": flow, "conditioner": CONDITIONER, "gain_normalized": gain_normalized}


def parallel_run(**options: Any) -> RunConfig:
    return run_of(student(**options), hop=HOP, codec="float")


def parallel_voice(run: RunConfig) -> tuple[Vocoder, Vocoding]:
    """A random student whose samples stay below full scale, so that nothing hides behind the clipping."""
    vocoder, task = tiny_system(run, SPEAKERS, seed=2)
    body: Any = vocoder.generator.body
    gain_normalized = run.networks["generator"].options["gain_normalized"]
    with torch.no_grad():
        for flow in (body.flows[0] if gain_normalized else body).flows:
            flow.net.layers[1].out.weight.mul_(0.03)
            flow.net.layers[1].out.bias[1] -= 1
        if gain_normalized:
            vocoder.generator.conditioner.rest.layers[-2].linear.weight[-1].mul_(0.1)
    return vocoder, task


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "gain-normalized"])
def run(request: pytest.FixtureRequest) -> RunConfig:
    return parallel_run(gain_normalized=request.param)


@pytest.fixture(scope="module")
def made(run: RunConfig) -> tuple[Vocoder, Vocoding]:
    return parallel_voice(run)


@pytest.fixture(scope="module")
def generator(made: tuple[Vocoder, Vocoding]) -> Parallel:
    student = made[0].generator
    assert isinstance(student, Parallel)
    return student


@pytest.fixture(scope="module")
def bundle(made: tuple[Vocoder, Vocoding], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    vocoder, task = made
    return export(vocoder.generator, task, tmp_path_factory.mktemp("parallel") / "voice")


@pytest.fixture(scope="module", params=["native", "onnx", "torch"])
def runtime(request: pytest.FixtureRequest, bundle: Bundle) -> Runtime:
    return open_runtime(bundle, request.param)


def stream(bundle: Bundle, frames: int, rows: int = 2) -> tuple[Any, Any]:
    """Uniforms for all that a fresh stream can make, and features with a one-hot."""
    spec, rng = bundle.manifest.spec, np.random.default_rng(1)
    mel = rng.normal(-5, 2, (rows, frames, 10)).astype(np.float32)
    hot = np.eye(2, dtype=np.float32)[np.arange(rows) % 2][:, None].repeat(frames, axis=1)
    samples = frames * spec.up - spec.latency
    return np.stack([noise.block(5, row, 0, samples) for row in range(rows)]), np.concatenate([mel, hot], axis=2)


def test_all_runtimes_reproduce_it_and_states_have_names(run: RunConfig, bundle: Bundle) -> None:
    verdicts = check(bundle.directory)
    assert [verdict.runtime.split()[0] for verdict in verdicts] == ["native", "onnx", "torch"]
    assert all(verdict.ok and verdict.params_error <= 1e-5 for verdict in verdicts)
    names = [leaf.name for leaf in bundle.manifest.state]
    composed = run.networks["generator"].options["gain_normalized"]
    first, second = ("body.0.0.", "body.0.1.") if composed else ("body.0.", "body.1.")
    assert {f"{first}0", f"{first}1.queues", f"{second}1.time", "conditioner.0"} <= set(names)
    assert not bundle.manifest.feeds_back
    assert (bundle.manifest.uniforms_per_sample, bundle.manifest.codec) == (1, "float")
    golden = bundle.tensors("golden.safetensors")
    assert 0.05 < golden["audio"].std() < 0.9
    assert np.abs(golden["audio"]).max() < 1
    assert golden["params"].shape[2] == 2


@pytest.mark.parametrize("cuts", [tuple(range(2, 13)), (5,), (3, 4, 11)], ids=str)
def test_chunks_make_the_audio_of_the_whole(runtime: Runtime, bundle: Bundle, cuts: tuple[int, ...]) -> None:
    """Chunks that make no sample yet, or one frame, or many; the first frames are look-ahead."""
    u, cond = stream(bundle, 13)
    spec = bundle.manifest.spec
    whole, last = runtime.sample(u, runtime.init(2), cond)
    state, parts = runtime.init(2), []
    for first, stop in zip((0, *cuts), (*cuts, 13), strict=True):
        begin, end = (max(0, k * spec.up - spec.latency) for k in (first, stop))
        audio, state = runtime.sample(u[:, begin:end], state, cond[:, first:stop])
        parts.append(audio)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=TOLERANCE)
    for got, expected in zip(state, last, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)
    assert whole.shape == (2, 13 * spec.up - spec.latency)


def test_a_long_call_is_made_in_pieces(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    u, cond = stream(bundle, 40)
    once, _ = open_runtime(bundle, "onnx").sample(u, bundle.initial_state(2), cond)
    monkeypatch.setattr(onnx_runtime, "PIECE", 3 * HOP)
    monkeypatch.setattr("seqgen.generation.parallel.Parallel.block", 2 * HOP)
    for name in ("onnx", "torch"):
        runtime = open_runtime(bundle, name)
        np.testing.assert_allclose(runtime.sample(u, runtime.init(2), cond)[0], once, rtol=0, atol=TOLERANCE)


def test_audio_is_the_flow_of_the_uniforms(generator: Parallel, bundle: Bundle) -> None:
    """The same student by hand: conditioning, logistic noise, one pass over everything."""
    u, cond = stream(bundle, 9)
    frames = Frames(torch.from_numpy(cond[..., :10]), torch.tensor([0, 1]))
    with torch.no_grad():
        vectors = generator.condition(frames, u.shape[1])
        z = logistic(torch.from_numpy(u))[..., None]
        expected = generator.body(z, vectors)[..., 0]
        cold = generator.body(0 * z, vectors)[..., 0]
    runtime = open_runtime(bundle, "onnx")
    np.testing.assert_allclose(runtime.sample(u, runtime.init(2), cond)[0], expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(runtime.sample(u, runtime.init(2), cond, 0.0)[0], cold, rtol=0, atol=TOLERANCE)
    params, _ = runtime.step(z[..., 0].numpy(), runtime.init(2), cond)
    judged = params[..., 0] + np.exp(params[..., 1]) * z[..., 0].numpy()
    np.testing.assert_allclose(judged, expected, rtol=0, atol=TOLERANCE)


def test_rows_are_what_each_is_alone_and_seeds_decide(runtime: Runtime, bundle: Bundle) -> None:
    u, cond = stream(bundle, 6)
    both, _ = runtime.sample(u, runtime.init(2), cond)
    alone, _ = runtime.sample(u[1:], runtime.init(1), cond[1:])
    np.testing.assert_allclose(both[1:], alone, rtol=0, atol=TOLERANCE)
    other, _ = runtime.sample(u[::-1].copy(), runtime.init(2), cond)
    assert np.abs(other - both).max() > 0.01


def test_weights_are_stored_once(bundle: Bundle) -> None:
    for name in ("step.onnx", "loop.onnx"):
        graph = onnx.load(str(bundle.path(name)), load_external_data=False).graph
        real = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
        assert sum(len(tensor.raw_data) for tensor in real) < 1024, "a folded copy of a weight"
        assert sum(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in real) > 20


def test_a_wrong_sample_anywhere_is_noticed(bundle: Bundle) -> None:
    """Without feedback one sample says nothing of the next: all are compared, not the first that differs."""
    golden = dict(bundle.tensors("golden.safetensors"))
    altered = Altered(open_runtime(bundle, "onnx"), golden)
    altered.manifest = bundle.manifest
    assert replay(altered).ok
    for shift, unexplained in ((5e-5, 0), (3e-4, 1)):
        golden["audio"] = bundle.tensors("golden.safetensors")["audio"].copy()
        golden["audio"][0, :5] += 5e-5
        golden["audio"][0, 77] += shift
        assert replay(altered).unexplained == unexplained


def test_a_sample_may_be_as_far_off_as_its_mean_rounds(tmp_path: Path) -> None:
    """Frames of noise lead a trained voice far beyond full scale; what comes back has roundings of that size."""
    loud, task = parallel_voice(parallel_run(gain_normalized=True))
    with torch.no_grad():
        loud.generator.conditioner.rest.layers[-2].linear.bias[-1] += 3
    bundle = export(loud.generator, task, tmp_path / "voice")
    golden = dict(bundle.tensors("golden.safetensors"))
    altered = Altered(open_runtime(bundle, "onnx"), golden)
    altered.manifest = bundle.manifest
    params, _ = altered.step(golden["elements"], altered.init(2), golden["features"])
    mean = np.abs(params[..., 0])
    row, sample = np.unravel_index(mean.argmax(), mean.shape)
    assert mean.max() > 10
    for shift, unexplained in ((5e-5, 0), (3e-4, 1)):
        golden["audio"] = bundle.tensors("golden.safetensors")["audio"].copy()
        golden["audio"][row, sample] += shift * mean.max()
        assert replay(altered).unexplained == unexplained


def test_the_streaming_command_gives_the_offline_audio(bundle: Bundle, repository: Path, tmp_path: Path) -> None:
    rate = bundle.manifest.sample_rate
    t = np.arange(rate // 3 + 7) / rate
    audio = (0.3 * np.sin(2 * np.pi * (150 + 200 * t) * t)).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", audio, rate)
    command = [sys.executable, "-m", "serving.cli", "vocode", tmp_path / "in.wav", "-o", tmp_path / "out.wav"]
    options = ["--voice", bundle.directory, "--speaker", "bo", "--seed", "9"]
    done = subprocess.run(
        [*map(str, [*command, *options])], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    streamed, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    recorded, _ = soundfile.read(tmp_path / "in.wav", dtype="float32")
    features = log_mel(recorded, bundle.manifest.features)
    (offline,) = vocode(open_runtime(bundle, "onnx"), [features], ["bo"], [0], seed=9)
    assert len(streamed) == len(audio)
    assert np.abs(streamed - offline[: len(audio)]).max() <= 1.01 / 32768  # the file holds 16 bits
    assert streamed.std() > 0.005


def test_blocks_without_samples_leave_the_flow_alone(generator: Parallel) -> None:
    state = generator.init_state(1)
    empty: Tensor = torch.zeros(1, 0, 1)
    values, after = generator.generate(empty, state, torch.zeros(1, 1, 12))
    assert values.shape == (1, 0)
    times = [[leaf for name, leaf in leaves(at.body) if name.endswith("time")] for at in (after, state)]
    assert len(times[0]) == 2
    assert all(torch.equal(one, other) for one, other in zip(*times, strict=True))
    with pytest.raises(SeqgenError, match="3 frames do not make 10 samples"):
        generator.generate(torch.zeros(1, 10, 1), state, torch.zeros(1, 3, 12))


TEACHER = density({"name": "wavenet", "layers": 2, "vocab_size": 0, "outputs": 2}, distribution="gaussian")


@pytest.mark.parametrize(
    ("objective", "networks", "said"),
    [
        ({}, {"generator": student() | {"distribution": "gaussian"}}, "unknown key 'distribution'"),
        ({}, {"generator": TEACHER, "teacher": TEACHER}, "network 'generator' is an? AutoRegressive; give .*Parallel"),
        ({"name": "likelihood"}, {"teacher": TEACHER}, "no network 'teacher'; .*; or set objective to distillation"),
        ({}, {}, "has no network 'teacher'; add networks.teacher; or set objective to likelihood"),
        ({}, {"teacher": student()}, "network 'teacher' is a Parallel; give .*AutoRegressive"),
        ({"sampels": 3}, {"teacher": TEACHER}, "unknown key 'sampels'"),
        ({}, {"teacher": {"name": "pretrained", "experiment": "nowhere"}}, "nowhere: no experiment here"),
    ],
)
def test_what_trains_no_student_is_refused(objective: dict[str, Any], networks: dict[str, Any], said: str) -> None:
    plain = {"objective": {"name": "distillation"} | objective, "networks": {"generator": student()} | networks}
    run = config.from_plain(config.plain(parallel_run()) | plain, RunConfig, source="test")
    with pytest.raises(SeqgenError, match=said):
        experiment.build(task_of(run, SPEAKERS), source="test")


def test_a_student_in_8_bits(made: tuple[Vocoder, Vocoding], tmp_path: Path) -> None:
    """Every instruction set has the bits that the bundle names. What they cost is the divergence of one logistic from
    another, ``E_z[ln p(x) - ln q(x)]`` on what the float32 student makes; a trained student's is in its RESULTS.md."""
    vocoder, task = made
    rounded = export(vocoder.generator, task, tmp_path / "voice", precision="int8")
    verdicts = check(rounded.directory)
    assert [(one.params_error, one.unexplained, one.chunked) for one in verdicts[:1]] == [(0, 0, True)]
    u, cond = stream(rounded, 40)
    z = logistic(torch.from_numpy(u)).numpy()
    exact, quick = (NativeRuntime(rounded, format=form) for form in ("float32", "int8"))
    full, coarse = (torch.from_numpy(runtime.step(z, runtime.init(2), cond)[0]) for runtime in (exact, quick))
    x = full[..., 0] + full[..., 1].exp() * torch.from_numpy(z)
    said = [logistic_log_density(x, params[..., 0], params[..., 1]).mean() for params in (full, coarse)]
    assert not torch.equal(full, coarse)
    assert abs(float(said[0] - said[1])) < 0.01


@pytest.mark.parametrize(
    "sizes",
    [{"layers": [1] * 17}, {"layers": [1] * 8, "scale": 0.1}, {"kernel": 9}, {"floor": 1e-10}],
    ids=["flows", "units", "taps", "floor"],
)
def test_a_student_that_the_engine_lacks_runs_elsewhere(sizes: dict[str, Any]) -> None:
    assert program.runnable(tiny_system(parallel_run(), SPEAKERS)[0])
    assert not program.runnable(tiny_system(parallel_run(**sizes), SPEAKERS)[0])
