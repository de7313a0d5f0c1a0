"""Contrastive predictive coding: its encoders, its negatives and its loss."""

from __future__ import annotations

import pytest
import torch

from seqgen.errors import SeqgenError
from seqgen.models.context_encoder import ContextEncoder
from seqgen.models.sentence_encoder import SentenceEncoder
from seqgen.models.waveform_encoder import WaveformEncoder
from seqgen.stream.observed import Observed
from seqgen.stream.verify import verify


def encoder(**options: object) -> WaveformEncoder:
    """The paper's encoder with few channels."""
    torch.manual_seed(0)
    return WaveformEncoder(WaveformEncoder.Config(**{"channels": 6, "hidden": 5, **options}))  # type: ignore[arg-type]


def latents(net: ContextEncoder, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net.observe(x, net.init_state(len(x)))[2][0]


def test_a_window_of_20480_samples_has_128_frames_of_512_latents_and_256_contexts() -> None:
    net = WaveformEncoder(WaveformEncoder.Config())
    with torch.no_grad():
        c, _, (z,) = net.observe(torch.zeros(1, 20480, 1), net.init_state(1))
    assert c.shape == (1, 128, 256)
    assert z.shape == (1, 128, 512)
    assert (net.spec.down, net.front.spec.context, net.spec.block) == (160, 465, 160)


@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_a_latent_changes_with_its_465_samples_and_no_others(normalization: str) -> None:
    net, frame = encoder(normalization=normalization).double(), 5
    x = torch.randn(1, 10 * 160, 1, dtype=torch.float64)
    reference, last = latents(net, x)[0, frame], (frame + 1) * 160
    for sample, seen in ((last - 466, False), (last - 465, True), (last - 1, True), (last, False)):
        other = x.clone()
        other[0, sample] += 5
        assert bool((latents(net, other)[0, frame] != reference).any()) is seen, sample


def test_frames_before_the_latency_see_padding_and_those_after_it_do_not() -> None:
    """A constant signal tells: what has seen no zeros is the same everywhere."""
    net = encoder()
    z = latents(net, torch.ones(1, 8 * 160, 1))[0]
    assert net.spec.latency == 2
    torch.testing.assert_close(z[2:], z[2:3].expand(6, -1))
    assert not torch.allclose(z[1], z[2])


def test_contexts_know_no_later_latent() -> None:
    net = encoder().double()
    x = torch.randn(1, 10 * 160, 1, dtype=torch.float64)
    other = x.clone()
    other[:, 6 * 160 :] = 0
    with torch.no_grad():
        c, changed = net(x), net(other)
    assert torch.equal(c[:, :6], changed[:, :6])
    assert not torch.allclose(c[:, 6], changed[:, 6])


@pytest.mark.parametrize("made", [*WaveformEncoder.examples(), *SentenceEncoder.examples()])
def test_contexts_and_latents_stream(made: ContextEncoder) -> None:
    verify(Observed(made.double()), length=30)


def test_a_sentence_is_encoded_without_its_padding_and_its_neighbours() -> None:
    torch.manual_seed(0)
    net = SentenceEncoder(SentenceEncoder.Config(vocab_size=6, length=4, embedding=3, channels=5, hidden=4))
    short = latents(net, torch.tensor([[0, 1, 5, 5, 2, 2, 2, 2, 5, 5, 5, 5]]))[0]
    longer = SentenceEncoder(SentenceEncoder.Config(vocab_size=6, length=7, embedding=3, channels=5, hidden=4))
    longer.load_state_dict(net.state_dict())
    torch.testing.assert_close(latents(longer, torch.tensor([[0, 1, 5, 5, 5, 5, 5]]))[0, 0], short[0])
    assert not short[2].any()


@pytest.mark.parametrize("options", [{"kernels": (10, 8)}, {"strides": (5, 9, 2, 2, 2)}, {"channels": 0}])
def test_sizes_that_make_no_encoder_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SeqgenError, match="as many kernels as strides"):
        encoder(**options)


def test_blocks_of_no_whole_number_of_frames_are_refused() -> None:
    with pytest.raises(SeqgenError, match="multiple of 160"):
        encoder()(torch.zeros(1, 161, 1))
    with pytest.raises(SeqgenError, match="whole sentences, of 4"):
        SentenceEncoder(SentenceEncoder.Config(vocab_size=6, length=4))(torch.zeros(1, 6, dtype=torch.int64))
