"""Export: the graphs are self-contained, free in batch and time, and what they refuse they refuse in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import voice
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.replay import check, require_golden
from seqgen.tasks.run import RunConfig, load
from seqgen.train import weights
from tests.runtime.voices import density, export, export_tiny, run_of, tiny_run, tiny_system


@pytest.fixture(scope="module", params=["native", "onnx", "torch"])
def runtime(request: pytest.FixtureRequest, tiny_bundle: Path) -> Runtime:
    return open_runtime(Bundle.open(tiny_bundle), request.param)


def inputs(runtime: Runtime, rows: int, frames: int) -> tuple[Any, Any]:
    """Uniforms for all samples of a fresh stream, and features."""
    spec = runtime.manifest.spec
    samples = frames * spec.up - spec.latency
    width = samples * runtime.manifest.uniforms_per_sample
    rng = np.random.Generator(np.random.Philox(frames))
    cond = rng.normal(-5, 2, (rows, frames, spec.in_dim)).astype(np.float32)
    return np.stack([noise.block(3, row, 0, width) for row in range(rows)]), cond


def test_the_manifest_says_what_was_exported(tiny_bundle: Path) -> None:
    manifest, run = Bundle.open(tiny_bundle).manifest, tiny_run()
    vocoder, task = tiny_system(run)
    assert (manifest.name, manifest.kind, manifest.licence) == ("tiny", "vocoder", "CC0")
    assert (manifest.sample_rate, manifest.features) == (8000, task.facts.features)
    assert (manifest.codec, manifest.symbols_per_sample, manifest.uniforms_per_sample) == ("bytes16", 2, 2)
    assert (manifest.spec.in_dim, manifest.spec.out_dim, manifest.spec.up) == (10, 1, 40)
    # One frame of look-ahead, and half a frame to the centre of the next.
    assert manifest.spec.latency == vocoder.generator.latency == 40 + 20
    assert manifest.speakers == ()
    assert load(tiny_bundle / "config.yaml") == run


def test_weights_are_stored_once_and_are_the_generators(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    generator = tiny_system(tiny_run())[0].generator
    stored = opened.tensors("weights.safetensors")
    expected = weights.of(generator)
    assert set(stored) == set(expected)
    assert all(np.array_equal(stored[name], value.numpy()) for name, value in expected.items())
    for name in ("step.onnx", "loop.onnx"):
        graph = onnx.load(str(opened.path(name)), load_external_data=False).graph
        outside = [tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        places = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
        assert places == {"weights.safetensors"}
        inside = sum(len(tensor.raw_data) for tensor in graph.initializer)
        assert inside < 4096, "a folded copy of a weight"
        assert len(outside) >= len(expected) - 1


def test_states_are_named_and_batch_and_time_are_free(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    for name, others in (("step.onnx", {"features", "x"}), ("loop.onnx", {"features", "uniforms", "temperature"})):
        graph = onnx.load(str(opened.path(name)), load_external_data=False).graph
        given = {value.name: value.type.tensor_type for value in graph.input}
        states = {f"state.{leaf.name}": leaf for leaf in opened.manifest.state}
        assert set(given) == others | set(states)
        assert [value.name for value in graph.output][1:] == [f"{state}.after" for state in states]
        for value in (*graph.input, *graph.output):
            shape = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            state = states.get(value.name.removesuffix(".after"))
            if state is not None:
                assert shape == ["batch", *state.shape]
            elif value.name != "temperature":
                assert shape[0] == "batch"
                assert isinstance(shape[1], str)


def test_writing_twice_gives_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    again = export_tiny(tmp_path / "again", tiny_run())
    old = {entry.name: entry.sha256 for entry in Bundle.open(tiny_bundle).manifest.files}
    assert {entry.name: entry.sha256 for entry in again.manifest.files} == old


def test_check_replays_the_golden_vectors(tiny_bundle: Path) -> None:
    verdicts = check(tiny_bundle)
    assert [verdict.runtime.split()[0] for verdict in verdicts] == ["native", "onnx", "torch"]
    for verdict in verdicts:
        assert verdict.ok
        assert verdict.params_error <= 1e-5


def test_check_finds_graphs_of_other_weights(tmp_path: Path) -> None:
    """Every hash is right, and yet the golden vectors are those of another network."""
    real = voice._golden

    def of_others(vocoder: Any, channels: int) -> Any:
        with torch.no_grad():
            vocoder.generator.body.recurrent.mul_(1.01)
        return real(vocoder, channels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voice, "_golden", of_others)
        export_tiny(tmp_path / "voice", tiny_run(hop=20))
    with pytest.raises(SeqgenError, match=r"native .* does not reproduce the golden vectors"):
        check(tmp_path / "voice")


def test_an_unconditioned_model_is_exported_or_refused_in_words(tmp_path: Path) -> None:
    vocoder, task = tiny_system(tiny_run(conditioned=False))
    refusal = ""
    try:
        export(vocoder.generator, task, tmp_path / "voice")
    except SeqgenError as error:
        refusal = str(error)
    if refusal:
        assert "condition" in refusal
        assert list(tmp_path.iterdir()) == []
    else:
        assert all(verdict.ok for verdict in check(tmp_path / "voice"))


def test_the_only_speaker_needs_no_one_hot(tmp_path: Path) -> None:
    made = export_tiny(tmp_path / "voice", tiny_run(hop=20), ("jo",))
    assert made.manifest.spec.in_dim == made.manifest.features.n_mels
    assert all(verdict.ok for verdict in check(made.directory))


# What runtimes refuse, before anything is run


def test_what_does_not_fit_is_refused(runtime: Runtime) -> None:
    u, cond = inputs(runtime, 2, 5)
    state = runtime.init(2)
    hop, latency = runtime.manifest.spec.up, runtime.manifest.spec.latency
    full = np.zeros((2, 2 * 5 * hop + 2), np.float32)
    wrong: list[tuple[Any, Any, Any, str]] = [
        (u, state, cond[..., :-1], r"shape \(2, 5, 9\); give \[batch, frames, 10\]"),
        (u, state, np.concatenate([cond, cond], axis=2), r"give \[batch, frames, 10\]"),
        (u, state, cond[0], r"shape \(5, 10\)"),
        (u, state, cond[:1], "1 rows of conditioning for a state of 2"),
        (u, runtime.init(3), cond, "2 rows of conditioning for a state of 3"),
        (u[:, :-1], state, cond, rf"5 frames do not make .*; ask for {5 * hop} samples"),
        (u[:, :-2], state, cond, rf"5 frames do not make {5 * hop - latency - 1} samples"),
        (full, state, cond, rf"5 frames do not make {5 * hop + 1} samples"),
        (u[:1], state, cond, "1 row"),
        (u[0], state, cond, "shape|rank|row"),
    ]
    for noise_, state_, cond_, match in wrong:
        with pytest.raises(SeqgenError, match=match):
            runtime.sample(noise_, state_, cond_)
    x = np.zeros((2, u.shape[1]), np.int64)
    with pytest.raises(SeqgenError, match="5 frames do not make"):
        runtime.step(x[:, :-1], state, cond)
    with pytest.raises(SeqgenError, match=r"give \[batch, frames, 10\]"):
        runtime.step(x, state, cond[..., :-1])


def test_states_given_are_not_changed(runtime: Runtime) -> None:
    u, cond = inputs(runtime, 2, 4)
    state = runtime.init(2)
    _, state = runtime.sample(u, state, cond)
    given = [leaf.copy() for leaf in (*state, u, cond)]
    full = np.tile(u, 2)[:, : 4 * runtime.manifest.spec.up * 2]
    first, _ = runtime.sample(full, state, cond)
    second, _ = runtime.sample(full, state, cond)
    assert np.array_equal(first, second)
    assert all(np.array_equal(a, b) for a, b in zip(given, (*state, u, cond), strict=True))


def test_states_are_those_of_the_table(runtime: Runtime) -> None:
    u, cond = inputs(runtime, 3, 4)
    audio, state = runtime.sample(u, runtime.init(3), cond)
    assert audio.dtype == np.float32
    assert audio.shape == (3, 4 * runtime.manifest.spec.up - runtime.manifest.spec.latency)
    assert np.array_equal(audio, np.round(audio * 32768) / 32768)
    assert audio.min() >= -1
    if str(runtime).startswith("native"):  # one flat blob a stream, whose layout is the engine's own
        assert [(value.shape[0], value.dtype) for value in state] == [(3, np.uint8)]
        return
    for leaf, value in zip(runtime.manifest.state, state, strict=True):
        assert value.shape == (3, *leaf.shape)
        assert value.dtype == leaf.dtype


def test_streams_in_threads_do_not_meet(runtime: Runtime) -> None:
    u, cond = inputs(runtime, 4, 6)

    def row(index: int) -> Any:
        return runtime.sample(u[index : index + 1], runtime.init(1), cond[index : index + 1])[0]

    expected = [row(index) for index in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for made, wanted in zip(pool.map(row, [0, 1, 2, 3] * 2), expected * 2, strict=True):
            assert np.array_equal(made, wanted)


def test_an_unknown_runtime_lists_the_choices(tiny_bundle: Path) -> None:
    with pytest.raises(SeqgenError, match=r"unknown runtime 'onxn'; did you mean 'onnx'\? known: native, onnx, torch"):
        open_runtime(Bundle.open(tiny_bundle), "onxn")


PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
import seqgen.runtime.onnx
from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.runtime import open_runtime
runtime = open_runtime(Bundle.open(Path(sys.argv[1])))
golden = runtime.bundle.tensors("golden.safetensors")
audio, _ = runtime.sample(golden["uniforms"], runtime.init(2), golden["features"])
params, _ = runtime.step(golden["elements"], runtime.init(2), golden["features"])
assert audio.shape == golden["audio"].shape and np.ptp(audio) > 1
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def in_a_process(program: str, tiny_bundle: Path, repository: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_bundle)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr}"
    return done.stdout


def test_a_process_that_runs_a_bundle_never_loads_torch(tiny_bundle: Path, repository: Path) -> None:
    loaded = set(json.loads(in_a_process(PROGRAM, tiny_bundle, repository)))
    assert loaded & {"torch", "torchaudio", "librosa", "scipy", "yaml", "onnx", "lightning_fabric"} == set()


NO_SAMPLES = """
import sys
from pathlib import Path
import numpy as np
from seqgen.bundle import Bundle
from seqgen.runtime import open_runtime
runtime = open_runtime(Bundle.open(Path(sys.argv[1])))
golden = runtime.bundle.tensors("golden.safetensors")
features, uniforms, elements = golden["features"], golden["uniforms"], golden["elements"]
spec = runtime.manifest.spec
whole, _ = runtime.sample(uniforms, runtime.init(2), features)
sampling, scoring, audio, scores = runtime.init(2), runtime.init(2), [], []
for k in range(features.shape[1]):
    begin, end = (2 * max(0, f * spec.up - spec.latency) for f in (k, k + 1))
    made, sampling = runtime.sample(uniforms[:, begin:end], sampling, features[:, k : k + 1])
    audio.append(made)
    made, scoring = runtime.step(elements[:, begin:end], scoring, features[:, k : k + 1])
    scores.append(made)
