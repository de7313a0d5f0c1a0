"""A network at a fraction of the rate: what it holds, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from seqgen.errors import SeqgenError
from seqgen.models.wavenet import WaveNet
from seqgen.models.wavenet_context import ContextWaveNet
from seqgen.nets.downsample_hold import DownsampleHold
from seqgen.nets.layers import CausalConv1d, Dense


def test_an_output_holds_until_the_next_group_is_complete() -> None:
    net = Dense(6, 4)
    slow = DownsampleHold(net, down=3, dim=2)
    x = torch.randn(2, 11, 2)
    y = slow(x)
    assert y[:, :2].abs().max() == 0
    for t in range(2, 11):
        last = (t + 1) // 3 * 3  # inputs in complete groups
        torch.testing.assert_close(y[:, t], net(x[:, last - 3 : last].reshape(2, 1, 6))[:, 0])


def test_rows_at_different_places_are_refused() -> None:
    slow = DownsampleHold(Dense(4, 1), down=2, dim=2)
    state = slow.init_state(2)
    mixed = state._replace(phase=torch.tensor([0, 1]))
    with pytest.raises(SeqgenError, match="different places"):
        slow.step(torch.zeros(2, 3, 2), mixed)
    # One at a time needs no decision, so rows may differ.
    _, after = slow.step(torch.zeros(2, 1, 2), mixed)
    assert after.phase.tolist() == [1, 0]


@pytest.mark.parametrize("net", [Dense(5, 1), CausalConv1d(4, 1, kernel=3, look_ahead=1)])
def test_a_network_that_does_not_fit_is_refused(net: Dense | CausalConv1d) -> None:
    with pytest.raises(SeqgenError, match="2 inputs of 2 channels"):
        DownsampleHold(net, down=2, dim=2)


def test_the_context_stack_sees_further_than_the_wavenet() -> None:
    torch.manual_seed(0)
    sizes = {
        "layers": 2,
        "dilation_cycle": 2,
        "residual_channels": 6,
        "gate_channels": 6,
        "skip_channels": 6,
        "head_channels": 6,
        "outputs": 2,
    }
    small = WaveNet.Config(**sizes, vocab_size=0, conditioned=False)
    net = ContextWaveNet(ContextWaveNet.Config(wavenet=small, rate=4, channels=6, layers=3))
    x = torch.randn(1, 60, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[0, -1].sum(), x)
    direct, whole = WaveNet(small).spec.context, net.spec.context
    assert direct is not None
    assert whole is not None
    oldest = int(gradient[0, :, 0].nonzero()[0, 0])
    # At the worst place of a group all of it; here, at the end of one, some positions fewer.
    assert 60 - whole <= oldest <= 60 - whole + 4 < 60 - direct


@pytest.mark.parametrize("option", ["rate", "channels", "layers", "embedding"])
def test_impossible_sizes_are_refused(option: str) -> None:
    with pytest.raises(SeqgenError, match=f"{option} 0"):
        ContextWaveNet(ContextWaveNet.Config(**{option: 0}))
