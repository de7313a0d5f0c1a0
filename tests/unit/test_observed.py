"""Bodies seen from inside: what they show is a stream like any other, and what they say is the same."""

from __future__ import annotations

import pytest
import torch

from seqgen import registry
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.examples import networks
from seqgen.models.wavernn import WaveRNN
from seqgen.stream.observed import Observed
from seqgen.stream.verify import inputs, verify

BODIES = [body for body in networks(registry.MODELS) if body.observed_dims]
GAINED = [one.density.body for one in AutoRegressive.examples() if one.cond is not None and one.x.dim() == 3]
EVERY = [*BODIES, *(body for body in GAINED if body.observed_dims)]
NAMES = [f"{index}-{type(body).__name__}" for index, body in enumerate(EVERY)]


@pytest.mark.parametrize("index", range(len(EVERY)), ids=NAMES)
def test_what_a_body_shows_keeps_the_laws_of_streams(index: int) -> None:
    body = EVERY[index].double()
    seen = Observed(body).double()
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
