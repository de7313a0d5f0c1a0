"""Registries that name their choices; specs that refuse what cannot be, and sign what they are."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen import config, registry
from seqgen.errors import SeqgenError
from seqgen.registry import Registry
from seqgen.spec import Alignment, Facts, FeatureSpec, StreamSpec, require_same_signature

TABLES = [value for value in vars(registry).values() if isinstance(value, Registry)]
SPEC = FeatureSpec(sample_rate=16000, n_fft=1024, window=640, hop=160, n_mels=80, fmin=20.0, fmax=7600.0)
OTHERS = {
    "sample_rate": 22050,
    "n_fft": 2048,
    "window": 642,
    "hop": 162,
    "n_mels": 64,
    "fmin": 21.0,
    "fmax": 7601.0,
    "floor": 1e-6,
    "pitch": True,
}


def test_the_tables_are_all_there() -> None:
    assert {table.kind for table in TABLES} >= {
        "task", "model", "density", "flow", "conditioner", "codec", "distribution", "objective", "optimiser", "corpus",
        "runtime",
    }  # fmt: skip
    assert all(len(table) for table in TABLES)
    assert len({table.kind for table in TABLES}) == len({table.group for table in TABLES}) == len(TABLES)


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that adds a model, and would take a name that is taken."""
    metadata = tmp_path / "guest-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n")
    points = "guesting = guest_package:Guest\nwavernn = guest_package:Guest\n"
    (metadata / "entry_points.txt").write_text(f"[seqgen.models]\n{points}")
    (tmp_path / "guest_package.py").write_text("class Guest:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("guest")
def test_other_packages_add_names() -> None:
    assert registry.MODELS["guesting"] == "guest_package:Guest"
    assert registry.MODELS.load("guesting").__name__ == "Guest"
    assert registry.MODELS.load("wavernn").__name__ == "WaveRNN"
    assert "guesting" in registry.MODELS
    assert list(registry.MODELS)[-1] == "guesting"
    assert "guesting" not in registry.FLOWS
    with pytest.raises(SeqgenError, match=r"did you mean 'guesting'.*known: wavernn, .*, guesting"):
        registry.MODELS.load("guestin")


def test_without_them_only_the_table_is_known() -> None:
    assert "guesting" not in registry.MODELS


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_every_target_can_be_loaded(table: Registry) -> None:
    for name, target in table.items():
        module, separator, attribute = target.partition(":")
        assert separator == ":"
        assert isinstance(getattr(importlib.import_module(module), attribute), type)
        assert table.load(name).__name__ == attribute
        assert name in table


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
@pytest.mark.parametrize("ask", ["load", "__getitem__"])
def test_an_unknown_name_lists_the_choices(table: Registry, ask: str) -> None:
    typo = next(iter(table)) + "x"
    assert typo not in table
    with pytest.raises(SeqgenError) as caught:
        getattr(table, ask)(typo)
    message = str(caught.value)
    assert "\n" not in message
    assert f"unknown {table.kind} '{typo}'" in message
    assert f"did you mean '{typo[:-1]}'?" in message
    assert all(name in message for name in table)


def test_a_hopeless_name_gets_no_guess() -> None:
    with pytest.raises(SeqgenError) as caught:
        registry.MODELS.load("§§§")
    assert "did you mean" not in str(caught.value)
    assert "known: wavernn" in str(caught.value)


def test_registries_are_tables_not_catalogues_to_write_to() -> None:
    assert not hasattr(registry.MODELS, "__setitem__")
    assert not hasattr(registry.MODELS, "register")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(FeatureSpec)])
def test_the_signature_depends_on_every_field(name: str) -> None:
    changed = dataclasses.replace(SPEC, **{name: OTHERS[name]})
    assert changed.signature != SPEC.signature
    assert re.fullmatch("[0-9a-f]{16}", changed.signature)
    with pytest.raises(SeqgenError) as caught:
        require_same_signature(changed, SPEC, where="features.safetensors")
    message = str(caught.value)
    for expected in ("features.safetensors", changed.signature, SPEC.signature, name, str(OTHERS[name])):
        assert expected in message
    assert str(getattr(SPEC, name)) in message
    assert not any(f"{other} {getattr(SPEC, other)}" in message for other in OTHERS if other != name)


def test_whole_floats_and_ints_sign_alike() -> None:
    first: Any = dataclasses.replace(SPEC, fmin=50, fmax=7000)
    second = dataclasses.replace(SPEC, fmin=50.0, fmax=7000.0)
    assert first.signature == second.signature
    require_same_signature(first, second, where="here")


def test_the_documented_signature() -> None:
    """Bundles out in the world carry it: it must never change by itself."""
    plain = FeatureSpec(sample_rate=16000, n_fft=1024, window=640, hop=160, n_mels=80)
    assert plain.signature == "0910c7a3bf949502"


