"""Known processes of real frames, and networks that treat every frame by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seqgen import noise
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation.framewise import Framewise
from seqgen.models.framewise_encoder import FramewiseEncoder
from seqgen.spec import Facts, FrameSpec
from seqgen.stream.conditioning import Frames
from seqgen.tasks.processes.vector_processes import MovingDot, Pinwheel, VectorProcess, Vectors
from seqgen.tasks.processes.vectors import VectorsConfig


def drawn(process: VectorProcess, count: int) -> Vectors:
    u = noise.block(0, 0, 0, count * process.num_uniforms).astype(np.float64)
    return process.draw(u.reshape(count, process.num_uniforms))


def test_points_of_a_pinwheel_lie_along_its_arms() -> None:
    """Turned back by its arm's angle, which depends on how far out it is, a point is (r, tangential · b)."""
    found = drawn(Pinwheel(Pinwheel.Config()), 20_000)
    assert np.bincount(found.label).tolist() == pytest.approx([4000] * 5, abs=200)
    x = found.x[:, 0] / 10
    radius = np.hypot(*x.T)  # all but r: the way across adds 0.05² / 2
    angle = 2 * math.pi * found.label / 5 + 0.25 * np.exp(radius)
    across = x[:, 1] * np.cos(angle) - x[:, 0] * np.sin(angle)
    assert radius.mean() == pytest.approx(1, abs=0.01)
    assert radius.std() == pytest.approx(0.3, abs=0.01)
    assert across.std() == pytest.approx(0.05, abs=0.005)


def test_a_dot_swings_and_its_class_is_its_quarter() -> None:
    process = MovingDot(MovingDot.Config(frames=40, pixels=20, period=20.0))
    found = drawn(process, 50)
    assert found.x.shape == (50, 40, 20)
    assert (found.x - found.quiet).std() == pytest.approx(0.05, rel=0.02)
    place = found.quiet.argmax(axis=-1)  # [N, T]
    np.testing.assert_allclose(found.quiet[:, 20:], found.quiet[:, :20], atol=1e-12)
    middle = 9.5 * (1 + 0.8 * np.sin(2 * math.pi * (np.arange(40) / 20 + (found.label[:, None] + 0.5) / 4)))
    assert np.abs(place - middle).max() < 6
    assert set(found.label) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Pinwheel.Config(arms=0), "give an arm or more"),
        (lambda: Pinwheel.Config(radial=0.0), "give an arm or more"),
        (lambda: MovingDot.Config(frames=0), "give a frame and a pixel or more"),
        (lambda: MovingDot.Config(width=0.0), "a width above 0"),
        (lambda: VectorsConfig(examples=0), "0 examples, 500 held out; give 1 or more of each"),
        (lambda: FramewiseEncoder(FramewiseEncoder.Config(frame=0)), "give 1 or more of everything"),
    ],
)
def test_what_is_no_process_and_no_network_is_refused(made: object, said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        made()  # type: ignore[operator]


def test_frames_are_read_and_made_one_by_one() -> None:
    torch.manual_seed(0)
    encoder = FramewiseEncoder(FramewiseEncoder.Config(frame=3, hidden=(5,)))
    x = torch.randn(2, 9, 1)
    columns = encoder(x, torch.tensor([9, 9]))
    swapped = encoder(x.unflatten(1, (3, 3)).flip(1).flatten(1, 2), torch.tensor([9, 9]))
    torch.testing.assert_close(swapped, columns.flip(1))
    torch.testing.assert_close(columns[..., 5:], x[..., 0].unflatten(1, (3, 3)))
    facts = Facts(frames=FrameSpec(channels=2, hop=3))
    density = Framewise.build(Framewise.Config(hidden=(4,)), facts)
    z = torch.randn(2, 3, 2)
    params = density.distributions(Frames(z, torch.zeros(2, dtype=torch.int64)))
    turned = density.distributions(Frames(z.flip(1), torch.zeros(2, dtype=torch.int64)))
    torch.testing.assert_close(turned.unflatten(1, (3, 3)), params.unflatten(1, (3, 3)).flip(1))


def test_missing_frames_are_refused() -> None:
    facts = Facts(frames=FrameSpec(channels=2, hop=3))
    density = Framewise.build(Framewise.Config(distribution=Component("gaussian")), facts)
    with pytest.raises(SeqgenError, match="1 frames of 3 elements for a sequence of 6; give a frame for all"):
        density.log_prob(torch.zeros(1, 6), Frames(torch.zeros(1, 1, 2), torch.zeros(1, dtype=torch.int64)))
