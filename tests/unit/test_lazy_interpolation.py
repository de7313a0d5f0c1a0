"""Conditioning that is multiplied out where it is used: the same vectors, and the same student."""

from __future__ import annotations

import pytest
import torch

from seqgen.generation.contract import Generator
from seqgen.generation.parallel import Parallel
from seqgen.models.frames import FrameConditioner
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.spec import FeatureSpec
from seqgen.stream.combinators import Interpolate
from seqgen.stream.conditioning import Frames
from seqgen.stream.lazy_interpolation import LazyInterpolation, hats
from tests.runtime.voices import lively

FEATURES = FeatureSpec(sample_rate=8000, n_fft=64, window=12, hop=4, n_mels=6)


@pytest.mark.parametrize("up", [1, 2, 4, 5, 7])
def test_hats_are_the_weights_of_interpolation(up: int) -> None:
    line = Interpolate(up, dim=3).double()
    x, state = torch.randn(2, 6, 3, dtype=torch.float64), torch.randn(2, 1, 3, dtype=torch.float64)
    expected, after = line.step(x, state)
    for start, stop in ((0, 6 * up), (up, 6 * up - 1), (2 * up + 1, 5 * up)):
        made, kept = line.lazy(x, state, start, stop)
        # The layer holds its weights in the precision that it was made in.
        torch.testing.assert_close(made.dense(), expected[:, start:stop], rtol=0, atol=1e-6)
        assert made.shape == (2, stop - start, 3)
        assert torch.equal(kept, after)


def test_weights_far_into_a_block_are_as_exact_as_at_its_start() -> None:
    like = torch.zeros(())
    first, last = hats(0, 300, 1, 300, like), hats(299_700, 300_000, 1000, 300, like)[:, 999:]
    assert torch.equal(first, last)
    torch.testing.assert_close(first.sum(dim=1), torch.ones(300))


def test_it_is_split_cast_and_added_as_what_it_stands_for() -> None:
    draw = torch.Generator().manual_seed(1)
    basis, line = torch.randn(5, 3, generator=draw), torch.randn(2, 3, 6, generator=draw)
    whole, dense = LazyInterpolation(basis, line), basis @ line
    for parts, expected in (
        (whole.split(2), dense.split(2, dim=-1)),
        (whole.split([1, 5]), dense.split([1, 5], dim=-1)),
    ):
        for part, one in zip(parts, expected, strict=True):
            torch.testing.assert_close(torch.ones_like(one) + part, 1 + one)
    assert whole.to(torch.float64).dense().dtype == torch.float64


def test_a_network_between_frames_is_the_network() -> None:
    net = FrameConditioner(FrameConditioner.Config(channels=5, blocks=1), features=FEATURES, speakers=2, out_dim=4)
    lively(net, 1)
    x = torch.randn(2, 9, 8)
    made, after = net.step(x, net.init_state(2))
    lazy, kept = net.lazy(x, net.init_state(2), 3, 30)
    torch.testing.assert_close(lazy.dense(), made[:, 3:30])
    assert torch.equal(kept[1][-1], after[1][-1])


def test_a_student_takes_it_for_training_as_for_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples and gradients are those of conditioning written out."""
    sizes = ParallelWaveNet.Config(layers=(2, 3), residual_channels=6, gate_channels=5, head_channels=7)
    body = ParallelWaveNet(sizes)
    channels = body.spec.cond_dim
    config = FrameConditioner.Config(channels=5, blocks=1, look_ahead=1)
    net = FrameConditioner(config, features=FEATURES, speakers=0, out_dim=channels)
    generator = Parallel(body, net).double()
    lively(generator, 2)
    mel, speaker = torch.randn(2, 12, 6, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)
    z = torch.randn(2, 30, 1, dtype=torch.float64)

    def run() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        x = generator.body(z, generator.condition(Frames(mel, speaker, left=2), 30))
        return x, torch.autograd.grad(x.square().sum(), list(generator.parameters()), allow_unused=True)

    lazy, gradients = run()
    monkeypatch.setattr(Parallel, "_vectors", Generator._vectors)
    dense, expected = run()
    torch.testing.assert_close(lazy, dense, rtol=1e-10, atol=1e-10)
    for one, other in zip(gradients, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
