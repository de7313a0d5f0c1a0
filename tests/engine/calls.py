"""One call of the engine, with shapes as the model tells them."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np

from seqgen.runtime.native import Engine, Format
from tests.engine.programs import Array

# Relative to the largest parameter. Weights of 8 and 16 bits are what they are: the bound only rules out mistakes.
TOLERANCE = {"float32": 1e-5, "bf16": 0.05, "int8": 0.1}


def begun(engine: Engine, streams: int, states: Array | None) -> Array:
    """States that a call may write in place: fresh ones, or a copy of those given, all that lies behind included."""
    return engine.init(streams) if states is None else states.copy()


def score(engine: Engine, features: Array, elements: Array, states: Array | None = None) -> tuple[Array, Array]:
    """Parameters of given symbols' or real numbers' distributions, and the states after them; none of those given move.

    Behind a model with lanes, the parameters include those of samples under way.
    """
    info, after = engine.info, begun(engine, len(features), states)
    params = np.full((*elements.shape, info.params), np.nan, np.float32)
    given, made = ("elements", "logits") if info.classes else ("values", "params")
    samples = elements.shape[1] // info.elements_per_sample - info.ahead
    engine.run(after, features, samples, drawing=False, given={given: elements}, made={made: params})
    return params, after


def draw(
    engine: Engine, features: Array, uniforms: Array, states: Array | None = None, temperature: float = 1.0
) -> tuple[Array, Array]:
    """Audio drawn with given uniforms, and the states after it; none of those given move."""
    after = begun(engine, len(features), states)
    samples = uniforms.shape[1] // engine.info.uniforms_per_sample - engine.info.ahead
    audio = np.full((len(features), samples), np.nan, np.float32)
    engine.run(after, features, samples, drawing=True, given={"uniforms": uniforms}, made={"audio": audio},
               temperature=temperature)  # fmt: skip
    return audio, after


def draw_by_two(engines: tuple[Engine, Engine], features: Array, uniforms: Array) -> Array:
    """Audio of fresh streams of which the first engine makes half of the frames and the second goes on."""
    first, second = engines
    half = features.shape[1] // 2
    cut = first.info.uniforms_per_sample * first.samples(first.init(1)[0], half)
    begun, states = draw(first, features[:, :half], uniforms[:, :cut])
    ended, _ = draw(second, features[:, half:], uniforms[:, cut:], states)
    return np.concatenate([begun, ended], axis=1)


def same_on_all_sets(
    where: Path, form: Format, sets: list[str], features: Array, uniforms: Array, elements: Array
) -> tuple[Array, ...]:
    """Every set of kernels gives the bits of the generic one; returns parameters, audio and the states after both."""

    def everything(name: str) -> tuple[Array, ...]:
        engine = Engine(where, format=form, isa=name)
        return score(engine, features, elements) + draw(engine, features, uniforms)

    expected = everything("generic")
    for name in sets[1:]:
        assert [part.tobytes() for part in everything(name)] == [part.tobytes() for part in expected], name
    return expected


def goes_on_from_another_set(where: Path, form: Format, sets: list[str], features: Array, uniforms: Array) -> None:
    """Numbers of 8 bits lie in a state as every set reads them, whatever its own kernels take."""
    engines = [Engine(where, format=form, isa=name) for name in sets]
    whole, _ = draw(engines[0], features, uniforms)
    for pair in permutations(engines, 2):
        assert draw_by_two(pair, features, uniforms).tobytes() == whole.tobytes()
