"""Decoding of sequences that end: greedy, by chance, and by beam search, as operations on explicit states.

They work on any autoregressive density over symbols, with or without columns of a source for its positions: a step
gives the distributions of the next symbols, something chooses among them, and rows of the state go where their
sequences went.

    score(y) = ln p(y) / ((5 + |y|) / 6)^α         of a sequence of |y| symbols, the stop symbol included

Source: Wu et al., "Google's neural machine translation system", arXiv 1609.08144, section 7, equation 14 (length
normalization; α = 0 ranks by probability alone).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import GeneratorState
from seqgen.generation.encoder_decoder import fitted
from seqgen.stream.state import rows

Choice = Callable[[Tensor, int], Tensor]
"""What chooses the next symbols, int64 ``[B]``, from their distributions' parameters ``[B, V]`` at a position."""


@dataclass(frozen=True)
class Ending:
    """End of sequences.

    Attributes:
        stop: the symbol that ends one; ``None`` where only the limit does. limit: symbols of the longest, the stop
            symbol included.

    Raises:
        SeqgenError: for a limit below 1.
    """

    stop: int | None
    limit: int

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise SeqgenError(f"sequences of at most {self.limit} symbols", remedy="give 1 or more")


class Decoded(NamedTuple):
    """Decoded sequences, the best of each row first.

    Attributes:
        symbols: int64 ``[B, N, L]``, the stop symbol included; 0 behind a sequence's end.
        lengths: int64 ``[B, N]``.
        log_prob: nats of each sequence, ``[B, N]``; -∞ where a row has fewer than N sequences.
        scores: what they are ranked by, ``[B, N]``.
    """

    symbols: Tensor
    lengths: Tensor
    log_prob: Tensor
    scores: Tensor


def greedy(params: Tensor, position: int) -> Tensor:
    """The likeliest symbol of each row, the first of several: a :data:`Choice`."""
    return params.argmax(dim=-1)


def drawn(generator: AutoRegressive, u: Tensor, temperature: float = 1.0) -> Choice:
    """A choice by chance, a function of the uniforms ``u [B, limit, num_uniforms]``."""

    def choose(params: Tensor, position: int) -> Tensor:
        return generator.distribution.sample(params, u[:, position], temperature)

    return choose


def stream(
    generator: AutoRegressive, state: GeneratorState, columns: Tensor | None, choose: Choice, ending: Ending
) -> Iterator[tuple[Tensor, Tensor]]:
    """The next symbols of every row as they are chosen, int64 ``[B]``, with their nats ``[B]``, until all rows have
    ended; of a row that has, symbol 0 and 0 nats.

    Args:
        state: of the streams. columns: of their next positions, ``[B, F, C]``; zeros from F on.
    """
    ended = torch.zeros(len(state.previous), dtype=torch.bool, device=state.previous.device)
    for position in range(ending.limit):
        params, state = _next(generator, state, columns, position)
        symbols = torch.where(ended, 0, choose(params, position))
        nats = torch.log_softmax(params, dim=-1).gather(1, symbols[:, None])[:, 0]
        yield symbols, torch.where(ended, 0, nats)
        state = state._replace(previous=symbols)
        if ending.stop is not None:
            ended = ended | (symbols == ending.stop)
            if bool(ended.all()):
                return


def decode(
    generator: AutoRegressive, state: GeneratorState, columns: Tensor | None, choose: Choice, ending: Ending
) -> Decoded:
    """One whole sequence of each row: all that :func:`stream` gives."""
    made, nats = zip(*stream(generator, state, columns, choose, ending), strict=True)
    symbols, log_prob = torch.stack(made, dim=1), torch.stack(nats, dim=1).sum(dim=1)
    lengths = _lengths(symbols, ending.stop)
    return Decoded(symbols[:, None], lengths[:, None], log_prob[:, None], log_prob[:, None])


class _Beam(NamedTuple):
    """Beam of each row, ``[B, W]``, best first: symbols ``[B, W, t]``, nats, lengths, and which have ended."""

    symbols: Tensor
    log_prob: Tensor
    lengths: Tensor
    ended: Tensor


