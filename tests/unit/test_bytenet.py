"""ByteNet against its published equations written out anew, and what must hold of its decoder, encoder and norms."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.bytenet import ByteNet
from seqgen.models.bytenet_encoder import ByteNetEncoder
from seqgen.nets.dilated import DropBytes, dilated, product
from seqgen.nets.normalization import LayerNormalization, SubBatchNormalization
from seqgen.nets.residual_blocks import BLOCKS, MultiplicativeUnit
from seqgen.stream.state import leaves, table
from seqgen.stream.verify import verify

D = 4
KINDS: dict[str, dict[str, Any]] = {
    "relu": {},
    "multiplicative": {"block": "multiplicative", "kernel": 2},
    "columns": {"cond_dim": 2 * D},
    "multiplicative-columns": {"block": "multiplicative", "cond_dim": 2 * D},
}


def lively(module: nn.Module) -> None:
    """Weights that are nowhere at a fixed point of the equations."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(parameter))


def make(**options: Any) -> ByteNet:
    torch.manual_seed(0)
    sizes = {"vocab_size": 5, "outputs": 5, "channels": D, "cycles": 2, "dilations": (1, 3)}
    body = ByteNet(ByteNet.Config(**(sizes | options)))
    lively(body)
    return body.double()


@pytest.fixture(params=KINDS)
def body(request: pytest.FixtureRequest) -> ByteNet:
    return make(**KINDS[request.param])


def data(body: ByteNet, length: int, *, batch: int = 2) -> tuple[Tensor, Tensor | None]:
    draw = torch.Generator().manual_seed(8)
    x = torch.randint(body.spec.vocab_size, (batch, length), generator=draw)
    cond = torch.randn(batch, length, body.spec.cond_dim, generator=draw, dtype=torch.float64)
    return x, cond if body.spec.cond_dim else None


# The equations


def norm(x: Tensor, weight: dict[str, Tensor], name: str) -> Tensor:
    """Layer normalization of ``[C, T]``, position by position."""
    columns = [(c - c.mean()) / (c.var(correction=0) + 1e-5).sqrt() for c in x.unbind(1)]
    return torch.stack(columns, 1) * weight[f"{name}.gain"][:, None] + weight[f"{name}.bias"][:, None]


def taps(x: Tensor, matrix: Tensor, dilation: int) -> Tensor:
    """Masked convolution of ``[C, T]``."""
    kernel = matrix.unflatten(1, (-1, x.shape[0])).transpose(1, 2)
    return F.conv1d(F.pad(x, ((kernel.shape[2] - 1) * dilation, 0))[None], kernel, dilation=dilation)[0]


def rectified(x: Tensor, weight: dict[str, Tensor], at: str, dilation: int) -> Tensor:
    h = weight[f"{at}.narrow"] @ norm(x, weight, f"{at}.input_norm").relu()
    h = taps(norm(h, weight, f"{at}.inner_norm").relu(), weight[f"{at}.taps"], dilation)
    h = norm(h, weight, f"{at}.output_norm").relu()
    return x + weight[f"{at}.widen"] @ h + weight[f"{at}.widen_bias"][:, None]


def multiplicative(x: Tensor, weight: dict[str, Tensor], at: str, dilation: int) -> Tensor:
    h = weight[f"{at}.narrow"] @ norm(x, weight, f"{at}.input_norm")
    parts = []
    for i, rows in enumerate(taps(h, weight[f"{at}.unit.taps"], dilation).split(D)):
        own = {f"n.{k}": weight[f"{at}.unit.norm.{k}"][i * D : (i + 1) * D] for k in ("gain", "bias")}
        parts.append(norm(rows, own, "n"))
    g1, g2, g3 = (torch.sigmoid(part) for part in parts[:3])
    h = g1 * torch.tanh(g2 * h + g3 * torch.tanh(parts[3]))
    return x + weight[f"{at}.widen"] @ h + weight[f"{at}.widen_bias"][:, None]


def reference(body: ByteNet, x: Tensor, cond: Tensor | None) -> Tensor:
    """Section 3, sequence by sequence, channels first, by zero-padded convolutions."""
    weight = dict(body.named_parameters())
    step = multiplicative if "blocks.0.unit.taps" in weight else rectified
    made = []
    for row, symbols in enumerate(x):
        a = weight["embedding.weight"][symbols].t()
        a = a if cond is None else a + cond[row].t()
        for i, dilation in enumerate((1, 3, 1, 3)):
            a = step(a, weight, f"blocks.{i}", dilation)
        hidden = (weight["head"] @ a + weight["head_bias"][:, None]).relu()
        made.append((weight["out"] @ hidden + weight["out_bias"][:, None]).t())
    return torch.stack(made)


