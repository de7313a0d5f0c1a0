"""The windowed Transformer against attention written out, score by score; long short-term memory against torch's."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.recurrent import Recurrent
from seqgen.models.transformer import Transformer
from seqgen.nets.lstm import LSTM
from seqgen.nets.windowed_attention import WindowedAttention
from seqgen.stream.state import leaves, table

SIZES: dict[str, Any] = {"vocab_size": 5, "outputs": 5, "channels": 8, "layers": 2, "heads": 2, "window": 4}


def make(**options: Any) -> Transformer:
    torch.manual_seed(0)
    body = Transformer(Transformer.Config(**(SIZES | options)))
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return body.double()


def turned(x: Tensor, place: int) -> Tensor:
    """One head's vector turned by its position, pair by pair."""
    half = len(x) // 2
    made = x.clone()
    for i in range(half):
        angle = place * 10_000.0 ** (-i / half)
        made[i] = x[i] * math.cos(angle) - x[half + i] * math.sin(angle)
        made[half + i] = x[i] * math.sin(angle) + x[half + i] * math.cos(angle)
    return made


def attended(net: WindowedAttention, x: Tensor) -> Tensor:
    """The published sum for one sequence ``[T, dim]``."""
    q, k, v = net.entering(x).chunk(3, dim=-1)
    made = []
    for t in range(len(x)):
        heads = []
        for head in range(net.heads):
            own = slice(head * q.shape[1] // net.heads, (head + 1) * q.shape[1] // net.heads)
            seen = range(max(0, t - net.window + 1), t + 1)
            asked = turned(q[t, own], t)
            scores = torch.stack([asked @ turned(k[j, own], j) for j in seen]) / math.sqrt(len(asked))
            heads.append(sum(w * v[j, own] for w, j in zip(scores.softmax(0), seen, strict=True)))
        made.append(torch.cat(heads))  # type: ignore[arg-type]
    return net.leaving(torch.stack(made))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 17])
@pytest.mark.parametrize(("heads", "window"), [(1, 1), (2, 4), (4, 6), (2, 30)])
def test_pieces_of_any_length_are_the_published_sum(heads: int, window: int, size: int) -> None:
    torch.manual_seed(1)
    net, x = WindowedAttention(8, heads=heads, window=window).double(), torch.randn(2, 17, 8, dtype=torch.float64)
    state, made = net.init_state(2), []
    for start in range(0, 17, size):
        y, state = net.step(x[:, start : start + size], state)
        made.append(y)
    expected = torch.stack([attended(net, row) for row in x])
    torch.testing.assert_close(torch.cat(made, 1), expected, rtol=0, atol=1e-12)
    assert state.held.tolist() == [min(17, window - 1)] * 2


def test_long_blocks_are_exact_in_single_precision() -> None:
    torch.manual_seed(1)
    net, x = WindowedAttention(8, heads=2, window=16), torch.randn(1, 20_000, 8)
    exact = net.double()(x.double())
    torch.testing.assert_close(net.float()(x).double(), exact, rtol=0, atol=2e-5)


def test_streams_of_different_ages_share_a_batch() -> None:
    body = make()
    x = torch.randint(5, (2, 12))
    young, old = (body.step(x[:, :age], body.init_state(2))[1] for age in (1, 8))
    mixed = tuple(type(a)(*(torch.stack([p[0], q[1]]) for p, q in zip(a, b, strict=True)))
                  for a, b in zip(young, old, strict=True))  # fmt: skip
    made = body.step(torch.stack([x[0, 1:5], x[1, 8:12]]), mixed)[0]
    expected = body(x)
    torch.testing.assert_close(made, torch.stack([expected[0, 1:5], expected[1, 8:12]]))


@pytest.mark.parametrize(("layers", "window", "context"), [(1, 1, 1), (2, 4, 7), (3, 6, 16)])
def test_a_symbol_is_heard_for_as_long_as_the_windows_add_up_to(layers: int, window: int, context: int) -> None:
    body = make(layers=layers, window=window)
    assert body.spec.context == context
    x = torch.randint(5, (1, 40))
    other = x.clone()
    other[:, 9] = (x[:, 9] + 1) % 5
    seen = (body(x) != body(other)).any(2)[0].nonzero().flatten().tolist()
    assert seen == list(range(9, 9 + context))


