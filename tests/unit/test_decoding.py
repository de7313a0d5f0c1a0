"""Decoding on explicit states: greedy, by chance, by beam, against what can be enumerated."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqgen.errors import SeqgenError
from seqgen.generation import decoding, examples
from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.generation.decoding import Decoded, Ending
from seqgen.generation.encoder_decoder import EncoderDecoder, Sources, Unfolding
from seqgen.models.attention import AttentionDecoder

VOCAB, LIMIT, STOP = 3, 4, 1
ENDING = Ending(STOP, LIMIT)


def sharpened(model: torch.nn.Module) -> None:
    """Weights so uneven that what is likely depends much on what came before."""
    generator = torch.Generator().manual_seed(10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


@pytest.fixture
def model() -> AutoRegressive:
    made = language_model(VOCAB).double()
    sharpened(made)
    return made


@pytest.fixture
def translator() -> EncoderDecoder:
    body = AttentionDecoder(
        AttentionDecoder.Config(vocab_size=VOCAB, outputs=VOCAB, memory_dim=4, hidden=6, embedding=3)
    )
    made = EncoderDecoder(examples.SmallEncoder(vocab_size=5, out_dim=4), body, Unfolding()).double()
    sharpened(made)
    return made


SOURCES = Sources(torch.tensor([[0, 1, 2, 3], [4, 0, 0, 0], [2, 2, 1, 0]]), torch.tensor([4, 1, 3]))


def every_sequence() -> list[tuple[int, ...]]:
    """All sequences that end with the stop symbol, or at the limit."""
    ended = [
        (*begin, STOP)
        for length in range(LIMIT)
        for begin in itertools.product([one for one in range(VOCAB) if one != STOP], repeat=length)
    ]
    return ended + list(itertools.product([one for one in range(VOCAB) if one != STOP], repeat=LIMIT))


def scored(model: AutoRegressive, sequence: tuple[int, ...], alpha: float) -> float:
    nats = float(model.log_prob(torch.tensor([sequence])).sum())
    return nats / float(((5 + len(sequence)) / 6) ** alpha)


def sequences(found: Decoded, row: int = 0) -> list[tuple[int, ...]]:
    return [
        tuple(symbols[:length].tolist()) for symbols, length in zip(found.symbols[row], found.lengths[row], strict=True)
    ]


@torch.no_grad()
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_beam_as_wide_as_all_sequences_finds_the_best_ones(model: AutoRegressive, alpha: float) -> None:
    every = sorted(every_sequence(), key=lambda one: -scored(model, one, alpha))
    found = decoding.beam(model, model.init_state(1), None, ENDING, width=VOCAB**LIMIT, best=7, normalization=alpha)
    assert sequences(found) == every[:7]
    expected = [scored(model, one, alpha) for one in every[:7]]
    torch.testing.assert_close(found.scores[0], torch.tensor(expected, dtype=torch.float64))


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_search_is_not_over_while_length_can_still_help(seed: int) -> None:
    """An ended sequence leads at first and is overtaken, where length counts for much."""
    model = language_model(VOCAB).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    best = max(every_sequence(), key=lambda one: scored(model, one, 4.0))
    found = decoding.beam(model, model.init_state(1), None, ENDING, width=VOCAB**LIMIT, normalization=4.0)
    assert len(best) == LIMIT
    assert sequences(found) == [best]


@torch.no_grad()
def test_all_sequences_together_have_all_the_probability(model: AutoRegressive) -> None:
    every = len(every_sequence())
    found = decoding.beam(model, model.init_state(1), None, ENDING, width=every, best=every)
    assert len(set(sequences(found))) == every
    assert float(found.log_prob.exp().sum()) == pytest.approx(1, abs=1e-12)


@torch.no_grad()
def test_a_narrow_beam_can_miss_what_a_wide_one_finds(model: AutoRegressive) -> None:
    """Else the tests above would say nothing of the width."""
    best = [float(decoding.beam(model, model.init_state(1), None, ENDING, width=width).log_prob) for width in (1, 81)]
    assert best[0] < best[1] - 1e-3


@torch.no_grad()
def test_a_beam_of_width_one_is_greedy(translator: EncoderDecoder) -> None:
    begun = translator.begin(SOURCES)
    narrow = decoding.beam(translator.decoder, *begun, ENDING, width=1)
    simple = decoding.decode(translator.decoder, *begun, decoding.greedy, ENDING)
    assert [sequences(narrow, row) for row in range(3)] == [sequences(simple, row) for row in range(3)]
    torch.testing.assert_close(narrow.log_prob, simple.log_prob)


@torch.no_grad()
def test_nats_of_decoded_sequences_are_those_of_the_density(translator: EncoderDecoder) -> None:
    found = decoding.beam(translator.decoder, *translator.begin(SOURCES), ENDING, width=6, best=5, normalization=1.0)
    for row in range(3):
        cond = Sources(SOURCES.symbols[row : row + 1], SOURCES.lengths[row : row + 1])
        for sequence, nats in zip(sequences(found, row), found.log_prob[row], strict=True):
            torch.testing.assert_close(translator.log_prob(torch.tensor([sequence]), cond).sum(), nats)
        assert (found.scores[row].diff() <= 0).all()


@torch.no_grad()
def test_rows_of_a_beam_do_not_meet(translator: EncoderDecoder) -> None:
    together = decoding.beam(translator.decoder, *translator.begin(SOURCES), ENDING, width=3, best=2)
    for row in range(3):
        length = int(SOURCES.lengths[row])  # without padding too
        alone = Sources(SOURCES.symbols[row : row + 1, :length], SOURCES.lengths[row : row + 1])
        found = decoding.beam(translator.decoder, *translator.begin(alone), ENDING, width=3, best=2)
        assert sequences(found) == sequences(together, row)
        torch.testing.assert_close(found.log_prob[0], together.log_prob[row])


@torch.no_grad()
def test_what_is_drawn_follows_its_uniforms_and_ends(model: AutoRegressive) -> None:
    u = torch.rand(64, LIMIT, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = decoding.decode(model, model.init_state(64), None, decoding.drawn(model, u), ENDING)
    again = decoding.decode(model, model.init_state(64), None, decoding.drawn(model, u), ENDING)
    assert torch.equal(found.symbols, again.symbols)
    plain = model.sample(u)
    for row in range(64):
        (sequence,) = sequences(found, row)
        assert sequence == tuple(plain[row, : len(sequence)].tolist())
        assert STOP not in sequence[:-1]
        assert sequence[-1] == STOP or len(sequence) == LIMIT
        torch.testing.assert_close(model.log_prob(torch.tensor([sequence])).sum(), found.log_prob[row, 0])
    assert {len(sequences(found, row)[0]) for row in range(64)} >= {1, 2, LIMIT}


@torch.no_grad()
def test_symbols_come_one_by_one(model: AutoRegressive) -> None:
    stream = decoding.stream(model, model.init_state(2), None, lambda params, _: params.argmin(-1), Ending(None, 3))
    symbols, nats = next(stream)
    assert symbols.shape == nats.shape == (2,)
    assert len(list(stream)) == 2


@torch.no_grad()
def test_a_search_may_go_on_in_the_middle_of_a_sequence(model: AutoRegressive) -> None:
    begun = torch.tensor([[2, 0, 2]])
    _, state = model.step(begun, model.init_state(1), None)
    found = decoding.beam(model, state, None, Ending(STOP, 2), width=9)
    whole = torch.cat([begun, torch.tensor([sequences(found)[0]])], dim=1)
    torch.testing.assert_close(model.log_prob(whole)[:, 3:].sum(), found.log_prob[0, 0])


@pytest.mark.parametrize(("width", "best", "alpha"), [(0, 0, 0.0), (2, 3, 0.0), (2, 1, -1.0)])
def test_a_search_that_makes_no_sense_is_refused(model: AutoRegressive, width: int, best: int, alpha: float) -> None:
    with pytest.raises(SeqgenError, match=f"a beam of {width}"):
        decoding.beam(model, model.init_state(1), None, ENDING, width=width, best=best, normalization=alpha)
    with pytest.raises(SeqgenError, match="at most 0 symbols"):
        Ending(STOP, 0)