def in_blocks(body: ByteNet, x: Tensor, cond: Tensor | None, size: int) -> Tensor:
    state, made = body.init_state(len(x)), []
    for start in range(0, x.shape[1], size):
        part = None if cond is None else cond[:, start : start + size]
        y, state = body.step(x[:, start : start + size], state, part)
        made.append(y)
    return torch.cat(made, 1)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_blocks_of_any_length_are_the_published_equations(body: ByteNet, size: int) -> None:
    x, cond = data(body, 40)
    with torch.no_grad():
        torch.testing.assert_close(in_blocks(body, x, cond, size), reference(body, x, cond), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [1, 24])
def test_gradients_are_those_of_the_published_equations(body: ByteNet, size: int) -> None:
    x, cond = data(body, 24)
    wanted = [*body.parameters(), *([] if cond is None else [cond.requires_grad_()])]
    slope = torch.randn(2, 24, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad((reference(body, x, cond) * slope).sum(), wanted)
    got = torch.autograd.grad((in_blocks(body, x, cond, size) * slope).sum(), wanted)
    for one, other in zip(got, expected, strict=True):
        assert other.abs().max() > 0  # every weight takes part
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_half_precision_is_near(body: ByteNet) -> None:
    body = body.float()
    x, cond = data(body, 20)
    cond = None if cond is None else cond.float()
    exact = body(x, cond)
    with torch.autocast("cpu", torch.bfloat16):
        made, state = body.step(x, body.init_state(2), cond)
    assert (made - exact).abs().mean() < 0.05 * exact.abs().mean()
    assert {leaf.dtype for _, leaf in leaves(state)} == {torch.float32}
    made.sum().backward()


@pytest.mark.parametrize("block", BLOCKS)
def test_parameters_of_a_block_are_counted_by_the_formula(block: str) -> None:
    """(k/4 + 1)(2d)² weights without gains and biases; a multiplicative unit has four convolutions in place of one."""
    kernel, d = 3, 20
    body = BLOCKS[block](d, kernel=kernel, dilation=2, norm="layer", dropout=0.0, share=1.0)
    matrices = sum(p.numel() for p in body.parameters() if p.dim() == 2)
    assert matrices == (kernel / 4 * (4 if block == "multiplicative" else 1) + 1) * (2 * d) ** 2


def test_a_unit_whose_gates_are_open_is_tanh() -> None:
    unit = MultiplicativeUnit(D, kernel=3, dilation=2, norm="layer").double()
    line = torch.randn(2, 9, D, dtype=torch.float64)
    with torch.no_grad():
        unit.norm.gain.zero_()
        unit.norm.bias.copy_(torch.tensor([50.0] * 3 * D + [0.0] * D))
        assert not torch.allclose(unit(line), line[:, 4:])
        torch.testing.assert_close(unit(line), torch.tanh(line[:, 4:]))
    torch.testing.assert_close(unit(line.requires_grad_()), torch.tanh(line[:, 4:]))


# What depends on what


def moved(body: ByteNet, place: int, length: int = 30) -> list[int]:
    """Positions whose outputs another symbol at ``place`` changes."""
    x, cond = data(body, length)
    other = x.clone()
    other[:, place] = (x[:, place] + 1) % 5
    with torch.no_grad():
        return (body(x, cond) != body(other, cond)).any(2).all(0).nonzero().flatten().tolist()


@pytest.mark.parametrize("place", [0, 3, 12])
def test_a_symbol_moves_what_comes_after_within_the_field_and_nothing_before(body: ByteNet, place: int) -> None:
    """The body reads the symbol before each position: outputs from there on may move."""
    reach = body.spec.context or 0
    assert moved(body, place) == list(range(place, min(30, place + reach)))


def test_a_norm_over_time_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalization of each channel over all positions, as public implementations have it."""
    body = make()
    monkeypatch.setattr(LayerNormalization, "forward", lambda self, x: F.layer_norm(x.mT, x.shape[1:2]).mT)
    assert min(moved(body, 12)) == 0


@pytest.mark.parametrize(
    ("cycles", "kernel", "expected"), [(6, 3, 373), (6, 2, 187), (5, 3, 311), (3, 5, 373), (1, 3, 63)]
)
def test_the_field_is_the_published_one(cycles: int, kernel: int, expected: int) -> None:
    """30 blocks of three taps see 373 positions; of two, 187: which is meant shows here."""
    torch.manual_seed(0)
    config = ByteNet.Config(vocab_size=3, outputs=1, channels=D, cycles=cycles, kernel=kernel, cond_dim=2 * D)
    body = ByteNet(config).double()
    assert body.spec.context == expected
    lively(body)
    columns = torch.randn(1, expected + 4, 2 * D, dtype=torch.float64, requires_grad=True)
    y = body(torch.zeros(1, expected + 4, dtype=torch.int64), columns)[:, -2].sum()
    (slope,) = torch.autograd.grad(y, columns)
    assert (slope[0] != 0).any(1).nonzero().flatten().tolist() == list(range(3, expected + 3))


def encoder(**options: Any) -> ByteNetEncoder:
    torch.manual_seed(0)
    sizes = {"vocab_size": 5, "channels": D, "cycles": 2, "dilations": (1, 3)}
    made = ByteNetEncoder(ByteNetEncoder.Config(**(sizes | options)))
    lively(made)
    return made.double()


@pytest.mark.parametrize(("kernel", "field"), [(3, 8), (5, 16)])
def test_an_encoder_looks_as_far_to_either_side(kernel: int, field: int) -> None:
    net, length = encoder(kernel=kernel), 60
    assert net.field == field
    x, lengths = torch.randint(5, (1, length)), torch.tensor([length])
    other = x.clone()
    other[:, 25] = (x[:, 25] + 1) % 5
    seen = (net(x, lengths) != net(other, lengths)).any(2)[0].nonzero().flatten().tolist()
    assert seen == list(range(25 - field, 25 + field + 1))


def test_a_source_symbol_is_heard_by_way_of_its_columns_alone() -> None:
    net, body = encoder(out_dim=2 * D), make(cond_dim=2 * D)
    source, target = torch.randint(5, (1, 50)), torch.randint(5, (1, 50))
    other = source.clone()
    other[:, 30] = (source[:, 30] + 1) % 5
    lengths = torch.tensor([50])
    with torch.no_grad():
        seen = (body(target, net(source, lengths)) != body(target, net(other, lengths))).any(2)[0]
    assert seen.nonzero().flatten().tolist() == list(range(30 - net.field, 50))


def test_without_columns_a_decoder_is_a_language_model() -> None:
    conditioned, plain = make(cond_dim=2 * D), make()
    plain.load_state_dict(conditioned.state_dict())
    x, cond = data(conditioned, 20)
    assert cond is not None
    assert torch.equal(conditioned(x, torch.zeros_like(cond)), plain(x))
    assert not torch.equal(conditioned(x, cond), plain(x))


def test_every_ring_is_a_leaf_with_a_name(body: ByteNet) -> None:
    taps = 2 if "unit.taps" in dict(body.blocks[0].named_parameters()) and body.spec.context == 9 else 3
    named = {leaf.name: leaf.shape for leaf in table(body.init_state(3))}
    assert named == {f"rings.{i}": ((taps - 1) * r, D) for i, r in enumerate((1, 3, 1, 3))}


@pytest.mark.parametrize("kind", [kind for kind, options in KINDS.items() if "cond_dim" not in options])
def test_probabilities_of_all_sequences_sum_to_one(kind: str) -> None:
    body = make(**(KINDS[kind] | {"vocab_size": 3, "outputs": 3}))
    density = AutoRegressive(body, Categorical(Categorical.Config(3)), None, start=0, symbols_per_sample=1)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    scores = density.log_prob(every).detach().sum(1)
    assert abs(float(scores.exp().sum()) - 1) < 1e-9
    assert scores.std() > 0.1


# Sub-batch normalization


def slopes(body: ByteNet, position: int) -> Tensor:
    """Gradients of row 0's outputs up to ``position`` in the columns of all rows, as sizes ``[B, T]``."""
    x, cond = data(body, 12, batch=4)
    assert cond is not None
    y = body.train()(x, cond.requires_grad_())
    (slope,) = torch.autograd.grad(y[0, : position + 1].square().sum(), cond)
    return slope.abs().sum(2)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_main_part_is_told_nothing_of_its_future(block: str) -> None:
    found = slopes(make(norm="sub-batch", cond_dim=2 * D, block=block), 5)
    assert found[0, :6].min() > 0
    assert not found[0, 6:].any()  # the row itself
    assert not found[1].any()  # the other row of its half
    assert found[2:].min() > 0  # the rows that its statistics are taken from


def test_ordinary_batch_norm_would_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SubBatchNormalization, "served", staticmethod(lambda statistics: statistics))
    found = slopes(make(norm="sub-batch", cond_dim=2 * D), 5)
    assert found[0, 6:].min() > 0


