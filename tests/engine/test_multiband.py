"""Voices of several bands: all runtimes make the same sound, in any cut, on every instruction set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from seqgen.runtime.native import Engine, NativeRuntime
from tests.engine.programs import Array
from tests.runtime.voices import FEATURES, density, export, run_of, tiny_system

FRAMES, CUT = 30, 9
KINDS: dict[str, dict[str, Any]] = {
    "four-bands": {"bands": 4, "taps": 2, "cold": [0.5, 0.25, 0.0, 1.0]},
    "excitation": {"bands": 4, "taps": 1, "cold": [], "prediction": 6},
    "two-bands": {"bands": 2, "taps": -1, "cold": []},
    "no-gain": {"bands": 2, "taps": 2, "cold": [], "gain": False, "prediction": 4},
}


def voice(directory: Path, kind: str) -> Bundle:
    options = dict(KINDS[kind])
    bands, prediction, gain = options["bands"], options.pop("prediction", 0), options.pop("gain", True)
    body = {"name": "multiband", "hidden": 20, "inner": 5, "groups": 3, "longest": 34, **options}
    mixture = {"name": "logistic-mixture", "mixtures": 3, "origin": -4.0}
    run = run_of(
        density(body, distribution=mixture, gain_normalized=gain),
        codec="float", bands=bands, prediction=prediction, features={**FEATURES, "hop": 40, "pitch": True},
    )  # fmt: skip
    vocoder, task = tiny_system(run)
    return export(vocoder.generator, task, directory / "voice")


@pytest.fixture(scope="module", params=sorted(KINDS))
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return voice(tmp_path_factory.mktemp("bands"), request.param)


def given(runtime: Runtime, rows: int = 2) -> tuple[Array, Array]:
    """Uniforms of fresh streams, and frames whose pitch changes."""
    rng, manifest = np.random.default_rng(3), runtime.manifest
    silence = manifest.features.silence
    mel = rng.normal(-5, 2, (rows, FRAMES, manifest.features.n_mels))
    clarity = rng.uniform(0.3, 1.0, (rows, FRAMES, 1))
    pitch = rng.uniform(0, 1, (rows, FRAMES, 1)) * clarity**2
    told = silence * (1 - np.concatenate([pitch, clarity], axis=2))
    count = (FRAMES * manifest.spec.up - manifest.spec.latency) * manifest.uniforms_per_sample
    u = np.stack([noise.block(0, row, 0, count) for row in range(rows)])
    return u, np.concatenate([mel, told], axis=2).astype(np.float32)


def sound(runtime: Runtime) -> Array:
    u, cond = given(runtime)
    return runtime.sample(u, runtime.init(2), cond)[0]


@pytest.mark.parametrize("name", ["native", "onnx"])
def test_every_runtime_makes_the_sound_of_torch(opened: Bundle, name: str) -> None:
    expected, made = sound(open_runtime(opened, "torch")), sound(open_runtime(opened, name))
    assert expected.std() > 1e-3
    # Draws may part where rounding decides; until then a level of 16 bits lies between them.
    apart = np.flatnonzero(np.abs(made - expected).max(axis=0) > 3e-4)
    assert apart.size == 0 or apart[0] > made.shape[1] // 4


@pytest.mark.parametrize("name", ["torch", "native", "onnx"])
def test_a_cut_changes_no_bit(opened: Bundle, name: str) -> None:
    runtime = open_runtime(opened, name)
    u, cond = given(runtime)
    spec, per = runtime.manifest.spec, runtime.manifest.uniforms_per_sample
    samples = (CUT * spec.up - spec.latency) * per
    first, state = runtime.sample(u[:, :samples], runtime.init(2), cond[:, :CUT])
    rest, _ = runtime.sample(u[:, samples:], state, cond[:, CUT:])
    assert np.array_equal(np.concatenate([first, rest], axis=1), sound(runtime))


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8"])
def test_every_instruction_set_gives_the_same_bits(opened: Bundle, precision: str, sets: list[str]) -> None:
    made = [sound(NativeRuntime(opened, format=precision, isa=isa)) for isa in sets]
    assert all(np.array_equal(one, made[0]) for one in made)


def test_colder_bands_are_drawn_nearer_to_what_is_expected(tmp_path: Path) -> None:
    warm = voice(tmp_path / "warm", "four-bands")
    cold = tmp_path / "cold"
    shutil.copytree(warm.directory, cold)
    program = json.loads((cold / "program.json").read_text())
    (op,) = (one for one in program["ops"] if one["op"] == "multiband")
    u, cond = given(NativeRuntime(warm))
    cond[..., -1] = 0  # as clear as it gets
    made = {}
    for name, cold_ in (("warm", [0.0] * 4), ("cold", [1.0] * 4)):
        op["cold"] = cold_
        (cold / "program.json").write_text(json.dumps(program))
        audio = np.empty((2, FRAMES * 40 - 60), np.float32)
        for seed, out in ((0, audio), (1, np.empty_like(audio))):
            engine = Engine(cold)
            uniforms = u if seed == 0 else np.ascontiguousarray(1 - u - 2.0**-24)
            engine.run(engine.init(2), cond, audio.shape[1], drawing=True, temperature=1.0,
                       given={"uniforms": uniforms}, made={"audio": out})  # fmt: skip
            made[name, seed] = out.copy()
    # Without temperature nothing but the component is left to chance.
    assert np.abs(made["cold", 0] - made["cold", 1]).mean() < 0.6 * np.abs(made["warm", 0] - made["warm", 1]).mean()


def test_groups_are_not_divided(opened: Bundle) -> None:
    runtime = NativeRuntime(opened)
    _, cond = given(runtime)
    per, most = runtime.manifest.uniforms_per_sample, FRAMES * runtime.manifest.spec.up
    samples = most - runtime.manifest.spec.latency + 1
    with pytest.raises(SeqgenError, match=rf"{samples} samples are not whole groups of [24]"):
        runtime.sample(np.zeros((2, samples * per), np.float32), runtime.init(2), cond)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"taps": 40}, "longest"),
        ({"bands": 3}, "'cold' is not a number for each band"),
        ({"cold": [0.5]}, "'cold' is not a number for each band"),
        ({"cold": [2.0] * 4}, "colder than 1"),
        ({"clear": 0.1}, "'clear' is not above 'unclear'"),
        ({"groups": 0}, "groups"),
    ],
    ids=["taps", "bands", "colds", "cold", "clear", "groups"],
)
def test_programs_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    directory = voice(tmp_path, "four-bands").directory
    program = json.loads((directory / "program.json").read_text())
    (op,) = (one for one in program["ops"] if one["op"] == "multiband")
    op.update(change)
    (directory / "program.json").write_text(json.dumps(program))
    with pytest.raises(SeqgenError, match=told):
        Engine(directory)


@pytest.mark.parametrize("weights", [[], [[1.0]], [[1.0], [1.0, 2.0]], [[float("1e9")]] * 4], ids=str)
def test_sums_that_are_none_are_refused(tmp_path: Path, weights: list[list[float]]) -> None:
    directory = voice(tmp_path, "four-bands").directory
    program = json.loads((directory / "program.json").read_text())
    (op,) = (one for one in program["ops"] if one["op"] == "bands")
    op["weights"] = weights
    (directory / "program.json").write_text(json.dumps(program))
    with pytest.raises(SeqgenError, match=r"rows of as many numbers|other bands"):
        Engine(directory)
