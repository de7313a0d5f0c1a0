"""Densities of targets given sources: unfolding of columns over positions, and what a source can reach."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation import decoding, examples
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.decoding import Ending
from seqgen.generation.encoder_decoder import EncoderDecoder, Sources, Unfolding
from seqgen.models.attention import AttentionDecoder
from seqgen.models.wavenet import WaveNet
from seqgen.nets.layers import Identity
from seqgen.spec import Facts
from seqgen.stream.conditioning import Memory

SIZES = WaveNet.Config(layers=2, dilation_cycle=2, residual_channels=5, gate_channels=2, skip_channels=6,
                       head_channels=7, vocab_size=6, outputs=6)  # fmt: skip


def over(unfolding: Unfolding) -> EncoderDecoder:
    body = WaveNet(SIZES)
    made = EncoderDecoder(examples.SmallEncoder(vocab_size=5, out_dim=body.spec.cond_dim), body, unfolding).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return made


def sources(*lengths: int) -> Sources:
    symbols = torch.randint(5, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(2))
    return Sources(symbols, torch.tensor(lengths))


@pytest.mark.parametrize(("factor", "offset"), [(1.2, 0), (1.2, 1), (0.2, 0), (1.0, 2.5), (1.1, 0)])
def test_the_expected_length_is_the_ceiling_of_a_line(factor: float, offset: float) -> None:
    lengths = torch.arange(1, 60)
    ten = [-(-(round(factor * 10) * length + round(offset * 10)) // 10) for length in lengths.tolist()]
    assert Unfolding(factor, offset).expected(lengths).tolist() == ten


def test_padding_gives_column_t_to_position_t_and_zeros_behind_the_source() -> None:
    columns = torch.arange(1.0, 6.0).view(1, 5, 1).repeat(3, 1, 1)
    unfolded = Unfolding(1.5, 0.0).unfold(columns, torch.tensor([5, 2, 1]))
    assert unfolded[..., 0].tolist() == [
        [1, 2, 3, 4, 5, 0, 0, 0],
        [1, 2, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert Unfolding(0.5).unfold(columns, torch.tensor([5, 4, 3]))[..., 0].tolist() == [[1, 2, 3], [1, 2, 0], [1, 2, 0]]


def test_stretching_spreads_columns_over_the_expected_length() -> None:
    columns = torch.arange(1.0, 7.0).view(1, 6, 1).repeat(2, 1, 1)
    assert Unfolding(0.5, stretch=True).unfold(columns, torch.tensor([6, 4]))[..., 0].tolist() == [[2, 4, 6], [2, 4, 0]]
    assert Unfolding(2.0, stretch=True).unfold(columns[:1], torch.tensor([3]))[..., 0].tolist() == [[1, 1, 2, 2, 3, 3]]
    assert Unfolding(0.2, stretch=True).unfold(columns, torch.tensor([5, 1]))[..., 0].tolist() == [[3], [1]]


def test_jittered_columns_are_the_stretched_ones_where_nothing_is_left_to_chance() -> None:
    columns = torch.arange(1.0, 16.0).view(1, 15, 1).repeat(2, 1, 1)
    lengths = torch.tensor([15, 10])
    made = Unfolding(0.2, stretch=True, shift_jitter=1e-9).unfold_jittered(columns, lengths)
    plain = Unfolding(0.2, stretch=True).unfold(columns, lengths)
    assert torch.equal(made[:, : plain.shape[1]], plain)
    assert not made[:, plain.shape[1] :].any()


def test_jitter_turns_and_shifts_the_line_of_each_source() -> None:
    """Column ⌊(t + ½)·e^(ρ·u)/a + σ·u'⌋: one line a row, within its bounds, and all of them at last."""
    rows, length = 4000, 40
    columns = torch.arange(1.0, length + 1).view(1, length, 1).expand(rows, -1, -1)
    torch.manual_seed(0)
    made = Unfolding(0.2, stretch=True, rate_jitter=0.1, shift_jitter=6).unfold_jittered(
        columns, torch.full((rows,), length)
    )[..., 0]
    first, middle = made[:, 0], made[:, 4]
    lowest, highest = 22.5 * math.exp(-0.1) - 6, 22.5 * math.exp(0.1) + 6  # of the middle of the fifth digit's share
    assert middle.min() == math.floor(lowest) + 1
    assert middle.max() == math.floor(highest) + 1
    assert 0.2 < (first == 0).float().mean() < 0.4  # (2.5 + 6u < 0: a share of 0.29) before the source, nothing
    steps = made[:, 4] - made[:, 3]
    assert {3.0, 4.0, 5.0, 6.0} >= set(steps.unique().tolist()) >= {4.0, 5.0, 6.0}