def test_settled_statistics_are_the_running_ones() -> None:
    """Out of training rows are what they would be alone, near to what they were in training."""
    body = make(norm="sub-batch").train()
    x = torch.randint(5, (64, 40))
    for _ in range(60):
        trained = body(x)
    settled = body.eval()(x)
    torch.testing.assert_close(body(x[:1]), settled[:1])
    assert (trained - settled).abs().mean() < 0.1 * settled.std()


@pytest.mark.parametrize("block", BLOCKS)
def test_settled_statistics_keep_the_laws_of_streams(block: str) -> None:
    body = make(norm="sub-batch", cond_dim=2 * D, block=block).train()
    body(*data(body, 20, batch=6))
    verify(body.eval(), length=30)


def test_one_row_has_nobody_to_take_statistics_from() -> None:
    with pytest.raises(SeqgenError, match="got one row; train with a batch_size of 2 or more"):
        make(norm="sub-batch").train()(torch.zeros(1, 5, dtype=torch.int64))


# Layers


@pytest.mark.parametrize(("kernel", "dilation", "length"), [(1, 1, 6), (2, 3, 1), (3, 2, 1), (3, 2, 5), (3, 2, 0)])
def test_a_dilated_convolution_of_channels_last_is_that_of_channels_first(
    kernel: int, dilation: int, length: int
) -> None:
    line = torch.randn(2, length + (kernel - 1) * dilation, 3, dtype=torch.float64)
    weight, bias = torch.randn(4, kernel * 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    made = dilated(line, weight, bias, dilation=dilation)
    assert made.shape == (2, length, 4)
    if length:
        taps = weight.unflatten(1, (kernel, 3)).mT
        torch.testing.assert_close(made, F.conv1d(line.mT, taps, bias, dilation=dilation).mT)


def test_a_product_is_a_linear_layer() -> None:
    x, weight, bias = torch.randn(2, 6, 3), torch.randn(4, 3), torch.randn(4)
    torch.testing.assert_close(product(x, weight, bias), F.linear(x, weight, bias))


def test_dropped_bytes_keep_the_mean() -> None:
    torch.manual_seed(0)
    drop, x = DropBytes(0.25), torch.ones(333, 301)
    made = drop(x)
    assert made.unique().tolist() == pytest.approx([0, 256 / 192])
    assert abs(float((made == 0).float().mean()) - 0.25) < 0.005
    assert abs(float(made.mean()) - 1) < 0.01
    shares = (made == 0).flatten()[: 8 * 12_000].view(-1, 8).float().mean(0)  # of each byte of a word
    assert (shares - 0.25).abs().max() < 0.02
    assert drop.eval()(x) is x


def test_dropout_changes_training_alone() -> None:
    torch.manual_seed(0)
    body = make(dropout=0.5)
    x, _ = data(body, 9)
    assert not torch.equal(body.train()(x), body(x))
    body.eval()
    assert torch.equal(body(x), body(x))
    torch.testing.assert_close(body(x), reference(body, x, None))


# What is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"channels": 0}, "channels is 0; give 1 or more"),
        ({"cycles": 0}, "cycles is 0"),
        ({"dilations": (1, 0)}, r"dilations\[1\] is 0"),
        ({"kernel": 1}, "kernel is 1; give 2 or more"),
        ({"cond_dim": 7}, "cond_dim is 7, with channels 4; give 0, or 8"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_make_no_network_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        make(**options)


def test_an_encoder_of_even_taps_is_refused() -> None:
    with pytest.raises(SeqgenError, match="kernel is 4; give an odd number"):
        encoder(kernel=4)


def test_columns_that_do_not_fit_are_refused() -> None:
    body = make(cond_dim=2 * D)
    x, cond = data(body, 6)
    assert cond is not None
    with pytest.raises(SeqgenError, match=r"6 symbols with no columns; give one column for each symbol, \[B, 6, 8\]"):
        body(x)
    with pytest.raises(SeqgenError, match=r"columns of shape \(2, 5, 8\)"):
        body(x, cond[:, 1:])
