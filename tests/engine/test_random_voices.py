"""Every preset of the table: a program that the engine loads and steps, by torch and, where it is said, without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen import presets
from seqgen.cli import random_voices
from seqgen.cli.bench import ALONE, MEASUREMENTS
from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine

SMALL = (
    "wavernn-32-dense-int8",
    "wavernn-64-sparse0-bf16",
    "wavernn-64-sparse100-f32",
    "wavernn-32-subscale4-bf16",
    "wavenet-3x16",
    "wavenet-3x16-bf16",
    "wavenet-3x16-mol-f32",
)
FRAMES = 2


def heard(directory: Path, preset: presets.Preset) -> np.ndarray:
    """Audio of the first calls of a stream, until one makes all samples of its frames."""
    engine = Engine(directory, format=preset.format or "program")
    assert (engine.info.sample_rate, engine.info.hop, engine.info.channels) == (24000, preset.hop, 80)
    states, features = engine.init(1), np.full((1, FRAMES, 80), -4.0, np.float32)
    position, made = np.zeros(1, np.uint64), [np.empty((1, 0), np.float32)]
    while made[-1].shape[1] < FRAMES * preset.hop:
        audio = np.empty((1, engine.samples(states[0], FRAMES)), np.float32)
        given = {"stream_ids": np.zeros(1, np.uint64), "positions": position}
        engine.run(states, features, audio.shape[1], drawing=True, given=given, made={"audio": audio}, temperature=1.0)
        position += np.uint64(engine.info.uniforms_per_sample * audio.shape[1])
        made.append(audio)
    return np.concatenate(made, axis=1)[0]


@pytest.mark.parametrize("name", [*presets.examples(), *SMALL])
def test_the_engine_steps_every_preset(name: str, tmp_path: Path) -> None:
    preset = presets.find(name)
    random_voices.write_program(preset, tmp_path)
    audio = heard(tmp_path, preset)
    assert np.isfinite(audio).all()
    assert len(np.unique(audio)) > 10
    assert np.abs(audio).max() <= 1


@pytest.mark.parametrize("name", [name for name in (*presets.examples(), *SMALL) if presets.find(name).program])
def test_a_program_without_torch_is_as_large(name: str, tmp_path: Path) -> None:
    preset = presets.find(name)
    (tmp_path / "torch").mkdir()
    random_voices.write_program(preset, tmp_path / "torch")
    bundle = presets.write(name, tmp_path / "plain")
    audio = heard(bundle.directory, preset)
    assert len(np.unique(audio)) > 10
    infos = [Engine(folder, format=preset.format).info for folder in (tmp_path / "torch", bundle.directory)]
    assert infos[0].weight_blocks == infos[1].weight_blocks
    assert infos[0].latency == infos[1].latency == bundle.manifest.spec.latency


@pytest.mark.parametrize("name", [*presets.examples(), *SMALL])
def test_what_is_measured_of_a_preset_is_there(name: str) -> None:
    preset = presets.find(name)
    assert preset.name == name
    assert preset.measured
    assert set(preset.measured) <= set(MEASUREMENTS)
    assert (preset.format is not None) == (preset.measured == ("engine",))
    assert presets.find(preset.everywhere).measured[0] not in ALONE
    assert all(presets.find(other).measured for other in preset.beside)


def test_measurements_of_one_runtime_are_in_the_table() -> None:
    assert set(ALONE) <= set(MEASUREMENTS)
    for name in MEASUREMENTS:
        assert callable(MEASUREMENTS.load(name))


@pytest.mark.parametrize(
    "name", ["wavernn-128-subscale4", "wavernn-896-sparse101-int8", "wavenet-20x64-int4", "", "x" * 99]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(
        SeqgenError, match=r"unknown preset '.{0,60}'; .*known: wavernn-896, .*pwn-student, pwn-teacher"
    ):
        presets.find(name)


@pytest.mark.parametrize("name", ["wavenet-20x64-int8", "wavernn-896", "wavernn"])
def test_what_only_torch_makes_is_refused_without_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match=f"unknown preset '{name}' of those made without torch.*sparse95-int8"):
        presets.write(name, tmp_path / "voice")


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(SeqgenError, match="did you mean 'pwn-student'"):
        presets.find("pwn-studnet")


def test_the_listing_has_all_rows() -> None:
    listed = presets.listing()
    assert len(listed.splitlines()) == len(presets.TABLE)
    assert all(name in listed for name in presets.examples())