def test_jitter_is_of_training_alone() -> None:
    model, plain = over(Unfolding(1.0, 1, stretch=True, shift_jitter=3)), over(Unfolding(1.0, 1, stretch=True))
    plain.load_state_dict(model.state_dict())
    x, given = torch.randint(6, (1, 9), generator=torch.Generator().manual_seed(3)), sources(12)
    with torch.no_grad():
        assert torch.equal(model.eval().log_prob(x, given), plain.log_prob(x, given))
        torch.manual_seed(1)
        assert not torch.equal(model.train().log_prob(x, given), plain.log_prob(x, given))


@pytest.mark.parametrize("stretch", [False, True])
def test_a_source_symbol_moves_only_what_its_columns_reach(stretch: bool) -> None:
    """A change of symbol i reaches columns i ± 1 of the small encoder, and from there what is decoded at
    the positions that have these columns, and later ones within the body's reach."""
    model = over(Unfolding(1.0, 1, stretch=stretch))
    given, x = sources(12), torch.randint(6, (1, 20), generator=torch.Generator().manual_seed(3))
    other = replace(given, symbols=given.symbols.clone())
    other.symbols[0, 5] = (given.symbols[0, 5] + 1) % 5
    with torch.no_grad():
        columns = [model.begin(one)[1] for one in (given, other)]
        assert columns[0] is not None
        assert columns[1] is not None
        places = (columns[0] != columns[1]).any(dim=2)[0].nonzero()[:, 0]
        moved = (model.log_prob(x, given) != model.log_prob(x, other))[0].nonzero()[:, 0]
    index = (2 * places + 1) * 12 // 26 if stretch else places
    assert sorted(set(index.tolist())) == [4, 5, 6]
    reach = model.decoder.body.spec.context
    assert reach is not None
    assert int(moved[0]) == int(places[0])
    assert int(places[-1]) <= int(moved[-1]) <= int(places[-1]) + reach - 1


def test_without_its_columns_the_decoder_is_a_language_model() -> None:
    """With the encoder's columns zero, sources do not matter, and scores are the body's own."""
    model = over(Unfolding(1.2))
    with torch.no_grad():
        for parameter in model.encoder.convolution.parameters():  # type: ignore[union-attr,operator]
            parameter.zero_()
        x = torch.randint(6, (2, 9), generator=torch.Generator().manual_seed(3))
        assert torch.equal(model.log_prob(x, sources(7, 3)), model.log_prob(x, sources(4, 9)))
        before = torch.cat([torch.zeros(2, 1, dtype=torch.int64), x[:, :-1]], dim=1)
        plain = model.decoder.body(before, torch.zeros(2, 9, model.encoder.out_dim, dtype=torch.float64))
        torch.testing.assert_close(model.log_prob(x, sources(7, 3)), model.decoder.distribution.log_prob(plain, x))


@pytest.mark.parametrize("length", [3, 12, 13, 30])
def test_targets_are_scored_and_made_below_and_above_the_expected_length(length: int) -> None:
    """⌈1.2·10⌉ = 12 symbols are expected; step by step and in one pass are the same on either side."""
    model, cond = over(Unfolding(1.2)), sources(10, 6)
    u = torch.from_numpy(noise.block(0, 0, 0, 2 * length)).view(2, length, 1).double()
    with torch.no_grad():
        made = model.sample(u, cond)
        assert made.shape == (2, length)
        state, columns = model.begin(cond)
        assert columns is not None
        assert columns.shape[1] == 12
        parts = []
        for place in range(length):
            column = columns[:, place : place + 1] if place < 12 else torch.zeros_like(columns[:, :1])
            params, state = model.decoder.step(made[:, place : place + 1], state, column)
            parts.append(model.decoder.distribution.log_prob(params, made[:, place : place + 1]))
        torch.testing.assert_close(torch.cat(parts, dim=1), model.log_prob(made, cond), rtol=0, atol=1e-9)
        found = decoding.beam(model.decoder, *model.begin(cond), Ending(None, length), width=2)
        assert found.symbols.shape == (2, 1, length)