assert audio[0].shape == (2, 0) and audio[0].dtype == np.float32
assert np.array_equal(np.concatenate(audio, axis=1), whole)
expected = golden["params"]
assert np.abs(np.concatenate(scores, axis=1)[:, : expected.shape[1]] - expected).max() < 1e-4
nothing, state = runtime.sample(uniforms[:, :0], sampling, features[:, :0])
assert nothing.shape == (2, 0)
assert all(np.array_equal(a, b) for a, b in zip(state, sampling, strict=True))
"""


def test_a_chunk_too_short_for_a_sample_fills_the_look_ahead(tiny_bundle: Path, repository: Path) -> None:
    """In a process of its own: onnxruntime dies of a division by zero in a Scan over nothing."""
    in_a_process(NO_SAMPLES, tiny_bundle, repository)


@pytest.mark.parametrize(
    ("run", "match"),
    [
        (run_of(density({"name": "wavernn", "hidden": 15})), "hidden is 15"),
        (run_of(density({"name": "wavernn", "hiden": 16})), "hiden"),
        (run_of(density({"name": "wavern"})), "did you mean 'wavernn'"),
        (run_of(density({"name": "wavernn"}), codec="mulaw8"), "set task.codec to bytes16"),
        (run_of(density({"name": "wavernn"}, distribution={"name": "gaussian"})),
            "the body gives 256 outputs, the distribution takes 2"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(run: RunConfig, match: str) -> None:
    with pytest.raises(SeqgenError, match=match):
        tiny_system(run)


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_rounded_weights_have_golden_vectors_of_their_own(tmp_path: Path, precision: Any) -> None:
    """Kept to the bit, whatever kernels run them; the other runtimes keep float32."""
    vocoder, task = tiny_system(tiny_run(hidden=32, hop=20))
    bundle = export(vocoder.generator, task, tmp_path / "voice", precision=precision)
    first, *others = check(bundle.directory)
    assert (first.runtime.split()[-1], first.params_error, first.flips) == (f"{precision})", 0.0, 0)
    assert [verdict.runtime for verdict in others] == ["onnx", "torch"]
    golden = bundle.tensors("golden.safetensors")
    assert 1e-4 < np.abs(golden[f"params.{precision}"] - golden["params"]).max() < 1
    for isa in ("generic", None):
        runtime = NativeRuntime(bundle, isa=isa)
        assert runtime.format == precision
        audio, _ = runtime.sample(golden["uniforms"], runtime.init(2), golden["features"])
        assert np.array_equal(audio, golden[f"audio.{precision}"])


def test_another_rounding_than_the_bundles_cannot_be_checked(tiny_bundle: Path) -> None:
    with pytest.raises(SeqgenError, match="no golden vectors for int8 weights; export it with --quantise int8"):
        require_golden(NativeRuntime(Bundle.open(tiny_bundle), format="int8"))


def test_a_rounded_voice_that_differs_by_one_step_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rounding flip is an excuse where the sums are whole numbers."""
    vocoder, task = tiny_system(tiny_run(hidden=32, hop=20))
    real = voice._engine_golden

    def other(*arguments: Any) -> Any:
        made = real(*arguments)
        made["audio.int8"][0, -1] += 1 / 32768
        return made

    monkeypatch.setattr(voice, "_engine_golden", other)
    export(vocoder.generator, task, tmp_path / "voice", precision="int8")
    with pytest.raises(SeqgenError, match="1 unexplained"):
        check(tmp_path / "voice")