def test_what_follows_from_a_feature_spec() -> None:
    plain = FeatureSpec(sample_rate=16000, n_fft=1024, window=640, hop=160, n_mels=80)
    assert plain.pad == 240
    assert plain.top_frequency == 8000
    assert SPEC.top_frequency == 7600
    assert plain.silence == pytest.approx(math.log(1e-5))
    assert [plain.frames(count) for count in (0, 1, 159, 160, 161, 320)] == [0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sample_rate": 0}, "positive"),
        ({"hop": 0}, "positive"),
        ({"n_mels": -1}, "positive"),
        ({"hop": 642}, "hop 642"),
        ({"window": 1026}, "window 1026"),
        ({"window": 641}, "even"),
        ({"fmin": -1.0}, "fmin -1"),
        ({"fmin": 7600.0}, "fmin 7600"),
        ({"fmax": 8000.5}, "8000.5"),
        ({"fmin": math.nan}, "nan"),
        ({"fmax": math.nan}, "nan"),
        ({"floor": 0.0}, "floor"),
        ({"floor": -1e-5}, "floor"),
        ({"floor": math.nan}, "floor"),
        ({"floor": math.inf}, "floor"),
    ],
)
def test_impossible_front_ends_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(SeqgenError) as caught:
        dataclasses.replace(SPEC, **change)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_specs_are_values() -> None:
    assert dataclasses.replace(SPEC) == SPEC
    assert len({SPEC, dataclasses.replace(SPEC)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.hop = 3  # type: ignore[misc]


def made(hop: int, latency: int, frames: int) -> list[int]:
    """Samples after each frame of a stream that waits, by a machine that counts: a frame owes ``hop`` samples, and the
    first ``latency`` of them are never given."""
    owed, given, counts = -latency, 0, []
    for _ in range(frames):
        owed += hop
        if owed > 0:
            given, owed = given + owed, 0
        counts.append(given)
    return counts


@given(hop=st.integers(1, 9), latency=st.integers(0, 40), samples=st.integers(0, 60))
def test_alignment_is_that_of_a_stream(hop: int, latency: int, samples: int) -> None:
    alignment = Alignment(hop, latency)
    counts = [0, *made(hop, latency, 120)]
    assert [alignment.first_samples(frames) for frames in range(121)] == counts
    needed = alignment.frames(samples)
    if samples:  # the fewest frames that give so many samples
        assert counts[needed] >= samples > counts[needed - 1]
    assert alignment.skipped == sum(count == 0 for count in counts[1:])
    # The last sample of a stretch of whole frames waits for as many frames more.
    for frames in range(1, 20):
        assert counts[frames + alignment.look_ahead] >= frames * hop
        assert alignment.look_ahead == 0 or counts[frames + alignment.look_ahead - 1] < frames * hop


@given(hop=st.integers(1, 9), latency=st.integers(0, 40), blocks=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_frames_and_samples_of_each_call_fit(hop: int, latency: int, blocks: list[int]) -> None:
    """However a stream is cut, each call's frames fit the samples that it makes, and never more or fewer."""
    alignment = Alignment(hop, latency)
    counts, position = [0, *made(hop, latency, sum(blocks))], 0
    for frames in blocks:
        samples = counts[position + frames] - counts[position]
        alignment.require_fit(frames, samples)
        assert alignment.fits(frames, samples)
        assert alignment.fits(frames, frames * hop)
        for wrong in (frames * hop + 1, alignment.first_samples(frames) - 1):
            assert not alignment.fits(frames, wrong)
            with pytest.raises(SeqgenError) as caught:
                alignment.require_fit(frames, wrong)
            assert f"{frames} frames do not make {wrong} samples" in str(caught.value)
            assert f"ask for {frames * hop} samples ({counts[frames]} at the start" in str(caught.value)
        position += frames


def test_the_documented_alignment() -> None:
    spec = StreamSpec(in_dim=10, out_dim=1, up=80, latency=120)
    assert spec.alignment == Alignment(80, 120)
    assert (spec.alignment.frames(800), spec.alignment.first_samples(12), spec.alignment.look_ahead) == (12, 840, 2)
    assert Alignment(80) == Alignment(80, 0)


def test_facts_say_what_follows_from_them() -> None:
    alone, two = Facts(speakers=("anna",), features=SPEC), Facts(speakers=("anna", "ben"))
    assert (alone.num_speakers, two.num_speakers, Facts().num_speakers) == (0, 2, 0)
    assert (alone.signature, two.signature) == (SPEC.signature, "")
    assert config.from_plain(config.plain(alone), Facts, source="test") == alone


@given(st.integers(1, 6), st.integers(1, 6), st.lists(st.integers(0, 7), min_size=1, max_size=8))
def test_outputs_count_what_a_stream_emits(up: int, down: int, blocks: list[int]) -> None:
    """A machine that emits an output as soon as it has taken ``down`` credits, ``up`` a position."""
    spec = StreamSpec(in_dim=1, out_dim=1, up=up, down=down)
    position, emitted, credit = 0, 0, 0
    for length in blocks:
        first = emitted
        for _ in range(length):
            credit += up
            while credit >= down:
                credit, emitted = credit - down, emitted + 1
        assert spec.outputs(position, position + length) == (first, emitted)
        position += length


@given(st.integers(1, 7), st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_conditions_arrive_with_their_position(every: int, blocks: list[int]) -> None:
    spec = StreamSpec(in_dim=1, out_dim=1, cond_dim=1, cond_every=every)
    position, taken = 0, []
    for length in blocks:
        first, last = spec.conditions(position, position + length)
        with_them = [at // every for at in range(position, position + length) if at % every == 0]
        assert list(range(first, last)) == with_them
        taken += with_them
        position += length
    assert taken == list(range(len(taken)))