@pytest.mark.parametrize("kind", ["columns", "memory"])
def test_a_row_does_not_depend_on_other_rows_or_on_padding(kind: str) -> None:
    """For both kinds of bodies."""
    model = over(Unfolding(1.2)) if kind == "columns" else attending()
    cond = sources(9, 4)
    x = torch.randint(6, (2, 8), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        together = model.log_prob(x, cond)
        alone = model.log_prob(x[1:], Sources(cond.symbols[1:, :4], cond.lengths[1:]))
        torch.testing.assert_close(alone, together[1:])
        cond.symbols[1, 4:] = (cond.symbols[1, 4:] + 1) % 5
        assert torch.equal(model.log_prob(x, cond), together)


def attending() -> EncoderDecoder:
    sizes = AttentionDecoder.Config(vocab_size=6, outputs=6, memory_dim=4, hidden=5, embedding=3)
    return EncoderDecoder(examples.SmallEncoder(vocab_size=5, out_dim=4), AttentionDecoder(sizes), Unfolding()).double()


def test_attention_weighs_columns_by_their_scores() -> None:
    """Luong et al., equations 5 to 8, written out for one position."""
    body = AttentionDecoder(AttentionDecoder.Config(vocab_size=6, outputs=6, memory_dim=4, hidden=5, embedding=3))
    columns = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made, after = body.step(torch.tensor([[2]]), body.init_state(1, Memory(columns, torch.tensor([2]))))
        h = after.hidden[0][0]  # [5]
        scores = torch.stack([h @ body.score.weight @ column for column in columns[0, :2]])
        seen = torch.softmax(scores, dim=0) @ columns[0, :2]
        expected = body.out(torch.tanh(body.combine.weight @ torch.cat([seen, h])))
        torch.testing.assert_close(made[0, 0], expected)
        longer = body.init_state(1, Memory(columns, torch.tensor([3])))
        assert not torch.allclose(body.step(torch.tensor([[2]]), longer)[0], made)


def test_a_memory_of_another_width_is_refused() -> None:
    body = AttentionDecoder(AttentionDecoder.Config(vocab_size=6, outputs=6, memory_dim=4))
    with pytest.raises(SeqgenError, match="columns of 4 channels, the memory has 3"):
        body.init_state(1, Memory(torch.zeros(1, 2, 3), torch.tensor([2])))


def build(encoder: Component, body: Component) -> EncoderDecoder:
    return EncoderDecoder.build(EncoderDecoder.Config(encoder, body), Facts(vocab_size=6))


ENCODER = Component("recurrent-encoder", {"vocab_size": 5, "hidden": 2})
ATTENTION = Component("attention-decoder", {"vocab_size": 6, "outputs": 6, "memory_dim": 4})


@pytest.mark.parametrize(
    ("encoder", "body", "said"),
    [
        (ENCODER, Component("recurrent", {"vocab_size": 6, "outputs": 6}), "4 channels, the body takes none"),
        (ENCODER, Component("attention-decoder", dict(ATTENTION.options) | {"memory_dim": 3}), "the body takes 3"),
        (ATTENTION, ATTENTION, "'attention-decoder' is no encoder"),
        (ENCODER, ENCODER, "'recurrent-encoder' is no body"),
    ],
)
def test_parts_that_do_not_fit_are_refused(encoder: Component, body: Component, said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        build(encoder, body)


def test_a_density_is_built_of_its_parts() -> None:
    made = build(ENCODER, ATTENTION)
    assert made.attends
    assert isinstance(made.decoder, AutoRegressive)
    assert made.log_prob(torch.zeros(1, 3, dtype=torch.int64), sources(4)).shape == (1, 3)


@pytest.mark.parametrize(("factor", "offset"), [(0.0, 0.0), (1.0, -1.0)])
def test_an_expectation_that_makes_no_sense_is_refused(factor: float, offset: float) -> None:
    with pytest.raises(SeqgenError, match="unfolding to"):
        Unfolding(factor, offset)


@pytest.mark.parametrize(("stretch", "rate", "shift"), [(False, 0.1, 0.0), (True, -0.1, 0.0), (True, 0.1, -1.0)])
def test_a_jitter_that_makes_no_sense_is_refused(stretch: bool, rate: float, shift: float) -> None:
    with pytest.raises(SeqgenError, match="unfolding with jitter"):
        Unfolding(1.0, stretch=stretch, rate_jitter=rate, shift_jitter=shift)


def test_a_source_without_symbols_and_no_source_are_refused() -> None:
    model = attending()
    x: Tensor = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(SeqgenError, match="without symbols"):
        model.log_prob(x, Sources(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([0])))
    with pytest.raises(SeqgenError, match="without its source"):
        model.log_prob(x)


def test_what_is_passed_on_is_the_same() -> None:
    layer: nn.Module = Identity(3)
    x = torch.randn(2, 4, 3)
    assert torch.equal(layer(x), x)
