"""Bodies seen from inside: what they show is a stream like any other, and what they say is the same."""

from __future__ import annotations

import torch

from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.gain import GainNormalized
from seqgen.models.wavernn import WaveRNN
from seqgen.stream.observed import Observed
from seqgen.stream.verify import inputs, verify


def test_a_gain_normalized_body_shows_what_its_own_body_shows() -> None:
    torch.manual_seed(0)  # of weights by chance a rectifier may be dead, and the reach then measured too short
    examples = (one.density for one in AutoRegressive.examples())
    body = next(one.body for one in examples if isinstance(one.body, GainNormalized) and one.body.observed_dims)
    body = body.double()
    seen = Observed(body)
    verify(seen, length=30)
    x, cond = inputs(body, 2, 16, seed=1)
    outputs, inside = seen.parted(seen(x, cond))
    assert torch.equal(outputs, body(x, cond))
    assert [one.shape[-1] for one in inside] == list(body.observed_dims)


def test_a_byte_is_told_from_its_half_of_the_state() -> None:
    body = WaveRNN(WaveRNN.Config(hidden=8, conditioned=False)).double()
    x, _ = inputs(body, 2, 12, seed=0)
    logits, after, (halves,) = body.observe(x, body.init_state(2))
    for place, inner, outer in ((0, body.o1, body.o2), (1, body.o3, body.o4)):
        told = outer(torch.relu(inner(halves[:, place::2])))
        torch.testing.assert_close(told, logits[:, place::2], atol=1e-12, rtol=1e-12)
    assert torch.equal(halves[:, -2], after.top)
    assert torch.equal(halves[:, -1], after.bottom)
