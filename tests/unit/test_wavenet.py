"""WaveNet against its equations written out anew: values, gradients, receptive field, streaming, likelihood."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.wavenet import WaveNet, receptive_field
from seqgen.nets.layers import Dense
from seqgen.stream.combinators import Interpolate
from seqgen.stream.state import leaves, merge, rows
from tests.runtime.voices import lively

SIZES: dict[str, Any] = {
    "layers": 5,
    "dilation_cycle": 3,
    "residual_channels": 6,
    "gate_channels": 5,
    "skip_channels": 7,
    "head_channels": 8,
    "outputs": 4,
}
KINDS: dict[str, dict[str, Any]] = {
    "symbols": {"vocab_size": 11, "conditioned": False},
    "symbols-conditioned": {"vocab_size": 11, "kernel": 3, "input_kernel": 1},
    "real": {"vocab_size": 0, "conditioned": False, "kernel": 3, "input_kernel": 3},
    "real-conditioned": {"vocab_size": 0, "unit": 0.25},
}


def make(*, dtype: torch.dtype = torch.float64, **options: Any) -> WaveNet:
    body = WaveNet(WaveNet.Config(**(SIZES | options)))
    lively(body, seed=4)
    return body.to(dtype)


@pytest.fixture(params=KINDS)
def body(request: pytest.FixtureRequest) -> WaveNet:
    return make(**KINDS[request.param])


def data(body: WaveNet, length: int, *, batch: int = 2) -> tuple[Tensor, Tensor | None]:
    """Inputs and conditioning."""
    draw = torch.Generator().manual_seed(8)
    spec, dtype = body.spec, body.zeros(0).dtype
    symbols = torch.randint(max(1, spec.vocab_size), (batch, length), generator=draw)
    real = torch.randn(batch, length, 1, generator=draw, dtype=torch.float64).to(dtype)
    cond = torch.randn(batch, length, spec.cond_dim, generator=draw, dtype=torch.float64).to(dtype)
    return (real if spec.in_dim else symbols), (cond if spec.cond_dim else None)


def reference(body: WaveNet, x: Tensor, cond: Tensor | None, *, dilation_cycle: int = 3) -> Tensor:
    """The published equations over whole sequences, channels first, by zero-padded dilated convolutions."""
    weight = dict(body.named_parameters())
    residual, gate = weight["front.bias"].shape[0], SIZES["gate_channels"]
    a = (
        F.one_hot(x, body.spec.vocab_size).to(weight["front.bias"]) @ weight["embedding.weight"]
        if x.dim() == 2
        else x / body.unit
    )
    a = a.transpose(1, 2)
    front = weight["front.weight"]
    a = F.conv1d(F.pad(a, (front.shape[2] - 1, 0)), front, weight["front.bias"])
    total: Any = 0
    for layer in range(SIZES["layers"]):
        dilation = 2 ** (layer % dilation_cycle)
        taps = weight[f"gates.{layer}.weight"].unflatten(1, (-1, residual)).transpose(1, 2)
        before = F.pad(a, ((taps.shape[2] - 1) * dilation, 0))
        made = F.conv1d(before, taps, weight.get(f"gates.{layer}.bias"), dilation=dilation)
        if cond is not None:
            made = made + cond.transpose(1, 2)[:, 2 * gate * layer : 2 * gate * (layer + 1)]
        z = torch.tanh(made[:, :gate]) * torch.sigmoid(made[:, gate:])
        total = total + F.conv1d(z, weight["skip.weight"][:, gate * layer : gate * (layer + 1), None])
        if layer + 1 < SIZES["layers"]:
            a = a + F.conv1d(z, weight[f"residuals.{layer}.weight"][..., None], weight[f"residuals.{layer}.bias"])
    hidden = torch.relu(total + weight["skip.bias"][:, None])
    hidden = torch.relu(F.conv1d(hidden, weight["head.weight"][..., None], weight["head.bias"]))
    return F.conv1d(hidden, weight["out.weight"][..., None], weight["out.bias"]).transpose(1, 2)


def in_blocks(body: WaveNet, x: Tensor, cond: Tensor | None, sizes: tuple[int, ...]) -> tuple[Tensor, Any]:
    """In blocks of ``sizes``, over and over."""
    state, made, start = body.init_state(x.shape[0]), [], 0
    while start < x.shape[1]:
        stop = min(x.shape[1], start + sizes[len(made) % len(sizes)])
        y, state = body.step(x[:, start:stop], state, None if cond is None else cond[:, start:stop])
        made.append(y)
        start = stop
    return torch.cat(made, dim=1), state


# The equations


@pytest.mark.parametrize("sizes", [(200,), (1,)], ids=["block", "elements"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_both_paths_are_the_published_equations(
    body: WaveNet, sizes: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    body = body.to(dtype)
    x, cond = data(body, 3 * (body.spec.context or 0) + 2)
    with torch.no_grad():
        expected = reference(body, x, cond)
        made, _ = in_blocks(body, x, cond, sizes)
        wrong = reference(body, x, cond, dilation_cycle=2)
    scale = max(1.0, float(expected.abs().max()))
    assert (made - expected).abs().max() <= tolerance * scale
    assert (wrong - expected).abs().max() > 1e-2 * scale


@pytest.mark.parametrize("sizes", [(200,), (1,), (3, 1, 9)], ids=str)
def test_gradients_are_those_of_the_published_equations(body: WaveNet, sizes: tuple[int, ...]) -> None:
    x, cond = data(body, (body.spec.context or 0) + 5)
    wanted = [*body.parameters(), *([x] if body.spec.in_dim else []), *([] if cond is None else [cond])]
    for tensor in wanted:
        tensor.requires_grad_()
    expected = reference(body, x, cond)
    slope = torch.linspace(-1, 1, expected.numel(), dtype=expected.dtype).reshape(expected.shape)
    gradients = torch.autograd.grad((expected * slope).sum(), wanted)
    made = torch.autograd.grad((in_blocks(body, x, cond, sizes)[0] * slope).sum(), wanted)
    for got, right in zip(made, gradients, strict=True):
        assert right.abs().max() > 0  # every weight takes part
        torch.testing.assert_close(got, right, rtol=1e-9, atol=1e-10)


def test_conditioning_projected_before_the_interpolation_is_the_published_one() -> None:
    """Section 2.5 projects the up-sampled features in each layer; here they arrive projected."""
    torch.manual_seed(0)
    frames, project = torch.randn(2, 7, 3), Dense(3, 10)
    torch.nn.init.zeros_(project.linear.bias)
    first, last = Interpolate(4, dim=10)(project(frames)), project(Interpolate(4, dim=3)(frames))
    torch.testing.assert_close(first, last)


def test_nothing_of_conditioning_is_no_conditioning() -> None:
    conditioned = make(vocab_size=11)
    plain = make(vocab_size=11, conditioned=False)
    weights = {f"gates.{layer}.bias": torch.zeros(10, dtype=torch.float64) for layer in range(5)}
    plain.load_state_dict(conditioned.state_dict() | weights)
    x, cond = data(conditioned, 20)
    assert torch.equal(conditioned(x, torch.zeros_like(cond)), plain(x))


# What one output depends on


@pytest.mark.parametrize(
    ("layers", "dilation_cycle", "kernel", "front", "expected"),
    [(10, 10, 2, 1, 1024), (30, 10, 2, 2, 3071), (30, 10, 3, 1, 6139), (7, 1, 2, 1, 8), (7, 7, 2, 2, 129)],
)
def test_the_receptive_field_is_the_published_one(
    layers: int, dilation_cycle: int, kernel: int, front: int, expected: int
) -> None:
    with torch.device("meta"):
        body = WaveNet(WaveNet.Config(layers=layers, dilation_cycle=dilation_cycle, kernel=kernel, input_kernel=front))
    assert body.spec.context == expected == receptive_field(body.dilations, kernel=kernel, input_kernel=front)
    assert body.spec.latency == 0


@pytest.mark.parametrize(("kernel", "front"), [(2, 1), (2, 3), (3, 2), (4, 1)])
def test_gradients_end_at_the_edge_of_the_receptive_field(kernel: int, front: int) -> None:
    body = make(vocab_size=0, conditioned=False, kernel=kernel, input_kernel=front)
    reach = body.spec.context or 0
    x = data(body, reach + 6)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(body(x)[:, -2].sum(), x)
    seen = gradient[0, :, 0] != 0
    assert seen.nonzero().flatten().tolist() == list(range(5, reach + 5))


@pytest.mark.parametrize("sizes", [(200,), (1,)], ids=["block", "elements"])
@pytest.mark.parametrize("place", [0, 7, 30])
def test_an_element_moves_the_next_prediction_and_none_before(
    body: WaveNet, sizes: tuple[int, ...], place: int
) -> None:
    """By the elements themselves, which the body gets one position later."""
    x, cond = data(body, 33)
    other = x.clone()
    other[:, place] = x[:, place] + 0.5 if body.spec.in_dim else (x[:, place] + 1) % 11
    start = torch.zeros_like(x[:, :1])
    with torch.no_grad():
        before, after = (in_blocks(body, torch.cat([start, e], 1), cond_of(cond), sizes)[0] for e in (x, other))
    assert torch.equal(before[:, : place + 1], after[:, : place + 1])
    assert (before[:, place + 1] != after[:, place + 1]).flatten(1).any(dim=1).all()


def cond_of(cond: Tensor | None) -> Tensor | None:
    """Conditioning of one position more."""
    return None if cond is None else torch.cat([cond, cond[:, -1:]], dim=1)


# Streaming


@pytest.mark.parametrize("sizes", [(1,), (2,), (1, 3, 17), (40, 1, 1), (101, 1)], ids=str)
def test_any_blocks_are_one_block(body: WaveNet, sizes: tuple[int, ...]) -> None:
    x, cond = data(body, 4 * (body.spec.context or 0) + 3)
    with torch.no_grad():
        expected, last = body.step(x, body.init_state(2), cond)
        made, state = in_blocks(body, x, cond, sizes)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-10)
    for (name, got), (_, right) in zip(leaves(state), leaves(last), strict=True):
        torch.testing.assert_close(got, right, rtol=0, atol=1e-10, msg=name)


def test_the_state_is_the_last_inputs_of_every_layer() -> None:
    body = make(**KINDS["symbols-conditioned"])
    state = body.init_state(3)
    assert body.dilations == (1, 2, 4, 1, 2)
    assert body.lengths == (2, 4, 8, 2, 4)
    assert [tuple(leaf.shape) for leaf in state] == [(3, 0, 6), (3, 20, 6), (3,)]


def test_a_step_replaces_one_row_of_each_layer() -> None:
    """Ring buffers: nothing is moved along."""
    body = make(vocab_size=11, conditioned=False)
    x, _ = data(body, 40)
    _, state = body.step(x[:, :39], body.init_state(2))
    _, after = body.step(x[:, 39:], state)
    changed = (state.queues != after.queues).any(dim=2)
    places = torch.tensor([39 % ring for ring in body.lengths]) + torch.tensor([0, 1, 3, 7, 8])
    assert changed.nonzero()[:, 1].tolist() == places.tolist() * 2


@pytest.mark.parametrize("sizes", [(8,), (1,)], ids=["block", "elements"])
def test_streams_of_different_ages_share_a_batch(body: WaveNet, sizes: tuple[int, ...]) -> None:
    """A server steps whoever is there together."""
    x, cond = data(body, 45)
    ages = (3, 37)
    with torch.no_grad():
        expected = torch.stack([body(x, cond)[row, age : age + 8] for row, age in enumerate(ages)])
        states = []
        for row, age in enumerate(ages):
            _, state = body.step(x[:, :age], body.init_state(2), None if cond is None else cond[:, :age])
            states.append(rows(state, slice(row, row + 1)))
        pieces = [
            torch.stack([t[row, age : age + 8] for row, age in enumerate(ages)]) for t in (x, cond) if t is not None
        ]
        state, made = merge(states), []
        for start in range(0, 8, sizes[0]):
            block = [piece[:, start : start + sizes[0]] for piece in pieces]
            y, state = body.step(block[0], state, *block[1:])
            made.append(y)
    torch.testing.assert_close(torch.cat(made, dim=1), expected, rtol=0, atol=1e-10)


def test_half_precision_keeps_the_sample() -> None:
    """Two neighbouring 16-bit samples are one number in bfloat16, and must not be to the network."""
    body = make(vocab_size=0, conditioned=False, dtype=torch.float32)
    low, high = (torch.full((1, 30, 1), value / 32768) for value in (20000, 20001))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fronts = [body.front.step(x, body.front.init_state(1))[0] for x in (low, high)]
        entered = [body.step(x, body.init_state(1))[1].queues[:, 0] for x in (low, high)]
    assert torch.equal(*fronts)
    assert not torch.equal(*entered)


# Likelihood


def test_probabilities_of_all_sequences_sum_to_one() -> None:
    body = make(vocab_size=3, outputs=3, conditioned=False, dtype=torch.float32)
    generator = AutoRegressive(body, Categorical(Categorical.Config(classes=3)), None, start=1, symbols_per_sample=1)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    scores = generator.log_prob(every).detach().double().sum(dim=1)
    assert abs(float(scores.exp().sum()) - 1) <= 1e-6
    assert scores.std() > 0.1


# What is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": 0}, "layers is 0; give 1 or more"),
        ({"kernel": 1}, "kernel is 1; give 2 or more"),
        ({"input_kernel": 0}, "input_kernel is 0"),
        ({"residual_channels": -1}, "residual_channels is -1"),
        ({"outputs": 0}, "outputs is 0"),
        ({"vocab_size": -1}, "vocab_size is -1; give 0 or more"),
        ({"dilation_cycle": 0}, "dilation_cycle is 0"),
        ({"unit": 0.0}, "unit is 0.0; give a positive amplitude"),
        ({"unit": float("nan")}, "unit is nan"),
        ({"dilation_cycle": 17}, r"dilation_cycle is 17, the largest dilation would be 2\^16; choose at most 16"),
    ],
)
def test_sizes_that_make_no_network_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        make(**options)


@pytest.mark.parametrize("length", [1, 20])
def test_conditioning_that_does_not_fit_is_refused(length: int) -> None:
    body = make(vocab_size=11)
    x, cond = data(body, length)
    assert cond is not None
    with pytest.raises(SeqgenError, match=rf"no conditioning; give cond \[B, {length}, 50\]"):
        body.step(x, body.init_state(2))
    for wrong in (cond[:, :-1], cond_of(cond), cond[..., :-1]):
        with pytest.raises(SeqgenError, match=rf"{length} elements with conditioning .* \[B, {length}, 50\]"):
            body.step(x, body.init_state(2), wrong)
