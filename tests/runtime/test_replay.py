"""The verdict on a runtime: what rounding may do is excused, anything else is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from seqgen.runtime.replay import replay, require_golden
from tests.runtime.voices import export_tiny, subscale_run

Array = Any


class Altered(Runtime):
    """A runtime with another golden file, and whatever a test does to what goes in and comes out."""

    def __init__(self, inner: Runtime, golden: dict[str, Array]) -> None:
        super().__init__(inner.bundle)
        self.inner, self.golden = inner, golden
        self.bundle = self  # type: ignore[assignment]
        self.directory = inner.bundle.directory
        self.nudge: dict[int, float] = {}  # counted from the stream's end
        self.gain = 1.0

    def tensors(self, _: str) -> dict[str, Array]:
        return self.golden

    def init(self, batch: int) -> Any:
        return self.inner.init(batch)

    def step(self, x: Array, state: Any, cond: Array) -> Any:
        params, after = self.inner.step(x, state, cond)
        return self.gain * params, after

    def sample(self, noise: Array, state: Any, cond: Array, temperature: float = 1.0) -> Any:
        noise = noise.copy()
        if np.array_equal(noise[0, -2:], self.golden["uniforms"][0, -2:]):  # the stream's last chunk
            for back, value in self.nudge.items():
                noise[0, -back] = value
        return self.inner.sample(noise, state, cond, temperature)


@pytest.fixture
def altered(tiny_bundle: Path) -> Altered:
    bundle = Bundle.open(tiny_bundle)
    return Altered(open_runtime(bundle), dict(bundle.tensors("golden.safetensors")))


def edges_of(runtime: Altered, position: int) -> Array:
    params, _ = runtime.inner.step(runtime.golden["elements"], runtime.init(2), runtime.golden["features"])
    p = np.exp(params[0, position].astype(np.float64) - params[0, position].max())
    return np.cumsum(p) / p.sum()


@pytest.mark.parametrize("byte", [0, 1], ids=["coarse", "fine"])
@pytest.mark.parametrize(("distance", "excused"), [(4e-6, True), (1e-3, False)])
def test_only_draws_beside_an_edge_may_differ(altered: Altered, byte: int, distance: float, excused: bool) -> None:
    """The last sample is drawn on one side of an edge in the golden file, on the other by the runtime."""
    golden, last = altered.golden, altered.golden["elements"].shape[1] - 2
    position = last + byte
    edge = edges_of(altered, position)[100]
    golden["uniforms"] = golden["uniforms"].copy()
    golden["uniforms"][0, position] = edge + distance
    golden["audio"], _ = altered.inner.sample(golden["uniforms"], altered.init(2), golden["features"])
    golden["elements"] = golden["elements"].copy()
    sample = round(float(golden["audio"][0, -1]) * 32768) + 32768
    golden["elements"][0, last:] = [sample >> 8, sample & 255]
    assert replay(altered).ok
    altered.nudge = {2 - byte: edge - distance}
    verdict = replay(altered)
    assert (verdict.flips, verdict.unexplained) == ((1, 0) if excused else (0, 1))
    assert verdict.ok == excused


RUN = subscale_run(lanes=4, horizon=2, channels=6, blocks=1)
AHEAD = 36


@pytest.fixture
def lanes(tmp_path: Path) -> Altered:
    bundle = export_tiny(tmp_path / "voice", RUN, ("ann", "bo"), seed=1)
    return Altered(open_runtime(bundle, "torch"), dict(bundle.tensors("golden.safetensors")))


def redrawn(altered: Altered) -> None:
    """Audio and elements of the golden file, those under way included, as its noise makes them."""
    golden, spec = altered.golden, altered.manifest.spec
    beyond = -(-AHEAD // spec.up)
    features, uniforms = golden["features"], golden["uniforms"]
    features = np.concatenate([features, features[:, -beyond:]], axis=1)
    uniforms = np.concatenate([uniforms, np.full((2, 2 * beyond * spec.up), 0.5, np.float32)], axis=1)
    audio, _ = altered.inner.sample(uniforms, altered.init(2), features)
    count = golden["uniforms"].shape[1] // 2 - AHEAD
    whole = np.round(audio[:, : count + AHEAD] * 32768).astype(np.int64) + 32768
    golden["audio"] = audio[:, :count]
    golden["elements"] = np.stack([whole >> 8, whole & 255], axis=2).reshape(2, -1)


@pytest.mark.parametrize(("distance", "excused"), [(4e-6, True), (1e-3, False)])
def test_with_lanes_what_was_made_first_is_what_must_be_explained(
    lanes: Altered, distance: float, excused: bool
) -> None:
    """A flip in lane 0 makes others of lanes that are behind it, and whose samples come before it in the stream."""
    golden = lanes.golden
    original = golden["uniforms"]
    for back in range(12, 40):  # until one flip is found that reaches a sample which comes before it
        golden["uniforms"] = original.copy()
        redrawn(lanes)
        sample = 4 * (golden["audio"].shape[1] // 4 - back)  # lane 0
        edge = edges_of(lanes, 2 * sample)[100]
        golden["uniforms"][0, 2 * sample] = edge + distance
        redrawn(lanes)
        noise = golden["uniforms"].copy()
        noise[0, 2 * sample] = edge - distance
        made, _ = lanes.inner.sample(noise, lanes.init(2), golden["features"])
        if np.flatnonzero(made[0] != golden["audio"][0])[0] < sample:
            break
    else:
        pytest.fail("no flip reached a sample before it")
    assert replay(lanes).ok
    lanes.nudge = {noise.shape[1] - 2 * sample: edge - distance}
    verdict = replay(lanes)
    assert (verdict.flips, verdict.unexplained) == ((1, 0) if excused else (0, 1))


def test_other_parameters_are_noticed(altered: Altered) -> None:
    altered.gain = 1.001
    assert not replay(altered).ok
    with pytest.raises(SeqgenError, match="does not reproduce the golden vectors"):
        require_golden(altered)
