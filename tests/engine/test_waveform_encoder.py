"""Encoders of audio in the engine: their equations, one set of bits, chunks, neighbours, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine, Format
from tests.engine import encoders
from tests.engine.calls import TOLERANCE
from tests.engine.encoders import KINDS, Encoder, encode, sound

FORMATS: tuple[Format, ...] = ("float32", "bf16", "int8")


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Encoder:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def where(model: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoders.write(model, tmp_path_factory.mktemp("encoders"))


@pytest.mark.parametrize("form", FORMATS)
def test_vectors_are_those_of_the_equations(model: Encoder, where: Path, form: Format) -> None:
    audio = sound(model, 2, 45)
    got, _ = encode(Engine(where, format=form), audio)
    expected = np.stack([encoders.expected(model, row) for row in audio])
    for part in (slice(0, model.hidden), slice(model.hidden, None)):
        scale = max(1.0, np.abs(expected[..., part]).max())
        assert np.abs(got[..., part] - expected[..., part]).max() <= TOLERANCE[form] * scale


@pytest.mark.parametrize("form", FORMATS)
def test_every_set_of_kernels_gives_the_same_bits(model: Encoder, where: Path, form: Format, sets: list[str]) -> None:
    audio = sound(model, 2, 37)
    expected = [part.tobytes() for part in encode(Engine(where, format=form, isa="generic"), audio)]
    for name in sets[1:]:
        made = [part.tobytes() for part in encode(Engine(where, format=form, isa=name), audio)]
        assert made == expected, name


@pytest.mark.parametrize("form", FORMATS)
def test_cuts_change_nothing(model: Encoder, where: Path, form: Format) -> None:
    engine, frames = Engine(where, format=form), 41
    audio = sound(model, 1, frames)
    whole, end = encode(engine, audio)
    for size in (1, 5, 16, 33):
        state, parts = engine.init(1), []
        for first in range(0, frames, size):
            part, state = encode(engine, audio[:, first * model.hop : (first + size) * model.hop], state)
            parts.append(part)
        assert np.concatenate(parts, 1).tobytes() == whole.tobytes(), size
        assert state.tobytes() == end.tobytes(), size


def test_streams_side_by_side_know_nothing_of_each_other(model: Encoder, where: Path) -> None:
    engine = Engine(where)
    audio = sound(model, 5, 12)
    together, states = encode(engine, audio)
    for row in range(5):
        alone, state = encode(engine, audio[row : row + 1])
        assert alone.tobytes() == together[row : row + 1].tobytes()
        assert state.tobytes() == states[row : row + 1].tobytes()


def test_a_model_describes_itself(model: Encoder, where: Path) -> None:
    info = Engine(where).info
    told = (
        info.sample_rate,
        info.classes,
        info.channels,
        info.hop,
        info.params,
        info.feeds_back,
        info.uniforms_per_sample,
    )
    assert told == (0, 0, model.hop, 1, model.hidden + model.channels, 0, 0)
    assert Engine(where, format="int8").info.weight_bytes < info.weight_bytes or model.channels < 16


def test_nothing_is_drawn(where: Path, model: Encoder) -> None:
    engine = Engine(where)
    frames = sound(model, 1, 3).reshape(1, 3, -1)
    with pytest.raises(SeqgenError, match="draws nothing"):
        engine.run(engine.init(1), frames, 3, drawing=True, given={"uniforms": np.zeros((1, 3), "f4")}, made={},
                   temperature=1.0)  # fmt: skip


def test_what_is_no_number_is_refused(where: Path, model: Encoder) -> None:
    audio = sound(model, 1, 3)
    audio[0, 4] = np.inf
    with pytest.raises(SeqgenError, match="NaN or infinity"):
        encode(Engine(where), audio)


def _of(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """An edit of the program's only op."""

    def edit(document: dict[str, Any]) -> None:
        place = document["ops"][0]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return edit


EDITS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another hop": (lambda document: document.update(channels=39), "strides that do not make"),
    "another stride": (_of("convolutions", 0, "stride", value=4), "strides that do not make"),
    "no stride": (_of("convolutions", 0, "stride", value=0), "0 is not between 1"),
    "a stride above its kernel": (_of("convolutions", 2, "stride", value=4), "a stride above its kernel"),
    "no convolution": (_of("convolutions", value=[]), "no convolution, or more than 64"),
    "another width": (_of("convolutions", 1, "weight", value="0.weight"), "0.weight"),
    "a bias that is none": (_of("convolutions", 0, "bias", value="absent"), "absent"),
    "a gain without its bias": (_of("convolutions", 0, "gain", value="0.gain"), "norm_bias"),
    "a recurrence of another width": (_of("context", "input_weight", value="context.recurrent"), "context.recurrent"),
    "a distribution behind it": (
        lambda document: document["ops"].append({"op": "categorical", "classes": 3}), "behind"
    ),
    "a codec behind it": (lambda document: document["ops"].append({"op": "symbols"}), "it stands once"),
    "another behind it": (lambda document: document["ops"].append(document["ops"][0]), "it stands once"),
    "a rate": (lambda document: document.update(sample_rate=8000), "it stands once"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_programs_that_make_no_sense_are_refused(name: str, tmp_path: Path) -> None:
    edit, message = EDITS[name]
    document = copy.deepcopy(encoders.program(KINDS["plain"]))
    edit(document)
    with pytest.raises(SeqgenError, match=message):
        Engine(encoders.write(KINDS["plain"], tmp_path, document))