def test_the_block_is_the_published_one() -> None:
    body = make(layers=1)
    weight = dict(body.named_parameters())
    x = torch.randint(5, (1, 11))
    a = weight["embedding.weight"][x[0]]

    def norm(y: Tensor, name: str) -> Tensor:
        return F.layer_norm(y, (8,), weight[f"{name}.weight"], weight[f"{name}.bias"])

    a = a + attended(body.blocks[0].attention, norm(a, "blocks.0.attention_norm"))  # type: ignore[arg-type]
    inner = F.gelu(norm(a, "blocks.0.norm") @ weight["blocks.0.widen.weight"].t() + weight["blocks.0.widen.bias"])
    a = a + inner @ weight["blocks.0.narrow.weight"].t() + weight["blocks.0.narrow.bias"]
    expected = norm(a, "norm") @ weight["out.weight"].t() + weight["out.bias"]
    torch.testing.assert_close(body(x)[0], expected)


def test_probabilities_of_all_sequences_sum_to_one() -> None:
    body = make(vocab_size=3, outputs=3)
    density = AutoRegressive(body, Categorical(Categorical.Config(3)), None, start=0, symbols_per_sample=1)
    scores = density.log_prob(torch.tensor(list(itertools.product(range(3), repeat=4)))).detach().sum(1)
    assert abs(float(scores.exp().sum()) - 1) < 1e-9
    assert scores.std() > 0.1


def test_dropout_changes_training_alone() -> None:
    body = make(dropout=0.5)
    x = torch.randint(5, (2, 9))
    assert not torch.equal(body.train()(x), body(x))
    assert torch.equal(body.eval()(x), body(x))


def test_half_precision_is_near() -> None:
    body = make().float()
    x = torch.randint(5, (2, 30))
    with torch.autocast("cpu", torch.bfloat16):
        made, state = body.step(x, body.init_state(2))
    assert (made - body(x)).abs().mean() < 0.05 * made.abs().mean()
    assert {leaf.dtype for _, leaf in leaves(state)} == {torch.float32, torch.int64}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": 0}, "layers is 0; give 1 or more"),
        ({"window": 0}, "window is 0"),
        ({"channels": 6}, "6 channels for 2 heads; give a multiple of 4"),
        ({"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_sizes_that_make_no_network_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        make(**options)


# Long short-term memory


@pytest.mark.parametrize("size", [1, 4, 13])
def test_the_memory_is_torchs(size: int) -> None:
    torch.manual_seed(0)
    net, x = LSTM(3, 5).double(), torch.randn(2, 13, 3, dtype=torch.float64)
    same = torch.nn.LSTM(3, 5, batch_first=True).double()
    given = (net.input.weight, net.recurrent, net.input.bias, torch.zeros(20))
    for parameter, value in zip(same.parameters(), given, strict=True):
        parameter.data.copy_(value)
    expected, (hidden, cell) = same(x)
    state, made = net.init_state(2), []
    for start in range(0, 13, size):
        y, state = net.step(x[:, start : start + size], state)
        made.append(y)
    torch.testing.assert_close(torch.cat(made, 1), expected)
    torch.testing.assert_close(state.hidden, hidden[0])
    torch.testing.assert_close(state.cell, cell[0])


def test_a_recurrent_body_names_both_halves_of_a_memory() -> None:
    body = Recurrent(Recurrent.Config(vocab_size=5, outputs=5, hidden=4, layers=2, cell="lstm"))
    names = [leaf.name for leaf in table(body.init_state(1))]
    assert names == ["0.hidden", "0.cell", "1.hidden", "1.cell"]
    with torch.autocast("cpu", torch.bfloat16):
        made, state = body.step(torch.randint(5, (2, 6)), body.init_state(2))
    assert {leaf.dtype for _, leaf in leaves(state)} == {torch.float32}
    assert made.shape == (2, 6, 5)