def beam(
    generator: AutoRegressive,
    state: GeneratorState,
    columns: Tensor | None,
    ending: Ending,
    *,
    width: int,
    best: int = 1,
    normalization: float = 0.0,
) -> Decoded:
    """The best sequences of each row that a beam finds: at every position the ``width`` best beginnings go on.

    Sequences that have ended stay in the beam and compete by their scores. A row's search is over when nothing that is
    still under way can reach the score of its ``best`` ended sequences. With a width of all ``V^limit`` sequences
    nothing is lost; with width 1 it is greedy.

    Args:
        best: sequences to give, at most ``width``. normalization: α of the score.

    Raises:
        SeqgenError: for a width below 1, more sequences than it, or a negative α.
    """
    if not 1 <= best <= width or normalization < 0:
        raise SeqgenError(
            f"a beam of {width} for {best} sequences, normalization {normalization:g}",
            remedy="give a width of 1 or more, at most so many sequences, and a normalization from 0 on",
        )
    batch, device = len(state.previous), state.previous.device
    state = rows(state, torch.arange(batch, device=device).repeat_interleave(width))
    columns = None if columns is None else columns.repeat_interleave(width, dim=0)
    # One beginning in each row, the empty one; the others are not there.
    log_prob = generator.body.zeros(batch, width)
    log_prob[:, 1:] = -torch.inf
    empty = torch.zeros(batch, width, dtype=torch.int64, device=device)
    found = _Beam(empty[..., None][..., :0], log_prob, empty, empty.bool())
    for position in range(ending.limit):
        params, after = _next(generator, state, columns, position)
        nats = torch.log_softmax(params, dim=-1).view(batch, width, -1)
        found, parents = _extended(found, nats, ending.stop, normalization)
        flat = (torch.arange(batch, device=device)[:, None] * width + parents).flatten()
        state = rows(after, flat)._replace(previous=found.symbols[..., -1].flatten())
        if _settled(found, best, ending.limit, normalization):
            break
    scores = _scores(found.log_prob, found.lengths, normalization)
    return Decoded(found.symbols[:, :best], found.lengths[:, :best], found.log_prob[:, :best], scores[:, :best])


def _next(
    generator: AutoRegressive, state: GeneratorState, columns: Tensor | None, position: int
) -> tuple[Tensor, GeneratorState]:
    """Parameters of the next symbols, ``[B, V]``, and the state in which only ``previous`` is still to be set."""
    column = None if columns is None else fitted(columns[:, position : position + 1], 1)
    # A step tells of given symbols before it reads them, so which ones are given does not matter.
    params, after = generator.step(state.previous[:, None], state, column)
    return params[:, 0], after


def _extended(beams: _Beam, nats: Tensor, stop: int | None, normalization: float) -> tuple[_Beam, Tensor]:
    """The best of all continuations by one symbol, ``nats [B, W, V]``, and which beginning each went on from."""
    _, width, vocab = nats.shape
    log_prob = beams.log_prob[..., None] + nats
    # A sequence that has ended goes on as itself alone, with a symbol 0 that does not count.
    itself = torch.full_like(log_prob, -torch.inf)
    itself[..., 0] = beams.log_prob
    log_prob = torch.where(beams.ended[..., None], itself, log_prob)
    lengths = beams.lengths + (~beams.ended).long()
    scores = _scores(log_prob, lengths[..., None], normalization)
    _, order = scores.flatten(1).sort(dim=1, descending=True, stable=True)
    chosen = order[:, :width]
    parents, symbols = chosen // vocab, chosen % vocab
    ended = beams.ended.gather(1, parents)
    before = beams.symbols.gather(1, parents[..., None].expand(-1, -1, beams.symbols.shape[2]))
    made = _Beam(
        torch.cat([before, symbols[..., None]], dim=2),
        log_prob.flatten(1).gather(1, chosen),
        lengths.gather(1, parents),
        ended if stop is None else ended | (symbols == stop),
    )
    return made, parents


def _settled(beams: _Beam, best: int, limit: int, normalization: float) -> bool:
    """Test that the best sequences of every row are known."""
    if bool(beams.ended.all()):
        return True
    scores = _scores(beams.log_prob, beams.lengths, normalization)
    # Nats only fall: at most a sequence keeps what it has, divided by the most that its length can count for.
    most = _scores(beams.log_prob, torch.full_like(beams.lengths, limit), normalization)
    reach = torch.where(beams.ended, -torch.inf, most).amax(dim=1)
    ranked = torch.where(beams.ended, scores, -torch.inf).sort(dim=1, descending=True).values
    return bool((ranked[:, best - 1] >= reach).all())


def _scores(log_prob: Tensor, lengths: Tensor, normalization: float) -> Tensor:
    return log_prob / ((5 + lengths.to(log_prob.dtype)) / 6) ** normalization


def _lengths(symbols: Tensor, stop: int | None) -> Tensor:
    """Lengths of sequences ``[B, L]``, the first stop symbol included."""
    if stop is None:
        return torch.full((len(symbols),), symbols.shape[1], device=symbols.device)
    before = (symbols == stop).cumsum(dim=1) - (symbols == stop).long()
    return (before == 0).sum(dim=1)
